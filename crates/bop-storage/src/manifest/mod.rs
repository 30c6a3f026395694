//! The manifest: a materialised view of log and chunk headers, in small transactions.
//!
//! Owns: the seam [`ManifestStore`] with LMDB and an in-memory twin behind it, and above it what
//! both share: the rows, their checksums, the invariants of every commit.
//!
//! ```text
//! Manifest (typed)  queue, writer, edit, invariants; fenced: a panic from here on down is an error
//!      | rows in envelopes, as byte keys and byte values
//! ManifestStore     LmdbManifest (env, walker) | MemoryManifest
//! ```
//! Order of the store's durability: chunk durable, then manifest commit, then log released, then
//! recycled.
//!
//! Never: on the path of a commit of a database; the only copy of anything but registrations.

mod backed_up;
mod change;
mod closed_rows;
mod cursor_row;
mod cursors;
mod database_row;
mod dense;
mod describe;
mod edit;
mod edit_ranges;
mod env;
mod feed;
mod feed_rows;
mod fenced;
mod garbage;
mod generation_row;
mod generations;
mod invariants;
mod job_rows;
mod jobs;
mod lineage;
mod lmdb;
mod memory;
mod moves;
mod placement;
mod policy;
mod queue;
mod range_row;
mod readers;
mod rebuild;
mod rows;
mod schema;
mod snapshot_row;
mod state;
mod store;
mod subscribe;
#[cfg(any(test, feature = "testing"))]
pub mod suite;
mod typed;
mod usage;
mod walker;
mod writer;

pub use change::{Change, ChangeKind};
pub use closed_rows::{ClosedBy, ClosedBytes, ClosedRow, SalvageBytes, SalvageRow};
pub use cursor_row::{CursorBytes, CursorPlace, CursorRow, FeedPosition};
pub(crate) use cursor_row::{decode_cursor, encode_cursor};
pub use cursors::CURSORS_MAX;
pub use database_row::{CheckpointedHead, DatabaseBytes, DatabaseRow, DatabaseState};
pub(crate) use database_row::{decode_name, decode_state, encode_state};
pub use describe::DescribedRow;
pub use edit::Edit;
pub use feed::{CHANGES_KEPT, CHANGES_MAX, TRIM_ROWS_MAX};
pub use feed_rows::{ChangeBytes, FeedBytes, FeedRow, RunBytes, RunRow};
pub(crate) use fenced::fenced;
pub use garbage::{Garbage, Needs, PastGeneration, window_start};
pub use generation_row::{GenerationBytes, GenerationKey, GenerationRow, HistoryLink};
pub use job_rows::{
    JobBytes, JobFailure, JobIdsBytes, JobIdsRow, JobKind, JobRow, JobState, JobToken, ScrubBytes,
    ScrubRow,
};
pub use jobs::{JOB_ATTEMPTS_MAX, JOB_WAIT_MAX, JOBS_KEPT, JOBS_WAITING_MAX, JobLease};
pub use lmdb::LmdbManifest;
pub use memory::{Gate, MemoryManifest};
pub use moves::{MovedTo, Moves};
pub use policy::{Policy, PolicyBytes, Retention};
pub use range_row::{CHAIN_MAX, LinkBytes, LinkKind, RangeBytes, RangeLink, RangeRow};
pub use rows::{
    ChunkBytes, ChunkRow, MetaBytes, SegmentBytes, SegmentRow, WatermarkBytes, Watermarks,
};
pub use schema::{RangeKey, SCHEMA_VERSION, SCHEMA_VERSION_MIN, ValueHeader};
pub use snapshot_row::{SnapshotBytes, SnapshotKey, SnapshotRow};
pub(crate) use snapshot_row::{decode_snapshot, encode_snapshot};
pub use state::{DamagedRows, ManifestState};
pub use store::{KEY_BYTES_MAX, ManifestStore, RawRow, SCAN_ROWS_MAX, Table, Write, scan_all};
pub use subscribe::ChangePage;
pub use typed::{Manifest, ManifestFuture};
pub use usage::ChunkUsage;
