//! The callbacks of a session: SQLite asks what a statement may do while it compiles it, and whether to go on while it runs.
//!
//! Invariants
//! - a panic does not cross: what was asked is refused then;
//! - what a callback is given lives as long as the callback is installed.
//!
//! Never: allows what it cannot read.
#![allow(unsafe_code, reason = "callbacks of SQLite, which is a C library")]

use super::SqlConnection;
use super::handle::{Handle, SqlFailure};
use super::rules::{Action, lets_reader, lets_writer};
use crate::codes;
use crate::fence::fence;
use bop_control::SqlWatch;
use parking_lot::Mutex;
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::sync::Arc;

/// Steps of SQLite's program between two looks at the watch: well below a millisecond.
const STEPS: c_int = 10_000;

const ALLOW: c_int = 0;
const DENY: c_int = 1;

/// Has SQLite ask the rules of a session that reads, or of one that writes.
///
/// # Errors
/// SQLite does not take it.
pub(super) fn install_rules(handle: Handle<'_>, write: bool) -> Result<(), SqlFailure> {
    let rules = match write {
        true => of_writer,
        false => of_reader,
    };
    // SAFETY: the connection is open; the callback uses no argument of ours.
    let code = unsafe {
        (handle.functions.set_authorizer)(handle.database, Some(rules), std::ptr::null_mut())
    };
    match code {
        codes::SQLITE_OK => Ok(()),
        code => Err(handle.failure(code)),
    }
}

unsafe extern "C" fn of_reader(
    _argument: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _inner: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes null or strings, which live through the call.
    unsafe { decide(code, first, second, lets_reader) }
}

unsafe extern "C" fn of_writer(
    _argument: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _inner: *const c_char,
) -> c_int {
    // SAFETY: SQLite passes null or strings, which live through the call.
    unsafe { decide(code, first, second, lets_writer) }
}

/// # Safety
/// `first` and `second` are null or strings.
unsafe fn decide(
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    lets: impl Fn(Action<'_>) -> bool,
) -> c_int {
    let body = || {
        // SAFETY: by the caller.
        let (first, second) = unsafe { (text_of(first), text_of(second)) };
        let may = match (first, second) {
            (Ok(first), Ok(second)) => lets(Action::of(code, first, second)),
            _ => false,
        };
        if may { ALLOW } else { DENY }
    };
    fence("authorizer", None, || DENY, body)
}

/// # Safety
/// `text` is null or a string.
unsafe fn text_of<'a>(text: *const c_char) -> Result<Option<&'a str>, std::str::Utf8Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().map(Some)
}

/// A connection of which every statement is ended when somebody says so.
#[derive(Debug)]
pub struct Watched<C: SqlConnection> {
    connection: C,
    watch: Arc<Watch>,
}

type Watch = Mutex<Option<SqlWatch>>;

impl<C: SqlConnection> Watched<C> {
    /// Has SQLite ask again and again, however long a statement takes.
    pub fn new(connection: C) -> Self {
        let watch = Arc::new(Watch::default());
        let (handle, argument) = (connection.handle(), Arc::as_ptr(&watch));
        // SAFETY: the connection is open; what the callback is given lives until the drop takes it away.
        unsafe {
            let argument = argument.cast_mut().cast();
            (handle.functions.progress_handler)(handle.database, STEPS, Some(ends), argument);
        }
        Self { connection, watch }
    }

    /// The connection.
    pub fn connection(&self) -> &C {
        &self.connection
    }

    /// Who is asked from now on; nobody: statements take as long as they take.
    pub fn set(&self, watch: Option<SqlWatch>) {
        *self.watch.lock() = watch;
    }
}

impl<C: SqlConnection> Drop for Watched<C> {
    fn drop(&mut self) {
        let handle = self.connection.handle();
        // SAFETY: the connection is open; without steps there is no callback.
        unsafe {
            (handle.functions.progress_handler)(handle.database, 0, None, std::ptr::null_mut());
        }
    }
}

/// Whether the statement is to end.
unsafe extern "C" fn ends(argument: *mut c_void) -> c_int {
    let body = || {
        // SAFETY: what `new` gave, which is only shared.
        let watch = unsafe { &*argument.cast::<Watch>() };
        let goes_on = watch.lock().as_ref().is_none_or(SqlWatch::goes_on);
        c_int::from(!goes_on)
    };
    fence("progress handler", None, || 1, body)
}
