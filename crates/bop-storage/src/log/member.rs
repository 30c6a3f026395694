//! One record on its way: where it stands, who waits for it, what it makes visible.
//!
//! Invariant: a member ends exactly once. Dropped without an answer it answers by itself
//! (`Rejected`, or `Unknown` once its write had begun), so that no panic and no early return leaves
//! a waiter behind.
//!
//! Never: calls [`Publish`] under a lock of the log.

use super::format::EncodedRecord;
use super::ticket::{Crowd, Outcome, Ticket};
use crate::error::{CommitError, LogFailure, Rejection};
use crate::ids::Lsn;
use std::sync::Arc;
use std::time::Duration;

/// Where a record stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The record's first byte.
    pub lsn: Lsn,
    /// The time stamped on it, in microseconds since the Unix epoch.
    pub time_us: u64,
}

/// Makes a durable record visible. Called in Lsn order, before the committer wakes; dropped
/// uncalled when the record did not become durable.
pub trait Publish: Send {
    /// The record will probably stand at `at`, and its committer has time: whatever can be made
    /// ready is. The place may still change.
    fn prepare(&mut self, _at: Placed) {}

    /// The record is durable at `at`. What this leaves is dropped by the committer who waits for it, later, on his own
    /// processor and beside the others; where none does, at once.
    fn publish(self: Box<Self>, at: Placed) -> Remains;
}

/// What [`Publish`] leaves to be dropped: nothing that somebody else waits for.
pub type Remains = Option<Box<dyn Send>>;

/// Told once how a record ended that was visible from the start: when it is durable and all before
/// it were published, or has failed. Those before it were told of theirs. Called under no lock, by whoever wrote the record, who may
/// have the turn: it must neither block nor write to the log.
pub trait OnEnd: Send {
    /// The record has ended so.
    fn ended(self: Box<Self>, outcome: Result<Placed, CommitError>);
}

/// Publishes nothing: for records that change no state (notes, fragments, the close record).
#[derive(Debug)]
pub struct Silent;

impl Publish for Silent {
    fn publish(self: Box<Self>, _at: Placed) -> Remains {
        None
    }
}

/// Which records may use the space kept back for housekeeping.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Priority {
    /// A user's commit: waits at the log's cap, is refused when space is out.
    User,
    /// The first part of a chain of so many bytes: the same, and let in as if it had them all.
    ChainBegin(u64),
    /// The rest of a begun chain of fragments: never waits at the cap.
    Chain,
    /// The record that commits a chain: the same. A thread of the log writes it, since its committer makes a
    /// view of many pages meanwhile.
    ChainEnd,
    /// An entry of a record log that nobody waits for: waits for room in the queue, never at the
    /// cap. Its log's writer is held meanwhile, and what shortens the log may need that.
    Queued,
    /// Drop, abort, note, close: what releases space must not need space.
    Housekeeping,
}

impl Priority {
    /// Whether the log's cap is waited for.
    pub(super) fn waits_at_the_cap(self) -> bool {
        matches!(self, Self::User | Self::ChainBegin(_))
    }

    /// The bytes for which a record of `record_bytes` waits when the log is nearly full.
    pub(super) fn paced_bytes(self, record_bytes: u64) -> Option<u64> {
        match self {
            Self::User => Some(record_bytes),
            Self::ChainBegin(bytes) => Some(bytes.max(record_bytes)),
            Self::Chain | Self::ChainEnd | Self::Queued | Self::Housekeeping => None,
        }
    }
}

/// Who waits for a record.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// A thread, which may be told to lead.
    Thread,
    /// A task, or nobody any more: somebody else has to write it.
    Elsewhere,
    /// Nobody: it is visible already, and is to be durable within so long.
    Relaxed(Duration),
}

/// The bytes of a record, and its time.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The record; not changed any more.
    pub(crate) record: Arc<EncodedRecord>,
    /// The time stamped on it.
    pub(crate) time_us: u64,
}

/// One record on its way into a batch.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) at: Placed,
    pub(crate) priority: Priority,
    pub(crate) waits: Waits,
    pub(crate) is_note: bool,
    /// Its write has begun: from then on its end may be unknown.
    pub(crate) submitted: bool,
    answered: bool,
}

impl Member {
    pub(crate) fn new(
        ticket: Arc<Ticket>,
        at: Placed,
        priority: Priority,
        waits: Waits,
        is_note: bool,
    ) -> Self {
        Self {
            ticket,
            at,
            priority,
            waits,
            is_note,
            submitted: false,
            answered: false,
        }
    }

    /// Whether it can be seen already, so that it must keep its place.
    pub(crate) fn is_exposed(&self) -> bool {
        matches!(self.waits, Waits::Relaxed(_))
    }

    /// The record is durable: makes it visible. The committer is told by [`Member::answer`].
    pub(crate) fn publish(&self) {
        if self.is_exposed() {
            // Its committer may be about to do it, and returns only when it is done.
            self.ticket.publish_now(self.at);
        } else if let Some(publish) = self.ticket.take_publish() {
            let remains = publish.publish(self.at);
            if self.waits == Waits::Thread {
                self.ticket.leave(remains);
            }
        }
    }

    /// How the record ends after a failure: unknown when its write had begun.
    pub(crate) fn failed(&self, cause: &Arc<LogFailure>) -> CommitError {
        let cause = Arc::clone(cause);
        if self.submitted {
            let lsn = self.at.lsn;
            CommitError::Unknown { lsn, cause }
        } else {
            Rejection::Poisoned(cause).into()
        }
    }

    /// Ends the record's way. Its committer is woken with the crowd.
    pub(crate) fn answer(mut self, outcome: Outcome, crowd: &mut Crowd) {
        self.end(outcome, crowd);
    }

    fn end(&mut self, outcome: Outcome, crowd: &mut Crowd) {
        self.answered = true;
        // What it would have published goes first: it may hold the database's writer slot.
        drop(self.ticket.take_publish());
        self.ticket.finish(outcome, crowd);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.answered {
            let cause = Arc::new(LogFailure::Lost);
            let outcome = Err(self.failed(&cause));
            self.end(outcome, &mut Crowd::default());
        }
    }
}
