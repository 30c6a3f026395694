//! The prompt: statements of any number of lines, an error does not end it.

use super::completion::Shell;
use super::{Context, Failure, Link, RunError, Runner, Shown, failure, tell};
use crate::commands::report;
use crate::sql::input::{Splitter, Statement};
use crate::sql::runner::Flow;
use bop_libsql::Connection;
use bop_storage::error::ErrorCode;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use std::io;
use std::path::PathBuf;

/// Runs what is typed until the end of the input.
///
/// # Errors
/// The terminal cannot be used.
pub(super) fn run(shown: &Shown<'_>, link: &mut Link<'_>) -> Result<(), Failure> {
    let mut out = io::stdout();
    let connection = match &*link {
        Link::Here(connection, _) => Some(*connection),
        Link::There(_) => None,
    };
    let mut prompt = Prompt {
        context: shown.context,
        connection,
        runner: Runner::new(link, shown.mode, shown.header, &mut out),
        splitter: Splitter::new(),
        ended: None,
    };
    let ran = prompt.run();
    if let Some(failure) = prompt.ended {
        return Err(failure);
    }
    ran.map_err(|error| Failure::new(ErrorCode::Io, format_args!("read the terminal: {error}")))
}

struct Prompt<'a, 'l> {
    context: &'a Context,
    /// Where names are looked up for completion; none where another process has the store open.
    connection: Option<&'l Connection>,
    runner: Runner<'a, 'l>,
    splitter: Splitter,
    /// Why nothing more can be run.
    ended: Option<Failure>,
}

/// Where what was typed is kept, as soon as it was typed: whatever the prompt ends by.
struct History {
    path: Option<PathBuf>,
    /// Why something is not kept.
    error: Option<ReadlineError>,
}

impl History {
    fn keep(&mut self, editor: &mut LineEditor<'_>) {
        if let Some(path) = &self.path
            && let Err(error) = editor.append_history(path)
        {
            self.error = Some(error);
        }
    }

    fn warn(&self) {
        if let (Some(path), Some(error)) = (&self.path, &self.error) {
            let path = path.display();
            tell(format_args!(
                "warning: the history is not kept: {path}: {error}"
            ));
        }
    }
}

type LineEditor<'a> = Editor<Shell<'a>, DefaultHistory>;

impl Prompt<'_, '_> {
    fn run(&mut self) -> Result<(), ReadlineError> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .auto_add_history(true)
            .build();
        let mut editor = LineEditor::with_config(config)?;
        editor.set_helper(Some(Shell::new(
            self.connection.map(|connection| &**connection),
        )));
        let path = history_file();
        if let Some(path) = &path {
            // There is none at first, and one that cannot be read is no reason to stop.
            let _ = editor.load_history(path);
        }
        tell("SQL ends with a semicolon, the prompt with Ctrl-D; .help shows commands");
        let mut history = History { path, error: None };
        let ended = self.converse(&mut editor, &mut history);
        history.warn();
        ended
    }

    fn converse(
        &mut self,
        editor: &mut LineEditor<'_>,
        history: &mut History,
    ) -> Result<(), ReadlineError> {
        loop {
            let typed = editor.readline("bop> ");
            history.keep(editor);
            match typed {
                Ok(line) if is_quit(&line) => return Ok(()),
                Ok(line) => {
                    self.splitter.push(line.as_bytes());
                    self.splitter.push(b"\n");
                }
                Err(ReadlineError::Interrupted) => self.splitter.clear(),
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error),
            }
            while let Some(statement) = self.splitter.next_statement() {
                if self.run_one(statement) == Flow::Quit {
                    return Ok(());
                }
            }
        }
    }

    /// Runs a statement. An error is shown, and what was typed behind it is forgotten.
    fn run_one(&mut self, statement: Statement) -> Flow {
        let error = match self.runner.run_statement(statement) {
            Ok(flow) => return flow,
            Err(error) => error,
        };
        self.splitter.clear();
        let is_over = matches!(error, RunError::Ended(_));
        let failure = failure(error);
        if is_over {
            self.ended = Some(failure);
            return Flow::Quit;
        }
        report(&failure, self.context.json);
        Flow::GoOn
    }
}

/// What people type to leave.
pub(super) fn is_quit(line: &str) -> bool {
    matches!(line.trim(), "quit" | "exit")
}

/// Where what was typed is kept: what `BOP_HISTORY` says, nowhere when it says nothing, and else in the home
/// directory.
fn history_file() -> Option<PathBuf> {
    match std::env::var_os("BOP_HISTORY") {
        Some(path) => (!path.is_empty()).then(|| path.into()),
        None => std::env::home_dir().map(|home| home.join(".bop_history")),
    }
}
