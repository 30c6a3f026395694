//! A client's connection.
//!
//! Invariants
//! - a session that only reads has a connection that SQLite opened read only, `query_only`, and the rules of
//!   `rules` on top: each alone would do for most, and none for all;
//! - the watch of a piece is asked while it runs, and by no later one.
//!
//! Never: opens the connection, or a way around the rules.
use super::SqlConnection;
use super::guard::{Watched, install_rules};
use super::handle::SqlFailure;
use super::run::{Stopped, run};
use bop_control::{SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch};

/// See the module.
#[derive(Debug)]
pub struct Session<C: SqlConnection>(Watched<C>);

impl<C: SqlConnection> Session<C> {
    /// Begins a session on a connection that was opened for it, read only unless the session may write.
    ///
    /// # Errors
    /// SQLite does not take what it is to be guarded by. The connection is closed then.
    pub fn begin(connection: C, wanted: &SqlWanted) -> Result<Self, SqlFailure> {
        let handle = connection.handle();
        handle.limit_value_bytes(wanted.value_bytes_max);
        handle.defend()?;
        if !wanted.write {
            handle.texts("PRAGMA query_only = 1", 1)?;
        }
        install_rules(handle, wanted.write)?;
        Ok(Self(Watched::new(connection)))
    }
}

impl<C: SqlConnection + Send> SqlSession for Session<C> {
    fn run(
        &mut self,
        sql: &[u8],
        watch: &SqlWatch,
        rows: &mut dyn SqlRows,
    ) -> Result<(), SqlRunError> {
        self.0.set(Some(watch.clone()));
        let done = run(self.0.connection(), sql, rows);
        self.0.set(None);
        done.map_err(|stopped| match stopped {
            Stopped::Refused(refused) => SqlRunError::Refused(refused),
            Stopped::Rows(failure) => SqlRunError::Rows(failure),
        })
    }

    fn is_in_transaction(&self) -> bool {
        self.0.connection().handle().is_in_transaction()
    }
}
