//! `sqlite3_vfs`: one per store, under a name of its own.
//!
//! A name without a slash is a database of the store, or a state of one (`orders@snapshot:before`). A path, a temporary file, and every question
//! about the machine (time, randomness, libraries) goes to the base VFS with the base's own files:
//! we are not asked about those again.
//!
//! Invariants
//! - a table that SQLite has seen is never freed: somebody may still name it. The table of a store
//!   that is gone finds no databases, and serves the next store that is opened;
//! - journals, WAL files and super-journals of our databases do not exist and cannot be opened.

use super::file::{File, RawFile};
use super::{is_database_name, waiting};
use crate::EngineError;
use crate::error::Error;
use crate::fence::fence;
use crate::hub::Hub;
use crate::shown::{self, Shown};
use libsql_ffi as ffi;
use parking_lot::Mutex;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// More than the names of a database and of a snapshot have together.
const NAME_BYTES_MAX: c_int = 1024;

/// One table, and the store that it serves at the moment.
struct Vfs {
    name: CString,
    /// Written by SQLite (its list), and by us before it is first registered.
    table: *mut ffi::sqlite3_vfs,
    base: *mut ffi::sqlite3_vfs,
    hub: Mutex<Weak<Hub>>,
}

// SAFETY: `table` is changed only by SQLite, under its mutex; `base` is never changed.
unsafe impl Send for Vfs {}
// SAFETY: as above; the rest is behind a mutex or immutable.
unsafe impl Sync for Vfs {}

/// All tables that there are.
static ALL: Mutex<Vec<&'static Vfs>> = Mutex::new(Vec::new());
/// Tables of stores that are gone.
static SPARE: Mutex<Vec<&'static Vfs>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A table that SQLite knows, for as long as this lives.
pub(crate) struct Registration(&'static Vfs);

impl Registration {
    /// Registers a table with SQLite. It serves nobody yet.
    pub(crate) fn new() -> Result<Self, Error> {
        let spare = SPARE.lock().pop();
        let vfs = match spare {
            Some(vfs) => vfs,
            None => Vfs::leak()?,
        };
        // SAFETY: the table is complete and never freed.
        let code = unsafe { ffi::sqlite3_vfs_register(vfs.table, 0) };
        if code == ffi::SQLITE_OK {
            Ok(Self(vfs))
        } else {
            SPARE.lock().push(vfs);
            Err(Error::Register { code })
        }
    }

    /// Serves the databases of `hub` from now on.
    pub(crate) fn serve(&self, hub: &Arc<Hub>) {
        *self.0.hub.lock() = Arc::downgrade(hub);
    }

    pub(crate) fn name(&self) -> &str {
        self.0.name.to_str().unwrap_or_default()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        *self.0.hub.lock() = Weak::new();
        // SAFETY: the table was registered by `new`.
        unsafe { ffi::sqlite3_vfs_unregister(self.0.table) };
        SPARE.lock().push(self.0);
    }
}

impl Vfs {
    fn leak() -> Result<&'static Self, Error> {
        // SAFETY: null asks for the default VFS, which is there for the life of the process.
        let base = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        if base.is_null() {
            return Err(Error::Register {
                code: ffi::SQLITE_NOTFOUND,
            });
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("bop-{number}")).unwrap_or_default();
        // SAFETY: `base` is valid.
        let table = Box::leak(Box::new(unsafe { table_over(base) }));
        let vfs: &'static Self = Box::leak(Box::new(Self {
            name,
            table,
            base,
            hub: Mutex::new(Weak::new()),
        }));
        // SAFETY: nobody else knows the table yet.
        unsafe {
            (*vfs.table).zName = vfs.name.as_ptr();
            (*vfs.table).pAppData = std::ptr::from_ref(vfs).cast_mut().cast();
        }
        ALL.lock().push(vfs);
        Ok(vfs)
    }

    /// Opens `file`, and leaves in `flags` how.
    fn open_database(&self, name: &CStr, file: *mut ffi::sqlite3_file, flags: &mut c_int) -> c_int {
        let Some(hub) = self.hub.lock().upgrade() else {
            return ffi::SQLITE_CANTOPEN;
        };
        // A database of ours changes, so `immutable` would show a mixture of states.
        // SAFETY: SQLite passes a main database's name as its URI functions need it.
        let immutable =
            unsafe { ffi::sqlite3_uri_boolean(name.as_ptr(), c"immutable".as_ptr(), 0) != 0 };
        let Ok(name) = name.to_str() else {
            return ffi::SQLITE_CANTOPEN;
        };
        if immutable {
            tracing::warn!(name, "immutable=1 is refused");
            return ffi::SQLITE_CANTOPEN;
        }
        match find(&hub, name, *flags & ffi::SQLITE_OPEN_CREATE != 0) {
            Ok(found) => {
                if found.is_state() {
                    // SQLite then refuses every write by itself.
                    *flags &= !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE);
                    *flags |= ffi::SQLITE_OPEN_READONLY;
                }
                // SAFETY: SQLite allocates `szOsFile` bytes, enough for a file of ours.
                unsafe { File::open(file, hub, found) };
                ffi::SQLITE_OK
            }
            Err(error) => hub.open_errors().record(error),
        }
    }
}

/// The database, or the state of one, that a file's name means.
fn find(hub: &Hub, name: &str, create: bool) -> Result<Shown, EngineError> {
    match shown::parse_file_name(name)? {
        (name, None) => Ok(Shown::Present(hub.open(name, create)?)),
        (name, Some(at)) => Ok(hub.open_at(name, &at)?),
    }
}

/// Whether the name asks for a shared cache, ours or not: that would hand one connection's WAL
/// manager to another's thread, where libSQL counts it unlocked.
///
/// Every parameter is looked at: SQLite takes the last one of a name, its function for asking by
/// name answers the first.
///
/// # Safety
/// `name` is a main database's name as SQLite passes it to `xOpen`.
unsafe fn wants_shared_cache(name: &CStr) -> bool {
    (0..)
        .map_while(|nth| {
            // SAFETY: by the caller.
            let key = unsafe { ffi::sqlite3_uri_key(name.as_ptr(), nth) };
            // SAFETY: null, or a string that lives as long as the name. Its value is the next string.
            (!key.is_null()).then(|| unsafe {
                let key = CStr::from_ptr(key);
                let value = key.as_ptr().add(key.to_bytes_with_nul().len());
                (key.to_bytes(), CStr::from_ptr(value).to_bytes())
            })
        })
        .any(|parameter| parameter == (b"cache".as_slice(), b"shared".as_slice()))
}

/// # Safety
/// `base` is a valid VFS.
unsafe fn table_over(base: *mut ffi::sqlite3_vfs) -> ffi::sqlite3_vfs {
    // SAFETY: by the caller.
    let base = unsafe { &*base };
    let file_bytes = c_int::try_from(size_of::<RawFile>()).unwrap_or(c_int::MAX);
    ffi::sqlite3_vfs {
        iVersion: base.iVersion.min(2),
        szOsFile: base.szOsFile.max(file_bytes),
        mxPathname: base.mxPathname.max(NAME_BYTES_MAX),
        pNext: std::ptr::null_mut(),
        zName: std::ptr::null(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: Some(dl_sym),
        xDlClose: Some(dl_close),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// # Safety
/// `vfs` is a table of ours.
unsafe fn of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Vfs {
    // SAFETY: by the caller; the `Vfs` is never freed.
    unsafe { &*(*vfs).pAppData.cast::<Vfs>() }
}

/// `true` when `vfs` is a table of ours and `path` names a database in it.
///
/// # Safety
/// `path` is a string.
pub(super) unsafe fn holds(vfs: *mut ffi::sqlite3_vfs, path: *const c_char) -> bool {
    // SAFETY: by the caller.
    unsafe { is_ours(path) && ALL.lock().iter().any(|ours| std::ptr::eq(ours.table, vfs)) }
}

/// # Safety
/// `path` is a string.
unsafe fn is_ours(path: *const c_char) -> bool {
    // SAFETY: by the caller.
    is_database_name(unsafe { CStr::from_ptr(path) })
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let body = || {
        // SAFETY: SQLite passes the table that has this function, and room for a file.
        let vfs = unsafe {
            (*file).pMethods = std::ptr::null();
            of(vfs)
        };
        let is_main = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
        // SAFETY: a main database's name, as SQLite's URI functions need it.
        if is_main && !name.is_null() && unsafe { wants_shared_cache(CStr::from_ptr(name)) } {
            tracing::warn!("cache=shared is refused");
            return ffi::SQLITE_CANTOPEN;
        }
        // SAFETY: null, or a string.
        if name.is_null() || !unsafe { is_ours(name) } {
            // SAFETY: the base VFS gets the call as it came.
            return match unsafe { (*vfs.base).xOpen } {
                // SAFETY: as above.
                Some(open) => unsafe { open(vfs.base, name, file, flags, out_flags) },
                None => ffi::SQLITE_CANTOPEN,
            };
        }
        if !is_main {
            return ffi::SQLITE_CANTOPEN;
        }
        // SAFETY: not null.
        let name = unsafe { CStr::from_ptr(name) };
        let mut flags = flags;
        let code = vfs.open_database(name, file, &mut flags);
        if code == ffi::SQLITE_OK && !out_flags.is_null() {
            // SAFETY: not null.
            unsafe { *out_flags = flags };
        }
        code
    };
    fence("xOpen", None, || ffi::SQLITE_CANTOPEN, body)
}

/// Databases are dropped by their manager, never by SQLite.
unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: SQLite passes the table that has this function, and a string.
    match unsafe { (is_ours(name), (*of(vfs).base).xDelete) } {
        // SAFETY: the base VFS gets the call as it came.
        (false, Some(delete)) => unsafe { delete(of(vfs).base, name, sync_directory) },
        _ => ffi::SQLITE_OK,
    }
}

/// SQLite asks for journals beside its databases. Ours have none, whatever names are taken.
unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes the table that has this function, and a string.
    match unsafe { (is_ours(name), (*of(vfs).base).xAccess) } {
        // SAFETY: the base VFS gets the call as it came.
        (false, Some(access)) => unsafe { access(of(vfs).base, name, flags, out) },
        _ => {
            // SAFETY: SQLite passes a valid out-pointer.
            unsafe { *out = 0 };
            ffi::SQLITE_OK
        }
    }
}

/// A database's name is its full path.
unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes the table that has this function, and a string.
    match unsafe { (is_ours(name), (*of(vfs).base).xFullPathname) } {
        // SAFETY: the base VFS gets the call as it came.
        (false, Some(full)) => unsafe { full(of(vfs).base, name, room, out) },
        _ => {
            // SAFETY: a string.
            let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
            if usize::try_from(room).is_ok_and(|room| bytes.len() <= room) {
                // SAFETY: `out` has `room` bytes.
                unsafe { out.copy_from_nonoverlapping(name, bytes.len()) };
                ffi::SQLITE_OK
            } else {
                ffi::SQLITE_CANTOPEN
            }
        }
    }
}

/// Passes a call to the base VFS, or answers `$missing` where that has no such function.
macro_rules! pass {
    ($vfs:expr, $method:ident ( $($argument:expr),* ), $missing:expr) => {{
        // SAFETY: SQLite passes a table of ours; the base VFS gets the call as it came.
        unsafe {
            let base = of($vfs).base;
            match (*base).$method {
                Some(method) => method(base $(, $argument)*),
                None => $missing,
            }
        }
    }};
}

unsafe extern "C" fn dl_open(vfs: *mut ffi::sqlite3_vfs, path: *const c_char) -> *mut c_void {
    pass!(vfs, xDlOpen(path), std::ptr::null_mut())
}

unsafe extern "C" fn dl_error(vfs: *mut ffi::sqlite3_vfs, room: c_int, out: *mut c_char) {
    pass!(vfs, xDlError(room, out), ());
}

type Symbol = unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char);

unsafe extern "C" fn dl_sym(
    vfs: *mut ffi::sqlite3_vfs,
    library: *mut c_void,
    symbol: *const c_char,
) -> Option<Symbol> {
    pass!(vfs, xDlSym(library, symbol), None)
}

unsafe extern "C" fn dl_close(vfs: *mut ffi::sqlite3_vfs, library: *mut c_void) {
    pass!(vfs, xDlClose(library), ());
}

unsafe extern "C" fn randomness(
    vfs: *mut ffi::sqlite3_vfs,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    pass!(vfs, xRandomness(bytes, out), 0)
}

/// A pause before another attempt to write ends when it is this connection's turn.
unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    let pause = Duration::from_micros(microseconds.try_into().unwrap_or(0));
    match fence("xSleep", None, || true, || waiting::wait(pause)) {
        true => microseconds,
        false => pass!(vfs, xSleep(microseconds), 0),
    }
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    pass!(vfs, xCurrentTime(out), ffi::SQLITE_ERROR)
}

unsafe extern "C" fn get_last_error(
    vfs: *mut ffi::sqlite3_vfs,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    pass!(vfs, xGetLastError(room, out), 0)
}

unsafe extern "C" fn current_time_int64(
    vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    pass!(vfs, xCurrentTimeInt64(out), ffi::SQLITE_ERROR)
}
