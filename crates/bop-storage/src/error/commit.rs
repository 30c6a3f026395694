//! The errors of transactions: beginning, reading, committing.
//!
//! Invariant: a commit ends in exactly one of three ways, and [`CommitError`] keeps the two bad ones
//! apart: rejected (nothing happened) and unknown (it may appear after the next open).

use super::{Damage, ErrorCode, ManifestError};
use crate::ids::Lsn;
use crate::io::IoFailure;
use crate::runtime::PanicReport;
use std::sync::Arc;
use std::time::Duration;

/// Reading a page failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The page's bytes are not what was written.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The kernel refused an I/O call.
    #[error("{0}")]
    Io(#[from] IoFailure),
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl ReadError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Io(failure) => failure.code(),
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Closed => ErrorCode::Closed,
        }
    }
}

/// A transaction could not begin.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Another writer holds the database, and the deadline passed (or there was none).
    #[error("another writer holds the database")]
    Busy,
    /// The snapshot is not the newest state any more: read again, then write.
    #[error("the snapshot is at lsn {snapshot}, the database at lsn {head}")]
    BusySnapshot {
        /// The snapshot's position.
        snapshot: Lsn,
        /// The database's newest commit.
        head: Lsn,
    },
    /// The database, or something it may need, is damaged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// A write failed earlier: no more commits until the store is opened again.
    #[error("the log is poisoned: {0}")]
    Poisoned(#[source] Arc<LogFailure>),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl BeginError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Busy => ErrorCode::Busy,
            Self::BusySnapshot { .. } => ErrorCode::BusySnapshot,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Poisoned(_) => ErrorCode::Poisoned,
            Self::Closed => ErrorCode::Closed,
        }
    }
}

/// No segment could be made or released.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The kernel refused an I/O call.
    #[error("segment: {0}")]
    Io(#[from] IoFailure),
    /// The manifest could not take it.
    #[error("segment: {0}")]
    Manifest(#[from] ManifestError),
    /// No random bytes are to be had.
    #[error("segment: random bytes: {0}")]
    Entropy(#[source] Arc<std::io::Error>),
    /// All segment numbers were given out.
    #[error("segment: all segment numbers are used up")]
    IdsExhausted,
}

impl SegmentError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io(failure) => failure.code(),
            Self::Entropy(_) => ErrorCode::Io,
            Self::Manifest(error) => error.code(),
            Self::IdsExhausted => ErrorCode::LimitReached,
        }
    }
}

/// Why the log takes no more records.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogFailure {
    /// A write or a sync failed, so it is unknown what the device holds.
    #[error("{0}")]
    Io(#[from] IoFailure),
    /// A thread panicked in the log.
    #[error("{0}")]
    Panic(Box<PanicReport>),
    /// A batch that had failed could not be rewritten, since there was no segment for it.
    #[error("no segment for a batch that had failed: {0}")]
    Refused(#[source] Box<Rejection>),
    /// A record was let go of without an end, which is an error of the program.
    #[error("the record was lost on its way")]
    Lost,
    /// The write has not returned within its deadline; it may still end either way.
    #[error("the write has not returned after {waited:?}")]
    Stalled {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The positions of the log are used up.
    #[error("the log has reached lsn {at}, its last position")]
    Exhausted {
        /// The last position.
        at: Lsn,
    },
}

/// Why a commit was turned away. Nothing happened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The deadline passed before the commit was appended.
    #[error("no room in the log within {waited:?}")]
    Timeout {
        /// How long it waited.
        waited: Duration,
    },
    /// The device has no space.
    #[error("no space on the device: {needed} bytes are needed")]
    OutOfSpace {
        /// What the commit and its housekeeping need.
        needed: u64,
    },
    /// The log needs a segment and none could be made.
    #[error("{0}")]
    Segment(#[from] SegmentError),
    /// The log has reached its cap and the checkpoint does not keep up, or what is live of record
    /// logs has reached half of it, which no checkpoint makes smaller.
    #[error("the log is full: {bytes} bytes of it are in use, and nothing freed any in time")]
    LogFull {
        /// What the log holds, or what of it the record logs hold.
        bytes: u64,
    },
    /// The commit makes the database larger than its quota.
    #[error("database {name:?} would have {bytes} bytes, its quota is {quota}")]
    OverQuota {
        /// The database's name.
        name: String,
        /// Bytes of its pages after the commit.
        bytes: u64,
        /// Its quota.
        quota: u64,
    },
    /// Larger than the store can ever hold.
    #[error("the commit has {bytes} bytes, at most {limit} are possible")]
    TooLarge {
        /// The commit's size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A write failed earlier: no more commits until the store is opened again.
    #[error("the log is poisoned: {0}")]
    Poisoned(#[source] Arc<LogFailure>),
    /// A write of the log has not returned for long: nothing is taken before that is resolved.
    #[error("the log is stalled: a write has not returned after {waited:?}")]
    Stalled {
        /// How long it has been waited for.
        waited: Duration,
    },
    /// The queue is full, and the committer did not want to wait.
    #[error("{records} records wait for the log")]
    Busy {
        /// Records in the queue.
        records: usize,
    },
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// The pages cannot be a state of this database.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The transaction outgrew its memory bound and its temporary file failed.
    #[error("temporary file of the transaction: {0}")]
    Spill(#[source] IoFailure),
    /// Something the commit had to read is damaged or unreadable.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl Rejection {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Stalled { .. } => ErrorCode::Stalled,
            Self::Busy { .. } => ErrorCode::Busy,
            Self::OutOfSpace { .. } => ErrorCode::OutOfSpace,
            Self::Segment(error) => error.code(),
            Self::LogFull { .. } => ErrorCode::LogFull,
            Self::OverQuota { .. } => ErrorCode::OverQuota,
            Self::TooLarge { .. } | Self::Invalid(_) => ErrorCode::TooLarge,
            Self::Poisoned(_) => ErrorCode::Poisoned,
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Spill(failure) => failure.code(),
            Self::Read(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}

/// How a commit ended, other than well.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing happened, and nothing will.
    #[error("commit rejected: {0}")]
    Rejected(#[from] Rejection),
    /// The write was begun and failed: the commit may or may not be there after the next open.
    #[error(
        "commit at lsn {lsn} has an unknown outcome (it may appear after the store is reopened): {cause}"
    )]
    Unknown {
        /// Where it would be.
        lsn: Lsn,
        /// What failed.
        #[source]
        cause: Arc<LogFailure>,
    },
}

impl CommitError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Unknown { .. } => ErrorCode::CommitUnknown,
        }
    }
}

/// The three ends of a commit, for oracles and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Durable and visible.
    Committed(Lsn),
    /// Nothing happened.
    Rejected,
    /// It may appear after recovery.
    Unknown,
}
