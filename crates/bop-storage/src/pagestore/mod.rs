//! The page store: immutable chunk files that hold what checkpoints took out of the log.
//!
//! Owns: the chunk format, how a chunk comes to be, how a page is read back and proved.
//!
//! Invariants
//! - a chunk that has its name in `chunks/` is complete, durable, and never changes;
//! - a page is handed out only when the checksum of its slot and the hash of its content agree;
//! - no length read from a chunk is believed before it was compared with the file's.
//!
//! Never: knows which chunks are in use, removes one that has its name.

mod bodies;
mod body;
mod checksums;
mod compression;
mod copy;
pub mod format;
mod frame;
mod history;
mod identity;
mod lazy;
mod page_set;
mod patched;
mod reader;
mod run;
mod section;
mod section_index;
mod sink;
mod source;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use compression::{Compression, UnknownCompression};
pub use format::{CommitPoint, SectionKind};
pub use history::{HistoryPoint, cut_before, point_at};
pub(crate) use identity::ChunkHasher;
pub use identity::{ChunkDigest, ChunkIdentity};
pub use page_set::PageSet;
pub use reader::{ChunkReader, StoredPage};
pub use section::{Section, SectionMeta, SectionRef};
pub use verify::Paced;
pub use writer::{ChunkWriter, FinishedChunk};
