//! Creating many databases with one record of the log.
//!
//! ```text
//! wait --> whoever gets the catalogue's slot takes all that wait --> one record --> durable --> all answered
//!   '--the slot did not come in time--> withdrawn, if it still waits; else its end is unknown after a while
//! ```
//! Invariants
//! - an answer rests on durable records alone, a refusal for the name of another one in the same
//!   record too;
//! - names are given out in the order in which they were asked for;
//! - nobody waits for ever for whoever makes his, and is in a call that hangs.
//!
//! Never: makes a record without a database, or with more than [`TOGETHER_MAX`].

use super::engine::Engine;
use super::slot::SlotGuard;
use crate::catalogue::CatalogueChange;
use crate::error::{CatalogueError, CommitError, LogFailure};
use crate::ids::{DbId, DbKind};
use crate::log::Priority;
use crate::runtime::{Promise, Waited, after, promise};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Databases of one record at most: with the longest names they fit the smallest segment.
const TOGETHER_MAX: usize = 128;

/// Who waits for a database to be created.
#[derive(Default)]
pub(super) struct Creations(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Creation>,
    next: u64,
}

struct Creation {
    number: u64,
    name: String,
    kind: DbKind,
    promise: Promise<Result<DbId, CatalogueError>>,
}

impl Creations {
    fn push(
        &self,
        name: &str,
        kind: DbKind,
        promise: Promise<Result<DbId, CatalogueError>>,
    ) -> u64 {
        let mut waiting = self.0.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.queue.push_back(Creation {
            number,
            name: name.to_owned(),
            kind,
            promise,
        });
        number
    }

    fn take(&self) -> Vec<Creation> {
        let mut waiting = self.0.lock();
        let count = waiting.queue.len().min(TOGETHER_MAX);
        waiting.queue.drain(..count).collect()
    }

    /// Takes one back; `false` when somebody makes it already.
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
    pub(super) fn create_with_others(
        &self,
        name: &str,
        kind: DbKind,
    ) -> Result<DbId, CatalogueError> {
        let (promise, pending) = promise();
        let number = self.creations.push(name, kind, promise);
        while !pending.is_over() {
            match self.catalogue_slot() {
                Ok(_slot) if pending.is_over() => break,
                Ok(slot) => self.create_waiting(slot),
                Err(error) if self.creations.withdraw(number) => return Err(error),
                Err(_) => break,
            }
        }
        // Somebody else makes it, and may not come back from the device.
        let asked = Instant::now();
        match pending.wait(Some(after(asked, self.limits.io_deadline))) {
            Waited::Answer(answer) => answer,
            Waited::Lost => Err(CatalogueError::Closed),
            Waited::TimedOut => {
                let waited = asked.elapsed();
                let unknown = CommitError::Unknown {
                    lsn: self.log.published(),
                    cause: Arc::new(LogFailure::Stalled { waited }),
                };
                Err(unknown.into())
            }
        }
    }

    fn create_waiting(&self, slot: SlotGuard) {
        let waiting = self.creations.take();
        let planned = {
            let wanted = waiting.iter().map(|one| (one.name.as_str(), one.kind));
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
        for (creation, planned) in waiting.into_iter().zip(planned) {
            let answer = committed.clone().and(planned);
            creation
                .promise
                .give(answer.map(|change| change.database()));
        }
    }
}

#[cfg(test)]
#[path = "creation_tests.rs"]
mod tests;
