//! A second process's SQL, run by the SQLite of the program that loaded the extension.

mod allowed;
mod ends;
mod whole;

use crate::owner::Owner;
use bop_control::{Failure, Mode, SqlClient, SqlPiece, SqlRefused, SqlSpec};
use std::path::Path;

pub(super) fn of(database: &str) -> SqlSpec {
    SqlSpec {
        database: database.to_owned(),
        at: None,
        create: false,
        write: false,
    }
}

pub(super) fn writing(database: &str) -> SqlSpec {
    SqlSpec {
        write: true,
        ..of(database)
    }
}

pub(super) fn connect(owner: &Owner, spec: &SqlSpec) -> Result<SqlClient, Failure> {
    owner.client().expect("it has no socket").sql(spec)
}

pub(super) fn run_in(
    client: &mut SqlClient,
    mode: Mode,
    sql: &str,
) -> Result<(Vec<u8>, Option<SqlRefused>), Failure> {
    let mut out = Vec::new();
    let piece = SqlPiece {
        sql: sql.to_owned(),
        mode,
        header: true,
    };
    let refused = client.run(piece, &mut out)?;
    Ok((out, refused))
}

/// What SQL prints, without names of columns.
pub(super) fn answer(client: &mut SqlClient, sql: &str) -> String {
    let mut out = Vec::new();
    let piece = SqlPiece {
        sql: sql.to_owned(),
        mode: Mode::List,
        header: false,
    };
    assert_eq!(client.run(piece, &mut out).unwrap(), None, "{sql}");
    String::from_utf8(out).unwrap()
}

pub(super) fn refused(client: &mut SqlClient, sql: &str) -> SqlRefused {
    let (_, refused) = run_in(client, Mode::List, sql).unwrap();
    refused.unwrap_or_else(|| panic!("{sql} was not refused"))
}

/// A program that has the database `orders` open, with an empty table `t(x)`.
pub(super) fn begun(environment: &[(&str, &str)]) -> Option<Owner> {
    let mut owner = Owner::start(environment)?;
    assert_eq!(owner.does("begin()"), "open");
    Some(owner)
}

/// The store, which nobody has open any more.
pub(super) fn open_here(store: &Path) -> bop_libsql::Store {
    let options = bop_libsql::Options::new().create(false);
    bop_libsql::Store::open(store, options).unwrap()
}
