//! `sqlite3_io_methods` of a rollback journal, and of a super-journal: bytes of ours, locked by nobody.

use super::c::{CFile, IoMethods};
use super::vfs::{OPEN_ERRORS, Vfs};
use crate::hub::Hub;
use crate::scratch::Scratch;
use crate::stores;
use crate::supers::Super;
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::EngineError;
use bop_sqlite_common::fence::fence;
use parking_lot::Mutex;
use std::io;
use std::os::raw::{c_int, c_void};
use std::sync::Arc;

#[repr(C)]
struct RawFile {
    base: CFile,
    state: *mut File,
}

/// Bytes that SQLite has to allocate for a file.
pub(super) const BYTES: usize = size_of::<RawFile>();

struct File {
    journal: Journal,
    vfs: &'static Vfs,
}

/// A journal.
pub(super) enum Journal {
    /// Of one database, and of one pager.
    Own(Mutex<Scratch>),
    /// Of a transaction over several databases.
    OfSeveral { of: Arc<Super>, hub: Arc<Hub> },
}

impl Journal {
    pub(super) fn own() -> Self {
        Self::Own(Mutex::default())
    }

    /// A super-journal; `None` when it is not there and not to be created.
    pub(super) fn of_several(hub: Arc<Hub>, name: &str, create: bool) -> Option<Self> {
        let of = match create {
            true => hub.supers.open_or_create(name),
            false => hub.supers.find(name)?,
        };
        Some(Self::OfSeveral { of, hub })
    }

    fn content(&self) -> &Mutex<Scratch> {
        match self {
            Self::Own(content) => content,
            Self::OfSeveral { of, .. } => &of.content,
        }
    }

    /// Refuses members of a transaction that is to be atomic and could not be.
    fn check_member(&self, content: &[u8]) -> Result<(), EngineError> {
        let Self::OfSeveral { hub, .. } = self else {
            return Ok(());
        };
        let names = content.split(|byte| *byte == 0).filter(|n| !n.is_empty());
        for name in names {
            let name = String::from_utf8_lossy(name);
            if stores::holding(&name).is_none_or(|other| !Arc::ptr_eq(&other, hub)) {
                return Err(EngineError::Refused(
                    format!(
                        "a transaction over databases of a store and {} could not be atomic",
                        name.strip_suffix("-journal").unwrap_or(&name)
                    )
                    .into(),
                ));
            }
        }
        Ok(())
    }
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
    unlock: lock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// Makes `raw` a file of ours.
///
/// # Safety
/// `raw` has room for [`BYTES`].
pub(super) unsafe fn open(raw: *mut CFile, vfs: &'static Vfs, journal: Journal) {
    let state = Box::into_raw(Box::new(File { journal, vfs }));
    let base = CFile { methods: &METHODS };
    // SAFETY: by the caller.
    unsafe { raw.cast::<RawFile>().write(RawFile { base, state }) };
}

/// # Safety
/// `raw` was opened by [`open`] and not closed.
unsafe fn with(
    name: &'static str,
    raw: *mut CFile,
    on_panic: c_int,
    body: impl FnOnce(&Journal) -> Result<c_int, EngineError>,
) -> c_int {
    // SAFETY: by the caller.
    let file = unsafe { &*(*raw.cast::<RawFile>()).state };
    fence(
        name,
        None,
        || on_panic,
        || match body(&file.journal) {
            Ok(code) => code,
            Err(error) => file.vfs.tell(&OPEN_ERRORS, error),
        },
    )
}

fn failed(error: io::Error) -> EngineError {
    EngineError::Journal(Arc::new(error))
}

unsafe extern "C" fn close(raw: *mut CFile) -> c_int {
    let body = || {
        // SAFETY: SQLite closes a file once; the state was leaked by `open`.
        unsafe {
            (*raw).methods = std::ptr::null();
            drop(Box::from_raw((*raw.cast::<RawFile>()).state));
        }
        codes::SQLITE_OK
    };
    fence("xClose", None, || codes::SQLITE_IOERR_CLOSE, body)
}

unsafe extern "C" fn read(raw: *mut CFile, out: *mut c_void, bytes: c_int, offset: i64) -> c_int {
    let body = |journal: &Journal| {
        let (Ok(bytes), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else {
            return Ok(codes::SQLITE_IOERR_READ);
        };
        // SAFETY: SQLite passes a buffer of `bytes` bytes, which nobody else has.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), bytes) };
        let whole = journal.content().lock().read(out, offset).map_err(failed)?;
        Ok(match whole {
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
    let body = |journal: &Journal| {
        let (Ok(bytes), Ok(offset)) = (usize::try_from(bytes), u64::try_from(offset)) else {
            return Ok(codes::SQLITE_IOERR_WRITE);
        };
        // SAFETY: SQLite passes `bytes` bytes, which nobody changes meanwhile.
        let content = unsafe { std::slice::from_raw_parts(content.cast::<u8>(), bytes) };
        journal.check_member(content)?;
        let mut scratch = journal.content().lock();
        scratch.write(content, offset).map_err(failed)?;
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xWrite", raw, codes::SQLITE_IOERR_WRITE, body) }
}

unsafe extern "C" fn truncate(raw: *mut CFile, bytes: i64) -> c_int {
    let body = |journal: &Journal| {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        journal.content().lock().truncate(bytes).map_err(failed)?;
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xTruncate", raw, codes::SQLITE_IOERR_TRUNCATE, body) }
}

unsafe extern "C" fn file_size(raw: *mut CFile, out: *mut i64) -> c_int {
    let body = |journal: &Journal| {
        let bytes = journal.content().lock().bytes();
        // SAFETY: SQLite passes a valid out-pointer.
        unsafe { *out = i64::try_from(bytes).unwrap_or(i64::MAX) };
        Ok(codes::SQLITE_OK)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFileSize", raw, codes::SQLITE_IOERR_FSTAT, body) }
}

/// A crash takes the journal with what it would undo.
unsafe extern "C" fn sync(_raw: *mut CFile, _flags: c_int) -> c_int {
    codes::SQLITE_OK
}

unsafe extern "C" fn lock(_raw: *mut CFile, _level: c_int) -> c_int {
    codes::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_raw: *mut CFile, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a valid out-pointer.
    unsafe { *out = 0 };
    codes::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _raw: *mut CFile,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    codes::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_raw: *mut CFile) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_raw: *mut CFile) -> c_int {
    0
}
