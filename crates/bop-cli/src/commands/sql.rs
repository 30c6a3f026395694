//! `bop sql`: runs SQL, from whichever place it comes.
//!
//! Invariant: what the user named is opened before a database is created for it.

mod completion;
mod prompt;

use super::{Context, check_name, output_failure};
use crate::args::{Source as Database, SqlArgs};
use crate::errors::Failure;
use crate::output::Mode;
use crate::session::{WhenMissing, with_store};
use crate::sql::line_ends::LineEnds;
use crate::sql::runner::{RunError, Runner};
use crate::sql::shell::Place;
use crate::sql::statement::SqlFailure;
use bop_libsql::{Connection, EngineError, OpenOptions, Store};
use bop_storage::At;
use bop_storage::error::ErrorCode;
use rusqlite::{DatabaseName, ffi};
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
        source: Database { database, at },
        sql,
        file,
        mode,
        header,
        no_create,
    } = arguments;
    check_name(&database)?;
    let source = source(sql, file.as_deref())?;
    let mode = mode.unwrap_or(match &source {
        _ if context.json => Mode::Json,
        Source::Prompt => Mode::Table,
        Source::Input(_) => Mode::List,
    });
    let when_missing = WhenMissing::create_unless(no_create || at.is_some());
    with_store(&context.store, when_missing, |manager| {
        let store = Store::new(manager.clone())?;
        let connection = match &at {
            Some(at) => store.connect_at(&database, at)?,
            None => store.connect_with(&database, &OpenOptions::new().create(!no_create))?,
        };
        let place = Place {
            manager,
            database: &database,
            at: at.as_ref().unwrap_or(&At::Now),
        };
        let outcome = match source {
            Source::Input(mut input) => {
                run_input(&store, &connection, place, mode, header, &mut *input)
            }
            Source::Prompt => prompt::run(context, &store, &connection, place, mode, header),
        };
        if outcome.is_ok() && !connection.is_autocommit() {
            warn(
                context,
                "the input ended inside a transaction, which is rolled back",
            );
        }
        outcome
    })?;
    Ok(0)
}

/// Says what went other than it may have been meant, and is no error.
fn warn(context: &Context, message: &str) {
    if context.json {
        eprintln!("{}", json!({ "warning": { "message": message } }));
    } else {
        eprintln!("warning: {message}");
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

fn run_input(
    store: &Store,
    connection: &Connection,
    place: Place<'_>,
    mode: Mode,
    header: bool,
    input: &mut dyn Read,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let runner = Runner::new(connection, mode, header, &mut out);
    let run = runner.of(place).run(input);
    run.map(drop)
        .map_err(|error| failure(store, connection, error))
}

/// The error of a run, with the engine's own reason where SQLite only knows a number.
fn failure(store: &Store, connection: &Connection, error: RunError) -> Failure {
    let (sql, excerpt) = match error {
        RunError::Sql { failure, excerpt } => (failure, excerpt),
        RunError::Command { message, excerpt } => {
            return Failure {
                excerpt: Some(excerpt),
                hint: None,
                ..Failure::new(ErrorCode::Sql, message)
            };
        }
        RunError::Input(error) => {
            return Failure::new(ErrorCode::Io, format_args!("read the SQL: {error}"));
        }
        RunError::Output(error) => return output_failure(&error),
    };
    // The newest error of the engine may be an old one: it counts if SQLite got its code from it.
    let engine = connection
        .last_engine_error()
        .filter(|engine| engine.sqlite_code() == sql.code)
        .or_else(|| why_not_opened(store, &sql));
    let failure = match engine {
        Some(engine) => Failure::new(engine.code(), format_args!("{}: {engine}", sql.message)),
        None => Failure {
            hint: sql_hint(sql.code).map(str::to_owned),
            ..Failure::new(
                ErrorCode::Sql,
                sql.message + &why_read_only(connection, sql.code),
            )
        },
    };
    Failure {
        excerpt: Some(excerpt),
        sqlite_code: Some(sql.code),
        ..failure
    }
}

/// Why a database that was named in SQL could not be opened: the newest such error, if it is about that name.
fn why_not_opened(store: &Store, sql: &SqlFailure) -> Option<EngineError> {
    if sql.code & 0xff != ffi::SQLITE_CANTOPEN {
        return None;
    }
    let (_, named) = sql.message.rsplit_once("unable to open database: ")?;
    let named = named.strip_prefix("file:").unwrap_or(named);
    let name = named.split(['@', '?']).next()?;
    let why = store.last_open_error()?;
    why.to_string().contains(name).then_some(why)
}

/// Which state of a database it is that cannot be written, where that is the reason.
fn why_read_only(connection: &Connection, code: i32) -> String {
    let of_state = connection
        .is_readonly(DatabaseName::Main)
        .unwrap_or_default();
    match connection.path() {
        Some(name) if of_state && code & 0xff == ffi::SQLITE_READONLY => {
            format!(": {name} is a state of a database, which stays as it is")
        }
        _ => String::new(),
    }
}

/// What to do about an error that is SQLite's own, by its result code.
fn sql_hint(code: i32) -> Option<&'static str> {
    Some(match code & 0xff {
        ffi::SQLITE_ERROR | ffi::SQLITE_CONSTRAINT => {
            "select sql from sqlite_schema shows the tables, their columns and constraints"
        }
        ffi::SQLITE_READONLY => {
            "write to the database itself, or to a fork: bop fork DB NEW --at STATE makes one"
        }
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => "try again",
        ffi::SQLITE_TOOBIG => "a value or a statement has at most 1,000,000,000 bytes",
        _ => return None,
    })
}
