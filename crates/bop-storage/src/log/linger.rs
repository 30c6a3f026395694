//! Whether committers let others run before they park.
//!
//! In a crowd somebody else has work nearly always. A committer that lets them run instead of parking often
//! finds its answer when it runs again, and nobody had to wake it. Where the scheduler brings it back before
//! that, or nobody else is there, it was in vain: it parks then after all, later.
//!
//! ```text
//!   credit > 0: let others run --the answer is there--> more credit
//!                              '-------- not yet -----> less, park
//!   credit = 0: park at once; after many such waits all try it again for a while
//! ```
//! All, since it pays only when most do: one that lets others run while these are parked comes back at once.
//!
//! Invariant: it is a matter of speed alone. The counts may be off when threads change them together.
//!
//! Never: waits, reads a clock.

use std::sync::atomic::{AtomicU32, Ordering};

/// So often one lets others run.
pub(super) const LINGER_YIELDS: u32 = 2;

/// One answer found pays for as many waits in vain: it saves a park and a wake-up, and where some find theirs
/// soon more do.
const CREDIT_FOUND: u32 = 7;

/// Credit is not saved up beyond this; as much is given for another try.
const CREDIT_MAX: u32 = 1024;

/// There is another try after so many waits without credit.
const TRY_AGAIN_AFTER: u32 = 32 * CREDIT_MAX;

/// What the committers of a log have found.
#[derive(Debug)]
pub(super) struct Lingering {
    credit: AtomicU32,
    /// Waits that began without credit since the last try.
    without: AtomicU32,
}

impl Default for Lingering {
    fn default() -> Self {
        Self {
            credit: AtomicU32::new(CREDIT_MAX),
            without: AtomicU32::new(0),
        }
    }
}

impl Lingering {
    /// Whether the committer that is about to wait should let others run before it parks.
    pub(super) fn is_worth_it(&self) -> bool {
        if 0 < self.credit.load(Ordering::Relaxed) {
            return true;
        }
        if self.without.fetch_add(1, Ordering::Relaxed) < TRY_AGAIN_AFTER {
            return false;
        }
        self.without.store(0, Ordering::Relaxed);
        self.credit.store(CREDIT_MAX, Ordering::Relaxed);
        true
    }

    /// It let others run, and the answer was there then or not.
    pub(super) fn ended(&self, found: bool) {
        let credit = self.credit.load(Ordering::Relaxed);
        let credit = match found {
            true => (credit + CREDIT_FOUND).min(CREDIT_MAX),
            false => credit.saturating_sub(1),
        };
        self.credit.store(credit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `waits` waits let others run, each with the same end.
    fn tried(lingering: &Lingering, waits: u32, found: bool) -> u32 {
        let mut tried = 0;
        for _ in 0..waits {
            if lingering.is_worth_it() {
                tried += 1;
                lingering.ended(found);
            }
        }
        tried
    }

    #[test]
    fn what_is_in_vain_is_given_up_and_tried_again_later() {
        let lingering = Lingering::default();
        assert_eq!(tried(&lingering, 5000, true), 5000);
        assert_eq!(tried(&lingering, 5000, false), CREDIT_MAX);
        let without = 5000 - CREDIT_MAX;
        let rest = TRY_AGAIN_AFTER - without;
        assert_eq!(tried(&lingering, rest, false), 0);
        assert_eq!(tried(&lingering, 5000, false), CREDIT_MAX, "all try again");
    }

    #[test]
    fn it_goes_on_where_one_wait_in_eight_finds_its_answer() {
        let lingering = Lingering::default();
        for _ in 0..CREDIT_MAX {
            assert_eq!(tried(&lingering, 7, false), 7);
            assert_eq!(tried(&lingering, 1, true), 1);
        }
        for _ in 0..CREDIT_MAX {
            tried(&lingering, 8, false);
            tried(&lingering, 1, true);
        }
        assert_eq!(tried(&lingering, 100, false), 0, "one in nine is too few");
    }
}
