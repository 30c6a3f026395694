//! `libsql_wal_manager`: decides per file whether its WAL is ours or SQLite's own, and links the
//! pager, its file and its [`Session`].
//!
//! ```text
//! connection --owns--> manager (one, passed by value, freed by xDestroy)
//!   pager of each database --xOpen--> Wal --session--> Session <--session-- File
//! ```
//!
//! Invariants
//! - a file is ours when its methods are; everything else goes to `sqlite3_wal_manager`, and the
//!   WAL objects that came from there are remembered, since `xClose` names nothing but the object;
//! - a file whose WAL was closed gets no other: SQLite closes it only to leave WAL mode.

use super::file::File;
use super::{vfs, wal};
use crate::engine_error::ErrorSlot;
use crate::fence::fence;
use crate::hub::Hub;
use crate::session::{Group, Session};
use libsql_ffi as ffi;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::os::raw::{c_char, c_int, c_longlong, c_uchar};
use std::rc::Rc;
use std::sync::Arc;

/// What stands behind a manager's `pData`.
struct Manager {
    /// Keeps the VFS that the connection was opened with.
    _hub: Arc<Hub>,
    group: Rc<Group>,
    /// Addresses of WAL objects of SQLite's own.
    native: Mutex<HashSet<usize>>,
}

/// A manager for one connection. SQLite frees what it holds, also when the open fails.
pub(crate) fn wal_manager(hub: Arc<Hub>, errors: Arc<ErrorSlot>) -> ffi::libsql_wal_manager {
    let manager = Box::new(Manager {
        _hub: hub,
        group: Group::new(errors),
        native: Mutex::default(),
    });
    ffi::libsql_wal_manager {
        // The answer is for every file of the connection, plain ones too: without it the pager would
        // open SQLite's own WAL over a VFS that has no shared memory, which then calls null.
        bUsesShm: 1,
        xOpen: Some(open),
        xClose: Some(close),
        xLogDestroy: Some(log_destroy),
        xLogExists: Some(log_exists),
        xDestroy: Some(destroy),
        pData: Box::into_raw(manager).cast(),
    }
}

/// SQLite's own manager.
fn native() -> &'static ffi::libsql_wal_manager {
    // SAFETY: an exported constant.
    unsafe { &ffi::sqlite3_wal_manager }
}

/// # Safety
/// `data` came from [`wal_manager`] and was not freed.
unsafe fn with(
    name: &'static str,
    data: *mut ffi::wal_manager_impl,
    on_panic: c_int,
    body: impl FnOnce(&Manager) -> c_int,
) -> c_int {
    // SAFETY: by the caller; only ever borrowed shared.
    let manager = unsafe { &*data.cast::<Manager>() };
    fence(
        name,
        Some(manager.group.errors()),
        || on_panic,
        || body(manager),
    )
}

unsafe extern "C" fn open(
    data: *mut ffi::wal_manager_impl,
    vfs: *mut ffi::sqlite3_vfs,
    file: *mut ffi::sqlite3_file,
    no_shm: c_int,
    bytes_max: c_longlong,
    path: *const c_char,
    out: *mut ffi::libsql_wal,
) -> c_int {
    let body = |manager: &Manager| {
        // SAFETY: SQLite passes an open file.
        let Some(ours) = (unsafe { File::of(file) }) else {
            let Some(open) = native().xOpen else {
                return ffi::SQLITE_CANTOPEN;
            };
            // SAFETY: the arguments are SQLite's, for a file that we know nothing of.
            let code = unsafe { open(native().pData, vfs, file, no_shm, bytes_max, path, out) };
            if code == ffi::SQLITE_OK {
                // SAFETY: `open` filled it.
                let wal = unsafe { (*out).pData };
                manager.native.lock().insert(wal.addr());
            }
            return code;
        };
        let (shown, hub) = (ours.shown().clone(), Arc::clone(ours.hub()));
        let session = Session::new(shown, hub, &manager.group);
        if !ours.link(&session) {
            return ffi::SQLITE_CANTOPEN;
        }
        // SAFETY: `out` is SQLite's out-pointer, and the pager closes the WAL before the file.
        unsafe { wal::fill(out, session, file) };
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite passes the pointer that it got from `wal_manager`.
    unsafe { with("xOpen", data, ffi::SQLITE_CANTOPEN, body) }
}

/// SQLite frees the object that holds the WAL whatever this answers.
unsafe extern "C" fn close(
    data: *mut ffi::wal_manager_impl,
    wal: *mut ffi::wal_impl,
    db: *mut ffi::sqlite3,
    sync_flags: c_int,
    buffer_bytes: c_int,
    buffer: *mut c_uchar,
) -> c_int {
    let body = |manager: &Manager| {
        if !manager.native.lock().remove(&wal.addr()) {
            // SAFETY: not native, so it came from `fill`; SQLite does not use it again.
            unsafe { wal::free(wal) };
            return ffi::SQLITE_OK;
        }
        match native().xClose {
            // SAFETY: the arguments are SQLite's, for a WAL of its own.
            Some(close) => unsafe {
                close(native().pData, wal, db, sync_flags, buffer_bytes, buffer)
            },
            None => ffi::SQLITE_OK,
        }
    };
    // SAFETY: SQLite passes the pointer that it got from `wal_manager`.
    unsafe { with("xClose", data, ffi::SQLITE_IOERR_CLOSE, body) }
}

/// Nothing of ours is ever deleted by SQLite.
unsafe extern "C" fn log_destroy(
    data: *mut ffi::wal_manager_impl,
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
) -> c_int {
    let body = |_: &Manager| {
        // SAFETY: the VFS and the path of a pager.
        match (unsafe { vfs::holds(vfs, path) }, native().xLogDestroy) {
            // SAFETY: the arguments are SQLite's, for a file that we know nothing of.
            (false, Some(destroy)) => unsafe { destroy(native().pData, vfs, path) },
            _ => ffi::SQLITE_OK,
        }
    };
    // SAFETY: SQLite passes the pointer that it got from `wal_manager`.
    unsafe { with("xLogDestroy", data, ffi::SQLITE_IOERR, body) }
}

/// Every database of ours has a log.
unsafe extern "C" fn log_exists(
    data: *mut ffi::wal_manager_impl,
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    exists: *mut c_int,
) -> c_int {
    let body = |_: &Manager| {
        // SAFETY: the VFS and the path of a pager.
        match (unsafe { vfs::holds(vfs, path) }, native().xLogExists) {
            // SAFETY: the arguments are SQLite's, for a file that we know nothing of.
            (false, Some(ask)) => unsafe { ask(native().pData, vfs, path, exists) },
            (ours, _) => {
                // SAFETY: SQLite passes a valid out-pointer.
                unsafe { *exists = c_int::from(ours) };
                ffi::SQLITE_OK
            }
        }
    };
    // SAFETY: SQLite passes the pointer that it got from `wal_manager`.
    unsafe { with("xLogExists", data, ffi::SQLITE_IOERR, body) }
}

unsafe extern "C" fn destroy(data: *mut ffi::wal_manager_impl) {
    let body = || {
        // SAFETY: the last call with this pointer, which came from `wal_manager`.
        drop(unsafe { Box::from_raw(data.cast::<Manager>()) });
    };
    fence("xDestroy", None, || (), body);
}
