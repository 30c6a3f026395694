//! The errors of each boundary of the engine, and the code of each.

use super::{Damage, ErrorCode};
use crate::ids::Lsn;
use crate::io::{IoFailure, LockFailure};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a text is no database name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters.
    #[error("it is empty")]
    Empty,
    /// It is longer than 255 bytes.
    #[error("it has {bytes} bytes, at most 255 are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that no name may have.
    #[error("character {character:?} at byte {at} is not allowed")]
    Character {
        /// The character.
        character: char,
        /// Where it is, in bytes.
        at: usize,
    },
    /// It starts with a dot.
    #[error("it starts with a dot")]
    LeadingDot,
}

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
        failure: LockFailure,
    },
    /// A part that every database needs is damaged.
    #[error("store cannot be opened: {0}")]
    Damaged(#[from] Damage),
    /// The kernel refused an I/O call.
    #[error("store cannot be opened: {0}")]
    Io(#[from] IoFailure),
    /// The manifest cannot be opened.
    #[error("store cannot be opened: {0}")]
    Manifest(#[from] ManifestError),
    /// A limit is out of its range.
    #[error("invalid limits: {0}")]
    Limits(#[from] crate::limits::LimitError),
    /// The first write of this opening failed.
    #[error("store cannot be opened: {0}")]
    Start(Box<CommitError>),
    /// Threads or random bytes are not to be had.
    #[error("store cannot be opened: {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The operating system's answer.
        source: Arc<std::io::Error>,
    },
}

/// The manifest failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A value is damaged.
    #[error(transparent)]
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
        detail: Arc<heed::Error>,
    },
    /// It has reached the largest size that the limits allow; nothing was written.
    #[error("the manifest has reached its largest size of {limit} bytes")]
    Full {
        /// The limit `manifest_map_bytes_max`.
        limit: u64,
    },
    /// The store is closed.
    #[error("the manifest is closed")]
    Closed,
    /// A transaction would break an invariant; nothing was written.
    #[error("manifest invariant {invariant} would be broken: {detail}")]
    Invariant {
        /// The invariant's name.
        invariant: &'static str,
        /// What was found.
        detail: String,
    },
}

/// An operation on names and databases failed; nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// Not a name.
    #[error("{name:?} is not a database name: {reason}")]
    InvalidName {
        /// The text.
        name: String,
        /// Why not.
        reason: NameError,
    },
    /// No database of that name.
    #[error("no database named {name:?}")]
    NotFound {
        /// The name.
        name: String,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// The name is taken, perhaps in another spelling of the same letters.
    #[error("database {name:?} exists already")]
    Exists {
        /// The existing database's name.
        name: String,
    },
    /// The database has another kind.
    #[error("database {name:?} is of kind {found}, not {wanted}")]
    WrongKind {
        /// The name.
        name: String,
        /// Its kind.
        found: &'static str,
        /// The kind that was asked for.
        wanted: &'static str,
    },
    /// The store holds as many databases as its limits allow.
    #[error("the store holds {limit} databases, its limit")]
    LimitReached {
        /// The limit.
        limit: u32,
    },
    /// A writer holds the database.
    #[error("database {name:?} has an open write transaction")]
    Busy {
        /// The name.
        name: String,
    },
    /// The catalogue's part of the log is damaged: a name given out now might be one that is lost.
    #[error(
        "the catalogue is damaged: names may be missing, and no database can be created, renamed \
         or dropped: {0}"
    )]
    Damaged(Damage),
    /// This database is damaged, or may be.
    #[error("database {name:?} cannot be opened: {damage}")]
    Corrupt {
        /// The name.
        name: String,
        /// The damage.
        damage: Damage,
    },
    /// The record could not be committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
}

/// Reading a page failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The page's bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The kernel refused an I/O call.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
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
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// A write failed earlier: no more commits until the store is opened again.
    #[error("the log is poisoned: {0}")]
    Poisoned(Arc<LogFailure>),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
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
    Entropy(Arc<std::io::Error>),
    /// All segment numbers were given out.
    #[error("segment: all segment numbers are used up")]
    IdsExhausted,
}

impl SegmentError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io(failure) if failure.is_out_of_space() => ErrorCode::OutOfSpace,
            Self::Io(_) | Self::Entropy(_) => ErrorCode::Io,
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
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// A thread panicked in the log.
    #[error("a thread panicked while it {stage}")]
    Panic {
        /// What it was doing.
        stage: &'static str,
    },
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
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The log has reached its cap and the checkpoint does not keep up.
    #[error("the log holds {bytes} bytes, its cap, and no checkpoint freed any in time")]
    LogFull {
        /// What the log holds.
        bytes: u64,
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
    Poisoned(Arc<LogFailure>),
    /// The database was dropped.
    #[error("the database was dropped")]
    Dropped,
    /// The pages cannot be a state of this database.
    #[error("invalid transaction: {0}")]
    Invalid(&'static str),
    /// The transaction outgrew its memory bound and its temporary file failed.
    #[error("temporary file of the transaction: {0}")]
    Spill(IoFailure),
    /// Something the commit had to read is damaged or unreadable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
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
        cause: Arc<LogFailure>,
    },
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

impl CommitError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Rejected(rejection) => rejection.code(),
            Self::Unknown { .. } => ErrorCode::CommitUnknown,
        }
    }
}

impl Rejection {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::OutOfSpace { .. } => ErrorCode::OutOfSpace,
            Self::Segment(error) => error.code(),
            Self::LogFull { .. } => ErrorCode::LogFull,
            Self::TooLarge { .. } | Self::Invalid(_) => ErrorCode::TooLarge,
            Self::Poisoned(_) => ErrorCode::Poisoned,
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Spill(_) => ErrorCode::Io,
            Self::Read(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}

impl ReadError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Io(_) => ErrorCode::Io,
            Self::Dropped => ErrorCode::DatabaseDropped,
            Self::Closed => ErrorCode::Closed,
        }
    }
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

impl CatalogueError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName { .. } => ErrorCode::InvalidName,
            Self::NotFound { .. } => ErrorCode::DatabaseNotFound,
            Self::Exists { .. } => ErrorCode::DatabaseExists,
            Self::WrongKind { .. } => ErrorCode::WrongKind,
            Self::LimitReached { .. } => ErrorCode::LimitReached,
            Self::Busy { .. } => ErrorCode::Busy,
            Self::Damaged(_) => ErrorCode::CatalogueDamaged,
            Self::Corrupt { .. } => ErrorCode::Corrupt,
            Self::Commit(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
}

impl ManifestError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged(Damage {
                reason: super::Reject::Version { .. },
                ..
            }) => ErrorCode::UnsupportedFormat,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Io(_) => ErrorCode::Io,
            Self::Engine { .. } | Self::Invariant { .. } => ErrorCode::Manifest,
            Self::Full { .. } => ErrorCode::LimitReached,
            Self::Closed => ErrorCode::Closed,
        }
    }
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
                reason: super::Reject::Version { .. } | super::Reject::Features { .. },
                ..
            }) => ErrorCode::UnsupportedFormat,
            Self::Damaged(_) => ErrorCode::Corrupt,
            Self::Manifest(error) => error.code(),
            Self::Start(error) => error.code(),
            Self::Limits(_) => ErrorCode::Usage,
            Self::Io(_) | Self::Locked { .. } | Self::System { .. } => ErrorCode::Io,
        }
    }
}

impl CheckpointError {
    /// The stable name of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Read(error) => error.code(),
            Self::Io(_) => ErrorCode::Io,
            Self::Manifest(error) => error.code(),
            Self::Segment(error) => error.code(),
            Self::Limit(_) => ErrorCode::LimitReached,
            Self::Invalid(_) => ErrorCode::Corrupt,
            Self::Commit(error) => error.code(),
            Self::Closed => ErrorCode::Closed,
        }
    }
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
