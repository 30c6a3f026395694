//! Handle: the main file of one pager, and the transactions it has in the engine.
//!
//! SQLite says by locks what it is about to do, and by one signal that it has committed:
//!
//! ```text
//!  NONE --lock SHARED--> Reading --lock RESERVED--> Writing --first phase done--> Writing, prepared
//!   ^                    |  ^  ^                      |  |                          |
//!   |                    |  |  '---- unlock ----------'  |        COMMIT_PHASETWO, or the super-journal
//!   |                    |  |        (rolled back)       |        is deleted: committed
//!   |                    |  '----------------------------+--------------------------'
//!   '---- unlock NONE ---'                  (a failed commit goes the same way: nothing of it is left)
//! ```
//! | lock | snapshot | private pages | writer slot |
//! |---|---|---|---|
//! | NONE | none | none | free |
//! | SHARED | pinned | none | free |
//! | RESERVED and above | pinned | what SQLite wrote since | held |
//!
//! With `locking_mode=EXCLUSIVE` SQLite keeps its lock when it has read or committed, and so we the writer slot,
//! from the first read on: a seat (`exclusive`). The next write begins the next transaction.
//!
//! Invariants
//! - nothing that SQLite writes is seen by anybody else before it says that it commits, and what it has
//!   written when it gives up the lock without saying so is dropped;
//! - the durability of a commit is full if SQLite has synced the file since it began to write;
//! - after an error of a commit the handle shows the state before it, under a counter that SQLite has not
//!   in its cache.
//!
//! Never: waits for a writer (SQLite's busy handler does), or knows a C type.

mod ends;
mod exclusive;

use crate::claims::Connection;
use crate::counter::Counter;
use crate::hub::Hub;
use crate::image;
use crate::stores;
use bop_sqlite_common::engine_error::EngineError;
use bop_sqlite_common::shown::Shown;
use bop_storage::{BeginError, Db, Durability, ReadTxn, ResetTxn, WriteTxn, WriterSeat};
use exclusive::Exclusive;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// SQLite's levels of a lock, in their order.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Level {
    /// Nothing is held.
    #[default]
    None,
    /// A snapshot is.
    Shared,
    /// The writer slot is, too: RESERVED, PENDING and EXCLUSIVE.
    Writer,
}

/// How far a commit has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Prepared {
    /// The first phase is over; how many of the store's were over before.
    Alone(u64),
    /// So it is, and the transaction commits when this super-journal is deleted.
    With(String),
}

#[derive(Debug, Default)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a pager: a box would cost an allocation a commit"
)]
enum Stage {
    #[default]
    Idle,
    Reading(ReadTxn),
    Writing {
        read: ReadTxn,
        write: WriteTxn,
    },
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    stage: Stage,
    /// What the next snapshot begins with.
    reset: Option<ResetTxn>,
    seat: Option<WriterSeat>,
    /// SQLite has asked for the seat: it may have been there before.
    writes: bool,
    exclusive: Exclusive,
    counter: Counter,
    synced: bool,
    prepared: Option<Prepared>,
    /// The super-journal that SQLite's journal names, until this member is committed or rolled back.
    named: Option<String>,
    /// The commit failed, and what it was to change is as it was: SQLite may write that back, from its
    /// journal.
    lost: bool,
    /// Page 1 as SQLite has it in its cache says that there is a WAL.
    wal_mode_written: bool,
    /// What SQLite was told last to do with its journal.
    journal_mode: Option<String>,
}

/// The main file of one pager.
#[derive(Debug)]
pub(crate) struct Handle {
    hub: Arc<Hub>,
    full_name: String,
    /// Where the database's own name begins in it.
    name_at: usize,
    shown: Shown,
    connection: AtomicUsize,
    state: Mutex<State>,
}

/// A transaction on its way to being committed.
pub(crate) struct Leaving {
    pub(crate) write: WriteTxn,
    pub(crate) durability: Durability,
}

impl Handle {
    /// `full_name` ends with `name`, which is what it is called in its store.
    pub(crate) fn open(hub: Arc<Hub>, full_name: String, name: &str, shown: Shown) -> Arc<Self> {
        let handle = Arc::new(Self {
            hub,
            name_at: full_name.len().saturating_sub(name.len()),
            full_name,
            shown,
            connection: AtomicUsize::new(0),
            state: Mutex::default(),
        });
        handle.hub.add(&handle);
        handle
    }

    /// SQLite closes the file.
    pub(crate) fn close(self: &Arc<Self>) {
        self.unlock(Level::None);
        self.hub.remove(self);
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn full_name(&self) -> &str {
        &self.full_name
    }

    /// The name in the store, with the state if one is shown.
    pub(crate) fn file_name(&self) -> &str {
        self.full_name.get(self.name_at..).unwrap_or_default()
    }

    /// The mode of SQLite's journal, in its words.
    pub(crate) fn journal_mode(&self) -> String {
        let mode = self.state.lock().journal_mode.clone();
        mode.unwrap_or_else(|| "delete".to_owned())
    }

    /// SQLite is told to use that mode.
    pub(crate) fn set_journal_mode(&self, mode: &str) {
        let mode = mode.to_ascii_lowercase();
        if ["delete", "truncate", "persist", "memory", "off"].contains(&mode.as_str()) {
            self.state.lock().journal_mode = Some(mode);
        }
    }

    /// The database; `None` where a state of one is shown.
    pub(crate) fn database(&self) -> Option<&Db> {
        match &self.shown {
            Shown::Present(db) => Some(db),
            Shown::State(_) => None,
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.load(Ordering::Relaxed)
    }

    /// The hub lists it under that connection.
    pub(crate) fn set_connection(&self, connection: Connection) {
        self.connection.store(connection, Ordering::Relaxed);
    }

    /// What is locked at the moment.
    pub(crate) fn level(&self) -> Level {
        self.state.lock().level()
    }

    /// A state of the database to look at: what this handle reads, if it reads, else what it would.
    pub(crate) fn snapshot(&self) -> Result<ReadTxn, EngineError> {
        match &self.state.lock().stage {
            Stage::Idle => self.shown.begin_read(),
            Stage::Reading(read) | Stage::Writing { read, .. } => read
                .duplicate()
                .ok_or(EngineError::Begin(BeginError::Closed)),
        }
    }

    /// Takes what a level needs, or says at once why not.
    pub(crate) fn lock(&self, level: Level) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        if level >= Level::Shared && matches!(state.stage, Stage::Idle) {
            self.begin_reading(&mut state)?;
        }
        if level < Level::Writer || state.writes {
            return Ok(());
        }
        if stores::writes_elsewhere(&self.hub, self.connection()) {
            return Err(EngineError::Refused(
                "a transaction over databases of two stores could not be atomic".into(),
            ));
        }
        if state.seat.is_none() {
            let Stage::Reading(read) = &state.stage else {
                return Err(EngineError::NoTransaction { operation: "lock" });
            };
            let write = self.take_slot(read)?;
            state.seat = Some(write.seat());
            state.begin(write);
        }
        state.writes = true;
        state.synced = false;
        state.lost = false;
        state.prepared = None;
        Ok(())
    }

    /// Takes the writer slot, if what is read is the newest state. Nobody waits for somebody who waits for him.
    fn take_slot(&self, read: &ReadTxn) -> Result<WriteTxn, EngineError> {
        let taken = self.shown.begin_write_at(read, None);
        let Some(db) = self.database() else {
            return taken;
        };
        let (claims, connection) = (&self.hub.claims, self.connection());
        match taken {
            Ok(write) => {
                claims.hold(connection, db.id());
                Ok(write)
            }
            Err(EngineError::Begin(BeginError::Busy))
                if claims.ask(connection, db.id(), Instant::now()) =>
            {
                Err(EngineError::Deadlock { name: db.name() })
            }
            refused => refused,
        }
    }

    /// Gives up what a level does not need. What was written and not committed is gone.
    pub(crate) fn unlock(&self, level: Level) {
        let mut state = self.state.lock();
        if level < Level::Writer && state.seat.is_some() {
            self.roll_back(&mut state);
            state.writes = false;
        }
        if level == Level::None {
            state.exclusive.unlocked();
        }
        if level < Level::Writer && state.seat.is_some() && !state.exclusive.keeps_seat() {
            if let Some(db) = self.database() {
                self.hub.claims.leave(db.id());
            }
            state.seat = None;
        }
        if level == Level::None {
            match std::mem::take(&mut state.stage) {
                Stage::Idle => {}
                Stage::Reading(read) | Stage::Writing { read, .. } => {
                    state.reset = self.shown.end_read(read);
                }
            }
        }
    }

    fn roll_back(&self, state: &mut State) {
        if let Some(Prepared::With(name)) = state.prepared.take() {
            self.hub.supers.break_up(&name);
        }
        state.counter.rolled_back();
        state.wal_mode_written = false;
        state.lost = false;
        state.named = None;
        state.stage = match std::mem::take(&mut state.stage) {
            Stage::Writing { read, .. } => Stage::Reading(read),
            other => other,
        };
    }

    /// Copies bytes of the file; `false` when it ends before `out` does.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> Result<bool, EngineError> {
        let mut state = self.state.lock();
        if offset == 24 && out.len() == 16 && state.seat.is_some() && state.has_changes() {
            // The question whether its cache is valid, which SQLite never asks inside of a transaction:
            // with locking_mode=EXCLUSIVE it gives one up without a call when it has met an error.
            self.roll_back(&mut state);
            state.counter.distrust();
        }
        let State { stage, counter, .. } = &mut *state;
        match stage {
            // SQLite's probe of the header, before any lock.
            Stage::Idle => image::read(&self.shown.begin_read()?, 0, offset, out),
            Stage::Reading(read) => {
                let counter = counter.show(read.lsn());
                image::read(read, counter, offset, out)
            }
            Stage::Writing { read, write } => {
                let counter = counter.show_own(read.lsn());
                image::read(write, counter, offset, out)
            }
        }
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> Result<u64, EngineError> {
        Ok(match &self.state.lock().stage {
            Stage::Idle => image::file_bytes(&self.shown.begin_read()?),
            Stage::Reading(read) => image::file_bytes(read),
            Stage::Writing { write, .. } => image::file_bytes(write),
        })
    }

    /// Writes bytes of the file, for nobody else to see.
    pub(crate) fn write(&self, offset: u64, content: &[u8]) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        if let Some(Prepared::With(name)) = state.prepared.take() {
            // A roll-back: SQLite writes nothing after the first phase of a commit.
            self.hub.supers.break_up(&name);
        }
        if state.lost {
            return Ok(());
        }
        let written = self.put(&mut state, offset, content);
        self.lose_if_refused(&mut state, written)
    }

    fn put(&self, state: &mut State, offset: u64, content: &[u8]) -> Result<(), EngineError> {
        let write = self.writing(state)?;
        image::check_page_size(write, offset, content)?;
        if let Some(header) = image::write(write, offset, content)? {
            state.counter.wrote(header.counter);
            state.wal_mode_written = header.wal_mode;
        }
        Ok(())
    }

    /// Cuts the file.
    pub(crate) fn truncate(&self, bytes: u64) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        // A commit has cut it already, if SQLite has not said so before.
        if state.lost
            || matches!(&state.stage, Stage::Reading(read) if image::file_bytes(read) == bytes)
        {
            return Ok(());
        }
        let cut = self.writing(&mut state);
        let cut = cut.and_then(|write| image::resize(write, bytes));
        self.lose_if_refused(&mut state, cut)
    }

    /// The transaction that is written to. In a seat, the first write after a commit begins one.
    fn writing<'s>(&self, state: &'s mut State) -> Result<&'s mut WriteTxn, EngineError> {
        if matches!(state.stage, Stage::Reading(_)) {
            let refused = EngineError::NoTransaction { operation: "write" };
            let (Some(seat), Some(db)) = (&state.seat, self.database()) else {
                return Err(refused);
            };
            let write = db.begin_write_in(seat)?;
            state.synced = false;
            state.begin(write);
        }
        match &mut state.stage {
            Stage::Writing { write, .. } => Ok(write),
            _ => Err(EngineError::NoTransaction { operation: "write" }),
        }
    }

    /// SQLite syncs the file: what it commits is to be durable.
    pub(crate) fn sync(&self) {
        self.state.lock().synced = true;
    }
}

impl State {
    fn level(&self) -> Level {
        match &self.stage {
            _ if self.writes => Level::Writer,
            Stage::Idle => Level::None,
            _ => Level::Shared,
        }
    }

    /// Something is to be forgotten if the transaction ends here.
    fn has_changes(&self) -> bool {
        self.lost || matches!(self.stage, Stage::Writing { .. })
    }

    /// Goes from reading to writing.
    fn begin(&mut self, write: WriteTxn) {
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Reading(read) | Stage::Writing { read, .. } => Stage::Writing { read, write },
            Stage::Idle => Stage::Idle,
        };
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
