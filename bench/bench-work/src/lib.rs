//! What every side of a benchmark shares: its arguments, its threads, its protocol, its figures.
//!
//! ```text
//!   driver                      side
//!     starts it: WORK DIR [N..]   prepares (opens, creates tables), says "ready VERSION"
//!     "go MILLISECONDS"           works that long, rests (untimed), says one JSON line
//!     closes its input            ends
//! ```
//!
//! Both sides are alive all the time and one of them is idle, so that the driver can let slices of
//! the two alternate and both meet the same disk in the same mood.
//!
//! Never: knows which library is measured.

mod args;
mod cold;
mod crew;
mod process;
mod random;
mod serve;

pub use args::Args;
pub use cold::{forget_pages, occupied_bytes};
pub use crew::{Loop, Post};
pub use random::Random;
pub use serve::{Side, wait_to_be_killed};

/// What can go wrong, as it is printed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What a side answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The table that is written to.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, content BLOB)";
/// One commit; the key is SQLite's own, the content is the parameter.
pub const INSERT: &str = "INSERT INTO entry(content) VALUES (?)";
/// Bytes of a row's content.
pub const ROW_BYTES: usize = 100;
/// Databases that one slice of the work `create` makes at most.
pub const CREATIONS: usize = 10_000;
/// Bytes of a page, and of an entry that stands for one.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of a commit of the works `stream` and `fair`, and of a raw write.
pub const MIB: usize = 1 << 20;

/// Memory that each side may have for pages, in all its caches together.
pub const CACHE_BYTES: u64 = 256 * MIB as u64;
/// Bytes of the table that is selected from and scanned.
pub const TABLE_BYTES: u64 = 200_000_000;
/// Selects that count as one operation: one alone is too short to be timed.
pub const SELECTS: usize = 100;
/// Bytes that a checkpoint of one large database has to move.
pub const DIRTY_BYTES: u64 = 1 << 30;
/// Dirty pages of each database of a checkpoint of many.
pub const DIRTY_PAGES: u64 = 10;
/// Runs of the scaling-up of text: so many copies of every row.
pub const COPIES: u32 = 1000;

/// The databases, of `count`, that thread `thread` of `threads` goes round.
pub fn share(thread: usize, threads: usize, count: usize) -> impl Iterator<Item = usize> {
    (thread..count).step_by(threads.max(1))
}
