//! The simulated disk: the only test that sees a missing sync.
//!
//! Owns: a [`Disk`](crate::io::Disk) in memory that knows, for every sector, length and name, what
//! is durable and what a crash may lose, keep or tear; and the plan of what fails when.
//!
//! Reading order: `content` (one file) -> `names` (the tree) -> `faults` (what fails when) ->
//! `act` (what each call does) -> `disk` and `file` (the seam) -> `images` (crash images and raw bytes), `digest`,
//! `tap` (a look into each call).
//!
//! Invariants
//! - everything is decided by seeds and by the order of calls;
//! - a clone is the same disk; a crash image or a snapshot is another one that shares the bytes
//!   until either writes.
//!
//! Never: sleeps, or keeps a file outside memory.

mod act;
mod block;
mod content;
mod digest;
mod disk;
mod faults;
mod file;
mod images;
mod names;
mod tap;

pub use disk::SimDisk;
pub use faults::Fault;
pub use images::Doubt;
pub use tap::Tap;

use images::Chooser;

/// The unit that a crash keeps or loses as a whole.
pub const SECTOR_BYTES: usize = 512;
