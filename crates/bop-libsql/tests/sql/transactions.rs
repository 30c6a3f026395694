//! Transactions of one connection: what is kept, what is undone, with a cache that spills.

use crate::common::{code_of, connect_small_cache, int, integrity, new_store};
use bop_libsql::{Options, Store};
use bop_storage::Limits;
use rusqlite::ffi;
use std::path::Path;

const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
    INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n";

#[test]
fn a_committed_row_is_there_for_the_next_connection_and_after_reopen() {
    let (dir, store) = new_store();
    store
        .connect("a")
        .unwrap()
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)")
        .unwrap();
    assert_eq!(int(&store.connect("a").unwrap(), "SELECT sum(x) FROM t"), 3);

    store
        .manager()
        .close(std::time::Duration::from_secs(5))
        .unwrap();
    drop(store);
    let store = bop_libsql::Store::open(dir.path(), bop_libsql::Options::new()).unwrap();
    let connection = store.connect("a").unwrap();
    assert_eq!(int(&connection, "SELECT sum(x) FROM t"), 3);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_rolled_back_transaction_that_spilled_leaves_nothing() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    let before = int(&connection, "PRAGMA page_count");
    connection
        .execute_batch(
            "BEGIN; UPDATE t SET x = x || 'y'; DELETE FROM t WHERE i % 3 = 0;
             CREATE TABLE other AS SELECT * FROM t; ROLLBACK;",
        )
        .unwrap();
    assert_eq!(
        int(&connection, "SELECT count(*) FROM t WHERE length(x) = 400"),
        2000
    );
    assert_eq!(int(&connection, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_eq!(int(&connection, "PRAGMA page_count"), before);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn rollback_to_returns_to_each_savepoint_in_any_order_and_again() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    let sum = |connection: &rusqlite::Connection| int(connection, "SELECT sum(length(x)) FROM t");
    let grow = "UPDATE t SET x = x || hex(zeroblob(10))";

    connection.execute_batch("BEGIN").unwrap();
    let mut sums = vec![sum(&connection)];
    for level in 0..4 {
        connection
            .execute_batch(&format!("SAVEPOINT s{level}; {grow}"))
            .unwrap();
        sums.push(sum(&connection));
    }
    for _ in 0..2 {
        connection.execute_batch("ROLLBACK TO s3").unwrap();
        assert_eq!(sum(&connection), sums[3]);
        connection.execute_batch(grow).unwrap();
    }
    connection
        .execute_batch("RELEASE s3; ROLLBACK TO s1")
        .unwrap();
    assert_eq!(sum(&connection), sums[1]);
    connection
        .execute_batch(&format!("{grow}; SAVEPOINT again; {grow}; ROLLBACK TO s0"))
        .unwrap();
    assert_eq!(sum(&connection), sums[0]);
    connection
        .execute_batch(&format!("{grow}; RELEASE s0; COMMIT"))
        .unwrap();
    assert_eq!(sum(&connection), sums[1]);
    assert_eq!(sum(&store.connect("a").unwrap()), sums[1]);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn rollback_to_the_savepoint_that_opened_the_transaction_keeps_it_open() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch("SAVEPOINT outer").unwrap();
    connection.execute_batch(FILL).unwrap();
    connection
        .execute_batch("ROLLBACK TO outer; INSERT INTO t VALUES (7, 'kept')")
        .unwrap();
    assert!(!connection.is_autocommit());
    connection.execute_batch("RELEASE outer").unwrap();
    assert_eq!(int(&store.connect("a").unwrap(), "SELECT sum(i) FROM t"), 7);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn rollback_to_under_an_open_cursor_shows_the_cursor_the_old_rows() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    connection
        .execute_batch("BEGIN; SAVEPOINT s; UPDATE t SET x = 'short'")
        .unwrap();
    let mut statement = connection
        .prepare("SELECT length(x) FROM t ORDER BY i")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    assert_eq!(rows.next().unwrap().unwrap().get::<_, i64>(0).unwrap(), 5);
    connection.execute_batch("ROLLBACK TO s").unwrap();
    // SQLite may go on with the old rows or abort the statement; it must not mix.
    let rest: Result<Vec<i64>, _> = rows.mapped(|row| row.get(0)).collect();
    if let Ok(rest) = rest {
        assert!(rest.iter().all(|length| *length == 400), "{rest:?}");
    }
    drop(statement);
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(int(&connection, "SELECT sum(length(x)) FROM t"), 800_000);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_statement_that_fails_half_way_is_undone_alone() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x, u INTEGER UNIQUE)")
        .unwrap();
    connection
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO t SELECT i, hex(zeroblob(200)), i FROM n",
        )
        .unwrap();
    connection
        .execute_batch("BEGIN; INSERT INTO t VALUES (5000, 'mine', 5000)")
        .unwrap();
    let failed = connection.execute_batch("UPDATE t SET x = x || 'changed', u = 9000 - u % 1999");
    assert_eq!(code_of(failed), ffi::SQLITE_CONSTRAINT_UNIQUE);
    assert!(!connection.is_autocommit());
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(
        int(
            &connection,
            "SELECT count(*) FROM t WHERE x LIKE '%changed'"
        ),
        0
    );
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 2001);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn an_autocommit_statement_that_fails_leaves_nothing() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    let failed = connection.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 9000 UNION ALL SELECT i - 1 FROM n WHERE i > 1)
         INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n",
    );
    assert_eq!(code_of(failed), ffi::SQLITE_CONSTRAINT_PRIMARYKEY);
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 2000);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_connection_dropped_inside_a_transaction_rolls_back_and_frees_the_writer() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x); BEGIN")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    drop(connection);

    let other = store.connect("a").unwrap();
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert_eq!(int(&other, "SELECT count(*) FROM t"), 0);
    other
        .execute_batch("INSERT INTO t VALUES (1, 'x')")
        .unwrap();
    assert_eq!(integrity(&other), "ok");
}

#[test]
fn a_rolled_back_first_commit_leaves_an_empty_database_that_can_be_used() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("BEGIN; CREATE TABLE t(x); ROLLBACK")
        .unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM sqlite_schema"), 0);
    assert_eq!(store.manager().info("a").unwrap().page_count, 0);
    connection.execute_batch("CREATE TABLE t(x)").unwrap();
    assert_eq!(store.manager().info("a").unwrap().page_count, 2);
}

#[test]
fn a_commit_that_changes_nothing_is_no_commit() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.execute_batch("CREATE TABLE t(x)").unwrap();
    let head = store.manager().info("a").unwrap().head;
    connection
        .execute_batch(
            "BEGIN IMMEDIATE; COMMIT; SAVEPOINT s; INSERT INTO t VALUES (1);
                        ROLLBACK TO s; RELEASE s;",
        )
        .unwrap();
    assert_eq!(store.manager().info("a").unwrap().head, head);
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 0);
}

/// Bytes of the temporary files that are open: they have no names any more.
fn scratch_bytes(store: &Path) -> u64 {
    let scratch = store.canonicalize().unwrap().join("scratch");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = open.filter_map(|entry| {
        let entry = entry.ok()?.path();
        let is_scratch = std::fs::read_link(&entry).ok()?.starts_with(&scratch);
        is_scratch.then(|| std::fs::metadata(&entry).unwrap().len())
    });
    files.sum()
}

#[test]
fn savepoints_that_are_released_give_the_temporary_file_back_its_room() {
    release_savepoints_in("BEGIN");
}

#[test]
fn so_do_those_inside_a_savepoint() {
    release_savepoints_in("BEGIN; SAVEPOINT outer_one");
}

fn release_savepoints_in(begin: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.transaction_memory_bytes_max = 16 << 10;
    let store = Store::open(dir.path(), Options::new().limits(limits)).unwrap();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(FILL).unwrap();
    let pages = u64::try_from(int(&connection, "PRAGMA page_count")).unwrap();
    const ROUND: &str = "SAVEPOINT s; UPDATE t SET x = hex(randomblob(200)); RELEASE s";
    // One that spilled came and went before.
    connection
        .execute_batch(&format!("BEGIN; {ROUND}; ROLLBACK"))
        .unwrap();
    connection.execute_batch(begin).unwrap();
    for _ in 0..200 {
        connection.execute_batch(ROUND).unwrap();
    }
    let versions = scratch_bytes(dir.path()) / (4096 * pages);
    assert!(
        (1..4).contains(&versions),
        "{versions} versions of each page"
    );
    connection.execute_batch("ROLLBACK").unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 2000);
    assert_eq!(integrity(&connection), "ok");
}
