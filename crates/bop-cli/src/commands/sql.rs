//! `bop sql`: runs SQL, from whichever place it comes.
//!
//! Invariant: what the user named is opened before a database is created for it.

mod completion;
mod prompt;

use super::{Context, tell};
use crate::args::{Source as Database, SqlArgs};
use crate::session::{Opened, WhenMissing, open};
use crate::sql::line_ends::LineEnds;
use crate::sql::link::Link;
use crate::sql::runner::{RunError, Runner};
use crate::sql::shell::Place;
use bop_control::{Failure, Mode, SqlSpec, check_name};
use bop_libsql::{OpenOptions, Store};
use bop_storage::At;
use bop_storage::error::ErrorCode;
use serde_json::json;
use std::io::{self, BufWriter, Cursor, IsTerminal, Read};
use std::path::Path;

/// Where the SQL comes from.
enum Source {
    Input(Box<dyn Read>),
    Prompt,
}

/// Runs the command.
pub(super) fn run(context: &Context, arguments: SqlArgs) -> Result<u8, Failure> {
    let SqlArgs {
        source: database,
        sql,
        file,
        mode,
        header,
        no_create,
        write,
    } = arguments;
    check_name(&database.database)?;
    let source = source(sql, file.as_deref())?;
    let mode = mode.unwrap_or(match &source {
        _ if context.json => Mode::Json,
        Source::Prompt => Mode::Table,
        Source::Input(_) => Mode::List,
    });
    let shown = Shown {
        context,
        mode,
        header,
    };
    let create = !no_create && database.at.is_none();
    let when_missing = WhenMissing::create_unless(!create);
    match open(&context.store, when_missing)? {
        Opened::Here(session) => {
            session.run(|store| run_here(&shown, store, &database, create, source))?;
        }
        Opened::There(client) => {
            let Database { database, at } = database;
            let mut session = client.sql(&SqlSpec {
                database,
                at: at.map(|at| at.to_string()),
                create,
                write,
            })?;
            run_source(&shown, &mut Link::There(&mut session), source)?;
        }
    }
    Ok(0)
}

/// How the answers are shown.
struct Shown<'a> {
    context: &'a Context,
    mode: Mode,
    header: bool,
}

fn run_here(
    shown: &Shown<'_>,
    store: &Store,
    of: &Database,
    create: bool,
    source: Source,
) -> Result<(), Failure> {
    let Database { database, at } = of;
    let connection = match at {
        Some(at) => store.connect_at(database, at)?,
        None => store.connect_with(database, &OpenOptions::new().create(create))?,
    };
    let place = Place {
        store,
        database,
        at: at.as_ref().unwrap_or(&At::Now),
    };
    run_source(shown, &mut Link::Here(&connection, place), source)
}

fn run_source(shown: &Shown<'_>, link: &mut Link<'_>, source: Source) -> Result<(), Failure> {
    match source {
        Source::Input(mut input) => {
            let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
            let run = Runner::new(link, shown.mode, shown.header, &mut out).run(&mut *input);
            run.map_err(failure)?;
        }
        Source::Prompt => prompt::run(shown, link)?,
    }
    if link.is_in_transaction() {
        warn(
            shown.context,
            "the input ended inside a transaction, which is rolled back",
        );
    }
    Ok(())
}

/// Says what went other than it may have been meant, and is no error.
fn warn(context: &Context, message: &str) {
    if context.json {
        tell(json!({ "warning": { "message": message } }));
    } else {
        tell(format_args!("warning: {message}"));
    }
}

fn source(sql: Option<String>, file: Option<&Path>) -> Result<Source, Failure> {
    Ok(match (sql, file) {
        (Some(sql), _) => Source::Input(Box::new(Cursor::new(sql))),
        (None, Some(path)) if path != Path::new("-") => {
            let file = LineEnds::open(path);
            let file = file.map_err(|error| Failure::file("open", path, &error))?;
            Source::Input(Box::new(file))
        }
        (None, None) if io::stdin().is_terminal() => Source::Prompt,
        _ => Source::Input(Box::new(LineEnds::new(io::stdin()))),
    })
}

/// The error of a run.
fn failure(error: RunError) -> Failure {
    match error {
        RunError::Refused { failure, excerpt } => Failure {
            excerpt: Some(excerpt),
            ..*failure
        },
        RunError::Input(error) => {
            Failure::new(ErrorCode::Io, format_args!("read the SQL: {error}"))
        }
        RunError::Output(error) => Failure::of_output(&error),
        RunError::Ended(failure) => failure,
    }
}
