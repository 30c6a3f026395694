//! Runs statements one after the other and writes their rows.
//!
//! Invariants
//! - a statement runs as soon as it is complete, and what it answers is flushed before more input
//!   is read: a pipe can be a conversation;
//! - nothing runs after a statement that failed (save at the prompt, where people see it).

use super::input::{Splitter, Statement};
use super::link::{Link, Refused};
use bop_control::{Excerpt, Failure, Mode, SqlRefused};
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
    /// A statement was refused, or a command of the shell not done.
    Refused {
        /// Why.
        failure: Box<Failure>,
        /// Where.
        excerpt: Excerpt,
    },
    /// The owner of the store, who runs the SQL, ended that.
    Ended(Failure),
    /// The input cannot be read.
    Input(io::Error),
    /// The output cannot be written.
    Output(io::Error),
}

impl RunError {
    /// The same, met in a file that the input named.
    pub(super) fn in_file(mut self, path: &Path) -> Self {
        if let Self::Refused { failure, .. } = &mut self {
            failure.message = format!("{}: {}", path.display(), failure.message);
        }
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

/// Where SQL runs, and where its answers go.
pub(crate) struct Runner<'a, 'l> {
    pub(super) link: &'a mut Link<'l>,
    pub(super) mode: Mode,
    pub(super) header: bool,
    pub(super) out: &'a mut dyn Write,
    /// Whether to tell how long each statement takes.
    pub(super) timer: bool,
    /// Files that are being read, one by the other.
    pub(super) reads: usize,
}

impl<'a, 'l> Runner<'a, 'l> {
    /// Runs where `link` leads, writes to `out`; `header` asks for column names where the mode can do
    /// without.
    pub(crate) fn new(
        link: &'a mut Link<'l>,
        mode: Mode,
        header: bool,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            link,
            mode,
            header,
            out,
            timer: false,
            reads: 0,
        }
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
        let (mode, header) = (self.mode, self.header);
        let ran = self.link.run(&mut text, mode, header, self.out);
        ran.map_err(|refused| match refused {
            Refused::Sql(SqlRefused { failure, offset }) => RunError::Refused {
                excerpt: Excerpt::new(&text, start, offset),
                failure: Box::new(failure),
            },
            Refused::Ended(failure) => RunError::Ended(failure),
            Refused::Output(error) => RunError::Output(error),
        })
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
