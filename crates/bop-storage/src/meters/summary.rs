//! How values are distributed: quantiles of the last minutes, sum and count since the beginning.
//!
//! ```text
//!   value --> [newest window] --a minute old--> [window before] --> dropped
//!                    '--------- quantiles ----------'
//! ```
//! Quantiles over a store's whole life would tell nothing after a week. So there are two histograms
//! of one minute each: what is told comes from both, and covers the last one to two minutes.
//!
//! Invariant: memory is that of two fixed tables, whatever is recorded; a quantile is right within
//! one part in a hundred.
//!
//! Never: waits; its lock is held for a few dozen instructions, but while a report is made.

use super::report::SummaryValue;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Digits that are kept of a value.
const DIGITS: u8 = 2;

/// Larger values count as this one: an hour of microseconds, or 4 GiB.
const LARGEST: u64 = 1 << 32;

/// How long values go to one window.
const WINDOW: Duration = Duration::from_secs(60);

/// Two windows, and what was recorded in all.
#[derive(Debug)]
pub(super) struct Summary {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` when its bounds were refused, which they are not: they are constants, and tested.
    windows: Option<[Histogram<u32>; 2]>,
    began: Instant,
    count: u64,
    sum: u64,
}

impl Summary {
    /// An empty one.
    pub(super) fn new(now: Instant) -> Self {
        let window = || Histogram::new_with_bounds(1, LARGEST, DIGITS).ok();
        let state = State {
            windows: window().zip(window()).map(<[_; 2]>::from),
            began: now,
            count: 0,
            sum: 0,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// Records one value.
    pub(super) fn record(&self, value: u64, now: Instant) {
        let mut state = self.state.lock();
        state.turn_to(now);
        state.count += 1;
        state.sum = state.sum.saturating_add(value);
        if let Some([newest, _]) = &mut state.windows {
            newest.saturating_record(value);
        }
    }

    /// What it says, each value times `scale`.
    pub(super) fn value(&self, scale: f64, now: Instant) -> SummaryValue {
        let mut state = self.state.lock();
        state.turn_to(now);
        let (count, sum) = (state.count, state.sum);
        let both = state.windows.as_ref().and_then(|[newest, before]| {
            let mut both = newest.clone();
            both.add(before).ok().map(|()| both)
        });
        drop(state);
        let recent = both.filter(|both| !both.is_empty());
        let quantile = |quantile: f64| {
            let recent = recent.as_ref()?;
            Some(recent.value_at_quantile(quantile) as f64 * scale)
        };
        SummaryValue {
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            sum: sum as f64 * scale,
            count,
        }
    }
}

impl State {
    /// Begins a new window when the newest one is old.
    fn turn_to(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age < WINDOW {
            return;
        }
        self.began = now;
        if let Some([newest, before]) = &mut self.windows {
            std::mem::swap(newest, before);
            newest.reset();
            if 2 * WINDOW <= age {
                before.reset();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values_within_a_hundredth() {
        let now = Instant::now();
        let summary = Summary::new(now);
        for value in 1..=10_000 {
            summary.record(value, now);
        }
        let value = summary.value(0.5, now);
        assert_eq!((value.count, value.sum), (10_000, 25_002_500.0));
        for (found, expected) in [
            (value.p50, 2500.0),
            (value.p95, 4750.0),
            (value.p99, 4950.0),
        ] {
            let off = (found.unwrap() / expected - 1.0).abs();
            assert!(off < 0.01, "{found:?} for {expected}");
        }
    }

    #[test]
    fn a_value_counts_in_the_quantiles_for_one_to_two_minutes_and_in_the_sum_for_ever() {
        let now = Instant::now();
        let summary = Summary::new(now);
        summary.record(1000, now);
        let second = now + WINDOW;
        summary.record(10, second);
        assert!(summary.value(1.0, second).p99.unwrap() >= 1000.0);
        let third = second + WINDOW;
        summary.record(10, third);
        assert_eq!(summary.value(1.0, third).p99, Some(10.0));
        let later = third + 2 * WINDOW;
        let value = summary.value(1.0, later);
        assert_eq!((value.p50, value.p95, value.p99), (None, None, None));
        assert_eq!((value.count, value.sum), (3, 1020.0));
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_largest() {
        let now = Instant::now();
        let summary = Summary::new(now);
        summary.record(u64::MAX, now);
        summary.record(0, now);
        let value = summary.value(1.0, now);
        assert!(value.p99.unwrap() >= LARGEST as f64 * 0.99);
        assert_eq!(value.p50, Some(0.0));
    }
}
