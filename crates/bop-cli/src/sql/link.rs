//! Where the SQL of the shell runs: on a connection of this process, or in the one that has the store open.
//!
//! Invariant: what is printed is the same, wherever it runs.

use super::shell::Place;
use bop_control::output::RowPrinter;
use bop_control::{Cells, Explain, Failure, Mode, SqlClient, SqlPiece, SqlRefused};
use bop_libsql::Connection;
use bop_libsql::control::{Stopped, TakeRows, run};
use bop_storage::error::ErrorCode;
use rusqlite::ffi;
use std::io::{self, Write};

/// See the module.
pub(crate) enum Link<'a> {
    /// A connection, and what it is of.
    Here(&'a Connection, Place<'a>),
    /// A session with the owner of the store.
    There(&'a mut SqlClient),
}

/// Why SQL was not run to its end.
pub(crate) enum Refused {
    /// SQLite refused a statement.
    Sql(SqlRefused),
    /// The owner of the store ended the session.
    Ended(Failure),
    /// The output cannot be written.
    Output(io::Error),
}

impl Link<'_> {
    /// Runs `sql`, which may be several statements, and writes their rows.
    ///
    /// # Errors
    /// The first statement that fails; what came before it is written and flushed.
    pub(crate) fn run(
        &mut self,
        sql: &mut Vec<u8>,
        mode: Mode,
        header: bool,
        out: &mut dyn Write,
    ) -> Result<(), Refused> {
        if let Some(at) = sql.iter().position(|byte| *byte == 0) {
            return Err(refused_as("a NUL character in the SQL", at));
        }
        match self {
            Self::Here(connection, place) => {
                // With its terminator in place SQLite need not copy the text.
                sql.push(0);
                let ran = run_here(connection, *place, sql, mode, header, out);
                sql.pop();
                ran
            }
            Self::There(session) => run_there(session, sql, mode, header, out),
        }
    }

    /// Whether a transaction is open.
    pub(crate) fn is_in_transaction(&self) -> bool {
        match self {
            Self::Here(connection, _) => !connection.is_autocommit(),
            Self::There(session) => session.is_in_transaction(),
        }
    }
}

fn run_there(
    session: &mut SqlClient,
    sql: &[u8],
    mode: Mode,
    header: bool,
    out: &mut dyn Write,
) -> Result<(), Refused> {
    let sql = match std::str::from_utf8(sql) {
        Ok(sql) => sql.to_owned(),
        Err(error) => {
            let message = "over the control socket SQL has to be UTF-8";
            return Err(refused_as(message, error.valid_up_to()));
        }
    };
    let piece = SqlPiece { sql, mode, header };
    match session.run(piece, out) {
        Ok(None) => Ok(()),
        Ok(Some(refused)) => Err(Refused::Sql(refused)),
        Err(failure) => Err(Refused::Ended(failure)),
    }
}

/// Runs `sql`, of which the last byte is NUL.
fn run_here(
    connection: &Connection,
    place: Place<'_>,
    sql: &[u8],
    mode: Mode,
    header: bool,
    out: &mut dyn Write,
) -> Result<(), Refused> {
    let printer = RowPrinter::new(mode, header);
    let mut printed = Printed { printer, out };
    match run(place.store, connection, sql, &mut printed) {
        Ok(()) => Ok(()),
        Err(Stopped::Rows(error)) => Err(Refused::Output(error)),
        Err(Stopped::Refused(refused)) => {
            // What came before the error is part of the answer.
            out.flush().map_err(Refused::Output)?;
            Err(Refused::Sql(refused))
        }
    }
}

/// Rows that are written at once.
struct Printed<'a> {
    printer: RowPrinter,
    out: &'a mut dyn Write,
}

impl TakeRows for Printed<'_> {
    type Error = io::Error;

    fn row(&mut self, cells: &mut dyn Cells, explain: Explain, is_first: bool) -> io::Result<()> {
        self.printer.row(cells, explain, is_first, self.out)
    }

    fn end(&mut self) -> io::Result<()> {
        self.printer.end(self.out)
    }
}

fn refused_as(message: &str, offset: usize) -> Refused {
    let failure = Failure {
        sqlite_code: Some(ffi::SQLITE_ERROR),
        ..Failure::new(ErrorCode::Sql, message)
    };
    Refused::Sql(SqlRefused { failure, offset })
}
