//! States of the past: read while the present changes, never written, attached beside the present.

use crate::common::{code_of, int, integrity, new_store, text};
use bop_libsql::transfer::{Overwrite, export_file, export_file_at};
use bop_libsql::{At, Connection, Error, Store};
use bop_storage::error::{CatalogueError, ErrorCode};
use rusqlite::ffi;

fn at(text: &str) -> At {
    text.parse().unwrap()
}

/// `orders` with three rows, all of them gone again since the snapshot `before`.
fn with_snapshot(store: &Store) -> Connection {
    let present = store.connect("orders").unwrap();
    present
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    store
        .manager()
        .snapshot_database("orders", "before", &At::Now)
        .unwrap();
    present
        .execute_batch("DELETE FROM t; ALTER TABLE t ADD COLUMN y; INSERT INTO t VALUES (4, 5)")
        .unwrap();
    present
}

#[test]
fn a_snapshot_is_read_while_the_present_changes() {
    let (_dir, store) = new_store();
    let present = with_snapshot(&store);
    let past = store.connect_at("orders", &at("snapshot:Before")).unwrap();
    for round in 0..4 {
        assert_eq!(int(&past, "SELECT sum(x) FROM t"), 6);
        assert_eq!(int(&past, "SELECT count(*) FROM pragma_table_info('t')"), 1);
        assert_eq!(integrity(&past), "ok");
        present
            .execute("INSERT INTO t VALUES (10, randomblob(9000))", [])
            .unwrap();
        assert_eq!(int(&present, "SELECT sum(x) FROM t"), 4 + 10 * (round + 1));
        // The same out of chunks as out of the log.
        store.manager().checkpoint().unwrap();
        let another = store.connect_at("orders", &at("snapshot:before")).unwrap();
        assert_eq!(int(&another, "SELECT sum(x) FROM t"), 6);
    }
    // It is held, not looked up again.
    store.manager().drop_snapshot("orders", "before").unwrap();
    store.manager().checkpoint().unwrap();
    past.execute_batch("PRAGMA shrink_memory").unwrap();
    assert_eq!(int(&past, "SELECT sum(x) FROM t"), 6);
    assert_eq!(text(&past, "PRAGMA journal_mode"), "wal");
}

#[test]
fn now_is_the_moment_of_the_opening() {
    let (_dir, store) = new_store();
    let present = with_snapshot(&store);
    let now = store.connect_at("orders", &At::Now).unwrap();
    present.execute("INSERT INTO t VALUES (1, 1)", []).unwrap();
    let moment = store.manager().info("orders").unwrap().head_us;
    let later = store.connect_at("orders", &At::Time(moment)).unwrap();
    present.execute("INSERT INTO t VALUES (2, 2)", []).unwrap();
    assert_eq!(int(&now, "SELECT count(*) FROM t"), 1);
    assert_eq!(int(&later, "SELECT count(*) FROM t"), 2);
    assert_eq!(int(&present, "SELECT count(*) FROM t"), 3);
}

#[test]
fn a_state_without_a_commit_is_an_empty_database() {
    let (_dir, store) = new_store();
    let present = store.connect("orders").unwrap();
    let past = store.connect_at("orders", &At::Now).unwrap();
    present.execute_batch("CREATE TABLE t(x)").unwrap();
    assert_eq!(int(&past, "SELECT count(*) FROM sqlite_schema"), 0);
    assert_eq!(
        code_of(past.execute_batch("CREATE TABLE u(x)")),
        ffi::SQLITE_READONLY
    );
}

#[test]
fn every_write_is_refused_and_temporary_tables_are_not() {
    let (_dir, store) = new_store();
    let _present = with_snapshot(&store);
    let past = store.connect_at("orders", &at("snapshot:before")).unwrap();
    for sql in [
        "INSERT INTO t VALUES (1)",
        "DELETE FROM t",
        "UPDATE t SET x = 2",
        "CREATE TABLE u(x)",
        "DROP TABLE t",
        "CREATE INDEX i ON t(x)",
        "VACUUM",
        "PRAGMA user_version = 7",
    ] {
        assert_eq!(
            code_of(past.execute_batch(sql)) & 0xff,
            ffi::SQLITE_READONLY,
            "{sql}"
        );
    }
    past.execute_batch(
        "CREATE TEMP TABLE u AS SELECT x * 2 AS x FROM t; INSERT INTO u VALUES (100); \
         BEGIN; UPDATE u SET x = x + 1; SAVEPOINT s; DELETE FROM u; ROLLBACK TO s; COMMIT",
    )
    .unwrap();
    assert_eq!(int(&past, "SELECT sum(x) FROM u"), 2 + 4 + 6 + 100 + 4);
    assert_eq!(int(&past, "SELECT sum(x) FROM t"), 6);
}

#[test]
fn a_state_is_attached_by_its_name_and_only_read() {
    let (_dir, store) = new_store();
    let present = with_snapshot(&store);
    present
        .execute_batch(
            "ATTACH 'orders@snapshot:before' AS before;
             INSERT INTO main.t(x) SELECT x FROM before.t WHERE x > 1",
        )
        .unwrap();
    assert_eq!(int(&present, "SELECT sum(x) FROM main.t"), 4 + 2 + 3);
    assert_eq!(int(&present, "SELECT sum(x) FROM before.t"), 6);
    let refused = present.execute_batch("DELETE FROM before.t");
    assert_eq!(code_of(refused), ffi::SQLITE_READONLY);
    // A transaction over both commits what is the present's.
    present
        .execute_batch(
            "BEGIN IMMEDIATE; INSERT INTO main.t(x) SELECT count(*) FROM before.t; COMMIT",
        )
        .unwrap();
    assert_eq!(int(&present, "SELECT sum(x) FROM main.t"), 12);

    for (name, code) in [
        ("orders@snapshot:nothing", ErrorCode::SnapshotNotFound),
        ("orders@yesterday", ErrorCode::Usage),
        ("orders@lsn:1", ErrorCode::BeforeWindow),
        ("nobody@now", ErrorCode::DatabaseNotFound),
    ] {
        let refused = present.execute("ATTACH ?1 AS other", [name]);
        assert_eq!(code_of(refused), ffi::SQLITE_CANTOPEN, "{name}");
        let error = store.last_open_error().unwrap();
        assert_eq!(error.code(), code, "{name}: {error}");
    }
    assert_eq!(store.manager().databases().len(), 1);
    // Nothing is written over a connection to a state, in whatever is attached.
    let past = store.connect_at("orders", &At::Now).unwrap();
    past.execute_batch("ATTACH 'orders' AS present").unwrap();
    let refused = past.execute_batch("DELETE FROM present.t");
    assert_eq!(code_of(refused), ffi::SQLITE_READONLY);
}

#[test]
fn a_state_that_is_not_there_is_an_error_that_says_so() {
    let (_dir, store) = new_store();
    let _present = with_snapshot(&store);
    let refused = |name: &str, state: &str| store.connect_at(name, &at(state)).unwrap_err();
    let error = refused("orders", "snapshot:befor");
    let Error::Catalogue(CatalogueError::SnapshotNotFound { nearest, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(nearest.as_deref(), Some("before"));
    let error = refused("orders", "time:2000-01-01");
    assert_eq!(error.code(), ErrorCode::BeforeWindow);
    assert!(
        error.to_string().contains("its oldest is at lsn:"),
        "{error}"
    );
    assert_eq!(refused("order", "now").code(), ErrorCode::DatabaseNotFound);
    let error = refused("orders", "snapshot:../../etc/passwd");
    assert_eq!(error.code(), ErrorCode::InvalidName);
    assert_eq!(
        store.connect("orders@now").unwrap_err().code(),
        ErrorCode::InvalidName
    );
}

#[test]
fn the_longest_names_are_read_and_odd_ones() {
    let (_dir, store) = new_store();
    let long = "n".repeat(255);
    for (database, snapshot) in [
        (&long[..], &long[..]),
        ("a?b#c d%e", "file:x?mode=memory%41&#"),
    ] {
        let present = store.connect(database).unwrap();
        present
            .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (7)")
            .unwrap();
        let manager = store.manager();
        manager
            .snapshot_database(database, snapshot, &At::Now)
            .unwrap();
        present.execute_batch("DELETE FROM t").unwrap();
        let state = At::Snapshot(snapshot.to_owned());
        let past = store.connect_at(database, &state).unwrap();
        assert_eq!(int(&past, "SELECT x FROM t"), 7);
    }
}

#[test]
fn a_state_is_exported_as_it_was() {
    let (_dir, store) = new_store();
    let dir = tempfile::tempdir().unwrap();
    let _present = with_snapshot(&store);
    let [past, now] = ["past.sqlite", "now.sqlite"].map(|name| dir.path().join(name));
    let before = at("snapshot:before");
    let report = export_file_at(
        &store,
        "orders",
        &before,
        &past,
        Overwrite::No,
        &mut |_, _| {},
    )
    .unwrap();
    export_file(&store, "orders", &now, Overwrite::No, &mut |_, _| {}).unwrap();
    let state = store.manager().database("orders").unwrap();
    let state = state.begin_read_at(&before).unwrap();
    assert_eq!(report.rolling_checksum, state.rolling_checksum());
    let sum = |path| {
        let file = rusqlite::Connection::open(path).unwrap();
        assert_eq!(integrity(&file), "ok");
        int(&file, "SELECT sum(x) FROM t")
    };
    assert_eq!((sum(&past), sum(&now)), (6, 4));
    let missing = at("snapshot:none");
    let refused = export_file_at(
        &store,
        "orders",
        &missing,
        &past,
        Overwrite::Yes,
        &mut |_, _| {},
    );
    assert_eq!(refused.unwrap_err().code(), ErrorCode::SnapshotNotFound);
    assert_eq!(sum(&past), 6);
}

#[test]
fn a_uri_names_a_state_by_its_time_and_by_its_place() {
    let (_dir, store) = new_store();
    let present = with_snapshot(&store);
    let points = store.manager().restore_points("orders").unwrap();
    let seen = |uri: &str| {
        present.execute("ATTACH ?1 AS past", [uri]).unwrap();
        let schema = int(&present, "SELECT count(*) FROM past.sqlite_schema");
        let rows = match schema {
            0 => -1,
            _ => int(&present, "SELECT coalesce(sum(x), 0) FROM past.t"),
        };
        let refused = present.execute_batch("CREATE TABLE past.new(x)");
        assert_eq!(code_of(refused), ffi::SQLITE_READONLY, "{uri}");
        present.execute_batch("DETACH past").unwrap();
        rows
    };
    let mut sums = Vec::new();
    for point in &points {
        let by_time = seen(&format!("file:orders@{}", At::Time(point.time_us)));
        let by_lsn = seen(&format!("file:orders@{}?mode=ro", At::Lsn(point.lsn)));
        sums.push(by_lsn);
        // Two commits of one microsecond have the same time: the later one is meant.
        assert!(
            by_time == by_lsn || points.iter().filter(|p| p.time_us == point.time_us).count() > 1
        );
    }
    assert!(sums.contains(&6) && sums.contains(&4), "{sums:?}");
    assert_eq!(seen("file:orders%40snapshot%3abefore"), 6);
}
