//! The application's own recorder hears the same, with the store's id.

use crate::rig::{Rig, WAIT, commit, noise};
use bop_storage::{DbKind, Housekeeping, Limits};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Keeps what was told: the sum for counters, the last value for gauges, how many for histograms.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<BTreeMap<String, f64>>>);

struct Handle {
    ear: Ear,
    key: String,
}

impl Ear {
    fn handle(&self, key: &Key) -> Arc<Handle> {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        Arc::new(Handle {
            ear: self.clone(),
            key: format!("{}{}", key.name(), labels.collect::<String>()),
        })
    }

    fn of(&self, name: &str) -> Option<f64> {
        self.0.lock().unwrap().get(name).copied()
    }
}

impl Handle {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        let mut heard = self.ear.0.lock().unwrap();
        change(heard.entry(self.key.clone()).or_default());
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.change(|sum| *sum += value as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|sum| *sum = value as f64);
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.change(|level| *level += value);
    }
    fn decrement(&self, value: f64) {
        self.change(|level| *level -= value);
    }
    fn set(&self, value: f64) {
        self.change(|level| *level = value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, _value: f64) {
        self.change(|count| *count += 1.0);
    }
}

impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.handle(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

#[test]
fn a_recorder_that_was_there_first_hears_what_the_store_says() {
    let ear = Ear::default();
    let rig = Rig::new();
    // Of this thread: other tests of this process have no recorder.
    metrics::with_local_recorder(&ear, || {
        let store = rig.open(Limits::tiny(), Housekeeping::Manual);
        let id = store.status().store;
        let db = store.create_database("pages", DbKind::Raw).unwrap();
        commit(&db, 1, &noise(1));
        commit(&db, 2, &noise(2));
        store.database("nobody").unwrap_err();
        let of = |name: &str| ear.of(&format!("{name} store={id}"));
        assert_eq!(of("bop_log_commits_total"), Some(3.0));
        assert_eq!(of("bop_log_write_seconds"), Some(3.0));
        let errors = format!("bop_errors_total store={id} code=database_not_found");
        assert_eq!(ear.of(&errors), Some(1.0));
        assert_eq!(of("bop_databases"), None, "nobody has asked");
        store.metrics();
        assert_eq!(of("bop_databases"), Some(1.0));
        let raw = format!("bop_log_page_images_total store={id} encoding=raw");
        assert_eq!(ear.of(&raw), Some(2.0));
        drop(db);
        store.close(WAIT).unwrap();
    });
}
