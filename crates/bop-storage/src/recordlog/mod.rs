//! Record logs: entries by index, and a hard state, as a Raft group needs them.
//!
//! ```text
//! change (checked against the index) -> record in the log -> durable -> applied to the index
//! append that nobody waits for       -> record in the queue -> applied -> durable, or undone
//! replay of the log -> rebuild -> index
//! read: index -> recent payloads, or the log, checked by the entry's hash
//! ```
//! Nothing of a record log is ever in a chunk: what is live stays in the log, and is written again
//! at its head before the segment that has it is released.
//!
//! Never: writes to the log (its users above do), knows what a payload means.

mod index;
mod pending;
mod reader;
mod rebuild;
mod registry;
mod state;

#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod rebuild_tests;

pub(crate) use index::{Change, LogIndex, Moved};
pub use index::{Item, LogBounds};
pub(crate) use reader::{RecentPayloads, RecordReader, Wanted};
pub(crate) use rebuild::{Rebuild, item as replayed_item};
pub(crate) use registry::{NoRoom, RecordLogs, UnderWay};
pub(crate) use state::{RecordState, RecordWriter, WriterRefusal};
