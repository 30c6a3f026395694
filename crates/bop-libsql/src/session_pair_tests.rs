//! Two databases in one transaction, of which the second cannot commit: each is whole.

use super::*;

#[test]
fn when_one_of_two_databases_cannot_commit_each_is_whole() {
    let (_dir, store) = new_store();
    let connection = filled(&store);
    connection
        .execute_batch("ATTACH 'b' AS b; CREATE TABLE b.u(x); INSERT INTO b.u VALUES (1)")
        .unwrap();
    connection
        .execute_batch("BEGIN; UPDATE b.u SET x = 2; DELETE FROM t WHERE i = 1")
        .unwrap();
    arm(
        Point::Commit,
        2,
        Fault::Error(Rejection::LogFull { bytes: 1 }.into()),
    );
    assert_eq!(fail(&connection, "COMMIT"), ffi::SQLITE_FULL);
    assert!(connection.is_autocommit());
    let other = store.connect("a").unwrap();
    other.execute_batch("ATTACH 'b' AS b").unwrap();
    let state = |connection: &Connection| -> (i64, i64) {
        connection
            .query_row(
                "SELECT (SELECT count(*) FROM t), (SELECT x FROM b.u)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap()
    };
    assert_eq!(
        state(&connection),
        (499, 1),
        "committed one by one: the first one stands"
    );
    assert_eq!(state(&other), (499, 1));
    connection
        .execute_batch("UPDATE b.u SET x = 3; DELETE FROM t WHERE i = 2")
        .unwrap();
    assert_eq!(state(&other), (498, 3));
}

#[test]
fn a_cursor_that_is_open_while_the_second_database_cannot_commit_does_no_harm() {
    let (_dir, store) = new_store();
    let connection = filled(&store);
    connection
        .execute_batch("ATTACH 'b' AS b; CREATE TABLE b.u(x); INSERT INTO b.u VALUES (1)")
        .unwrap();
    let mut statement = connection.prepare("SELECT x FROM t").unwrap();
    let mut cursor = statement.query([]).unwrap();
    let _ = cursor.next().unwrap();
    // The first database grows, far beyond what the pager goes back to.
    connection
        .execute_batch(
            "BEGIN; INSERT INTO t SELECT i + 500, x || x || x FROM t; UPDATE b.u SET x = 2",
        )
        .unwrap();
    arm(
        Point::Commit,
        2,
        Fault::Error(Rejection::LogFull { bytes: 1 }.into()),
    );
    assert_eq!(fail(&connection, "COMMIT"), ffi::SQLITE_FULL);
    let _ = cursor.next().unwrap_err();
    drop(cursor);
    connection
        .execute_batch("UPDATE t SET x = 'short' WHERE i = 1; UPDATE b.u SET x = 3")
        .unwrap();
    let other = store.connect("a").unwrap();
    other.execute_batch("ATTACH 'b' AS b").unwrap();
    for connection in [&connection, &other] {
        let counts: (i64, i64, String) = connection
            .query_row(
                "SELECT (SELECT count(*) FROM t), (SELECT x FROM b.u),
                     (SELECT integrity_check FROM pragma_integrity_check)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(counts, (1000, 3, "ok".to_owned()));
    }
}
