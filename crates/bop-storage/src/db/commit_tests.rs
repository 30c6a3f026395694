//! What a commit keeps while it waits.

use super::super::{Db, Durability, Manager, ReadTxn, WriteTxn, simulated};
use crate::error::{CommitError, Rejection};
use crate::ids::{DbKind, Lsn, PageNo};
use crate::limits::Limits;
use crate::log::HoldReason;
use crate::manifest::MemoryManifest;
use crate::testing::{Fault, SimDisk};
use crate::view::View;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);

fn open(disk: &SimDisk, manifest: &MemoryManifest, writer_wait: Duration) -> Manager {
    let limits = Limits {
        writer_wait,
        ..Limits::tiny()
    };
    simulated::open(disk, manifest, limits)
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

/// A reader of the newest state, and a transaction on it that writes one page.
fn begin(db: &Db, page: u32, content: u8) -> (ReadTxn, WriteTxn) {
    let reader = db.begin_read().unwrap();
    let mut write = db.begin_write_at(&reader, LONG).unwrap();
    let page = PageNo::new(page).unwrap();
    write.write_page(page, &[content; 1024]).unwrap();
    (reader, write)
}

/// Where the newest view is, and which commit it shows.
fn newest(db: &Db) -> (*const View, Lsn) {
    let states = db.engine().states();
    let view = states.first().unwrap().view();
    (Arc::as_ptr(&view), view.head().lsn)
}

fn first_byte(read: &ReadTxn, page: u32) -> u8 {
    read.read_page(PageNo::new(page).unwrap()).unwrap()[0]
}

#[test]
fn a_reader_that_moves_on_with_its_commit_costs_no_copy_of_the_index() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest, LONG);
    let db = store.create_database("small", DbKind::Raw).unwrap();
    commit(&db, 3).unwrap();
    let (place, _) = newest(&db);
    let (reader, write) = begin(&db, 2, 9);
    let after = write.commit_and_read(reader, Durability::Full).unwrap();
    assert_eq!(newest(&db), (place, after.lsn()), "changed where it is");
    assert_eq!((first_byte(&after, 2), first_byte(&after, 3)), (9, 7));
    assert_eq!(db.readers(), 1);
    // What somebody else reads stays.
    let (reader, write) = begin(&db, 2, 11);
    let again = write.commit_and_read(reader, Durability::RELAXED).unwrap();
    assert_ne!(newest(&db).0, place);
    assert_eq!((first_byte(&after, 2), first_byte(&again, 2)), (9, 11));
    // Without anything to commit, too.
    let write = db.begin_write_at(&again, LONG).unwrap();
    let same = write.commit_and_read(again, Durability::Full).unwrap();
    assert_eq!((first_byte(&same, 2), db.readers()), (11, 2));
}

#[test]
fn a_reader_whose_commit_fails_is_where_it_was() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest, LONG);
    let db = store.create_database("small", DbKind::Raw).unwrap();
    commit(&db, 3).unwrap();
    store.set_quota("small", Some(3 * 1024)).unwrap();
    let (_, before) = newest(&db);
    let refused = |pages| {
        let (reader, write) = begin(&db, pages, 9);
        let failed = write.commit_and_read(reader, Durability::Full).unwrap_err();
        assert_eq!(failed.reader.lsn(), before);
        assert_eq!(first_byte(&failed.reader, 2), 7);
        failed
    };
    let over = refused(4).error;
    assert!(
        matches!(over, CommitError::Rejected(Rejection::OverQuota { .. })),
        "{over}"
    );
    // The device takes nothing any more.
    disk.fail_in(0, Fault::Sticky(5));
    let failed = refused(2);
    assert_eq!(db.readers(), 1);
    drop(failed);
    assert_eq!((db.readers(), newest(&db).1), (0, before));
}

#[test]
fn a_reader_of_another_state_does_not_move() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest, LONG);
    let db = store.create_database("small", DbKind::Raw).unwrap();
    let other = store.create_database("other", DbKind::Raw).unwrap();
    commit(&db, 3).unwrap();
    let old = db.begin_read().unwrap();
    commit(&db, 2).unwrap();
    let (_, before) = newest(&db);
    for reader in [old, other.begin_read().unwrap()] {
        let lsn = reader.lsn();
        let (_, write) = begin(&db, 1, 9);
        let failed = write.commit_and_read(reader, Durability::Full).unwrap_err();
        let is_invalid = matches!(failed.error, CommitError::Rejected(Rejection::Invalid(_)));
        assert!(is_invalid, "{}", failed.error);
        assert_eq!((failed.reader.lsn(), newest(&db).1), (lsn, before));
    }
}
