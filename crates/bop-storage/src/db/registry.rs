//! The manifest as the log sees it: which segment files are part of the store.
//!
//! Never: touches a file.

use crate::error::ManifestError;
use crate::ids::{Lsn, SegmentId};
use crate::log::{RegisteredSegment, SegmentRegistry};
use crate::manifest::{Manifest, SegmentRow};
use std::sync::Arc;

/// The manifest as the log sees it.
#[derive(Debug)]
pub(super) struct ManifestRegistry(pub(super) Arc<Manifest>);

impl SegmentRegistry for ManifestRegistry {
    fn register(&self, segments: &[RegisteredSegment]) -> Result<(), ManifestError> {
        self.0.transact(|edit| {
            segments.iter().try_for_each(|segment| {
                let RegisteredSegment {
                    id,
                    incarnation,
                    capacity_bytes,
                } = *segment;
                edit.put_segment(
                    id,
                    SegmentRow {
                        incarnation,
                        capacity_bytes,
                    },
                )
            })
        })
    }

    fn unregister(
        &self,
        segments: &[SegmentId],
        truncated: Option<Lsn>,
    ) -> Result<(), ManifestError> {
        self.0.transact(|edit| -> Result<(), ManifestError> {
            segments.iter().for_each(|id| edit.delete_segment(*id));
            if let Some(truncated) = truncated {
                edit.set_truncated(truncated);
            }
            Ok(())
        })
    }

    fn failure(&self) -> Option<ManifestError> {
        self.0.failure()
    }

    fn is_registered(&self, segment: SegmentId) -> Option<bool> {
        let settled = self.0.settle();
        settled.then(|| self.0.state().segment(segment).is_some())
    }
}
