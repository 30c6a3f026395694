//! The store that users open: [`Manager`], [`Db`] and their transactions.
//!
//! ```text
//! Manager, Db, ReadTxn, WriteTxn, RecordLog   handles, cheap to clone or to hold; all share ...
//!   Engine                         ... log, catalogue, manifest, views; its drop is a close
//!     open -> recovery -> Engine      commit: overlay -> record -> log -> published view
//!     housekeeper -> checkpoint       read:   pin -> view -> cache -> log or chunk
//!                 -> relocation, jobs record logs: index -> recent payloads or log
//! ```
//!
//! Never: formats bytes, decides what damage means.

mod attempt;
mod backup;
mod bases;
mod before_close;
mod cached_commit;
mod callbacks;
mod chain;
mod checkpoint;
mod checkpoint_catalogue;
mod checkpoint_rows;
mod chunk_base;
mod chunks;
mod close;
mod closed;
mod commit;
mod commit_feed;
mod commits;
mod copy;
mod creation;
mod cursor;
mod database;
mod dropped;
mod durability;
mod engine;
mod failing;
mod feeds;
mod fresh_dir;
mod garbage;
mod give_way;
mod group_commit;
mod guards;
mod headroom;
mod housekeeper;
mod idle;
mod images;
mod inspect;
mod jobs;
mod lag;
mod leftovers;
mod lifecycle;
mod log_coming;
mod log_expected;
mod log_needs;
mod log_rounds;
mod log_sorted;
mod log_window;
mod manager;
mod metrics;
#[cfg(test)]
mod models;
mod names;
mod open;
mod options;
mod origin;
mod overlay;
mod page_hashes;
mod pages_ahead;
mod past;
mod pending_commit;
mod periodic;
mod points;
mod policies;
mod publish;
mod read;
mod reader;
mod record_log;
mod record_pending;
mod record_report;
mod record_write;
mod recovery;
mod registry;
mod release;
#[cfg(test)]
mod release_tests;
mod relocate;
mod repair;
mod replay;
mod report;
mod resolve;
mod restore_points;
mod rewrite_chunks;
mod salvage;
mod savepoints;
mod scrub;
mod seat;
mod signals;
#[cfg(test)]
mod simulated;
mod slot;
mod snapshots;
mod source;
mod space;
mod spill;
mod start;
mod state;
mod strangers;
mod turn;
mod unfinished;
mod verify;
mod verify_log;
mod write;

pub use backup::{
    BackupInfo, BackupOptions, BackupProgress, BackupReport, BackupStage, KnownBackups, LastBackup,
    RestoredStore, VerifiedBackup,
};
pub use commit_feed::{CommitsCursor, CommitsFrom};
pub use commits::{CommitPage, LoggedCommit};
pub use cursor::{CursorInfo, CursorPosition};
pub use database::Db;
pub use dropped::DroppedDatabase;
pub use durability::Durability;
pub use failing::Failing;
pub use feeds::{ChangesCursor, FeedStart};
pub use housekeeper::Housekeeping;
pub use images::ImageStats;
pub use inspect::ManifestInspection;
pub use jobs::JobInfo;
pub use lag::{Lag, OldestReader};
pub use log_needs::{LogNeed, LogNeeds, NeededLog};
pub use manager::Manager;
pub use options::Options;
pub use pending_commit::PendingCommit;
pub use read::{ReadTxn, ResetTxn};
pub use record_log::{LogRecordEntry, RecordLog};
pub use record_report::RecordLogInfo;
pub use record_write::NewEntry;
pub use repair::{LostPoint, RepairMode, RepairReport, RepairedDatabase};
pub use report::{DatabaseInfo, ForkInfo, Health, ScrubInfo, StoreStatus, VerifyReport};
pub use restore_points::RestorePoint;
pub use salvage::{SalvageLoss, SalvageReport, SalvagedDatabase};
pub use savepoints::Savepoint;
pub use seat::WriterSeat;
pub use snapshots::SnapshotInfo;
pub use space::{DatabaseSpace, SnapshotSpace, SpaceReport};
pub use turn::{WriterTicket, WriterTurn};
pub use unfinished::Unfinished;
pub use write::{NotCommitted, WriteTxn};
