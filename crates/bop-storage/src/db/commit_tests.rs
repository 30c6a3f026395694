//! What a commit keeps while it waits.

use super::super::{Db, Housekeeping, Manager, Options};
use crate::error::{CommitError, Rejection};
use crate::ids::{DbKind, PageNo};
use crate::limits::Limits;
use crate::log::HoldReason;
use crate::manifest::MemoryManifest;
use crate::testing::SimDisk;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);

fn open(disk: &SimDisk, manifest: &MemoryManifest, writer_wait: Duration) -> Manager {
    let limits = Limits {
        writer_wait,
        ..Limits::tiny()
    };
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

fn commit(db: &Db, pages: u32) -> Result<(), CommitError> {
    let mut write = db.begin_write(LONG).unwrap();
    for page in (1..=pages).filter_map(PageNo::new) {
        write.write_page(page, &[7; 1024]).unwrap();
    }
    write.commit().map(drop)
}

#[test]
fn a_large_transaction_that_waits_for_room_keeps_no_log() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest, Duration::from_millis(1));
    let db = store.create_database("small", DbKind::Raw).unwrap();
    store.create_database("large", DbKind::Raw).unwrap();
    let full = (0..1000).find_map(|_| commit(&db, 5).err()).unwrap();
    let is_full = matches!(full, CommitError::Rejected(Rejection::LogFull { .. }));
    assert!(is_full, "{full}");
    drop((db, store));

    let store = open(&disk, &manifest, LONG);
    let large = store.database("large").unwrap();
    let engine = large.engine();
    thread::scope(|scope| {
        let writer = scope.spawn(|| commit(&large, 40));
        // It asks for a checkpoint, and waits.
        while !engine.signals.take().checkpoint {
            assert!(!writer.is_finished());
            thread::yield_now();
        }
        let others = |reason: &HoldReason| !matches!(reason, HoldReason::FragmentChain(_));
        assert_eq!(engine.log().holds().oldest_but(others), None);
        engine.checkpoint().unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(large.begin_read().unwrap().page_count(), 40);
}
