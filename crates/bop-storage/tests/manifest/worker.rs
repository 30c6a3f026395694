//! The writer's thread when it falls outside of every transaction: whatever writes the log down panics
//! whenever there is an error to write down. Everybody is answered, what was acknowledged stays, and the thread
//! goes on as often as it may.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and so do edits and the log here"
)]

use crate::writer::{Commits, LONG, STORE, register, registered};
use bop_storage::ManifestError;
use bop_storage::manifest::{Edit, Manifest, ManifestFuture, MemoryManifest};
use bop_storage::runtime::{Joiner, Spawn, SystemSpawn};
use std::sync::{Arc, mpsc};
use std::thread;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// As often the thread goes on.
const RESTARTS_MAX: u64 = 8;

/// A log that panics when there is an error to write down.
struct Falls;

impl Subscriber for Falls {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("the log fell");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Debug)]
struct WithSuchALog;

impl Spawn for WithSuchALog {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Box<dyn Joiner>> {
        let body = move || tracing::subscriber::with_default(Falls, body);
        SystemSpawn.spawn(name, Box::new(body))
    }
}

/// The answer, which must come.
fn answer<T: Send + 'static>(asked: ManifestFuture<T>) -> Result<T, ManifestError> {
    let (told, answer) = mpsc::channel();
    thread::spawn(move || told.send(asked.wait()));
    answer.recv_timeout(LONG).expect("nobody was told")
}

fn falls(_: &mut Edit<'_>) -> Result<(), ManifestError> {
    panic!("an edit fell");
}

#[test]
fn a_writer_that_falls_outside_its_work_answers_all_and_goes_on_as_often_as_it_may() {
    let store = MemoryManifest::new();
    let manifest = Manifest::initialize(Arc::new(store.clone()), STORE).unwrap();
    manifest.start(&WithSuchALog).unwrap();
    let commits = Commits::of(&store);
    let mut acknowledged = Vec::new();
    for fall in 0..=RESTARTS_MAX {
        let number = 10 * fall + 1;
        commits.set(|state| state.hold = true);
        let first = manifest.submit(register(number)).unwrap();
        commits.wait_until_one_is_held();
        let shares = manifest.submit(register(number + 1)).unwrap();
        let panics = manifest.submit(falls).unwrap();
        let behind = manifest.submit(register(number + 2)).unwrap();
        commits.set(|state| state.hold = false);
        assert_eq!(answer(first).unwrap(), number);
        acknowledged.push(number);
        // Those of the batch that fell cannot be told more.
        for lost in [answer(shares).map(drop), answer(panics)] {
            assert!(matches!(lost, Err(ManifestError::Closed)), "{lost:?}");
        }
        let behind = answer(behind);
        if fall < RESTARTS_MAX {
            assert_eq!(behind.unwrap(), number + 2);
            acknowledged.push(number + 2);
            assert!(manifest.failure().is_none());
        } else {
            assert_fell(&behind.unwrap_err());
        }
    }
    // From here on nobody waits for anything.
    assert_fell(&manifest.failure().unwrap());
    assert_fell(&manifest.transact(register(900)).unwrap_err());
    assert_fell(&manifest.transact_within(LONG, register(901)).unwrap_err());
    assert_fell(&manifest.submit(register(902)).unwrap_err());
    assert!(manifest.close(std::time::Instant::now() + LONG));
    let again = Manifest::open(Arc::new(store), STORE).unwrap();
    assert_eq!(registered(&again), acknowledged);
}

fn assert_fell(error: &ManifestError) {
    assert!(
        matches!(error, ManifestError::Panic(report) if report.message == "the log fell"),
        "{error}"
    );
}
