//! Transactions over two databases: both or neither, whatever fails on the way.

use super::*;

/// Two databases, the second one attached as `b`.
fn two(store: &Store) -> Connection {
    let connection = filled(store);
    connection
        .execute_batch("ATTACH 'b' AS b; CREATE TABLE b.u(x); INSERT INTO b.u VALUES (1)")
        .unwrap();
    connection
}

/// What the transactions change, and that nothing else is there.
fn state(connection: &Connection) -> (i64, i64, i64, String) {
    connection
        .query_row(
            "SELECT (SELECT count(*) FROM t), (SELECT sum(x) FROM b.u),
                 (SELECT count(*) FROM sqlite_schema) + (SELECT count(*) FROM b.sqlite_schema),
                 (SELECT group_concat(integrity_check) FROM pragma_integrity_check)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap()
}

fn sound(rows: i64, sum: i64, schema: i64) -> (i64, i64, i64, String) {
    (rows, sum, schema, "ok".to_owned())
}

const TRANSACTIONS: [&str; 6] = [
    "UPDATE b.u SET x = 2; DELETE FROM t WHERE i = 1",
    // Spills in both.
    "PRAGMA b.cache_size = 10; INSERT INTO t SELECT i + 500, x || x || x FROM t;
     INSERT INTO b.u SELECT length(x) FROM t",
    "CREATE TABLE b.more(x); INSERT INTO b.more VALUES (1); CREATE INDEX by_x ON t(x)",
    // The pager drops pages behind the end from what it hands over.
    "UPDATE b.u SET x = 2; INSERT INTO t SELECT i + 500, x FROM t; DELETE FROM t WHERE i > 3;
     PRAGMA incremental_vacuum",
    "SAVEPOINT s; UPDATE b.u SET x = 9; DELETE FROM t; ROLLBACK TO s; RELEASE s;
     UPDATE b.u SET x = 2; DELETE FROM t WHERE i = 1",
    "DROP TABLE b.u; DROP TABLE t; CREATE TABLE b.u(y); CREATE TABLE t(y)",
];

#[test]
fn a_transaction_over_two_databases_fails_in_both_wherever_it_fails() {
    let full = || EngineError::from(Rejection::LogFull { bytes: 1 });
    let unknown = || {
        EngineError::from(CommitError::Unknown {
            lsn: Lsn::new(8),
            cause: failure(),
        })
    };
    let mut failures = 0;
    for changes in TRANSACTIONS {
        for point in [Point::Write, Point::Read, Point::Commit, Point::Group] {
            for nth in 1..=40 {
                let (_dir, store) = new_store();
                store
                    .connect("a")
                    .unwrap()
                    .execute_batch("PRAGMA auto_vacuum = 2; VACUUM")
                    .unwrap();
                let connection = two(&store);
                let before = state(&connection);
                connection.execute_batch("BEGIN").unwrap();
                connection.execute_batch(changes).unwrap();
                let (error, code) = match nth % 2 {
                    0 => (full(), ffi::SQLITE_FULL),
                    _ => (unknown(), ffi::SQLITE_IOERR_WRITE),
                };
                arm(point, nth, Fault::Error(error));
                let ended = connection.execute_batch("COMMIT");
                if disarm() {
                    // It commits without coming there so often.
                    ended.unwrap();
                    break;
                }
                failures += 1;
                let what = format!("{changes}, {point:?} {nth}");
                let error = ended.unwrap_err().sqlite_error().unwrap().extended_code;
                assert_eq!(error, code, "{what}");
                assert!(connection.is_autocommit(), "{what}");
                let other = store.connect("a").unwrap();
                other.execute_batch("ATTACH 'b' AS b").unwrap();
                assert_eq!(state(&connection), before, "{what}");
                assert_eq!(state(&other), before, "{what}");
                connection
                    .execute_batch("BEGIN; UPDATE b.u SET x = 3; DELETE FROM t WHERE i = 2; COMMIT")
                    .unwrap();
                let after = sound(499, 3, before.2);
                assert_eq!((state(&connection), state(&other)), (after.clone(), after));
            }
        }
    }
    assert!(failures >= 3 * TRANSACTIONS.len(), "{failures}");
}

#[test]
fn a_transaction_over_two_databases_is_one_commit_of_the_store() {
    let (_dir, store) = new_store();
    let connection = two(&store);
    for changes in [
        "BEGIN; UPDATE b.u SET x = 2; DELETE FROM t WHERE i = 1; COMMIT",
        // The slots of both, and changes in one.
        "BEGIN IMMEDIATE; UPDATE b.u SET x = x + 1; COMMIT",
        "BEGIN IMMEDIATE; DELETE FROM t WHERE i = 2; COMMIT",
        "BEGIN IMMEDIATE; COMMIT",
    ] {
        connection.execute_batch(changes).unwrap();
    }
    let lsn = |name| {
        let db = store.manager().database(name).unwrap();
        db.begin_read().unwrap().lsn()
    };
    assert!(lsn("a") > lsn("b"));
    connection
        .execute_batch("BEGIN; UPDATE b.u SET x = 9; DELETE FROM t WHERE i = 3; COMMIT")
        .unwrap();
    assert_eq!(lsn("a"), lsn("b"), "one record");
    assert_eq!(state(&connection), sound(497, 9, 2));
}

#[test]
fn where_a_plain_file_is_written_too_each_database_is_committed_in_the_first_phase() {
    let (dir, store) = new_store();
    let connection = two(&store);
    let plain = dir.path().join("plain.sqlite");
    let attach = format!("ATTACH '{}' AS plain", plain.display());
    connection.execute_batch(&attach).unwrap();
    connection.execute_batch("CREATE TABLE plain.v(x)").unwrap();
    let both = "BEGIN; UPDATE b.u SET x = x + 1; DELETE FROM t WHERE i = (SELECT min(i) FROM t)";
    // One that is merely attached, or read, is in nobody's way.
    connection
        .execute_batch(&format!("{both}; SELECT * FROM plain.v; COMMIT"))
        .unwrap();
    let lsn = |name| {
        let db = store.manager().database(name).unwrap();
        db.begin_read().unwrap().lsn()
    };
    assert_eq!(lsn("a"), lsn("b"));
    connection
        .execute_batch(&format!("{both}; INSERT INTO plain.v VALUES (1); COMMIT"))
        .unwrap();
    assert_ne!(lsn("a"), lsn("b"));
    let before = state(&connection);
    connection
        .execute_batch(&format!("{both}; INSERT INTO plain.v VALUES (2)"))
        .unwrap();
    arm(
        Point::Commit,
        1,
        Fault::Error(Rejection::LogFull { bytes: 1 }.into()),
    );
    assert_eq!(fail(&connection, "COMMIT"), ffi::SQLITE_FULL);
    assert_eq!(state(&connection), before);
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM plain.v", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1, "the plain file heard of the error");
}

/// A cursor keeps the pager from reading anew when the next read begins: it would go on from pages of
/// the transaction that is not there.
#[test]
fn a_cursor_that_is_open_while_two_databases_cannot_commit_does_no_harm() {
    for select in ["SELECT x FROM t", "SELECT x FROM b.u"] {
        let (_dir, store) = new_store();
        let connection = two(&store);
        connection
            .execute_batch("INSERT INTO b.u SELECT 0 FROM t; DELETE FROM b.u WHERE rowid > 400")
            .unwrap();
        let before = state(&connection);
        let mut statement = connection.prepare(select).unwrap();
        let mut cursor = statement.query([]).unwrap();
        let _ = cursor.next().unwrap();
        // Both grow, far beyond what the pager goes back to.
        connection
            .execute_batch(
                "BEGIN; INSERT INTO t SELECT i + 500, x || x || x FROM t;
                 INSERT INTO b.u SELECT 5 FROM t; UPDATE b.u SET x = 2",
            )
            .unwrap();
        arm(
            Point::Group,
            1,
            Fault::Error(Rejection::LogFull { bytes: 1 }.into()),
        );
        assert_eq!(fail(&connection, "COMMIT"), ffi::SQLITE_FULL);
        // Before it is known whether the cursor goes on.
        let sum: Result<i64, _> =
            connection.query_row("SELECT sum(x) FROM b.u", [], |row| row.get(0));
        assert!(sum.is_err() || sum == Ok(1), "{select}: {sum:?}");
        let _ = cursor.next().unwrap_err();
        drop(cursor);
        assert_eq!(state(&connection), before);
        connection
            .execute_batch("UPDATE t SET x = 'short' WHERE i = 1; UPDATE b.u SET x = 3")
            .unwrap();
        let other = store.connect("a").unwrap();
        other.execute_batch("ATTACH 'b' AS b").unwrap();
        for connection in [&connection, &other] {
            assert_eq!(state(connection), sound(500, 3 * 400, 2));
        }
    }
}

/// A commit that SQLite repeats hands over page 1 alone: what was staged before stays.
#[test]
fn a_repeated_commit_adds_to_what_is_staged() {
    let (_dir, store) = new_store();
    let group = Group::new(Arc::default());
    let sessions = ["a", "b"].map(|name| {
        let kind = bop_storage::DbKind::Sqlite;
        let db = store.manager().create_database(name, kind).unwrap();
        let session = Session::new(Shown::Present(db), Arc::clone(store.hub()), &group);
        session.begin_read().unwrap();
        session.begin_write().unwrap();
        session
    });
    let stage = |nth: usize, pages: &[(u32, u8)]| {
        let contents = pages.iter().map(|(raw, fill)| (page(*raw), [*fill; SIZE]));
        let contents: Vec<_> = contents.collect();
        let frames = Frames {
            page_size: SIZE as i64,
            commit_page_count: Some(3),
            durability: Durability::RELAXED,
        };
        let pages = contents.iter().map(|(page, content)| (*page, &content[..]));
        sessions[nth].frames(frames, pages, || 2).unwrap();
    };
    let seen = |name| {
        let db = store.manager().database(name).unwrap();
        let read = db.begin_read().unwrap();
        (1..=read.page_count())
            .map(|raw| read.read_page(page(raw)).unwrap()[200])
            .collect::<Vec<_>>()
    };
    stage(0, &[(1, 1), (2, 2), (3, 3)]);
    stage(1, &[(1, 4), (2, 5)]);
    stage(0, &[(1, 6)]);
    assert_eq!(byte(&sessions[0], 3), 3, "its own transaction reads it");
    assert!(seen("a").is_empty() && seen("b").is_empty());
    stage(1, &[(1, 7)]);
    sessions[0].end_write().unwrap();
    assert_eq!((seen("a"), seen("b")), (vec![6, 2, 3], vec![7, 5, 0]));
    sessions[1].end_write().unwrap();
    assert!(!sessions[1].begin_read().unwrap(), "it knows its commit");

    // What ends otherwise is not there.
    for session in &sessions {
        session.begin_read().unwrap();
        session.begin_write().unwrap();
    }
    stage(0, &[(2, 8)]);
    stage(1, &[(2, 8)]);
    assert_eq!(sessions[1].undo(|_| 0), Err(NotUndone::Unknown));
    sessions[1].end_write().unwrap();
    sessions[0].end_read();
    assert_eq!((seen("a"), seen("b")), (vec![6, 2, 3], vec![7, 5, 0]));
}
