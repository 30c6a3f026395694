//! The prompt: a line at a time, an error does not end it.

use super::{Context, Failure, Mode, Runner, failure};
use crate::sql::input::{Splitter, Statement};
use bop_libsql::{Connection, Store};
use bop_storage::error::ErrorCode;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io;

/// Runs what is typed until the end of the input.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn run(
    context: &Context,
    store: &Store,
    connection: &Connection,
    mode: Mode,
    header: bool,
) -> Result<(), Failure> {
    let mut out = io::stdout();
    let mut prompt = Prompt {
        context,
        store,
        connection,
        runner: Runner::new(connection, mode, header, &mut out),
        splitter: Splitter::new(),
    };
    prompt
        .run()
        .map_err(|error| Failure::new(ErrorCode::Io, format_args!("read the terminal: {error}")))
}

struct Prompt<'a> {
    context: &'a Context,
    store: &'a Store,
    connection: &'a Connection,
    runner: Runner<'a>,
    splitter: Splitter,
}

impl Prompt<'_> {
    fn run(&mut self) -> Result<(), ReadlineError> {
        let mut editor = DefaultEditor::new()?;
        eprintln!("SQL ends with a semicolon, the prompt with Ctrl-D");
        loop {
            let continues = self.splitter.continues();
            match editor.readline(if continues { "...> " } else { "bop> " }) {
                Ok(line) if !continues && is_quit(&line) => return Ok(()),
                Ok(line) => {
                    // A history without this line is no reason to stop.
                    let _ = editor.add_history_entry(&line);
                    self.splitter.push(line.as_bytes());
                    self.splitter.push(b"\n");
                }
                Err(ReadlineError::Interrupted) => self.splitter.clear(),
                Err(ReadlineError::Eof) => {
                    if let Some(statement) = self.splitter.rest() {
                        self.run_one(statement);
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            while let Some(statement) = self.splitter.next_statement() {
                self.run_one(statement);
            }
        }
    }

    /// Runs a statement. An error is shown, and what was typed behind it is forgotten.
    fn run_one(&mut self, statement: Statement) {
        let Err(error) = self.runner.run_statement(statement) else {
            return;
        };
        self.splitter.clear();
        let failure = failure(self.store, self.connection, error);
        if self.context.json {
            eprintln!("{}", failure.to_json());
        } else {
            eprintln!("{failure}");
        }
    }
}

/// What people type to leave.
fn is_quit(line: &str) -> bool {
    matches!(line.trim(), ".quit" | ".exit" | "quit" | "exit")
}
