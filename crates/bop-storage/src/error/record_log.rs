//! The errors of record logs.

use super::{CommitError, Damage, ErrorCode, ReadError, Rejection};
use std::sync::Arc;

/// An operation on a record log failed; the log is as it was, unless the variant says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RecordLogError {
    /// New entries must follow the newest one; what conflicts is truncated first.
    #[error("entry {found} does not follow: the next index is {expected}")]
    Conflict {
        /// The index that an append must start with.
        expected: u64,
        /// The one that it started with.
        found: u64,
    },
    /// Terms never decrease.
    #[error("entry {index} has term {term}, the one before it term {before}")]
    TermDecreases {
        /// The entry.
        index: u64,
        /// Its term.
        term: u64,
        /// The term of the entry before.
        before: u64,
    },
    /// No such entry: it is purged, or not yet there.
    #[error("index {index} is not in the log, which has {first} to {next}, the latter excluded")]
    OutOfRange {
        /// The index.
        index: u64,
        /// The oldest index that is there.
        first: u64,
        /// The index behind the newest one.
        next: u64,
    },
    /// The hard state is larger than the limit allows.
    #[error("a hard state of {bytes} bytes, at most {limit} are allowed")]
    VoteTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit `record_vote_bytes_max`.
        limit: u64,
    },
    /// The store has as many live entries as the limit `record_entries_max` allows.
    #[error("the record logs of the store have {entries} entries, at most {limit} are allowed")]
    TooManyEntries {
        /// Live entries of all logs.
        entries: u64,
        /// The limit.
        limit: u64,
    },
    /// Another writer is at work and did not finish in time.
    #[error("another writer holds the record log")]
    Busy,
    /// How an earlier write ended is not known: none may follow it until the store is opened again.
    #[error("the outcome of an earlier write is unknown until the store is opened again")]
    Doubtful,
    /// A part of the log is damaged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// An entry could not be read.
    #[error("{0}")]
    Read(#[source] ReadError),
    /// The record could not be committed. After [`CommitError::Unknown`] the log takes no more
    /// writes until the store is opened again.
    #[error("{0}")]
    Commit(#[from] CommitError),
    /// No thread was to be had that calls back.
    #[error("no thread that calls back: {source}")]
    Thread {
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
    /// The log was dropped.
    #[error("the record log was dropped")]
    Dropped,
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

impl RecordLogError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Conflict { .. } | Self::TermDecreases { .. } | Self::OutOfRange { .. } => {
                ErrorCode::IndexConflict
            }
            Self::VoteTooLarge { .. } => ErrorCode::TooLarge,
            Self::TooManyEntries { .. } => ErrorCode::LimitReached,
            Self::Busy => ErrorCode::Busy,
            Self::Doubtful => ErrorCode::CommitUnknown,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Read(error) => error.code(),
            Self::Commit(error) => error.code(),
            Self::Thread { .. } => ErrorCode::Io,
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Closed => ErrorCode::Closed,
        }
    }
}

impl From<Rejection> for RecordLogError {
    fn from(rejection: Rejection) -> Self {
        Self::Commit(rejection.into())
    }
}
