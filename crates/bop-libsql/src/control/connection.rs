//! A connection of libSQL's, as a session of SQL has it.

use crate::statement::handle;
use crate::{Connection, EngineError, Error, OpenOptions, Store};
use bop_control::SqlWanted;
use bop_sqlite_common::codes;
use bop_sqlite_common::sql::{Handle, SqlConnection, SqlFailure};

/// One that is somebody's.
#[derive(Clone, Copy)]
pub(super) struct Lent<'a> {
    pub(super) store: &'a Store,
    pub(super) connection: &'a Connection,
}

impl SqlConnection for Lent<'_> {
    fn handle(&self) -> Handle<'_> {
        handle(self.connection)
    }

    fn engine_error(&self, sql: &SqlFailure) -> Option<EngineError> {
        // The newest error of the engine may be an old one: it counts if SQLite got its code from it.
        let newest = self.connection.last_engine_error();
        newest
            .filter(|engine| engine.sqlite_code() == sql.code)
            .or_else(|| why_not_opened(self.store, sql))
    }

    fn state(&self) -> Option<&str> {
        // A database's own name has no `@`.
        self.connection.path().filter(|name| name.contains('@'))
    }
}

/// One that is a session's own.
#[derive(Debug)]
pub(super) struct Owned {
    store: Store,
    connection: Connection,
}

impl Owned {
    pub(super) fn open(store: &Store, wanted: &SqlWanted) -> Result<Self, Error> {
        let options = OpenOptions::new();
        let connection = match &wanted.at {
            Some(at) => store.connect_at(&wanted.database, at),
            None if wanted.write => {
                store.connect_with(&wanted.database, &options.create(wanted.create))
            }
            None => store.connect_with(&wanted.database, &options.read_only(true)),
        }?;
        Ok(Self {
            store: store.clone(),
            connection,
        })
    }

    fn lend(&self) -> Lent<'_> {
        Lent {
            store: &self.store,
            connection: &self.connection,
        }
    }
}

impl SqlConnection for Owned {
    fn handle(&self) -> Handle<'_> {
        handle(&self.connection)
    }

    fn engine_error(&self, sql: &SqlFailure) -> Option<EngineError> {
        self.lend().engine_error(sql)
    }

    fn state(&self) -> Option<&str> {
        self.connection.path().filter(|name| name.contains('@'))
    }
}

/// Why a database that was named in SQL could not be opened: the newest such error, if it is about that name.
fn why_not_opened(store: &Store, sql: &SqlFailure) -> Option<EngineError> {
    if sql.code & 0xff != codes::SQLITE_CANTOPEN {
        return None;
    }
    let (_, named) = sql.message.rsplit_once("unable to open database: ")?;
    let named = named.strip_prefix("file:").unwrap_or(named);
    let name = named.split(['@', '?']).next()?;
    let why = store.last_open_error()?;
    why.to_string().contains(name).then_some(why)
}
