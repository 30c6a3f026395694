//! `bop-libsql`: libSQL on bop.
//!
//! A [`Store`] holds many SQLite databases on one durable log; a [`Connection`] to one of them is a
//! [`rusqlite::Connection`] and is used like one.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = bop_libsql::Store::open(dir.path(), bop_libsql::Options::new())?;
//! let connection = store.connect("accounts")?;
//! connection.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (42)")?;
//! let x: i64 = connection.query_row("SELECT x FROM t", [], |row| row.get(0))?;
//! assert_eq!(x, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # How it differs from a SQLite file
//!
//! - **`PRAGMA synchronous`** is `FULL` unless told otherwise: a commit is durable when it returns.
//!   With `NORMAL` and `OFF` it is durable within ten milliseconds, or when
//!   [`Manager::sync`](bop_storage::Manager::sync) or a later `FULL` commit of any database returns; a
//!   power cut before that leaves the store as it was at some moment in between, in one order for all
//!   databases.
//! - **The journal mode is `wal`.** `PRAGMA journal_mode = ...` and `PRAGMA locking_mode = ...`
//!   answer the mode in force and change nothing. A connection that wants a database for itself
//!   takes `BEGIN IMMEDIATE`; readers are never blocked.
//! - **ATTACH** finds names in the store, each database committing by itself: a transaction over
//!   several of them is not atomic across a crash (nor is it with SQLite's WAL). A name with a slash
//!   is a path of a plain file, as is `file:NAME?vfs=unix`. `VACUUM INTO` follows the same rule.
//! - **The past** is read by [`Store::connect_at`], or by ATTACH under the name `DB@STATE`, where STATE is
//!   `now`, `snapshot:NAME`, `lsn:N` or `time:RFC3339`: `ATTACH 'orders@snapshot:before' AS before`. Every
//!   write to it fails with `SQLITE_READONLY`.
//! - `immutable=1` is refused, and so is `cache=shared`. Databases in memory and those of another VFS
//!   are opened without asking the store: SQLite has to be built with `SQLITE_OMIT_SHARED_CACHE`
//!   (here `.cargo/config.toml` says so), which gives each connection a cache of its own. Where it is
//!   not, `cache=shared` on such a database must not be used from several threads.
//! - `PRAGMA wal_checkpoint(FULL | RESTART | TRUNCATE)` checkpoints the whole store; `PASSIVE` has
//!   nothing to do, and there is no automatic checkpoint by SQLite: the engine has its own.
//!
//! Foreign keys and recursive triggers are off unless told otherwise, as in stock SQLite.
//!
//! # The path of a page
//!
//! `ffi` (C tables) -> `session` (one pager's transactions) -> `bop_storage` (pages and commits).
//! `page_one`, of `bop-sqlite-common`, is the only place that knows SQLite's file header; `transfer` moves whole databases
//! from and to plain files.
#![deny(unsafe_code)]

mod connection;
mod error;
mod faults;
mod ffi;
mod hub;
mod session;
mod soundness;
mod store;
pub mod transfer;

use bop_sqlite_common::{engine_error, fence, page_one, shown};

pub use bop_sqlite_common::engine_error::EngineError;
pub use bop_storage::{At, Manager, Options};
pub use connection::{Connection, OpenOptions};
pub use error::Error;
pub use ffi::sqlite_functions;
pub use rusqlite;
pub use soundness::damage_found;
pub use store::Store;
