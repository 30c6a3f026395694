//! A circuit breaker: work that failed several times in a row is left alone for a while.
//!
//! ```text
//!   Closed --so many failures in a row--> Open --its wait is over, somebody asks--> Probing
//!      ^                                    ^                                         |
//!      |                                    '---------- it failed: a longer wait -----|
//!      '--------------------------------------------- it succeeded -------------------'
//! ```
//! For work that may heal: a full disk gets room again. What cannot heal (a poisoned log, a failed
//! manifest) has a state of its own and no breaker.
//!
//! Invariants
//! - while it is open nobody works, and while it is probing one does;
//! - the waits grow to a cap and no further.
//!
//! Never: works, waits, reads a clock.

use super::Backoff;
use std::time::Instant;

/// Failures in a row that open a breaker.
const FAILURES_MAX: u32 = 3;

/// Whether guarded work is done.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum BreakerState {
    /// It is.
    #[default]
    Closed,
    /// It failed too often and waits.
    Open,
    /// It is tried, once.
    Probing,
}

/// A breaker as one sees it from outside.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// The work that it guards.
    pub work: &'static str,
    /// Whether that is done.
    pub state: BreakerState,
    /// How often it failed since it last succeeded.
    pub failures: u32,
    /// How often the breaker opened, a failed probe included, since the store was opened.
    pub opened: u64,
}

/// Guards one kind of work.
#[derive(Debug)]
pub(crate) struct Breaker {
    work: &'static str,
    waits: Backoff,
    state: BreakerState,
    /// When an open one may be probed.
    until: Option<Instant>,
    failures: u32,
    opened: u64,
}

impl Breaker {
    pub(crate) fn new(work: &'static str, waits: Backoff) -> Self {
        Self {
            work,
            waits,
            state: BreakerState::Closed,
            until: None,
            failures: 0,
            opened: 0,
        }
    }

    /// Asks to begin; the answer to that is [`Breaker::ended`].
    ///
    /// # Errors
    /// When to ask again; `None`: when the probe has ended.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        match (self.state, self.until) {
            (BreakerState::Closed, _) => Ok(()),
            (BreakerState::Open, Some(until)) if now < until => Err(Some(until)),
            (BreakerState::Open, _) => {
                self.state = BreakerState::Probing;
                Ok(())
            }
            (BreakerState::Probing, _) => Err(None),
        }
    }

    /// The work has ended. `random` spreads the wait. Work that nobody asked the breaker for tells it
    /// all the same: a success proves that it can be done. Answers when to probe a breaker that
    /// opened.
    pub(crate) fn ended(&mut self, succeeded: bool, now: Instant, random: u64) -> Option<Instant> {
        if succeeded {
            if self.state != BreakerState::Closed {
                tracing::info!(work = self.work, "works again");
            }
            (self.state, self.until, self.failures) = (BreakerState::Closed, None, 0);
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX || self.state == BreakerState::Open {
            return None;
        }
        let wait = self.waits.delay(self.failures - FAILURES_MAX, random);
        self.state = BreakerState::Open;
        self.until = Some(super::after(now, wait));
        self.opened += 1;
        let (work, failures) = (self.work, self.failures);
        tracing::warn!(work, failures, ?wait, "failed too often, and waits");
        self.until
    }

    pub(crate) fn status(&self) -> BreakerStatus {
        BreakerStatus {
            work: self.work,
            state: self.state,
            failures: self.failures,
            opened: self.opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const CAP: Duration = Duration::from_secs(2);

    fn breaker() -> Breaker {
        let first = Duration::from_millis(100);
        Breaker::new("test", Backoff { first, cap: CAP })
    }

    #[test]
    fn it_opens_at_the_third_failure_is_probed_once_and_closes_on_success() {
        let (mut breaker, start) = (breaker(), Instant::now());
        for _ in 0..2 {
            breaker.admit(start).unwrap();
            breaker.ended(false, start, 0);
        }
        assert_eq!(breaker.status().state, BreakerState::Closed);
        breaker.admit(start).unwrap();
        breaker.ended(false, start, u64::MAX);
        let until = breaker.admit(start).unwrap_err().unwrap();
        let waits = until - start;
        assert!(waits > Duration::from_millis(99) && waits <= Duration::from_millis(100));
        assert_eq!(breaker.admit(until), Ok(()));
        assert_eq!(breaker.admit(until), Err(None), "one probe");
        breaker.ended(false, until, 0);
        let again = breaker.admit(until).unwrap_err().unwrap();
        assert_eq!(
            again - until,
            Duration::from_millis(100),
            "half of the doubled wait"
        );
        assert_eq!(breaker.admit(again), Ok(()));
        breaker.ended(true, again, 0);
        let status = breaker.status();
        assert_eq!(
            (status.state, status.failures, status.opened),
            (BreakerState::Closed, 0, 2)
        );
    }

    #[test]
    fn work_that_did_not_ask_closes_it_and_does_not_prolong_the_wait() {
        let (mut breaker, start) = (breaker(), Instant::now());
        let probe_at = (0..3).find_map(|_| breaker.ended(false, start, 0));
        let until = breaker.admit(start).unwrap_err();
        assert_eq!(until, probe_at);
        breaker.ended(false, start, 0);
        assert_eq!(breaker.admit(start).unwrap_err(), until);
        breaker.ended(true, start, 0);
        assert_eq!(breaker.admit(start), Ok(()));
    }

    /// What happens to the breaker.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ask,
        End(bool),
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Ask),
            1 => Just(Step::End(true)),
            4 => Just(Step::End(false)),
            2 => (0..3000_u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Against the rules themselves, with a clock of the test's own.
        #[test]
        fn nobody_works_while_it_is_open_and_the_waits_are_bounded(
            steps in prop::collection::vec(step(), 1..200),
            random: u64,
        ) {
            let (mut breaker, mut now) = (breaker(), Instant::now());
            let (mut failures, mut working, mut opened_at) = (0_u32, false, None);
            for step in steps {
                match step {
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    Step::Ask if working => {
                        prop_assert!(opened_at.is_none() || breaker.admit(now).is_err());
                    }
                    Step::Ask => match breaker.admit(now) {
                        Ok(()) => {
                            working = true;
                            let waited = opened_at.map(|at| now - at);
                            prop_assert!(waited.is_none_or(|waited| waited >= CAP / 40));
                        }
                        Err(until) => {
                            let opened_at: Instant = opened_at.unwrap();
                            prop_assert!(until.unwrap() - opened_at <= CAP);
                            prop_assert!(now < until.unwrap());
                        }
                    },
                    Step::End(_) if !working => {}
                    Step::End(succeeded) => {
                        working = false;
                        breaker.ended(succeeded, now, random);
                        failures = if succeeded { 0 } else { failures + 1 };
                        opened_at = (failures >= FAILURES_MAX).then_some(now);
                    }
                }
                let is_closed = breaker.status().state == BreakerState::Closed;
                prop_assert_eq!(is_closed, opened_at.is_none());
            }
        }
    }
}
