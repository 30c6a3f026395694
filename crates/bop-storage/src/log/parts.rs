//! What a log is made of, and what it tells.
//!
//! Never: does anything itself.

use super::holds::LogHolds;
use super::kept::KeptBatches;
use super::ring::Ring;
use super::spares::SpareMaker;
use super::unwritten::Unwritten;
use crate::ids::StoreId;
use crate::limits::ValidLimits;
use crate::meters::StoreMeters;
use crate::runtime::{Clock, Spawn};
use std::sync::Arc;

/// What the log tells whoever keeps house. Must not block, nor take a lock under which it uses the
/// log: `room_wanted` comes from wherever the last owner of a hold lets go of it.
pub trait LogEvents: Send + Sync + std::fmt::Debug {
    /// A batch with more than notes is durable: a note is due if nothing follows.
    fn batch_written(&self);

    /// A segment was sealed, and so many spares are left: another is to be made, perhaps a checkpoint is due.
    fn segment_sealed(&self, spares_left: usize);

    /// Committers wait for room in the log, and a checkpoint may make some.
    fn room_wanted(&self);
}

/// What the log is made of.
#[derive(Clone, Debug)]
pub struct LogParts {
    /// The store.
    pub store: StoreId,
    /// Its segments.
    pub ring: Arc<Ring>,
    /// Makes more of them.
    pub spares: Arc<SpareMaker>,
    /// Who needs what.
    pub holds: Arc<LogHolds>,
    /// The records that are visible and not durable yet.
    pub unwritten: Arc<Unwritten>,
    /// What the next checkpoint need not read.
    pub kept: Arc<KeptBatches>,
    /// Stamps the records.
    pub clock: Arc<dyn Clock>,
    /// Starts the log's threads. Without it the log has none: committers write and retry by
    /// themselves, which a test can repeat.
    pub spawn: Option<Arc<dyn Spawn>>,
    /// Bounds of the queue.
    pub limits: ValidLimits,
    /// Hears what happens.
    pub events: Arc<dyn LogEvents>,
    /// Measures what is written.
    pub meters: Arc<StoreMeters>,
}

/// What a log has taken and is not durable yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// Records that wait for the next batch.
    pub queued_records: usize,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Bytes of the batch that is being written.
    pub in_flight_bytes: u64,
}
