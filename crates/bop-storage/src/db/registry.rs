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
}
