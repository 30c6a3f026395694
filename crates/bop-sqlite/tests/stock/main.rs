//! The extension in an unmodified SQLite: Debian's Python, its `sqlite3` shell, Node's `better-sqlite3`.
//!
//! What is not installed is skipped, and said so; with `BOP_REQUIRE_SQLITE` set, as in CI, it is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod control;
mod doors;
mod extension;
mod faults;
mod owner;
mod programs;
mod run;
mod sql;
