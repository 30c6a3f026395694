//! Pages that SQLite looks at where the cache has them, and long rows that it reads past its own cache.

use crate::common::{code_of, int, integrity, new_store};
use crate::faults::Ground;
use bop_libsql::{Connection, Store};
use bop_storage::io::errno::EIO;
use bop_storage::testing::Fault;
use rusqlite::ffi;

/// Of about two thousand pages.
const ROWS: i64 = 25_000;
const SUM: &str = "SELECT sum(i * length(x)) FROM t";

fn filled(store: &Store, rows: i64) -> Connection {
    let connection = store.connect("a").unwrap();
    let fill = format!(
        "CREATE TABLE t(i INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, hex(zeroblob(150)) || i FROM n;
         PRAGMA wal_checkpoint(TRUNCATE);"
    );
    connection.execute_batch(&fill).unwrap();
    connection
}

/// How often `work` found a page in the store's cache.
fn hits(store: &Store, work: impl FnOnce()) -> u64 {
    let hits = || store.manager().status().cache.hits;
    let before = hits();
    work();
    hits() - before
}

#[test]
fn a_scan_keeps_no_copies_and_what_is_asked_for_again_is_kept() {
    let (_dir, store) = new_store();
    drop(filled(&store, ROWS));
    let scans_again = |pragma: &str| {
        let connection = store.connect("a").unwrap();
        // Room for all pages.
        connection
            .execute_batch("PRAGMA cache_size = 10000")
            .unwrap();
        connection.execute_batch(pragma).unwrap();
        let sum = int(&connection, SUM);
        let again = hits(&store, || assert_eq!(int(&connection, SUM), sum));
        let row = || int(&connection, "SELECT length(x) FROM t WHERE i = 2500");
        // In place, and as a copy from then on.
        assert_eq!((row(), row()), (304, 304));
        let one = hits(&store, || assert_eq!(row(), 304));
        (again, one, int(&connection, "PRAGMA page_count"))
    };
    let (again, one, pages) = scans_again("");
    let in_place = again > pages as u64 * 9 / 10;
    assert!(
        pages > 1500 && in_place && one == 0,
        "{again} and {one} of {pages}"
    );
    let (again, one, _) = scans_again("PRAGMA mmap_size = 0");
    assert_eq!((again, one), (0, 0));
}

#[test]
fn what_a_cursor_looks_at_stays_whatever_others_do() {
    let (_dir, store) = new_store();
    let reader = filled(&store, ROWS);
    let writer = store.connect("a").unwrap();
    let mut statement = reader.prepare("SELECT i, x FROM t").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        seen += 1;
        let (i, x): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        assert_eq!((i, x), (seen, format!("{}{seen}", "0".repeat(300))));
        if seen % 10_000 == 0 {
            let change = "UPDATE t SET x = x || 'later'; PRAGMA wal_checkpoint(TRUNCATE)";
            writer.execute_batch(change).unwrap();
        }
    }
    assert_eq!(seen, ROWS);
    drop(rows);
    let later = int(&reader, "SELECT count(*) FROM t WHERE x LIKE '%laterlater'");
    assert_eq!(later, ROWS);
}

#[test]
fn a_connection_changes_rows_while_it_scans_them() {
    let (_dir, store) = new_store();
    let connection = filled(&store, 5000);
    let mut scan = connection.prepare("SELECT i FROM t").unwrap();
    let mut rows = scan.query([]).unwrap();
    let mut seen = 0;
    while let Some(row) = rows.next().unwrap() {
        let i: i64 = row.get(0).unwrap();
        seen += 1;
        assert_eq!(i, seen);
        // Behind it, where it is, and on the pages that it comes to next; every other one alone.
        if i % 2 == 0 {
            let change = "UPDATE t SET x = x || '!' WHERE i BETWEEN ?1 - 20 AND ?1 + 20";
            let changed = connection.prepare_cached(change).unwrap().execute([i]);
            assert!(changed.unwrap() > 20);
        }
        if i == 300 {
            connection.execute_batch("BEGIN").unwrap();
        }
        if i == 600 {
            // Under the scan, which is over then.
            connection.execute_batch("ROLLBACK").unwrap();
            break;
        }
    }
    drop(rows);
    assert_eq!(seen, 600);
    let marks = "SELECT sum(length(x) - length(rtrim(x, '!'))) FROM t";
    // 150 changes, of 41 rows each but at the beginning.
    let expected: i64 = (2..=300).step_by(2).map(|i| 21 + 20.min(i - 1)).sum();
    assert_eq!(int(&connection, marks), expected);
    assert_eq!(integrity(&connection), "ok");
}

/// Pages behind the first of a long row are read into the place of the row, and no copy is kept.
#[test]
fn a_long_row_is_what_was_written_from_wherever_it_is_read() {
    let (_dir, store) = new_store();
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("CREATE TABLE t(i INTEGER PRIMARY KEY, x, y)")
        .unwrap();
    let long = |row: usize| -> Vec<u8> {
        let bytes = 3000 + row * 4093;
        (0..bytes)
            .map(|at| (at * 7 + at / 251 + row) as u8)
            .collect()
    };
    for row in 0..40 {
        let insert = "INSERT INTO t VALUES (?1, ?2, 'behind it')";
        connection.execute(insert, (row, long(row))).unwrap();
    }
    let check = |connection: &rusqlite::Connection| {
        let mut statement = connection.prepare("SELECT i, x, y FROM t").unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let nth: usize = row.get(0).unwrap();
            assert!(
                row.get_ref(1).unwrap().as_blob().unwrap() == long(nth),
                "{nth}"
            );
            assert_eq!(row.get_ref(2).unwrap().as_str().unwrap(), "behind it");
        }
    };
    check(&connection);
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    check(&store.connect("a").unwrap());
    // With pages of its own that nobody else sees.
    connection
        .execute_batch("BEGIN; UPDATE t SET y = y || '' WHERE i % 3 = 0")
        .unwrap();
    check(&connection);
    connection.execute_batch("COMMIT").unwrap();
    check(&connection);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_read_that_fails_in_a_scan_is_an_error_and_the_scan_can_be_made_again() {
    let ground = Ground::new();
    let store = ground.open();
    let connection = filled(&store, 4000);
    let long = "INSERT INTO t SELECT i + 4000, zeroblob(40000) FROM t LIMIT 5;
        PRAGMA wal_checkpoint(TRUNCATE)";
    connection.execute_batch(long).unwrap();
    let scan = || -> rusqlite::Result<i64> {
        // Nothing that it has read before.
        connection.execute_batch("PRAGMA shrink_memory").unwrap();
        connection.query_row(SUM, [], |row| row.get(0))
    };
    let before = ground.disk.read_count();
    let sum = scan().unwrap();
    let reads = ground.disk.read_count() - before;
    let mut failed = 0;
    for read in 0..reads {
        let at = ground.disk.read_count() + read;
        ground.disk.fail_read_at(at, Fault::Sticky(EIO));
        let outcome = scan();
        ground.disk.heal();
        match outcome {
            Ok(found) => assert_eq!(found, sum, "at {read}"),
            Err(_) => {
                failed += 1;
                assert_eq!(code_of(outcome) & 0xff, ffi::SQLITE_IOERR, "at {read}");
            }
        }
        assert_eq!(scan().unwrap(), sum, "at {read}");
    }
    assert!(reads > 20 && failed > reads / 2, "{failed} of {reads}");
}
