//! The metrics of a store: what its instruments measured, and what the engine knows besides.
//!
//! Owns the one place where an error that is given to a caller is counted: [`Engine::told`], called
//! by the public methods that can fail, each once for a call; and the one where a commit is timed that
//! somebody waits for, [`Engine::timed`].
//!
//! Never: measures what happens inside of a commit (the log does).

use super::durability::Durability;
use super::engine::Engine;
use super::failing::Failing;
use super::report::{Health, StoreStatus};
use crate::error::{
    BackupError, BeginError, CatalogueError, CheckpointError, CommitError, ErrorCode, JobError,
    PastError, ReadError, RecordLogError,
};
use crate::meters::{Levels, MetricsReport, list};
use crate::runtime::{BreakerState, ProcessUsage};
use std::time::Instant;

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

    /// Measures how long a commit took, if that is durable now.
    pub(super) fn timed<T, E>(
        &self,
        since: Instant,
        durability: Durability,
        committed: Result<T, E>,
    ) -> Result<T, E> {
        if committed.is_ok() && durability == Durability::Full {
            self.meters.committed(since);
        }
        committed
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
        self.set_health(status, &mut levels);
        self.set_log(status, &mut levels);
        self.set_databases(status, &mut levels);
        self.set_outside(&mut levels);
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
            (list::JOBS_WAITING, self.jobs_waiting() as u64),
            (list::BUFFER_BYTES, self.disk.buffers().usage().made_bytes),
        ] {
            levels.set(&metric, value);
        }
        levels
    }

    /// What works, and what does not.
    fn set_health(&self, status: &StoreStatus, levels: &mut Levels) {
        let closed_databases = self.closed_databases();
        let failing = self.failing(closed_databases);
        levels.set(&list::HEALTHY, u64::from(failing.is_empty()));
        for one in Failing::ALL {
            let is_failing = failing.contains(&one);
            levels.set_labelled(
                &list::FAILING,
                ("reason", one.as_str()),
                u64::from(is_failing),
            );
        }
        let poisoned = matches!(status.health, Health::Poisoned(_));
        levels.set(&list::POISONED, u64::from(poisoned));
        levels.set(&list::STALLED_CALLS, status.stalled_calls.len() as u64);
        levels.set(&list::CLOSED_DATABASES, closed_databases as u64);
        for breaker in &status.breakers {
            let label = ("work", breaker.work);
            let is_open = breaker.state != BreakerState::Closed;
            levels.set_labelled(&list::BREAKER_OPEN, label, u64::from(is_open));
            levels.set_labelled(&list::BREAKER_OPENED, label, breaker.opened);
        }
    }

    /// How long the log is, and for whom.
    fn set_log(&self, status: &StoreStatus, levels: &mut Levels) {
        let backlog = self.log.backlog();
        let uncheckpointed = status.published.bytes_since(status.checkpointed);
        let reserve = self.log.spares();
        let last_checkpoint = self.guards.last_checkpoint();
        for (metric, value) in [
            (list::QUEUE_RECORDS, backlog.queued_records as u64),
            (list::QUEUE_BYTES, backlog.queued_bytes),
            (
                list::BACKLOG_BYTES,
                backlog.queued_bytes + backlog.in_flight_bytes,
            ),
            (list::UNCHECKPOINTED_BYTES, uncheckpointed.unwrap_or(0)),
            (list::LOG_BYTES, status.log_bytes),
            (list::LOG_BYTES_CAPPED, self.log.ring().held_bytes()),
            (list::LOG_BYTES_MAX, self.limits.log_bytes_max),
            (list::LOG_SEGMENTS, status.log_segments as u64),
            (list::CURSOR_LOG_BYTES, status.cursor_log_bytes),
            (list::SPARE_SEGMENTS, status.spare_segments as u64),
            (list::DAMAGED_BYTES, status.damaged_bytes),
            (
                list::LAST_CHECKPOINT,
                last_checkpoint.map_or(0, |last| last.ended_us / 1_000_000),
            ),
            (list::RESERVE, reserve.reserve().held_bytes()),
            (list::RESERVE_MISSING, reserve.reserve_bytes_for_log(0)),
        ] {
            levels.set(&metric, value);
        }
        for (by, bytes) in self.log_bytes_by_holder() {
            levels.set_labelled(&list::LOG_HELD, ("by", by), bytes);
        }
    }

    /// How much there is of what users have made.
    fn set_databases(&self, status: &StoreStatus, levels: &mut Levels) {
        let (forks, snapshots) = {
            let cell = self.catalogue.lock();
            let live = cell.catalogue.live();
            let forks = live.filter(|(_, entry)| entry.origin.is_some()).count();
            (forks, cell.catalogue.snapshot_count())
        };
        let states = self.states();
        let readers: usize = states.iter().map(|state| state.pin_count()).sum();
        for (metric, value) in [
            (list::DATABASES, status.databases as u64),
            (list::FORKS, forks as u64),
            (list::SNAPSHOTS, snapshots as u64),
            (list::READERS, readers as u64),
            (list::CHUNKS, status.chunks as u64),
            (list::CHUNK_BYTES, status.chunk_bytes),
            (list::INDEX_ENTRIES, status.index_entries as u64),
            (list::RECORD_ENTRIES, status.record_entries),
            (list::RECORD_BYTES, status.record_bytes),
        ] {
            levels.set(&metric, value);
        }
    }

    /// What is not the store's own: its backups, and the process. Nothing is told of what is not known.
    fn set_outside(&self, levels: &mut Levels) {
        let backups = self.backup_times();
        levels.set(&list::LAST_BACKUP, backups.made_s);
        levels.set(&list::LAST_VERIFIED, backups.verified_s);
        let process = ProcessUsage::now();
        for (metric, value) in [
            (list::RESIDENT_MEMORY, process.resident_memory_bytes),
            (list::THREADS, process.threads),
            (list::OPEN_FDS, process.open_fds),
            (list::MAX_FDS, process.max_fds),
        ] {
            if let Some(value) = value {
                levels.set(&metric, value);
            }
        }
    }
}
