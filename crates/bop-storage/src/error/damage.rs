//! Damage: bytes that are not what was written, with the place where they are.

use crate::ids::{ChunkId, DbId, Lsn, PageNo, SegmentId};
use std::fmt;
use std::path::PathBuf;

/// Where damaged bytes are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Place {
    /// A whole file, or its header.
    File(PathBuf),
    /// A position of the log.
    Log {
        /// The segment that holds it.
        segment: SegmentId,
        /// The position.
        lsn: Lsn,
    },
    /// Bytes of a chunk.
    Chunk {
        /// The chunk.
        chunk: ChunkId,
        /// Where in its file, in bytes.
        offset: u64,
    },
    /// A database as a whole.
    Database {
        /// The database.
        database: DbId,
    },
    /// One page of a database, wherever it is stored.
    Page {
        /// The database.
        database: DbId,
        /// The page.
        page: PageNo,
    },
    /// A value of the manifest.
    Manifest {
        /// The table.
        table: &'static str,
        /// The key, in hexadecimal.
        key: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Log { segment, lsn } => write!(f, "segment {segment} at lsn {lsn}"),
            Self::Chunk { chunk, offset } => write!(f, "chunk {chunk} at byte {offset}"),
            Self::Database { database } => write!(f, "database id {database}"),
            Self::Page { database, page } => write!(f, "page {page} of database id {database}"),
            Self::Manifest { table, key } => write!(f, "manifest table {table} key {key}"),
        }
    }
}

/// Why bytes were not believed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The object should be there and is not.
    #[error("it is missing")]
    Missing,
    /// It is shorter than it says or must be.
    #[error("{found} bytes where {needed} are needed")]
    Truncated {
        /// What is there.
        found: u64,
        /// What must be there.
        needed: u64,
    },
    /// It does not start as an object of its kind does.
    #[error("wrong magic number")]
    Magic,
    /// Written by a format this version does not know.
    #[error("format version {found}, this program reads up to {supported}")]
    Version {
        /// The version in the file.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },
    /// Sound, but it uses features that this program must not ignore and does not know.
    #[error("it uses features that this program does not know (flags {flags:#x})")]
    Features {
        /// The flags in the file.
        flags: u32,
    },
    /// It belongs to another store.
    #[error("it belongs to another store")]
    ForeignStore,
    /// Its checksum does not match its bytes.
    #[error("checksum mismatch")]
    Checksum,
    /// Its checksum is right but its content contradicts itself or its surroundings.
    #[error("invalid content: {0}")]
    Invalid(&'static str),
    /// A commit names a predecessor that is not the database's last commit: one between is gone.
    #[error("commit follows lsn {expected_parent}, but the last one found is lsn {found_head}")]
    BrokenChain {
        /// The parent that the commit names.
        expected_parent: Lsn,
        /// The newest commit that was found before it.
        found_head: Lsn,
    },
    /// As it was found when the damage was met first; the log has gone on since.
    #[error("{0}")]
    Recorded(String),
    /// The kernel could not read it.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] crate::io::IoFailure),
}

impl Reject {
    /// What the object is called: what a newer program wrote is not damaged.
    fn judgement(&self) -> &'static str {
        match self {
            Self::Version { found, supported } if found > supported => {
                "was written by a newer version of bop"
            }
            Self::Features { .. } => "was written by a newer version of bop",
            _ => "is damaged",
        }
    }
}

/// One damaged object.
#[derive(Clone, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{place} {}: {reason}", reason.judgement())]
pub struct Damage {
    /// Where it is.
    pub place: Place,
    /// Why it was not believed.
    #[source]
    pub reason: Reject,
}

impl Damage {
    /// Damage of `place`, because of `reason`.
    pub fn new(place: Place, reason: Reject) -> Self {
        Self { place, reason }
    }
}
