//! `sqlite3_io_methods` of a database: turns each call into one of its [`Handle`].
//!
//! | call | does |
//! |---|---|
//! | xLock, xUnlock | SHARED pins a snapshot, RESERVED takes the writer slot, nothing waits |
//! | xRead, xFileSize | from the snapshot, and from what was written over it |
//! | xWrite, xTruncate | into the transaction, for nobody else to see |
//! | xSync | the next commit is durable |
//! | xFileControl SYNC | the first phase of a commit is over |
//! | xFileControl COMMIT_PHASETWO | commits |
//! | xCheckReservedLock | nobody: there is never a journal to be played back |

use super::c::{self, CFile, IoMethods};
use super::vfs::{NAME, Vfs};
use crate::commit;
use crate::handle::{Handle, Level};
use crate::pragma::{self, Answer};
use crate::stores::Guest;
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::EngineError;
use bop_sqlite_common::fence::fence;
use bop_sqlite_common::shown::Shown;
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::sync::Arc;

/// What SQLite sees of the file: the memory is SQLite's, what `state` points to is ours.
#[repr(C)]
struct RawFile {
    base: CFile,
    state: *mut File,
}

/// Bytes that SQLite has to allocate for a file.
pub(super) const BYTES: usize = size_of::<RawFile>();

/// The file. It leaves the store when the handle is gone.
struct File {
    handle: Arc<Handle>,
    vfs: &'static Vfs,
    _guest: Guest,
}

static METHODS: IoMethods = IoMethods {
    version: 1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// Makes `raw` a file of ours.
///
/// # Safety
/// `raw` has room for [`BYTES`].
pub(super) unsafe fn open(
    raw: *mut CFile,
    vfs: &'static Vfs,
    guest: Guest,
    full_name: String,
    name: &str,
    shown: Shown,
) {
    let state = Box::into_raw(Box::new(File {
        handle: Handle::open(Arc::clone(guest.hub()), full_name, name, shown),
        vfs,
        _guest: guest,
    }));
    let base = CFile { methods: &METHODS };
    // SAFETY: by the caller.
    unsafe { raw.cast::<RawFile>().write(RawFile { base, state }) };
}

/// Runs the body of a callback with the file, unless the process was forked, and tells its error.
///
/// # Safety
/// `raw` was opened by [`open`] and not closed.
unsafe fn with(
    name: &'static str,
    raw: *mut CFile,
    on_panic: c_int,
    body: impl FnOnce(&File) -> Result<c_int, EngineError>,
) -> c_int {
    // SAFETY: by the caller.
    let file = unsafe { &*(*raw.cast::<RawFile>()).state };
    let errors = &file.handle.hub().errors;
    fence(
        name,
        Some(errors),
        || on_panic,
        || {
            let hub = file.handle.hub();
            match hub.check_process(name).and_then(|()| body(file)) {
                Ok(code) => code,
                Err(error) => file.vfs.tell(errors, error),
            }
        },
    )
}

unsafe extern "C" fn close(raw: *mut CFile) -> c_int {
    let body = || {
        // SAFETY: SQLite closes a file once; the state was leaked by `open`.
        let file = unsafe {
            (*raw).methods = std::ptr::null();
            Box::from_raw((*raw.cast::<RawFile>()).state)
        };
        if file.handle.hub().is_of_this_process() {
            file.handle.close();
        } else {
            // What it holds is the parent's.
            std::mem::forget(file);
        }
        codes::SQLITE_OK
    };
    fence("xClose", None, || codes::SQLITE_IOERR_CLOSE, body)
}

unsafe extern "C" fn read(raw: *mut CFile, out: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    let body = |file: &File| {
        let (Ok(bytes), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else {
            return Ok(codes::SQLITE_IOERR_READ);
        };
        // SAFETY: SQLite passes a buffer of `bytes` bytes, which nobody else has.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), bytes) };
        Ok(match file.handle.read(out, offset)? {
            true => codes::SQLITE_OK,
            false => codes::SQLITE_IOERR_SHORT_READ,
        })
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xRead", raw, codes::SQLITE_IOERR_READ, body) }
}

unsafe extern "C" fn write(
    raw: *mut CFile,
    content: *const c_void,
    bytes: c_int,
    offset: i64,
) -> c_int {
    let body = |file: &File| {
        let (Ok(bytes), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else {
            return Ok(codes::SQLITE_IOERR_WRITE);
        };
        // SAFETY: SQLite passes `bytes` bytes, which nobody changes meanwhile.
        let content = unsafe { std::slice::from_raw_parts(content.cast::<u8>(), bytes) };
        file.handle.write(offset, content)?;
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xWrite", raw, codes::SQLITE_IOERR_WRITE, body) }
}

unsafe extern "C" fn truncate(raw: *mut CFile, bytes: i64) -> c_int {
    let body = |file: &File| {
        let Ok(bytes) = u64::try_from(bytes) else {
            return Ok(codes::SQLITE_IOERR_TRUNCATE);
        };
        file.handle.truncate(bytes)?;
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xTruncate", raw, codes::SQLITE_IOERR_TRUNCATE, body) }
}

unsafe extern "C" fn sync(raw: *mut CFile, _flags: c_int) -> c_int {
    let body = |file: &File| {
        file.handle.sync();
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xSync", raw, codes::SQLITE_IOERR_FSYNC, body) }
}

unsafe extern "C" fn file_size(raw: *mut CFile, out: *mut i64) -> c_int {
    let body = |file: &File| {
        let bytes = file.handle.bytes()?;
        // SAFETY: SQLite passes a valid out-pointer.
        unsafe { *out = i64::try_from(bytes).unwrap_or(i64::MAX) };
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFileSize", raw, codes::SQLITE_IOERR_FSTAT, body) }
}

fn level(of_sqlite: c_int) -> Level {
    match of_sqlite {
        ..c::LOCK_SHARED => Level::None,
        c::LOCK_SHARED => Level::Shared,
        _ => Level::Writer,
    }
}

unsafe extern "C" fn lock(raw: *mut CFile, wanted: c_int) -> c_int {
    let body = |file: &File| {
        file.handle.lock(level(wanted))?;
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xLock", raw, codes::SQLITE_IOERR_LOCK, body) }
}

unsafe extern "C" fn unlock(raw: *mut CFile, wanted: c_int) -> c_int {
    let body = |file: &File| {
        file.handle.unlock(level(wanted));
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xUnlock", raw, codes::SQLITE_IOERR_UNLOCK, body) }
}

unsafe extern "C" fn check_reserved_lock(_raw: *mut CFile, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a valid out-pointer.
    unsafe { *out = 0 };
    codes::SQLITE_OK
}

unsafe extern "C" fn file_control(
    raw: *mut CFile,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    let body = |file: &File| {
        match operation {
            c::FCNTL_COMMIT_PHASETWO => commit::phase_two(&file.handle)?,
            c::FCNTL_SYNC => {
                let name = argument.cast::<c_char>();
                // SAFETY: for this operation SQLite passes null, or the name of a super-journal.
                let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
                let name = name.map(CStr::to_string_lossy);
                file.handle.prepare(name.as_deref())?;
            }
            c::FCNTL_PDB => {
                // SAFETY: for this operation SQLite passes the place of the connection's address.
                let connection = unsafe { *argument.cast::<usize>() };
                file.handle.hub().assign(&file.handle, connection);
                file.handle.join_connection();
            }
            // SAFETY: for this operation SQLite passes three strings, the first one for the answer.
            c::FCNTL_PRAGMA => return Ok(unsafe { pragma(file, argument.cast()) }),
            c::FCNTL_VFSNAME => {
                let copy = copy_for_sqlite(file.vfs, &NAME.to_string_lossy());
                // SAFETY: for this operation SQLite passes a place for a string that it frees.
                unsafe { *argument.cast::<*mut c_char>() = copy };
            }
            // SAFETY: for this operation SQLite passes a place for a number.
            c::FCNTL_HAS_MOVED => unsafe { *argument.cast::<c_int>() = 0 },
            _ => return Ok(codes::SQLITE_NOTFOUND),
        }
        Ok(codes::SQLITE_OK)
    };
    let on_panic = match operation {
        c::FCNTL_COMMIT_PHASETWO | c::FCNTL_SYNC => codes::SQLITE_IOERR_WRITE,
        _ => codes::SQLITE_NOTFOUND,
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFileControl", raw, on_panic, body) }
}

/// # Safety
/// `strings` are the three of SQLITE_FCNTL_PRAGMA: answer, name, argument or null.
unsafe fn pragma(file: &File, strings: *mut *mut c_char) -> c_int {
    // SAFETY: by the caller.
    let (name, argument) = unsafe {
        let argument = *strings.add(2);
        (
            CStr::from_ptr(*strings.add(1)).to_string_lossy(),
            (!argument.is_null()).then(|| CStr::from_ptr(argument).to_string_lossy()),
        )
    };
    let (text, code) = match pragma::answer(&file.handle, &name, argument.as_deref()) {
        Answer::NotOurs => return codes::SQLITE_NOTFOUND,
        Answer::Text(text) => (text, codes::SQLITE_OK),
        Answer::Failed(text) => (text, codes::SQLITE_ERROR),
    };
    // SAFETY: by the caller; SQLite frees the answer.
    unsafe { *strings = copy_for_sqlite(file.vfs, &text) };
    code
}

/// A copy of `text` that SQLite frees; null when there is no memory.
pub(super) fn copy_for_sqlite(vfs: &Vfs, text: &str) -> *mut c_char {
    super::entry::copy(&vfs.calls, text)
}

unsafe extern "C" fn sector_size(_raw: *mut CFile) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_raw: *mut CFile) -> c_int {
    c::IOCAP_POWERSAFE_OVERWRITE | c::IOCAP_SAFE_APPEND | c::IOCAP_SEQUENTIAL
}
