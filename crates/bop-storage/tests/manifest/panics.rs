//! A manifest that panics: opening, checkpoint and close answer with the panic, nothing unwinds, what
//! was acknowledged is there after the next opening, and a store whose commit panicked takes no
//! other one.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, and so does the manifest here"
)]

use bop_storage::manifest::{Gate, ManifestStore, MemoryManifest, RawRow, Table, Write};
use bop_storage::testing::SimDisk;
use bop_storage::{
    CheckpointError, CommitError, DbKind, ErrorCode, Housekeeping, Limits, Manager, ManifestError,
    OpenError, Options, PageNo,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn options(disk: &SimDisk, manifest: Arc<dyn ManifestStore>) -> Options {
    Options::new()
        .limits(Limits::tiny())
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), manifest)
}

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Result<Manager, OpenError> {
    Manager::open("simulated", options(disk, Arc::new(manifest.clone())))
}

/// Panics at each commit, and counts them.
fn panicking(asked: &Arc<AtomicUsize>) -> Gate {
    let asked = Arc::clone(asked);
    Arc::new(move || {
        asked.fetch_add(1, Ordering::Relaxed);
        panic!("the gate fell")
    })
}

fn commit(store: &Manager, byte: u8) -> Result<(), CommitError> {
    let db = store.database("a").unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write.commit().map(drop)
}

fn first(store: &Manager) -> u8 {
    let db = store.database("a").unwrap();
    db.begin_read().unwrap().read_page(PageNo::FIRST).unwrap()[0]
}

/// With all that a report of a panic has.
fn check(error: &ManifestError, message: &str) {
    let ManifestError::Panic(report) = error else {
        panic!("{error}")
    };
    assert_eq!(report.message, message);
    assert!(report.location.contains("manifest/panics.rs:"), "{report}");
    assert!(!report.stage.is_empty() && !report.thread.is_empty());
    assert_eq!(error.code(), ErrorCode::Panic);
}

/// Before the writes are applied, and when they are there already.
#[test]
fn a_checkpoint_whose_manifest_panics_fails_and_so_does_every_later_one() {
    for applied in [false, true] {
        let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
        let store = open(&disk, &manifest).unwrap();
        store.create_database("a", DbKind::Raw).unwrap();
        commit(&store, 1).unwrap();
        let asked = Arc::default();
        if applied {
            manifest.set_gate_after(Some(panicking(&asked)));
        } else {
            manifest.set_gate(Some(panicking(&asked)));
        }
        for _ in 0..2 {
            let CheckpointError::Manifest(error) = store.checkpoint().unwrap_err() else {
                panic!("not the manifest's error");
            };
            check(&error, "the gate fell");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "none behind the first");
        // Commits do not need the manifest while there are spares.
        commit(&store, 2).unwrap();
        assert_eq!(first(&store), 2);
        store.close(LONG).unwrap();
        manifest.set_gate(None);
        manifest.set_gate_after(None);

        let store = open(&disk, &manifest).unwrap();
        assert_eq!(first(&store), 2, "applied: {applied}");
        store.checkpoint().unwrap();
        assert_eq!(store.verify().findings, []);
    }
}

#[test]
fn a_new_store_whose_manifest_panics_is_not_opened_and_can_be_later() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    manifest.set_gate(Some(panicking(&Arc::default())));
    let OpenError::Manifest(error) = open(&disk, &manifest).unwrap_err() else {
        panic!("not the manifest's error");
    };
    check(&error, "the gate fell");
    manifest.set_gate(None);
    let store = open(&disk, &manifest).unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    commit(&store, 1).unwrap();
    assert_eq!(first(&store), 1);
}

/// Which call panics.
#[derive(Copy, Clone, PartialEq, Debug)]
enum Call {
    Scan,
    Close,
}

#[derive(Debug)]
struct Panicking(MemoryManifest, Call);

impl ManifestStore for Panicking {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        self.0.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        assert!(self.1 != Call::Scan, "scanned");
        self.0.scan(table, from, limit)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        self.0.commit(writes)
    }

    fn close(&self) {
        assert!(self.1 != Call::Close, "closed");
    }
}

#[test]
fn a_manifest_that_panics_while_it_is_read_or_closed_unwinds_into_nobody() {
    let (disk, rows) = (SimDisk::new(1), MemoryManifest::new());
    let open = |call| {
        let manifest = Arc::new(Panicking(rows.clone(), call));
        Manager::open("simulated", options(&disk, manifest))
    };
    let store = open(Call::Close).unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    commit(&store, 1).unwrap();
    store.close(LONG).unwrap();
    drop(store);

    let OpenError::Manifest(error) = open(Call::Scan).unwrap_err() else {
        panic!("not the manifest's error");
    };
    check(&error, "scanned");

    let store = open(Call::Close).unwrap();
    assert_eq!(first(&store), 1);
}
