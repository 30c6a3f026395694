//! Features of SQLite that use the pager in their own ways.

use crate::common::{code_of, connect_small_cache, int, integrity, new_store, text};
use rusqlite::backup::Backup;
use rusqlite::{DatabaseName, MAIN_DB, ffi};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

const ROWS: &str = "CREATE TABLE t(i INTEGER PRIMARY KEY, x);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO t SELECT i, hex(zeroblob(100)) FROM n;";

#[test]
fn vacuum_gives_pages_back_at_every_page_size() {
    for page_size in [512, 4096, 65_536] {
        let (_dir, store) = new_store();
        let connection = connect_small_cache(&store, "a");
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {page_size}; {ROWS} DELETE FROM t WHERE i > 50"
            ))
            .unwrap();
        let before = store.manager().info("a").unwrap().page_count;
        connection.execute_batch("VACUUM").unwrap();
        let after = store.manager().info("a").unwrap().page_count;
        assert!(after < before, "{page_size}: {before} -> {after}");
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 50);
        assert_eq!(integrity(&connection), "ok");
        assert_eq!(integrity(&store.connect("a").unwrap()), "ok");
    }
}

#[test]
fn vacuum_turns_auto_vacuum_on_and_incremental_vacuum_shrinks() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection.execute_batch(ROWS).unwrap();
    connection
        .execute_batch("PRAGMA auto_vacuum = 2; VACUUM; DELETE FROM t WHERE i % 2")
        .unwrap();
    assert_eq!(int(&connection, "PRAGMA auto_vacuum"), 2);
    let before = int(&connection, "PRAGMA page_count");
    connection.execute_batch("DELETE FROM t").unwrap();
    // One row a page: all of them have to be asked for.
    connection
        .prepare("PRAGMA incremental_vacuum")
        .unwrap()
        .query([])
        .unwrap()
        .mapped(|_| Ok(()))
        .for_each(drop);
    assert!(int(&connection, "PRAGMA page_count") < before / 2);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn auto_vacuum_shrinks_with_each_commit_and_grows_back() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("PRAGMA auto_vacuum = FULL")
        .unwrap();
    connection.execute_batch(ROWS).unwrap();
    let full = int(&connection, "PRAGMA page_count");
    connection.execute_batch("DELETE FROM t").unwrap();
    assert!(int(&connection, "PRAGMA page_count") < 10);
    connection.execute_batch("DROP TABLE t").unwrap();
    connection.execute_batch(ROWS).unwrap();
    assert_eq!(int(&connection, "PRAGMA page_count"), full);
    assert_eq!(integrity(&store.connect("a").unwrap()), "ok");
}

#[test]
fn vacuum_into_makes_a_database_of_the_store_or_a_plain_file() {
    let (dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.execute_batch(ROWS).unwrap();
    connection.execute_batch("VACUUM INTO 'copy'").unwrap();
    let copy = store.connect("copy").unwrap();
    assert_eq!(int(&copy, "SELECT count(*) FROM t"), 3000);
    assert_eq!(integrity(&copy), "ok");
    let _ = connection.execute_batch("VACUUM INTO 'copy'").unwrap_err();
    assert_eq!(int(&copy, "SELECT count(*) FROM t"), 3000);

    let path = dir.path().join("plain.sqlite");
    connection
        .execute("VACUUM INTO ?1", [path.to_str().unwrap()])
        .unwrap();
    let plain = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(int(&plain, "SELECT count(*) FROM t"), 3000);
    assert_eq!(integrity(&plain), "ok");
}

#[test]
fn a_backup_goes_out_and_comes_in_with_any_page_size() {
    let (dir, store) = new_store();
    let source = store.connect("a").unwrap();
    source.execute_batch(ROWS).unwrap();
    let mut memory = rusqlite::Connection::open_in_memory().unwrap();
    copy(&source, &mut memory);
    assert_eq!(int(&memory, "SELECT count(*) FROM t"), 3000);
    let mut file = rusqlite::Connection::open(dir.path().join("plain.sqlite")).unwrap();
    copy(&source, &mut file);
    assert_eq!(integrity(&file), "ok");

    let small = rusqlite::Connection::open_in_memory().unwrap();
    small.execute_batch("PRAGMA page_size = 1024").unwrap();
    small.execute_batch(ROWS).unwrap();
    let mut target = store.connect("b").unwrap();
    copy(&small, &mut target);
    assert_eq!(int(&target, "PRAGMA page_size"), 1024);
    assert_eq!(int(&target, "SELECT count(*) FROM t"), 3000);
    assert_eq!(integrity(&store.connect("b").unwrap()), "ok");
}

fn copy(source: &rusqlite::Connection, target: &mut rusqlite::Connection) {
    let backup = Backup::new(source, target).unwrap();
    backup.run_to_completion(20, Duration::ZERO, None).unwrap();
}

#[test]
fn a_backup_starts_over_when_others_commit_and_ends_with_their_rows() {
    let (_dir, store) = new_store();
    let (source, writer) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    source.execute_batch(ROWS).unwrap();
    let mut memory = rusqlite::Connection::open_in_memory().unwrap();
    {
        let backup = Backup::new(&source, &mut memory).unwrap();
        backup.step(10).unwrap();
        writer
            .execute_batch("INSERT INTO t VALUES (-1, 'late')")
            .unwrap();
        backup.step(10).unwrap();
        assert_eq!(
            backup.progress().pagecount - backup.progress().remaining,
            10
        );
        backup.step(-1).unwrap();
    }
    assert_eq!(text(&memory, "SELECT x FROM t WHERE i = -1"), "late");
    assert_eq!(integrity(&memory), "ok");
}

#[test]
fn a_large_blob_is_written_and_read_in_pieces() {
    const BYTES: usize = 3_000_000;
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, b)")
        .unwrap();
    connection
        .execute("INSERT INTO t VALUES (1, zeroblob(?1))", [BYTES])
        .unwrap();
    let pattern: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
    let mut blob = connection
        .blob_open(DatabaseName::Main, "t", "b", 1, false)
        .unwrap();
    for piece in pattern.chunks(70_001) {
        blob.write_all(piece).unwrap();
    }
    blob.close().unwrap();

    let reader = store.connect("a").unwrap();
    let mut blob = reader
        .blob_open(DatabaseName::Main, "t", "b", 1, true)
        .unwrap();
    connection
        .execute_batch("UPDATE t SET b = zeroblob(5) WHERE i = 1")
        .unwrap();
    let mut read = Vec::new();
    blob.seek(SeekFrom::Start(0)).unwrap();
    blob.read_to_end(&mut read).unwrap();
    assert!(read == pattern, "a blob handle keeps its snapshot");
    drop(blob);
    assert_eq!(int(&reader, "SELECT length(b) FROM t"), 5);
    assert_eq!(integrity(&reader), "ok");
}

#[test]
fn full_text_and_spatial_indexes_roll_back() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch(
            "CREATE VIRTUAL TABLE words USING fts5(body);
             CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1);
             INSERT INTO words SELECT 'alpha beta ' || value FROM json_each('[1,2,3,4]');
             INSERT INTO boxes VALUES (1, 0, 1, 0, 1);
             BEGIN; DELETE FROM words; INSERT INTO boxes VALUES (2, 0, 9, 0, 9); ROLLBACK;",
        )
        .unwrap();
    assert_eq!(
        int(
            &connection,
            "SELECT count(*) FROM words WHERE words MATCH 'beta'"
        ),
        4
    );
    assert_eq!(
        int(&connection, "SELECT count(*) FROM boxes WHERE x1 > 5"),
        0
    );
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn vectors_and_json_are_indexed_and_roll_back() {
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch(
            "CREATE TABLE v(i INTEGER PRIMARY KEY, e F32_BLOB(3), j TEXT);
             CREATE INDEX near ON v(libsql_vector_idx(e));
             CREATE INDEX by_name ON v(j ->> 'name');
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
                 INSERT INTO v SELECT i, vector(json_array(i, 0, 1)), json_object('name', 'n' || i)
                 FROM n;
             BEGIN; DELETE FROM v WHERE i < 100;
                 INSERT INTO v VALUES (700, vector('[50,0,1]'), '{}'); ROLLBACK;
             UPDATE v SET j = json_set(j, '$.name', 'renamed') WHERE j ->> 'name' = 'n9';",
        )
        .unwrap();
    let other = store.connect("a").unwrap();
    for connection in [&connection, &other] {
        let nearest = "SELECT id FROM vector_top_k('near', vector('[50,0,1]'), 1)";
        assert_eq!(int(connection, nearest), 50);
        let renamed = "SELECT i FROM v WHERE j ->> 'name' = 'renamed'";
        assert_eq!(int(connection, renamed), 9);
        assert_eq!(int(connection, "SELECT count(*) FROM v"), 200);
        assert_eq!(integrity(connection), "ok");
    }
}

#[test]
fn a_schema_change_is_seen_by_other_connections() {
    let (_dir, store) = new_store();
    let (mine, other) = (store.connect("a").unwrap(), store.connect("a").unwrap());
    mine.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(int(&other, "SELECT x FROM t"), 1);
    mine.execute_batch(
        "ALTER TABLE t RENAME COLUMN x TO y; ALTER TABLE t ADD COLUMN z DEFAULT 5;
                        CREATE INDEX by_y ON t(y)",
    )
    .unwrap();
    assert_eq!(int(&other, "SELECT z FROM t WHERE y = 1"), 5);
    let failed = other.query_row("SELECT x FROM t", [], |_| Ok(()));
    assert_eq!(code_of(failed), ffi::SQLITE_ERROR);
}

static COMMITS_HEARD: AtomicI32 = AtomicI32::new(0);

unsafe extern "C" fn hear(
    _: *mut c_void,
    _: *mut ffi::sqlite3,
    name: *const c_char,
    pages: c_int,
) -> c_int {
    // SAFETY: SQLite passes the name of a schema.
    assert_eq!(unsafe { CStr::from_ptr(name) }, c"main");
    assert!(pages > 0);
    COMMITS_HEARD.fetch_add(1, Ordering::SeqCst);
    ffi::SQLITE_OK
}

#[test]
fn the_wal_hook_hears_of_each_commit_once() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    // SAFETY: the connection is open, and the hook needs no context.
    unsafe { ffi::sqlite3_wal_hook(connection.handle(), Some(hear), std::ptr::null_mut()) };
    connection
        .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1); SELECT * FROM t")
        .unwrap();
    assert_eq!(COMMITS_HEARD.load(Ordering::SeqCst), 2);
    connection
        .execute_batch("BEGIN; INSERT INTO t VALUES (2); INSERT INTO t VALUES (3); COMMIT")
        .unwrap();
    assert_eq!(COMMITS_HEARD.load(Ordering::SeqCst), 3);
}

#[test]
fn dbstat_counts_every_page() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection.execute_batch(ROWS).unwrap();
    let counted = int(&connection, "SELECT count(*) FROM dbstat");
    assert_eq!(counted, int(&connection, "PRAGMA page_count"));
    assert_eq!(connection.is_readonly(MAIN_DB), Ok(false));
}
