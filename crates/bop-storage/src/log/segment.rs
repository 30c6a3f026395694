//! One segment of the log: its file, and the states it goes through. Each state is a type, so that
//! a transition that is not drawn cannot be written.
//!
//! ```text
//!   Spare --activate--> Active --seal--> Sealed --release--> Released --(stamped anew)--> Spare
//!     |                                                         '--(suspect)--> removed
//!     '--(its activation failed)--> Abandoned --> removed
//! ```
//! Spare    [`SpareSegment`]: the file is allocated, zero and stamped; it has no Lsn
//! Active   [`LogSegment`], the newest of the ring: both activation blocks are durable; batches are written to it, by the leader alone
//! Sealed   [`SealedSegment`]: its end is final: its successor's activation names it
//! Released no row of the manifest names it; the file may be stamped for another life
//! Abandoned no part of the log: the next segment does not name it as its predecessor
//! A segment is *suspect* once a write to it failed, or may still arrive: it is sealed before that
//! write, and its file is removed, never stamped anew.
//!
//! Never: writes, reads a payload, knows what a database is.

use super::format::segment::DATA_START;
use crate::ids::{Incarnation, Lsn, SegmentId};
use crate::io::DiskFile;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A segment that was activated: maps Lsns to bytes of its file.
#[derive(Debug)]
pub struct LogSegment {
    /// Its number.
    pub id: SegmentId,
    /// This life of its file.
    pub incarnation: Incarnation,
    /// The Lsn of its first data byte.
    pub base: Lsn,
    /// Bytes of its file.
    pub capacity_bytes: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// A write to it failed, or has not returned and may still arrive.
    suspect: AtomicBool,
}

impl LogSegment {
    /// A segment that was activated.
    pub fn new(
        id: SegmentId,
        incarnation: Incarnation,
        base: Lsn,
        capacity_bytes: u64,
        file: Arc<dyn DiskFile>,
    ) -> Self {
        Self {
            id,
            incarnation,
            base,
            capacity_bytes,
            file,
            suspect: AtomicBool::new(false),
        }
    }

    /// A write to it failed, or does not return: its file has no other life after this one.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Whether its file must not be used again.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Where an Lsn lies in the file; `None` when it is not of this segment.
    pub fn offset_of(&self, lsn: Lsn) -> Option<u64> {
        let offset = lsn.bytes_since(self.base)?.checked_add(DATA_START)?;
        (offset < self.capacity_bytes).then_some(offset)
    }

    /// Bytes that batches can take.
    pub fn data_bytes(&self) -> u64 {
        data_bytes(self.capacity_bytes)
    }
}

fn data_bytes(capacity_bytes: u64) -> u64 {
    capacity_bytes.saturating_sub(DATA_START)
}

/// A stamped file that waits to be activated.
#[derive(Clone, Debug)]
pub struct SpareSegment {
    /// Its number.
    pub id: SegmentId,
    /// This life of its file.
    pub incarnation: Incarnation,
    /// Bytes of its file.
    pub capacity_bytes: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
}

/// A segment that takes no more batches.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// The segment.
    pub segment: Arc<LogSegment>,
    /// Behind its last batch: what lies at or past it is dead.
    pub end: Lsn,
}

impl SpareSegment {
    /// Bytes that batches can take.
    pub fn data_bytes(&self) -> u64 {
        data_bytes(self.capacity_bytes)
    }

    /// The segment it becomes when it is activated at `base`.
    pub fn activated(self, base: Lsn) -> LogSegment {
        LogSegment::new(
            self.id,
            self.incarnation,
            base,
            self.capacity_bytes,
            self.file,
        )
    }
}
