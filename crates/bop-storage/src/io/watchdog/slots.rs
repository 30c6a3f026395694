//! Where calls in flight are written down without a lock.
//!
//! ```text
//!   word:  0 = free --enter: claimed--> in flight --mark_late: lowest bit--> --leave: 0--> free
//! ```
//! Invariants
//! - a slot belongs to one call at a time: it is claimed by a compare-and-swap from 0, which a
//!   thread does on a slot of its own that no other is likely to want;
//! - a word says when its call began and which of the slot's calls it is, so that no two that could
//!   be taken for each other have the same;
//! - what else a slot says is believed only if its word was the same before and after reading it,
//!   and a call is marked late only by a compare-and-swap from that word.
//!
//! Never: waits.

use crate::io::IoOp;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Calls that can be in flight at a time without standing in the list.
const SLOTS: usize = 256;
/// Slots that a call tries.
const TRIES: usize = 8;

const FREE: u64 = 0;
/// Taken, and not written yet.
const CLAIMED: u64 = u64::MAX;
const LATE: u64 = 1;
/// Behind the bit of lateness, so many bits count the slot's calls; the rest is the start.
const COUNT_BITS: u32 = 12;
const START_SHIFT: u32 = COUNT_BITS + 1;
const NO_OFFSET: u64 = u64::MAX;

/// The operations that transfers are; a slot keeps the index.
const OPS: [IoOp; 5] = [
    IoOp::Read,
    IoOp::Write,
    IoOp::WriteDurable,
    IoOp::Sync,
    IoOp::Allocate,
];

/// A cache line for each, so that threads do not share one.
#[repr(align(64))]
struct Slot {
    /// When the call began, in microseconds, and its number, and whether it is late.
    word: AtomicU64,
    offset: AtomicU64,
    file: AtomicU32,
    op: AtomicU32,
    /// Calls that this slot had: with its number, the id of the one it has.
    calls: AtomicU64,
}

impl Slot {
    const fn new() -> Self {
        Self {
            word: AtomicU64::new(FREE),
            offset: AtomicU64::new(NO_OFFSET),
            file: AtomicU32::new(0),
            op: AtomicU32::new(0),
            calls: AtomicU64::new(0),
        }
    }

    fn id(&self, number: usize) -> u64 {
        self.calls.load(Ordering::Relaxed) * SLOTS as u64 + number as u64
    }
}

/// What a look saw in a slot.
pub(super) struct Seen {
    slot: usize,
    word: u64,
    pub(super) id: u64,
    pub(super) op: IoOp,
    pub(super) file: u32,
    pub(super) offset: Option<u64>,
    pub(super) start_us: u64,
    /// It was marked.
    pub(super) is_late: bool,
}

/// The slots of a watchdog.
pub(super) struct Slots(Box<[Slot]>);

impl Slots {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| Slot::new()).collect())
    }

    /// Writes a call down; `None` when no slot is free near the thread's own.
    pub(super) fn enter(
        &self,
        op: IoOp,
        file: u32,
        offset: Option<u64>,
        start_us: u64,
    ) -> Option<usize> {
        let kind = OPS.iter().position(|known| *known == op)?;
        let first = home();
        let number = (first..first + TRIES).map(|at| at % SLOTS).find(|number| {
            let word = &self.0[*number].word;
            // Looked at first: a failed exchange would take the line from its owner.
            word.load(Ordering::Relaxed) == FREE
                && word
                    .compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
        })?;
        // Whoever sees one of the next stores sees the claim, too.
        fence(Ordering::Release);
        let slot = &self.0[number];
        let call = slot.calls.load(Ordering::Relaxed).wrapping_add(1);
        slot.calls.store(call, Ordering::Relaxed);
        slot.op.store(kind as u32, Ordering::Relaxed);
        slot.file.store(file, Ordering::Relaxed);
        slot.offset
            .store(offset.unwrap_or(NO_OFFSET), Ordering::Relaxed);
        // One microsecond up, so that a call at the beginning of time is not a free slot.
        let count = call & ((1 << COUNT_BITS) - 1);
        let word = (start_us + 1) << START_SHIFT | count << 1;
        slot.word.store(word, Ordering::Release);
        Some(number)
    }

    /// Gives a slot back; the id of its call when that was late.
    pub(super) fn leave(&self, number: usize) -> Option<u64> {
        let slot = &self.0[number];
        let id = slot.id(number);
        let word = slot.word.swap(FREE, Ordering::AcqRel);
        (word & LATE != 0).then_some(id)
    }

    /// Shows every call in flight. One that ends meanwhile may be shown with what another says:
    /// [`Slots::mark_late`] tells.
    pub(super) fn visit(&self, mut body: impl FnMut(Seen)) {
        for (number, slot) in self.0.iter().enumerate() {
            let word = slot.word.load(Ordering::Acquire);
            if word == FREE || word == CLAIMED {
                continue;
            }
            let offset = slot.offset.load(Ordering::Relaxed);
            let kind = slot.op.load(Ordering::Relaxed) as usize;
            let seen = Seen {
                slot: number,
                word,
                id: slot.id(number),
                op: OPS.get(kind).copied().unwrap_or(IoOp::Read),
                file: slot.file.load(Ordering::Relaxed),
                offset: (offset != NO_OFFSET).then_some(offset),
                start_us: (word >> START_SHIFT) - 1,
                is_late: word & LATE != 0,
            };
            body(seen);
        }
    }

    /// Whether a call that was seen is still in flight, and is what was seen.
    pub(super) fn is_still(&self, seen: &Seen) -> bool {
        fence(Ordering::Acquire);
        let word = self.0[seen.slot].word.load(Ordering::Relaxed);
        word & !LATE == seen.word & !LATE
    }

    /// Marks a call late that was seen; `false` when it has returned meanwhile.
    pub(super) fn mark_late(&self, seen: &Seen) -> bool {
        fence(Ordering::Acquire);
        let slot = &self.0[seen.slot];
        let late = seen.word | LATE;
        let marked =
            slot.word
                .compare_exchange(seen.word, late, Ordering::AcqRel, Ordering::Relaxed);
        marked.is_ok()
    }
}

/// Where the calling thread looks first.
fn home() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: usize = THREADS.fetch_add(1, Ordering::Relaxed) * TRIES % SLOTS;
    }
    HOME.with(|home| *home)
}
