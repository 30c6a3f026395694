//! The segments of the log: spares in front, one active, the sealed ones behind it.
//!
//! Invariants
//! - at most one segment is active; it has the largest id and the largest base of all that were
//!   activated;
//! - spares are handed out in id order, and by the log to whoever has the turn alone;
//! - a segment stays readable until it is released, and it is released only when it is sealed and
//!   every older one is released too.
//!
//! Never: writes to a file, decides what may be released (that is [`LogHolds`](super::LogHolds)).

use super::seal::SealJobs;
use super::segment::{LogSegment, SealedSegment, SpareSegment};
use crate::ids::{Lsn, SegmentId};
use crate::runtime::sync::Mutex;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The ring. Readers locate an Lsn without a lock.
#[derive(Debug)]
pub struct Ring {
    state: Mutex<State>,
    /// Activated segments by ascending base.
    readable: ArcSwap<Vec<Arc<LogSegment>>>,
    /// What every commit asks, as of the last change: bytes of the counted segments, and of the
    /// smallest one that the next records can meet (0 for none).
    held_bytes: AtomicU64,
    smallest_bytes: AtomicU64,
    /// Sealed ones that are to get their index.
    seals: SealJobs,
}

#[derive(Debug, Default)]
struct State {
    spares: BTreeMap<SegmentId, SpareSegment>,
    /// The spare that was handed out last.
    taken: SegmentId,
    sealed: VecDeque<SealedSegment>,
    active: Option<Arc<LogSegment>>,
    largest_id: SegmentId,
    /// Segments that start below are kept for damaged databases, or cursors, alone.
    aside: Lsn,
    /// No longer in the log, but still read: databases that are damaged in part have pages there.
    left: Vec<Arc<LogSegment>>,
}

impl State {
    fn readable(&self) -> Arc<Vec<Arc<LogSegment>>> {
        let sealed = self.sealed.iter().map(|sealed| Arc::clone(&sealed.segment));
        let left = self.left.iter().cloned();
        let mut all: Vec<_> = left.chain(sealed).chain(self.active.clone()).collect();
        all.sort_by_key(|segment| segment.base);
        Arc::new(all)
    }

    fn held_bytes(&self) -> u64 {
        let sealed = self.counted().map(|sealed| &sealed.segment);
        let held = sealed.chain(&self.active);
        held.map(|segment| segment.capacity_bytes).sum()
    }

    fn smallest_bytes(&self) -> u64 {
        let spares = self.spares.values().map(|spare| spare.capacity_bytes);
        let active = self.active.iter().map(|active| active.capacity_bytes);
        spares.chain(active).min().unwrap_or(0)
    }

    fn counted(&self) -> impl Iterator<Item = &SealedSegment> {
        let sealed = self.sealed.iter();
        sealed.filter(|sealed| self.aside < sealed.end)
    }
}

impl Ring {
    /// The ring as recovery found it; `largest_id` is the largest id ever seen.
    pub fn new(
        sealed: Vec<SealedSegment>,
        active: Option<Arc<LogSegment>>,
        spares: Vec<SpareSegment>,
        largest_id: SegmentId,
    ) -> Self {
        let spares = spares.into_iter().map(|spare| (spare.id, spare)).collect();
        let state = State {
            spares,
            taken: SegmentId::default(),
            sealed: sealed.into(),
            active,
            largest_id,
            aside: Lsn::ZERO,
            left: Vec::new(),
        };
        Self {
            readable: ArcSwap::new(state.readable()),
            held_bytes: AtomicU64::new(state.held_bytes()),
            smallest_bytes: AtomicU64::new(state.smallest_bytes()),
            state: Mutex::new(state),
            seals: SealJobs::default(),
        }
    }

    /// Changes the state, and what is told without its lock.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.held_bytes.store(state.held_bytes(), Ordering::Release);
        self.smallest_bytes
            .store(state.smallest_bytes(), Ordering::Release);
        changed
    }

    /// The segment that holds an Lsn, and the offset in its file.
    pub fn locate(&self, lsn: Lsn) -> Option<(Arc<LogSegment>, u64)> {
        let readable = self.readable.load();
        let after = readable.partition_point(|segment| segment.base <= lsn);
        let segment = readable.get(after.checked_sub(1)?)?;
        Some((Arc::clone(segment), segment.offset_of(lsn)?))
    }

    /// The sealed segments that wait for their index.
    pub fn seals(&self) -> &SealJobs {
        &self.seals
    }

    /// Whether the segment is sealed and not released.
    pub fn is_sealed(&self, id: SegmentId) -> bool {
        let state = self.state.lock();
        state.sealed.iter().any(|sealed| sealed.segment.id == id)
    }

    /// The segment that batches are written to.
    pub fn active(&self) -> Option<Arc<LogSegment>> {
        self.state.lock().active.clone()
    }

    /// Spares in hand.
    pub fn spare_count(&self) -> usize {
        self.state.lock().spares.len()
    }

    /// Bytes of the smallest segment that the next records can meet: a spare or the active one.
    pub fn smallest_capacity_bytes(&self) -> Option<u64> {
        let smallest = self.smallest_bytes.load(Ordering::Acquire);
        (smallest > 0).then_some(smallest)
    }

    /// Bytes of the largest segment, spare or not: the next one is made at least as large.
    pub fn largest_capacity_bytes(&self) -> Option<u64> {
        let state = self.state.lock();
        let spares = state.spares.values().map(|spare| spare.capacity_bytes);
        spares
            .chain(
                self.readable
                    .load()
                    .iter()
                    .map(|segment| segment.capacity_bytes),
            )
            .max()
    }

    /// Draws the id of a segment that is about to be made.
    pub fn next_id(&self) -> Option<SegmentId> {
        let mut state = self.state.lock();
        state.largest_id = state.largest_id.next()?;
        Some(state.largest_id)
    }

    /// Adds a spare that is stamped, durable and registered.
    pub fn add_spare(&self, spare: SpareSegment) {
        self.change(|state| state.spares.insert(spare.id, spare));
    }

    /// Takes the next spare in id order, unless that would leave fewer than `keep`.
    pub fn take_spare(&self, keep: usize) -> Option<SpareSegment> {
        self.change(|state| {
            if state.spares.len() <= keep {
                return None;
            }
            let (id, spare) = state.spares.pop_first()?;
            state.taken = id;
            Some(spare)
        })
    }

    /// Takes back a spare that was handed out, unless another was since: recovery believes that
    /// segments follow each other in the order of their ids. Answers whether it did.
    pub fn give_back(&self, spare: SpareSegment) -> bool {
        self.change(|state| {
            let is_last = state.taken == spare.id;
            if is_last {
                state.spares.insert(spare.id, spare);
            }
            is_last
        })
    }

    /// `segment` is the active one from now on; the one before it is sealed at `predecessor_end`.
    pub fn activate(&self, segment: Arc<LogSegment>, predecessor_end: Lsn) {
        self.change(|state| {
            if let Some(previous) = state.active.replace(segment) {
                state.sealed.push_back(SealedSegment {
                    segment: previous,
                    end: predecessor_end,
                });
            }
            self.readable.store(state.readable());
        });
    }

    /// The oldest sealed segments that lie wholly below `bound`.
    pub fn releasable(&self, bound: Lsn) -> Vec<SealedSegment> {
        let state = self.state.lock();
        state
            .sealed
            .iter()
            .take_while(|sealed| sealed.end <= bound)
            .cloned()
            .collect()
    }

    /// Where the oldest sealed segment that is counted ends: the next that can be released.
    pub fn oldest_sealed_end(&self) -> Option<Lsn> {
        let state = self.state.lock();
        state.counted().next().map(|sealed| sealed.end)
    }

    /// Forgets sealed segments: nobody can locate them any more, but for those that were set `aside`.
    pub fn release(&self, released: &[SealedSegment], aside: &[SegmentId]) {
        self.change(|state| {
            for gone in released {
                let oldest = state.sealed.front();
                if oldest.is_some_and(|oldest| oldest.segment.id == gone.segment.id) {
                    state.sealed.pop_front();
                }
                if aside.contains(&gone.segment.id) {
                    state.left.push(Arc::clone(&gone.segment));
                }
            }
            self.readable.store(state.readable());
        });
    }

    /// Sealed segments that lie wholly below `bound` are kept for damaged databases or cursors alone, and not
    /// counted from now on. Answers whether there is one more of them than before.
    pub fn set_aside(&self, bound: Lsn) -> bool {
        self.change(|state| {
            let below = state.sealed.iter().take_while(|one| one.end <= bound);
            let aside = below.last().map_or(Lsn::ZERO, |last| last.end);
            let more = state.aside < aside;
            state.aside = state.aside.max(aside);
            more
        })
    }

    /// Bytes of the active segment and of the sealed ones that are not set aside.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Acquire)
    }

    /// Bytes of all segments that hold records, counted or set aside.
    pub fn kept_bytes(&self) -> u64 {
        let state = self.state.lock();
        let sealed = state.sealed.iter().map(|sealed| &sealed.segment);
        let kept = sealed.chain(&state.active);
        kept.map(|segment| segment.capacity_bytes).sum()
    }

    /// How many segments are sealed, not released and not set aside.
    pub fn sealed_count(&self) -> usize {
        self.state.lock().counted().count()
    }

    /// The sealed segments, oldest first.
    pub fn sealed(&self) -> Vec<SealedSegment> {
        self.state.lock().sealed.iter().cloned().collect()
    }

    /// The spares, in id order.
    pub fn spares(&self) -> Vec<SpareSegment> {
        self.state.lock().spares.values().cloned().collect()
    }
}
