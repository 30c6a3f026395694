//! The errors of a store as a whole: opening, manifest, checkpoint, closing.

use super::{CommitError, Damage, ErrorCode, ReadError, Reject, SegmentError};
use crate::io::{BackendUnavailable, IoFailure, LockFailure};
use crate::runtime::PanicReport;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Opening a store failed; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No store there, and none was to be created.
    #[error("no store at {path}", path = path.display())]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has files, but not those of a store.
    #[error("{path} is not a store: it has no superblock but is not empty", path = path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("store {path}: {failure}", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, or why it could not be locked.
        #[source]
        failure: LockFailure,
    },
    /// A part that every database needs is damaged.
    #[error("store cannot be opened: {0}")]
    Damaged(#[from] Damage),
    /// The kernel refused an I/O call.
    #[error("store cannot be opened: {0}")]
    Io(#[from] IoFailure),
    /// The I/O backend that was asked for is not to be had.
    #[error("store cannot be opened: {0}")]
    Backend(#[from] BackendUnavailable),
    /// The manifest cannot be opened.
    #[error("store cannot be opened: {0}")]
    Manifest(#[from] ManifestError),
    /// A limit is out of its range.
    #[error("invalid limits: {0}")]
    Limits(#[from] crate::limits::LimitError),
    /// The first write of this opening failed.
    #[error("store cannot be opened: {0}")]
    Start(#[source] Box<CommitError>),
    /// Threads or random bytes are not to be had.
    #[error("store cannot be opened: {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
}

impl OpenError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::StoreNotFound,
            Self::NotAStore { .. } => ErrorCode::NotAStore,
            Self::Locked {
                failure: LockFailure::Held { .. },
                ..
            } => ErrorCode::StoreLocked,
            Self::Damaged(Damage {
                reason: Reject::Version { .. } | Reject::Features { .. },
                ..
            }) => ErrorCode::UnsupportedFormat,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Backend(_) => ErrorCode::BackendUnavailable,
            Self::Manifest(error) => error.code(),
            Self::Start(error) => error.code(),
            Self::Limits(_) => ErrorCode::Usage,
            Self::Io(failure)
            | Self::Locked {
                failure: LockFailure::Io(failure),
                ..
            } => failure.code(),
            Self::System { .. } => ErrorCode::Io,
        }
    }
}

/// The manifest failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A value is damaged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The kernel refused an I/O call.
    #[error("manifest: {0}")]
    Io(#[from] IoFailure),
    /// LMDB refused.
    #[error("manifest: {operation}: {detail}")]
    Engine {
        /// What was asked of it.
        operation: &'static str,
        /// Its answer.
        #[source]
        detail: Arc<heed::Error>,
    },
    /// It has reached the largest size that the limits allow; nothing was written.
    #[error("the manifest has reached its largest size of {limit} bytes")]
    Full {
        /// The limit `manifest_map_bytes_max`.
        limit: u64,
    },
    /// There is no place for one more reader, though this process has not taken them all: another one
    /// has the manifest's file open.
    #[error("manifest: all {limit} places for readers are taken, also by another process")]
    ReadersFull {
        /// How many there are.
        limit: u32,
    },
    /// The store is closed.
    #[error("the manifest is closed")]
    Closed,
    /// It panicked. What the commit that panicked has left is unknown until the next open.
    #[error("manifest: {0}")]
    Panic(Box<PanicReport>),
    /// Another transaction has not returned, and this one did not begin: nothing was written.
    #[error("manifest: another transaction has not returned after {waited:?}")]
    Stalled {
        /// How long this one waited for it.
        waited: Duration,
    },
    /// A transaction would break an invariant; nothing was written.
    #[error("manifest invariant {invariant} would be broken: {detail}")]
    Invariant {
        /// The invariant's name.
        invariant: &'static str,
        /// What was found.
        detail: String,
    },
}

impl ManifestError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged(Damage {
                reason: Reject::Version { .. },
                ..
            }) => ErrorCode::UnsupportedFormat,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Io(failure) => failure.code(),
            Self::Engine { detail, .. }
                if matches!(**detail, heed::Error::Mdb(heed::MdbError::MapFull)) =>
            {
                ErrorCode::LimitReached
            }
            Self::Engine { .. } | Self::Invariant { .. } => ErrorCode::Manifest,
            Self::Full { .. } | Self::ReadersFull { .. } => ErrorCode::LimitReached,
            Self::Panic(_) => ErrorCode::Panic,
            Self::Stalled { .. } => ErrorCode::Stalled,
            Self::Closed => ErrorCode::Closed,
        }
    }
}

/// A checkpoint failed; the log keeps what was not checkpointed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A page could not be read.
    #[error("checkpoint: {0}")]
    Read(#[from] ReadError),
    /// The kernel refused an I/O call.
    #[error("checkpoint: {0}")]
    Io(#[from] IoFailure),
    /// The manifest transaction failed.
    #[error("checkpoint: {0}")]
    Manifest(#[from] ManifestError),
    /// The log could not be shortened; what was checkpointed stays so.
    #[error("checkpoint: {0}")]
    Segment(#[from] SegmentError),
    /// A number space or a size is exhausted.
    #[error("checkpoint: {0}")]
    Limit(&'static str),
    /// What was to be written cannot be a state of a database.
    #[error("checkpoint: invalid chunk: {0}")]
    Invalid(&'static str),
    /// A record of the checkpoint could not be committed.
    #[error("checkpoint: {0}")]
    Commit(#[from] CommitError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl CheckpointError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Read(error) => error.code(),
            Self::Io(failure) => failure.code(),
            Self::Manifest(error) => error.code(),
            Self::Segment(error) => error.code(),
            Self::Limit(_) => ErrorCode::LimitReached,
            Self::Invalid(_) => ErrorCode::Corrupt,
            Self::Commit(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}

/// Closing a store did not end cleanly. The store is closed to new work all the same.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Transactions were still open at the deadline; they fail from now on.
    #[error("{transactions} transactions were still open at the deadline")]
    StillOpen {
        /// How many.
        transactions: usize,
    },
    /// The kernel still holds a buffer of ours: the store stays locked.
    #[error("an I/O call has not returned; the store stays locked")]
    StillStalled,
    /// The close record could not be written: the next open recovers.
    #[error("close record: {0}")]
    Commit(#[from] CommitError),
}

impl CloseError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::StillOpen { .. } => ErrorCode::Busy,
            Self::StillStalled => ErrorCode::StillStalled,
            Self::Commit(error) => error.code(),
        }
    }
}
