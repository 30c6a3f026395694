//! Whether a series of measurements grows.
//!
//! A single measurement says little: caches fill, a checkpoint has buffers, the allocator keeps what
//! it once had. So the *median of the last quarter* of a run is compared with the *median of the
//! second one*. The first quarter is left out, since everything is filled then for the first time;
//! medians do not mind the peak that a checkpoint is; half a run lies between the two, so that a leak
//! has time to show, the more the longer the run. What is more than the *slack* is growth: a part of
//! what there was, for the allocator's fragments, and a fixed amount, for what a short run has of
//! luck.
//!
//! glibc gives threads arenas of their own, and each keeps what it once had: with the threads of ever
//! new openings that looks like a leak for minutes. So `cargo xtask soak` runs with one arena, where
//! memory is flat once everything is full. The loads fill their databases first, so that this is soon.
//!
//! The store's files and its memory are full only after very many commits, which a slow machine
//! has not made in the second quarter of a short run. So they have a level up to which they only fill
//! ([`rounds`](crate::rounds)). What leaks for good goes over it, in a run that is long enough.
//!
//! Threads have no slack: a store has as many as it has, whatever the load. What a closed store
//! leaves is no matter of statistics at all, and is compared exactly, elsewhere
//! ([`rounds`](crate::rounds)).

use crate::Result;

/// How much more is no growth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slack {
    /// In hundredths of what there was.
    pub(crate) percent: u64,
    /// And so much.
    pub(crate) fixed: u64,
    /// Up to here it only fills.
    pub(crate) full: u64,
}

/// A named series.
#[derive(Debug)]
pub(crate) struct Series {
    name: &'static str,
    slack: Slack,
    values: Vec<u64>,
}

impl Series {
    pub(crate) fn new(name: &'static str, slack: Slack) -> Self {
        let values = Vec::new();
        Self {
            name,
            slack,
            values,
        }
    }

    /// From here on it does not only fill.
    pub(crate) fn is_full(&mut self) {
        self.slack.full = 0;
    }

    pub(crate) fn push(&mut self, value: u64) {
        self.values.push(value);
    }

    /// Says from what to what it went.
    ///
    /// # Errors
    /// It grows, or there are too few values to say.
    pub(crate) fn judge(&self) -> Result<String> {
        let Self {
            name,
            slack,
            values,
        } = self;
        let quarter = values.len() / 4;
        if quarter < 3 {
            return Err(format!("{} values of {name} are too few", values.len()).into());
        }
        let second = median(&values[quarter..2 * quarter]);
        let last = median(&values[values.len() - quarter..]);
        let allowed = second + second * slack.percent / 100 + slack.fixed;
        let allowed = allowed.max(slack.full);
        let from_to = format!("{name}: {second} in the second quarter, {last} in the last");
        if allowed < last {
            return Err(format!("{from_to}, more than {allowed}: it grows").into());
        }
        Ok(from_to)
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(slack: Slack, values: impl Iterator<Item = u64>) -> Result<String> {
        let mut series = Series::new("rss", slack);
        values.for_each(|value| series.push(value));
        series.judge()
    }

    const SLACK: Slack = Slack {
        percent: 10,
        fixed: 8,
        full: 0,
    };
    const NONE: Slack = Slack {
        percent: 0,
        fixed: 0,
        full: 0,
    };

    #[test]
    fn what_fills_at_first_and_stays_does_not_grow() {
        let filling = |at: u64| 100 * at.min(30) / 30;
        judged(SLACK, (0..120).map(filling)).unwrap();
        judged(NONE, (0..120).map(filling)).unwrap();
    }

    #[test]
    fn a_peak_is_no_growth_and_hides_none() {
        let peaks = |at: u64| if at % 10 == 9 { 10_000 } else { 100 };
        judged(SLACK, (0..120).map(peaks)).unwrap();
        let leaks = |at: u64| peaks(at) + at;
        let said = judged(SLACK, (0..120).map(leaks)).unwrap_err().to_string();
        assert!(said.contains("rss") && said.contains("grows"), "{said}");
    }

    #[test]
    fn the_slack_is_the_bound() {
        let step = |more: u64| (0..120).map(move |at| if at < 60 { 100 } else { 100 + more });
        judged(SLACK, step(18)).unwrap();
        judged(SLACK, step(19)).unwrap_err();
        judged(NONE, step(0)).unwrap();
        judged(NONE, step(1)).unwrap_err();
    }

    #[test]
    fn what_fills_slowly_does_not_grow_until_it_is_full() {
        let slack = Slack { full: 500, ..NONE };
        let slow = |last: u64| (0..121).map(move |at| last * at / 120);
        judged(slack, slow(500)).unwrap();
        judged(slack, slow(600)).unwrap_err();
        let mut full = Series::new("rss", slack);
        slow(500).for_each(|value| full.push(value));
        full.is_full();
        full.judge().unwrap_err();
    }

    #[test]
    fn too_few_values_are_no_proof() {
        judged(SLACK, (0..11).map(|_| 1)).unwrap_err();
    }
}
