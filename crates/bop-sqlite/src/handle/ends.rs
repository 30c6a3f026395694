//! Ends: how a transaction of a handle leaves for its commit, and what becomes of it.
//!
//! ```text
//! Writing --prepare--> Writing, prepared --leave--> Reading, on its way --arrived--> Reading what was committed
//!                                                        '--lost--> Reading what was there before
//! ```
//! Invariants
//! - what is on its way is in nobody's hands but the committer's, and the file shows the state before it;
//! - first phases are counted in their order, so that a commit knows those that belong to it.
//!
//! Never: commits.

use super::{Handle, Leaving, Prepared, Stage, State};
use crate::image;
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::EngineError;
use bop_storage::{Durability, ReadTxn};

impl Handle {
    /// The first phase of a commit is over, or a roll-back has written everything back.
    pub(crate) fn prepare(&self, super_journal: Option<&str>) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        let next = match super_journal {
            None => Prepared::Alone(self.hub.next_phase()),
            Some(name) if self.hub.supers.find(name).is_some() => Prepared::With(name.to_owned()),
            Some(_) => {
                return Err(EngineError::Refused(
                    "a transaction over several databases whose main database is not in this store \
                     could not be atomic"
                        .into(),
                ));
            }
        };
        state.lost = false;
        state.named = super_journal.map(str::to_owned);
        let before = state.prepared.replace(next);
        if let (Some(Prepared::With(name)), None) = (before, super_journal) {
            self.hub.supers.break_up(&name);
        }
        Ok(())
    }

    /// How far a commit of this file has come; `None` when there is nothing to commit.
    pub(crate) fn prepared(&self) -> Option<Prepared> {
        let state = self.state.lock();
        matches!(state.stage, Stage::Writing { .. })
            .then(|| state.prepared.clone())
            .flatten()
    }

    /// Whether SQLite still has to roll back, and looks for that super-journal then.
    pub(crate) fn names(&self, super_journal: &str) -> bool {
        self.state.lock().named.as_deref() == Some(super_journal)
    }

    /// Takes the transaction out, to be committed; `None` when there is none.
    pub(crate) fn leave(&self) -> Result<Option<Leaving>, EngineError> {
        let mut state = self.state.lock();
        let old_count = match &state.stage {
            Stage::Writing { read, .. } => read.page_count(),
            _ => return Ok(None),
        };
        if let Stage::Writing { write, .. } = &mut state.stage {
            image::settle(write, old_count)?;
        }
        let durability = match state.synced {
            true => Durability::Full,
            false => Durability::RELAXED,
        };
        match std::mem::take(&mut state.stage) {
            Stage::Writing { read, write } => {
                // The file shows what it showed before until it is known what became of it.
                state.stage = Stage::Reading(read);
                Ok(Some(Leaving { write, durability }))
            }
            other => {
                state.stage = other;
                Ok(None)
            }
        }
    }

    /// The transaction that left was committed.
    pub(crate) fn arrived(&self, committed: ReadTxn) {
        let mut state = self.state.lock();
        state.counter.committed(committed.lsn());
        if std::mem::take(&mut state.wal_mode_written) {
            // SQLite believes what it wrote; it has to read what is there.
            state.counter.distrust();
        }
        state.prepared = None;
        state.named = None;
        state.stage = Stage::Reading(committed);
    }

    /// It was not, or nobody knows.
    pub(crate) fn lost(&self) {
        self.lose(&mut self.state.lock());
    }

    /// A write failed for which SQLite ends the transaction, whatever it was part of. It then writes back what
    /// its journal has, for which there would be no room either.
    pub(super) fn lose_if_refused(
        &self,
        state: &mut State,
        written: Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let code = written
            .as_ref()
            .map_or_else(EngineError::sqlite_code, |()| 0);
        let ends_it = [codes::SQLITE_FULL, codes::SQLITE_IOERR].contains(&(code & 0xff));
        if ends_it && state.writes {
            self.lose(state);
        }
        written
    }

    fn lose(&self, state: &mut State) {
        state.counter.distrust();
        state.lost = true;
        state.stage = match std::mem::take(&mut state.stage) {
            Stage::Writing { read, .. } => Stage::Reading(read),
            other => other,
        };
        if let Some(Prepared::With(name)) = state.prepared.take() {
            self.hub.supers.break_up(&name);
        }
    }
}
