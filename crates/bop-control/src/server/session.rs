//! A client's session of SQL.
//!
//! ```text
//!   open --> idle --a piece--> runs --> idle
//!              |                 '--too long, client gone, server stops--> ended, the session goes on or ends
//!              '--idle for too long--> told, rolled back, ended
//! ```
//! Invariants
//! - nobody writes where the owner's options do not allow it, whatever the client asks for;
//! - a piece of SQL ends with its deadline, with its client, or with the server;
//! - what it answers is counted where it is read, so that what a mode holds back counts, too.

use super::Place;
use super::caller::RemoteCaller;
use super::serve::refused;
use crate::cells::{Cells, Explain, Kind};
use crate::commands::no_sql;
use crate::failure::Failure;
use crate::message::{Said, SqlPiece, SqlSpec, Told};
use crate::output::RowPrinter;
use crate::request::check_name;
use crate::sql::{SqlRows, SqlRunError, SqlSession, SqlWanted, SqlWatch};
use crate::wire::{WireError, read_message};
use bop_storage::error::ErrorCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Serves a session; answers the last word.
pub(super) fn serve(place: &Place, caller: &mut RemoteCaller, spec: &SqlSpec) -> Told {
    let mut session = match open(place, spec) {
        Ok(session) => session,
        Err(failure) => return Told::Failed(failure),
    };
    let mut done = Ok(());
    loop {
        let told = match done {
            Ok(()) => Told::Done {
                status: 0,
                in_transaction: session.is_in_transaction(),
            },
            Err(SqlRunError::Refused(refused)) => Told::Refused(refused),
            Err(SqlRunError::Rows(failure)) => return Told::Failed(failure),
        };
        if let Err(error) = caller.tell(&told) {
            return Told::Failed(Failure::of_output(&error));
        }
        let patience = match session.is_in_transaction() {
            true => place.shared.options.sql_transaction_idle_max,
            false => place.shared.options.sql_idle_max,
        };
        let piece = match read_message(&place.stream, patience) {
            Ok(Said::Piece(piece)) => piece,
            Ok(_) => return refused("SQL was expected"),
            Err(WireError::TooSlow) => return idle_too_long(&*session, patience),
            Err(error) => return refused(&error.to_string()),
        };
        done = run(place, caller, &mut *session, &piece);
    }
}

fn open(place: &Place, spec: &SqlSpec) -> Result<Box<dyn SqlSession>, Failure> {
    let options = &place.shared.options;
    let door = options.sql.as_ref().ok_or_else(no_sql)?;
    check_name(&spec.database)?;
    if spec.write && !options.allow_writes {
        let message = "the process that has the store open lets others only read";
        return Err(Failure::new(ErrorCode::NotSupported, message)
            .with_hint("leave --write out, or have the owner allow it"));
    }
    let at = spec.at.as_deref().map(str::parse).transpose();
    let at = at.map_err(|error| Failure::new(ErrorCode::Usage, error))?;
    door.open(&SqlWanted {
        database: spec.database.clone(),
        at,
        create: spec.create && spec.write,
        write: spec.write,
        value_bytes_max: options.sql_bytes_max,
    })
}

fn idle_too_long(session: &dyn SqlSession, patience: Duration) -> Told {
    let seconds = patience.as_secs_f64();
    let what = match session.is_in_transaction() {
        true => format!("idle for {seconds} s: the transaction was rolled back"),
        false => format!("idle for {seconds} s"),
    };
    Told::Failed(Failure::new(
        ErrorCode::Timeout,
        format!("the session was ended: {what}"),
    ))
}

fn run(
    place: &Place,
    caller: &mut RemoteCaller,
    session: &mut dyn SqlSession,
    piece: &SqlPiece,
) -> Result<(), SqlRunError> {
    let options = &place.shared.options;
    let (stream, stopping) = (
        Arc::clone(&place.stream),
        Arc::clone(&place.shared.stopping),
    );
    let watch = SqlWatch {
        until: Instant::now() + options.sql_deadline,
        is_wanted: Arc::new(move || RemoteCaller::is_wanted(&stream, &stopping)),
    };
    let mut rows = Rows {
        caller,
        printer: RowPrinter::new(piece.mode, piece.header),
        bytes: 0,
        bytes_max: options.sql_bytes_max,
    };
    let done = session.run(piece.sql.as_bytes(), &watch, &mut rows);
    match done {
        Err(SqlRunError::Refused(_)) if !(watch.is_wanted)() => {
            Err(SqlRunError::Rows(Failure::ended()))
        }
        Err(SqlRunError::Refused(mut refused)) if !watch.goes_on() => {
            let seconds = options.sql_deadline.as_secs_f64();
            let message = format!("the SQL ran for longer than the owner's {seconds} s");
            refused.failure = Failure::new(ErrorCode::Timeout, message)
                .with_hint("ask for less at a time, or have the owner raise the deadline");
            Err(SqlRunError::Refused(refused))
        }
        other => other,
    }
}

/// Writes rows to the client.
struct Rows<'a> {
    caller: &'a mut RemoteCaller,
    printer: RowPrinter,
    bytes: u64,
    bytes_max: u64,
}

impl SqlRows for Rows<'_> {
    fn row(
        &mut self,
        cells: &mut dyn Cells,
        explain: Explain,
        is_first: bool,
    ) -> Result<(), Failure> {
        let mut counted = Counted { cells, bytes: 0 };
        let written = self
            .printer
            .row(&mut counted, explain, is_first, &mut *self.caller);
        self.bytes = self.bytes.saturating_add(counted.bytes);
        written.map_err(|error| Failure::of_output(&error))?;
        if self.bytes_max < self.bytes {
            let message = format!(
                "the answer has more than the owner's {} bytes",
                self.bytes_max
            );
            return Err(Failure::new(ErrorCode::LimitReached, message)
                .with_hint("ask for less at a time, or have the owner raise the limit"));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let written = self.printer.end(&mut *self.caller);
        written.map_err(|error| Failure::of_output(&error))
    }
}

/// A row of which the bytes that are read are counted.
struct Counted<'a> {
    cells: &'a mut dyn Cells,
    bytes: u64,
}

impl Counted<'_> {
    /// Each value takes a little, too.
    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64 + 1;
    }
}

impl Cells for Counted<'_> {
    fn columns(&self) -> usize {
        self.cells.columns()
    }

    fn column_name(&self, column: usize) -> Vec<u8> {
        self.cells.column_name(column)
    }

    fn kind(&self, column: usize) -> Kind {
        self.cells.kind(column)
    }

    fn real(&self, column: usize) -> f64 {
        self.cells.real(column)
    }

    fn text(&mut self, column: usize) -> Option<&[u8]> {
        let bytes = self.cells.text(column).map_or(0, <[u8]>::len);
        self.count(bytes);
        self.cells.text(column)
    }

    fn blob(&mut self, column: usize) -> &[u8] {
        let bytes = self.cells.blob(column).len();
        self.count(bytes);
        self.cells.blob(column)
    }
}
