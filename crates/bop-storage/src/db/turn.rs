//! A writer's turn, apart from its transaction: for those who wait in pieces, and begin when it came.
//!
//! ```text
//!   writer_ticket --> await_writer_turn --> turn --> begin_write_in_turn
//!                       |   ^                 '-- dropped: the next one's turn
//!                  Busy '---' (keeps its place)
//! ```
//!
//! Invariant: from the turn on nobody else commits, so a snapshot that is taken then stays the newest.
//!
//! Never: holds anything of the database but its writer slot.

use super::database::Db;
use super::read::ReadTxn;
use super::slot::{SlotGuard, Ticket};
use super::write::WriteTxn;
use crate::error::BeginError;
use std::time::Duration;

/// A place among the writers of one database. Copies are the same place.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct WriterTicket(Ticket);

/// The right to write to a database. Others wait until it is used or dropped.
#[derive(Debug)]
#[must_use = "the next one waits for it"]
pub struct WriterTurn(SlotGuard);

impl Db {
    /// A place behind all writers that wait.
    pub fn writer_ticket(&self) -> WriterTicket {
        WriterTicket(self.parts().1.slot().ticket())
    }

    /// Waits for the turn of `ticket`, at most so long. Whoever comes back with the ticket stands
    /// before all that came later.
    ///
    /// # Errors
    /// As for [`Db::begin_write`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options, PageNo};
    /// use std::time::Duration;
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("pages", DbKind::Raw)?;
    /// let ticket = db.writer_ticket();
    /// let turn = db.await_writer_turn(ticket, Duration::from_secs(1))?;
    /// let snapshot = db.begin_read()?;
    /// let mut write = db.begin_write_in_turn(&snapshot, turn)?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// write.commit()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn await_writer_turn(
        &self,
        ticket: WriterTicket,
        wait: Duration,
    ) -> Result<WriterTurn, BeginError> {
        let writable = self.check_writable();
        match writable.and_then(|()| self.take_slot(Some(ticket.0), wait)) {
            // A piece of a wait is over: no error that anybody is to hear of.
            Err(BeginError::Busy) => Err(BeginError::Busy),
            other => self.parts().0.told(other.map(WriterTurn)),
        }
    }

    /// A write transaction on the state of `snapshot`, in a turn that has come.
    ///
    /// # Errors
    /// [`BeginError::BusySnapshot`] when the snapshot is older than the turn and not the newest state;
    /// [`BeginError::Busy`] when the turn is another database's; else as for [`Db::begin_write`].
    pub fn begin_write_in_turn(
        &self,
        snapshot: &ReadTxn,
        turn: WriterTurn,
    ) -> Result<WriteTxn, BeginError> {
        let (engine, state) = self.parts();
        engine.told(match turn.0.holds(state.slot()) {
            true => self.begin_with(Some(snapshot.lsn()), turn.0),
            false => Err(BeginError::Busy),
        })
    }
}
