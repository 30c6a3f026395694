//! A clock that stands still until a test moves it.
//!
//! Invariant: the monotonic time never goes back; the wall time goes wherever it is put.

use crate::runtime::Clock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Wall clock and monotonic clock in the hands of a test.
#[derive(Debug)]
pub struct ManualClock {
    wall_us: AtomicU64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall_us`, with the monotonic time at 0.
    pub const fn new(wall_us: u64) -> Self {
        Self {
            wall_us: AtomicU64::new(wall_us),
            monotonic_us: AtomicU64::new(0),
        }
    }

    /// Moves both times forward.
    pub fn advance(&self, us: u64) {
        self.wall_us.fetch_add(us, Ordering::SeqCst);
        self.monotonic_us.fetch_add(us, Ordering::SeqCst);
    }

    /// Puts the wall time anywhere, backwards too, as an administrator can.
    pub fn set_wall(&self, us: u64) {
        self.wall_us.store(us, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_us(&self) -> u64 {
        self.wall_us.load(Ordering::SeqCst)
    }

    fn monotonic_us(&self) -> u64 {
        self.monotonic_us.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_when_told_and_the_wall_may_go_back() {
        let clock = ManualClock::new(1_000);
        clock.advance(5);
        clock.set_wall(10);
        clock.advance(1);
        assert_eq!((clock.wall_us(), clock.monotonic_us()), (11, 6));
    }
}
