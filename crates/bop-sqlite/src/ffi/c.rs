//! SQLite's C interface, as far as a VFS needs it: its structs, its numbers and its functions.
//!
//! Written from <https://sqlite.org/c3ref/vfs.html>, `io_methods.html` and `loadext.html`. These layouts
//! have only ever grown at their ends, so what stands here holds for every SQLite 3.

use bop_sqlite_common::functions::{Addresses, Functions};
use std::os::raw::{c_char, c_int, c_void};

/// `sqlite3_file`: the memory is SQLite's, whoever opens the file fills it.
#[repr(C)]
pub(super) struct CFile {
    pub(super) methods: *const IoMethods,
}

/// `sqlite3_io_methods`, version 1: no shared memory, no memory-mapped pages.
#[repr(C)]
pub(super) struct IoMethods {
    pub(super) version: c_int,
    pub(super) close: unsafe extern "C" fn(*mut CFile) -> c_int,
    pub(super) read: unsafe extern "C" fn(*mut CFile, *mut c_void, c_int, i64) -> c_int,
    pub(super) write: unsafe extern "C" fn(*mut CFile, *const c_void, c_int, i64) -> c_int,
    pub(super) truncate: unsafe extern "C" fn(*mut CFile, i64) -> c_int,
    pub(super) sync: unsafe extern "C" fn(*mut CFile, c_int) -> c_int,
    pub(super) file_size: unsafe extern "C" fn(*mut CFile, *mut i64) -> c_int,
    pub(super) lock: unsafe extern "C" fn(*mut CFile, c_int) -> c_int,
    pub(super) unlock: unsafe extern "C" fn(*mut CFile, c_int) -> c_int,
    pub(super) check_reserved_lock: unsafe extern "C" fn(*mut CFile, *mut c_int) -> c_int,
    pub(super) file_control: unsafe extern "C" fn(*mut CFile, c_int, *mut c_void) -> c_int,
    pub(super) sector_size: unsafe extern "C" fn(*mut CFile) -> c_int,
    pub(super) device_characteristics: unsafe extern "C" fn(*mut CFile) -> c_int,
}

pub(super) type OpenFn =
    unsafe extern "C" fn(*mut CVfs, *const c_char, *mut CFile, c_int, *mut c_int) -> c_int;
pub(super) type DeleteFn = unsafe extern "C" fn(*mut CVfs, *const c_char, c_int) -> c_int;
pub(super) type AccessFn =
    unsafe extern "C" fn(*mut CVfs, *const c_char, c_int, *mut c_int) -> c_int;
pub(super) type PathFn =
    unsafe extern "C" fn(*mut CVfs, *const c_char, c_int, *mut c_char) -> c_int;
pub(super) type Symbol = unsafe extern "C" fn();
pub(super) type SymFn =
    unsafe extern "C" fn(*mut CVfs, *mut c_void, *const c_char) -> Option<Symbol>;

/// `sqlite3_vfs`, version 2. Functions that a VFS may leave out are optional.
#[repr(C)]
pub(super) struct CVfs {
    pub(super) version: c_int,
    pub(super) file_bytes: c_int,
    pub(super) path_bytes: c_int,
    pub(super) next: *mut CVfs,
    pub(super) name: *const c_char,
    pub(super) data: *mut c_void,
    pub(super) open: Option<OpenFn>,
    pub(super) delete: Option<DeleteFn>,
    pub(super) access: Option<AccessFn>,
    pub(super) full_pathname: Option<PathFn>,
    pub(super) dl_open: Option<unsafe extern "C" fn(*mut CVfs, *const c_char) -> *mut c_void>,
    pub(super) dl_error: Option<unsafe extern "C" fn(*mut CVfs, c_int, *mut c_char)>,
    pub(super) dl_sym: Option<SymFn>,
    pub(super) dl_close: Option<unsafe extern "C" fn(*mut CVfs, *mut c_void)>,
    pub(super) randomness: Option<unsafe extern "C" fn(*mut CVfs, c_int, *mut c_char) -> c_int>,
    pub(super) sleep: Option<unsafe extern "C" fn(*mut CVfs, c_int) -> c_int>,
    pub(super) current_time: Option<unsafe extern "C" fn(*mut CVfs, *mut f64) -> c_int>,
    pub(super) last_error: Option<unsafe extern "C" fn(*mut CVfs, c_int, *mut c_char) -> c_int>,
    pub(super) current_time_64: Option<unsafe extern "C" fn(*mut CVfs, *mut i64) -> c_int>,
}

pub(super) const OPEN_READONLY: c_int = 0x1;
pub(super) const OPEN_READWRITE: c_int = 0x2;
pub(super) const OPEN_CREATE: c_int = 0x4;
pub(super) const OPEN_MAIN_DB: c_int = 0x100;
pub(super) const OPEN_MAIN_JOURNAL: c_int = 0x800;
pub(super) const OPEN_SUPER_JOURNAL: c_int = 0x4000;

pub(super) const LOCK_SHARED: c_int = 1;

pub(super) const FCNTL_VFSNAME: c_int = 12;
pub(super) const FCNTL_PRAGMA: c_int = 14;
pub(super) const FCNTL_HAS_MOVED: c_int = 20;
pub(super) const FCNTL_SYNC: c_int = 21;
pub(super) const FCNTL_COMMIT_PHASETWO: c_int = 22;
pub(super) const FCNTL_PDB: c_int = 30;

pub(super) const IOCAP_SAFE_APPEND: c_int = 0x200;
pub(super) const IOCAP_SEQUENTIAL: c_int = 0x400;
pub(super) const IOCAP_POWERSAFE_OVERWRITE: c_int = 0x1000;

/// `sqlite3_api_routines`: a table of functions, of which a few are looked up by their places.
#[repr(C)]
pub(super) struct ApiRoutines {
    functions: [*const (); 246],
}

/// Places in that table. It only ever grows at its end.
mod place {
    pub(super) const LIBVERSION_NUMBER: usize = 67;
    pub(super) const RESULT_TEXT: usize = 85;
    pub(super) const RESULT_NULL: usize = 84;
    pub(super) const VFS_FIND: usize = 141;
    pub(super) const VFS_REGISTER: usize = 142;
    pub(super) const CREATE_FUNCTION_V2: usize = 162;
    pub(super) const LOG: usize = 167;
    pub(super) const URI_BOOLEAN: usize = 187;
    pub(super) const URI_PARAMETER: usize = 189;
    pub(super) const AUTO_EXTENSION: usize = 192;
    pub(super) const MALLOC64: usize = 197;
}

/// The oldest SQLite whose table has all of that, and whose file names carry their parameters.
pub(super) const VERSION_MIN: c_int = 3_031_000;

impl ApiRoutines {
    /// The functions that a VFS calls.
    ///
    /// # Safety
    /// `api` is what SQLite passes to the entry point of an extension.
    pub(super) unsafe fn functions(api: *const Self) -> Functions {
        // SAFETY: by the caller. Whole only from VERSION_MIN on, so each is read by itself.
        let at = |place: usize| unsafe { (&raw const (*api).functions[place]).read() };
        let addresses = Addresses {
            libversion_number: at(place::LIBVERSION_NUMBER),
            vfs_find: at(place::VFS_FIND),
            vfs_register: at(place::VFS_REGISTER),
            malloc64: at(place::MALLOC64),
            uri_parameter: at(place::URI_PARAMETER),
            uri_boolean: at(place::URI_BOOLEAN),
            log: at(place::LOG),
        };
        // SAFETY: SQLite's own table, which it never unloads while an extension is.
        unsafe { Functions::new(addresses) }
    }

    /// # Safety
    /// As for [`ApiRoutines::functions`], and the SQLite is not older than [`VERSION_MIN`].
    pub(super) unsafe fn sql(api: *const Self) -> Sql {
        // SAFETY: by the caller.
        let at = |place: usize| unsafe { (&raw const (*api).functions[place]).read() };
        // SAFETY: the functions of these places, with the signatures of SQLite's C interface.
        unsafe {
            Sql {
                create_function: std::mem::transmute::<*const (), CreateFunction>(at(
                    place::CREATE_FUNCTION_V2,
                )),
                auto_extension: std::mem::transmute::<*const (), AutoExtension>(at(
                    place::AUTO_EXTENSION,
                )),
                result_text: std::mem::transmute::<*const (), ResultText>(at(place::RESULT_TEXT)),
                result_null: std::mem::transmute::<*const (), ResultNull>(at(place::RESULT_NULL)),
            }
        }
    }
}

pub(super) type SqlFunction = unsafe extern "C" fn(*mut c_void, c_int, *mut *mut c_void);
type CreateFunction = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    c_int,
    c_int,
    *mut c_void,
    Option<SqlFunction>,
    Option<SqlFunction>,
    Option<unsafe extern "C" fn(*mut c_void)>,
    Option<unsafe extern "C" fn(*mut c_void)>,
) -> c_int;
type AutoExtension = unsafe extern "C" fn(Option<unsafe extern "C" fn()>) -> c_int;
type ResultText = unsafe extern "C" fn(*mut c_void, *const c_char, c_int, isize);
type ResultNull = unsafe extern "C" fn(*mut c_void);

/// The functions that an SQL function of ours needs.
#[derive(Copy, Clone)]
pub(super) struct Sql {
    pub(super) create_function: CreateFunction,
    pub(super) auto_extension: AutoExtension,
    pub(super) result_text: ResultText,
    pub(super) result_null: ResultNull,
}

/// The same functions as [`Functions`], with their types.
#[derive(Copy, Clone)]
pub(super) struct Calls {
    pub(super) libversion_number: unsafe extern "C" fn() -> c_int,
    pub(super) vfs_find: unsafe extern "C" fn(*const c_char) -> *mut CVfs,
    pub(super) vfs_register: unsafe extern "C" fn(*mut CVfs, c_int) -> c_int,
    pub(super) malloc64: unsafe extern "C" fn(u64) -> *mut c_void,
    pub(super) uri_parameter: unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char,
    pub(super) uri_boolean: unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int,
    pub(super) log: unsafe extern "C" fn(c_int, *const c_char, ...),
}

impl Calls {
    pub(super) fn of(functions: &Functions) -> Self {
        let Addresses {
            libversion_number,
            vfs_find,
            vfs_register,
            malloc64,
            uri_parameter,
            uri_boolean,
            log,
        } = *functions.addresses();
        // SAFETY: whoever made `functions` vouches for the addresses; the signatures are those of SQLite's
        // C interface, its structs being ours of the same layout.
        unsafe {
            Self {
                libversion_number: std::mem::transmute::<*const (), unsafe extern "C" fn() -> c_int>(
                    libversion_number,
                ),
                vfs_find: std::mem::transmute::<
                    *const (),
                    unsafe extern "C" fn(*const c_char) -> *mut CVfs,
                >(vfs_find),
                vfs_register: std::mem::transmute::<
                    *const (),
                    unsafe extern "C" fn(*mut CVfs, c_int) -> c_int,
                >(vfs_register),
                malloc64: std::mem::transmute::<*const (), unsafe extern "C" fn(u64) -> *mut c_void>(
                    malloc64,
                ),
                uri_parameter: std::mem::transmute::<
                    *const (),
                    unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char,
                >(uri_parameter),
                uri_boolean: std::mem::transmute::<
                    *const (),
                    unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int,
                >(uri_boolean),
                log: std::mem::transmute::<
                    *const (),
                    unsafe extern "C" fn(c_int, *const c_char, ...),
                >(log),
            }
        }
    }
}
