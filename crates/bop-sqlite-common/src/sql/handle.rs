//! An open connection, as SQLite has it.
//!
//! Never: opens or closes one.
#![allow(
    unsafe_code,
    reason = "SQLite's functions are called by their addresses"
)]

use super::functions::SqlFunctions;
use super::statement::Prepared;
use crate::codes;
use bop_control::Cells;
use std::ffi::CStr;
use std::fmt;
use std::marker::PhantomData;
use std::os::raw::{c_int, c_void};

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

impl fmt::Display for SqlFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A connection for as long as it is borrowed.
#[derive(Copy, Clone, Debug)]
pub struct Handle<'c> {
    pub(super) functions: &'c SqlFunctions,
    pub(super) database: *mut c_void,
    connection: PhantomData<&'c ()>,
}

impl<'c> Handle<'c> {
    /// Takes a connection.
    ///
    /// # Safety
    /// `database` is a connection of the SQLite that `functions` are of, which is open as long as `'c`, and which no
    /// other thread uses meanwhile.
    pub unsafe fn new(functions: &'c SqlFunctions, database: *mut c_void) -> Self {
        Self {
            functions,
            database,
            connection: PhantomData,
        }
    }

    /// Prepares the first statement of `sql`: see [`Prepared`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn prepare(self, sql: &[u8]) -> Result<(Option<Prepared<'c>>, usize), SqlFailure> {
        Prepared::new(self, sql)
    }

    /// Runs one statement to its end, and collects the texts of its first column, at most `max` of them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn texts(self, sql: &str, max: usize) -> Result<Vec<String>, SqlFailure> {
        let mut texts = Vec::new();
        if let (Some(mut statement), _) = self.prepare(sql.as_bytes())? {
            while texts.len() < max && statement.step()? {
                let text = statement.text(0).unwrap_or_default();
                texts.push(String::from_utf8_lossy(text).into_owned());
            }
        }
        Ok(texts)
    }

    /// Whether a transaction is open.
    pub fn is_in_transaction(self) -> bool {
        // SAFETY: the connection is open.
        unsafe { (self.functions.get_autocommit)(self.database) == 0 }
    }

    /// Lowers the most bytes that a value or a statement may have.
    pub(super) fn limit_value_bytes(self, bytes: u64) {
        const LENGTH: c_int = 0;
        const ASK: c_int = -1;
        // SAFETY: the connection is open.
        let now = unsafe { (self.functions.limit)(self.database, LENGTH, ASK) };
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX).min(now);
        // SAFETY: as above.
        unsafe { (self.functions.limit)(self.database, LENGTH, bytes) };
    }

    /// Forbids what could damage the file: `writable_schema`, writes to shadow tables and pages.
    ///
    /// # Errors
    /// SQLite knows no such setting.
    pub(super) fn defend(self) -> Result<(), SqlFailure> {
        const DEFENSIVE: c_int = 1010;
        let (yes, none) = (1 as c_int, std::ptr::null_mut::<c_int>());
        // SAFETY: the connection is open; this setting takes a number, and where to say what it is then, or null.
        let code = unsafe { (self.functions.db_config)(self.database, DEFENSIVE, yes, none) };
        match code {
            codes::SQLITE_OK => Ok(()),
            code => Err(SqlFailure {
                message: "this SQLite cannot be made defensive".to_owned(),
                code,
                offset: None,
            }),
        }
    }

    /// What SQLite says of the call that answered `code`.
    pub fn failure(self, code: c_int) -> SqlFailure {
        // SAFETY: the connection is open; the message is copied before anything else is asked of it.
        let (message, extended, offset) = unsafe {
            let message = (self.functions.errmsg)(self.database);
            let message = if message.is_null() {
                String::new()
            } else {
                CStr::from_ptr(message).to_string_lossy().into_owned()
            };
            let offset = self.functions.error_offset;
            (
                message,
                (self.functions.extended_errcode)(self.database),
                offset.map(|offset| offset(self.database)),
            )
        };
        SqlFailure {
            message,
            // The connection may know more than the call said, but never of another primary code.
            code: if extended & 0xff == code & 0xff {
                extended
            } else {
                code
            },
            offset: offset.and_then(|offset| usize::try_from(offset).ok()),
        }
    }
}
