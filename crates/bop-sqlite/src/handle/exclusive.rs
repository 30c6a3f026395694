//! Exclusive: `locking_mode=EXCLUSIVE`, as far as it can be seen from below.
//!
//! A pager in that mode keeps its SHARED lock when it has read, and never asks again whether its cache is
//! valid: if anybody else committed, it would show what is old for ever, and could not write. So it has the
//! writer slot from its first read on. Which pagers are in that mode is not told, but guessed on the safe side:
//!
//! ```text
//! no --PRAGMA locking_mode = EXCLUSIVE, of the connection's any database--> likely, those attached later too
//!  ^                                                                           |
//!  '---------- PRAGMA locking_mode = NORMAL here, or the lock is given up -----'
//! ```
//! The pragma without a schema changes all of a connection's databases, and only the main one is told. One that
//! gives up its lock is not in that mode.
//!
//! Invariant: where a pager is in that mode by a pragma that a database of ours was told, nobody else writes while
//! it has a snapshot.
//!
//! Never: waits; keeps anybody from reading.

use super::{Handle, Stage, State};
use crate::stores;
use bop_sqlite_common::engine_error::EngineError;
use bop_storage::BeginError;
use std::sync::Arc;

/// Whether a pager keeps its lock.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Exclusive {
    /// Likely.
    is_likely: bool,
    /// The file was told so, at some time: files that are opened later may be, too.
    was_told: bool,
}

impl Exclusive {
    /// The seat outlives a transaction.
    pub(super) const fn keeps_seat(self) -> bool {
        self.is_likely
    }

    /// SQLite gave up its lock.
    pub(super) const fn unlocked(&mut self) {
        self.is_likely = false;
    }
}

impl Handle {
    /// Pins a snapshot, and keeps writers out if SQLite will not look whether there was one.
    pub(super) fn begin_reading(&self, state: &mut State) -> Result<(), EngineError> {
        let before = state.reset.take();
        let mut read = self.shown.begin_read_again(before)?;
        while state.exclusive.is_likely && !self.shown.is_state() {
            match self.take_slot(&read) {
                Ok(write) => {
                    state.seat = Some(write.seat());
                    break;
                }
                // Somebody committed in between.
                Err(EngineError::Begin(BeginError::BusySnapshot { .. })) => {
                    read = self.shown.begin_read()?;
                }
                Err(
                    error @ (EngineError::Begin(BeginError::Busy) | EngineError::Deadlock { .. }),
                ) => {
                    state.reset = self.shown.end_read(read);
                    return Err(error);
                }
                // Nobody at all can write.
                Err(_) => break,
            }
        }
        state.stage = Stage::Reading(read);
        Ok(())
    }

    /// SQLite is told to keep its locks, or not to.
    ///
    /// # Errors
    /// [`EngineError::Begin`]: somebody writes, or has written since a file's transaction began.
    pub(crate) fn set_exclusive(&self, exclusive: bool) -> Result<(), EngineError> {
        if !exclusive {
            self.state.lock().exclusive.is_likely = false;
            return Ok(());
        }
        self.keep_writers_out()?;
        self.state.lock().exclusive.was_told = true;
        let others = self.others_of_connection();
        others.iter().try_for_each(|other| other.keep_writers_out())
    }

    /// SQLite has opened the file for a connection, which may keep its locks.
    pub(crate) fn join_connection(&self) {
        let others = self.others_of_connection();
        if others.iter().any(|o| o.state.lock().exclusive.was_told) {
            self.state.lock().exclusive.is_likely = true;
        }
    }

    fn others_of_connection(&self) -> Vec<Arc<Self>> {
        let mut others = self.hub.handles_of(self.connection());
        others.retain(|other| !std::ptr::eq(Arc::as_ptr(other), self));
        others.append(&mut stores::handles_elsewhere(&self.hub, self.connection()));
        others
    }

    fn keep_writers_out(&self) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        if let (Stage::Reading(read), None, false) =
            (&state.stage, &state.seat, self.shown.is_state())
        {
            state.seat = Some(self.take_slot(read)?.seat());
        }
        state.exclusive.is_likely = true;
        Ok(())
    }
}
