//! Whether SQLite finds a database damaged: [`bop_sqlite_common::soundness`], asked of a connection of rusqlite's.

use bop_sqlite_common::soundness::{self, Asked};
use rusqlite::{Connection, Error, Result};

/// What SQLite finds wrong with the main database of `connection`, at most `max` findings. Turns the
/// connection's `ignore_check_constraints` on.
///
/// What a schema names that only the application has (collations, functions, tokenizers) is no damage: its tables
/// are checked one by one then. Rows that break a `CHECK` are no damage either.
///
/// # Errors
/// SQLite's, when it cannot read the database. `SQLITE_CORRUPT` and `SQLITE_NOTADB` are damage, too.
pub fn damage_found(connection: &Connection, max: usize) -> Result<Vec<String>> {
    soundness::damage_found(&Checked(connection), max)
}

struct Checked<'a>(&'a Connection);

impl Asked for Checked<'_> {
    type Error = Error;

    fn texts(&self, sql: &str, max: usize) -> Result<Vec<String>> {
        let mut statement = self.0.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.take(max).collect()
    }

    fn is_of_the_schema(error: &Error) -> bool {
        // The source: with some of its features, rusqlite has another variant for such errors.
        let code = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<rusqlite::ffi::Error>())
            .map(|error| error.extended_code & 0xff);
        code == Some(rusqlite::ffi::SQLITE_ERROR)
    }
}
