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

/// Commits that no checkpoint keeps up with get slower in the last quarter of the log, and none of them is
/// refused while there is room; when there is room again they are as fast as before.
#[test]
fn commits_get_slower_before_the_log_is_full() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest, LONG);
    let db = store.create_database("small", DbKind::Raw).unwrap();
    let (engine, mut random) = (db.engine(), 1_u64);
    let mut commit = || {
        let mut write = db.begin_write(LONG).unwrap();
        let mut content = vec![0; 8192];
        for word in content.chunks_exact_mut(8) {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            word.copy_from_slice(&random.to_be_bytes());
        }
        write.write_page(PageNo::FIRST, &content).unwrap();
        write.commit().unwrap();
    };
    let paced = || {
        let text = store.metrics_text();
        let name = "\nbop_log_paced_commits_total ";
        let (_, value) = text.split_once(name).unwrap();
        value.lines().next().unwrap().parse::<u64>().unwrap()
    };
    let cap = engine.limits().log_bytes_max;
    while engine.log().ring().held_bytes() < cap / 4 * 3 {
        assert_eq!(paced(), 0);
        commit();
    }
    while engine.log().ring().held_bytes() < cap {
        commit();
    }
    let slow = paced();
    assert!(slow > 10, "{slow} of some thirty commits");
    engine.checkpoint().unwrap();
    (0..30).for_each(|_| commit());
    assert_eq!(paced(), slow);
}
