//! SQL over the control socket of a store: what [`bop_control`] leaves to whoever has a SQLite.
//!
//! | file | owns |
//! |---|---|
//! | `session` | a client's connection |
//! | `rules` | what it may do |
//! | `run` | the statements of a text, one after the other |
//! | `failures` | SQLite's errors as people see them |
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

mod failures;
mod rules;
mod run;
mod session;

pub use run::{Stopped, TakeRows, run};

use crate::{OpenOptions, Store, damage_found};
use bop_control::{Failure, SqlDoor, SqlSession, SqlWanted};
use session::Session;
use std::fmt;

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
        Ok(Box::new(Session::open(&self.store, wanted)?))
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
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.store).finish()
    }
}
