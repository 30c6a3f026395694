//! `bop-sqlite`: bop for any SQLite, as a loadable extension.
//!
//! `libbop_sqlite.so` gives an unmodified SQLite of version 3.31 or later the VFS `bop`, whose files are
//! databases of a store:
//!
//! ```sql
//! SELECT load_extension('libbop_sqlite');  -- in any connection; it stays loaded
//! ATTACH 'file:orders?vfs=bop&store=/var/lib/shop' AS orders;
//! ```
//!
//! # What a name means
//!
//! `file:NAME?vfs=bop&store=DIR` is NAME in the store DIR; so is `DIR/NAME` where DIR is a store, and `NAME`
//! with `$BOP_STORE` set. `NAME@snapshot:S`, `NAME@time:T` and `NAME@lsn:N` are states of the past, read only.
//! Everything else is a file of the VFS that was there before. `DIR/NAME`, with an absolute DIR, has at most 500
//! bytes, which is what SQLite has room for. With `BOP_DEFAULT_VFS=1`, or by the entry
//! point `sqlite3_bopdefault_init`, the VFS becomes the default one, for programs that cannot name it.
//!
//! # How it differs from a SQLite file
//!
//! - Readers are never blocked: each has the state that its transaction began with, whoever writes.
//! - `locking_mode=EXCLUSIVE` keeps other writers out from the first read on, and everybody else who asks for it:
//!   `SQLITE_BUSY`. Others read. Where the main database is none of a store's, the pragma names the one that it is
//!   meant for (`PRAGMA orders.locking_mode = EXCLUSIVE`): else it keeps nobody out before the first write, and
//!   whoever has only read shows an old state from another's commit on, until the mode is `NORMAL` again.
//! - The rollback journal is memory of this process (above 8 MiB a temporary file). All of its modes work,
//!   and `OFF` rolls back, too. `journal_mode=WAL` answers the mode in force: there is no WAL.
//! - A commit is durable when it returns, unless `synchronous` is `OFF`: then within ten milliseconds, and
//!   in the order of all commits of the store.
//! - A transaction over several databases of one store is atomic in every journal mode. One over databases
//!   of a store and plain files, or of two stores, could not be, and is refused with `SQLITE_PERM`, if SQLite
//!   would make it atomic between files: with a plain file in WAL mode each commits by itself.
//! - Two connections each of which waits for the other: the later one gets `SQLITE_LOCKED` at once.
//! - The page size is that of the first commit: `VACUUM` does not change it.
//! - `immutable=1`, `nolock=1` and `cache=shared` are refused.
//! - While a store is open `bop list`, `sql`, `backup` and the other commands ask this process, over the
//!   store's control socket: its SQLite runs `bop sql`, in connections of its own, which keep the store open for
//!   nobody. `BOP_CONTROL=read` lets them only read, `off` starts no socket, `BOP_SQL_DEADLINE_SECONDS` says how long
//!   their statements may run. A program that forks children which go on with SQLite sets `off`: a statement that
//!   runs meanwhile may hold a mutex of SQLite's, which stays locked in the child.
//! - One process has the store open, from its first connection to the end of its last one. To open a store
//!   takes a few durable writes: a program that often connects keeps a connection. A child that it forks
//!   gets an error from connections that were open, and must open its own, when the parent has none.
//! - `SELECT bop_last_error()` says why, where SQLite says "unable to open database file".
//!
//! # The path of a page
//!
//! `ffi` (C tables) -> `handle` (one pager's locks and transactions) -> `image` (bytes as pages) ->
//! `bop_storage`. `door` lets other processes run SQL, on visits (`visit`). `commit` makes several databases one transaction; `names` and `stores` find the store.
#![deny(unsafe_code)]

mod claims;
mod commit;
mod counter;
mod door;
mod environment;
mod ffi;
mod handle;
mod hub;
mod image;
mod names;
mod pragma;
mod process;
mod scratch;
mod stores;
mod supers;
mod visit;

use bop_sqlite_common::engine_error::EngineError;
pub use bop_sqlite_common::functions::Functions;
use bop_storage::Manager;
use std::fmt;

/// A store that this program has open, for the VFS `bop` of a SQLite that it has linked. While this lives,
/// names in the directory of the store mean databases of the same [`Manager`].
pub struct Registration(stores::Guest);

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.hub().manager().path();
        f.debug_struct("Registration").field("path", &path).finish()
    }
}

/// Registers the VFS `bop` with a SQLite that is linked, and lets it find `manager`.
///
/// So both doors to SQLite lead to one store in one process: the virtual WAL of `bop-libsql`, and this VFS
/// in the SQLite of libSQL (`bop_libsql::sqlite_functions()`) or in another one.
///
/// # Errors
/// [`EngineError::Refused`]: the SQLite is too old, or the store is registered.
pub fn register(manager: &Manager, functions: &Functions) -> Result<Registration, EngineError> {
    ffi::register(functions, false)?;
    Ok(Registration(stores::register(manager)?))
}
