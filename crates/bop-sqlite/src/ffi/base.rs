//! What SQLite asks a VFS about the machine (time, randomness, libraries) goes to the base VFS.

use super::c::{CVfs, Symbol};
use super::vfs::base_of;
use bop_sqlite_common::codes;
use std::os::raw::{c_char, c_int, c_void};

/// Passes a call to the base VFS, or answers `$missing` where that has no such function.
macro_rules! pass {
    ($vfs:expr, $method:ident ( $($argument:expr),* ), $missing:expr) => {{
        // SAFETY: SQLite passes a table of ours; the base VFS gets the call as it came.
        unsafe {
            let base = base_of($vfs);
            match (*base).$method {
                Some(method) => method(base $(, $argument)*),
                None => $missing,
            }
        }
    }};
}

pub(super) unsafe extern "C" fn dl_open(vfs: *mut CVfs, path: *const c_char) -> *mut c_void {
    pass!(vfs, dl_open(path), std::ptr::null_mut())
}

pub(super) unsafe extern "C" fn dl_error(vfs: *mut CVfs, room: c_int, out: *mut c_char) {
    pass!(vfs, dl_error(room, out), ());
}

pub(super) unsafe extern "C" fn dl_sym(
    vfs: *mut CVfs,
    library: *mut c_void,
    symbol: *const c_char,
) -> Option<Symbol> {
    pass!(vfs, dl_sym(library, symbol), None)
}

pub(super) unsafe extern "C" fn dl_close(vfs: *mut CVfs, library: *mut c_void) {
    pass!(vfs, dl_close(library), ());
}

pub(super) unsafe extern "C" fn randomness(
    vfs: *mut CVfs,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    pass!(vfs, randomness(bytes, out), 0)
}

pub(super) unsafe extern "C" fn sleep(vfs: *mut CVfs, microseconds: c_int) -> c_int {
    pass!(vfs, sleep(microseconds), 0)
}

pub(super) unsafe extern "C" fn current_time(vfs: *mut CVfs, out: *mut f64) -> c_int {
    pass!(vfs, current_time(out), codes::SQLITE_ERROR)
}

pub(super) unsafe extern "C" fn last_error(vfs: *mut CVfs, room: c_int, out: *mut c_char) -> c_int {
    pass!(vfs, last_error(room, out), 0)
}

pub(super) unsafe extern "C" fn current_time_64(vfs: *mut CVfs, out: *mut i64) -> c_int {
    pass!(vfs, current_time_64(out), codes::SQLITE_ERROR)
}
