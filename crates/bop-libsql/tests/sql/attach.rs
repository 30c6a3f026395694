//! ATTACH: other databases of the store, of another store, and plain files.

use crate::common::{code_of, int, integrity, new_store, text};
use bop_storage::error::ErrorCode;
use rusqlite::ffi;
use std::time::Duration;

#[test]
fn databases_of_the_same_store_are_joined_and_committed_together() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(x); ATTACH 'b' AS other; PRAGMA other.page_size = 1024;
             CREATE TABLE other.u(x);
             BEGIN; INSERT INTO t VALUES (1); INSERT INTO other.u VALUES (1), (2); COMMIT;
             BEGIN; INSERT INTO t VALUES (9); INSERT INTO other.u VALUES (9); ROLLBACK;",
        )
        .unwrap();
    assert_eq!(
        int(&connection, "SELECT count(*) FROM t JOIN other.u USING (x)"),
        1
    );
    let other = store.connect("b").unwrap();
    assert_eq!(int(&other, "SELECT count(*) FROM u"), 2);
    assert_eq!(int(&other, "PRAGMA page_size"), 1024);
    assert_eq!(integrity(&connection), "ok");
    connection
        .execute_batch("DETACH other; ATTACH 'b' AS again")
        .unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM again.u"), 2);
}

#[test]
fn a_database_attached_to_itself_reads_and_is_busy_for_its_second_writer() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1); ATTACH 'a' AS twin")
        .unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM t, twin.t"), 1);
    let both =
        connection.execute_batch("BEGIN; INSERT INTO t VALUES (2); INSERT INTO twin.t VALUES (3)");
    assert_eq!(code_of(both), ffi::SQLITE_BUSY);
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM twin.t"), 2);
}

#[test]
fn a_plain_file_is_attached_by_its_path_in_every_journal_mode() {
    let (dir, store) = new_store();
    for (n, mode) in ["delete", "wal", "truncate", "memory"]
        .into_iter()
        .enumerate()
    {
        let path = dir.path().join(format!("plain-{mode}.sqlite"));
        let connection = store.connect("a").unwrap();
        let by_path = path.display().to_string();
        let name = if n % 2 == 0 {
            by_path
        } else {
            format!("file:{by_path}?vfs=unix")
        };
        connection.execute("ATTACH ?1 AS plain", [&name]).unwrap();
        assert_eq!(
            text(&connection, &format!("PRAGMA plain.journal_mode = {mode}")),
            mode
        );
        connection
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS t(x); DELETE FROM t; INSERT INTO t VALUES (1), (2);
                 CREATE TABLE plain.copy AS SELECT * FROM t;
                 BEGIN; INSERT INTO t SELECT x + 2 FROM plain.copy;
                 INSERT INTO plain.copy VALUES (7); COMMIT;",
            )
            .unwrap();
        assert_eq!(int(&connection, "SELECT sum(x) FROM t"), 10);
        connection.close().unwrap();
        let plain = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(int(&plain, "SELECT sum(x) FROM copy"), 10, "{mode}");
        assert_eq!(integrity(&plain), "ok");
    }
}

#[test]
fn a_plain_file_without_shared_memory_has_no_wal_as_in_stock_sqlite() {
    let (dir, store) = new_store();
    let in_wal = dir.path().join("wal.sqlite");
    rusqlite::Connection::open(&in_wal)
        .unwrap()
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(x)")
        .unwrap();
    for vfs in ["unix-dotfile", "unix-none"] {
        let ours = store.connect("a").unwrap();
        let stock = rusqlite::Connection::open_in_memory().unwrap();
        let mut answers = Vec::new();
        for (n, connection) in [&*ours, &stock].into_iter().enumerate() {
            let new = dir.path().join(format!("{vfs}-{n}.sqlite"));
            connection
                .execute_batch(&format!(
                    "ATTACH 'file:{}?vfs={vfs}' AS p; CREATE TABLE p.t(x)",
                    new.display()
                ))
                .unwrap();
            let mode = text(connection, "PRAGMA p.journal_mode = WAL");
            connection
                .execute_batch("INSERT INTO p.t VALUES (1)")
                .unwrap();
            assert_eq!(int(connection, "SELECT count(*) FROM p.t"), 1);
            let existing = format!(
                "ATTACH 'file:{}?vfs={vfs}' AS w; SELECT * FROM w.t",
                in_wal.display()
            );
            answers.push((mode, code_of(connection.execute_batch(&existing))));
        }
        assert_eq!(answers[0], answers[1], "{vfs}");
        assert_eq!(answers[0], ("delete".to_owned(), ffi::SQLITE_CANTOPEN));
    }
}

#[test]
fn what_cannot_be_attached_says_why() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    assert_eq!(
        code_of(connection.execute_batch("ATTACH 'a@b' AS x")),
        ffi::SQLITE_CANTOPEN
    );
    let error = store.last_open_error().unwrap();
    assert_eq!(error.code(), ErrorCode::Usage);
    assert!(error.to_string().contains("a@b"), "{error}");
    let missing = connection.execute_batch("ATTACH 'file:missing?mode=rw' AS x");
    assert_eq!(code_of(missing), ffi::SQLITE_CANTOPEN);
    assert_eq!(
        store.last_open_error().unwrap().code(),
        ErrorCode::DatabaseNotFound
    );
    connection
        .execute_batch("ATTACH 'b' AS x; CREATE TABLE x.t(i)")
        .unwrap();
}

#[test]
fn a_database_of_another_store_is_attached_by_its_vfs() {
    let (_dir_a, store_a) = new_store();
    let (_dir_b, store_b) = new_store();
    store_b
        .connect("b")
        .unwrap()
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (5)")
        .unwrap();
    let connection = store_a.connect("a").unwrap();
    connection
        .execute_batch(&format!("ATTACH 'file:b?vfs={}' AS b", store_b.vfs_name()))
        .unwrap();
    assert_eq!(int(&connection, "SELECT x FROM b.t"), 5);
    connection
        .execute_batch("INSERT INTO b.t VALUES (6); PRAGMA b.wal_checkpoint(FULL)")
        .unwrap();
    assert_eq!(
        int(&store_b.connect("b").unwrap(), "SELECT sum(x) FROM t"),
        11
    );
    assert!(store_a.manager().info("b").is_err());
}

#[test]
fn temporary_tables_live_beside_the_database() {
    let (_dir, store) = new_store();
    let connection = crate::common::connect_small_cache(&store, "a");
    connection
        .execute_batch(
            "PRAGMA temp.cache_size = 10; CREATE TEMP TABLE scratch(i INTEGER PRIMARY KEY, x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO scratch SELECT i, hex(zeroblob(200)) FROM n;
             CREATE TABLE t AS SELECT i FROM scratch ORDER BY x, i DESC;",
        )
        .unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 3000);
    let other = store.connect("a").unwrap();
    assert_eq!(int(&other, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_eq!(integrity(&other), "ok");
}
