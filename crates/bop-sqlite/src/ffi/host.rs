//! The SQLite that loaded the extension, as whoever opens connections of his own in it: for clients of the control socket.
//!
//! Invariants
//! - it runs nothing for others unless it guards itself against being used by several threads, which is asked where
//!   the extension is loaded: a program may have told it not to;
//! - a connection is used by one thread at a time, and closed once.
//!
//! Never: opens a connection by another VFS than `bop`.

use super::c::ApiRoutines;
use super::vfs::NAME;
use bop_sqlite_common::codes;
use bop_sqlite_common::sql::{Handle, SqlAddresses, SqlFailure, SqlFunctions};
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::ptr::NonNull;

type OpenFn = unsafe extern "C" fn(*const c_char, *mut *mut c_void, c_int, *const c_char) -> c_int;
type OfDatabase = unsafe extern "C" fn(*mut c_void) -> c_int;
type MutexOf = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type Number = unsafe extern "C" fn() -> c_int;
type BusyTimeout = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;

const READONLY: c_int = 0x1;
const READWRITE: c_int = 0x2;
const URI: c_int = 0x40;
const FULLMUTEX: c_int = 0x1_0000;
const PRIVATECACHE: c_int = 0x4_0000;

/// How long a statement waits for another writer.
const BUSY_MILLISECONDS: c_int = 5_000;

/// Places in the table of functions, of those that every version from 3.31 on has.
mod place {
    pub(super) const BUSY_TIMEOUT: usize = 14;
    pub(super) const COLUMN_BLOB: usize = 19;
    pub(super) const COLUMN_BYTES: usize = 20;
    pub(super) const COLUMN_COUNT: usize = 22;
    pub(super) const COLUMN_DOUBLE: usize = 27;
    pub(super) const COLUMN_NAME: usize = 30;
    pub(super) const COLUMN_TEXT: usize = 36;
    pub(super) const COLUMN_TYPE: usize = 38;
    pub(super) const ERRMSG: usize = 53;
    pub(super) const FINALIZE: usize = 57;
    pub(super) const GET_AUTOCOMMIT: usize = 60;
    pub(super) const LIBVERSION_NUMBER: usize = 67;
    pub(super) const PROGRESS_HANDLER: usize = 75;
    pub(super) const SET_AUTHORIZER: usize = 91;
    pub(super) const STEP: usize = 94;
    pub(super) const PREPARE_V2: usize = 116;
    pub(super) const OPEN_V2: usize = 135;
    pub(super) const THREADSAFE: usize = 144;
    pub(super) const LIMIT: usize = 151;
    pub(super) const DB_CONFIG: usize = 163;
    pub(super) const DB_MUTEX: usize = 164;
    pub(super) const EXTENDED_ERRCODE: usize = 166;
    pub(super) const CLOSE_V2: usize = 179;
    pub(super) const STMT_ISEXPLAIN: usize = 241;
    /// From version 3.38 on.
    pub(super) const ERROR_OFFSET: usize = 256;
}

const ERROR_OFFSET_SINCE: c_int = 3_038_000;

/// A SQLite that can be asked to run SQL for others.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Host {
    functions: SqlFunctions,
    open_v2: OpenFn,
    close_v2: OfDatabase,
    db_mutex: MutexOf,
    busy_timeout: BusyTimeout,
}

impl Host {
    /// Asks the SQLite that loads the extension.
    ///
    /// # Errors
    /// Why it runs nothing for others.
    ///
    /// # Safety
    /// `api` is what SQLite passes to the entry point of an extension, and the SQLite is of version 3.31 or later.
    pub(super) unsafe fn of(api: *const ApiRoutines) -> Result<Self, String> {
        // SAFETY: by the caller; the places that are read are in the tables of these versions.
        let at = |place: usize| unsafe { api.cast::<*const ()>().add(place).read() };
        let needed = [
            (place::OPEN_V2, "open_v2"),
            (place::CLOSE_V2, "close_v2"),
            (place::DB_MUTEX, "db_mutex"),
            (place::BUSY_TIMEOUT, "busy_timeout"),
            (place::THREADSAFE, "threadsafe"),
        ];
        if let Some((_, name)) = needed.iter().find(|(place, _)| at(*place).is_null()) {
            return Err(without(&format!("sqlite3_{name}")));
        }
        // SAFETY: the function of that place.
        let (version, threads) = unsafe {
            let number = std::mem::transmute::<*const (), Number>(at(place::LIBVERSION_NUMBER));
            let threads = std::mem::transmute::<*const (), Number>(at(place::THREADSAFE));
            (number(), threads())
        };
        let has_offset = ERROR_OFFSET_SINCE <= version;
        let addresses = SqlAddresses {
            prepare_v2: at(place::PREPARE_V2),
            step: at(place::STEP),
            finalize: at(place::FINALIZE),
            stmt_isexplain: at(place::STMT_ISEXPLAIN),
            column_count: at(place::COLUMN_COUNT),
            column_name: at(place::COLUMN_NAME),
            column_type: at(place::COLUMN_TYPE),
            column_double: at(place::COLUMN_DOUBLE),
            column_text: at(place::COLUMN_TEXT),
            column_blob: at(place::COLUMN_BLOB),
            column_bytes: at(place::COLUMN_BYTES),
            errmsg: at(place::ERRMSG),
            extended_errcode: at(place::EXTENDED_ERRCODE),
            get_autocommit: at(place::GET_AUTOCOMMIT),
            limit: at(place::LIMIT),
            set_authorizer: at(place::SET_AUTHORIZER),
            progress_handler: at(place::PROGRESS_HANDLER),
            db_config: at(place::DB_CONFIG),
            error_offset: if has_offset {
                at(place::ERROR_OFFSET)
            } else {
                std::ptr::null()
            },
        };
        // SAFETY: each has the function of its name, or null; all of the SQLite that loads the extension for good.
        let functions = unsafe { SqlFunctions::new(addresses) }.map_err(without)?;
        if threads == 0 {
            return Err(alone());
        }
        // SAFETY: the functions of these places, none of them null.
        let host = unsafe {
            Self {
                functions,
                open_v2: std::mem::transmute::<*const (), OpenFn>(at(place::OPEN_V2)),
                close_v2: std::mem::transmute::<*const (), OfDatabase>(at(place::CLOSE_V2)),
                db_mutex: std::mem::transmute::<*const (), MutexOf>(at(place::DB_MUTEX)),
                busy_timeout: std::mem::transmute::<*const (), BusyTimeout>(at(
                    place::BUSY_TIMEOUT,
                )),
            }
        };
        host.has_threads().then_some(host).ok_or_else(alone)
    }

    /// Whether a connection that is to be guarded against several threads is: a program may have configured its
    /// SQLite for one thread, which `sqlite3_threadsafe` does not tell.
    fn has_threads(self) -> bool {
        let opened = self.open(c":memory:", READWRITE | FULLMUTEX, std::ptr::null());
        // SAFETY: the connection is open.
        opened.is_ok_and(|of| !unsafe { (self.db_mutex)(of.database.as_ptr()) }.is_null())
    }

    fn open(self, name: &CStr, flags: c_int, vfs: *const c_char) -> Result<Connection, SqlFailure> {
        let mut database = std::ptr::null_mut();
        // SAFETY: strings, or null for the default VFS, and an out-pointer of ours.
        let code = unsafe { (self.open_v2)(name.as_ptr(), &raw mut database, flags, vfs) };
        let opened = NonNull::new(database).map(|database| Connection {
            host: self,
            database,
        });
        match (opened, code) {
            (Some(opened), codes::SQLITE_OK) => Ok(opened),
            (Some(broken), code) => Err(broken.handle().failure(code)),
            (None, code) => Err(SqlFailure {
                message: "out of memory".to_owned(),
                code,
                offset: None,
            }),
        }
    }
}

fn without(function: &str) -> String {
    format!(
        "the SQLite of the program that has the store open was built without {function}: SQL of others could not \
         be kept within bounds"
    )
}

fn alone() -> String {
    "the SQLite of the program that has the store open is one for a single thread: SQL of others would be a second"
        .to_owned()
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    host: Host,
    database: NonNull<c_void>,
}

// SAFETY: SQLite guards a connection that was opened with FULLMUTEX against being used by several threads, and this is
// used by one at a time.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens the database that a URI names, on the VFS `bop`.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) fn open(host: Host, uri: &str, write: bool) -> Result<Self, SqlFailure> {
        let Ok(uri) = CString::new(uri) else {
            return Err(SqlFailure {
                message: "a name with a NUL character".to_owned(),
                code: codes::SQLITE_CANTOPEN,
                offset: None,
            });
        };
        let mode = if write { READWRITE } else { READONLY };
        let flags = mode | URI | FULLMUTEX | PRIVATECACHE;
        let opened = host.open(&uri, flags, NAME.as_ptr())?;
        // SAFETY: the connection is open. It takes every number.
        unsafe { (host.busy_timeout)(opened.database.as_ptr(), BUSY_MILLISECONDS) };
        Ok(opened)
    }

    pub(crate) fn handle(&self) -> Handle<'_> {
        // SAFETY: the connection is open while this is borrowed, and nobody else has it.
        unsafe { Handle::new(&self.host.functions, self.database.as_ptr()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it was opened, is closed once, and its statements borrowed it.
        unsafe { (self.host.close_v2)(self.database.as_ptr()) };
    }
}
