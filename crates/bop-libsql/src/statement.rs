//! Statements below the typed interface of rusqlite: SQLite's own text of a value, the
//! end of the first statement of a text, and the place of an error are not to be had there.
//!
//! Never: has more of SQLite than the addresses of its functions; [`Prepared`] calls them.

#![allow(
    unsafe_code,
    reason = "rusqlite has no access to sqlite3_column_text and the tail of a prepare"
)]

pub use bop_sqlite_common::sql::{Prepared, SqlFailure};

use bop_sqlite_common::sql::{Handle, SqlAddresses, SqlFunctions};
use rusqlite::{Connection, ffi};
use std::sync::LazyLock;

/// The functions of the SQLite that is linked.
static FUNCTIONS: LazyLock<SqlFunctions> = LazyLock::new(|| {
    let addresses = SqlAddresses {
        prepare_v2: ffi::sqlite3_prepare_v2 as *const (),
        step: ffi::sqlite3_step as *const (),
        finalize: ffi::sqlite3_finalize as *const (),
        stmt_isexplain: ffi::sqlite3_stmt_isexplain as *const (),
        column_count: ffi::sqlite3_column_count as *const (),
        column_name: ffi::sqlite3_column_name as *const (),
        column_type: ffi::sqlite3_column_type as *const (),
        column_double: ffi::sqlite3_column_double as *const (),
        column_text: ffi::sqlite3_column_text as *const (),
        column_blob: ffi::sqlite3_column_blob as *const (),
        column_bytes: ffi::sqlite3_column_bytes as *const (),
        errmsg: ffi::sqlite3_errmsg as *const (),
        extended_errcode: ffi::sqlite3_extended_errcode as *const (),
        get_autocommit: ffi::sqlite3_get_autocommit as *const (),
        limit: ffi::sqlite3_limit as *const (),
        set_authorizer: ffi::sqlite3_set_authorizer as *const (),
        progress_handler: ffi::sqlite3_progress_handler as *const (),
        db_config: ffi::sqlite3_db_config as *const (),
        error_offset: ffi::sqlite3_error_offset as *const (),
    };
    // SAFETY: each has the function of its name, all of the SQLite that is linked, which is 3.47.
    let functions = unsafe { SqlFunctions::new(addresses) };
    functions
        .unwrap_or_else(|missing| unreachable!("no function that is linked is null: {missing}"))
});

/// Prepares the first statement of `sql`; answers it (`None`: only blanks and comments) and
/// how many bytes it takes.
///
/// # Errors
/// What SQLite says.
pub fn prepare<'c>(
    connection: &'c Connection,
    sql: &[u8],
) -> Result<(Option<Prepared<'c>>, usize), SqlFailure> {
    handle(connection).prepare(sql)
}

/// The connection, for whatever rusqlite has no words for.
pub(crate) fn handle(connection: &Connection) -> Handle<'_> {
    // SAFETY: the connection is open while it is borrowed, no other thread has it then, and it is one of the SQLite
    // that is linked.
    unsafe { Handle::new(&FUNCTIONS, connection.handle().cast()) }
}

/// Whether SQLite takes `sql`, which ends before its first NUL, for complete.
pub fn is_complete(sql: &[u8]) -> bool {
    let sql = sql.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(sql) = std::ffi::CString::new(sql) else {
        return false;
    };
    // SAFETY: a C string that lives through the call.
    unsafe { ffi::sqlite3_complete(sql.as_ptr()) == 1 }
}
