//! The circuit breakers of the work in the background that may heal: making spare segments, and
//! checkpoints.
//!
//! Invariant: a breaker is told of every end of its work, a panic too, whoever asked for it.
//!
//! Never: keeps anybody from work that he asked for himself; the breaker is only told how it ended.

use super::engine::Engine;
use crate::limits::ValidLimits;
use crate::runtime::sync::{Mutex, now};
use crate::runtime::{Backoff, Breaker, BreakerStatus, jitter};
use std::time::{Duration, Instant};

/// The first wait of a breaker that opened.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// A kind of work that has a breaker.
#[derive(Copy, Clone, Debug)]
pub(super) enum Work {
    Spares,
    Checkpoint,
}

/// A breaker for each kind of work.
#[derive(Debug)]
pub(super) struct Guards {
    spares: Mutex<Breaker>,
    checkpoint: Mutex<Breaker>,
    /// The newest checkpoint that succeeded since the store was opened.
    last_checkpoint: Mutex<Option<LastCheckpoint>>,
}

/// A checkpoint that succeeded.
#[derive(Copy, Clone, Debug)]
pub(super) struct LastCheckpoint {
    /// When it ended, in microseconds since the Unix epoch.
    pub(super) ended_us: u64,
    /// Commits that were durable before it began, of those since the store was opened.
    pub(super) commits: u64,
}

impl Guards {
    pub(super) fn new(limits: &ValidLimits) -> Self {
        // Whoever waits for room or for a segment is to see a probe or two before he gives up.
        let waits = Backoff {
            first: WAIT_MIN,
            cap: limits
                .retry_delay_max
                .min(limits.writer_wait / 3)
                .max(WAIT_MIN),
        };
        Self {
            spares: Mutex::new(Breaker::new("spares", waits)),
            checkpoint: Mutex::new(Breaker::new("checkpoint", waits)),
            last_checkpoint: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> Vec<BreakerStatus> {
        let all = [Work::Spares, Work::Checkpoint];
        all.map(|work| self.of(work).lock().status()).to_vec()
    }

    pub(super) fn last_checkpoint(&self) -> Option<LastCheckpoint> {
        *self.last_checkpoint.lock()
    }

    fn of(&self, work: Work) -> &Mutex<Breaker> {
        match work {
            Work::Spares => &self.spares,
            Work::Checkpoint => &self.checkpoint,
        }
    }
}

/// Tells a breaker how work ended: badly, if nobody says otherwise.
struct EndGuard<'a> {
    engine: &'a Engine,
    work: Work,
    succeeded: bool,
    /// Commits that were durable when it began.
    commits: u64,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        if self.succeeded && matches!(self.work, Work::Checkpoint) {
            *self.engine.guards.last_checkpoint.lock() = Some(LastCheckpoint {
                ended_us: self.engine.runtime.clock.wall_us(),
                commits: self.commits,
            });
        }
        let random = jitter(self.engine.runtime.clock.as_ref());
        let breaker = self.engine.guards.of(self.work);
        let probe_at = breaker.lock().ended(self.succeeded, now(), random);
        if let Some(at) = probe_at {
            self.engine.again_at(self.work, at);
        }
    }
}

impl Engine {
    /// Does work in the background unless its breaker is open; `None` when it is. Without a thread in
    /// the background whoever keeps house has asked for it, and it is done.
    pub(super) fn guarded<T, E>(
        &self,
        work: Work,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        if self.is_housekeeping() {
            let admitted = self.guards.of(work).lock().admit(now());
            if let Err(until) = admitted {
                if let Some(until) = until {
                    self.again_at(work, until);
                }
                return None;
            }
        }
        Some(self.observed(work, body))
    }

    /// Does work and tells its breaker how it ended.
    pub(super) fn observed<T, E>(
        &self,
        work: Work,
        body: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut end = EndGuard {
            engine: self,
            work,
            succeeded: false,
            commits: self.meters.commits(),
        };
        let done = body();
        end.succeeded = done.is_ok();
        done
    }

    fn again_at(&self, work: Work, at: Instant) {
        match work {
            Work::Spares => self.signals.make_spares_at(at),
            Work::Checkpoint => self.signals.checkpoint_at(at),
        }
    }
}
