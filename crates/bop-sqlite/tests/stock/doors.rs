//! Both doors to one store in one process: the virtual WAL of libSQL, and the VFS in the same SQLite.

use bop_libsql::rusqlite::{self, Connection, OpenFlags};
use bop_libsql::{Options, Store, sqlite_functions};
use bop_storage::{At, PageNo};
use std::path::Path;
use tempfile::TempDir;

struct Doors {
    dir: TempDir,
    store: Store,
    _registration: bop_sqlite::Registration,
}

fn doors() -> Doors {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::new()).unwrap();
    let registration = bop_sqlite::register(store.manager(), &sqlite_functions()).unwrap();
    Doors {
        dir,
        store,
        _registration: registration,
    }
}

/// A connection by the VFS.
fn by_vfs(directory: &Path, name: &str) -> Connection {
    let uri = format!("file:{}/{name}?vfs=bop", directory.display());
    let connection = Connection::open_with_flags(uri, OpenFlags::default()).unwrap();
    connection.execute_batch("PRAGMA cache_size = 10").unwrap();
    connection
}

fn count(connection: &Connection) -> i64 {
    let sql = "SELECT count(*) FROM t";
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(connection: &Connection, sql: &str) -> String {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_one_door_commits_the_other_one_sees_and_no_cache_is_stale() {
    let doors = doors();
    let wal = doors.store.connect("app").unwrap();
    wal.execute_batch("PRAGMA cache_size = 10; CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        .unwrap();
    let vfs = by_vfs(doors.dir.path(), "app");
    assert_eq!(text(&wal, "PRAGMA journal_mode"), "wal");
    assert_eq!(text(&vfs, "PRAGMA journal_mode"), "delete");
    for turn in 0..30 {
        let (writer, reader): (&Connection, &Connection) = match turn % 2 {
            0 => (&wal, &vfs),
            _ => (&vfs, &wal),
        };
        writer
            .execute(
                "INSERT INTO t(b) SELECT hex(randomblob(?1)) FROM \
                 (VALUES (1), (2), (3), (4), (5), (6), (7))",
                [turn * 40],
            )
            .unwrap();
        writer
            .execute("UPDATE t SET b = b || 'x' WHERE a % 3 = ?1", [turn % 3])
            .unwrap();
        let sum = "SELECT group_concat(a || b) FROM t";
        assert_eq!(text(reader, sum), text(writer, sum), "turn {turn}");
        assert_eq!(count(reader), i64::from(turn + 1) * 7);
    }
    for connection in [&*wal, &vfs] {
        assert_eq!(text(connection, "PRAGMA integrity_check"), "ok");
    }
}

#[test]
fn the_doors_take_turns_at_one_writer_slot() {
    let doors = doors();
    let wal = doors.store.connect("app").unwrap();
    wal.execute_batch("CREATE TABLE t(a)").unwrap();
    let vfs = by_vfs(doors.dir.path(), "app");
    for connection in [&*wal, &vfs] {
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    }
    for (first, second) in [(&*wal, &vfs), (&vfs, &*wal)] {
        first
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
            .unwrap();
        let error = second
            .execute_batch("INSERT INTO t VALUES (2)")
            .unwrap_err();
        let code = error.sqlite_error_code();
        assert_eq!(code, Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
        first.execute_batch("COMMIT").unwrap();
        second.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    }
    assert_eq!(count(&vfs), 4);
    // A reader of either keeps its state.
    vfs.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&vfs), 4);
    wal.execute_batch("DELETE FROM t").unwrap();
    assert_eq!(count(&vfs), 4);
    let error = vfs.execute_batch("INSERT INTO t VALUES (3)").unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
    vfs.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&vfs), 0);
}

#[test]
fn both_store_the_same_bytes() {
    let doors = doors();
    let work = "PRAGMA page_size = 1024; PRAGMA auto_vacuum = 1;
                CREATE TABLE t(a INTEGER PRIMARY KEY, b);
                INSERT INTO t(b) VALUES (zeroblob(5000)), ('x'), (zeroblob(700));
                CREATE INDEX i ON t(b); DELETE FROM t WHERE a = 2; PRAGMA user_version = 7;";
    doors
        .store
        .connect("wal")
        .unwrap()
        .execute_batch(work)
        .unwrap();
    by_vfs(doors.dir.path(), "vfs").execute_batch(work).unwrap();
    let manager = doors.store.manager();
    let state = |name| {
        manager
            .database(name)
            .unwrap()
            .begin_read_at(&At::Now)
            .unwrap()
    };
    let (wal, vfs) = (state("wal"), state("vfs"));
    assert_eq!(wal.page_count(), vfs.page_count());
    for number in 1..=wal.page_count() {
        let page = PageNo::new(number).unwrap();
        let same = wal.read_page(page).unwrap()[..] == vfs.read_page(page).unwrap()[..];
        assert!(same, "page {number}");
    }
    assert_eq!(wal.rolling_checksum(), vfs.rolling_checksum());
}

#[test]
fn the_owner_closes_the_store() {
    let doors = doors();
    let vfs = by_vfs(doors.dir.path(), "app");
    vfs.execute_batch("CREATE TABLE t AS SELECT 1").unwrap();
    drop(vfs);
    assert_eq!(count(&doors.store.connect("app").unwrap()), 1);
    // Nobody else registers it meanwhile.
    let again = bop_sqlite::register(doors.store.manager(), &sqlite_functions());
    assert!(again.is_err());
}
