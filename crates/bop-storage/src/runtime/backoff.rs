//! How long to wait before the next attempt: doubling, capped, with jitter.
//!
//! Never: sleeps.

use super::Clock;
use std::time::Duration;

/// A number for the jitter: the clock's last digits, spread over all bits.
pub(crate) fn jitter(clock: &dyn Clock) -> u64 {
    clock.monotonic_us().wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The waits before attempts 1, 2, 3, ...
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Backoff {
    /// Before the first attempt.
    pub(crate) first: Duration,
    /// Never longer than this.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The wait before an attempt, counted from 0: between a half and the whole of the doubled wait,
    /// as `random` says, so that many stores on one device do not knock in step.
    pub(crate) fn delay(&self, attempt: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.cap);
        let half = whole / 2;
        // At most the half again: a share of 2^32 parts of it.
        let share = (random >> 32) as u32;
        let jitter = half.as_nanos().saturating_mul(u128::from(share)) >> 32;
        half + Duration::from_nanos(u64::try_from(jitter).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;
    use std::collections::BTreeSet;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(10),
        cap: Duration::from_secs(5),
    };

    #[test]
    fn it_doubles_up_to_the_cap_and_never_overflows() {
        let waits: Vec<_> = (0..4).map(|n| BACKOFF.delay(n, u64::MAX)).collect();
        for (wait, millis) in waits.iter().zip([10, 20, 40, 80]) {
            let whole = Duration::from_millis(millis);
            assert!(whole - *wait < Duration::from_micros(1), "{wait:?}");
        }
        for attempt in [9, 31, 32, 33, 1000, u32::MAX] {
            let wait = BACKOFF.delay(attempt, u64::MAX);
            assert!(wait <= BACKOFF.cap, "attempt {attempt}: {wait:?}");
            assert!(BACKOFF.cap / 2 <= BACKOFF.delay(attempt, 0));
        }
        let longest = Backoff {
            first: Duration::MAX,
            cap: Duration::MAX,
        };
        assert!(longest.delay(u32::MAX, u64::MAX) <= Duration::MAX);
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        let waits: Vec<_> = (0..8_u64).map(|n| BACKOFF.delay(3, n << 61)).collect();
        assert!(waits.is_sorted() && waits[0] < waits[7], "{waits:?}");
        assert!(waits[0] == Duration::from_millis(40));
    }

    #[test]
    fn stores_that_fail_a_microsecond_apart_do_not_knock_in_step() {
        let clock = ManualClock::new(0);
        let waits: BTreeSet<_> = (0..64)
            .map(|_| {
                clock.advance(1);
                BACKOFF.delay(3, jitter(&clock)).as_millis()
            })
            .collect();
        // Half of 80 ms is not jitter; the rest is spread.
        assert!(20 < waits.len(), "{waits:?} ms");
    }
}
