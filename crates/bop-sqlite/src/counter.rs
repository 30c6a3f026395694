//! The change counter that one handle is shown: bytes 24..28 and 92..96 of page 1.
//!
//! SQLite keeps its page cache from one transaction to the next if these bytes are the ones that it read or
//! wrote last. So they must be the same as long as nobody else has committed, and others when somebody
//! has:
//!
//! ```text
//! shown(s) at state L --nobody else commits--> shown(s) at L
//!     |  '--somebody commits L'--> shown(highest + 1) at L'
//!     '--SQLite writes page 1 with c, and commits M--> shown(c) at M
//!                                 '--rolls back, or fails--> shown(s) at L, or distrust: never seen before
//! ```
//! A counter made of the newest Lsn alone would make SQLite drop its cache after each of its own commits:
//! what it compares with is what it wrote itself.
//!
//! Invariant: a counter that SQLite may have in its cache is never shown for another state.
//!
//! Never: stored. The engine has zeros there.

use bop_storage::Lsn;
use bop_storage::canary::{Canary, is_planted};

/// What one handle is shown.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    /// The state for which `shown` is.
    of: Option<Lsn>,
    shown: u32,
    /// In page 1 as this transaction wrote it.
    written: Option<u32>,
    /// The largest that SQLite has read or written through this handle.
    highest: u32,
}

impl Counter {
    /// The counter to show for a state that is read.
    pub(crate) fn show(&mut self, state: Lsn) -> u32 {
        let is_told = self.of.is_none() || !is_planted(Canary::NoChangeCounter);
        if self.of != Some(state) && is_told {
            self.highest = self.highest.wrapping_add(1);
            self.shown = self.highest;
            self.of = Some(state);
        }
        self.shown
    }

    /// The counter to show inside of a write transaction that began at `state`.
    pub(crate) fn show_own(&mut self, state: Lsn) -> u32 {
        match self.written {
            Some(written) => written,
            None => self.show(state),
        }
    }

    /// SQLite wrote page 1 with this counter.
    pub(crate) fn wrote(&mut self, counter: u32) {
        self.written = Some(counter);
        self.highest = self.highest.max(counter);
    }

    /// What was written is the state `commit` now.
    pub(crate) fn committed(&mut self, commit: Lsn) {
        self.shown = self.written.take().unwrap_or(self.shown);
        self.of = Some(commit);
    }

    /// What was written is not.
    pub(crate) fn rolled_back(&mut self) {
        self.written = None;
    }

    /// Whatever SQLite has in its cache, it is to be dropped.
    pub(crate) fn distrust(&mut self) {
        self.written = None;
        self.of = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_commits_leave_the_cache_valid_and_those_of_others_do_not() {
        let mut counter = Counter::default();
        let first = counter.show(Lsn::new(8));
        assert_eq!(counter.show(Lsn::new(8)), first);
        counter.wrote(first + 1);
        assert_eq!(counter.show_own(Lsn::new(8)), first + 1);
        counter.committed(Lsn::new(16));
        assert_eq!(counter.show(Lsn::new(16)), first + 1);
        let others = counter.show(Lsn::new(24));
        assert!(others > first + 1);
    }

    #[test]
    fn a_commit_without_page_one_shows_what_it_showed() {
        let mut counter = Counter::default();
        let first = counter.show(Lsn::new(8));
        counter.committed(Lsn::new(16));
        assert_eq!(counter.show(Lsn::new(16)), first);
    }

    #[test]
    fn what_was_rolled_back_is_shown_as_before_and_never_again_for_another_state() {
        let mut counter = Counter::default();
        let first = counter.show(Lsn::new(8));
        counter.wrote(first + 1);
        counter.rolled_back();
        assert_eq!(counter.show(Lsn::new(8)), first);
        assert!(counter.show(Lsn::new(16)) > first + 1);
        counter.distrust();
        assert!(counter.show(Lsn::new(16)) > first + 2);
    }
}
