//! SQL over the control socket, by the SQLite of the program that loaded the extension.
//!
//! ```text
//!   client --> server's thread --visits--> a connection of its own, in the program's SQLite, on the VFS `bop`
//! ```
//! Invariants
//! - a connection is opened, used and closed on a visit (see `visit`): it keeps the store open for nobody;
//! - a SQLite that cannot be guarded, or used by two threads, runs nothing.
//!
//! Never: touches a connection of the program's.

use crate::ffi::{Connection, Host};
use crate::hub::Hub;
use crate::visit;
use bop_control::{
    ExportWanted, Failure, SqlDoor, SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch,
    Transferred,
};
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::{EngineError, ErrorSlot};
use bop_sqlite_common::shown;
use bop_sqlite_common::soundness::{Asked, damage_found};
use bop_sqlite_common::sql::{self, Handle, Session, SqlConnection, SqlFailure, Watched};
use bop_storage::error::ErrorCode;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longer than anybody waits for a check of a database.
const CHECK_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    hub: Arc<Hub>,
    /// The program's SQLite, or why it runs nothing for others.
    host: Result<Host, String>,
}

impl Door {
    pub(crate) fn new(hub: &Arc<Hub>, host: Result<Host, String>) -> Self {
        Self {
            hub: Arc::clone(hub),
            host,
        }
    }

    fn connect(&self, name: &str, write: bool) -> Result<Visitor, Failure> {
        let host = self.host.as_ref().map_err(|why| {
            Failure::new(ErrorCode::NotSupported, why).with_hint(
                "bop backup copies the store meanwhile; bop sql works on what is restored of it",
            )
        })?;
        let directory =
            self.hub.manager().path().to_str().ok_or_else(|| {
                Failure::new(ErrorCode::NotSupported, "the store's path is no text")
            })?;
        ErrorSlot::take_of_this_thread();
        let opened = Connection::open(*host, &shown::uri_of(&format!("{directory}/{name}")), write);
        let connection = opened.map_err(|error| {
            let (message, code) = (format!("database {name:?}: {error}"), Some(error.code));
            let failure = match ErrorSlot::take_of_this_thread() {
                Some(engine) => Failure::new(engine.code(), format_args!("{message}: {engine}")),
                None => Failure::new(ErrorCode::Sql, message),
            };
            Failure {
                sqlite_code: code,
                ..failure
            }
        })?;
        Ok(Visitor {
            connection,
            state: name.contains('@').then(|| name.to_owned()),
        })
    }

    fn open_session(&self, wanted: &SqlWanted) -> Result<Session<Visitor>, Failure> {
        let (manager, name) = (self.hub.manager(), &wanted.database);
        // SQLite would ask, too, but its answer has no details.
        let (name, write) = match &wanted.at {
            Some(at) => {
                drop(shown::open_state(manager, name, at)?);
                (shown::file_name(name, at), false)
            }
            None => {
                drop(shown::open_database(manager, name, wanted.create)?);
                (name.clone(), wanted.write)
            }
        };
        let visitor = self.connect(&name, write)?;
        Session::begin(visitor, wanted).map_err(|error| {
            let message = format!("database {name:?}: {error}");
            Failure::new(ErrorCode::NotSupported, message)
        })
    }

    fn check(&self, database: &str, max: usize) -> Result<Vec<String>, String> {
        let visitor = self.connect(database, false);
        let visitor = visitor.map_err(|failure| failure.message)?;
        let closing = Arc::clone(self.hub.closing());
        let visitor = Watched::new(visitor);
        visitor.set(Some(SqlWatch {
            until: Instant::now() + CHECK_DEADLINE,
            is_wanted: Arc::new(move || !closing.load(Ordering::Acquire)),
        }));
        let visitor = visitor.connection();
        damage_found(visitor, max).map_err(|error| match visitor.engine_error(&error) {
            Some(engine) => format!("integrity_check: {error}: {engine}"),
            None => format!("integrity_check: {error}"),
        })
    }
}

impl SqlDoor for Door {
    fn open(&self, wanted: &SqlWanted) -> Result<Box<dyn SqlSession>, Failure> {
        let session = visit::within(&self.hub, || self.open_session(wanted))?;
        Ok(Box::new(Visit {
            hub: Arc::clone(&self.hub),
            session: Some(session),
        }))
    }

    fn integrity_check(&self, database: &str, max: usize) -> Result<Vec<String>, String> {
        visit::within(&self.hub, || self.check(database, max))
    }

    fn import(
        &self,
        _database: &str,
        _file: &Path,
        _progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        let message = "the program that has the store open by the extension imports no files";
        Err(Failure::new(ErrorCode::NotSupported, message)
            .with_hint("let it close the store, then import: bop reads the file by libSQL"))
    }

    fn export(
        &self,
        wanted: &ExportWanted<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Transferred, Failure> {
        sql::export(self.hub.manager(), wanted, progress)
    }
}

/// A client's session.
#[derive(Debug)]
struct Visit {
    hub: Arc<Hub>,
    /// `None` when it is over.
    session: Option<Session<Visitor>>,
}

impl SqlSession for Visit {
    fn run(
        &mut self,
        sql: &[u8],
        watch: &SqlWatch,
        rows: &mut dyn SqlRows,
    ) -> Result<(), SqlRunError> {
        let Some(session) = &mut self.session else {
            return Err(SqlRunError::Rows(Failure::ended()));
        };
        ErrorSlot::take_of_this_thread();
        visit::within(&self.hub, || session.run(sql, watch, rows))
    }

    fn is_in_transaction(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(SqlSession::is_in_transaction)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // To close the connection rolls back, on a visit like everything else.
        let session = self.session.take();
        visit::within(&self.hub, || drop(session));
    }
}

/// A connection of this door's.
#[derive(Debug)]
struct Visitor {
    connection: Connection,
    /// The name of the state that it shows.
    state: Option<String>,
}

impl SqlConnection for Visitor {
    fn handle(&self) -> Handle<'_> {
        self.connection.handle()
    }

    fn engine_error(&self, sql: &SqlFailure) -> Option<EngineError> {
        // What this thread's calls into the VFS were answered last; older ones were taken before.
        let newest = ErrorSlot::take_of_this_thread();
        newest.filter(|engine| engine.sqlite_code() == sql.code)
    }

    fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl Asked for Visitor {
    type Error = SqlFailure;

    fn texts(&self, sql: &str, max: usize) -> Result<Vec<String>, SqlFailure> {
        self.handle().texts(sql, max)
    }

    fn is_of_the_schema(error: &SqlFailure) -> bool {
        error.code & 0xff == codes::SQLITE_ERROR
    }
}
