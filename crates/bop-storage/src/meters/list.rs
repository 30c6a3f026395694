//! The metrics, by name. `docs/metrics.md` says the same for people; a test compares the two.
//!
//! Never: has two names for one thing.

/// How the values of a metric behave.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Counts since the store was opened; never shrinks.
    Counter,
    /// Holds now.
    Gauge,
    /// How values are distributed: quantiles of the last one to two minutes, sum and count since the
    /// store was opened.
    Summary,
}

impl MetricKind {
    /// The name that Prometheus has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// What is measured.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, as Prometheus writes names.
    pub name: &'static str,
    /// How its values behave.
    pub kind: MetricKind,
    /// What its values count: `seconds`, `bytes`, or what is counted.
    pub unit: &'static str,
    /// What it means, in a few words.
    pub help: &'static str,
}

impl Metric {
    /// Whether it tells of the process, whatever stores it has open.
    pub(crate) fn is_of_process(&self) -> bool {
        self.name.starts_with("process_")
    }
}

/// Declares each metric as a constant, and [`METRICS`], the list of all of them.
macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $unit:literal $help:literal,)*) => {
        $(pub(crate) const $constant: Metric = Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            help: $help,
        };)*

        /// All metrics, in the order of a report.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    COMMIT_SECONDS: Summary "bop_commit_seconds" "seconds"
        "What durable commits took that somebody waited for",
    WRITE_SECONDS: Summary "bop_log_write_seconds" "seconds"
        "The durable device write of a batch",
    FLUSH_SECONDS: Summary "bop_log_flush_seconds" "seconds"
        "A batch from being taken from the queue until it is durable, rolls and rewrites included",
    SYNC_SECONDS: Summary "bop_sync_seconds" "seconds"
        "Syncs of files and directories beside the writes of batches",
    BATCH_BYTES: Summary "bop_log_batch_bytes" "bytes"
        "Bytes of a durable batch",
    BATCH_RECORDS: Summary "bop_log_batch_records" "records"
        "Records of a durable batch",
    BATCH_COMMITS: Summary "bop_log_commits_per_write" "commits"
        "Commits that one device write made durable",
    COMMITS: Counter "bop_log_commits_total" "commits"
        "Commits that became durable",
    WRITE_FAILURES: Counter "bop_log_write_failures_total" "batches"
        "Writes of a batch that failed, by what failed",
    REWRITES: Counter "bop_log_rewrites_total" "attempts"
        "Attempts to write a failed batch into a fresh segment, by what had failed",
    PACED: Counter "bop_log_paced_commits_total" "commits"
        "Commits that were let in slowly, because the log was nearly full",
    STALLS: Counter "bop_log_stalls_total" "batches"
        "Batches taken from a write that did not return in time",
    ERRORS: Counter "bop_errors_total" "errors"
        "Errors that callers of the store were given, by code",
    CHECKPOINTS: Counter "bop_checkpoints_total" "checkpoints"
        "Checkpoints that were published",
    CHECKPOINT_FAILURES: Counter "bop_checkpoint_failures_total" "checkpoints"
        "Checkpoints that failed",
    CHECKPOINT_SECONDS: Summary "bop_checkpoint_seconds" "seconds"
        "How long a checkpoint took",
    CHECKPOINT_PAGES: Counter "bop_checkpoint_pages_total" "pages"
        "Pages that checkpoints wrote",
    CHECKPOINT_BYTES: Counter "bop_checkpoint_bytes_total" "bytes"
        "Bytes of the chunks that checkpoints wrote",
    CHECKPOINT_RESTS: Counter "bop_checkpoint_rests_total" "rests"
        "Times that a checkpoint rested to give way to commits",
    JOBS_DONE: Counter "bop_jobs_done_total" "jobs"
        "Jobs that succeeded",
    JOB_FAILURES: Counter "bop_job_failures_total" "attempts"
        "Attempts at a job that failed",
    SCRUB_BYTES: Counter "bop_scrub_bytes_total" "bytes"
        "Bytes of chunks that were read in the background to find damage",
    PAGE_IMAGES: Counter "bop_log_page_images_total" "pages"
        "Page images written into the log, by encoding",
    PAGE_IMAGE_BYTES: Counter "bop_log_page_image_bytes_total" "bytes"
        "Bytes of the page images written into the log",
    CACHE_HITS: Counter "bop_cache_hits_total" "pages"
        "Pages that were asked for and in the cache",
    CACHE_MISSES: Counter "bop_cache_misses_total" "pages"
        "Pages that were asked for and not in the cache",
    CACHE_LOADS: Counter "bop_cache_loads_total" "loads"
        "Loads that were begun for pages that the cache did not have, failed ones included",
    CACHE_INSERTIONS: Counter "bop_cache_insertions_total" "pages"
        "Pages put into the cache",
    CACHE_EVICTIONS: Counter "bop_cache_evictions_total" "pages"
        "Pages thrown out of the cache to make room",
    QUEUE_RECORDS: Gauge "bop_log_queue_records" "records"
        "Records that wait for a device write",
    QUEUE_BYTES: Gauge "bop_log_queue_bytes" "bytes"
        "Bytes of the records that wait for a device write",
    BACKLOG_BYTES: Gauge "bop_log_backlog_bytes" "bytes"
        "Bytes that were taken and are not durable: those that wait, and the batch in flight",
    UNCHECKPOINTED_BYTES: Gauge "bop_log_uncheckpointed_bytes" "bytes"
        "Positions of the log between the last checkpoint and the newest durable record",
    LOG_BYTES: Gauge "bop_log_bytes" "bytes"
        "Bytes of the segments that hold records",
    LOG_BYTES_CAPPED: Gauge "bop_log_capped_bytes" "bytes"
        "Bytes of the segments that count against the log's cap",
    LOG_BYTES_MAX: Gauge "bop_log_max_bytes" "bytes"
        "The log's cap: at it commits wait, then are refused",
    LOG_HELD: Gauge "bop_log_held_bytes" "bytes"
        "Bytes of the log from the oldest position on that is needed, by who needs it",
    LOG_SEGMENTS: Gauge "bop_log_segments" "segments"
        "Segments that hold records",
    CURSOR_LOG_BYTES: Gauge "bop_cursor_log_bytes" "bytes"
        "Bytes of segments that are kept for cursors over commits alone",
    SPARE_SEGMENTS: Gauge "bop_log_spare_segments" "segments"
        "Segments kept ready",
    DAMAGED_BYTES: Gauge "bop_damaged_bytes" "bytes"
        "Bytes of segments that are kept for closed databases",
    CLOSED_DATABASES: Gauge "bop_closed_databases" "databases"
        "Databases that are closed for damage",
    HEALTHY: Gauge "bop_healthy" "0 or 1"
        "1 while everything works",
    FAILING: Gauge "bop_failing" "0 or 1"
        "Whether something does not work, by what that is",
    POISONED: Gauge "bop_log_poisoned" "0 or 1"
        "1 when no commit is taken before the store is opened again",
    STALLED_CALLS: Gauge "bop_io_stalled_calls" "calls"
        "I/O calls that have not returned within their deadline",
    JOBS_WAITING: Gauge "bop_jobs_waiting" "jobs"
        "Jobs that are not over",
    BREAKER_OPEN: Gauge "bop_breaker_open" "0 or 1"
        "Whether work in the background is left alone after too many failures",
    BREAKER_OPENED: Counter "bop_breaker_opened_total" "times"
        "How often such work was given up for a while",
    LAST_CHECKPOINT: Gauge "bop_checkpoint_last_timestamp_seconds" "seconds"
        "When the last checkpoint since the store was opened ended, since the Unix epoch; 0 without one",
    RESERVE: Gauge "bop_disk_reserve_bytes" "bytes"
        "Room on the device that is held for the next checkpoint",
    RESERVE_MISSING: Gauge "bop_disk_reserve_missing_bytes" "bytes"
        "Room that is to be held beside it, and that the device did not have",
    LAST_BACKUP: Gauge "bop_backup_last_timestamp_seconds" "seconds"
        "When the newest backup was finished, since the Unix epoch; 0 when none is known",
    LAST_VERIFIED: Gauge "bop_backup_last_verified_timestamp_seconds" "seconds"
        "When a backup was verified last, since the Unix epoch; 0 when that is not known of any",
    DATABASES: Gauge "bop_databases" "databases"
        "Live databases",
    FORKS: Gauge "bop_forks" "databases"
        "Live databases that are forks",
    SNAPSHOTS: Gauge "bop_snapshots" "snapshots"
        "Named snapshots",
    READERS: Gauge "bop_readers" "transactions"
        "Read transactions that are open",
    CHUNKS: Gauge "bop_chunks" "chunks"
        "Chunks that the manifest names",
    CHUNK_BYTES: Gauge "bop_chunk_bytes" "bytes"
        "Bytes of these chunks",
    INDEX_ENTRIES: Gauge "bop_index_entries" "entries"
        "Entries of the page index over the log",
    RECORD_ENTRIES: Gauge "bop_record_log_entries" "entries"
        "Live entries of record logs",
    RECORD_BYTES: Gauge "bop_record_log_bytes" "bytes"
        "Bytes of the log that what is live of record logs needs",
    CACHE_PAGES: Gauge "bop_cache_pages" "pages"
        "Pages in the cache",
    CACHE_BYTES: Gauge "bop_cache_bytes" "bytes"
        "Memory that the pages in the cache take",
    CACHE_BYTES_MAX: Gauge "bop_cache_max_bytes" "bytes"
        "The most that they may be",
    CACHE_PRESSURE: Gauge "bop_cache_pressure" "thousandths"
        "Of the newest thousand pages put into the cache, those that had another one thrown out",
    BUFFER_BYTES: Gauge "bop_buffer_bytes" "bytes"
        "Bytes of the I/O buffers that were made",
    RESIDENT_MEMORY: Gauge "process_resident_memory_bytes" "bytes"
        "Memory of the process that is resident",
    THREADS: Gauge "process_threads" "threads"
        "Threads of the process",
    OPEN_FDS: Gauge "process_open_fds" "descriptors"
        "File descriptors that the process has open",
    MAX_FDS: Gauge "process_max_fds" "descriptors"
        "The most that it may have open",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_rules_of_prometheus_and_are_given_once() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(metric.name.bytes().all(legal), "{metric:?}");
            // What is the process's and not a store's has the name that it has everywhere.
            let is_of_store = metric.name.starts_with("bop_");
            assert!(is_of_store != metric.is_of_process(), "{metric:?}");
            let counts = metric.kind == MetricKind::Counter;
            assert_eq!(metric.name.ends_with("_total"), counts, "{metric:?}");
            assert!(!metric.help.contains(['\\', '\n']), "{metric:?}");
            for unit in ["seconds", "bytes"] {
                let name = metric.name.trim_end_matches("_total");
                assert_eq!(metric.unit == unit, name.ends_with(unit), "{metric:?}");
            }
        }
    }
}
