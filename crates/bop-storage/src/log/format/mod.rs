//! The bytes of the log, exactly as `docs/format.md` describes them.
//!
//! Every struct is little-endian by type, has its size asserted at compile time, and keeps its
//! reserved bytes zero. Each field says which fault it defends against.
//!
//! Never: does I/O, knows which segment is active.

pub mod batch;
pub mod record;
pub mod segment;

/// The newest version of the log's format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
