//! Pragmas that would reach below the pager: what they answer, and that nothing changes by them.

use crate::common::{code_of, connect_small_cache, int, integrity, new_store, text};
use bop_libsql::Store;
use rusqlite::ffi;

#[test]
fn defaults_are_those_of_stock_sqlite() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    for (pragma, expected) in [
        ("foreign_keys", 0),
        ("recursive_triggers", 0),
        ("trusted_schema", 1),
        ("writable_schema", 0),
        ("defer_foreign_keys", 0),
        ("page_size", 4096),
        ("auto_vacuum", 0),
        ("busy_timeout", 5000),
        ("synchronous", 2),
        ("cell_size_check", 0),
        ("ignore_check_constraints", 0),
        ("legacy_alter_table", 0),
        ("reverse_unordered_selects", 0),
    ] {
        assert_eq!(
            int(&connection, &format!("PRAGMA {pragma}")),
            expected,
            "{pragma}"
        );
    }
    assert_eq!(text(&connection, "PRAGMA encoding"), "UTF-8");
    assert_eq!(text(&connection, "SELECT \"a string\""), "a string");
}

#[test]
fn every_journal_mode_answers_wal_and_changes_nothing() {
    for mode in [
        "delete", "truncate", "persist", "memory", "off", "wal", "OFF", "'memory'",
    ] {
        let (_dir, store) = new_store();
        let connection = connect_small_cache(&store, "a");
        assert_eq!(
            text(&connection, &format!("PRAGMA journal_mode = {mode}")),
            "wal",
            "before"
        );
        connection
            .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
            .unwrap();
        assert_eq!(
            text(&connection, &format!("PRAGMA journal_mode = {mode}")),
            "wal",
            "after"
        );
        assert_eq!(
            text(&connection, &format!("PRAGMA main.journal_mode({mode})")),
            "wal"
        );
        assert_eq!(text(&connection, "PRAGMA journal_mode"), "wal");
        exercise(&store, &connection);
    }
}

/// Spills, returns to savepoints and commits: what a wrong journal mode breaks.
fn exercise(store: &Store, connection: &rusqlite::Connection) {
    connection
        .execute_batch(
            "BEGIN;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n;
             SAVEPOINT s; UPDATE t SET x = 'gone'; ROLLBACK TO s; RELEASE s;
             DELETE FROM t WHERE i > 900;
             COMMIT;",
        )
        .unwrap();
    assert_eq!(int(connection, "SELECT sum(length(x)) FROM t"), 900 * 400);
    assert_eq!(
        int(&store.connect("a").unwrap(), "SELECT count(*) FROM t"),
        900
    );
    assert_eq!(integrity(connection), "ok");
}

#[test]
fn journal_mode_off_reaches_our_database_through_a_plain_main_and_is_stopped() {
    let (dir, store) = new_store();
    store
        .connect("a")
        .unwrap()
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    let connection = store.connect("main").unwrap();
    let plain = dir.path().join("plain.sqlite");
    connection
        .execute_batch(&format!(
            "ATTACH '{}' AS plain; ATTACH 'a' AS a",
            plain.display()
        ))
        .unwrap();
    assert_eq!(text(&connection, "PRAGMA plain.journal_mode = off"), "off");
    assert_eq!(text(&connection, "PRAGMA a.journal_mode = off"), "wal");
    connection
        .execute_batch(
            "BEGIN; INSERT INTO a.t VALUES (1, 'x'); SAVEPOINT s;
                        INSERT INTO a.t VALUES (2, 'y'); ROLLBACK TO s; COMMIT",
        )
        .unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM a.t"), 1);
}

#[test]
fn locking_mode_exclusive_takes_nothing_from_others() {
    for before_the_first_read in [true, false] {
        let (_dir, store) = new_store();
        let exclusive = store.connect("a").unwrap();
        if !before_the_first_read {
            exclusive.execute_batch("CREATE TABLE t(x)").unwrap();
        }
        assert_eq!(
            text(&exclusive, "PRAGMA locking_mode = EXCLUSIVE"),
            "normal"
        );
        exclusive
            .execute_batch("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (1)")
            .unwrap();
        let other = store.connect("a").unwrap();
        other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        exclusive.execute_batch("INSERT INTO t VALUES (3)").unwrap();
        assert_eq!(int(&other, "SELECT sum(x) FROM t"), 6);
        assert_eq!(int(&exclusive, "SELECT sum(x) FROM t"), 6);
        assert_eq!(text(&exclusive, "PRAGMA locking_mode"), "normal");
    }
}

#[test]
fn page_size_auto_vacuum_and_encoding_are_honoured_before_the_first_write() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536] {
        for (auto_vacuum, encoding) in [(0, "UTF-8"), (1, "UTF-16le"), (2, "UTF-16be")] {
            let (_dir, store) = new_store();
            let connection = connect_small_cache(&store, "a");
            connection
                .execute_batch(&format!(
                    "PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum};
                     PRAGMA encoding = '{encoding}'; CREATE TABLE t(i INTEGER PRIMARY KEY, x);"
                ))
                .unwrap();
            exercise(&store, &connection);
            let other = store.connect("a").unwrap();
            assert_eq!(int(&other, "PRAGMA page_size"), page_size);
            assert_eq!(int(&other, "PRAGMA auto_vacuum"), auto_vacuum);
            assert_eq!(text(&other, "PRAGMA encoding"), encoding);
            assert_eq!(integrity(&other), "ok");
            let info = store.manager().info("a").unwrap();
            assert_eq!(
                info.page_size.map(|size| i64::from(size.get())),
                Some(page_size)
            );
            assert_eq!(i64::from(info.page_count), int(&other, "PRAGMA page_count"));
        }
    }
}

#[test]
fn a_page_size_asked_for_later_is_ignored_as_in_wal_mode() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(x); PRAGMA page_size = 8192; VACUUM; INSERT INTO t VALUES (1)",
        )
        .unwrap();
    assert_eq!(int(&connection, "PRAGMA page_size"), 4096);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_reader_of_the_empty_database_agrees_with_its_creator_on_the_page_size() {
    let (_dir, store) = new_store();
    let reader = store.connect("a").unwrap();
    assert_eq!(int(&reader, "SELECT count(*) FROM sqlite_schema"), 0);
    let creator = store.connect("a").unwrap();
    creator
        .execute_batch("PRAGMA page_size = 1024; CREATE TABLE t(x); INSERT INTO t VALUES (9)")
        .unwrap();
    assert_eq!(int(&reader, "SELECT x FROM t"), 9);
    assert_eq!(int(&reader, "PRAGMA page_size"), 1024);
    reader.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(int(&creator, "SELECT sum(x) FROM t"), 10);
}

#[test]
fn wal_checkpoint_answers_done_in_every_mode() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .unwrap();
    for mode in ["", "(PASSIVE)", "(FULL)", "(RESTART)", "(TRUNCATE)"] {
        let row: (i64, i64, i64) = connection
            .query_row(&format!("PRAGMA wal_checkpoint{mode}"), [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(row, (0, 0, 0), "{mode}");
    }
    let locked = connection.execute_batch("BEGIN IMMEDIATE; PRAGMA wal_checkpoint(FULL)");
    assert_eq!(code_of(locked), ffi::SQLITE_LOCKED);
    connection.execute_batch("COMMIT").unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), 1);
}

#[test]
fn sqlites_automatic_checkpoint_is_off_and_harmless_when_turned_on() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    assert_eq!(int(&connection, "PRAGMA wal_autocheckpoint"), 0);
    assert_eq!(int(&connection, "PRAGMA wal_autocheckpoint = 1"), 1);
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(9000000))")
        .unwrap();
    assert_eq!(int(&connection, "SELECT length(x) FROM t"), 9_000_000);
}

#[test]
fn pragmas_that_have_nothing_to_act_on_are_answered() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch(
            "PRAGMA mmap_size = 268435456; PRAGMA journal_size_limit = 1000; PRAGMA synchronous = OFF;
             PRAGMA fullfsync = 1; PRAGMA temp_store = MEMORY; PRAGMA secure_delete = 1;
             CREATE TABLE t(x); INSERT INTO t VALUES (1); DELETE FROM t; PRAGMA optimize;
             PRAGMA shrink_memory; PRAGMA quick_check; PRAGMA max_page_count = 10;",
        )
        .unwrap();
    let full = connection.execute_batch("INSERT INTO t VALUES (zeroblob(100000))");
    assert_eq!(code_of(full), ffi::SQLITE_FULL);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn data_version_moves_with_the_commits_of_others() {
    let (_dir, store) = new_store();
    let (mine, other) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    mine.execute_batch("CREATE TABLE t(x)").unwrap();
    let version = int(&mine, "PRAGMA data_version");
    mine.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(int(&mine, "PRAGMA data_version"), version);
    other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_ne!(int(&mine, "PRAGMA data_version"), version);
}

/// What drivers and frameworks send before anything else, with the answers of stock SQLite in WAL mode;
/// where ours is another one it stands beside.
#[test]
fn what_applications_send_when_they_connect_is_answered_as_stock_sqlite_does() {
    let (dir, store) = new_store();
    let ours = store.connect("a").unwrap();
    let stock = rusqlite::Connection::open(dir.path().join("stock.sqlite")).unwrap();
    for (pragma, other) in [
        ("journal_mode = WAL", None),
        ("journal_mode", None),
        ("journal_mode = DELETE", Some(vec!["wal"])),
        ("journal_mode = wal", None),
        ("synchronous = NORMAL", None),
        ("synchronous", None),
        ("synchronous = FULL", None),
        ("busy_timeout = 5000", None),
        ("busy_timeout", None),
        ("cache_size = -20000", None),
        ("cache_size", None),
        ("foreign_keys = ON", None),
        ("foreign_keys", None),
        ("temp_store = MEMORY", None),
        ("temp_store", None),
        ("mmap_size = 134217728", None),
        ("mmap_size", None),
        ("mmap_size = 0", None),
        ("wal_autocheckpoint = 500", None),
        ("wal_autocheckpoint", None),
        ("journal_size_limit = 67108864", None),
        ("locking_mode = NORMAL", None),
        ("locking_mode = EXCLUSIVE", Some(vec!["normal"])),
        ("locking_mode = NORMAL", None),
        ("auto_vacuum = INCREMENTAL", None),
        ("encoding", None),
        ("page_size", None),
        ("case_sensitive_like = ON", None),
        ("recursive_triggers = ON", None),
        ("trusted_schema = OFF", None),
        ("secure_delete", None),
        ("user_version = 7", None),
        ("user_version", None),
        ("application_id", None),
        ("query_only = ON", None),
        ("query_only = OFF", None),
        ("optimize", None),
        ("wal_checkpoint(PASSIVE)", Some(vec!["0|0|0"])),
    ] {
        let answers = [&*ours, &stock].map(|connection| rows(connection, pragma));
        match other {
            None => assert_eq!(answers[0], answers[1], "{pragma}"),
            Some(ours) => assert_eq!(answers[0], ours, "{pragma}"),
        }
    }
}

fn rows(connection: &rusqlite::Connection, pragma: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}")).unwrap();
    let columns = statement.column_count();
    let written = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        let texts = values.iter().map(|value| match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        });
        Ok(texts.collect::<Vec<_>>().join("|"))
    };
    let rows = statement.query_map([], written).unwrap();
    rows.map(Result::unwrap).collect()
}
