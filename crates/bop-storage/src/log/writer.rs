//! The end of the log: where the next batch goes, and the one write that takes it there.
//!
//! Owns: the active segment's write position, the epoch, the monotone time, the batch buffer.
//! Only the present leader holds a `Writer`.
//!
//! Invariants
//! - everything before `end` is durable: one batch is in flight at a time;
//! - a block that was once acknowledged is never written again;
//! - a segment is activated only when its predecessor is durable to its end, and its two activation
//!   blocks are durable one after the other.
//!
//! Never: retries a write, answers a committer.

use super::format::{
    Activated, BatchEntry, BatchPlace, ChainHash, Predecessor, Sealed, SegmentIdentity,
    encode_batch,
};
use super::ring::Ring;
use super::seal::SealGatherer;
use super::segment::{LogSegment, SpareSegment};
use super::spares::SpareMaker;
use super::ticket::{Pending, Placed};
use crate::error::{LogFailure, Rejection};
use crate::ids::{Epoch, Lsn, SegmentId, StoreId};
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure};
use crate::runtime::{Clock, after};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a roll or a write ended with, when not well.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing was written: the records can be refused, the log goes on.
    Refused(Rejection),
    /// A write failed: the log is poisoned.
    Failed(LogFailure),
}

impl From<IoFailure> for WriteError {
    fn from(failure: IoFailure) -> Self {
        Self::Failed(failure.into())
    }
}

/// Where the log ends, as recovery or the last write left it.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// The Lsn of the next batch.
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
#[derive(Debug)]
pub(crate) struct Writer {
    store: StoreId,
    ring: Arc<Ring>,
    spares: Arc<SpareMaker>,
    clock: Arc<dyn Clock>,
    /// The segment that batches go to; `None` until the epoch's first activation.
    segment: Option<Arc<LogSegment>>,
    position: LogEnd,
    /// How long it waits behind another thread that makes spares.
    patience: Duration,
    buffer: Vec<Block>,
    /// What the active segment's batches say, for its index.
    index: SealGatherer,
}

impl Writer {
    pub(crate) fn new(
        store: StoreId,
        ring: Arc<Ring>,
        spares: Arc<SpareMaker>,
        clock: Arc<dyn Clock>,
        position: LogEnd,
        goes_on: bool,
        patience: Duration,
    ) -> Self {
        let segment = if goes_on { ring.active() } else { None };
        Self {
            store,
            ring,
            spares,
            clock,
            segment,
            position,
            patience,
            buffer: Vec::new(),
            index: SealGatherer::default(),
        }
    }

    /// The Lsn of the next batch: everything before it is durable.
    pub(crate) fn end(&self) -> Lsn {
        self.position.end
    }

    /// Where the active segment starts.
    pub(crate) fn started_at(&self) -> Lsn {
        self.segment
            .as_ref()
            .map_or(Lsn::ZERO, |segment| segment.base)
    }

    /// Bytes that the active segment still takes.
    pub(crate) fn room_bytes(&self) -> u64 {
        let room = |segment: &Arc<LogSegment>| {
            let used = self.position.end.bytes_since(segment.base)?;
            segment.data_bytes().checked_sub(used)
        };
        self.segment.as_ref().and_then(room).unwrap_or(0)
    }

    /// Rolls to the next segment when the active one has no room for `bytes`; the next one starts
    /// at `base` (the end of the active one, but for the first of an epoch).
    pub(crate) fn make_room(
        &mut self,
        bytes: u64,
        keep_spares: usize,
        base: Lsn,
    ) -> Result<(), WriteError> {
        if self.room_bytes() >= bytes {
            return Ok(());
        }
        let spare = self.take_spare(bytes, keep_spares);
        let next = Arc::new(spare.map_err(WriteError::Refused)?.activated(base));
        let (end, chain) = (self.position.end, self.position.chain_hash);
        self.activate(&next)?;
        if let Some(previous) = self.segment.replace(Arc::clone(&next)) {
            self.spares.segment_filled(previous.capacity_bytes);
            let base = previous.base;
            let sealed = Sealed { base, end, chain };
            self.index.roll(self.ring.seals(), &previous, sealed, &next);
        } else {
            self.index = SealGatherer::of(&next);
        }
        self.ring.activate(next, self.position.end);
        self.position.end = base;
        Ok(())
    }

    /// The next spare that takes `bytes`. Segments grow and shrink with the store, so a record may
    /// meet a spare that is too small for it: that one goes, and a larger one is made.
    fn take_spare(&self, bytes: u64, keep: usize) -> Result<SpareSegment, Rejection> {
        let limit = self.spares.data_bytes_max();
        if limit < bytes {
            return Err(Rejection::TooLarge { bytes, limit });
        }
        let started = Instant::now();
        let deadline = after(started, self.patience);
        loop {
            let in_time = match self.ring.take_spare(keep) {
                Some(spare) if bytes <= spare.data_bytes() => return Ok(spare),
                Some(small) => {
                    let discarded = self.spares.discard(small, bytes);
                    discarded.map(|()| Instant::now() < deadline)
                }
                None => self.spares.ensure_until(keep + 1, deadline),
            };
            if !in_time.map_err(Rejection::Segment)? {
                let waited = started.elapsed();
                return Err(Rejection::Timeout { waited });
            }
        }
    }

    fn activate(&mut self, next: &LogSegment) -> Result<(), IoFailure> {
        let predecessor = self.position.segment.map(|segment| Predecessor {
            segment,
            end: self.position.end,
            hash: self.position.chain_hash,
        });
        let activated = Activated {
            epoch: self.position.epoch,
            base_lsn: next.base,
            last_time_us: self.position.last_time_us,
            predecessor,
        };
        let (block, chain_hash) = activated.encode(&self.identity(next));
        for copy in 1..=2 {
            write_durable(next.file.as_ref(), copy * BLOCK_BYTES as u64, &[block])?;
        }
        self.position.segment = Some(next.id);
        self.position.chain_hash = chain_hash;
        Ok(())
    }

    /// Writes one batch; on `Ok` it is durable and each record has its place.
    pub(crate) fn write(&mut self, batch: &mut [Pending]) -> Result<Vec<Placed>, WriteError> {
        let Some(segment) = self.segment.clone() else {
            return Err(WriteError::Refused(Rejection::Closed));
        };
        let time_us = self.clock.wall_us().max(self.position.last_time_us);
        let entries: Vec<_> = batch
            .iter()
            .map(|pending| BatchEntry {
                record: &pending.record,
                time_us,
            })
            .collect();
        let start = self.position.end;
        let place = BatchPlace {
            lsn: start,
            epoch: self.position.epoch,
            durable: start,
        };
        let encoded = encode_batch(&self.identity(&segment), &place, &entries, &mut self.buffer)
            .map_err(WriteError::Refused)?;
        let Some(offset) = segment.offset_of(start) else {
            return Err(WriteError::Failed(LogFailure::Exhausted { at: start }));
        };
        let places: Vec<_> = encoded
            .record_lsns
            .iter()
            .map(|lsn| Placed { lsn: *lsn, time_us })
            .collect();
        for (pending, placed) in batch.iter_mut().zip(&places) {
            pending.submit(placed.lsn);
        }
        write_durable(segment.file.as_ref(), offset, &self.buffer)?;
        self.index.add(&self.buffer);
        self.position.end = encoded.end;
        self.position.last_time_us = time_us;
        self.position.chain_hash = self.position.chain_hash.extended(encoded.header_checksum);
        Ok(places)
    }

    fn identity(&self, segment: &LogSegment) -> SegmentIdentity {
        SegmentIdentity {
            store: self.store,
            segment: segment.id,
            incarnation: segment.incarnation,
        }
    }
}

/// The one place where the log becomes durable.
///
/// The build flag `bop_canary="ack_before_sync"` leaves the durability out: the crash suite must
/// notice, or it proves nothing.
fn write_durable(file: &dyn DiskFile, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
    if cfg!(bop_canary = "ack_before_sync") {
        file.write_at(offset, blocks)
    } else {
        file.write_durable_at(offset, blocks)
    }
}
