//! A client's connection.
//!
//! Invariants
//! - a session that only reads has a connection that SQLite opened read only, `query_only`, and the rules of
//!   [`super::rules`] on top: each alone would do for most, and none for all;
//! - the watch of a piece is asked while it runs, and by no later one.
//!
//! Never: makes a database for a session that only reads.

use super::failures::sql_failure;
use super::rules;
use crate::statement::{Prepared, SqlFailure, first_word};
use crate::{Connection, Error, OpenOptions, Store};
use bop_control::{Failure, SqlRefused, SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch};
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

    /// Runs the first statement of `sql`; answers its length, 0 at the end.
    fn run_first(&self, sql: &[u8], rows: &mut dyn SqlRows) -> Result<usize, SqlRunError> {
        let refused = |failure: SqlFailure| {
            SqlRunError::Refused(SqlRefused {
                offset: failure.offset.unwrap_or_else(|| first_word(sql)),
                failure: sql_failure(&self.store, &self.connection, &failure),
            })
        };
        let (prepared, used) = Prepared::new(&self.connection, sql).map_err(refused)?;
        let Some(mut prepared) = prepared else {
            return Ok(used);
        };
        let explain = prepared.explain();
        let mut is_first = true;
        let end = loop {
            match prepared.step() {
                Ok(true) => {}
                end => break end,
            }
            let taken = rows.row(&mut prepared, explain, is_first);
            taken.map_err(SqlRunError::Rows)?;
            is_first = false;
        };
        if !is_first {
            rows.end().map_err(SqlRunError::Rows)?;
        }
        end.map_err(refused)?;
        Ok(used)
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
        let mut at = 0;
        let done = loop {
            let rest = sql.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.run_first(rest, rows) {
                Ok(0) => break Ok(()),
                Ok(used) => at += used,
                Err(SqlRunError::Refused(mut refused)) => {
                    refused.offset += at;
                    break Err(SqlRunError::Refused(refused));
                }
                Err(error) => break Err(error),
            }
        };
        self.connection
            .progress_handler(STEPS, None::<fn() -> bool>);
        done
    }

    fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }
}
