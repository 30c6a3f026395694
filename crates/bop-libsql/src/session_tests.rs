//! Sessions on their own, and under SQLite with errors and panics at each point.

use super::*;
use crate::faults::{Fault, arm, disarm};
use crate::{Connection, Store};
use bop_storage::error::{
    BeginError, CommitError, Damage, ErrorCode, LogFailure, Place, ReadError, Reject, Rejection,
};
use bop_storage::ids::DbId;
use bop_storage::io::{IoFailure, IoOp};
use bop_storage::{Options, PageHash, RollingChecksum};
use libsql_ffi as ffi;
use tempfile::TempDir;

#[path = "session_pair_tests.rs"]
mod pair;

fn new_store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Options::new()).unwrap();
    (dir, store)
}

fn new_session() -> (TempDir, Store, Rc<Session>) {
    let (dir, store) = new_store();
    let db = store
        .manager()
        .create_database("a", bop_storage::DbKind::Sqlite)
        .unwrap();
    let session = session_on(&store, Shown::Present(db));
    (dir, store, session)
}

fn session_on(store: &Store, shown: Shown) -> Rc<Session> {
    Session::new(shown, Arc::clone(store.hub()), &Group::new(Arc::default()))
}

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

const SIZE: usize = 512;

fn spill(session: &Session, pages: &[(u32, u8)]) {
    frames(session, pages, None).unwrap();
}

fn frames(
    session: &Session,
    pages: &[(u32, u8)],
    commit_page_count: Option<u32>,
) -> Result<(), EngineError> {
    let contents: Vec<(PageNo, Vec<u8>)> = pages
        .iter()
        .map(|(raw, fill)| (page(*raw), vec![*fill; SIZE]))
        .collect();
    let frames = Frames {
        page_size: SIZE as i64,
        commit_page_count,
        durability: Durability::Full,
    };
    session.frames(
        frames,
        contents
            .iter()
            .map(|(page, content)| (*page, content.as_slice())),
        || 1,
    )
}

fn byte(session: &Session, raw: u32) -> u8 {
    let mut out = [0xee; SIZE];
    session.read_page(page(raw), &mut out).unwrap();
    out[200]
}

#[test]
fn the_cache_is_told_of_change_only_when_others_committed() {
    let (_dir, store, session) = new_session();
    let same = store.manager().database("a").unwrap();
    let other = session_on(&store, Shown::Present(same));
    assert!(
        session.begin_read().unwrap(),
        "the first read knows nothing"
    );
    assert!(!session.begin_read().unwrap());
    session.begin_write().unwrap();
    frames(&session, &[(1, 7), (2, 8)], Some(2)).unwrap();
    session.end_write().unwrap();
    session.end_read();
    assert!(
        !session.begin_read().unwrap(),
        "its own commit is in its cache"
    );
    assert!(other.begin_read().unwrap());
    other.begin_write().unwrap();
    frames(&other, &[(2, 9)], Some(2)).unwrap();
    other.end_write().unwrap();
    assert_eq!((byte(&session, 2), byte(&other, 2)), (8, 9));
    assert!(session.begin_read().unwrap());
    assert_eq!(byte(&session, 2), 9);
}

#[test]
fn a_state_stays_and_is_not_written_to() {
    let (_dir, store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    frames(&session, &[(1, 1), (2, 8)], Some(2)).unwrap();
    let db = store.manager().database("a").unwrap();
    let state = Shown::State(Arc::new(db.begin_read().unwrap()));
    let past = session_on(&store, state);
    frames_again(&session, &[(2, 9)]);
    assert!(past.begin_read().unwrap());
    assert_eq!((byte(&past, 2), byte(&session, 2)), (8, 9));
    let refused = past.begin_write().unwrap_err();
    assert_eq!(refused.sqlite_code(), ffi::SQLITE_READONLY);
    past.end_read();
    frames_again(&session, &[(2, 10)]);
    assert!(!past.begin_read().unwrap(), "nothing changed");
    assert_eq!(byte(&past, 2), 8);
}

fn frames_again(session: &Session, pages: &[(u32, u8)]) {
    session.end_write().unwrap();
    session.begin_write().unwrap();
    frames(session, pages, Some(2)).unwrap();
}

#[test]
fn a_page_fits_any_buffer() {
    let (_dir, _store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    frames(&session, &[(1, 1), (2, 5)], Some(2)).unwrap();
    for bytes in [100, SIZE, 4096] {
        let mut out = vec![0xee; bytes];
        session.read_page(page(2), &mut out).unwrap();
        assert!(
            out.iter()
                .enumerate()
                .all(|(at, byte)| *byte == if at < SIZE { 5 } else { 0 })
        );
        session.read_page(page(3), &mut out).unwrap();
        assert!(
            out.iter().all(|byte| *byte == 0),
            "behind the end of the database"
        );
    }
}

#[test]
fn pages_that_sqlite_allocates_and_never_writes_exist_as_zeros() {
    let (_dir, store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    spill(&session, &[(4, 4)]);
    frames(&session, &[(1, 1)], Some(6)).unwrap();
    let read = store.manager().database("a").unwrap().begin_read().unwrap();
    assert_eq!(read.page_count(), 6);
    let expected = (1..=6).fold(RollingChecksum::EMPTY, |sum, raw| {
        sum.toggled(PageHash::of(page(raw), &read.read_page(page(raw)).unwrap()))
    });
    assert_eq!(read.rolling_checksum(), expected);
    assert_eq!((byte(&session, 4), byte(&session, 6)), (4, 0));
}

#[test]
fn a_smaller_page_count_cuts_the_database() {
    let (_dir, _store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    frames(&session, &[(1, 1), (2, 2), (3, 3)], Some(3)).unwrap();
    session.end_write().unwrap();
    session.begin_write().unwrap();
    spill(&session, &[(3, 9), (5, 9)]);
    frames(&session, &[(1, 1)], Some(2)).unwrap();
    assert_eq!(session.page_count(), 2);
    assert_eq!(session.file_bytes().unwrap(), 2 * SIZE as u64);
    assert_eq!((byte(&session, 2), byte(&session, 3)), (2, 0));
}

#[test]
fn savepoints_cut_spilled_pages_back_and_can_be_used_again() {
    let (_dir, _store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    spill(&session, &[(1, 1)]);
    spill(&session, &[(2, 1)]);
    let first = session.savepoint();
    spill(&session, &[(2, 2)]);
    let second = session.savepoint();
    spill(&session, &[(2, 3)]);
    session.rollback_to(second);
    assert_eq!(byte(&session, 2), 2);
    for again in [4, 5] {
        session.rollback_to(first);
        assert_eq!(byte(&session, 2), 1);
        spill(&session, &[(2, again)]);
        assert_eq!(byte(&session, 2), again);
    }
    session.forget(first);
    session.rollback_to(first);
    assert_eq!(byte(&session, 2), 5, "nothing was kept for it");
}

#[test]
fn undo_forgets_first_and_reads_back_the_old_pages() {
    let (_dir, _store, session) = new_session();
    session.begin_read().unwrap();
    session.begin_write().unwrap();
    frames(&session, &[(1, 1), (2, 2)], Some(2)).unwrap();
    session.end_write().unwrap();
    session.begin_write().unwrap();
    spill(&session, &[(2, 9)]);
    spill(&session, &[(3, 9)]);
    let mut reloaded = Vec::new();
    session
        .undo(|page| {
            reloaded.push((page.get(), byte(&session, page.get())));
            0
        })
        .unwrap();
    assert_eq!(reloaded, [(2, 2), (3, 0)]);
    spill(&session, &[(2, 8)]);
    assert_eq!(
        session.undo(|_| ffi::SQLITE_IOERR_READ),
        Err(NotUndone::Reload(ffi::SQLITE_IOERR_READ))
    );
    spill(&session, &[(2, 7)]);
    frames(&session, &[(1, 1)], Some(2)).unwrap();
    assert_eq!(byte(&session, 2), 7, "the slot was kept");
}

#[test]
fn what_the_pager_must_not_do_is_an_error() {
    let (_dir, _store, session) = new_session();
    let mut out = [0; SIZE];
    assert!(matches!(
        session.read_page(page(1), &mut out),
        Err(EngineError::NoTransaction { operation: "read" })
    ));
    assert!(session.begin_write().is_err());
    session.begin_read().unwrap();
    assert!(frames(&session, &[(1, 1)], Some(1)).is_err());
    session.begin_write().unwrap();
    session.begin_write().unwrap();
    frames(&session, &[(1, 1)], Some(1)).unwrap();
    session.end_write().unwrap();
    session.begin_write().unwrap();
    let wrong = Frames {
        page_size: 1024,
        commit_page_count: None,
        durability: Durability::Full,
    };
    let error = session.frames(wrong, std::iter::empty(), || 1).unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::PageSize {
                found: 1024,
                expected: 512
            }
        ),
        "{error}"
    );
}

// Under SQLite.

const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n";
const CHANGE: &str = "UPDATE t SET x = 'changed' || x";

fn filled(store: &Store) -> Connection {
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 10; CREATE TABLE t(i INTEGER PRIMARY KEY, x)")
        .unwrap();
    connection.execute_batch(ROWS).unwrap();
    connection
}

/// The database is as `filled` left it, for everybody, and can be written.
fn assert_untouched(store: &Store, connection: &Connection, what: &str) {
    let count = "SELECT count(*) FROM t WHERE length(x) = 400";
    let check = "PRAGMA integrity_check";
    let other = store.connect("a").unwrap();
    assert!(connection.is_autocommit(), "{what}");
    for connection in [connection, &other] {
        let rows: i64 = connection.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 500, "{what}");
        let sound: String = connection.query_row(check, [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{what}");
        connection
            .execute_batch("INSERT INTO t VALUES (0, 'new'); DELETE FROM t WHERE i = 0")
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

fn failure() -> Arc<LogFailure> {
    Arc::new(LogFailure::Io(IoFailure {
        op: IoOp::WriteDurable,
        path: "log/1.seg".into(),
        offset: Some(0),
        errno: 5,
    }))
}

fn damaged() -> EngineError {
    let place = Place::Page {
        database: DbId::new(1),
        page: page(2),
    };
    ReadError::Damaged(Damage::new(place, Reject::Checksum)).into()
}

fn fail(connection: &Connection, sql: &str) -> i32 {
    let error = connection.execute_batch(sql).unwrap_err();
    error.sqlite_error().unwrap().extended_code
}

#[test]
fn a_commit_that_fails_is_rolled_back_for_everybody() {
    let unknown = || CommitError::Unknown {
        lsn: Lsn::new(8),
        cause: failure(),
    };
    let full = || CommitError::from(Rejection::LogFull { bytes: 1 });
    for explicit in [false, true] {
        for (error, code) in [
            (full(), ffi::SQLITE_FULL),
            (unknown(), ffi::SQLITE_IOERR_WRITE),
            (Rejection::Closed.into(), ffi::SQLITE_IOERR_CLOSE),
        ] {
            let (_dir, store) = new_store();
            let connection = filled(&store);
            if explicit {
                connection.execute_batch("BEGIN").unwrap();
                connection.execute_batch(CHANGE).unwrap();
            }
            let expected = error.code();
            arm(Point::Commit, 1, Fault::Error(error.into()));
            let found = fail(&connection, if explicit { "COMMIT" } else { CHANGE });
            assert_eq!(found, code);
            assert_eq!(connection.last_engine_error().unwrap().code(), expected);
            assert_untouched(
                &store,
                &connection,
                &format!("{expected}, explicit {explicit}"),
            );
        }
    }
}

#[test]
fn a_spill_that_fails_rolls_the_whole_transaction_back() {
    for begin in [
        "",
        "BEGIN; INSERT INTO t VALUES (-1, 'mine');",
        "SAVEPOINT s;",
    ] {
        for nth in [1, 2, 7] {
            let (_dir, store) = new_store();
            let connection = filled(&store);
            connection.execute_batch(begin).unwrap();
            let error = Rejection::OutOfSpace { needed: 1 };
            arm(Point::Write, nth, Fault::Error(error.into()));
            assert_eq!(fail(&connection, CHANGE), ffi::SQLITE_FULL);
            assert_untouched(&store, &connection, &format!("{begin:?}, spill {nth}"));
        }
    }
}

#[test]
fn a_page_that_cannot_be_read_fails_the_statement_and_no_more() {
    for nth in [1, 2, 5, 40] {
        let (_dir, store) = new_store();
        drop(filled(&store));
        let connection = store.connect("a").unwrap();
        arm(Point::Read, nth, Fault::Error(damaged()));
        let sum = connection.query_row("SELECT sum(length(x)) FROM t", [], |row| {
            row.get::<_, i64>(0)
        });
        assert_eq!(
            sum.unwrap_err().sqlite_error().unwrap().extended_code,
            ffi::SQLITE_IOERR_DATA
        );
        let error = connection.last_engine_error().unwrap();
        assert_eq!(error.code(), ErrorCode::Corrupt);
        assert!(
            error.to_string().contains("page 2 of database id 1"),
            "{error}"
        );
        assert_untouched(&store, &connection, &format!("read {nth}"));
    }
}

#[test]
fn a_page_that_cannot_be_read_while_writing_rolls_back() {
    for nth in [1, 3, 30] {
        let (_dir, store) = new_store();
        let connection = filled(&store);
        connection.execute_batch("BEGIN").unwrap();
        connection.execute_batch(CHANGE).unwrap();
        arm(Point::Read, nth, Fault::Error(damaged()));
        assert_eq!(fail(&connection, CHANGE), ffi::SQLITE_IOERR_DATA);
        assert_untouched(&store, &connection, &format!("read {nth}"));
    }
}

#[test]
fn a_transaction_that_cannot_begin_says_why() {
    let (_dir, store) = new_store();
    let connection = filled(&store);
    let cases = [
        (
            Point::BeginRead,
            ffi::SQLITE_IOERR_CLOSE,
            BeginError::Closed,
        ),
        (
            Point::BeginWrite,
            ffi::SQLITE_IOERR_WRITE,
            BeginError::Poisoned(failure()),
        ),
        (
            Point::BeginWrite,
            ffi::SQLITE_IOERR_DELETE_NOENT,
            BeginError::Dropped,
        ),
    ];
    for (point, code, error) in cases {
        arm(point, 1, Fault::Error(error.into()));
        assert_eq!(fail(&connection, CHANGE), code);
        assert_untouched(&store, &connection, &format!("{point:?}"));
    }
    // SQLite's busy handler tries again.
    arm(Point::BeginWrite, 1, Fault::Error(BeginError::Busy.into()));
    connection
        .execute_batch("INSERT INTO t VALUES (0, 'x'); DELETE FROM t WHERE i = 0")
        .unwrap();
    assert!(!disarm());
}

#[test]
fn a_panic_in_a_callback_is_an_error_and_the_connection_goes_on() {
    let points = [
        Point::BeginRead,
        Point::BeginWrite,
        Point::Read,
        Point::Write,
        Point::Commit,
    ];
    for point in points {
        for begin in ["", "BEGIN;"] {
            let (_dir, store) = new_store();
            let connection = filled(&store);
            // Reads first, so that a read within it can fail.
            let other = store.connect("a").unwrap();
            other
                .execute_batch("DELETE FROM t WHERE i = -5; UPDATE t SET x = x")
                .unwrap();
            arm(point, 1, Fault::Panic);
            let error = connection
                .execute_batch(&format!("{begin} {CHANGE}; COMMIT"))
                .unwrap_err();
            let code = error.sqlite_error().unwrap().extended_code;
            assert_eq!(code & 0xff, ffi::SQLITE_IOERR, "{point:?}");
            let engine = connection.last_engine_error().unwrap();
            assert_eq!(engine.code(), ErrorCode::Panic, "{engine}");
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK").unwrap();
            }
            assert_untouched(&store, &connection, &format!("{point:?} {begin}"));
        }
    }
}
