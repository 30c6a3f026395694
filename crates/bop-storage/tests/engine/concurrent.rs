//! Many threads on one store, with limits so small that everything wraps, fills and waits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{SimDisk, SplitMix64};
use bop_storage::{
    BeginError, CatalogueError, CommitError, Db, DbKind, Housekeeping, Limits, Manager, Options,
    PageNo, ReadTxn, Rejection,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const PAGE_BYTES: usize = 1024;

/// Whoever waits for a checkpoint waits for the disk: how long that takes is not the question.
fn patient() -> Limits {
    let mut limits = Limits::tiny();
    limits.writer_wait = LONG;
    limits
}

fn store(limits: Limits, housekeeping: Housekeeping) -> Manager {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let options = Options::new()
        .limits(limits)
        .housekeeping(housekeeping)
        .disk(Arc::new(disk), Arc::new(manifest));
    Manager::open("simulated", options).unwrap()
}

/// Lets the threads of a scope end, also when what they wait for has panicked.
struct StopGuard<'a>(&'a AtomicBool);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn page(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

/// Commits `number` to every page from 1 to `pages`.
fn commit(db: &Db, number: u64, pages: u32) -> Result<ReadTxn, CommitError> {
    let mut write = db.begin_write(LONG).unwrap();
    for n in 1..=pages {
        let mut content = [0; PAGE_BYTES];
        content[..8].copy_from_slice(&number.to_le_bytes());
        write.write_page(page(n), &content).unwrap();
    }
    write.commit()
}

/// The number that all pages of a snapshot carry.
fn number_of(read: &ReadTxn) -> u64 {
    let mut number = None;
    for n in 1..=read.page_count() {
        let content = read.read_page(page(n)).unwrap();
        let found = u64::from_le_bytes(content[..8].try_into().unwrap());
        let (first, lsn) = (*number.get_or_insert(found), read.lsn());
        assert_eq!(found, first, "page {n} of the snapshot at {lsn}");
    }
    number.unwrap_or(0)
}

/// Reads until told to stop; keeps some snapshots and finds each as it was.
fn read_on(db: &Db, stop: &AtomicBool, seed: u64) {
    let mut random = SplitMix64::new(seed);
    let (mut kept, mut newest) = (Vec::new(), 0);
    while !stop.load(Ordering::Acquire) {
        let read = db.begin_read().unwrap();
        let number = number_of(&read);
        assert!(newest <= number, "a later snapshot shows an earlier commit");
        newest = number;
        let copy = read.duplicate().unwrap();
        assert_eq!((copy.lsn(), number_of(&copy)), (read.lsn(), number));
        kept.push((read, number));
        for (read, number) in &kept {
            assert_eq!(number_of(read), *number);
        }
        // An old snapshot keeps its part of the log: nobody has one for long here.
        if kept.len() > 2 || random.chance(1, 2) {
            kept.clear();
        }
    }
}

#[test]
fn snapshots_stay_whole_while_the_log_is_recycled_below_them() {
    const COMMITS: u64 = 150;
    let limits = patient();
    let log_bytes_max = limits.log_bytes_max;
    let store = store(limits, Housekeeping::Background);
    let stop = AtomicBool::new(false);
    let released = AtomicU64::new(0);
    let dbs = ["a", "b", "c"].map(|name| store.create_database(name, DbKind::Raw).unwrap());
    thread::scope(|scope| {
        let writers: Vec<_> = dbs
            .iter()
            .zip([9, 12, 30])
            .map(|(db, pages)| {
                scope.spawn(move || {
                    for number in 1..=COMMITS {
                        let after = commit(db, number, pages).unwrap();
                        assert_eq!(number_of(&after), number);
                    }
                })
            })
            .collect();
        for (db, seed) in dbs.iter().zip(1..) {
            scope.spawn(|| read_on(db, &stop, 1));
            scope.spawn({
                let stop = &stop;
                move || read_on(db, stop, seed)
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                let report = store.checkpoint().unwrap();
                released.fetch_add(report.segments_released as u64, Ordering::Relaxed);
            }
        });
        let _stop = StopGuard(&stop);
        let ended = writers.into_iter().map(thread::ScopedJoinHandle::join);
        ended.for_each(|ended| ended.unwrap());
    });
    let report = store.verify();
    assert!(report.is_healthy(), "{report:?}");
    for db in &dbs {
        assert_eq!(number_of(&db.begin_read().unwrap()), COMMITS);
    }
    // The last one of the thread may have been before the last commits.
    store.checkpoint().unwrap();
    let (status, released) = (store.status(), released.into_inner());
    assert!(3 * log_bytes_max < status.truncated.get(), "{status:?}");
    assert!(released > 0 && status.index_entries == 0, "{status:?}");
}

#[test]
fn a_reader_that_never_ends_holds_back_no_commit_at_the_logs_cap() {
    const COMMITS: u64 = 1500;
    let mut limits = Limits::tiny();
    limits.writer_wait = LONG;
    let log_bytes_max = limits.log_bytes_max;
    let store = store(limits, Housekeeping::Background);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    drop(commit(&db, 1, 1).unwrap());
    let reader = db.begin_read().unwrap();
    // What it shows goes from the log into a history when the log is full, and the log on.
    for number in 2..=COMMITS {
        drop(commit(&db, number, 5).unwrap());
    }
    let status = store.status();
    assert!(2 * log_bytes_max < status.truncated.get(), "{status:?}");
    assert_eq!(number_of(&reader), 1);
    drop(reader);
    assert_eq!(number_of(&db.begin_read().unwrap()), COMMITS);
}

#[test]
fn several_writers_of_one_database_lose_no_update() {
    let store = store(patient(), Housekeeping::Background);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut write = db.begin_write(LONG).unwrap();
                    let mut content = [0; PAGE_BYTES];
                    if write.page_count() > 0 {
                        content.copy_from_slice(&write.read_page(page(1)).unwrap());
                    }
                    let number = u64::from_le_bytes(content[..8].try_into().unwrap()) + 1;
                    content[..8].copy_from_slice(&number.to_le_bytes());
                    write.write_page(page(1), &content).unwrap();
                    write.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(number_of(&db.begin_read().unwrap()), 200);
}

#[test]
fn a_writer_that_waits_too_long_is_busy_and_leaves_nothing_behind() {
    let store = store(Limits::tiny(), Housekeeping::Manual);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let snapshot = db.begin_read().unwrap();
    let held = db.begin_write(Duration::ZERO).unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(5)] {
        assert!(matches!(db.begin_write(wait), Err(BeginError::Busy)));
        let at = db.begin_write_at(&snapshot, wait);
        assert!(matches!(at, Err(BeginError::Busy)));
    }
    assert!(matches!(
        store.drop_database("other"),
        Err(CatalogueError::NotFound { .. })
    ));
    drop(held);
    commit(&db, 1, 1).unwrap();
    let stale = db.begin_write_at(&snapshot, LONG).unwrap_err();
    assert!(matches!(stale, BeginError::BusySnapshot { .. }), "{stale}");
    drop(db.begin_write(Duration::ZERO).unwrap());
}

/// Commits until the log is at its cap; returns the number of the newest commit.
fn fill(db: &Db, pages: u32) -> (u64, CommitError) {
    let mut number = number_of(&db.begin_read().unwrap());
    loop {
        match commit(db, number + 1, pages) {
            Ok(_) => number += 1,
            Err(error) => return (number, error),
        }
    }
}

#[test]
fn a_commit_that_waits_at_the_logs_cap_goes_on_after_a_checkpoint() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let open = |writer_wait| {
        let mut limits = Limits::tiny();
        limits.writer_wait = writer_wait;
        let options = Options::new()
            .limits(limits)
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
        Manager::open("simulated", options).unwrap()
    };
    drop(open(LONG).create_database("a", DbKind::Raw).unwrap());
    // A commit of one record, and one of many fragments.
    for pages in [5, 40] {
        let store = open(Duration::from_millis(1));
        let (number, _) = fill(&store.database("a").unwrap(), pages);
        drop(store);
        let store = open(LONG);
        let db = store.database("a").unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| commit(&db, number + 1, pages).map(drop));
            while !writer.is_finished() {
                // Does nothing but what was asked for: whoever waits pins no log itself.
                store.keep_house();
                thread::yield_now();
            }
            writer.join().unwrap().unwrap();
        });
        assert_eq!(number_of(&db.begin_read().unwrap()), number + 1);
    }
}

#[test]
fn without_a_checkpoint_the_log_is_full_until_there_is_one() {
    let mut limits = Limits::tiny();
    limits.writer_wait = Duration::from_millis(1);
    let store = store(limits, Housekeeping::Manual);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    for _ in 0..3 {
        let (number, refused) = fill(&db, 5);
        let full = matches!(refused, CommitError::Rejected(Rejection::LogFull { .. }));
        assert!(full, "{refused}");
        // Nothing happened, reading goes on, and what makes room is not refused.
        assert_eq!(number_of(&db.begin_read().unwrap()), number);
        store.create_database("b", DbKind::Raw).unwrap_err();
        assert!(store.checkpoint().unwrap().segments_released > 0);
        commit(&db, number + 1, 5).unwrap();
    }
}

#[test]
fn a_full_index_makes_commits_wait_for_a_checkpoint() {
    let mut limits = Limits::tiny();
    limits.index_entries_max = 32;
    limits.writer_wait = Duration::from_millis(1);
    let mut patient = limits.clone();
    patient.writer_wait = LONG;
    let scatter = |db: &Db, round: u32| {
        let mut write = db.begin_write(LONG).unwrap();
        for n in 0..8 {
            write
                .write_page(page(1 + 2 * n + 20 * round), &[1; PAGE_BYTES])
                .unwrap();
        }
        write.commit().map(drop)
    };
    let impatient = store(limits, Housekeeping::Manual);
    let db = impatient.create_database("a", DbKind::Raw).unwrap();
    let refused = (0..100)
        .find_map(|round| scatter(&db, round).err())
        .unwrap();
    assert!(
        matches!(refused, CommitError::Rejected(Rejection::Timeout { .. })),
        "{refused}"
    );
    assert!(impatient.status().index_entries >= 32);
    impatient.checkpoint().unwrap();
    assert_eq!(impatient.status().index_entries, 0);
    scatter(&db, 0).unwrap();

    let store = store(patient, Housekeeping::Manual);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| (0..60).for_each(|round| scatter(&db, round).unwrap()));
        while !writer.is_finished() {
            store.keep_house();
            thread::yield_now();
        }
        writer.join().unwrap();
    });
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn the_limit_of_databases_counts_dropped_ones_until_they_are_forgotten() {
    let mut limits = Limits::tiny();
    limits.databases_max = 3;
    let store = store(limits, Housekeeping::Manual);
    let kept = store.create_database("a", DbKind::Raw).unwrap();
    for name in ["b", "c"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    let full = store.create_database("d", DbKind::Raw).unwrap_err();
    assert!(
        matches!(full, CatalogueError::LimitReached { limit: 3 }),
        "{full}"
    );
    store.drop_database_now("b").unwrap();
    let full = store.create_database("d", DbKind::Raw).unwrap_err();
    assert!(
        matches!(full, CatalogueError::LimitReached { limit: 3 }),
        "{full}"
    );
    // The record of the drop leaves the log with its segment.
    for number in 1..=20 {
        commit(&kept, number, 5).unwrap();
    }
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
    store.create_database("d", DbKind::Raw).unwrap();
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn status_and_names_do_not_wait_for_each_other() {
    const ROUNDS: u64 = 5_000;
    let store = store(patient(), Housekeeping::Background);
    let (done, ended) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    // Threads that nobody joins: if they wait for each other, the test shall end all the same.
    thread::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Acquire) {
                assert!(store.status().databases <= 1);
            }
        }
    });
    thread::spawn(move || {
        let _stop = StopGuard(&stop);
        for _ in 0..ROUNDS {
            store.create_database("a", DbKind::Raw).unwrap();
            store.drop_database("a").unwrap();
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(LONG).unwrap();
}

#[test]
fn databases_come_and_go_below_those_who_use_them() {
    const ROUNDS: u64 = 300;
    let store = store(patient(), Housekeeping::Background);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    // Whoever finds a database finds the one state of it: no commit is lost
                    // between two that hold its slot.
                    let Ok(db) = store.database("a") else {
                        continue;
                    };
                    let Ok(mut write) = db.begin_write(LONG) else {
                        continue;
                    };
                    let before = write.page_count();
                    write
                        .write_page(page(before + 1), &[1; PAGE_BYTES])
                        .unwrap();
                    match write.commit() {
                        Ok(after) => assert_eq!(after.page_count(), before + 1),
                        Err(error) => panic!("the slot was held: {error}"),
                    }
                }
            });
        }
        let _stop = StopGuard(&stop);
        for _ in 0..ROUNDS {
            store.create_database("a", DbKind::Raw).unwrap();
            let found = store.database("a").unwrap();
            drop(found.begin_read().unwrap());
            store.drop_database("a").unwrap();
        }
    });
    assert!(store.databases().is_empty());
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}
