//! Connection: a rusqlite connection whose main database is one of a store.
//!
//! Invariant: whatever SQLite may call back into is owned by SQLite's connection object itself (its
//! WAL manager), so a [`rusqlite::Connection`] that was swapped out of a [`Connection`] stays valid.

use crate::EngineError;
use crate::engine_error::ErrorSlot;
use crate::error::Error;
use crate::ffi;
use crate::hub::Hub;
use crate::shown;
use bop_storage::error::{BeginError, CatalogueError, NameError};
use bop_storage::{At, Db};
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// libSQL is compiled with another default for triggers than SQLite. The engine checkpoints when it has to, so
/// the hook is free for whoever wants it. SQLite may look at pages of the main database where they are, not at
/// those of plain files that are attached.
const AT_CONNECT: &str = "PRAGMA recursive_triggers = 0; PRAGMA wal_autocheckpoint = 0;
     PRAGMA main.mmap_size = 0x7fff0000";

/// How a connection is opened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Create the database when it is missing. Default: yes.
    pub create: bool,
    /// Refuse every write. A missing database is not created. Default: no.
    pub read_only: bool,
    /// How long a statement waits for another writer before it fails with `SQLITE_BUSY`. Default:
    /// five seconds, as rusqlite has it. What is longer than 24 days is 24 days.
    pub busy_timeout: Duration,
}

impl OpenOptions {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            create: true,
            read_only: false,
            busy_timeout: Duration::from_secs(5),
        }
    }

    /// Whether a missing database is created.
    #[must_use]
    pub const fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Whether every write is refused.
    #[must_use]
    pub const fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// How long a statement waits for another writer.
    #[must_use]
    pub const fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    fn flags(self) -> OpenFlags {
        // Private cache: a shared one would outlive this connection's WAL manager.
        let common = OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        common
            | match self {
                Self {
                    read_only: true, ..
                } => OpenFlags::SQLITE_OPEN_READ_ONLY,
                Self { create: true, .. } => {
                    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
                }
                _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
            }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection to a database of a store. Everything a [`rusqlite::Connection`] can do, it can.
///
/// Dropping it rolls back a transaction that is still open.
pub struct Connection {
    sqlite: rusqlite::Connection,
    errors: Arc<ErrorSlot>,
    /// The database, unless it shows a state of its past.
    database: Option<Db>,
}

impl Connection {
    pub(crate) fn open(hub: &Arc<Hub>, name: &str, options: &OpenOptions) -> Result<Self, Error> {
        refuse_memory(name)?;
        // SQLite would ask for the database too, but its answer has no details.
        let database = hub.open(name, options.create && !options.read_only)?;
        let mut opened = Self::open_file(hub, name, options)?;
        opened.database = Some(database);
        Ok(opened)
    }

    pub(crate) fn open_at(
        hub: &Arc<Hub>,
        name: &str,
        at: &At,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        drop(hub.open_at(name, at)?);
        let options = options.read_only(true);
        Self::open_file(hub, &shown::file_name(name, at), &options)
    }

    fn open_file(hub: &Arc<Hub>, name: &str, options: &OpenOptions) -> Result<Self, Error> {
        let errors = Arc::new(ErrorSlot::default());
        ErrorSlot::take_of_this_thread();
        let opened = Self::open_sqlite(hub, name, options, &errors);
        match opened {
            Ok(sqlite) => Ok(Self {
                sqlite,
                errors,
                database: None,
            }),
            Err(source) => Err(Error::Sqlite {
                name: name.to_owned(),
                source,
                engine: ErrorSlot::take_of_this_thread().map(Box::new),
            }),
        }
    }

    fn open_sqlite(
        hub: &Arc<Hub>,
        name: &str,
        options: &OpenOptions,
        errors: &Arc<ErrorSlot>,
    ) -> rusqlite::Result<rusqlite::Connection> {
        let sqlite = rusqlite::Connection::open_with_flags_vfs_and_wal(
            shown::uri_of(name),
            options.flags(),
            hub.vfs_name(),
            ffi::wal_manager(Arc::clone(hub), Arc::clone(errors)),
        )?;
        // rusqlite panics above what SQLite can count.
        let longest = Duration::from_millis(i32::MAX.unsigned_abs().into());
        sqlite.busy_timeout(options.busy_timeout.min(longest))?;
        // Nor has it SQLite's default for foreign keys.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        sqlite.execute_batch(AT_CONNECT)?;
        Ok(sqlite)
    }

    /// Whether its database was dropped since, or restored, which makes another one of it: no statement succeeds any more.
    pub(crate) fn is_of_a_dropped_database(&self) -> bool {
        let begun = self.database.as_ref().map(Db::begin_read);
        begun.is_some_and(|begun| matches!(begun, Err(BeginError::Dropped)))
    }

    /// The newest error that the engine answered to this connection: it names the object and the
    /// place, where SQLite's own message says "disk I/O error".
    pub fn last_engine_error(&self) -> Option<EngineError> {
        self.errors.latest()
    }

    /// Closes the connection and reports what SQLite says to that; dropping it does not.
    ///
    /// # Errors
    /// The connection, still open, and why it could not be closed.
    #[expect(
        clippy::result_large_err,
        reason = "as rusqlite has it: the connection comes back"
    )]
    pub fn close(self) -> Result<(), (Self, rusqlite::Error)> {
        let Self {
            sqlite,
            errors,
            database,
        } = self;
        sqlite.close().map_err(|(sqlite, error)| {
            let open = Self {
                sqlite,
                errors,
                database,
            };
            (open, error)
        })
    }
}

/// SQLite's name for a database in memory cannot be escaped: a database of that name would be out of
/// reach.
fn refuse_memory(name: &str) -> Result<(), CatalogueError> {
    if name != ":memory:" {
        return Ok(());
    }
    Err(CatalogueError::InvalidName {
        name: name.to_owned(),
        reason: NameError::Character {
            character: ':',
            at: 0,
        },
    })
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.sqlite
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut rusqlite::Connection {
        &mut self.sqlite
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("sqlite", &self.sqlite)
            .field("last_engine_error", &self.last_engine_error())
            .finish()
    }
}
