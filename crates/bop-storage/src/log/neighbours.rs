//! Whether letting others run is cheap at the moment.
//!
//! A thread that lets others run (`sched_yield`) gets the processor back when they have had it. Committers of the
//! same log have it for some microseconds each. A thread that computes all the time, of whatever program, has it for
//! a whole slice of some milliseconds; and Linux's scheduler (EEVDF, since 6.6) takes a yield for a slice used up, so
//! that the one that yielded waits for its next turn, too. A log whose committers yield beside such a neighbour is
//! slower than one whose committers park by an order of magnitude.
//!
//! ```text
//!   cheap --a yield took too long--> dear for a while --> one tries it --took too long--> dear, twice as long
//!     ^                                                       '--did not--.
//!     '-------------------------- the next while is half as long ---------'
//! ```
//! The store's own housekeeper is such a neighbour, for some milliseconds now and then: for its sake the first whiles
//! are short, also when the last one was long ago.
//!
//! Invariant: it is a matter of speed alone. Threads that ask together may all be let through.
//!
//! Never: waits, reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whoever takes longer to come back let somebody run who is none of ours: a crowd of dozens takes a part of it.
const LONG_US: u64 = 2000;

/// For so long nobody yields then, at least and at most.
const DEAR_MIN_US: u64 = 5_000;
const DEAR_MAX_US: u64 = 200 * DEAR_MIN_US;

/// And for so long only the one who tries it.
const TRIAL_US: u64 = 20_000;

/// What the threads of a log have seen of their neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Until when nobody yields; 0 while it is cheap.
    dear_until_us: AtomicU64,
    /// When it was found out that it is dear, or cheap again. Who began before says nothing new.
    found_us: AtomicU64,
    /// For how long nobody will the next time, or 0.
    dear_us: AtomicU64,
}

impl Neighbours {
    /// Whether the caller may let others run.
    pub(super) fn may_run(&self, now_us: u64) -> bool {
        let until = self.dear_until_us.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let trial = now_us.saturating_add(TRIAL_US);
        let order = Ordering::Relaxed;
        let swap = || {
            self.dear_until_us
                .compare_exchange(until, trial, order, order)
        };
        until <= now_us && swap().is_ok()
    }

    /// It let them run, once or some times, and is back.
    pub(super) fn ran(&self, began_us: u64, now_us: u64) {
        let found_us = self.found_us.load(Ordering::Relaxed);
        if began_us < found_us {
            return;
        }
        let is_news = 2 * DEAR_MAX_US < began_us - found_us;
        let dear_us = match is_news {
            true => 0,
            false => self.dear_us.load(Ordering::Relaxed),
        };
        let (until, next_us) = if LONG_US < now_us.saturating_sub(began_us) {
            let dear_us = dear_us.clamp(DEAR_MIN_US, DEAR_MAX_US);
            (now_us.saturating_add(dear_us), 2 * dear_us)
        } else if self.dear_until_us.load(Ordering::Relaxed) != 0 {
            (0, dear_us / 4)
        } else {
            return;
        };
        self.found_us.store(now_us, Ordering::Relaxed);
        self.dear_until_us.store(until, Ordering::Relaxed);
        self.dear_us.store(next_us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE_US: u64 = 3 * LONG_US;

    #[test]
    fn among_committers_of_one_log_it_is_always_cheap() {
        let neighbours = Neighbours::default();
        for now_us in (0..100_000).step_by(500) {
            assert!(neighbours.may_run(now_us));
            neighbours.ran(now_us, now_us + LONG_US);
        }
    }

    #[test]
    fn beside_one_that_computes_one_thread_tries_it_ever_more_rarely() {
        let neighbours = Neighbours::default();
        let mut tried = Vec::new();
        for now_us in (0..5_000_000).step_by(1000) {
            // Two ask at any time.
            for _ in 0..2 {
                if neighbours.may_run(now_us) {
                    tried.push(now_us);
                    neighbours.ran(now_us, now_us + SLICE_US);
                }
            }
        }
        let pauses: Vec<_> = tried.windows(2).map(|two| two[1] - two[0]).collect();
        let dear = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000].map(|ms| ms * 1000);
        assert_eq!(pauses, dear.map(|us| us + SLICE_US));
    }

    #[test]
    fn many_who_come_back_late_from_one_wait_say_it_once() {
        let neighbours = Neighbours::default();
        for nth in 0..60 {
            neighbours.ran(nth, SLICE_US + nth);
        }
        assert!(!neighbours.may_run(SLICE_US + DEAR_MIN_US - 1));
        assert!(neighbours.may_run(SLICE_US + DEAR_MIN_US));
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let neighbours = Neighbours::default();
        let mut now_us = 0;
        while now_us < 5_000_000 {
            if neighbours.may_run(now_us) {
                neighbours.ran(now_us, now_us + SLICE_US);
            }
            now_us += 1000;
        }
        // He goes, one tries it, and it is cheap for an hour.
        now_us += 2 * DEAR_MAX_US;
        assert!(neighbours.may_run(now_us));
        neighbours.ran(now_us, now_us + 1);
        now_us += 3_600_000_000;
        neighbours.ran(now_us, now_us + SLICE_US);
        assert!(neighbours.may_run(now_us + SLICE_US + DEAR_MIN_US));
    }

    #[test]
    fn a_trial_that_ends_well_makes_it_usual_and_nobody_waits_for_one_that_does_not_end() {
        let neighbours = Neighbours::default();
        neighbours.ran(0, SLICE_US);
        let first = SLICE_US + DEAR_MIN_US;
        assert!(neighbours.may_run(first));
        assert!(!neighbours.may_run(first + TRIAL_US - 1));
        let second = first + TRIAL_US;
        assert!(neighbours.may_run(second), "another one tries");
        neighbours.ran(second, second + 10);
        for _ in 0..2 {
            assert!(neighbours.may_run(second + 10));
        }
    }
}
