//! A prepared statement, below every binding: SQLite's own text of a value, the end of the first statement of a text, and
//! the place of an error.
//!
//! Invariants
//! - a [`Prepared`] borrows its connection, so it is finalized before the connection is closed;
//! - what [`Prepared::text`] and [`Prepared::blob`] lend is gone with the next call that could
//!   move it: they borrow the statement mutably.
#![allow(
    unsafe_code,
    reason = "SQLite's functions are called by their addresses"
)]

use super::handle::{Handle, SqlFailure};
use crate::codes;
use bop_control::{Cells, Explain, Kind};
use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;

/// A statement that can be stepped through.
#[derive(Debug)]
pub struct Prepared<'connection> {
    statement: NonNull<c_void>,
    on: Handle<'connection>,
}

impl<'connection> Prepared<'connection> {
    /// Prepares the first statement of `sql`; answers it (`None`: only blanks and comments) and
    /// how many bytes it takes.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn new(
        on: Handle<'connection>,
        sql: &[u8],
    ) -> Result<(Option<Self>, usize), SqlFailure> {
        let Ok(bytes) = c_int::try_from(sql.len()) else {
            return Err(SqlFailure {
                message: "string or blob too big".to_owned(),
                code: codes::SQLITE_TOOBIG,
                offset: None,
            });
        };
        let mut statement = std::ptr::null_mut();
        let start = sql.as_ptr().cast();
        let mut tail = start;
        // SAFETY: the database is open, `sql` has `bytes` bytes, both out-pointers are ours.
        let code = unsafe {
            (on.functions.prepare_v2)(on.database, start, bytes, &raw mut statement, &raw mut tail)
        };
        if code != codes::SQLITE_OK {
            return Err(on.failure(code));
        }
        let used = (tail as usize).saturating_sub(start as usize);
        let prepared = NonNull::new(statement).map(|statement| Self { statement, on });
        Ok((prepared, used))
    }

    /// Whether the statement explains another.
    pub fn explain(&self) -> Explain {
        // SAFETY: the statement is not finalized before the drop.
        match unsafe { (self.on.functions.stmt_isexplain)(self.statement.as_ptr()) } {
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
        match unsafe { (self.on.functions.step)(self.statement.as_ptr()) } {
            codes::SQLITE_ROW => Ok(true),
            codes::SQLITE_DONE => Ok(false),
            code => Err(self.on.failure(code)),
        }
    }
}

impl Cells for Prepared<'_> {
    fn columns(&self) -> usize {
        // SAFETY: the statement is not finalized before the drop.
        let count = unsafe { (self.on.functions.column_count)(self.statement.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    fn column_name(&self, column: usize) -> Vec<u8> {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        let name =
            unsafe { (self.on.functions.column_name)(self.statement.as_ptr(), index(column)) };
        if name.is_null() {
            return Vec::new();
        }
        // SAFETY: not null, so a C string that lives until the next call on this column.
        unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()
    }

    fn kind(&self, column: usize) -> Kind {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        match unsafe { (self.on.functions.column_type)(self.statement.as_ptr(), index(column)) } {
            codes::SQLITE_INTEGER => Kind::Integer,
            codes::SQLITE_FLOAT => Kind::Real,
            codes::SQLITE_TEXT => Kind::Text,
            codes::SQLITE_BLOB => Kind::Blob,
            _ => Kind::Null,
        }
    }

    fn real(&self, column: usize) -> f64 {
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index.
        unsafe { (self.on.functions.column_double)(self.statement.as_ptr(), index(column)) }
    }

    fn text(&mut self, column: usize) -> Option<&[u8]> {
        let functions = self.on.functions;
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index. The
        // length is asked for after the pointer, as SQLite wants it.
        let (start, length) = unsafe {
            let start = (functions.column_text)(self.statement.as_ptr(), index(column));
            let length = (functions.column_bytes)(self.statement.as_ptr(), index(column));
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
        let functions = self.on.functions;
        // SAFETY: the statement is not finalized before the drop; SQLite checks the index. The
        // length is asked for after the pointer, as SQLite wants it.
        let (start, length) = unsafe {
            let start = (functions.column_blob)(self.statement.as_ptr(), index(column));
            let length = (functions.column_bytes)(self.statement.as_ptr(), index(column));
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
        unsafe { (self.on.functions.finalize)(self.statement.as_ptr()) };
    }
}

fn index(column: usize) -> c_int {
    c_int::try_from(column).unwrap_or(c_int::MAX)
}
