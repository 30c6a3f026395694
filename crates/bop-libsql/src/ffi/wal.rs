//! `libsql_wal_methods`: one trampoline per call, each into the pager's [`Session`].
//!
//! Which code a call may answer is SQLite's business and stands beside each. A page's number serves
//! as its frame number: never 0, but where SQLite may look at the page in the file's place ([`File`]).

use super::file::File;
use super::waiting::Waiter;
use crate::EngineError;
use crate::fence::fence;
use crate::lent::Hot;
use crate::session::{Frames, NotUndone, Session};
use bop_storage::Durability;
use bop_storage::ids::PageNo;
use libsql_ffi as ffi;
use std::os::raw::{c_int, c_longlong, c_uchar, c_uint, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

/// What stands behind a `wal_impl` pointer of ours.
pub(super) struct Wal {
    session: Rc<Session>,
    waiter: Option<Arc<Waiter>>,
    file: *mut ffi::sqlite3_file,
    hot: Hot,
}

/// Fills SQLite's table for a new WAL object.
///
/// # Safety
/// `out` is valid for writing; `file` outlives the WAL object.
pub(super) unsafe fn fill(
    out: *mut ffi::libsql_wal,
    session: Rc<Session>,
    file: *mut ffi::sqlite3_file,
) {
    // SAFETY: by the caller, a file that is open.
    let connection = unsafe { File::of(file) }.map_or(ptr::null_mut(), File::connection);
    let waiter = session
        .place()
        .map(|place| Waiter::new(Arc::clone(place), connection));
    let wal = Box::into_raw(Box::new(Wal {
        session,
        waiter,
        file,
        hot: Hot::default(),
    }));
    // SAFETY: the caller gives a valid `out`.
    unsafe {
        (*out).methods = methods();
        (*out).pData = wal.cast();
    }
}

/// Ends a WAL object.
///
/// # Safety
/// `wal` came from [`fill`] and is not used again.
pub(super) unsafe fn free(wal: *mut ffi::wal_impl) {
    // SAFETY: by the caller, this is the box that `fill` leaked, and it is freed once.
    let wal = unsafe { Box::from_raw(wal.cast::<Wal>()) };
    wal.session.leave();
    if let Some(waiter) = &wal.waiter {
        waiter.forget();
    }
}

fn methods() -> ffi::libsql_wal_methods {
    ffi::libsql_wal_methods {
        iVersion: 2,
        xLimit: Some(limit),
        xBeginReadTransaction: Some(begin_read),
        xEndReadTransaction: Some(end_read),
        xFindFrame: Some(find_frame),
        xReadFrame: Some(read_frame),
        xReadFrameRaw: Some(read_frame_raw),
        xDbsize: Some(db_size),
        xBeginWriteTransaction: Some(begin_write),
        xEndWriteTransaction: Some(end_write),
        xUndo: Some(undo),
        xSavepoint: Some(savepoint),
        xSavepointUndo: Some(savepoint_undo),
        xFrameCount: Some(frame_count),
        xFrames: Some(frames),
        xCheckpoint: Some(checkpoint),
        xCallback: Some(callback),
        xExclusiveMode: Some(exclusive_mode),
        xHeapMemory: Some(heap_memory),
        // Compiled in only under flags that this SQLite does not have.
        xSnapshotGet: None,
        xSnapshotOpen: None,
        xSnapshotRecover: None,
        xSnapshotCheck: None,
        xSnapshotUnlock: None,
        xFramesize: None,
        xFile: Some(file),
        xWriteLock: None,
        xDb: None,
        xSavepointForget: Some(savepoint_forget),
    }
}

/// Runs `body` with the WAL behind the pointer; a panic rolls its transaction back.
///
/// # Safety
/// `wal` came from [`fill`] and was not freed.
unsafe fn with<T>(
    name: &'static str,
    wal: *mut ffi::wal_impl,
    on_panic: T,
    body: impl FnOnce(&Wal) -> T,
) -> T {
    // SAFETY: by the caller. The box is only ever borrowed shared, also when a callback re-enters.
    let wal = unsafe { &*wal.cast::<Wal>() };
    let abandon = || {
        wal.session.abandon();
        on_panic
    };
    fence(name, Some(wal.session.errors()), abandon, || body(wal))
}

impl Wal {
    fn code(&self, result: Result<(), EngineError>) -> c_int {
        match result {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => self.session.errors().record(error),
        }
    }
}

/// PRAGMA journal_size_limit: the log has limits of its own.
unsafe extern "C" fn limit(_wal: *mut ffi::wal_impl, _bytes: c_longlong) {}

unsafe extern "C" fn begin_read(wal: *mut ffi::wal_impl, changed: *mut c_int) -> c_int {
    let body = |wal: &Wal| match wal.session.begin_read() {
        Ok(moved) => {
            // SAFETY: SQLite passes a valid out-pointer.
            unsafe { *changed = c_int::from(moved) };
            ffi::SQLITE_OK
        }
        Err(error) => wal.session.errors().record(error),
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xBeginReadTransaction", wal, ffi::SQLITE_IOERR, body) }
}

unsafe extern "C" fn end_read(wal: *mut ffi::wal_impl) {
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xEndReadTransaction", wal, (), |wal| wal.session.end_read()) }
}

/// 0, "it is in the file", for what is only read, and not again and again: of the file SQLite then asks `xFetch`,
/// and `xRead` where it has no use for a whole page or wants none in place.
unsafe extern "C" fn find_frame(
    wal: *mut ffi::wal_impl,
    page: c_uint,
    frame: *mut c_uint,
) -> c_int {
    let body = |wal: &Wal| {
        let in_place = page > 1 && wal.session.lends() && !wal.hot.comes_again(page);
        // SAFETY: SQLite passes a valid out-pointer.
        unsafe { *frame = if in_place { 0 } else { page } };
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xFindFrame", wal, ffi::SQLITE_IOERR, body) }
}

unsafe extern "C" fn read_frame(
    wal: *mut ffi::wal_impl,
    frame: c_uint,
    bytes: c_int,
    out: *mut c_uchar,
) -> c_int {
    let body = |wal: &Wal| {
        let (Some(page), Ok(bytes)) = (PageNo::new(frame), usize::try_from(bytes)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        // SAFETY: SQLite passes a buffer of `bytes` bytes, which nobody else has.
        let out = unsafe { std::slice::from_raw_parts_mut(out, bytes) };
        wal.code(wal.session.read_page(page, out))
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xReadFrame", wal, ffi::SQLITE_IOERR_READ, body) }
}

/// Frames are no thing of ours: what asks for them bypasses the pager.
unsafe extern "C" fn read_frame_raw(
    _wal: *mut ffi::wal_impl,
    _frame: c_uint,
    _bytes: c_int,
    _out: *mut c_uchar,
) -> c_int {
    ffi::SQLITE_ERROR
}

unsafe extern "C" fn db_size(wal: *mut ffi::wal_impl) -> c_uint {
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xDbsize", wal, 0, |wal| wal.session.page_count()) }
}

/// May answer `BUSY`: SQLite calls the busy handler, outside of any lock of ours, and comes back, unless
/// it is interrupted.
unsafe extern "C" fn begin_write(wal: *mut ffi::wal_impl) -> c_int {
    let body = |wal: &Wal| {
        let code = wal.code(wal.session.begin_write());
        match &wal.waiter {
            Some(waiter) if code & 0xff == ffi::SQLITE_BUSY => {
                if waiter.is_interrupted() {
                    return ffi::SQLITE_INTERRUPT;
                }
                waiter.note();
            }
            _ => {}
        }
        code
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xBeginWriteTransaction", wal, ffi::SQLITE_IOERR, body) }
}

/// OK where the commit has been decided in `xFrames`. A commit of several databases is decided here:
/// the errors of a commit are `FULL` or of the `IOERR` family, after which the pager forgets its cache;
/// any other code would leave uncommitted pages in it.
unsafe extern "C" fn end_write(wal: *mut ffi::wal_impl) -> c_int {
    let body = |wal: &Wal| wal.code(wal.session.end_write());
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xEndWriteTransaction", wal, ffi::SQLITE_IOERR, body) }
}

/// Passes on what its callback answers, which comes from `xReadFrame`: always of the IOERR family, so
/// that the pager believes nothing of its cache. Nor may it where there is nothing left to undo.
unsafe extern "C" fn undo(
    wal: *mut ffi::wal_impl,
    reload: Option<unsafe extern "C" fn(*mut c_void, c_uint) -> c_int>,
    context: *mut c_void,
) -> c_int {
    let body = |wal: &Wal| {
        let reload = |page: PageNo| match reload {
            // SAFETY: the callback and its context are the pager's own; it expects to be called
            // back from here, and no state of ours is borrowed while it runs.
            Some(reload) => unsafe { reload(context, page.get()) },
            None => ffi::SQLITE_OK,
        };
        match wal.session.undo(reload) {
            Ok(()) => ffi::SQLITE_OK,
            Err(NotUndone::Reload(code)) => code,
            Err(NotUndone::Unknown) => ffi::SQLITE_IOERR,
        }
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xUndo", wal, ffi::SQLITE_IOERR, body) }
}

/// The four words are ours to use: the first two hold the savepoint.
unsafe extern "C" fn savepoint(wal: *mut ffi::wal_impl, words: *mut c_uint) {
    let body = |wal: &Wal| {
        let [low, high] = split(wal.session.savepoint());
        // SAFETY: SQLite passes four words.
        unsafe {
            *words = low;
            *words.add(1) = high;
        }
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xSavepoint", wal, (), body) }
}

unsafe extern "C" fn savepoint_undo(wal: *mut ffi::wal_impl, words: *mut c_uint) -> c_int {
    let body = |wal: &Wal| {
        // SAFETY: SQLite passes the four words that `savepoint` filled.
        let (low, high) = unsafe { (*words, *words.add(1)) };
        wal.session.rollback_to(join([low, high]));
        ffi::SQLITE_OK
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xSavepointUndo", wal, ffi::SQLITE_IOERR, body) }
}

/// Does not come for the savepoints that end with their transaction.
unsafe extern "C" fn savepoint_forget(wal: *mut ffi::wal_impl, words: *mut c_uint) {
    let body = |wal: &Wal| {
        // SAFETY: SQLite passes the four words that `savepoint` filled.
        let (low, high) = unsafe { (*words, *words.add(1)) };
        wal.session.forget(join([low, high]));
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xSavepointForget", wal, (), body) }
}

fn split(savepoint: u64) -> [u32; 2] {
    let mask = u64::from(u32::MAX);
    [savepoint & mask, savepoint >> 32].map(|word| u32::try_from(word).unwrap_or(u32::MAX))
}

fn join([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// With `locked`, whoever asks wants to put frames of its own into the log: refused.
unsafe extern "C" fn frame_count(
    _wal: *mut ffi::wal_impl,
    locked: c_int,
    count: *mut c_uint,
) -> c_int {
    if locked != 0 {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: SQLite passes a valid out-pointer.
    unsafe { *count = 0 };
    ffi::SQLITE_OK
}

/// Answers any code but `BUSY`, after which an explicit transaction would stay open.
unsafe extern "C" fn frames(
    wal: *mut ffi::wal_impl,
    page_bytes: c_int,
    list: *mut ffi::libsql_pghdr,
    page_count: c_uint,
    is_commit: c_int,
    sync_flags: c_int,
    frame_count: *mut c_int,
) -> c_int {
    let body = |wal: &Wal| {
        if !frame_count.is_null() {
            // SAFETY: not null, so SQLite passes a valid out-pointer.
            unsafe { *frame_count = 0 };
        }
        let frames = Frames {
            page_size: i64::from(page_bytes),
            commit_page_count: (is_commit != 0).then_some(page_count),
            durability: durability(sync_flags),
        };
        let pages = DirtyPages {
            // SAFETY: SQLite passes a list of pages that the pager keeps during the call.
            next: unsafe { list.as_ref() },
            page_bytes: usize::try_from(page_bytes).unwrap_or(0),
        };
        // SAFETY: the file outlives its WAL, and SQLite is in a call of its connection.
        let files_written = || unsafe { File::of(wal.file).map_or(0, |file| file.files_written()) };
        wal.code(wal.session.frames(frames, pages, files_written))
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xFrames", wal, ffi::SQLITE_IOERR_WRITE, body) }
}

/// What `PRAGMA synchronous` asks of a commit: the low two bits are set from FULL on, as in
/// `sqlite3WalFrames`.
fn durability(sync_flags: c_int) -> Durability {
    if sync_flags & 3 == 0 {
        Durability::RELAXED
    } else {
        Durability::Full
    }
}

/// The pager's list of dirty pages, valid during one `xFrames` call.
struct DirtyPages<'call> {
    next: Option<&'call ffi::libsql_pghdr>,
    page_bytes: usize,
}

impl<'call> Iterator for DirtyPages<'call> {
    type Item = (PageNo, &'call [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.next?;
        // SAFETY: null, or the next header of the list, which is as valid as this one.
        self.next = unsafe { header.pDirty.as_ref() };
        // SAFETY: `pData` has one page, and nobody writes to it during the call.
        let content =
            unsafe { std::slice::from_raw_parts(header.pData.cast::<u8>(), self.page_bytes) };
        PageNo::new(header.pgno).map(|page| (page, content))
    }
}

type BusyHandler = Option<unsafe extern "C" fn(*mut c_void) -> c_int>;
type PageObserver =
    Option<unsafe extern "C" fn(*mut c_void, c_int, *const c_uchar, c_int, c_int, c_int) -> c_int>;

/// PASSIVE must not block and has nothing to do: the engine checkpoints by itself. The other modes
/// checkpoint the whole store and return when that is done.
unsafe extern "C" fn checkpoint(
    wal: *mut ffi::wal_impl,
    _db: *mut ffi::sqlite3,
    mode: c_int,
    _busy: BusyHandler,
    _busy_context: *mut c_void,
    _sync_flags: c_int,
    _buffer_bytes: c_int,
    _buffer: *mut c_uchar,
    frames_in_log: *mut c_int,
    frames_done: *mut c_int,
    _observer: PageObserver,
    _observer_context: *mut c_void,
) -> c_int {
    let body = |wal: &Wal| {
        for out in [frames_in_log, frames_done] {
            if !out.is_null() {
                // SAFETY: not null, so SQLite passes a valid out-pointer.
                unsafe { *out = 0 };
            }
        }
        if mode == ffi::SQLITE_CHECKPOINT_PASSIVE {
            return ffi::SQLITE_OK;
        }
        let done = wal.session.hub().manager().checkpoint();
        wal.code(done.map(drop).map_err(EngineError::from))
    };
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xCheckpoint", wal, ffi::SQLITE_IOERR, body) }
}

/// For `sqlite3_wal_hook`: pages of the newest commit, once.
unsafe extern "C" fn callback(wal: *mut ffi::wal_impl) -> c_int {
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe {
        with("xCallback", wal, 0, |wal| {
            wal.session.take_committed_pages()
        })
    }
}

/// 0: locking_mode=EXCLUSIVE takes nothing from others.
unsafe extern "C" fn exclusive_mode(_wal: *mut ffi::wal_impl, _operation: c_int) -> c_int {
    0
}

/// 1: the locking mode stays as it is.
unsafe extern "C" fn heap_memory(_wal: *mut ffi::wal_impl) -> c_int {
    1
}

/// There is no file of the log to show; the database's own is harmless.
unsafe extern "C" fn file(wal: *mut ffi::wal_impl) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite passes the pointer that it got from `fill`.
    unsafe { with("xFile", wal, ptr::null_mut(), |wal| wal.file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_savepoint_survives_the_two_words() {
        for savepoint in [0, 1, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            assert_eq!(join(split(savepoint)), savepoint);
        }
    }
}
