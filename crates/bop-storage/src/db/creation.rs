//! Creating many databases with one record of the log.
//!
//! ```text
//! ask --nobody leads--> lead --has the slot--> takes all that wait, lets go of the lead
//!  |                     ^ |                     --> one record --> durable --> all answered
//!  |                     | '--the slot did not come in time--> refused, lets go of the lead
//!  '--somebody leads--> wait --the lead is let go of, it is the oldest--> lead
//!                        '--too long--> withdrawn, if it still waits; else its end is unknown after a while
//! ```
//! One leader waits for the catalogue's slot, and the others for him: a slot that goes from hand to hand wakes
//! each of them for nothing, one after the other.
//!
//! Invariants
//! - an answer rests on durable records alone, a refusal for the name of another one in the same
//!   record too;
//! - names are given out in the order in which they were asked for;
//! - somebody leads while anybody waits, whatever becomes of a leader;
//! - nobody waits for ever for whoever makes his, and is in a call that hangs.
//!
//! Never: makes a record without a database, or with more than [`TOGETHER_MAX`].

use super::engine::Engine;
use super::slot::SlotGuard;
use crate::catalogue::CatalogueChange;
use crate::error::{CatalogueError, CommitError, LogFailure, Rejection};
use crate::ids::{DbId, DbKind};
use crate::log::Priority;
use crate::runtime::sync::{Mutex, elapsed, now};
use crate::runtime::{Pending, Promise, Waited, after, promise};
use std::collections::VecDeque;
use std::sync::Arc;

/// Databases of one record at most: with the longest names they fit the smallest segment.
const TOGETHER_MAX: usize = 128;

type Answer = Result<DbId, CatalogueError>;

/// Who waits for a database to be created.
#[derive(Clone, Default)]
pub(super) struct Creations(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    is_led: bool,
    /// Those who wait for whoever leads.
    queue: VecDeque<Follower>,
    next: u64,
}

struct Follower {
    number: u64,
    name: String,
    kind: DbKind,
    promise: Promise<Word>,
}

/// What a follower is told.
enum Word {
    Done(Answer),
    Lead(Lead),
}

/// What became of whoever asked.
enum Place {
    Leader(Lead),
    Follower(u64, Pending<Word>),
}

/// The right to make the next record; passed on when it is dropped.
struct Lead(Creations);

impl Drop for Lead {
    fn drop(&mut self) {
        let mut waiting = self.0.0.lock();
        let oldest = waiting.queue.pop_front();
        waiting.is_led = oldest.is_some();
        drop(waiting);
        if let Some(oldest) = oldest {
            oldest.promise.give(Word::Lead(Self(self.0.clone())));
        }
    }
}

impl Creations {
    fn ask(&self, name: &str, kind: DbKind) -> Place {
        let mut waiting = self.0.lock();
        if !waiting.is_led {
            waiting.is_led = true;
            return Place::Leader(Lead(self.clone()));
        }
        let number = waiting.next;
        waiting.next += 1;
        let (promise, pending) = promise();
        waiting.queue.push_back(Follower {
            number,
            name: name.to_owned(),
            kind,
            promise,
        });
        Place::Follower(number, pending)
    }

    /// Those whose databases fit into a leader's record.
    fn take(&self) -> Vec<Follower> {
        let mut waiting = self.0.lock();
        let count = waiting.queue.len().min(TOGETHER_MAX - 1);
        waiting.queue.drain(..count).collect()
    }

    /// Takes one back; `false` when it does not wait any more.
    fn withdraw(&self, number: u64) -> bool {
        let mut waiting = self.0.lock();
        let before = waiting.queue.len();
        waiting.queue.retain(|one| one.number != number);
        waiting.queue.len() < before
    }
}

impl std::fmt::Debug for Creations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Creations({} waiting)", self.0.lock().queue.len())
    }
}

impl Engine {
    /// Creates a database, together with whoever else waits for that.
    pub(super) fn create_with_others(&self, name: &str, kind: DbKind) -> Answer {
        match self.creations.ask(name, kind) {
            Place::Leader(lead) => self.create_leading(lead, name, kind),
            Place::Follower(number, pending) => match self.follow(number, &pending)? {
                Word::Done(answer) => answer,
                Word::Lead(lead) => self.create_leading(lead, name, kind),
            },
        }
    }

    /// Waits for whoever leads.
    fn follow(&self, number: u64, pending: &Pending<Word>) -> Result<Word, CatalogueError> {
        let asked = now();
        let waited = self.limits.writer_wait;
        let mut word = pending.wait(Some(after(asked, waited)));
        if matches!(word, Waited::TimedOut) {
            if self.creations.withdraw(number) {
                return Err(CommitError::from(Rejection::Timeout { waited }).into());
            }
            // Somebody makes it, and may not come back from the device.
            word = pending.wait(Some(after(now(), self.limits.io_deadline)));
        }
        match word {
            Waited::Answer(word) => Ok(word),
            Waited::Lost => Err(CatalogueError::Closed),
            Waited::TimedOut => {
                let waited = elapsed(asked);
                let unknown = CommitError::Unknown {
                    lsn: self.log.published(),
                    cause: Arc::new(LogFailure::Stalled { waited }),
                };
                Err(unknown.into())
            }
        }
    }

    /// Makes one's own and those that wait. Whoever leads next waits for the slot meanwhile.
    fn create_leading(&self, lead: Lead, name: &str, kind: DbKind) -> Answer {
        let slot = self.catalogue_slot()?;
        let followers = self.creations.take();
        drop(lead);
        let mut answers = self.create_all((name, kind), &followers, slot).into_iter();
        let own = answers.next().unwrap_or(Err(CatalogueError::Closed));
        for (follower, answer) in followers.into_iter().zip(answers) {
            follower.promise.give(Word::Done(answer));
        }
        own
    }

    /// With one record; the answers in the same order.
    fn create_all(
        &self,
        own: (&str, DbKind),
        followers: &[Follower],
        slot: SlotGuard,
    ) -> Vec<Answer> {
        let planned = {
            let others = followers.iter().map(|one| (one.name.as_str(), one.kind));
            let wanted = std::iter::once(own).chain(others);
            let cell = self.catalogue.lock();
            cell.catalogue
                .plan_creates(wanted, self.limits.databases_max)
        };
        let changes: Vec<CatalogueChange> = planned.iter().flatten().cloned().collect();
        let committed = match changes.is_empty() {
            true => Ok(()),
            false => self
                .commit_changes(changes, Priority::User, slot, None)
                .map(drop),
        };
        let answer = |planned: Result<CatalogueChange, _>| {
            let made = committed.clone().and(planned);
            made.map(|change| change.database())
        };
        planned.into_iter().map(answer).collect()
    }
}

#[cfg(test)]
#[path = "creation_tests.rs"]
mod tests;
