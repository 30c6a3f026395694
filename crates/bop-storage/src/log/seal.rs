//! Indexes of sealed segments: gathered while batches are written, put behind a segment when the
//! log has left it, off the commit path.
//!
//! ```text
//!            batch written            the log leaves the segment           housekeeper
//! Gathering -------------> Gathering ---------------------------> SealJob -----------> in the file
//!     '--(too large, or it began inside a segment)--> Partial ---> SealJob that scans it first
//! ```
//! Invariants
//! - an index is written for a segment whose end is final, behind its own bytes: body, sync, header,
//!   each durable before the next, so a crash leaves no index or a whole one;
//! - memory is bounded: one body of [`seal_bytes_max`] is gathered, and [`WAITING_BYTES_MAX`] wait
//!   to be written; what would pass that is read back from its segment when its turn comes.
//!
//! Never: on the commit path beyond a copy of what was written; needed by anybody.

use super::format::{
    Activated, ChainHash, Sealed, SealedHeader, SegmentIdentity, add_batch, seal_bytes_max,
};
use super::scan::{Content, Manner, SegmentSpace, scan_segment};
use super::segment::LogSegment;
use crate::error::Reject;
use crate::ids::{Lsn, StoreId};
use crate::io::{BLOCK_BYTES, Block, IoFailure, zeroed_blocks};
use crate::runtime::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Bodies that wait for the housekeeper take no more memory than this.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Gathers the index of the segment that is written to.
#[derive(Debug, Default)]
pub(super) struct SealGatherer {
    body: Vec<u8>,
    batches: u32,
    bytes_max: usize,
    /// Whether `body` has every batch of the segment so far.
    whole: bool,
}

impl SealGatherer {
    /// For a segment whose first batch is still to come.
    pub(super) fn of(segment: &LogSegment) -> Self {
        let bytes_max = seal_bytes_max(segment.capacity_bytes);
        Self {
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            whole: true,
            ..Self::default()
        }
    }

    /// Takes in a batch that is durable, which `batch` adds to a body.
    pub(super) fn add(&mut self, batch: impl FnOnce(&mut Vec<u8>) -> Result<(), Reject>) {
        if !self.whole {
            return;
        }
        let added = batch(&mut self.body);
        self.batches = self.batches.saturating_add(1);
        if added.is_err() || self.bytes_max < self.body.len() {
            (self.whole, self.body) = (false, Vec::new());
        }
    }

    /// The log leaves `segment` for `next`.
    pub(super) fn roll(
        &mut self,
        jobs: &SealJobs,
        segment: &Arc<LogSegment>,
        sealed: Sealed,
        next: &LogSegment,
    ) {
        let Self {
            body,
            batches,
            bytes_max,
            whole,
        } = std::mem::replace(self, Self::of(next));
        let too_large = !whole && bytes_max > 0;
        if !too_large {
            let gathered = whole.then_some(Gathered {
                body,
                batches,
                sealed,
            });
            jobs.push(Arc::clone(segment), sealed.end, gathered);
        }
    }
}

/// A body that has all batches of its segment.
#[derive(Debug)]
struct Gathered {
    body: Vec<u8>,
    batches: u32,
    sealed: Sealed,
}

/// A sealed segment that is to get its index.
#[derive(Debug)]
struct SealJob {
    segment: Arc<LogSegment>,
    end: Lsn,
    gathered: Option<Gathered>,
}

/// Segments that wait for their index.
#[derive(Debug, Default)]
pub struct SealJobs {
    waiting: Mutex<Waiting>,
    /// Held while an index is written, so that two lives of one file do not meet.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<SealJob>,
    bytes: usize,
}

impl SealJobs {
    /// A sealed segment without an index, which was not gathered.
    pub fn push_unread(&self, segment: Arc<LogSegment>, end: Lsn) {
        self.push(segment, end, None);
    }

    fn push(&self, segment: Arc<LogSegment>, end: Lsn, gathered: Option<Gathered>) {
        let mut waiting = self.waiting.lock();
        let bytes = |gathered: &Gathered| gathered.body.len();
        let room = WAITING_BYTES_MAX.saturating_sub(waiting.bytes);
        let gathered = gathered.filter(|gathered| bytes(gathered) <= room);
        waiting.bytes += gathered.as_ref().map_or(0, bytes);
        waiting.jobs.push_back(SealJob {
            segment,
            end,
            gathered,
        });
    }

    /// While the result lives no index is written and no segment is released.
    pub fn pause(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    fn pop(&self, gathered_only: bool) -> Option<SealJob> {
        let mut waiting = self.waiting.lock();
        let mut jobs = waiting.jobs.iter();
        let at = jobs.position(|job| job.gathered.is_some() || !gathered_only)?;
        let job = waiting.jobs.remove(at)?;
        waiting.bytes -= job.gathered.as_ref().map_or(0, |one| one.body.len());
        Some(job)
    }

    /// Writes the indexes that wait, of segments that `is_sealed` still knows; with `gathered_only`
    /// not those for which a segment must be read. What fails is left out: the segment is scanned.
    pub fn run(
        &self,
        store: StoreId,
        gathered_only: bool,
        is_sealed: impl Fn(&LogSegment) -> bool,
    ) {
        loop {
            let _writing = self.writing.lock();
            let Some(job) = self.pop(gathered_only) else {
                return;
            };
            if !is_sealed(&job.segment) {
                continue;
            }
            match job.write(store) {
                Ok(true) => tracing::debug!(segment = %job.segment.id, "sealed with an index"),
                Ok(false) => tracing::debug!(segment = %job.segment.id, "gets no index"),
                Err(failure) => {
                    tracing::warn!(segment = %job.segment.id, %failure, "no index was written");
                }
            }
        }
    }
}

impl SealJob {
    /// `false` when the segment cannot have an index.
    fn write(&self, store: StoreId) -> Result<bool, IoFailure> {
        let segment = &self.segment;
        let identity = SegmentIdentity {
            store,
            segment: segment.id,
            incarnation: segment.incarnation,
        };
        let scanned;
        let gathered = match &self.gathered {
            Some(gathered) => gathered,
            None => {
                let Some(read) = gather(segment, &identity, self.end)? else {
                    return Ok(false);
                };
                scanned = read;
                &scanned
            }
        };
        let Gathered {
            body,
            batches,
            sealed,
        } = gathered;
        let header = SealedHeader::new(*sealed, &identity, *batches, body);
        let block = BLOCK_BYTES as u64;
        let mut blocks = zeroed_blocks(body.len().div_ceil(BLOCK_BYTES));
        blocks.as_mut_bytes()[..body.len()].copy_from_slice(body);
        let file = segment.file.as_ref();
        let (at, bytes) = (segment.capacity_bytes, (blocks.len() * BLOCK_BYTES) as u64);
        file.allocate(at + block + bytes)?;
        file.write_at(at + block, &blocks)?;
        file.sync()?;
        file.write_durable_at(at, &[header.encode(&identity)])?;
        Ok(true)
    }
}

/// Reads a segment that ends at `end` back. `None` when it is not sound, or its index would be too
/// large.
fn gather(
    segment: &LogSegment,
    identity: &SegmentIdentity,
    end: Lsn,
) -> Result<Option<Gathered>, IoFailure> {
    let Some((activated, start)) = activation(segment, identity)? else {
        return Ok(None);
    };
    let space = SegmentSpace {
        identity: *identity,
        base: segment.base,
        capacity_bytes: segment.capacity_bytes,
        epoch: activated.epoch,
    };
    let mut gatherer = SealGatherer::of(segment);
    let mut chain = start;
    let manner = Manner {
        keep: &|_| (),
        images: false,
    };
    let Ok(scanned) = scan_segment(Arc::clone(&segment.file), &space, end, manner) else {
        return Ok(None);
    };
    for span in &scanned.spans {
        let Content::Batch(batch) = &span.content else {
            return Ok(None);
        };
        chain = chain.extended(batch.header.checksum);
        let bytes = span.end.get().saturating_sub(span.lsn.get());
        let count = usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        let mut blocks = zeroed_blocks(count);
        segment.file.read_at(space.offset(span.lsn), &mut blocks)?;
        gatherer.add(|body| add_batch(body, blocks.as_bytes()));
    }
    let sealed = Sealed {
        base: segment.base,
        end,
        chain,
    };
    Ok(gatherer.whole.then_some(Gathered {
        body: gatherer.body,
        batches: gatherer.batches,
        sealed,
    }))
}

fn activation(
    segment: &LogSegment,
    identity: &SegmentIdentity,
) -> Result<Option<(Activated, ChainHash)>, IoFailure> {
    let mut copies = [Block::ZERO; 2];
    segment.file.read_at(BLOCK_BYTES as u64, &mut copies)?;
    let sound = |copy: &Block| -> Result<_, Reject> { Activated::decode(copy, identity) };
    Ok(copies.iter().find_map(|copy| sound(copy).ok()))
}
