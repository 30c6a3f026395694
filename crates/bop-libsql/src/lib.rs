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
//! Many threads share a [`Pool`] of connections, and async code an [`AsyncPool`], which blocks no
//! thread of a runtime.
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
//! - **ATTACH** finds names in the store. A transaction over several databases of a store is one
//!   commit: after a crash or an error all of it is there or nothing, which SQLite's WAL does not
//!   promise. A name with a slash is a path of a plain file, as is `file:NAME?vfs=unix`; where a
//!   transaction may write to such a file too, each database commits by itself: `BEGIN IMMEDIATE` may
//!   write to every file that is attached. `VACUUM INTO` follows the same rule of names.
//! - **The past** is read by [`Store::connect_at`], or by ATTACH under the name `DB@STATE`, where STATE is
//!   `now`, `snapshot:NAME`, `lsn:N` or `time:RFC3339`: `ATTACH 'orders@snapshot:before' AS before`. Every
//!   write to it fails with `SQLITE_READONLY`.
//! - **Writers of a database take turns**, in the order in which they came, within the busy timeout
//!   (`busy_timeout`, or `PRAGMA busy_timeout`); a busy handler of the application's own is asked as
//!   SQLite asks it. A wait that would never end, since those who write wait for this connection,
//!   fails with `SQLITE_BUSY` at once, and `sqlite3_interrupt` ends a wait.
//! - `immutable=1` is refused, and so is `cache=shared`. Databases in memory and those of another VFS
//!   are opened without asking the store: SQLite has to be built with `SQLITE_OMIT_SHARED_CACHE`
//!   (here `.cargo/config.toml` says so), which gives each connection a cache of its own. Where it is
//!   not, `cache=shared` on such a database must not be used from several threads.
//! - `PRAGMA wal_checkpoint(FULL | RESTART | TRUNCATE)` checkpoints the whole store; `PASSIVE` has
//!   nothing to do, and there is no automatic checkpoint by SQLite: the engine has its own.
//!
//! Foreign keys and recursive triggers are off unless told otherwise, as in stock SQLite.
//!
//! With the feature `control`, `control::Door` lets other processes run SQL over the store's control socket.
//!
//! # The path of a page
//!
//! `ffi` (C tables) -> `session` (one pager's transactions) -> `bop_storage` (pages and commits).
//! Pages that a scan comes by are not copied: `lent` has them as long as SQLite looks at them.
//! `page_one`, of `bop-sqlite-common`, is the only place that knows SQLite's file header; `transfer` moves whole databases
//! from and to plain files.
#![deny(unsafe_code)]

mod connection;
#[cfg(feature = "control")]
pub mod control;
mod error;
mod faults;
mod ffi;
mod hub;
mod lent;
mod pages;
mod pool;
mod session;
mod soundness;
#[cfg(feature = "control")]
pub mod statement;
mod store;
pub mod transfer;
mod turns;

use bop_sqlite_common::{engine_error, fence, page_one, shown};

pub use bop_sqlite_common::engine_error::EngineError;
pub use bop_storage::{At, Manager, Options};
pub use connection::{Connection, OpenOptions};
pub use error::Error;
pub use ffi::sqlite_functions;
pub use pool::{AsyncPool, Pool, PoolError, PoolOptions, PooledConnection, Run};
pub use rusqlite;
pub use soundness::damage_found;
pub use store::Store;
