//! The savepoints of a write transaction that somebody can still come back to, and its clock.
//!
//! The clock stands still between two savepoints: what was written at the same time as, or after,
//! the newest of them needs no undo entry when it is overwritten.
//!
//! Invariants
//! - the clock never goes back, so a savepoint is one moment and no other;
//! - `live` is ascending, and nothing in it is later than the clock.
//!
//! Never: knows a page.

use std::ops::Range;

/// A moment of a write transaction, to come back to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Savepoint(u64);

impl Savepoint {
    /// The savepoint as a number above 0, to be kept where only numbers can be.
    pub const fn into_raw(self) -> u64 {
        self.0
    }

    /// The savepoint behind a number from [`Savepoint::into_raw`].
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// What was there when the transaction began, as a time.
pub(super) const START: u64 = 0;

/// The savepoints, and the clock.
#[derive(Debug, Default)]
pub(crate) struct Savepoints {
    now: u64,
    live: Vec<u64>,
}

impl Savepoints {
    /// Begins a new time, and keeps its beginning.
    pub(crate) fn take(&mut self) -> Savepoint {
        self.now += 1;
        self.live.push(self.now);
        Savepoint(self.now)
    }

    /// The time that it is.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether somebody can come back to what is there since `since`, once it is overwritten.
    pub(super) fn need(&self, since: u64) -> bool {
        self.live.last().is_some_and(|newest| since < *newest)
    }

    /// Later savepoints are void.
    pub(super) fn return_to(&mut self, savepoint: Savepoint) {
        let later = self.live.partition_point(|live| *live <= savepoint.0);
        self.live.truncate(later);
    }

    /// Nobody comes back to `savepoint`, or has not to come back: `None` when it is void already.
    pub(super) fn forget(&mut self, savepoint: Savepoint) -> Option<Forgotten> {
        let at = self.live.binary_search(&savepoint.0).ok()?;
        self.live.remove(at);
        let until = self.live.get(at).copied().unwrap_or(u64::MAX);
        let outer = at.checked_sub(1).map(|outer| self.live[outer]);
        Some(Forgotten {
            times: savepoint.0..until,
            outer,
        })
    }

    /// All savepoints are void.
    pub(crate) fn clear(&mut self) {
        self.live.clear();
    }
}

/// What a savepoint kept alone.
#[derive(Debug)]
pub(super) struct Forgotten {
    /// The time from it to the next one.
    pub(super) times: Range<u64>,
    /// The savepoint before it.
    outer: Option<u64>,
}

impl Forgotten {
    /// Whether the savepoint before it needs what was there since `since`.
    pub(super) fn is_needed(&self, since: u64) -> bool {
        self.outer.is_some_and(|outer| since < outer)
    }
}
