//! The end of the log: where the next batch goes, and the one write that takes it there.
//!
//! A [`Writer`] is a value. Whoever has the turn works on a copy, and what it has done counts when
//! the log takes the copy over: a thread that comes back late from the device changes nothing.
//!
//! Invariants
//! - a block that was once acknowledged is never written again;
//! - a batch that does not start where the segment's last one ends, or does not fit behind it, goes
//!   to a new segment;
//! - a segment is activated only when its predecessor is durable to its end, and its two activation
//!   blocks are durable one after the other.
//!
//! Never: writes the same bytes to the same place again, answers a committer.

use super::batch_buffer::BatchBuffer;
use super::format::{Activated, BatchPlace, ChainHash, Predecessor, Sealed, SegmentIdentity};
use super::member::Entry;
use super::parts::LogParts;
use super::segment::{LogSegment, SpareSegment};
use crate::canary::{Canary, is_planted};
use crate::error::{LogFailure, Rejection};
use crate::ids::{Epoch, Lsn, SegmentId, StoreId};
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure};
use crate::runtime::after;
use crate::runtime::sync::{elapsed, now};
use std::sync::Arc;
use std::time::Duration;

/// What a roll or a write ended with, when not well.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing was written: the records can be refused, the log goes on.
    Refused(Rejection),
    /// A write failed: nobody knows what the device holds.
    Failed(LogFailure),
}

impl From<Rejection> for WriteError {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<IoFailure> for WriteError {
    fn from(failure: IoFailure) -> Self {
        Self::Failed(failure.into())
    }
}

/// Where the log ends, as recovery or the last write left it.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// Everything before it is durable.
    pub end: Lsn,
    /// The segment that ends there; `None` for a new store.
    pub segment: Option<SegmentId>,
    /// The fold of its batches up to there.
    pub chain_hash: ChainHash,
    /// The newest time stamp given out.
    pub last_time_us: u64,
    /// This opening of the store.
    pub epoch: Epoch,
}

/// How an epoch starts.
#[derive(Clone, Debug)]
pub struct LogStart {
    /// Where the log ends.
    pub position: LogEnd,
    /// The Lsn of the epoch's first batch.
    pub base: Lsn,
    /// Whether the segment that ends there takes it; else a new one is activated.
    pub goes_on: bool,
}

/// The writing end of the log.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    store: StoreId,
    /// The segment that batches go to; `None` until the epoch's first activation.
    segment: Option<Arc<LogSegment>>,
    position: LogEnd,
}

impl Writer {
    pub(crate) fn new(store: StoreId, segment: Option<Arc<LogSegment>>, position: LogEnd) -> Self {
        Self {
            store,
            segment,
            position,
        }
    }

    /// Everything before it is durable.
    pub(crate) fn end(&self) -> Lsn {
        self.position.end
    }

    /// The newest time stamp given out.
    pub(crate) fn last_time_us(&self) -> u64 {
        self.position.last_time_us
    }

    /// The segment that batches go to.
    pub(crate) fn segment(&self) -> Option<&Arc<LogSegment>> {
        self.segment.as_ref()
    }

    /// Bytes of batches that the active segment still takes.
    pub(crate) fn left_bytes(&self) -> u64 {
        let left = self.segment.as_ref().and_then(|segment| {
            let used = self.position.end.bytes_since(segment.base)?;
            Some(segment.data_bytes().saturating_sub(used))
        });
        left.unwrap_or(0)
    }

    /// The active segment as it would be left now.
    pub(crate) fn sealed_now(&self) -> Option<Sealed> {
        let segment = self.segment.as_ref()?;
        Some(Sealed {
            base: segment.base,
            end: self.position.end,
            chain: self.position.chain_hash,
        })
    }

    /// Whether the active segment takes a batch.
    pub(crate) fn takes(&self, start: Lsn, bytes: u64) -> bool {
        let room = |segment: &Arc<LogSegment>| {
            let used = start.bytes_since(segment.base)?;
            segment.data_bytes().checked_sub(used)
        };
        let room = self.segment.as_ref().and_then(room);
        self.position.end == start && room.is_some_and(|room| bytes <= room)
    }

    /// Activates `spare` as the segment that starts at `base`. The one before it ends at
    /// [`Writer::end`], whatever lies behind.
    pub(crate) fn activate(
        &mut self,
        spare: SpareSegment,
        base: Lsn,
    ) -> Result<Arc<LogSegment>, IoFailure> {
        let next = Arc::new(spare.activated(base));
        let predecessor = self.position.segment.map(|segment| Predecessor {
            segment,
            end: self.position.end,
            hash: self.position.chain_hash,
        });
        let activated = Activated {
            epoch: self.position.epoch,
            base_lsn: base,
            last_time_us: self.position.last_time_us,
            predecessor,
        };
        let (block, chain_hash) = activated.encode(&self.identity(&next));
        for copy in 1..=2 {
            write_durable(next.file.as_ref(), copy * BLOCK_BYTES as u64, &[&[block]])?;
        }
        self.position.segment = Some(next.id);
        self.position.chain_hash = chain_hash;
        self.position.end = base;
        self.segment = Some(Arc::clone(&next));
        Ok(next)
    }

    /// Writes one batch to the active segment, which takes it; on `Ok` it is durable. Says how long
    /// the device took.
    pub(crate) fn write(
        &mut self,
        start: Lsn,
        entries: &[Entry],
        buffer: &mut BatchBuffer,
    ) -> Result<Duration, WriteError> {
        let Some(segment) = &self.segment else {
            return Err(WriteError::Refused(Rejection::Closed));
        };
        let place = BatchPlace {
            lsn: start,
            epoch: self.position.epoch,
            durable: start,
        };
        let encoded = buffer.fill(&self.identity(segment), &place, entries);
        let encoded = encoded.map_err(WriteError::Refused)?;
        let Some(offset) = segment.offset_of(start) else {
            return Err(WriteError::Failed(LogFailure::Exhausted { at: start }));
        };
        let begun = now();
        write_durable(segment.file.as_ref(), offset, &buffer.pieces())?;
        let took = elapsed(begun);
        self.position.end = encoded.end;
        self.position.chain_hash = self.position.chain_hash.extended(encoded.header_checksum);
        let newest = entries.last().map_or(0, |entry| entry.time_us);
        self.position.last_time_us = self.position.last_time_us.max(newest);
        Ok(took)
    }

    fn identity(&self, segment: &LogSegment) -> SegmentIdentity {
        SegmentIdentity {
            store: self.store,
            segment: segment.id,
            incarnation: segment.incarnation,
        }
    }
}

/// The next spare that takes `bytes`; `take` takes one of the ring. Segments grow and shrink with the
/// store, so a record may meet a spare that is too small for it: that one goes, and a larger one is made.
pub(super) fn take_spare<E: From<Rejection>>(
    parts: &LogParts,
    bytes: u64,
    keep: usize,
    take: impl Fn() -> Result<Option<SpareSegment>, E>,
) -> Result<SpareSegment, E> {
    let limit = parts.spares.data_bytes_max();
    if limit < bytes {
        return Err(Rejection::TooLarge { bytes, limit }.into());
    }
    let started = now();
    // Another thread may make spares and not come back from the device.
    let deadline = after(started, parts.limits.io_deadline);
    loop {
        let in_time = match take()? {
            Some(spare) if bytes <= spare.data_bytes() => return Ok(spare),
            Some(small) => {
                let discarded = parts.spares.discard(small, bytes);
                discarded.map(|()| now() < deadline)
            }
            None => parts.spares.ensure_until(keep + 1, deadline),
        };
        if !in_time.map_err(Rejection::Segment)? {
            let waited = elapsed(started);
            return Err(Rejection::Timeout { waited }.into());
        }
    }
}

/// The one place where the log becomes durable.
fn write_durable(file: &dyn DiskFile, offset: u64, pieces: &[&[Block]]) -> Result<(), IoFailure> {
    if is_planted(Canary::AckBeforeSync) {
        return file.write_at(offset, &pieces.concat());
    }
    let written = file.write_durable_pieces(offset, pieces);
    if is_planted(Canary::RetryFsync) && written.is_err() {
        return file.sync();
    }
    written
}
