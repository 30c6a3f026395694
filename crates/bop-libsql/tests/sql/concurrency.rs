//! Several connections and threads on one database.

use crate::common::{code_of, connect_small_cache, int, integrity, new_store};
use bop_libsql::{Options, Store};
use bop_storage::ErrorCode;
use rusqlite::{TransactionBehavior, ffi};
use std::sync::Barrier;
use std::time::Duration;

#[test]
fn a_second_writer_is_busy_and_gets_its_turn() {
    let (_dir, store) = new_store();
    let (first, second) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    first.execute_batch("CREATE TABLE t(x)").unwrap();
    second.busy_timeout(Duration::ZERO).unwrap();

    first
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(
        code_of(second.execute_batch("BEGIN IMMEDIATE")),
        ffi::SQLITE_BUSY
    );
    assert_eq!(
        code_of(second.execute_batch("INSERT INTO t VALUES (2)")),
        ffi::SQLITE_BUSY
    );
    assert_eq!(int(&second, "SELECT count(*) FROM t"), 0);
    first.execute_batch("COMMIT").unwrap();
    second.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(int(&first, "SELECT count(*) FROM t"), 2);
}

#[test]
fn a_reader_that_wants_to_write_after_another_commit_is_told_so() {
    let (_dir, store) = new_store();
    let (mine, other) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    mine.execute_batch("CREATE TABLE t(x); BEGIN").unwrap();
    assert_eq!(int(&mine, "SELECT count(*) FROM t"), 0);
    other.execute_batch("INSERT INTO t VALUES (1)").unwrap();

    let stale = mine.execute_batch("INSERT INTO t VALUES (2)");
    assert_eq!(code_of(stale), ffi::SQLITE_BUSY_SNAPSHOT);
    assert_eq!(
        int(&mine, "SELECT count(*) FROM t"),
        0,
        "the snapshot is kept"
    );
    mine.execute_batch("ROLLBACK; INSERT INTO t VALUES (2)")
        .unwrap();
    assert_eq!(int(&mine, "SELECT count(*) FROM t"), 2);
}

#[test]
fn a_reader_keeps_its_snapshot_while_others_commit_and_vacuum() {
    let (_dir, store) = new_store();
    let (reader, writer) = (
        store.connect("a").unwrap(),
        connect_small_cache(&store, "a"),
    );
    writer
        .execute_batch(
            "CREATE TABLE t(i INTEGER PRIMARY KEY, x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                 INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n;",
        )
        .unwrap();
    reader
        .execute_batch("PRAGMA cache_size = 10; BEGIN")
        .unwrap();
    let pages = int(&reader, "PRAGMA page_count");
    assert_eq!(int(&reader, "SELECT count(*) FROM t"), 2000);

    writer
        .execute_batch("DELETE FROM t WHERE i > 10; VACUUM; CREATE TABLE more(x)")
        .unwrap();
    assert!(int(&writer, "PRAGMA page_count") < pages / 10);
    assert_eq!(int(&reader, "SELECT sum(length(x)) FROM t"), 800_000);
    assert_eq!(int(&reader, "PRAGMA page_count"), pages);
    assert_eq!(integrity(&reader), "ok");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(int(&reader, "SELECT count(*) FROM t"), 10);
    assert_eq!(integrity(&reader), "ok");
}

#[test]
fn a_read_cursor_outlives_a_commit_of_its_own_connection() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    let mut statement = connection.prepare("SELECT x FROM t").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        let x: i64 = row.get(0).unwrap();
        connection
            .execute("INSERT INTO u VALUES (?1)", [x])
            .unwrap();
        connection
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO u VALUES (0); COMMIT")
            .unwrap();
        seen += 1;
    }
    assert_eq!(seen, 3);
    assert_eq!(
        int(&store.connect("a").unwrap(), "SELECT count(*) FROM u"),
        6
    );
}

#[test]
fn threads_that_count_up_together_lose_no_step() {
    const THREADS: i64 = 4;
    const STEPS: i64 = 50;
    let (_dir, store) = new_store();
    store
        .connect("a")
        .unwrap()
        .execute_batch(
            "CREATE TABLE t(x); INSERT INTO t VALUES (0); CREATE TABLE log(thread, step)",
        )
        .unwrap();
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                let mut connection = store.connect("a").unwrap();
                connection.busy_timeout(Duration::from_secs(60)).unwrap();
                start.wait();
                for step in 0..STEPS {
                    let transaction = connection
                        .transaction_with_behavior(TransactionBehavior::Immediate)
                        .unwrap();
                    let x = int(&transaction, "SELECT x FROM t");
                    transaction.execute("UPDATE t SET x = ?1", [x + 1]).unwrap();
                    transaction
                        .execute("INSERT INTO log VALUES (?1, ?2)", [thread, step])
                        .unwrap();
                    transaction.commit().unwrap();
                }
            });
        }
        let reader = store.connect("a").unwrap();
        while int(&reader, "SELECT x FROM t") < THREADS * STEPS {
            let row: (i64, i64) = reader
                .query_row("SELECT x, (SELECT count(*) FROM log) FROM t", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap();
            assert_eq!(row.0, row.1, "a reader saw half of a transaction");
        }
    });
    assert_eq!(integrity(&store.connect("a").unwrap()), "ok");
}

#[test]
fn a_connection_moves_between_threads() {
    let (_dir, store) = new_store();
    let mut connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); BEGIN")
        .unwrap();
    for step in 0..3 {
        connection = std::thread::spawn(move || {
            connection
                .execute("INSERT INTO t VALUES (?1)", [step])
                .unwrap();
            connection
        })
        .join()
        .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(int(&store.connect("a").unwrap(), "SELECT sum(x) FROM t"), 3);
}

#[test]
fn databases_of_a_store_do_not_wait_for_each_other() {
    let (_dir, store) = new_store();
    let (a, b) = (store.connect("a").unwrap(), store.connect("b").unwrap());
    b.busy_timeout(Duration::ZERO).unwrap();
    a.execute_batch("CREATE TABLE t(x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
        .unwrap();
    b.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (2), (3)")
        .unwrap();
    a.execute_batch("COMMIT").unwrap();
    assert_eq!(
        (
            int(&a, "SELECT count(*) FROM t"),
            int(&b, "SELECT count(*) FROM t")
        ),
        (1, 2)
    );
}

/// Each of them fails where it is just then; none may be told the reason of another one, or none.
#[test]
fn whoever_connects_while_the_store_closes_is_told_that_it_is_closed() {
    let (dir, store) = new_store();
    store
        .connect("a")
        .unwrap()
        .execute_batch("CREATE TABLE t(x)")
        .unwrap();
    drop(store);
    for _ in 0..60 {
        let store = Store::open(dir.path(), Options::new()).unwrap();
        let started = Barrier::new(5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    started.wait();
                    let error = (0..).find_map(|_| store.connect("a").err()).unwrap();
                    assert_eq!(error.code(), ErrorCode::Closed, "{error}");
                });
            }
            started.wait();
            store.manager().close(Duration::from_secs(60)).unwrap();
        });
    }
}
