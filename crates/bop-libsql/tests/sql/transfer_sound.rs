//! What can be imported: sound files, also where only their application could judge all of them.

use crate::common::int;
use crate::transfer::{import, new_store, plain};
use bop_storage::error::ErrorCode;

#[test]
fn what_is_no_sound_database_is_refused_and_leaves_none() {
    let (dir, store) = new_store();
    let good = plain(&dir, "good.sqlite", "PRAGMA page_size = 1024");
    let bytes = std::fs::read(&good).unwrap();
    let mut torn = bytes.clone();
    torn[5 * 1024..9 * 1024].fill(0x5a);
    let cases: [(&str, Vec<u8>); 4] = [
        ("text", b"this is no database, it is a text that is long enough to have a header of one hundred bytes, and more".to_vec()),
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("torn", torn),
        ("header alone", bytes[..100].to_vec()),
    ];
    for (case, content) in cases {
        let path = dir.path().join("bad.sqlite");
        std::fs::write(&path, content).unwrap();
        let error = import(&store, "bad", &path).unwrap_err();
        assert_eq!(
            error.code(),
            ErrorCode::InvalidDatabaseFile,
            "{case}: {error}"
        );
        assert!(error.to_string().contains("bad.sqlite"), "{error}");
        assert!(store.manager().database("bad").is_err(), "{case}");
    }
    let missing = import(&store, "bad", &dir.path().join("missing")).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::Io);
    assert_eq!(
        import(&store, "bad", dir.path()).unwrap_err().code(),
        ErrorCode::Io
    );
    assert_eq!(
        import(&store, "a/b", &good).unwrap_err().code(),
        ErrorCode::InvalidName
    );
    store.connect("taken").unwrap();
    assert_eq!(
        import(&store, "taken", &good).unwrap_err().code(),
        ErrorCode::DatabaseExists
    );
    assert!(store.manager().database("bad").is_err());
    import(&store, "bad", &good).unwrap();
}

/// SQL that leaves a sound database whose schema names what only its application has.
const OF_AN_APPLICATION: [(&str, &str); 4] = [
    (
        "a collation",
        "CREATE TABLE c(x COLLATE NOCASE); CREATE INDEX c_x ON c(x); INSERT INTO c SELECT x FROM t;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'app_order')",
    ),
    (
        "a function",
        "CREATE INDEX f ON t(lower(x)); PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'lower', 'app_fold')",
    ),
    (
        "a tokenizer",
        "CREATE VIRTUAL TABLE s USING fts5(x, tokenize = 'ascii'); INSERT INTO s SELECT x FROM t;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'ascii', 'app_words')",
    ),
    (
        "a CHECK that came later",
        "CREATE TABLE k(x CHECK (x > 0)); PRAGMA ignore_check_constraints = ON;
         INSERT INTO k VALUES (-1)",
    ),
];

#[test]
fn a_sound_file_is_imported_also_when_sqlite_cannot_judge_all_of_it() {
    for wal in [false, true] {
        for (n, (what, sql)) in OF_AN_APPLICATION.iter().enumerate() {
            let (dir, store) = new_store();
            let mode = if wal { "WAL" } else { "DELETE" };
            let path = plain(
                &dir,
                &format!("{n}.sqlite"),
                &format!("PRAGMA journal_mode = {mode}"),
            );
            let made = rusqlite::Connection::open(&path).unwrap();
            made.execute_batch(sql).unwrap();
            made.close().unwrap();
            import(&store, "a", &path).unwrap_or_else(|error| panic!("{what}, {mode}: {error}"));
            assert_eq!(
                int(&store.connect("a").unwrap(), "SELECT count(*) FROM t"),
                400
            );
        }
    }
}

#[test]
fn damage_is_found_also_where_sqlite_cannot_judge_all_of_a_file() {
    let (dir, store) = new_store();
    for (n, (what, sql)) in OF_AN_APPLICATION.iter().enumerate() {
        let path = plain(&dir, &format!("{n}.sqlite"), "PRAGMA page_size = 1024");
        let made = rusqlite::Connection::open(&path).unwrap();
        made.execute_batch(sql).unwrap();
        let root = int(&made, "SELECT rootpage FROM sqlite_schema WHERE name = 't'");
        made.close().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let root = usize::try_from(root - 1).unwrap() * 1024;
        let torn = [root, 5 * 1024];
        for at in torn {
            let mut bytes = bytes.clone();
            bytes[at..at + 1024].fill(0x5a);
            let bad = dir.path().join("bad.sqlite");
            std::fs::write(&bad, bytes).unwrap();
            let error = import(&store, "a", &bad).unwrap_err();
            assert_eq!(
                error.code(),
                ErrorCode::InvalidDatabaseFile,
                "{what}: {error}"
            );
        }
    }
}
