//! How values are distributed: quantiles of the last minutes, sum and count since the beginning.
//!
//! ```text
//!   value --> [newest window] --a minute old--> [window before] --> dropped
//!                    '--------- quantiles ----------'
//! ```
//! Quantiles over a store's whole life would tell nothing after a week. So there are two histograms
//! of one minute each: what is told comes from both, and covers the last one to two minutes.
//!
//! One that a crowd records in has some such pairs of windows: whoever finds one being written takes the
//! next. What is told comes from all of them.
//!
//! Invariant: memory is that of a few fixed tables, whatever is recorded; a quantile is right within
//! one part in a hundred.
//!
//! Never: waits; its lock is held for a few dozen instructions, but while a report is made.

use super::report::SummaryValue;
use crate::runtime::sync::Mutex;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Digits that are kept of a value.
const DIGITS: u8 = 2;

/// Larger values count as this one: an hour of microseconds, or 4 GiB.
const LARGEST: u64 = 1 << 32;

/// How long values go to one window.
const WINDOW: Duration = Duration::from_secs(60);

/// Parts of one that many threads record in at once.
const PARTS: usize = 4;

/// Two windows, and what was recorded in all; as often as there are parts.
#[derive(Debug)]
pub(super) struct Summary {
    first: Mutex<State>,
    /// For those who find it locked.
    others: Vec<Mutex<State>>,
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
        Self {
            first: Mutex::new(State::new(now)),
            others: Vec::new(),
        }
    }

    /// An empty one that many threads record in at the same moment.
    pub(super) fn crowded(now: Instant) -> Self {
        let other = || Mutex::new(State::new(now));
        Self {
            others: std::iter::repeat_with(other).take(PARTS - 1).collect(),
            ..Self::new(now)
        }
    }

    /// Records one value.
    pub(super) fn record(&self, value: u64, now: Instant) {
        let free = self.parts().find_map(Mutex::try_lock);
        let mut state = free.unwrap_or_else(|| self.first.lock());
        state.turn_to(now);
        state.count += 1;
        state.sum = state.sum.saturating_add(value);
        if let Some([newest, _]) = &mut state.windows {
            newest.saturating_record(value);
        }
    }

    /// What it says, each value times `scale`.
    pub(super) fn value(&self, scale: f64, now: Instant) -> SummaryValue {
        let (mut count, mut sum) = (0, 0_u64);
        let mut all: Option<Histogram<u32>> = None;
        for part in self.parts() {
            let mut state = part.lock();
            state.turn_to(now);
            count += state.count;
            sum = sum.saturating_add(state.sum);
            for window in state.windows.iter().flatten() {
                match &mut all {
                    // Their bounds are the same.
                    Some(all) => drop(all.add(window)),
                    None => all = Some(window.clone()),
                }
            }
        }
        let recent = all.filter(|all| !all.is_empty());
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

    fn parts(&self) -> impl Iterator<Item = &Mutex<State>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        let window = || Histogram::new_with_bounds(1, LARGEST, DIGITS).ok();
        Self {
            windows: window().zip(window()).map(<[_; 2]>::from),
            began: now,
            count: 0,
            sum: 0,
        }
    }

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
    fn what_a_crowd_records_is_all_there() {
        let now = Instant::now();
        let summary = Summary::crowded(now);
        // Whoever finds a part locked goes to the next.
        let held = summary.first.lock();
        (0..10).for_each(|_| summary.record(4000, now));
        drop(held);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..500).for_each(|_| summary.record(1000, now)));
            }
        });
        let value = summary.value(1.0, now);
        assert_eq!((value.count, value.sum), (4010, 4_040_000.0));
        assert!(summary.others[0].lock().count >= 10);
        assert!(value.p99.unwrap() < 1010.0 && value.p50.unwrap() >= 1000.0);
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
