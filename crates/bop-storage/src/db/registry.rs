//! The manifest as the log sees it: which segment files are part of the store.
//!
//! Invariant: whoever makes or discards a spare, a committer among them, waits a bounded time for
//! another transaction that does not come back from the device.
//!
//! Never: touches a file.

use crate::error::ManifestError;
use crate::ids::{Lsn, SegmentId};
use crate::limits::ValidLimits;
use crate::log::{RegisteredSegment, SealedSegment, SegmentRegistry};
use crate::manifest::{Edit, Manifest, SalvageRow, SegmentRow};
use std::sync::Arc;
use std::time::Duration;

/// Registered segments before `last` that the log does not know: nobody could tell what is in them.
/// While a database is closed they may be what it lacks.
fn set_unknown_aside(
    edit: &mut Edit<'_>,
    last: &SealedSegment,
) -> Result<Vec<SegmentId>, ManifestError> {
    if edit.state().closed().next().is_none() {
        return Ok(Vec::new());
    }
    let unknown = edit.state().segments();
    let unknown = unknown.filter(|(id, _)| *id < last.segment.id);
    let unknown: Vec<_> = unknown.map(|(id, row)| (id, *row)).collect();
    for (id, row) in &unknown {
        let row = SalvageRow {
            incarnation: row.incarnation,
            capacity_bytes: row.capacity_bytes,
            base: Lsn::ZERO,
            end: last.end,
        };
        edit.set_aside(*id, row)?;
    }
    Ok(unknown.into_iter().map(|(id, _)| id).collect())
}

/// The manifest as the log sees it.
#[derive(Debug)]
pub(super) struct ManifestRegistry {
    manifest: Arc<Manifest>,
    /// How long a spare waits for another transaction.
    wait: Duration,
}

impl ManifestRegistry {
    pub(super) fn new(manifest: &Arc<Manifest>, limits: &ValidLimits) -> Self {
        let (manifest, wait) = (Arc::clone(manifest), limits.io_deadline);
        Self { manifest, wait }
    }
}

impl SegmentRegistry for ManifestRegistry {
    fn register(&self, segments: &[RegisteredSegment]) -> Result<(), ManifestError> {
        let segments = segments.to_vec();
        self.manifest.transact_within(self.wait, move |edit| {
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
        let segments = segments.to_vec();
        self.manifest.transact_within(self.wait, move |edit| {
            segments.iter().for_each(|id| edit.delete_segment(*id));
            if let Some(truncated) = truncated {
                edit.set_truncated(truncated);
            }
            Ok(())
        })
    }

    fn release(&self, segments: &[SealedSegment]) -> Result<Vec<SegmentId>, ManifestError> {
        let Some(last) = segments.last().cloned() else {
            return Ok(Vec::new());
        };
        let segments = segments.to_vec();
        self.manifest.transact(move |edit| {
            let mut aside = Vec::new();
            for SealedSegment { segment, end } in &segments {
                if edit.state().is_needed(segment.base, *end) {
                    let row = SalvageRow {
                        incarnation: segment.incarnation,
                        capacity_bytes: segment.capacity_bytes,
                        base: segment.base,
                        end: *end,
                    };
                    edit.set_aside(segment.id, row)?;
                    aside.push(segment.id);
                } else {
                    edit.delete_segment(segment.id);
                }
            }
            aside.extend(set_unknown_aside(edit, &last)?);
            edit.set_truncated(last.end);
            Ok(aside)
        })
    }

    fn failure(&self) -> Option<ManifestError> {
        self.manifest.failure()
    }

    fn is_registered(&self, segment: SegmentId) -> Option<bool> {
        let settled = self.manifest.settle(self.wait);
        settled.then(|| self.manifest.state().segment(segment).is_some())
    }
}
