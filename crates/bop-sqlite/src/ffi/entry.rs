//! The entry points of the loadable extension.
//!
//! SQLite makes their names of the file's: `sqlite3_`, the letters of `libbop_sqlite.so` between `lib` and
//! the first dot, `_init`. Both stay loaded, since the VFS outlives the connection that loads it.
//!
//! | entry point | does |
//! |---|---|
//! | `sqlite3_bopsqlite_init` | registers the VFS `bop`, as the default one if `BOP_DEFAULT_VFS` is 1 |
//! | `sqlite3_bopdefault_init` | registers it as the default one |
//!
//! Every connection that is opened from then on, and the one that loads it, has an SQL function
//! `bop_last_error()`: SQLite's own message for a database that cannot be opened says no more than that.

use super::c::{ApiRoutines, Calls, Sql, SqlFunction};
use super::host::Host;
use super::vfs::{self, OPEN_ERRORS};
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::{EngineError, ErrorSlot};
use bop_sqlite_common::fence::fence;
use std::os::raw::{c_char, c_int, c_void};
use std::sync::OnceLock;

/// Registers the VFS `bop`.
///
/// # Safety
/// Called by SQLite alone, as the entry point of an extension.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sqlite3_bopsqlite_init(
    db: *mut c_void,
    message: *mut *mut c_char,
    api: *const ApiRoutines,
) -> c_int {
    let make_default = std::env::var_os("BOP_DEFAULT_VFS").is_some_and(|value| value == "1");
    // SAFETY: by the caller.
    unsafe { init(db, message, api, make_default) }
}

/// Registers the VFS `bop` as the default one.
///
/// # Safety
/// Called by SQLite alone, as the entry point of an extension.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sqlite3_bopdefault_init(
    db: *mut c_void,
    message: *mut *mut c_char,
    api: *const ApiRoutines,
) -> c_int {
    // SAFETY: by the caller.
    unsafe { init(db, message, api, true) }
}

/// # Safety
/// The arguments are those of an entry point.
unsafe fn init(
    db: *mut c_void,
    message: *mut *mut c_char,
    api: *const ApiRoutines,
    make_default: bool,
) -> c_int {
    let body = || {
        // SAFETY: by the caller.
        let functions = unsafe { ApiRoutines::functions(api) };
        let vfs = match vfs::registered(&functions, make_default) {
            Ok(vfs) => vfs,
            Err(error) => {
                if !message.is_null() {
                    // SAFETY: SQLite passes a place for a string that it frees.
                    unsafe { *message = copy(&Calls::of(&functions), &error.to_string()) };
                }
                return codes::SQLITE_ERROR;
            }
        };
        // SAFETY: by the caller; `registered` refuses a SQLite that is too old.
        vfs.set_host(|| unsafe { Host::of(api) });
        // SAFETY: by the caller; `register` refuses a SQLite that is too old for the table.
        let sql = unsafe { ApiRoutines::sql(api) };
        // SAFETY: SQLite calls it with the arguments of an entry point, whatever its type says.
        unsafe {
            let connected: Connected = every_connection;
            let connected = std::mem::transmute::<Connected, unsafe extern "C" fn()>(connected);
            (sql.auto_extension)(Some(connected));
        }
        // SAFETY: the connection that loads the extension.
        unsafe { add_function(db, sql) };
        codes::SQLITE_OK_LOAD_PERMANENTLY
    };
    fence("init", None, || codes::SQLITE_ERROR, body)
}

type Connected = unsafe extern "C" fn(*mut c_void, *mut *mut c_char, *const ApiRoutines) -> c_int;

unsafe extern "C" fn every_connection(
    db: *mut c_void,
    _message: *mut *mut c_char,
    api: *const ApiRoutines,
) -> c_int {
    // SAFETY: SQLite passes what it passes to an entry point.
    unsafe { add_function(db, ApiRoutines::sql(api)) }
}

/// The SQLites of this process that have loaded the extension. A function is called with nothing that says
/// which of them calls: so each has a function of its own.
static LOADED: [OnceLock<Sql>; 3] = [const { OnceLock::new() }; 3];
const FUNCTIONS: [SqlFunction; LOADED.len()] = [last_error::<0>, last_error::<1>, last_error::<2>];

/// The function of that SQLite; none for one more than there is room for.
fn function_of(sql: Sql) -> Option<SqlFunction> {
    let is_same = |known: &Sql| std::ptr::fn_addr_eq(known.create_function, sql.create_function);
    let mut slots = LOADED.iter().zip(FUNCTIONS);
    slots.find_map(|(slot, function)| is_same(slot.get_or_init(|| sql)).then_some(function))
}

/// # Safety
/// `db` is an open connection of the SQLite that `sql` is of.
unsafe fn add_function(db: *mut c_void, sql: Sql) -> c_int {
    const UTF8: c_int = 1;
    let Some(function) = function_of(sql) else {
        return codes::SQLITE_OK;
    };
    // SAFETY: by the caller. A name, no arguments, nothing to destroy.
    unsafe {
        (sql.create_function)(
            db,
            c"bop_last_error".as_ptr(),
            0,
            UTF8,
            std::ptr::null_mut(),
            Some(function),
            None,
            None,
            None,
        )
    }
}

/// The newest error of this thread, which is then forgotten; else the newest of opening anything.
unsafe extern "C" fn last_error<const SLOT: usize>(
    context: *mut c_void,
    _count: c_int,
    _values: *mut *mut c_void,
) {
    const TRANSIENT: isize = -1;
    let body = || {
        let Some(sql) = LOADED[SLOT].get() else {
            return;
        };
        let newest: Option<EngineError> =
            ErrorSlot::take_of_this_thread().or_else(|| OPEN_ERRORS.latest());
        let text = newest.map(|error| error.to_string());
        match text.map(|text| (c_int::try_from(text.len()).unwrap_or(0), text)) {
            // SAFETY: SQLite copies that many bytes.
            Some((bytes, text)) => unsafe {
                (sql.result_text)(context, text.as_ptr().cast(), bytes, TRANSIENT);
            },
            // SAFETY: the context of this call.
            None => unsafe { (sql.result_null)(context) },
        }
    };
    fence("bop_last_error", None, || (), body);
}

/// A copy of `text` that SQLite frees; null when there is no memory.
pub(super) fn copy(calls: &Calls, text: &str) -> *mut c_char {
    let bytes = text.len();
    // SAFETY: allocates; the result is checked.
    let copy = unsafe { (calls.malloc64)(bytes as u64 + 1) }.cast::<u8>();
    if !copy.is_null() {
        // SAFETY: `copy` has room for the text and its end, and overlaps nothing.
        unsafe {
            copy.copy_from_nonoverlapping(text.as_ptr(), bytes);
            *copy.add(bytes) = 0;
        }
    }
    copy.cast()
}
