//! `sqlite3_io_methods`: the main file of one pager, as far as it can be told from a database.
//!
//! ```text
//! Unlinked --link (xOpen of its WAL)--> Linked --the WAL is closed--> Spent (gets no other WAL)
//! ```
//!
//! | call | Unlinked | Linked | Spent |
//! |---|---|---|---|
//! | xFileSize | at least 1, so that SQLite opens the WAL of an empty database | the truth | at least 1 |
//! | xRead | SQLite's probe of the header, from what is shown; nothing else | a page of a snapshot, or its first bytes | as Unlinked |
//! | xFetch | nothing | a page of a snapshot, where the cache has it | nothing |
//! | xLock EXCLUSIVE | granted, it means nothing | `BUSY`: SQLite wants to leave WAL mode | granted |
//!
//! Shared memory is there by its methods alone: the pager opens no WAL over a file without them, and
//! our WAL calls none.
//!
//! Never: writes. SQLite writes to a database of ours through the WAL or not at all.

use crate::fence::fence;
use crate::hub::Hub;
use crate::pages;
use crate::session::Session;
use crate::shown::Shown;
use libsql_ffi as ffi;
use std::cell::{Cell, OnceCell};
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// What SQLite sees of the file: the memory is SQLite's, what `state` points to is ours.
#[repr(C)]
pub(super) struct RawFile {
    base: ffi::sqlite3_file,
    state: *mut File,
}

/// The main file of one pager.
pub(super) struct File {
    hub: Arc<Hub>,
    shown: Shown,
    /// Where SQLite keeps its connection: told by SQLite once, valid as long as the file.
    connection: Cell<*mut *mut ffi::sqlite3>,
    /// Set once. The WAL owns the session: when that is gone, the file is spent.
    session: OnceCell<Weak<Session>>,
    /// What `PRAGMA mmap_size` was told: with 0 SQLite looks at no page in place.
    mmap_bytes: Cell<i64>,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

impl File {
    /// Makes `raw` a file of ours.
    ///
    /// # Safety
    /// `raw` has room for a [`RawFile`].
    pub(super) unsafe fn open(raw: *mut ffi::sqlite3_file, hub: Arc<Hub>, shown: Shown) {
        let state = Box::into_raw(Box::new(Self {
            hub,
            shown,
            connection: Cell::new(std::ptr::null_mut()),
            session: OnceCell::new(),
            mmap_bytes: Cell::new(0),
        }));
        let base = ffi::sqlite3_file { pMethods: &METHODS };
        // SAFETY: by the caller.
        unsafe { raw.cast::<RawFile>().write(RawFile { base, state }) };
    }

    /// The file behind `raw`, when it is one of ours.
    ///
    /// # Safety
    /// `raw` is an open file; the reference is not kept past the callback.
    pub(super) unsafe fn of<'a>(raw: *mut ffi::sqlite3_file) -> Option<&'a Self> {
        // SAFETY: by the caller. Only `open` stores this table, together with a valid state.
        unsafe {
            let ours = std::ptr::eq((*raw).pMethods, &raw const METHODS);
            ours.then(|| &*(*raw.cast::<RawFile>()).state)
        }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Links the session of the file's WAL; `false` when the file had one before.
    pub(super) fn link(&self, session: &Rc<Session>) -> bool {
        self.session.set(Rc::downgrade(session)).is_ok()
    }

    /// The connection that has the file open; null when SQLite did not say.
    pub(super) fn connection(&self) -> *mut ffi::sqlite3 {
        let place = self.connection.get();
        if place.is_null() {
            return std::ptr::null_mut();
        }
        // SAFETY: SQLite's own pointer to its connection, which it frees after it closed the file.
        unsafe { *place }
    }

    /// Files that the connection has a write transaction on. Neither a database in memory nor the
    /// temporary one has a name.
    ///
    /// # Safety
    /// Called from inside of a call of the connection, on its thread.
    pub(super) unsafe fn files_written(&self) -> usize {
        let connection = self.connection();
        if connection.is_null() {
            return 0;
        }
        // SAFETY: the connection is open; a number that is none is answered by null.
        let schema = |nth| unsafe { ffi::sqlite3_db_name(connection, nth) };
        let schemas = (0..).map(schema).take_while(|name| !name.is_null());
        // SAFETY: the name of a schema of this connection, which nobody changes during the call.
        let is_written = |name: &*const c_char| unsafe {
            let file = ffi::sqlite3_db_filename(connection, *name);
            let named = !file.is_null() && *file != 0;
            named && ffi::sqlite3_txn_state(connection, *name) == ffi::SQLITE_TXN_WRITE
        };
        schemas.filter(is_written).count()
    }

    fn linked(&self) -> Option<Rc<Session>> {
        self.session.get().and_then(Weak::upgrade)
    }

    fn read(&self, out: &mut [u8], offset: i64) -> c_int {
        if let Some(session) = self.linked() {
            let read = u64::try_from(offset).map_or(Ok(None), |at| session.read_file(at, out));
            return match read {
                Ok(Some(())) => ffi::SQLITE_OK,
                Ok(None) => ffi::SQLITE_CANTOPEN,
                Err(error) => session.errors().record(error),
            };
        }
        // Immutable opens, which read pages here, are refused; so is reading without our WAL.
        if offset != 0 || out.len() > crate::page_one::HEADER_BYTES {
            return ffi::SQLITE_CANTOPEN;
        }
        match pages::read_header(&self.shown, out) {
            Ok(true) => ffi::SQLITE_OK,
            Ok(false) => ffi::SQLITE_IOERR_SHORT_READ,
            Err(error) => self.hub.open_errors().record(error),
        }
    }

    /// The page at `offset`, where it is; null for one that SQLite has to read.
    fn fetch(&self, offset: i64, bytes: usize) -> Result<*const u8, c_int> {
        let offset = u64::try_from(offset).ok();
        let page = offset.and_then(|offset| pages::page_at(offset, bytes as u64));
        let (Some(session), Some(page)) = (self.linked(), page) else {
            return Ok(ptr::null());
        };
        let lent = session.lend_page(page, bytes);
        let lent = lent.map_err(|error| session.errors().record(error))?;
        Ok(lent.unwrap_or(ptr::null()))
    }

    fn size(&self) -> Result<u64, c_int> {
        match self.linked() {
            Some(session) => session
                .file_bytes()
                .map_err(|error| session.errors().record(error)),
            None => Ok(1),
        }
    }
}

/// # Safety
/// `raw` was opened by [`File::open`] and not closed.
unsafe fn with(
    name: &'static str,
    raw: *mut ffi::sqlite3_file,
    on_panic: c_int,
    body: impl FnOnce(&File) -> c_int,
) -> c_int {
    // SAFETY: by the caller.
    let file = unsafe { &*(*raw.cast::<RawFile>()).state };
    fence(
        name,
        Some(file.hub.open_errors()),
        || on_panic,
        || body(file),
    )
}

unsafe extern "C" fn close(raw: *mut ffi::sqlite3_file) -> c_int {
    let body = || {
        // SAFETY: SQLite closes a file once; the state was leaked by `File::open`.
        unsafe {
            (*raw).pMethods = std::ptr::null();
            drop(Box::from_raw((*raw.cast::<RawFile>()).state));
        }
        ffi::SQLITE_OK
    };
    fence("xClose", None, || ffi::SQLITE_IOERR_CLOSE, body)
}

unsafe extern "C" fn read(
    raw: *mut ffi::sqlite3_file,
    out: *mut c_void,
    bytes: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    let body = |file: &File| {
        let Ok(bytes) = usize::try_from(bytes) else {
            return ffi::SQLITE_IOERR_READ;
        };
        // SAFETY: SQLite passes a buffer of `bytes` bytes, which nobody else has.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), bytes) };
        file.read(out, offset)
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xRead", raw, ffi::SQLITE_IOERR_READ, body) }
}

/// The pager that asks writes to no page that it got here: it knows such pages by a mark.
unsafe extern "C" fn fetch(
    raw: *mut ffi::sqlite3_file,
    offset: ffi::sqlite3_int64,
    bytes: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let body = |file: &File| {
        let bytes = usize::try_from(bytes).unwrap_or(0);
        let (place, code) = match file.fetch(offset, bytes) {
            Ok(place) => (place, ffi::SQLITE_OK),
            Err(code) => (ptr::null(), code),
        };
        // SAFETY: SQLite passes a valid out-pointer.
        unsafe { *out = place.cast_mut().cast() };
        code
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFetch", raw, ffi::SQLITE_IOERR_READ, body) }
}

/// Null for all pages at once, when none is lent: nothing is mapped.
unsafe extern "C" fn unfetch(
    raw: *mut ffi::sqlite3_file,
    _offset: ffi::sqlite3_int64,
    page: *mut c_void,
) -> c_int {
    let body = |file: &File| {
        // Before the WAL is closed the pager has given back everything.
        if let Some(session) = file.linked() {
            session.take_page_back(page.cast());
        }
        ffi::SQLITE_OK
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xUnfetch", raw, ffi::SQLITE_IOERR, body) }
}

unsafe extern "C" fn write(
    _raw: *mut ffi::sqlite3_file,
    _content: *const c_void,
    _bytes: c_int,
    _offset: ffi::sqlite3_int64,
) -> c_int {
    ffi::SQLITE_IOERR_WRITE
}

unsafe extern "C" fn truncate(_raw: *mut ffi::sqlite3_file, _bytes: ffi::sqlite3_int64) -> c_int {
    ffi::SQLITE_IOERR_TRUNCATE
}

unsafe extern "C" fn sync(_raw: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(raw: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    let body = |file: &File| match file.size() {
        Ok(bytes) => {
            // SAFETY: SQLite passes a valid out-pointer.
            unsafe { *out = i64::try_from(bytes).unwrap_or(i64::MAX) };
            ffi::SQLITE_OK
        }
        Err(code) => code,
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFileSize", raw, ffi::SQLITE_IOERR_FSTAT, body) }
}

unsafe extern "C" fn lock(raw: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    let body = |file: &File| {
        if level == ffi::SQLITE_LOCK_EXCLUSIVE && file.linked().is_some() {
            return ffi::SQLITE_BUSY;
        }
        ffi::SQLITE_OK
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xLock", raw, ffi::SQLITE_IOERR_LOCK, body) }
}

unsafe extern "C" fn unlock(_raw: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_raw: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite passes a valid out-pointer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    raw: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    let body = |file: &File| match operation {
        // SAFETY: for this operation SQLite passes three strings, the first one for the answer.
        ffi::SQLITE_FCNTL_PRAGMA => unsafe { pragma(argument.cast()) },
        ffi::SQLITE_FCNTL_VFSNAME => {
            // SAFETY: for this operation SQLite passes a place for a string that it frees.
            unsafe { *argument.cast::<*mut c_char>() = copy_for_sqlite(file.hub.vfs_name()) };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_PDB => {
            if file.connection.get().is_null() {
                file.connection.set(argument.cast());
            }
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_MMAP_SIZE => {
            // SAFETY: for this operation SQLite passes a place for a number; negative, it asks for what is set.
            let bytes = unsafe { &mut *argument.cast::<ffi::sqlite3_int64>() };
            let wanted = std::mem::replace(bytes, file.mmap_bytes.get());
            if wanted >= 0 {
                file.mmap_bytes.set(wanted);
            }
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_HAS_MOVED => {
            // SAFETY: for this operation SQLite passes a place for a number.
            unsafe { *argument.cast::<c_int>() = 0 };
            ffi::SQLITE_OK
        }
        _ => ffi::SQLITE_NOTFOUND,
    };
    // SAFETY: a file of ours: its table has this function.
    unsafe { with("xFileControl", raw, ffi::SQLITE_NOTFOUND, body) }
}

/// Answers the pragmas that would take a database out of our hands with the mode that is in force.
///
/// # Safety
/// `strings` are the three of SQLITE_FCNTL_PRAGMA: answer, name, argument.
unsafe fn pragma(strings: *mut *mut c_char) -> c_int {
    // SAFETY: by the caller; the name is never null.
    let name = unsafe { CStr::from_ptr(*strings.add(1)) };
    let answer = match name.to_bytes().to_ascii_lowercase().as_slice() {
        b"journal_mode" => "wal",
        b"locking_mode" => "normal",
        _ => return ffi::SQLITE_NOTFOUND,
    };
    // SAFETY: by the caller; SQLite frees the answer.
    unsafe { *strings = copy_for_sqlite(answer) };
    ffi::SQLITE_OK
}

/// A copy of `text` that SQLite frees; null when there is no memory.
fn copy_for_sqlite(text: &str) -> *mut c_char {
    let bytes = text.len();
    // SAFETY: allocates; the result is checked.
    let copy = unsafe { ffi::sqlite3_malloc64(bytes as u64 + 1) }.cast::<u8>();
    if !copy.is_null() {
        // SAFETY: `copy` has room for the text and its end, and overlaps nothing.
        unsafe {
            copy.copy_from_nonoverlapping(text.as_ptr(), bytes);
            *copy.add(bytes) = 0;
        }
    }
    copy.cast()
}

unsafe extern "C" fn sector_size(_raw: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_raw: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// Whoever asks has a WAL of its own: SQLite's, over a database of ours.
unsafe extern "C" fn shm_map(
    _raw: *mut ffi::sqlite3_file,
    _region: c_int,
    _bytes: c_int,
    _extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite passes a valid out-pointer.
    unsafe { *out = std::ptr::null_mut() };
    ffi::SQLITE_IOERR_SHMMAP
}

unsafe extern "C" fn shm_lock(
    _raw: *mut ffi::sqlite3_file,
    _first: c_int,
    _count: c_int,
    _flags: c_int,
) -> c_int {
    ffi::SQLITE_IOERR_SHMLOCK
}

unsafe extern "C" fn shm_barrier(_raw: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn shm_unmap(_raw: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    ffi::SQLITE_OK
}
