//! Runs statements one after the other and writes their rows.
//!
//! Invariants
//! - a statement runs as soon as it is complete, and what it answers is flushed before more input
//!   is read: a pipe can be a conversation;
//! - nothing runs after a statement that failed (save at the prompt, where people see it).

use super::input::{Splitter, Statement};
use super::position::{Excerpt, Position};
use super::shell::Place;
use super::statement::{Prepared, SqlFailure};
use crate::output::{Mode, Printer};
use rusqlite::Connection;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

/// The most bytes of one statement: SQLite takes no more.
const STATEMENT_BYTES_MAX: usize = 1_000_000_000;
/// Read from the input at once.
const READ_BYTES: usize = 64 * 1024;

/// Why the run stopped.
#[derive(Debug)]
pub(crate) enum RunError {
    /// SQLite refused a statement.
    Sql {
        /// What it says.
        failure: SqlFailure,
        /// Where.
        excerpt: Excerpt,
    },
    /// A command of the shell was not done.
    Command {
        /// Why, in words.
        message: String,
        /// Where.
        excerpt: Excerpt,
    },
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
}

impl RunError {
    /// The same, met in a file that the input named.
    pub(super) fn in_file(mut self, path: &Path) -> Self {
        let message = match &mut self {
            Self::Sql { failure, .. } => &mut failure.message,
            Self::Command { message, .. } => message,
            Self::Input(_) | Self::Output(_) => return self,
        };
        *message = format!("{}: {message}", path.display());
        self
    }
}

/// Whether anything is to be run after a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// It is.
    GoOn,
    /// The input said that it is over.
    Quit,
}

/// A connection and where its answers go.
pub(crate) struct Runner<'a> {
    pub(super) connection: &'a Connection,
    pub(super) place: Option<Place<'a>>,
    pub(super) mode: Mode,
    pub(super) header: bool,
    printer: Box<dyn Printer>,
    pub(super) out: &'a mut dyn Write,
    /// Whether to tell how long each statement takes.
    pub(super) timer: bool,
    /// Files that are being read, one by the other.
    pub(super) reads: usize,
}

impl<'a> Runner<'a> {
    /// Runs on `connection`, writes to `out`; `header` asks for column names where the mode can do
    /// without.
    pub(crate) fn new(
        connection: &'a Connection,
        mode: Mode,
        header: bool,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            connection,
            place: None,
            mode,
            header,
            printer: mode.printer(header),
            out,
            timer: false,
            reads: 0,
        }
    }

    /// Says which database of a store it is, for those commands that are about that.
    pub(crate) fn of(self, place: Place<'a>) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }

    /// How rows are written from now on.
    pub(super) fn write_in(&mut self, mode: Mode, header: bool) {
        (self.mode, self.header) = (mode, header);
        self.printer = mode.printer(header);
    }

    /// Runs everything that `input` has.
    ///
    /// # Errors
    /// The first statement that fails, or an input or output that does.
    pub(crate) fn run(&mut self, input: &mut dyn Read) -> Result<Flow, RunError> {
        let mut splitter = Splitter::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RunError::Input(error)),
            };
            splitter.push(buffer.get(..length).unwrap_or_default());
            while let Some(statement) = splitter.next_statement() {
                if self.run_statement(statement)? == Flow::Quit {
                    return Ok(Flow::Quit);
                }
            }
            if splitter.pending_bytes() > STATEMENT_BYTES_MAX {
                return Err(RunError::Input(io::Error::other(
                    "a statement has more than 1,000,000,000 bytes",
                )));
            }
        }
        match splitter.rest() {
            Some(statement) => self.run_statement(statement),
            None => Ok(Flow::GoOn),
        }
    }

    /// Runs one complete piece of the input, which SQLite may still take for several statements.
    ///
    /// # Errors
    /// The first statement that fails, or an output that does.
    pub(crate) fn run_statement(&mut self, statement: Statement) -> Result<Flow, RunError> {
        if let Some(from) = statement.dot {
            return self.run_dot(&statement, from);
        }
        let begun = Instant::now();
        self.run_sql(statement)?;
        if self.timer {
            let took = begun.elapsed().as_secs_f64();
            writeln!(self.out, "Run Time: real {took:.3}").map_err(RunError::Output)?;
        }
        self.out.flush().map_err(RunError::Output)?;
        Ok(Flow::GoOn)
    }

    fn run_sql(&mut self, statement: Statement) -> Result<(), RunError> {
        let Statement {
            mut text, start, ..
        } = statement;
        if let Some(at) = text.iter().position(|byte| *byte == 0) {
            let failure = SqlFailure {
                message: "a NUL character in the SQL".to_owned(),
                code: rusqlite::ffi::SQLITE_ERROR,
                offset: Some(at),
            };
            return Err(sql_error(failure, &text, start));
        }
        // With its terminator in place SQLite need not copy the text.
        text.push(0);
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| rest.len() > 1) {
            let position = start.after(text.get(..at).unwrap_or_default());
            let used = self.run_first(rest, position)?;
            if used == 0 {
                break;
            }
            at += used;
        }
        Ok(())
    }

    /// Runs the first statement of `sql`; answers its length.
    fn run_first(&mut self, sql: &[u8], start: Position) -> Result<usize, RunError> {
        let text = sql.strip_suffix(&[0]).unwrap_or(sql);
        let refused = |failure| sql_error(failure, text, start);
        let (prepared, used) = Prepared::new(self.connection, sql).map_err(refused)?;
        let Some(mut prepared) = prepared else {
            return Ok(used);
        };
        let mut explainer = self.mode.explainer(prepared.explain());
        let printer = explainer.as_mut().unwrap_or(&mut self.printer);
        let mut is_first = true;
        let end = loop {
            match prepared.step() {
                Ok(true) => {}
                end => break end,
            }
            printer
                .row(&mut prepared, is_first, self.out)
                .map_err(RunError::Output)?;
            is_first = false;
        };
        if !is_first {
            printer.end(self.out).map_err(RunError::Output)?;
        }
        if let Err(failure) = end {
            // What came before the error is part of the answer.
            self.out.flush().map_err(RunError::Output)?;
            return Err(refused(failure));
        }
        Ok(used)
    }
}

/// The error of a statement that starts at `start`. Where SQLite names no byte, its first word is
/// meant.
fn sql_error(failure: SqlFailure, text: &[u8], start: Position) -> RunError {
    let offset = failure.offset.unwrap_or_else(|| first_word(text));
    RunError::Sql {
        excerpt: Excerpt::new(text, start, offset),
        failure,
    }
}

/// The byte after the blanks and comments that `text` starts with.
fn first_word(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        at += match rest {
            [byte, ..] if byte.is_ascii_whitespace() => 1,
            [b'-', b'-', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', after @ ..] => {
                let end = after.windows(2).position(|pair| pair == b"*/");
                end.map_or(rest.len(), |end| end + 4)
            }
            _ => break,
        };
    }
    at
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
