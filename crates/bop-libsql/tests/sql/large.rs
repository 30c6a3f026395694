//! What is large: blobs of hundreds of megabytes, and a database across the page of SQLite's lock bytes.

use crate::common::{connect_small_cache, int, new_store, text};
use rusqlite::DatabaseName;
use std::io::{Read, Seek, SeekFrom, Write};

#[test]
fn a_blob_of_hundreds_of_megabytes_is_one_commit() {
    const BYTES: usize = 256 << 20;
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("PRAGMA page_size = 65536; CREATE TABLE t(i INTEGER PRIMARY KEY, b); BEGIN")
        .unwrap();
    connection
        .execute("INSERT INTO t VALUES (1, zeroblob(?1))", [BYTES])
        .unwrap();
    let marks = [0, BYTES / 2 - 7, BYTES - 20];
    {
        let mut blob = connection
            .blob_open(DatabaseName::Main, "t", "b", 1, false)
            .unwrap();
        for at in marks {
            blob.seek(SeekFrom::Start(at as u64)).unwrap();
            blob.write_all(format!("at {at:>16}").as_bytes()).unwrap();
        }
    }
    connection.execute_batch("COMMIT").unwrap();

    let reader = store.connect("a").unwrap();
    assert_eq!(int(&reader, "SELECT length(b) FROM t"), BYTES as i64);
    let mut blob = reader
        .blob_open(DatabaseName::Main, "t", "b", 1, true)
        .unwrap();
    for at in marks {
        let mut found = [0; 19];
        blob.seek(SeekFrom::Start(at as u64)).unwrap();
        blob.read_exact(&mut found).unwrap();
        assert_eq!(found, format!("at {at:>16}").as_bytes());
    }
    blob.close().unwrap();
    connection.execute_batch("DELETE FROM t; VACUUM").unwrap();
    assert!(int(&reader, "PRAGMA page_count") < 5);
}

/// Page 16,385 of 64 KiB holds the byte at one gibibyte: it is never written, read, or counted into
/// a checksum.
#[test]
fn a_database_grows_past_one_gibibyte_and_shrinks_again() {
    const ROW_BYTES: i64 = 64 << 20;
    const ROWS: i64 = 17;
    let (_dir, store) = new_store();
    let connection = connect_small_cache(&store, "a");
    connection
        .execute_batch("PRAGMA page_size = 65536; CREATE TABLE t(i INTEGER PRIMARY KEY, b)")
        .unwrap();
    for row in 1..=ROWS {
        connection
            .execute("INSERT INTO t VALUES (?1, zeroblob(?2))", [row, ROW_BYTES])
            .unwrap();
    }
    let pages = int(&connection, "PRAGMA page_count");
    assert!(pages > 16_385 + 100, "{pages}");
    store.manager().checkpoint().unwrap();
    let reader = store.connect("a").unwrap();
    assert_eq!(text(&reader, "PRAGMA quick_check"), "ok");
    let sum = int(&reader, "SELECT sum(length(b)) FROM t");
    assert_eq!(sum, ROWS * ROW_BYTES);
    assert!(store.manager().verify().is_healthy());
    connection
        .execute_batch("DELETE FROM t WHERE i > 2; VACUUM")
        .unwrap();
    assert_eq!(int(&reader, "SELECT sum(length(b)) FROM t"), 2 * ROW_BYTES);
    assert!(int(&reader, "PRAGMA page_count") < 16_385 / 4);
    assert_eq!(text(&reader, "PRAGMA quick_check"), "ok");
}
