//! `bop-storage`: one process opens one *store* and gets thousands of databases on one durable log.
//!
//! Reading this file top to bottom is the life of a write. A module imports only what stands
//! before it, but for `error`, which names failures of `io` and `runtime`; where a lower stage must tell a
//! higher one, it owns a small trait.
#![deny(unsafe_code)]

// The vocabulary.
pub mod ids;

pub mod at;

pub mod limits;

pub mod error;

pub mod checksum;

pub mod name;

pub mod point;

pub mod buffer;

pub mod page;
mod page_diff;

pub mod page_one;

mod trials;

#[doc(hidden)]
pub mod canary;

mod lz4;

mod zstandard;

// The outside world: time, randomness, threads, files.
pub mod runtime;

// What is measured, from the device up.
pub mod meters;

pub mod io;

// A commit: into the log, then into a view, then read through the cache.
pub mod log;

pub mod view;

pub mod cache;

// Beside the pages: entries that stay in the log.
pub mod recordlog;

// In the background: from the log into chunks, and the durable facts about both.
pub mod pagestore;

pub mod checkpoint;

pub mod manifest;

pub mod catalogue;

pub mod superblock;

pub mod backup;

// The store that users open.
mod db;

pub use at::{At, AtError, Moment};
pub use checkpoint::CheckpointReport;
pub use checksum::{PageHash, RollingChecksum};
pub use db::{
    BackupInfo, BackupOptions, BackupProgress, BackupReport, BackupStage, ChangesCursor,
    CommitPage, CommitsCursor, CommitsFrom, CursorInfo, CursorPosition, DatabaseInfo,
    DatabaseSpace, Db, DroppedDatabase, Durability, Failing, FeedStart, ForkInfo, Health,
    Housekeeping, ImageStats, JobInfo, KnownBackups, Lag, LastBackup, LogNeed, LogNeeds,
    LogRecordEntry, LoggedCommit, LostPoint, Manager, ManifestInspection, NeededLog, NewEntry,
    NotCommitted, OldestReader, Options, PendingCommit, ReadTxn, RecordLog, RecordLogInfo,
    RepairMode, RepairReport, RepairedDatabase, ResetTxn, RestorePoint, RestoredStore, SalvageLoss,
    SalvageReport, SalvagedDatabase, Savepoint, ScrubInfo, SnapshotInfo, SnapshotSpace,
    SpaceReport, StoreStatus, Unfinished, VerifiedBackup, VerifyReport, WriteTxn, WriterSeat,
    WriterTicket, WriterTurn,
};
pub use error::{
    BackupError, BeginError, CatalogueError, CheckpointError, CloseError, CommitError,
    CommitOutcome, Damage, ErrorCode, FeedError, JobError, ManifestError, OpenError, PastError,
    Place, ReadError, RecordLogError, Reject, Rejection, RepairError, SalvageError,
};
pub use ids::{ChangeNo, DbId, DbKind, JobId, Lsn, PageNo, PageSize, StoreId};
pub use limits::Limits;
pub use manifest::{
    Change, ChangeKind, ChangePage, JobFailure, JobKind, JobState, JobToken, Policy, Retention,
};
pub use meters::{
    METRICS, Metric, MetricFamily, MetricKind, MetricSample, MetricValue, MetricsReport,
    SummaryValue,
};
pub use page::PageBytes;
pub use pagestore::{Compression, UnknownCompression};
pub use point::Point;
pub use recordlog::LogBounds;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
