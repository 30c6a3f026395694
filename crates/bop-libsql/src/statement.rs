//! A prepared statement, below the typed interface of rusqlite: SQLite's own text of a value, the
//! end of the first statement of a text, and the place of an error are not to be had there.
//!
//! Invariants
//! - a [`Prepared`] borrows its connection, so it is finalized before the connection is closed;
//! - what [`Prepared::text`] and [`Prepared::blob`] lend is gone with the next call that could
//!   move it: they borrow the statement mutably.

#![allow(
    unsafe_code,
    reason = "rusqlite has no access to sqlite3_column_text and the tail of a prepare"
)]

use bop_control::{Cells, Explain, Kind};
use rusqlite::{Connection, ffi};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What SQLite says of a statement that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlFailure {
    /// Its words.
    pub message: String,
    /// Its extended result code.
    pub code: c_int,
    /// The byte of the statement that it means, where it can tell.
    pub offset: Option<usize>,
}

/// A statement that can be stepped through.
pub struct Prepared<'connection> {
    statement: NonNull<ffi::sqlite3_stmt>,
    database: *mut ffi::sqlite3,
    connection: PhantomData<&'connection Connection>,
}

impl<'connection> Prepared<'connection> {
    /// Prepares the first statement of `sql`; answers it (`None`: only blanks and comments) and
    /// how many bytes it takes.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn new(
        connection: &'connection Connection,
        sql: &[u8],
    ) -> Result<(Option<Self>, usize), SqlFailure> {
        let Ok(bytes) = c_int::try_from(sql.len()) else {
            return Err(SqlFailure {
                message: "string or blob too big".to_owned(),
                code: ffi::SQLITE_TOOBIG,
                offset: None,
            });
        };
        // SAFETY: the handle is only used while `connection` is borrowed.
        let database = unsafe { connection.handle() };
        let mut statement = std::ptr::null_mut();
        let start = sql.as_ptr().cast();
        let mut tail = start;
        // SAFETY: the database is open, `sql` has `bytes` bytes, both out-pointers are ours.
        let code = unsafe {
            ffi::sqlite3_prepare_v2(database, start, bytes, &raw mut statement, &raw mut tail)
        };
        if code != ffi::SQLITE_OK {
            return Err(failure(database, code));
        }
        let used = (tail as usize).saturating_sub(start as usize);
        let prepared = NonNull::new(statement).map(|statement| Self {
            statement,
            database,
            connection: PhantomData,
        });
        Ok((prepared, used))
    }

    /// Whether the statement explains another.
    pub fn explain(&self) -> Explain {
        // SAFETY: the statement is not finalized before the drop.
        match unsafe { ffi::sqlite3_stmt_isexplain(self.statement.as_ptr()) } {
            0 => Explain::No,
            1 => Explain::Program,
            _ => Explain::QueryPlan,
        }
    }

    /// Goes to the next row; `false` after the last.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn step(&mut self) -> Result<bool, SqlFailure> {
        // SAFETY: the statement is not finalized before the drop.
        match unsafe { ffi::sqlite3_step(self.statement.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(failure(self.database, code)),
        }
    }
}

impl Cells for Prepared<'_> {
    fn columns(&self) -> usize {
        // SAFETY: the statement is not finalized before the drop.
        let count = unsafe { ffi::sqlite3_column_count(self.statement.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    fn column_name(&self, column: usize) -> Vec<u8> {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        let name = unsafe { ffi::sqlite3_column_name(self.statement.as_ptr(), index(column)) };
        if name.is_null() {
            return Vec::new();
        }
        // SAFETY: not null, so a C string that lives until the next call on this column.
        unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()
    }

    fn kind(&self, column: usize) -> Kind {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        match unsafe { ffi::sqlite3_column_type(self.statement.as_ptr(), index(column)) } {
            ffi::SQLITE_INTEGER => Kind::Integer,
            ffi::SQLITE_FLOAT => Kind::Real,
            ffi::SQLITE_TEXT => Kind::Text,
            ffi::SQLITE_BLOB => Kind::Blob,
            _ => Kind::Null,
        }
    }

    fn real(&self, column: usize) -> f64 {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        unsafe { ffi::sqlite3_column_double(self.statement.as_ptr(), index(column)) }
    }

    fn text(&mut self, column: usize) -> Option<&[u8]> {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index. The
        // length is asked for after the pointer, as SQLite wants it.
        let (start, length) = unsafe {
            let start = ffi::sqlite3_column_text(self.statement.as_ptr(), index(column));
            let length = ffi::sqlite3_column_bytes(self.statement.as_ptr(), index(column));
            (start, usize::try_from(length).unwrap_or(0))
        };
        if start.is_null() {
            return None;
        }
        // SAFETY: SQLite keeps `length` bytes at `start` until the statement is used again, which
        // the mutable borrow excludes.
        Some(unsafe { std::slice::from_raw_parts(start, length) })
    }

    fn blob(&mut self, column: usize) -> &[u8] {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index. The
        // length is asked for after the pointer, as SQLite wants it.
        let (start, length) = unsafe {
            let start = ffi::sqlite3_column_blob(self.statement.as_ptr(), index(column));
            let length = ffi::sqlite3_column_bytes(self.statement.as_ptr(), index(column));
            (start.cast::<u8>(), usize::try_from(length).unwrap_or(0))
        };
        if start.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: SQLite keeps `length` bytes at `start` until the statement is used again, which
        // the mutable borrow excludes.
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement is ours and is not used after this. The answer repeats the error
        // of the last step, which was reported there.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
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

/// The byte after the blanks and comments that `text` starts with: what an error of the statement means where
/// SQLite names no byte.
pub(crate) fn first_word(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        at += match rest {
            [byte, ..] if byte.is_ascii_whitespace() => 1,
            [b'-', b'-', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', after @ ..] => {
                let end = after.windows(2).position(|pair| pair == b"*/");
                end.map_or(rest.len(), |end| end + 4)
            }
            _ => break,
        };
    }
    at
}

fn failure(database: *mut ffi::sqlite3, code: c_int) -> SqlFailure {
    // SAFETY: called with the handle of a connection that is borrowed by the caller; the message
    // is copied before anything else is asked of it.
    let (message, extended, offset) = unsafe {
        let message = ffi::sqlite3_errmsg(database);
        let message = if message.is_null() {
            String::new()
        } else {
            CStr::from_ptr(message).to_string_lossy().into_owned()
        };
        let extended = ffi::sqlite3_extended_errcode(database);
        (message, extended, ffi::sqlite3_error_offset(database))
    };
    SqlFailure {
        message,
        // The connection may know more than the call said, but never of another primary code.
        code: if extended & 0xff == code & 0xff {
            extended
        } else {
            code
        },
        offset: usize::try_from(offset).ok(),
    }
}

fn index(column: usize) -> c_int {
    c_int::try_from(column).unwrap_or(c_int::MAX)
}
