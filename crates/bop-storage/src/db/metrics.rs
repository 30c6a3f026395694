//! The metrics of a store: what its instruments measured, and what the engine knows besides.
//!
//! Owns the one place where an error that is given to a caller is counted: [`Engine::told`], called
//! by the public methods that can fail, each once for a call.
//!
//! Never: measures the commit path (the log does).

use super::engine::Engine;
use super::report::{Health, StoreStatus};
use crate::error::{
    BackupError, BeginError, CatalogueError, CheckpointError, CommitError, ErrorCode, JobError,
    PastError, ReadError, RecordLogError,
};
use crate::meters::{Levels, MetricsReport, list};
use crate::runtime::BreakerState;

/// An error that has a code.
pub(super) trait Coded {
    fn error_code(&self) -> ErrorCode;
}

macro_rules! coded {
    ($($error:ty),*) => {
        $(impl Coded for $error {
            fn error_code(&self) -> ErrorCode {
                self.code()
            }
        })*
    };
}

coded!(
    BackupError,
    BeginError,
    CatalogueError,
    CheckpointError,
    CommitError,
    JobError,
    PastError,
    ReadError,
    RecordLogError
);

impl Engine {
    /// Counts the error, if it is one, that a caller is about to be given.
    pub(super) fn told<T, E: Coded>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result {
            self.meters.error(error.error_code());
        }
        result
    }

    /// Everything that is measured.
    pub(super) fn metrics(&self) -> MetricsReport {
        self.meters.report(&self.levels(&self.status()))
    }

    fn levels(&self, status: &StoreStatus) -> Levels {
        let mut levels = Levels::default();
        let images = status.images;
        for (encoding, pages) in [
            ("raw", images.raw),
            ("lz4", images.compressed),
            ("patch", images.patches),
        ] {
            levels.set_labelled(&list::PAGE_IMAGES, ("encoding", encoding), pages);
        }
        for breaker in &status.breakers {
            let label = ("work", breaker.work);
            let is_open = breaker.state != BreakerState::Closed;
            levels.set_labelled(&list::BREAKER_OPEN, label, u64::from(is_open));
            levels.set_labelled(&list::BREAKER_OPENED, label, breaker.opened);
        }
        let backlog = self.log.backlog();
        let (closed, poisoned) = match status.health {
            Health::Ok => (0, false),
            Health::Damaged { databases } => (databases, false),
            Health::Poisoned(_) => (self.damaged.len(), true),
        };
        let uncheckpointed = status.published.bytes_since(status.checkpointed);
        let cache = status.cache;
        for (metric, value) in [
            (list::PAGE_IMAGE_BYTES, images.bytes),
            (list::CACHE_HITS, cache.hits),
            (list::CACHE_MISSES, cache.misses),
            (list::CACHE_LOADS, cache.loads),
            (list::CACHE_INSERTIONS, cache.insertions),
            (list::CACHE_EVICTIONS, cache.evictions),
            (list::CACHE_PAGES, cache.pages),
            (list::CACHE_BYTES, cache.bytes),
            (list::CACHE_BYTES_MAX, cache.bytes_max),
            (list::CACHE_PRESSURE, cache.pressure_permille),
            (list::QUEUE_RECORDS, backlog.queued_records as u64),
            (list::QUEUE_BYTES, backlog.queued_bytes),
            (
                list::BACKLOG_BYTES,
                backlog.queued_bytes + backlog.in_flight_bytes,
            ),
            (list::UNCHECKPOINTED_BYTES, uncheckpointed.unwrap_or(0)),
            (list::LOG_BYTES, status.log_bytes),
            (list::LOG_SEGMENTS, status.log_segments as u64),
            (list::CURSOR_LOG_BYTES, status.cursor_log_bytes),
            (list::SPARE_SEGMENTS, status.spare_segments as u64),
            (list::DAMAGED_BYTES, status.damaged_bytes),
            (list::CLOSED_DATABASES, closed as u64),
            (list::POISONED, u64::from(poisoned)),
            (list::STALLED_CALLS, status.stalled_calls.len() as u64),
            (list::DATABASES, status.databases as u64),
            (list::CHUNKS, status.chunks as u64),
            (list::CHUNK_BYTES, status.chunk_bytes),
            (list::INDEX_ENTRIES, status.index_entries as u64),
            (list::RECORD_ENTRIES, status.record_entries),
            (list::RECORD_BYTES, status.record_bytes),
            (list::JOBS_WAITING, self.jobs_waiting() as u64),
            (list::BUFFER_BYTES, self.disk.buffers().usage().made_bytes),
        ] {
            levels.set(&metric, value);
        }
        levels
    }
}
