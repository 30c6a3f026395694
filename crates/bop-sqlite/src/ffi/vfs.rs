//! `sqlite3_vfs`: the VFS `bop`, once for each SQLite that it is registered with.
//!
//! A name that means a database of a store (see `names`) is opened as one. Its journals are named after it
//! and are ours, too. A path, a temporary file, and every question about the machine goes to the base VFS
//! with the base's own files: we are not asked about those again.
//!
//! Invariants
//! - a table that SQLite has seen is never freed or unregistered: somebody may still name it;
//! - a journal of ours is never a file, and no WAL of ours can be opened;
//! - no name is longer than the base VFS takes it: SQLite copies names into memory of that size without
//!   looking, those of journals and of super-journals too.

use super::base;
use super::c::{self, CFile, CVfs, Calls};
use super::file;
use super::host::Host;
use super::journal;
use crate::commit;
use crate::door::Door;
use crate::hub::Hub;
use crate::names::{self, Known, Located};
use crate::stores;
use crate::visit;
use bop_control::SqlDoor;
use bop_sqlite_common::codes;
use bop_sqlite_common::engine_error::{EngineError, ErrorSlot};
use bop_sqlite_common::fence::fence;
use bop_sqlite_common::functions::Functions;
use parking_lot::Mutex;
use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr};
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

/// The name of the VFS.
pub(super) const NAME: &CStr = c"bop";

/// What SQLite puts behind the name of a database for its longest other file, a super-journal: `-mj` and nine digits.
const SUFFIX_BYTES: usize = 12;

/// One table.
pub(super) struct Vfs {
    /// Written by SQLite (its list), and by us before it is first registered.
    table: *mut CVfs,
    base: *mut CVfs,
    pub(super) calls: Calls,
    is_default: AtomicBool,
    /// The SQLite as one that runs SQL for others, or why not; unset where it did not load the extension.
    host: OnceLock<Result<Host, String>>,
}

// SAFETY: `table` is changed only by SQLite, under its mutex; `base` and `calls` are never changed.
unsafe impl Send for Vfs {}
// SAFETY: as above; the rest is atomic.
unsafe impl Sync for Vfs {}

static ALL: Mutex<Vec<&'static Vfs>> = Mutex::new(Vec::new());
/// Errors of opening, before there is a store to keep them.
pub(super) static OPEN_ERRORS: LazyLock<ErrorSlot> = LazyLock::new(ErrorSlot::default);

/// Registers the VFS with a SQLite, or makes it the default one there.
///
/// # Errors
/// [`EngineError::Refused`]: an old SQLite, or one that takes no VFS.
pub(crate) fn register(functions: &Functions, make_default: bool) -> Result<(), EngineError> {
    registered(functions, make_default).map(drop)
}

/// As [`register`]; answers what is registered.
pub(super) fn registered(
    functions: &Functions,
    make_default: bool,
) -> Result<&'static Vfs, EngineError> {
    let calls = Calls::of(functions);
    // SAFETY: takes no arguments and reads a constant.
    let version = unsafe { (calls.libversion_number)() };
    if version < c::VERSION_MIN {
        let text = format!("SQLite {version} is older than 3.31");
        return Err(EngineError::Refused(text.into()));
    }
    let mut all = ALL.lock();
    let known = all
        .iter()
        .find(|vfs| std::ptr::fn_addr_eq(vfs.calls.vfs_find, calls.vfs_find));
    let vfs = match known {
        Some(vfs) => *vfs,
        None => {
            let vfs = Vfs::leak(calls)?;
            all.push(vfs);
            vfs
        }
    };
    let is_default = make_default || vfs.is_default.load(Ordering::Relaxed);
    vfs.is_default.store(is_default, Ordering::Relaxed);
    // SAFETY: the table is complete and never freed.
    let code = unsafe { (vfs.calls.vfs_register)(vfs.table, c_int::from(is_default)) };
    match code {
        codes::SQLITE_OK => Ok(vfs),
        code => Err(EngineError::Refused(
            format!("SQLite took no further VFS: result code {code}").into(),
        )),
    }
}

impl Vfs {
    fn leak(calls: Calls) -> Result<&'static Self, EngineError> {
        // SAFETY: null asks for the default VFS, which is there for the life of the process.
        let base = unsafe { (calls.vfs_find)(std::ptr::null()) };
        if base.is_null() {
            return Err(EngineError::Refused("SQLite has no VFS".into()));
        }
        // SAFETY: `base` is valid.
        let table = Box::leak(Box::new(unsafe { table_over(base) }));
        let vfs: &'static Self = Box::leak(Box::new(Self {
            table,
            base,
            calls,
            is_default: AtomicBool::new(false),
            host: OnceLock::new(),
        }));
        // SAFETY: nobody else knows the table yet.
        unsafe { (*vfs.table).data = std::ptr::from_ref(vfs).cast_mut().cast() };
        Ok(vfs)
    }

    /// Keeps what is found out about the SQLite that loads the extension, the first time that it does. To find it
    /// out opens a connection, and a program may load the extension into each one: that one finds out nothing.
    pub(super) fn set_host(&self, find: impl FnOnce() -> Result<Host, String>) {
        thread_local! {
            static FINDS: Cell<bool> = const { Cell::new(false) };
        }
        if self.host.get().is_none() && !FINDS.replace(true) {
            // Somebody may have been faster, and has found out the same.
            let _ = self.host.set(find());
            FINDS.set(false);
        }
    }

    /// The door by which others run SQL in this SQLite.
    fn door(&self, hub: &Arc<Hub>) -> Option<Arc<dyn SqlDoor>> {
        let host = self.host.get()?.clone();
        Some(Arc::new(Door::new(hub, host)))
    }

    /// Keeps an error, tells it to SQLite's log, and gives its code.
    pub(super) fn tell(&self, slot: &ErrorSlot, error: EngineError) -> c_int {
        tell(&self.calls, slot, error)
    }

    /// The database that a main file's name means.
    ///
    /// # Safety
    /// `name` is a main database's name as SQLite passes it, which has parameters behind it.
    unsafe fn locate(&self, name: *const c_char) -> Result<Option<Located>, EngineError> {
        // SAFETY: by the caller.
        let parameter = unsafe { (self.calls.uri_parameter)(name, c"store".as_ptr()) };
        // SAFETY: null, or a string that lives as long as the name.
        let parameter = (!parameter.is_null()).then(|| unsafe { path_of(parameter) });
        // SAFETY: a string.
        let Ok(name) = (unsafe { CStr::from_ptr(name) }).to_str() else {
            return Ok(None);
        };
        // Whoever visits a store can name no other.
        let visited = visit::visited().map(|hub| hub.manager().path().to_owned());
        let parameter = visited.or(parameter);
        let environment = std::env::var_os("BOP_STORE").filter(|value| !value.is_empty());
        let is_default = self.is_default.load(Ordering::Relaxed);
        let known = Known {
            parameter,
            environment: environment.map(PathBuf::from),
            open: stores::directories(),
            is_default,
        };
        match names::locate(name, &known, names::is_store) {
            None if !is_default && !name.contains('/') => Err(EngineError::Refused(
                format!("no store is named for {name:?}: file:{name}?vfs=bop&store=DIR").into(),
            )),
            found => Ok(found),
        }
    }

    /// Refuses what would show a mixture of states, or hand one connection's file to another.
    ///
    /// # Safety
    /// `name` is a main database's name as SQLite passes it.
    unsafe fn refuse_parameters(&self, name: *const c_char) -> Result<(), EngineError> {
        for parameter in [c"immutable", c"nolock"] {
            // SAFETY: by the caller.
            if unsafe { (self.calls.uri_boolean)(name, parameter.as_ptr(), 0) } != 0 {
                // A database of ours changes, and what is read without a lock is not of one state.
                let text = format!("{}=1 on a database of a store", parameter.to_string_lossy());
                return Err(EngineError::Refused(text.into()));
            }
        }
        // SAFETY: by the caller.
        let cache = unsafe { (self.calls.uri_parameter)(name, c"cache".as_ptr()) };
        // SAFETY: null, or a string that lives as long as the name.
        if !cache.is_null() && unsafe { CStr::from_ptr(cache) } == c"shared" {
            return Err(EngineError::Refused(
                "cache=shared on a database of a store".into(),
            ));
        }
        Ok(())
    }

    /// Opens a database as `file`, and leaves in `flags` how.
    ///
    /// # Safety
    /// `name` is a main database's name as SQLite passes it, and `file` has room for a file.
    unsafe fn open_database(
        &'static self,
        located: &Located,
        name: *const c_char,
        file: *mut CFile,
        flags: &mut c_int,
    ) -> Result<(), EngineError> {
        // SAFETY: by the caller.
        unsafe { self.refuse_parameters(name) }?;
        let create = *flags & c::OPEN_CREATE != 0;
        let full_name = located
            .full_name()
            .ok_or_else(|| EngineError::Refused("the store's path is no text".into()))?;
        let guest = stores::enter(&located.store, create, |hub| self.door(hub))?;
        let shown = guest.hub().find(&located.name, create)?;
        if shown.is_state() {
            // SQLite then refuses every write by itself.
            *flags &= !(c::OPEN_READWRITE | c::OPEN_CREATE);
            *flags |= c::OPEN_READONLY;
        }
        // SAFETY: by the caller.
        unsafe { file::open(file, self, guest, full_name, &located.name, shown) };
        Ok(())
    }
}

/// Keeps an error, tells it to SQLite's log, and gives its code.
pub(super) fn tell(calls: &Calls, slot: &ErrorSlot, error: EngineError) -> c_int {
    let text = CString::new(format!("bop: {error}")).unwrap_or_default();
    let code = slot.record(error);
    if code & 0xff != codes::SQLITE_BUSY {
        // SAFETY: a format with one string, and that string.
        unsafe { (calls.log)(code, c"%s".as_ptr(), text.as_ptr()) };
    }
    code
}

/// # Safety
/// `base` is a valid VFS.
unsafe fn table_over(base: *mut CVfs) -> CVfs {
    // SAFETY: by the caller.
    let (version, file_bytes, path_bytes) =
        unsafe { ((*base).version, (*base).file_bytes, (*base).path_bytes) };
    let own_bytes = file::BYTES.max(journal::BYTES);
    CVfs {
        version: version.min(2),
        file_bytes: file_bytes.max(c_int::try_from(own_bytes).unwrap_or(c_int::MAX)),
        path_bytes,
        next: std::ptr::null_mut(),
        name: NAME.as_ptr(),
        data: std::ptr::null_mut(),
        open: Some(open),
        delete: Some(delete),
        access: Some(access),
        full_pathname: Some(full_pathname),
        dl_open: Some(base::dl_open),
        dl_error: Some(base::dl_error),
        dl_sym: Some(base::dl_sym),
        dl_close: Some(base::dl_close),
        randomness: Some(base::randomness),
        sleep: Some(base::sleep),
        current_time: Some(base::current_time),
        last_error: Some(base::last_error),
        current_time_64: Some(base::current_time_64),
    }
}

/// # Safety
/// `vfs` is a table of ours.
unsafe fn of(vfs: *mut CVfs) -> &'static Vfs {
    // SAFETY: by the caller; the `Vfs` is never freed.
    unsafe { &*(*vfs).data.cast::<Vfs>() }
}

/// # Safety
/// `vfs` is a table of ours.
pub(super) unsafe fn base_of(vfs: *mut CVfs) -> *mut CVfs {
    // SAFETY: by the caller.
    unsafe { of(vfs) }.base
}

/// # Safety
/// `text` is a string.
unsafe fn path_of(text: *const c_char) -> PathBuf {
    // SAFETY: by the caller.
    PathBuf::from(OsStr::from_bytes(
        unsafe { CStr::from_ptr(text) }.to_bytes(),
    ))
}

/// The open store that a journal's name is in.
///
/// # Safety
/// `name` is a string, for as long as the answer is used.
unsafe fn holding<'n>(name: *const c_char) -> Option<(Arc<Hub>, &'n str)> {
    // SAFETY: by the caller.
    let name = unsafe { CStr::from_ptr(name) }.to_str().ok()?;
    Some((stores::holding(name)?, name))
}

unsafe extern "C" fn open(
    vfs: *mut CVfs,
    name: *const c_char,
    file: *mut CFile,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let body = || {
        // SAFETY: SQLite passes the table that has this function, and room for a file.
        let vfs = unsafe {
            (*file).methods = std::ptr::null();
            of(vfs)
        };
        let mut flags = flags;
        // SAFETY: the arguments are SQLite's.
        let opened = match unsafe { open_ours(vfs, name, file, &mut flags) } {
            Ok(opened) => opened,
            Err(error) => return vfs.tell(&OPEN_ERRORS, error),
        };
        if !opened {
            // SAFETY: the base VFS gets the call as it came.
            return match unsafe { (*vfs.base).open } {
                // SAFETY: as above.
                Some(open) => unsafe { open(vfs.base, name, file, flags, out_flags) },
                None => codes::SQLITE_CANTOPEN,
            };
        }
        if !out_flags.is_null() {
            // SAFETY: not null.
            unsafe { *out_flags = flags };
        }
        codes::SQLITE_OK
    };
    fence("xOpen", None, || codes::SQLITE_CANTOPEN, body)
}

/// Opens what is ours; `false` when it is not.
///
/// # Safety
/// The arguments are those of `xOpen`.
unsafe fn open_ours(
    vfs: &'static Vfs,
    name: *const c_char,
    file: *mut CFile,
    flags: &mut c_int,
) -> Result<bool, EngineError> {
    if name.is_null() {
        return Ok(false);
    }
    if *flags & c::OPEN_MAIN_DB != 0 {
        // SAFETY: a main database's name.
        let Some(located) = (unsafe { vfs.locate(name) })? else {
            return Ok(false);
        };
        // SAFETY: by the caller.
        unsafe { vfs.open_database(&located, name, file, flags) }?;
        return Ok(true);
    }
    // SAFETY: a string.
    let Some((hub, name)) = (unsafe { holding(name) }) else {
        return Ok(false);
    };
    hub.check_process("open")?;
    let opened = match *flags {
        flags if flags & c::OPEN_MAIN_JOURNAL != 0 => Some(journal::Journal::own()),
        flags if flags & c::OPEN_SUPER_JOURNAL != 0 => {
            journal::Journal::of_several(hub, name, flags & c::OPEN_CREATE != 0)
        }
        _ => None,
    };
    let opened = opened
        .ok_or_else(|| EngineError::Refused(format!("{name:?} is no file of a store").into()))?;
    // SAFETY: by the caller.
    unsafe { journal::open(file, vfs, opened) };
    Ok(true)
}

/// Databases are dropped by their store, never by SQLite; journals go when they are closed. To delete a
/// super-journal is to commit.
unsafe extern "C" fn delete(vfs: *mut CVfs, name: *const c_char, sync_directory: c_int) -> c_int {
    let body = || {
        // SAFETY: SQLite passes the table that has this function, and a string.
        let (vfs, ours) = unsafe { (of(vfs), holding(name)) };
        let Some((hub, name_of_ours)) = ours else {
            // SAFETY: the base VFS gets the call as it came.
            return match unsafe { (*vfs.base).delete } {
                // SAFETY: as above.
                Some(delete) => unsafe { delete(vfs.base, name, sync_directory) },
                None => codes::SQLITE_OK,
            };
        };
        match commit::delete_super(&hub, name_of_ours) {
            Ok(()) => codes::SQLITE_OK,
            Err(error) => vfs.tell(&hub.errors, error),
        }
    };
    fence("xDelete", None, || codes::SQLITE_IOERR_DELETE, body)
}

/// SQLite asks for journals beside its databases, which ours never have, and for super-journals.
unsafe extern "C" fn access(
    vfs: *mut CVfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let body = || {
        // SAFETY: SQLite passes the table that has this function, and a string.
        let (vfs, ours) = unsafe { (of(vfs), holding(name)) };
        let Some((hub, name_of_ours)) = ours else {
            // SAFETY: the base VFS gets the call as it came.
            return match unsafe { (*vfs.base).access } {
                // SAFETY: as above.
                Some(access) => unsafe { access(vfs.base, name, flags, out) },
                None => codes::SQLITE_IOERR_ACCESS,
            };
        };
        let found = hub.supers.find(name_of_ours).is_some();
        // SAFETY: SQLite passes a valid out-pointer.
        unsafe { *out = c_int::from(found) };
        codes::SQLITE_OK
    };
    fence("xAccess", None, || codes::SQLITE_IOERR_ACCESS, body)
}

/// A database's full name has its store's directory.
unsafe extern "C" fn full_pathname(
    vfs: *mut CVfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    let body = || {
        // SAFETY: SQLite passes the table that has this function. It asks for main databases alone, by the
        // names that it opens them by.
        let (vfs, found) = unsafe { (of(vfs), of(vfs).locate(name)) };
        let located = match found {
            Ok(Some(located)) => located,
            Ok(None) => {
                // SAFETY: the base VFS gets the call as it came.
                return match unsafe { (*vfs.base).full_pathname } {
                    // SAFETY: as above.
                    Some(full) => unsafe { full(vfs.base, name, room, out) },
                    None => codes::SQLITE_CANTOPEN,
                };
            }
            Err(error) => {
                vfs.tell(&OPEN_ERRORS, error);
                return codes::SQLITE_CANTOPEN;
            }
        };
        let Some(full) = located.full_name().and_then(|full| CString::new(full).ok()) else {
            return codes::SQLITE_CANTOPEN;
        };
        let bytes = full.as_bytes_with_nul();
        let room = usize::try_from(room).unwrap_or_default();
        if bytes.len() + SUFFIX_BYTES > room {
            vfs.tell(&OPEN_ERRORS, too_long(&located.name, bytes.len() - 1, room));
            return codes::SQLITE_CANTOPEN;
        }
        // SAFETY: `out` has `room` bytes.
        unsafe { out.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
        codes::SQLITE_OK
    };
    fence("xFullPathname", None, || codes::SQLITE_CANTOPEN, body)
}

fn too_long(name: &str, bytes: usize, room: usize) -> EngineError {
    let most = room.saturating_sub(SUFFIX_BYTES + 1);
    EngineError::Refused(
        format!("the path of {name:?} has {bytes} bytes, of which SQLite takes {most}").into(),
    )
}
