//! `bop-sqlite-common`: what the two doors to SQLite share, the virtual WAL in libSQL (`bop-libsql`)
//! and the VFS for any SQLite (`bop-sqlite`).
//!
//! Both have to show the same pages, under the same names, and tell the same errors by the same codes:
//! so each of these stands here once. Nothing of it is linked with a SQLite; `sql` calls one, by the addresses of its functions.
//!
//! Not for applications: its interface changes with the doors.
#![deny(unsafe_code)]

pub mod codes;
pub mod engine_error;
pub mod export;
pub mod fence;
pub mod functions;
pub mod page_one;
pub mod shown;
pub mod soundness;
#[cfg(feature = "control")]
pub mod sql;
