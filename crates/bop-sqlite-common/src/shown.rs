//! Shown: what SQLite is shown of a database: the database as it changes, or one state of it.
//!
//! The file that SQLite opens is named after it: `orders`, or `orders@snapshot:before`. No name of a
//! database has an `@`, so the first one ends it.
//!
//! Invariants
//! - a state is looked up once, when the file is opened, and held until it is closed: it stays the same
//!   however often it is read, whatever becomes of its snapshot or of the window of the past;
//! - nobody writes to a state.
//!
//! Never: knows a C type.

use crate::engine_error::EngineError;
use bop_storage::error::{BeginError, CatalogueError, PastError};
use bop_storage::{At, Db, DbKind, Manager, ReadTxn, ResetTxn, WriteTxn, WriterTurn};
use std::sync::Arc;
use std::time::Duration;

/// A database, or a state of it. Clones show the same.
#[derive(Clone, Debug)]
pub enum Shown {
    /// The newest state, whenever a transaction begins.
    Present(Db),
    /// This state.
    State(Arc<ReadTxn>),
}

impl Shown {
    /// A transaction on what is shown.
    pub fn begin_read(&self) -> Result<ReadTxn, EngineError> {
        match self {
            Self::Present(db) => Ok(db.begin_read()?),
            Self::State(state) => state
                .duplicate()
                .ok_or(EngineError::Begin(BeginError::Closed)),
        }
    }

    /// The same for somebody who has read it before.
    pub fn begin_read_again(&self, before: Option<ResetTxn>) -> Result<ReadTxn, EngineError> {
        match (self, before) {
            (Self::Present(_), Some(before)) => Ok(before.renew()?),
            _ => self.begin_read(),
        }
    }

    /// Ends a transaction on it; what the next one begins with.
    pub fn end_read(&self, read: ReadTxn) -> Option<ResetTxn> {
        matches!(self, Self::Present(_)).then(|| read.reset())
    }

    /// A write transaction over `read`, in a turn that has come; or at once without one, or why not.
    pub fn begin_write_at(
        &self,
        read: &ReadTxn,
        turn: Option<WriterTurn>,
    ) -> Result<WriteTxn, EngineError> {
        match (self, turn) {
            (Self::Present(db), Some(turn)) => Ok(db.begin_write_in_turn(read, turn)?),
            (Self::Present(db), None) => Ok(db.begin_write_at(read, Duration::ZERO)?),
            (Self::State(_), _) => Err(EngineError::State),
        }
    }

    /// Whether there is nothing to write to.
    pub const fn is_state(&self) -> bool {
        matches!(self, Self::State(_))
    }
}

/// The database of that name, which must hold a SQLite file; created when `create` and missing.
pub fn open_database(manager: &Manager, name: &str, create: bool) -> Result<Db, CatalogueError> {
    let found = match create {
        true => manager.database_or_create(name, DbKind::Sqlite),
        false => manager.database(name),
    }?;
    match found.kind() {
        DbKind::Sqlite => Ok(found),
        kind => Err(CatalogueError::WrongKind {
            name: found.name(),
            found: kind.name(),
            wanted: DbKind::Sqlite.name(),
        }),
    }
}

/// A state of the database of that name, held.
pub fn open_state(manager: &Manager, name: &str, at: &At) -> Result<Shown, PastError> {
    let state = open_database(manager, name, false)?.begin_read_at(at)?;
    Ok(Shown::State(Arc::new(state)))
}

/// The name of the file that shows a state of the database `name`.
pub fn file_name(name: &str, at: &At) -> String {
    format!("{name}@{at}")
}

/// The database's name in that of a file, and which state of it is meant, if not the newest of the
/// moment.
pub fn parse_file_name(file: &str) -> Result<(&str, Option<At>), EngineError> {
    match file.split_once('@') {
        None => Ok((file, None)),
        Some((name, at)) => match at.parse() {
            Ok(at) => Ok((name, Some(at))),
            Err(source) => Err(EngineError::At {
                name: file.to_owned(),
                source,
            }),
        },
    }
}

/// The name of a file as a URI, so that no name (`file:x`, `a?b`) means anything else to SQLite.
pub fn uri_of(name: &str) -> String {
    let mut uri = String::with_capacity("file:".len() + name.len());
    uri.push_str("file:");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use bop_storage::Lsn;

    #[test]
    fn the_name_of_a_file_says_which_state() {
        for at in [
            At::Now,
            At::Lsn(Lsn::new(4096)),
            At::Time(1_709_251_199_123_456),
            At::Snapshot("before restore 2026-03-01T12:00:00Z".to_owned()),
            At::Snapshot("a@b".to_owned()),
        ] {
            let file = file_name("my db", &at);
            let (name, found) = parse_file_name(&file).unwrap();
            assert_eq!((name, found), ("my db", Some(at)));
        }
        let (name, found) = parse_file_name("orders").unwrap();
        assert_eq!((name, found), ("orders", None));
        for file in ["orders@", "orders@yesterday", "@", "@@now"] {
            let error = parse_file_name(file).unwrap_err();
            assert!(matches!(error, EngineError::At { .. }), "{file}: {error}");
        }
    }

    #[test]
    fn a_uri_escapes_whatever_sqlite_would_interpret() {
        assert_eq!(uri_of("my-db_1.x"), "file:my-db_1.x");
        assert_eq!(uri_of("file:a?b#c d%e"), "file:file%3aa%3fb%23c%20d%25e");
        assert_eq!(uri_of(":memory:"), "file:%3amemory%3a");
        assert_eq!(uri_of("\u{e9}/x"), "file:%c3%a9%2fx");
    }
}
