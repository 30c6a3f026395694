//! The guards below `SQLITE_FCNTL_PRAGMA`: that one is sent to the main file alone, so a connection
//! whose main database is in memory gets past it.

use crate::engine_error::ErrorSlot;
use crate::{Options, Store, ffi::wal_manager, hub::Hub};
use bop_storage::Manager;
use libsql_ffi as ffi;
use rusqlite::{Connection, OpenFlags};
use std::sync::Arc;
use tempfile::TempDir;

struct Fixture {
    _dir: TempDir,
    store: Store,
    hub: Arc<Hub>,
}

impl Fixture {
    /// A store with a table `t` in database `a`.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let manager = Manager::open(dir.path(), Options::new()).unwrap();
        let store = Store::new(manager.clone()).unwrap();
        let connection = store.connect("a").unwrap();
        connection
            .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
            .unwrap();
        Self {
            _dir: dir,
            store,
            hub: Hub::register(manager).unwrap(),
        }
    }

    /// A connection in memory, with `a` attached.
    fn behind_memory(&self, first: &str) -> Connection {
        let manager = wal_manager(Arc::clone(&self.hub), Arc::new(ErrorSlot::default()));
        let connection = Connection::open_with_flags_vfs_and_wal(
            ":memory:",
            OpenFlags::default(),
            self.hub.vfs_name(),
            manager,
        )
        .unwrap();
        connection.execute_batch(first).unwrap();
        connection.execute_batch("ATTACH 'a' AS a").unwrap();
        connection
    }

    /// Everybody else is as well off as before.
    fn assert_sound(&self, rows: i64) {
        let connection = self.store.connect("a").unwrap();
        connection
            .execute_batch("INSERT INTO t VALUES (0); DELETE FROM t WHERE x = 0")
            .unwrap();
        let count: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
            .unwrap();
        assert_eq!(count, rows);
        let check: String = connection
            .query_row("PRAGMA integrity_check", [], |r| r.get(0))
            .unwrap();
        assert_eq!(check, "ok");
    }
}

const MODES: [&str; 5] = ["delete", "truncate", "persist", "memory", "off"];

fn code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().unwrap().extended_code
}

fn journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| {
        row.get(0)
    })
}

#[test]
fn leaving_wal_mode_needs_a_lock_that_is_never_given() {
    for mode in MODES {
        let fixture = Fixture::new();
        let connection = fixture.behind_memory("");
        connection
            .execute_batch("INSERT INTO a.t VALUES (2)")
            .unwrap();
        let error = journal_mode(&connection, mode).unwrap_err();
        assert_eq!(code(&error), ffi::SQLITE_BUSY, "{mode}");
        connection
            .execute_batch(
                "BEGIN; INSERT INTO a.t VALUES (3); SAVEPOINT s;
                            DELETE FROM a.t; ROLLBACK TO s; COMMIT",
            )
            .unwrap();
        fixture.assert_sound(3);
    }
}

#[test]
fn a_file_that_left_wal_mode_gets_no_second_wal() {
    for mode in MODES {
        let fixture = Fixture::new();
        // The lock is asked for before there is a WAL, and then not again.
        let connection = fixture.behind_memory("PRAGMA locking_mode = EXCLUSIVE");
        connection
            .execute_batch("INSERT INTO a.t VALUES (2)")
            .unwrap();
        let error = journal_mode(&connection, mode).unwrap_err();
        assert_eq!(code(&error), ffi::SQLITE_CANTOPEN, "{mode}");
        let error = connection
            .execute_batch("INSERT INTO a.t VALUES (3)")
            .unwrap_err();
        assert_eq!(code(&error), ffi::SQLITE_CANTOPEN, "{mode}");
        fixture.assert_sound(2);
        // Another file object works.
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").unwrap();
        }
        connection
            .execute_batch("DETACH a; PRAGMA locking_mode = NORMAL; ATTACH 'a' AS a")
            .unwrap();
        connection
            .execute_batch("INSERT INTO a.t VALUES (4)")
            .unwrap();
        fixture.assert_sound(3);
    }
}

#[test]
fn an_exclusive_connection_leaves_the_others_working() {
    let fixture = Fixture::new();
    let connection = fixture.behind_memory("PRAGMA locking_mode = EXCLUSIVE");
    connection
        .execute_batch("INSERT INTO a.t VALUES (2)")
        .unwrap();
    fixture.assert_sound(2);
    connection
        .execute_batch("INSERT INTO a.t VALUES (3)")
        .unwrap();
    fixture.assert_sound(3);
}

#[test]
fn frames_cannot_be_put_in_from_outside() {
    let fixture = Fixture::new();
    let connection = fixture.store.connect("a").unwrap();
    connection.execute_batch("SELECT * FROM t").unwrap();
    let (mut count, mut frame) = (9, [0u8; 24 + 4096]);
    // SAFETY: the connection is open, and the buffers are as large as is said.
    let (counted, read, inserted) = unsafe {
        let db = connection.handle();
        let counted = ffi::libsql_wal_frame_count(db, &raw mut count);
        let read = ffi::libsql_wal_get_frame(db, 1, frame.as_mut_ptr().cast(), 4120);
        ffi::libsql_wal_insert_begin(db);
        let mut conflict = 0;
        let inserted =
            ffi::libsql_wal_insert_frame(db, 1, frame.as_mut_ptr().cast(), 4120, &raw mut conflict);
        ffi::libsql_wal_insert_end(db);
        (counted, read, inserted)
    };
    assert_eq!((counted, count), (ffi::SQLITE_OK, 0));
    assert_ne!(read, ffi::SQLITE_OK);
    assert_ne!(inserted, ffi::SQLITE_OK);
    drop(connection);
    fixture.assert_sound(1);
}

#[test]
fn whoever_asks_for_files_and_names_gets_harmless_ones() {
    let fixture = Fixture::new();
    let connection = fixture.store.connect("a").unwrap();
    connection.execute_batch("SELECT * FROM t").unwrap();
    let mut name = std::ptr::null_mut::<std::os::raw::c_char>();
    let mut file = std::ptr::null_mut::<ffi::sqlite3_file>();
    // SAFETY: the connection is open; each operation stores a pointer, the name is ours to free.
    unsafe {
        let (db, main) = (connection.handle(), c"main".as_ptr());
        let operation = ffi::SQLITE_FCNTL_VFSNAME;
        assert_eq!(
            ffi::sqlite3_file_control(db, main, operation, (&raw mut name).cast()),
            0
        );
        let found = std::ffi::CStr::from_ptr(name).to_str().unwrap().to_owned();
        assert_eq!(found, fixture.store.vfs_name());
        ffi::sqlite3_free(name.cast());
        let operation = ffi::SQLITE_FCNTL_JOURNAL_POINTER;
        assert_eq!(
            ffi::sqlite3_file_control(db, main, operation, (&raw mut file).cast()),
            0
        );
    }
    assert!(!file.is_null());
}
