//! The instruments of one open store, and what is recorded with them.
//!
//! Never: knows who reads them.

use super::instruments::{Counter, Distribution, describe, tell_count, tell_level};
use super::list::{self, METRICS, Metric, MetricKind};
use super::report::{MetricFamily, MetricSample, MetricValue, MetricsReport};
use crate::error::{ErrorCode, LogFailure};
use crate::ids::StoreId;
use crate::runtime::sync::now;
use std::time::{Duration, Instant};

/// What can fail in the write of a batch.
const FAILURE_KINDS: [&str; 6] = ["io", "panic", "no_segment", "lost", "stalled", "exhausted"];

/// The instruments.
pub struct StoreMeters {
    store: String,
    commit: Distribution,
    write: Distribution,
    flush: Distribution,
    sync: Distribution,
    batch_bytes: Distribution,
    batch_records: Distribution,
    batch_commits: Distribution,
    commits: Counter,
    write_failures: Vec<Counter>,
    rewrites: Vec<Counter>,
    paced: Counter,
    stalls: Counter,
    errors: Vec<Counter>,
    checkpoints: Counter,
    checkpoint_failures: Counter,
    checkpoint: Distribution,
    checkpoint_pages: Counter,
    checkpoint_bytes: Counter,
    checkpoint_rests: Counter,
    jobs_done: Counter,
    job_failures: Counter,
    scrub_bytes: Counter,
}

/// A batch that is durable.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Its bytes.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// Those that end a change which somebody made: neither notes nor parts of something larger.
    pub commits: u64,
    /// When it was taken from the queue.
    pub since: Instant,
}

/// What the engine knows without an instrument: numbers by metric, and by label if there are any.
#[derive(Default)]
pub(crate) struct Levels(Vec<(Metric, MetricSample)>);

impl Levels {
    /// Adds the one value of a metric.
    pub(crate) fn set(&mut self, metric: &Metric, value: u64) {
        self.push(metric, None, value);
    }

    /// Adds one of the values of a metric.
    pub(crate) fn set_labelled(
        &mut self,
        metric: &Metric,
        label: (&'static str, &'static str),
        value: u64,
    ) {
        self.push(metric, Some(label), value);
    }

    fn push(&mut self, metric: &Metric, label: Option<(&'static str, &'static str)>, value: u64) {
        let value = MetricValue::Number(value);
        self.0.push((*metric, MetricSample { label, value }));
    }
}

impl std::fmt::Debug for StoreMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoreMeters({})", self.store)
    }
}

impl StoreMeters {
    /// Instruments that say nothing yet.
    pub fn new(store: StoreId) -> Self {
        METRICS.iter().for_each(describe);
        let (store, now) = (store.to_string(), now());
        let kinds = |metric: &Metric| {
            let counter = |kind| Counter::labelled(&store, metric, "kind", kind);
            FAILURE_KINDS.into_iter().map(counter).collect()
        };
        let of_code =
            |code: &ErrorCode| Counter::labelled(&store, &list::ERRORS, "code", code.as_str());
        let counter = |metric| Counter::new(&store, metric);
        let numbers = |metric| Distribution::new(&store, metric, now);
        let durations = |metric| Distribution::of_durations(&store, metric, now);
        Self {
            commit: Distribution::of_crowded_durations(&store, &list::COMMIT_SECONDS, now),
            write: durations(&list::WRITE_SECONDS),
            flush: durations(&list::FLUSH_SECONDS),
            sync: durations(&list::SYNC_SECONDS),
            batch_bytes: numbers(&list::BATCH_BYTES),
            batch_records: numbers(&list::BATCH_RECORDS),
            batch_commits: numbers(&list::BATCH_COMMITS),
            commits: counter(&list::COMMITS),
            write_failures: kinds(&list::WRITE_FAILURES),
            rewrites: kinds(&list::REWRITES),
            paced: counter(&list::PACED),
            stalls: counter(&list::STALLS),
            errors: ErrorCode::ALL.iter().map(of_code).collect(),
            checkpoints: counter(&list::CHECKPOINTS),
            checkpoint_failures: counter(&list::CHECKPOINT_FAILURES),
            checkpoint: durations(&list::CHECKPOINT_SECONDS),
            checkpoint_pages: counter(&list::CHECKPOINT_PAGES),
            checkpoint_bytes: counter(&list::CHECKPOINT_BYTES),
            checkpoint_rests: counter(&list::CHECKPOINT_RESTS),
            jobs_done: counter(&list::JOBS_DONE),
            job_failures: counter(&list::JOB_FAILURES),
            scrub_bytes: counter(&list::SCRUB_BYTES),
            store,
        }
    }

    /// A durable commit that began at `since` is visible. Called by those who commit, all at once.
    pub fn committed(&self, since: Instant) {
        let now = now();
        let took = now.saturating_duration_since(since);
        self.commit.record_duration(took, now);
    }

    /// A batch went to the device.
    pub fn batch_written(&self, took: Duration) {
        self.write.record_duration(took, now());
    }

    /// A batch is durable.
    pub fn batch_durable(&self, batch: &Batch) {
        let now = now();
        let took = now.saturating_duration_since(batch.since);
        self.flush.record_duration(took, now);
        self.batch_bytes.record(batch.bytes, now);
        self.batch_records.record(batch.records, now);
        self.batch_commits.record(batch.commits, now);
        self.commits.add(batch.commits);
    }

    /// Commits that became durable.
    pub fn commits(&self) -> u64 {
        self.commits.get()
    }

    /// A write of a batch failed, or did not return.
    pub fn batch_failed(&self, cause: &LogFailure) {
        count_kind(&self.write_failures, cause);
        if matches!(cause, LogFailure::Stalled { .. }) {
            self.stalls.add(1);
        }
    }

    /// A batch that failed for `cause` is tried once more.
    pub fn batch_rewrite(&self, cause: &LogFailure) {
        count_kind(&self.rewrites, cause);
    }

    /// A job has succeeded.
    pub fn job_done(&self) {
        self.jobs_done.add(1);
    }

    /// An attempt at a job has failed.
    pub fn job_failed(&self) {
        self.job_failures.add(1);
    }

    /// Bytes of chunks were read to find damage.
    pub fn scrub_read(&self, bytes: u64) {
        self.scrub_bytes.add(bytes);
    }

    /// Something was synced, or not.
    pub fn synced(&self, took: Duration) {
        self.sync.record_duration(took, now());
    }

    /// A commit waits because the log is nearly full.
    pub fn commit_paced(&self) {
        self.paced.add(1);
    }

    /// A checkpoint rests for commits.
    pub fn checkpoint_rests(&self) {
        self.checkpoint_rests.add(1);
    }

    /// A checkpoint has ended, with so many pages and bytes of chunks when it succeeded.
    pub fn checkpoint_ended(&self, took: Duration, written: Option<(u64, u64)>) {
        let Some((pages, bytes)) = written else {
            self.checkpoint_failures.add(1);
            return;
        };
        self.checkpoints.add(1);
        self.checkpoint.record_duration(took, now());
        self.checkpoint_pages.add(pages);
        self.checkpoint_bytes.add(bytes);
    }

    /// A caller is given an error.
    pub fn error(&self, code: ErrorCode) {
        let at = ErrorCode::ALL.iter().position(|one| *one == code);
        if let Some(counter) = at.and_then(|at| self.errors.get(at)) {
            counter.add(1);
        }
    }

    /// Everything, with what the engine knows besides. Tells the application's recorder `levels`.
    pub(crate) fn report(&self, levels: &Levels) -> MetricsReport {
        let now = now();
        let families = METRICS.iter().map(|metric| MetricFamily {
            metric: *metric,
            samples: self
                .measured(metric, now)
                .unwrap_or_else(|| self.level(metric, levels)),
        });
        MetricsReport {
            families: families.collect(),
        }
    }

    /// What the metric's own instruments say, if it has any.
    fn measured(&self, metric: &Metric, now: Instant) -> Option<Vec<MetricSample>> {
        let one = |value| vec![MetricSample { label: None, value }];
        let number = |counter: &Counter| one(MetricValue::Number(counter.get()));
        let summary = |of: &Distribution| one(MetricValue::Summary(of.value(now)));
        let kinds = |counters: &[Counter]| labelled("kind", FAILURE_KINDS, counters);
        Some(match *metric {
            list::COMMIT_SECONDS => summary(&self.commit),
            list::WRITE_SECONDS => summary(&self.write),
            list::FLUSH_SECONDS => summary(&self.flush),
            list::SYNC_SECONDS => summary(&self.sync),
            list::BATCH_BYTES => summary(&self.batch_bytes),
            list::BATCH_RECORDS => summary(&self.batch_records),
            list::BATCH_COMMITS => summary(&self.batch_commits),
            list::COMMITS => number(&self.commits),
            list::WRITE_FAILURES => kinds(&self.write_failures),
            list::REWRITES => kinds(&self.rewrites),
            list::PACED => number(&self.paced),
            list::STALLS => number(&self.stalls),
            list::ERRORS => {
                let codes = ErrorCode::ALL.iter().map(|code| code.as_str());
                labelled("code", codes, &self.errors)
            }
            list::CHECKPOINTS => number(&self.checkpoints),
            list::CHECKPOINT_FAILURES => number(&self.checkpoint_failures),
            list::CHECKPOINT_SECONDS => summary(&self.checkpoint),
            list::CHECKPOINT_PAGES => number(&self.checkpoint_pages),
            list::CHECKPOINT_BYTES => number(&self.checkpoint_bytes),
            list::CHECKPOINT_RESTS => number(&self.checkpoint_rests),
            list::JOBS_DONE => number(&self.jobs_done),
            list::JOB_FAILURES => number(&self.job_failures),
            list::SCRUB_BYTES => number(&self.scrub_bytes),
            _ => return None,
        })
    }

    fn level(&self, metric: &Metric, levels: &Levels) -> Vec<MetricSample> {
        let of = levels.0.iter().filter(|(of, _)| of == metric);
        let samples: Vec<_> = of.map(|(_, sample)| sample.clone()).collect();
        if metric.is_of_process() {
            // The application tells that itself, and once however many stores it has.
            return samples;
        }
        for MetricSample { label, value } in &samples {
            match (metric.kind, value) {
                (MetricKind::Counter, MetricValue::Number(count)) => {
                    tell_count(&self.store, metric, *label, *count);
                }
                (_, MetricValue::Number(level)) => tell_level(&self.store, metric, *level),
                (_, MetricValue::Summary(_)) => {}
            }
        }
        samples
    }
}

fn labelled(
    label: &'static str,
    of: impl IntoIterator<Item = &'static str>,
    counters: &[Counter],
) -> Vec<MetricSample> {
    let samples = of.into_iter().zip(counters);
    let samples = samples.map(|(of, counter)| MetricSample {
        label: Some((label, of)),
        value: MetricValue::Number(counter.get()),
    });
    samples.collect()
}

fn count_kind(counters: &[Counter], cause: &LogFailure) {
    let kind = match cause {
        LogFailure::Io(_) => "io",
        LogFailure::Panic(_) => "panic",
        LogFailure::Refused(_) => "no_segment",
        LogFailure::Lost => "lost",
        LogFailure::Stalled { .. } => "stalled",
        LogFailure::Exhausted { .. } => "exhausted",
    };
    let at = FAILURE_KINDS.iter().position(|one| *one == kind);
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.add(1);
    }
}
