//! The flush controller: what becomes of a batch that the device did not take.
//!
//! A failed write or sync is never tried again on the same bytes: the kernel may believe them clean.
//! The batch, still in memory, is written into a fresh segment whose activation says that the old
//! one ends before it, so that whatever the first write left behind is dead for ever. That is the
//! only retry there is.
//!
//! ```text
//!   failed or stalled --> wait --> fresh segment, write --> published, the turn is handed on
//!                          ^            |
//!                          '-- failed --'-- too often --> poisoned
//! ```
//! Invariants
//! - attempts, and the waits between them, are bounded, and one thread makes them;
//! - an attempt that failed leaves an abandoned segment, or one that its successor says is empty;
//! - a segment with a write that failed, or that may still arrive, is never used again.
//!
//! Never: edits the batch, acknowledges before it is durable.

use super::batch_buffer::BatchBuffer;
use super::lead::{Ended, answer, answer_exposed, take_over};
use super::shared::Shared;
use super::state::{Background, Task, Turn};
use crate::error::LogFailure;
use crate::runtime::sync::{elapsed, now};
use crate::runtime::{Backoff, after, fence, jitter};
use std::sync::Arc;
use std::time::Duration;

impl Shared {
    /// Takes the window from a leader that has been in the kernel for too long. `true` when there is
    /// one to be rewritten.
    pub(super) fn take_stalled(&self) -> bool {
        let mut state = self.state.lock();
        let Some(window) = &state.window else {
            return false;
        };
        let waited = elapsed(window.since);
        if window.failed.is_none() {
            if waited < self.parts.limits.stall_limit {
                return false;
            }
            let cause = Arc::new(LogFailure::Stalled { waited });
            tracing::warn!(%cause, "the batch goes to another segment");
            take_over(&mut state, &cause);
            if state.background == Background::Leads {
                state.background = Background::Hangs;
            }
            self.parts.meters.batch_failed(&cause);
        }
        true
    }

    /// Writes the window, which failed, into fresh segments until one takes it.
    pub(super) fn rewrite(&self) {
        let Some((mut task, mut cause)) = self.failed_task() else {
            return;
        };
        let backoff = Backoff {
            first: self.parts.limits.retry_delay_min,
            cap: self.parts.limits.retry_delay_max,
        };
        for attempt in 0..self.parts.limits.write_retries_max {
            let random = jitter(self.parts.clock.as_ref());
            if !self.pause(backoff.delay(attempt, random)) {
                break;
            }
            self.parts.meters.batch_rewrite(&cause);
            let mut buffer = BatchBuffer::default();
            let written = fence("rewrote a batch", || {
                self.write_afresh(&mut task, &mut buffer)
            });
            cause = match written {
                Ok(Ok(())) => return self.rewritten(&task, &buffer),
                Ok(Err(failure)) => Arc::new(failure),
                Err(panic) => Arc::new(LogFailure::Panic(Box::new(panic))),
            };
            if let Some(segment) = task.writer.segment() {
                segment.suspect();
            }
            self.parts.meters.batch_failed(&cause);
            tracing::warn!(%cause, attempt, lsn = %task.start, "a batch was not rewritten");
        }
        self.poison(&cause);
        self.hand_over();
    }

    fn failed_task(&self) -> Option<(Task, Arc<LogFailure>)> {
        let state = self.state.lock();
        debug_assert_eq!(state.turn, Turn::Rewriting);
        let cause = state.window.as_ref()?.failed.clone()?;
        Some((state.task(0)?, cause))
    }

    /// Lets the device rest; `false` when the log is told to stop. Without a thread of its own the
    /// log is a test's, whose device does not get better by waiting.
    fn pause(&self, wait: Duration) -> bool {
        let mut state = self.state.lock();
        let deadline = after(now(), wait);
        while !state.stop && self.parts.spawn.is_some() {
            if self.failed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        !state.stop
    }

    /// One attempt: a segment that was never written to, and the batch in it.
    fn write_afresh(&self, task: &mut Task, buffer: &mut BatchBuffer) -> Result<(), LogFailure> {
        self.roll(task, 0)?;
        let (start, entries) = (task.start, Arc::clone(&task.entries));
        let written = task.writer.write(start, &entries, buffer);
        let written = written.map(|took| self.parts.meters.batch_written(took));
        written.map_err(|error| LogFailure::from(super::lead::Stopped::from(error)))
    }

    fn rewritten(&self, task: &Task, buffer: &BatchBuffer) {
        tracing::info!(lsn = %task.start, "a batch that had failed is durable in another segment");
        let mut state = self.state.lock();
        state.writer = task.writer.clone();
        let window = state.window.take();
        drop(state);
        self.index.lock().add(|body| buffer.index(body));
        let ended: Ended = window
            .map(|window| self.publish(window, task.writer.end()))
            .unwrap_or_default();
        self.discard_abandoned();
        let ended = answer_exposed(ended);
        self.hand_over();
        self.segment_sealed();
        answer(ended);
    }

    /// Segments that were tried in vain are no part of the log: their files go.
    pub(super) fn discard_abandoned(&self) {
        let abandoned = std::mem::take(&mut *self.abandoned.lock());
        if abandoned.is_empty() {
            return;
        }
        if let Err(error) = self.parts.spares.discard_abandoned(&abandoned) {
            tracing::warn!(%error, "segments that failed stay until the store is opened again");
            self.abandoned.lock().extend(abandoned);
        }
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
