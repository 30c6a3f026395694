//! The C side of the crate: the tables that SQLite calls, and nothing else.
//!
//! | file | table |
//! |---|---|
//! | `c.rs` | SQLite's structs and functions |
//! | `vfs.rs` | `sqlite3_vfs`: finds databases by name, hands everything else to the base VFS |
//! | `base.rs` | the part of it that is the base VFS's altogether |
//! | `file.rs` | `sqlite3_io_methods` of a database |
//! | `journal.rs` | `sqlite3_io_methods` of its journals, and of super-journals |
//! | `host.rs` | none: opens connections in the SQLite, for clients of the control socket |
//! | `entry.rs` | the entry points of the extension, and its SQL function |
//!
//! Invariants
//! - no callback unwinds into C;
//! - a file is one of ours when its methods are;
//! - in a forked child no callback touches the engine, or frees what holds it.
//!
//! Never: decides anything that can be decided without a raw pointer.
#![allow(
    unsafe_code,
    reason = "SQLite is a C library: its callback tables are raw pointers"
)]

mod base;
mod c;
mod entry;
mod file;
mod host;
mod journal;
mod vfs;

pub(crate) use host::{Connection, Host};
pub(crate) use vfs::register;
