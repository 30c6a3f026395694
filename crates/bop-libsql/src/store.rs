//! Store: an open store, known to SQLite, that gives out connections.

use crate::connection::{Connection, OpenOptions};
use crate::error::Error;
use crate::hub::Hub;
use crate::{EngineError, ffi, page_one};
use bop_storage::{At, Manager, Options};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A store whose databases SQLite can open. Clones are handles of the same store.
///
/// The store's VFS stays with SQLite until the last handle and the last connection are gone.
#[derive(Clone)]
pub struct Store(Arc<Hub>);

impl Store {
    /// Opens the store in the directory `path`.
    ///
    /// # Errors
    /// [`Error::Open`] when the engine cannot open it, else as [`Store::new`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::new(Manager::open(path, options)?)
    }

    /// Makes an open store known to SQLite.
    ///
    /// # Errors
    /// [`Error::SqliteVersion`] when another SQLite is linked than this crate was tested with,
    /// [`Error::Register`] when SQLite refuses the VFS.
    pub fn new(manager: Manager) -> Result<Self, Error> {
        let (found, needed) = (ffi::sqlite_version(), page_one::SQLITE_VERSION);
        if u32::try_from(found) != Ok(needed) {
            return Err(Error::SqliteVersion { found, needed });
        }
        Ok(Self(Hub::register(manager)?))
    }

    /// Opens a connection to the database `name`, which is created when it is missing.
    ///
    /// # Errors
    /// As [`Store::connect_with`].
    pub fn connect(&self, name: &str) -> Result<Connection, Error> {
        self.connect_with(name, &OpenOptions::new())
    }

    /// Opens a connection to the database `name`.
    ///
    /// # Errors
    /// [`Error::Catalogue`] when the name is none, the database is missing and not to be created,
    /// damaged, or of another kind; [`Error::Sqlite`] when SQLite refuses.
    pub fn connect_with(&self, name: &str, options: &OpenOptions) -> Result<Connection, Error> {
        Connection::open(&self.0, name, options)
    }

    /// Opens a connection to a state of the database `name`: what it was, or what it is now.
    ///
    /// The state is looked up once. It stays as it is until the connection is closed, even if its
    /// snapshot is dropped meanwhile; for [`Manager::close`] the connection is an open transaction. Every
    /// write to it fails with `SQLITE_READONLY`; temporary tables can be written.
    ///
    /// # Errors
    /// [`Error::Catalogue`] when there is no such database, or no snapshot of that name;
    /// [`Error::Past`] when that state is not kept; [`Error::Sqlite`] when SQLite refuses.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_libsql::{At, Options, Store};
    ///
    /// let store = Store::open(dir.path(), Options::new())?;
    /// let present = store.connect("orders")?;
    /// present.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")?;
    /// store.manager().snapshot_database("orders", "before", &At::Now)?;
    /// present.execute_batch("DELETE FROM t")?;
    ///
    /// let past = store.connect_at("orders", &"snapshot:before".parse()?)?;
    /// let x: i64 = past.query_row("SELECT x FROM t", [], |row| row.get(0))?;
    /// assert_eq!(x, 1);
    /// // Beside the present:
    /// present.execute_batch(
    ///     "ATTACH 'orders@snapshot:before' AS before; INSERT INTO main.t SELECT x FROM before.t",
    /// )?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect_at(&self, name: &str, at: &At) -> Result<Connection, Error> {
        Connection::open_at(&self.0, name, at, &OpenOptions::new())
    }

    #[cfg(test)]
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.0
    }

    /// The engine under the store.
    pub fn manager(&self) -> &Manager {
        self.0.manager()
    }

    /// The name of the store's VFS, for `ATTACH 'file:NAME?vfs=...'` from a connection to another
    /// store.
    pub fn vfs_name(&self) -> &str {
        self.0.vfs_name()
    }

    /// Why the newest attempt of a connection to open a database by name (`ATTACH`, `VACUUM INTO`)
    /// failed: SQLite itself says no more than "unable to open database".
    pub fn last_open_error(&self) -> Option<EngineError> {
        self.0.open_errors().latest()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.manager().path())
            .field("vfs", &self.vfs_name())
            .finish_non_exhaustive()
    }
}
