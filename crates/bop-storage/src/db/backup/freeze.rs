//! The moment that a backup is of: what is held so that it can be copied while everything else goes on.
//!
//! ```text
//!   all that is visible made durable
//!   -> nobody releases the log:  rows of one transaction, their chunks held  -> the log's end -> its segments
//!   -> released again, but for what the lease keeps
//! ```
//! Invariants
//! - the log's end is taken behind the rows: it has all that they know of, and records above them are replayed;
//! - every segment that has a byte between where the rows say that the log begins and that end is among
//!   those that are leased;
//! - the files of the chunks stay while this lives, whatever becomes of their rows.
//!
//! Never: copies anything, waits for a checkpoint.

use super::super::chunks::ChunkFile;
use super::super::engine::Engine;
use super::super::release::LogLease;
use crate::backup::BackedChunk;
use crate::error::{BackupError, Damage, Place, Reject};
use crate::ids::Lsn;
use crate::io::layout;
use crate::log::LogSegment;
use crate::manifest::ManifestState;
use std::sync::Arc;

/// What is backed up.
pub(super) struct Frozen {
    pub(super) rows: ManifestState,
    /// Where the log ends.
    pub(super) lsn: Lsn,
    pub(super) log: Vec<LogPart>,
    pub(super) lease: Arc<LogLease>,
    pub(super) chunks: Vec<HeldChunk>,
}

/// A segment, and where the backup's part of it ends.
pub(super) struct LogPart {
    pub(super) segment: Arc<LogSegment>,
    pub(super) end: Lsn,
}

/// A chunk whose file stays.
pub(super) struct HeldChunk {
    pub(super) chunk: BackedChunk,
    pub(super) _file: Arc<ChunkFile>,
}

impl Engine {
    /// Refuses a store of which something is lost: the backup would take that for what it was.
    pub(super) fn check_sound(&self) -> Result<(), BackupError> {
        let catalogue = self.catalogue.lock().catalogue.damage().cloned();
        let rows = self.manifest.state();
        let recorded = rows
            .closed()
            .map(|(id, row)| match row.damage(id) {
                Some(damage) => damage,
                None => {
                    let place = Place::Database { database: id };
                    Damage::new(place, Reject::Recorded(row.reason.clone()))
                }
            })
            .next();
        let found = self.damaged.values().next().cloned();
        let of_rows = (!rows.damaged().is_empty())
            .then(|| rows.damaged().iter().next().cloned())
            .flatten();
        match catalogue.or(found).or(recorded).or(of_rows) {
            Some(damage) => Err(BackupError::StoreDamaged(damage)),
            None => Ok(()),
        }
    }

    /// The store as it is now.
    ///
    /// # Errors
    /// [`BackupError::Log`] when it cannot be made durable.
    pub(super) fn frozen(&self) -> Result<Frozen, BackupError> {
        self.log.sync()?;
        let _nothing_released = self.releasing.lock();
        let lease = self.lease_log();
        let (rows, chunks) = self.held_chunks();
        let lsn = self.log.published();
        let log = self.log_until(lsn);
        Ok(Frozen {
            rows,
            lsn,
            log,
            lease,
            chunks,
        })
    }

    /// The rows of this moment, and the files that they name.
    fn held_chunks(&self) -> (ManifestState, Vec<HeldChunk>) {
        loop {
            let doomed = self.chunks.doomed();
            let rows = self.manifest.state();
            let held = rows.chunks().map(|(id, row)| HeldChunk {
                chunk: BackedChunk::of(id, row),
                _file: self.chunks.file(id, row),
            });
            let held: Vec<HeldChunk> = held.collect();
            // Else one of them may have been removed before it was held.
            if self.chunks.doomed() == doomed {
                return (rows, held);
            }
        }
    }

    /// The segments up to a place where the log ended a moment ago.
    fn log_until(&self, lsn: Lsn) -> Vec<LogPart> {
        let ring = self.log.ring();
        // In this order: one that is sealed in between is among the sealed ones, with its end.
        let active = ring.active();
        let sealed = ring.sealed();
        let mut parts: Vec<LogPart> = sealed
            .into_iter()
            .map(|sealed| LogPart {
                segment: sealed.segment,
                end: sealed.end.min(lsn),
            })
            .collect();
        let known = |segment: &LogSegment| parts.iter().any(|part| part.segment.id == segment.id);
        if let Some(segment) = active.filter(|segment| !known(segment)) {
            parts.push(LogPart { segment, end: lsn });
        }
        parts.retain(|part| part.segment.base < lsn);
        parts.sort_by_key(|part| part.segment.base);
        parts
    }
}

/// A chunk of the store is not what its row says.
pub(super) fn damaged_chunk(chunk: &BackedChunk) -> BackupError {
    let place = Place::File(layout::chunk(chunk.id));
    BackupError::StoreDamaged(Damage::new(place, Reject::Checksum))
}
