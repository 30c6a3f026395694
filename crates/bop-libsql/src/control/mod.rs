//! SQL over the control socket of a store: what [`bop_control`] leaves to whoever has a SQLite.
//!
//! | file | owns |
//! |---|---|
//! | `connection` | a client's connection |
//! | `failures` | errors of opening and of files as people see them |
//!
//! What a session may do, and how it is done, stands in [`bop_sqlite_common::sql`], for both doors to SQLite.
//!
//! # Example
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! use bop_control::{Client, Mode, Options, Server, SqlPiece, SqlSpec};
//! use bop_libsql::{Store, control::Door};
//! use std::sync::Arc;
//!
//! let store = Store::open(dir.path(), bop_storage::Options::new())?;
//! store.connect("orders")?.execute_batch("create table t(x); insert into t values (7)")?;
//! let options = Options::new().sql(Arc::new(Door::new(&store)));
//! let server = Server::start(store.manager(), options)?;
//!
//! // In any other process of the same user:
//! let client = Client::connect(dir.path())?.ok_or("nobody listens")?;
//! let spec = SqlSpec { database: "orders".into(), at: None, create: false, write: false };
//! let mut rows = Vec::new();
//! let piece = SqlPiece { sql: "select x from t".into(), mode: Mode::List, header: false };
//! client.sql(&spec)?.run(piece, &mut rows)?;
//! assert_eq!(rows, b"7\n");
//! # server.stop();
//! # Ok(())
//! # }
//! ```

mod connection;
mod failures;

pub use bop_sqlite_common::sql::{Stopped, TakeRows};

use crate::transfer::import_file;
use crate::{Connection, OpenOptions, Store, damage_found};
use bop_control::{ExportWanted, Failure, SqlDoor, SqlSession, SqlWanted, Transferred};
use bop_sqlite_common::sql::{self, Session, SqlFailure};
use bop_storage::error::ErrorCode;
use connection::{Lent, Owned};
use std::fmt;
use std::path::Path;

/// SQL on the databases of a store, for other processes. A handle of the store like any other.
pub struct Door {
    store: Store,
}

impl Door {
    /// The door to a store.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }
}

impl SqlDoor for Door {
    fn open(&self, wanted: &SqlWanted) -> Result<Box<dyn SqlSession>, Failure> {
        let connection = Owned::open(&self.store, wanted)?;
        let session = Session::begin(connection, wanted);
        let session = session.map_err(|error| {
            let message = format!("database {:?}: {error}", wanted.database);
            Failure::new(ErrorCode::Sql, message)
        })?;
        Ok(Box::new(session))
    }

    fn integrity_check(&self, database: &str, max: usize) -> Result<Vec<String>, String> {
        let options = OpenOptions::new().read_only(true);
        let connection = self.store.connect_with(database, &options);
        let connection = connection.map_err(|error| error.to_string())?;
        damage_found(&connection, max).map_err(|error| match connection.last_engine_error() {
            Some(engine) => format!("integrity_check: {error}: {engine}"),
            None => format!("integrity_check: {error}"),
        })
    }

    fn import(
        &self,
        database: &str,
        file: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        let report = import_file(&self.store, database, file, progress)?;
        Ok(Transferred {
            pages: report.pages,
            page_bytes: report.page_size.map(|size| size.get()),
            through_sqlite: report.through_sqlite,
            rolling_checksum: report.rolling_checksum.to_string(),
        })
    }

    fn export(
        &self,
        wanted: &ExportWanted<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        sql::export(self.store.manager(), wanted, progress)
    }
}

/// The error of a statement that was run by rusqlite, as people see those that [`run`] runs.
pub fn failure_of(store: &Store, connection: &Connection, error: &rusqlite::Error) -> Failure {
    let message = error.to_string();
    // The source: with some of its features, rusqlite has another variant for such errors.
    let code = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<rusqlite::ffi::Error>())
        .map(|error| error.extended_code);
    match code {
        Some(code) => {
            let failure = SqlFailure {
                message,
                code,
                offset: None,
            };
            sql::failure_of(&Lent { store, connection }, &failure)
        }
        None => Failure::new(ErrorCode::Sql, message),
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.store).finish()
    }
}

/// Runs all of `sql`, and hands its rows to `rows`. A NUL at its end is no part of it: with one there SQLite need
/// not copy the text.
///
/// # Errors
/// The first statement that fails, after the rows that it had; or what `rows` answers.
pub fn run<R: TakeRows + ?Sized>(
    store: &Store,
    connection: &Connection,
    sql: &[u8],
    rows: &mut R,
) -> Result<(), Stopped<R::Error>> {
    sql::run(&Lent { store, connection }, sql, rows)
}
