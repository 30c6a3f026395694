//! What a committer waits on, and what it is told.
//!
//! ```text
//!   Waiting --(made leader)--> Lead --(leads until its own record is done)--> Done
//!   Waiting --(its batch is durable, failed or refused)--------------------> Done
//! ```
//!
//! Invariant: a ticket is answered exactly once. [`Pending`] answers when it is dropped unanswered
//! (`Rejected`, or `Unknown` once its write had begun), so that no panic and no early return leaves a waiter behind.
//!
//! Never: calls [`Publish`] under a lock of the log.

use super::format::EncodedRecord;
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::Lsn;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Instant;

/// Where a durable record stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The record's first byte.
    pub lsn: Lsn,
    /// The time stamped on it, in microseconds since the Unix epoch.
    pub time_us: u64,
}

/// Makes a durable record visible. The leader calls it in Lsn order, before the committer wakes;
/// dropped uncalled when the record did not become durable.
pub trait Publish: Send {
    /// The record is durable at `at`.
    fn publish(self: Box<Self>, at: Placed);
}

/// Publishes nothing: for records that change no state (notes, fragments, the close record).
#[derive(Debug)]
pub struct Silent;

impl Publish for Silent {
    fn publish(self: Box<Self>, _at: Placed) {}
}

/// Which records may use the space kept back for housekeeping.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A user's commit: waits at the log's cap, is refused when space is out.
    User,
    /// The rest of a begun chain of fragments: never waits at the cap.
    Chain,
    /// Drop, abort, note, close: what releases space must not need space.
    Housekeeping,
}

/// What a ticket says.
#[derive(Debug)]
enum Turn {
    Waiting,
    Lead,
    Done(Result<Placed, CommitError>),
    Taken,
}

/// What a wait ended with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Lead: write batches until this ticket is done.
    Lead,
    /// The record's end.
    Done(Result<Placed, CommitError>),
    /// The deadline passed.
    TimedOut,
}

/// A committer's place to wait.
#[derive(Debug)]
pub(crate) struct Ticket {
    turn: Mutex<Turn>,
    woken: Condvar,
}

impl Ticket {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Mutex::new(Turn::Waiting),
            woken: Condvar::new(),
        })
    }

    /// Waits until this ticket leads, is done, or `deadline` has passed.
    pub(crate) fn wait(&self, deadline: Instant) -> Answer {
        let mut turn = self.turn.lock();
        loop {
            match std::mem::replace(&mut *turn, Turn::Taken) {
                Turn::Lead => {
                    *turn = Turn::Waiting;
                    return Answer::Lead;
                }
                Turn::Done(outcome) => return Answer::Done(outcome),
                other => *turn = other,
            }
            if self.woken.wait_until(&mut turn, deadline).timed_out()
                && matches!(*turn, Turn::Waiting)
            {
                return Answer::TimedOut;
            }
        }
    }

    /// The outcome, if it is there already.
    pub(crate) fn take_outcome(&self) -> Option<Result<Placed, CommitError>> {
        let mut turn = self.turn.lock();
        match std::mem::replace(&mut *turn, Turn::Taken) {
            Turn::Done(outcome) => Some(outcome),
            other => {
                *turn = other;
                None
            }
        }
    }

    /// Whether it was made leader and does not know yet.
    pub(crate) fn is_to_lead(&self) -> bool {
        matches!(*self.turn.lock(), Turn::Lead)
    }

    /// Called under the queue's lock alone, see [`Ticket::is_to_lead`].
    pub(crate) fn make_leader(&self) {
        *self.turn.lock() = Turn::Lead;
        self.woken.notify_one();
    }

    fn finish(&self, outcome: Result<Placed, CommitError>) {
        *self.turn.lock() = Turn::Done(outcome);
        self.woken.notify_one();
    }
}

/// One record on its way into a batch.
pub(crate) struct Pending {
    /// The record; not changed any more.
    pub(crate) record: EncodedRecord,
    /// Which reserves it may use.
    pub(crate) priority: Priority,
    publish: Option<Box<dyn Publish>>,
    ticket: Arc<Ticket>,
    /// Where it was written to, once that has begun: from then on its end may be unknown.
    submitted: Option<Lsn>,
    answered: bool,
}

impl Pending {
    pub(crate) fn new(
        record: EncodedRecord,
        priority: Priority,
        publish: Box<dyn Publish>,
    ) -> (Self, Arc<Ticket>) {
        let ticket = Ticket::new();
        let shared = Arc::clone(&ticket);
        (
            Self {
                record,
                priority,
                publish: Some(publish),
                ticket,
                submitted: None,
                answered: false,
            },
            shared,
        )
    }

    pub(crate) fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// The write that carries the record is about to begin.
    pub(crate) fn submit(&mut self, lsn: Lsn) {
        self.submitted = Some(lsn);
    }

    /// How the record ends after a failure: unknown when its write had begun.
    pub(crate) fn failed(&self, cause: &Arc<LogFailure>) -> CommitError {
        let cause = Arc::clone(cause);
        match self.submitted {
            Some(lsn) => CommitError::Unknown { lsn, cause },
            None => Rejection::Poisoned(cause).into(),
        }
    }

    /// The record is durable: makes it visible. The committer is told by [`Pending::answer`].
    pub(crate) fn publish(&mut self, at: Placed) {
        if let Some(publish) = self.publish.take() {
            publish.publish(at);
        }
    }

    /// Ends the record's way and wakes its committer.
    pub(crate) fn answer(mut self, outcome: Result<Placed, CommitError>) {
        self.answered = true;
        // What it would have published goes first: it may hold the database's writer slot.
        self.publish = None;
        self.ticket.finish(outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.publish = None;
            let cause = Arc::new(LogFailure::Panic {
                stage: "led a batch",
            });
            self.ticket.finish(Err(self.failed(&cause)));
        }
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}
