//! Counters and distributions of one store, each told to the application's recorder as well.
//!
//! The application's recorder is whatever was installed with the crate `metrics` when the store was
//! opened; where none was, telling it costs a test of a pointer.
//!
//! Never: looks anything up after the store was opened, but for errors.

use super::list::Metric;
use super::report::SummaryValue;
use super::summary::Summary;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The label that keeps stores apart in the application's recorder.
const STORE: &str = "store";

/// A count.
pub(super) struct Counter {
    own: AtomicU64,
    outer: metrics::Counter,
}

/// A distribution. Values are whole numbers: microseconds where the unit is seconds.
pub(super) struct Distribution {
    own: Summary,
    outer: metrics::Histogram,
    /// What a value times this is, in the metric's unit.
    scale: f64,
}

impl Counter {
    pub(super) fn new(store: &str, metric: &Metric) -> Self {
        Self::of(metrics::counter!(metric.name, STORE => store.to_owned()))
    }

    /// A count of one kind of many.
    pub(super) fn labelled(
        store: &str,
        metric: &Metric,
        label: &'static str,
        value: &'static str,
    ) -> Self {
        Self::of(metrics::counter!(metric.name, STORE => store.to_owned(), label => value))
    }

    fn of(outer: metrics::Counter) -> Self {
        let own = AtomicU64::new(0);
        Self { own, outer }
    }

    pub(super) fn add(&self, more: u64) {
        self.own.fetch_add(more, Ordering::Relaxed);
        self.outer.increment(more);
    }

    pub(super) fn get(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

impl Distribution {
    /// Of numbers.
    pub(super) fn new(store: &str, metric: &Metric, now: Instant) -> Self {
        Self {
            own: Summary::new(now),
            outer: metrics::histogram!(metric.name, STORE => store.to_owned()),
            scale: 1.0,
        }
    }

    /// Of durations.
    pub(super) fn of_durations(store: &str, metric: &Metric, now: Instant) -> Self {
        Self {
            scale: 1e-6,
            ..Self::new(store, metric, now)
        }
    }

    /// Of durations that many threads record at the same moment.
    pub(super) fn of_crowded_durations(store: &str, metric: &Metric, now: Instant) -> Self {
        Self {
            own: Summary::crowded(now),
            ..Self::of_durations(store, metric, now)
        }
    }

    pub(super) fn record(&self, value: u64, now: Instant) {
        self.own.record(value, now);
        self.outer.record(value as f64 * self.scale);
    }

    pub(super) fn record_duration(&self, took: Duration, now: Instant) {
        // No duration is that long.
        self.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), now);
    }

    pub(super) fn value(&self, now: Instant) -> SummaryValue {
        self.own.value(self.scale, now)
    }
}

/// Sets a level in the application's recorder. Looked up by name: only a report does.
pub(super) fn tell_level(store: &str, metric: &Metric, level: u64) {
    metrics::gauge!(metric.name, STORE => store.to_owned()).set(level as f64);
}

/// Sets a count in the application's recorder that the engine keeps by itself.
pub(super) fn tell_count(
    store: &str,
    metric: &Metric,
    label: Option<(&'static str, &'static str)>,
    count: u64,
) {
    let counter = match label {
        None => metrics::counter!(metric.name, STORE => store.to_owned()),
        Some((label, value)) => {
            metrics::counter!(metric.name, STORE => store.to_owned(), label => value)
        }
    };
    counter.absolute(count);
}

/// Describes a metric to the application's recorder.
pub(super) fn describe(metric: &Metric) {
    use super::list::MetricKind;
    let unit = match metric.unit {
        "seconds" => metrics::Unit::Seconds,
        "bytes" => metrics::Unit::Bytes,
        _ => metrics::Unit::Count,
    };
    match metric.kind {
        MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
        MetricKind::Summary => metrics::describe_histogram!(metric.name, unit, metric.help),
    }
}
