//! The C side of the crate: the tables that SQLite calls, and nothing else.
//!
//! | file | table |
//! |---|---|
//! | `vfs.rs` | `sqlite3_vfs`: finds databases by name, hands everything else to the base VFS |
//! | `file.rs` | `sqlite3_io_methods`: the main file of one pager |
//! | `manager.rs` | `libsql_wal_manager`: links a pager to a [`Session`](crate::session::Session) |
//! | `wal.rs` | `libsql_wal_methods`: turns each call into one of the session's |
//! | `plain.rs` | none: reads a plain database's file through SQLite |
//! | `waiting.rs` | none: SQLite's pauses between two attempts to write |
//!
//! Invariants
//! - no callback unwinds into C;
//! - every pointer that SQLite hands back to us was made by us: a file by its `pMethods`, a WAL by
//!   the list of native ones that each manager keeps;
//! - SQLite serialises the calls that concern one pager, since a shared cache is refused: what
//!   belongs to a pager needs no lock, and no reference to it outlives its callback.
//!
//! Never: decides anything that can be decided without a raw pointer.
#![allow(
    unsafe_code,
    reason = "SQLite is a C library: its callback tables are raw pointers"
)]

mod file;
mod manager;
mod plain;
mod vfs;
mod waiting;
mod wal;

#[cfg(test)]
mod guard_tests;

use bop_sqlite_common::functions::{Addresses, Functions};

pub(crate) use manager::wal_manager;
pub(crate) use plain::PlainFile;
pub(crate) use vfs::Registration;

/// The version of the SQLite that is linked.
pub(crate) fn sqlite_version() -> i32 {
    // SAFETY: takes no arguments and reads a constant.
    unsafe { libsql_ffi::sqlite3_libversion_number() }
}

/// The functions of the SQLite inside libSQL, for the VFS of `bop-sqlite`: so both doors lead to one store
/// in one process.
pub fn sqlite_functions() -> Functions {
    let addresses = Addresses {
        libversion_number: libsql_ffi::sqlite3_libversion_number as *const (),
        vfs_find: libsql_ffi::sqlite3_vfs_find as *const (),
        vfs_register: libsql_ffi::sqlite3_vfs_register as *const (),
        malloc64: libsql_ffi::sqlite3_malloc64 as *const (),
        uri_parameter: libsql_ffi::sqlite3_uri_parameter as *const (),
        uri_boolean: libsql_ffi::sqlite3_uri_boolean as *const (),
        log: libsql_ffi::sqlite3_log as *const (),
    };
    // SAFETY: each has the function of its name, all of the SQLite that is linked.
    unsafe { Functions::new(addresses) }
}

/// `true` for a name of a database of ours, or one that none can have: what has a slash is a path,
/// everything else is never looked for outside of the store.
fn is_database_name(name: &std::ffi::CStr) -> bool {
    !name.to_bytes().contains(&b'/')
}
