//! Errors of SQLite, of imports and of exports, as people see them.
//!
//! Never: looks at the text of an error to decide what kind it is.

use crate::error::Error;
use crate::statement::SqlFailure;
use crate::transfer::{ExportError, ImportError};
use crate::{Connection, EngineError, Store};
use bop_control::Failure;
use bop_storage::error::ErrorCode;
use rusqlite::ffi;
use std::io;

/// The error of a statement, with the engine's own reason where SQLite only knows a number; its place is for
/// whoever knows where the statement stands.
pub(super) fn sql_failure(store: &Store, connection: &Connection, sql: &SqlFailure) -> Failure {
    // The newest error of the engine may be an old one: it counts if SQLite got its code from it.
    let engine = connection
        .last_engine_error()
        .filter(|engine| engine.sqlite_code() == sql.code)
        .or_else(|| why_not_opened(store, sql));
    let state = state_of(connection);
    let failure = match engine {
        Some(engine) => Failure::new(engine.code(), format_args!("{}: {engine}", sql.message)),
        None => Failure {
            hint: sql_hint(sql.code, state.is_some()).map(str::to_owned),
            ..Failure::new(
                ErrorCode::Sql,
                match state.filter(|_| sql.code & 0xff == ffi::SQLITE_READONLY) {
                    Some(state) => format!(
                        "{}: {state} is a state of a database, which stays as it is",
                        sql.message
                    ),
                    None => sql.message.clone(),
                },
            )
        },
    };
    Failure {
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

/// Which state of a database it is that the connection shows; a database's own name has no `@`.
fn state_of(connection: &Connection) -> Option<&str> {
    connection.path().filter(|name| name.contains('@'))
}

/// What to do about an error that is SQLite's own, by its result code.
fn sql_hint(code: i32, of_state: bool) -> Option<&'static str> {
    Some(match code & 0xff {
        ffi::SQLITE_ERROR | ffi::SQLITE_CONSTRAINT => {
            "select sql from sqlite_schema shows the tables, their columns and constraints"
        }
        ffi::SQLITE_READONLY if of_state => {
            "write to the database itself, or to a fork: bop fork DB NEW --at STATE makes one"
        }
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => "try again",
        ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => {
            "over the control socket SQL reads; bop sql --write asks the owner of the store to let it write"
        }
        ffi::SQLITE_TOOBIG => "a value or a statement has at most 1,000,000,000 bytes",
        _ => return None,
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Open(error) => error.into(),
            Error::Catalogue(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Catalogue(error) => error.into(),
            other => Self::new(other.code(), &other),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Catalogue(error) => error.into(),
            ExportError::SideFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file, or let the program that uses this one close it"),
            ExportError::NotAFile { .. } => Self::new(error.code(), &error)
                .with_hint("choose another file; --force replaces regular files only"),
            ExportError::File { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Self::new(error.code(), &error)
                    .with_hint("the directory of the file must exist: make it, or choose another")
            }
            ExportError::InsideStore { .. } => Self::new(error.code(), &error)
                .with_hint("choose a file outside the store's directory"),
            other => Self::new(other.code(), &other),
        }
    }
}
