//! SQLite's errors as people see them.
//!
//! Never: looks at the text of an error to decide what kind it is.

use super::SqlConnection;
use super::handle::SqlFailure;
use crate::codes;
use bop_control::Failure;
use bop_storage::error::ErrorCode;

/// The error of a statement, with the engine's own reason where SQLite only knows a number; its place is for
/// whoever knows where the statement stands.
pub fn failure_of<C: SqlConnection + ?Sized>(connection: &C, sql: &SqlFailure) -> Failure {
    let state = connection.state();
    let failure = match connection.engine_error(sql) {
        Some(engine) => Failure::new(engine.code(), format_args!("{}: {engine}", sql.message)),
        None => Failure {
            hint: hint(sql.code, state.is_some()).map(str::to_owned),
            ..Failure::new(
                ErrorCode::Sql,
                match state.filter(|_| sql.code & 0xff == codes::SQLITE_READONLY) {
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

/// What to do about an error that is SQLite's own, by its result code.
fn hint(code: i32, of_state: bool) -> Option<&'static str> {
    Some(match code & 0xff {
        codes::SQLITE_ERROR | codes::SQLITE_CONSTRAINT => {
            "select sql from sqlite_schema shows the tables, their columns and constraints"
        }
        codes::SQLITE_READONLY if of_state => {
            "write to the database itself, or to a fork: bop fork DB NEW --at STATE makes one"
        }
        codes::SQLITE_BUSY | codes::SQLITE_LOCKED => "try again",
        codes::SQLITE_AUTH | codes::SQLITE_READONLY => {
            "over the control socket SQL reads; bop sql --write asks the owner of the store to let it write"
        }
        codes::SQLITE_TOOBIG => "a value or a statement has at most 1,000,000,000 bytes",
        _ => return None,
    })
}
