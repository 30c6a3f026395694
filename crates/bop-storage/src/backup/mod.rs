//! Backups as files: what stands in a directory of backups, and which of it is a good backup.
//!
//! ```text
//! DIR/backups/<n>.backup    the index of backup n: what it is made of. It is there: the backup is good
//!     backups/<n>.rows      the manifest's rows
//!     backups/<n>.verified  it was restored, and compared
//!     chunks/<id>-<digest>.chunk            chunks of all backups; a link to the store's, or a copy
//!     log/<id>-<incarnation>-<end>.seg      the log of all backups, segment by segment, up to an Lsn
//!     lock, scratch/        as a store has them
//! ```
//! Invariants
//! - a file has its name when it is whole and durable; an index has its name when all that it names is
//!   durable under its name. Whoever is killed, or loses power, leaves no index, or a good backup;
//! - the name of a chunk or a segment says what is in it, and never stands for other bytes. So one that is
//!   there is not written again, by the next backup or by the one after an interrupted one, but for a segment
//!   whose bytes are not those that were written;
//! - what no index names is removed, and only after the index that replaces another one is durable.
//!
//! Never: opens a store, decides what is backed up (that is `db::backup`).

pub mod format;
mod index;
mod rows;
mod shelf;
mod sink;

pub use index::{BackedChunk, BackedSegment, BackedState, BackupIndex, FileProof, StateOf};
pub(crate) use rows::{decode_rows, encode_rows};
pub(crate) use shelf::{Access, Shelf, names};
pub(crate) use sink::{CopyError, FileSink, copy_file, digest_file, write_file};
