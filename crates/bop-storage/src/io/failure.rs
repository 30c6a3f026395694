//! What an I/O call answers when it did not do what it was asked.
//!
//! Invariant: a failure names operation, file, offset and errno, so that whoever handles it never
//! looks at the text of an error.

use std::fmt;
use std::path::PathBuf;

/// What was asked of the disk.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum IoOp {
    /// Open or create a file.
    Open,
    /// Read bytes or a length.
    Read,
    /// Write bytes.
    Write,
    /// Write bytes and wait until they are durable.
    WriteDurable,
    /// Make written bytes durable.
    Sync,
    /// Extend a file.
    Allocate,
    /// List or create a directory.
    Directory,
    /// Make directory entries durable.
    SyncDirectory,
    /// Rename a file.
    Rename,
    /// Give a file one more name.
    Link,
    /// Remove a file.
    Remove,
    /// Take the store's lock.
    Lock,
    /// Commit a transaction of the manifest.
    ManifestCommit,
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::WriteDurable => "durable write",
            Self::Sync => "sync",
            Self::Allocate => "allocate",
            Self::Directory => "directory access",
            Self::SyncDirectory => "directory sync",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::ManifestCommit => "manifest commit",
        })
    }
}

/// One failed I/O call.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IoFailure {
    /// What was asked.
    pub op: IoOp,
    /// The file, relative to the store's directory (or absolute, for the directory itself).
    pub path: PathBuf,
    /// Where in the file, in bytes, for a read or a write.
    pub offset: Option<u64>,
    /// The kernel's error number.
    pub errno: i32,
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.op, self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for IoFailure {}

/// Why the store's lock was not given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockFailure {
    /// Another process (or another handle of this one) has the store open.
    #[error("store is locked by process {}", holder_pid.map_or("unknown".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The process that wrote its number into the lock file, when that could be read.
        holder_pid: Option<u32>,
    },
    /// The lock file could not be opened or locked.
    #[error("{0}")]
    Io(#[from] IoFailure),
}
