//! A handle to one database.

use super::engine::OpenStore;
use super::read::ReadTxn;
use super::seat::WriterSeat;
use super::slot::{SlotGuard, SlotRefusal, Ticket};
use super::state::DbState;
use super::write::WriteTxn;
use crate::error::BeginError;
use crate::ids::{DbId, DbKind, Lsn};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A database of an open store. Cheap to clone; keeps the store open.
#[derive(Clone)]
pub struct Db {
    engine: Arc<OpenStore>,
    state: Arc<DbState>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db({:?}, id {})", self.name(), self.id())
    }
}

impl Db {
    pub(super) fn new(engine: Arc<OpenStore>, state: Arc<DbState>) -> Self {
        Self { engine, state }
    }

    pub(super) fn parts(&self) -> (&Arc<OpenStore>, &Arc<DbState>) {
        (&self.engine, &self.state)
    }

    #[cfg(test)]
    pub(super) fn engine(&self) -> &Arc<OpenStore> {
        &self.engine
    }

    /// Its number in the store.
    pub fn id(&self) -> DbId {
        self.state.id()
    }

    /// Its present name.
    pub fn name(&self) -> String {
        self.state.name().to_string()
    }

    /// What its pages mean.
    pub fn kind(&self) -> DbKind {
        self.state.kind()
    }

    /// Its newest commit. One atomic load.
    pub fn head(&self) -> Lsn {
        self.state.head()
    }

    /// Read transactions that are open on it.
    pub fn readers(&self) -> usize {
        self.state.pin_count()
    }

    /// A snapshot of the newest commit.
    ///
    /// # Errors
    /// [`BeginError::Dropped`], [`BeginError::Closed`].
    pub fn begin_read(&self) -> Result<ReadTxn, BeginError> {
        self.engine.told(self.snapshot())
    }

    fn snapshot(&self) -> Result<ReadTxn, BeginError> {
        let inside = self.engine.lifecycle().enter().ok_or(BeginError::Closed)?;
        let (engine, state) = (Arc::clone(&self.engine), Arc::clone(&self.state));
        let snapshot = ReadTxn::new(engine, state, self.state.pin(), inside);
        // After it is pinned: a drop before takes the pages away.
        self.state.check_live().map_err(|_| BeginError::Dropped)?;
        Ok(snapshot)
    }

    /// A write transaction on the newest state. Writers are served in the order they come; at most
    /// `wait` is waited, and a zero wait answers at once.
    ///
    /// # Errors
    /// [`BeginError::Busy`] after the wait, [`BeginError::Poisoned`], [`BeginError::Damaged`] after
    /// a checkpoint that could not read a page of it, and as for [`Db::begin_read`].
    pub fn begin_write(&self, wait: Duration) -> Result<WriteTxn, BeginError> {
        self.engine.told(self.begin(None, wait))
    }

    /// A write transaction on the state of `snapshot`, if that still is the newest one.
    ///
    /// # Errors
    /// [`BeginError::BusySnapshot`] when it is not, else as for [`Db::begin_write`].
    pub fn begin_write_at(
        &self,
        snapshot: &ReadTxn,
        wait: Duration,
    ) -> Result<WriteTxn, BeginError> {
        self.engine.told(self.begin(Some(snapshot.lsn()), wait))
    }

    fn begin(&self, at: Option<Lsn>, wait: Duration) -> Result<WriteTxn, BeginError> {
        self.check_writable()?;
        self.check_snapshot(at)?;
        let slot = self.take_slot(None, wait)?;
        self.begin_with(at, slot)
    }

    /// Waits for the writer slot, at the place of a ticket.
    pub(super) fn take_slot(
        &self,
        ticket: Option<Ticket>,
        wait: Duration,
    ) -> Result<SlotGuard, BeginError> {
        let slot = self.state.slot().acquire_at(ticket, wait);
        slot.map_err(|refusal| match refusal {
            SlotRefusal::Busy => BeginError::Busy,
            SlotRefusal::Closed => match self.state.check_live() {
                Ok(()) => BeginError::Closed,
                Err(_) => BeginError::Dropped,
            },
        })
    }

    /// Begins for the holder of the slot. Whoever waited for it may have come behind the checkpoint
    /// that met damage.
    pub(super) fn begin_with(
        &self,
        at: Option<Lsn>,
        slot: SlotGuard,
    ) -> Result<WriteTxn, BeginError> {
        self.check_writable()?;
        self.check_snapshot(at)?;
        let snapshot = self.snapshot()?;
        let (engine, state) = (Arc::clone(&self.engine), Arc::clone(&self.state));
        Ok(WriteTxn::new(engine, state, slot, snapshot))
    }

    pub(super) fn check_writable(&self) -> Result<(), BeginError> {
        if let Some(cause) = self.engine.log().failure() {
            return Err(BeginError::Poisoned(cause));
        }
        match self.state.damage() {
            Some(damage) => Err(BeginError::Damaged(damage.clone())),
            None => Ok(()),
        }
    }

    /// A write transaction on the newest state, by whoever has kept the writer slot since an earlier one.
    ///
    /// # Errors
    /// [`BeginError::Busy`] when `seat` is of another database, else as for [`Db::begin_write`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{BeginError, DbKind, Manager, Options, PageNo};
    /// use std::time::Duration;
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("pages", DbKind::Raw)?;
    /// let mut first = db.begin_write(Duration::ZERO)?;
    /// let seat = first.seat();
    /// first.write_page(PageNo::FIRST, &[7; 4096])?;
    /// first.commit()?;
    /// // Nobody writes between the two:
    /// assert!(matches!(db.begin_write(Duration::ZERO), Err(BeginError::Busy)));
    /// let second = db.begin_write_in(&seat)?;
    /// assert_eq!(second.read_page(PageNo::FIRST)?[0], 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_write_in(&self, seat: &WriterSeat) -> Result<WriteTxn, BeginError> {
        self.engine.told(self.begin_seated(seat))
    }

    fn begin_seated(&self, seat: &WriterSeat) -> Result<WriteTxn, BeginError> {
        let slot = seat.share(self.state.slot()).ok_or(BeginError::Busy)?;
        self.begin_with(None, slot)
    }

    fn check_snapshot(&self, at: Option<Lsn>) -> Result<(), BeginError> {
        let head = self.head();
        match at {
            Some(snapshot) if snapshot != head => Err(BeginError::BusySnapshot { snapshot, head }),
            _ => Ok(()),
        }
    }
}
