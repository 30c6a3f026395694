//! Waiting for the right to write: in turn, not for oneself, and not when it is interrupted.

use crate::common::{code_of, int, new_store};
use bop_libsql::{Options, Store};
use rusqlite::ffi;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

/// Far more than anything here takes that does not wait for its end.
const LONG: Duration = Duration::from_secs(60);

fn two_tables(store: &Store) {
    for name in ["a", "b"] {
        let connection = store.connect(name).unwrap();
        connection.execute_batch("CREATE TABLE t(x)").unwrap();
    }
}

#[test]
fn of_two_that_lock_crosswise_one_is_busy_at_once_and_the_other_commits() {
    let (_dir, store) = new_store();
    two_tables(&store);
    for round in 0..20 {
        let both_hold = Barrier::new(2);
        let (victims, victim) = mpsc::channel();
        let started = Instant::now();
        std::thread::scope(|scope| {
            for (mine, theirs) in [("a", "b"), ("b", "a")] {
                let (store, both_hold, victims) = (&store, &both_hold, victims.clone());
                scope.spawn(move || {
                    let connection = store.connect(mine).unwrap();
                    connection.busy_timeout(LONG).unwrap();
                    connection
                        .execute_batch(&format!("ATTACH '{theirs}' AS other; BEGIN"))
                        .unwrap();
                    connection
                        .execute("INSERT INTO main.t VALUES (?1)", [round])
                        .unwrap();
                    both_hold.wait();
                    match connection.execute("INSERT INTO other.t VALUES (?1)", [round]) {
                        Ok(_) => connection.execute_batch("COMMIT").unwrap(),
                        Err(error) => {
                            assert_eq!(code_of::<()>(Err(error)), ffi::SQLITE_BUSY);
                            victims.send(mine).unwrap();
                            connection.execute_batch("ROLLBACK").unwrap();
                        }
                    }
                });
            }
        });
        drop(victims);
        assert_eq!(victim.iter().count(), 1, "round {round}");
        assert!(started.elapsed() < LONG / 2, "somebody waited for its end");
        for name in ["a", "b"] {
            let rows = int(&store.connect(name).unwrap(), "SELECT count(*) FROM t");
            assert_eq!(rows, round + 1, "{name}");
        }
    }
}

#[test]
fn nobody_waits_for_a_database_that_it_writes_to_itself() {
    let (_dir, store) = new_store();
    two_tables(&store);
    let connection = store.connect("a").unwrap();
    connection.busy_timeout(LONG).unwrap();
    let started = Instant::now();
    connection
        .execute_batch("ATTACH 'a' AS twin; BEGIN; INSERT INTO main.t VALUES (1)")
        .unwrap();
    let twice = connection.execute_batch("INSERT INTO twin.t VALUES (2)");
    assert_eq!(code_of(twice), ffi::SQLITE_BUSY);
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn of_sixty_four_writers_the_slowest_has_a_third_of_the_mean() {
    const WRITERS: i64 = 64;
    const COMMITS: i64 = 3200;
    let (_dir, store) = new_store();
    two_tables(&store);
    let (start, done) = (Barrier::new(WRITERS as usize), AtomicI64::new(0));
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let writer = || {
            let connection = store.connect("a").unwrap();
            connection.busy_timeout(LONG).unwrap();
            let mut insert = connection.prepare("INSERT INTO t VALUES (1)").unwrap();
            start.wait();
            let mut mine = 0;
            while done.fetch_add(1, Ordering::Relaxed) < COMMITS {
                insert.execute([]).unwrap();
                mine += 1;
            }
            mine
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let rows = int(&store.connect("a").unwrap(), "SELECT count(*) FROM t");
    assert_eq!((rows, counts.iter().sum()), (COMMITS, COMMITS));
    let slowest = *counts.iter().min().unwrap();
    assert!(slowest * 3 >= COMMITS / WRITERS, "{counts:?}");
}

#[test]
fn a_wait_ends_when_it_is_interrupted() {
    let (_dir, store) = new_store();
    two_tables(&store);
    let holder = store.connect("a").unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for sql in ["INSERT INTO t VALUES (1)", "BEGIN IMMEDIATE"] {
        let waiting = store.connect("a").unwrap();
        waiting.busy_timeout(LONG).unwrap();
        let handle = waiting.get_interrupt_handle();
        let (started, ended) = (Instant::now(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Before the statement begins there is nothing to be interrupted.
                while !ended.load(Ordering::Relaxed) {
                    handle.interrupt();
                    std::thread::yield_now();
                }
            });
            let interrupted = waiting.execute_batch(sql);
            ended.store(true, Ordering::Relaxed);
            assert_eq!(code_of(interrupted), ffi::SQLITE_INTERRUPT, "{sql}");
        });
        assert!(started.elapsed() < LONG / 2, "{sql}");
        assert!(waiting.is_autocommit());
    }
    holder.execute_batch("ROLLBACK").unwrap();
    let free = store.connect("a").unwrap();
    free.busy_timeout(Duration::ZERO).unwrap();
    free.execute_batch("INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn a_wait_ends_with_the_timeout_however_it_was_set_and_then_nobody_is_in_the_way() {
    let (_dir, store) = new_store();
    two_tables(&store);
    let holder = store.connect("a").unwrap();
    for set in ["PRAGMA busy_timeout = 40", "PRAGMA busy_timeout = 0"] {
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waiting = store.connect("a").unwrap();
        waiting.execute_batch(set).unwrap();
        let started = Instant::now();
        assert_eq!(
            code_of(waiting.execute_batch("INSERT INTO t VALUES (1)")),
            ffi::SQLITE_BUSY
        );
        let timeout = Duration::from_millis(int(&waiting, "PRAGMA busy_timeout") as u64);
        assert!(started.elapsed() >= timeout, "{set}");
        holder.execute_batch("ROLLBACK").unwrap();
        let free = store.connect("a").unwrap();
        free.busy_timeout(Duration::ZERO).unwrap();
        free.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    }
}

/// A handler of the application's own is asked as SQLite asks it.
#[test]
fn a_busy_handler_of_the_application_decides_how_often_it_is_asked() {
    static ASKED: AtomicI64 = AtomicI64::new(0);
    let (_dir, store) = new_store();
    two_tables(&store);
    let holder = store.connect("a").unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = store.connect("a").unwrap();
    let handler = |asked: i32| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        asked < 5
    };
    waiting.busy_handler(Some(handler)).unwrap();
    assert_eq!(
        code_of(waiting.execute_batch("INSERT INTO t VALUES (1)")),
        ffi::SQLITE_BUSY
    );
    assert_eq!(ASKED.load(Ordering::Relaxed), 6);
    holder.execute_batch("ROLLBACK").unwrap();
    waiting.execute_batch("INSERT INTO t VALUES (1)").unwrap();
}

/// A thread that was refused remembers that for the pause which comes next, if one does.
#[test]
fn a_busy_answer_that_nobody_waits_for_keeps_no_store_open() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = Store::open(dir.path(), Options::new()).unwrap();
        let holder = store.connect("a").unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let refused = store.connect("a").unwrap();
        refused.busy_timeout(Duration::ZERO).unwrap();
        assert_eq!(
            code_of(refused.execute_batch("BEGIN IMMEDIATE")),
            ffi::SQLITE_BUSY
        );
    }
}
