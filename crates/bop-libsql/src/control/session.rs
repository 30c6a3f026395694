//! A client's connection.
//!
//! Invariants
//! - a session that only reads has a connection that SQLite opened read only, `query_only`, and the rules of
//!   [`super::rules`] on top: each alone would do for most, and none for all;
//! - the watch of a piece is asked while it runs, and by no later one.
//!
//! Never: makes a database for a session that only reads.

use super::rules;
use super::run::{Stopped, run};
use crate::{Connection, Error, OpenOptions, Store};
use bop_control::{Failure, SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use std::ffi::c_int;

/// Steps of SQLite's program between two looks at the watch: well below a millisecond.
const STEPS: c_int = 10_000;

/// See the module.
pub(super) struct Session {
    store: Store,
    connection: Connection,
}

impl Session {
    pub(super) fn open(store: &Store, wanted: &SqlWanted) -> Result<Self, Failure> {
        let connection = connect(store, wanted)?;
        let guarded = guard(&connection, wanted);
        guarded.map_err(|source| Error::Sqlite {
            name: wanted.database.clone(),
            source,
            engine: None,
        })?;
        Ok(Self {
            store: store.clone(),
            connection,
        })
    }
}

fn connect(store: &Store, wanted: &SqlWanted) -> Result<Connection, Error> {
    let options = OpenOptions::new();
    match &wanted.at {
        Some(at) => store.connect_at(&wanted.database, at),
        None if wanted.write => {
            store.connect_with(&wanted.database, &options.create(wanted.create))
        }
        None => store.connect_with(&wanted.database, &options.read_only(true)),
    }
}

fn guard(connection: &Connection, wanted: &SqlWanted) -> rusqlite::Result<()> {
    let value_bytes = i32::try_from(wanted.value_bytes_max).unwrap_or(i32::MAX);
    let default = connection.limit(Limit::SQLITE_LIMIT_LENGTH);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, value_bytes.min(default));
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    if wanted.write {
        connection.authorizer(Some(rules::of_writer));
    } else {
        connection.pragma_update(None, "query_only", true)?;
        connection.authorizer(Some(rules::of_reader));
    }
    Ok(())
}

impl SqlSession for Session {
    fn run(
        &mut self,
        sql: &[u8],
        watch: &SqlWatch,
        rows: &mut dyn SqlRows,
    ) -> Result<(), SqlRunError> {
        let watch = watch.clone();
        self.connection
            .progress_handler(STEPS, Some(move || !watch.goes_on()));
        let done = run(&self.store, &self.connection, sql, rows);
        self.connection
            .progress_handler(STEPS, None::<fn() -> bool>);
        done.map_err(|stopped| match stopped {
            Stopped::Refused(refused) => SqlRunError::Refused(refused),
            Stopped::Rows(failure) => SqlRunError::Rows(failure),
        })
    }

    fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }
}
