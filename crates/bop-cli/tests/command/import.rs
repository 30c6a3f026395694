//! `bop import` of a directory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;

/// A directory with SQLite files, and what is none.
fn directory_of_files(store: &Store) -> std::path::PathBuf {
    let dir = store.path().join("files");
    std::fs::create_dir(&dir).unwrap();
    for (name, rows) in [("one.sqlite", 1), ("Two.DB", 2000), ("three", 3)] {
        let made = format!(
            "create table t(a); with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
             insert into t select i from n"
        );
        store.ok(&["sql", "source", "drop table if exists t"]);
        store.ok(&["sql", "source", &made]);
        store.ok(&["export", "source", dir.join(name).to_str().unwrap()]);
    }
    store.ok(&["drop", "source", "--yes", "--now"]);
    std::fs::write(dir.join("notes.txt"), "SQLite format 2, if any").unwrap();
    std::fs::write(dir.join("empty.db"), "").unwrap();
    dir
}

#[test]
fn a_directory_of_files_is_imported_and_again_where_it_was_interrupted() {
    let store = Store::new();
    let dir = directory_of_files(&store);
    let dir = dir.to_str().unwrap();
    // As if an earlier one had come so far.
    store.ok(&["import", "one", &format!("{dir}/one.sqlite")]);
    let said = store.ok(&["import", dir]);
    assert_eq!(said, "imported 2 databases, 1 were there already\n");
    for (name, rows) in [("one", "1\n"), ("Two", "2000\n"), ("three", "3\n")] {
        assert_eq!(
            store.ok(&["sql", name, "select count(*) from t"]),
            rows,
            "{name}"
        );
    }
    // One is another one meanwhile: it stays, and is told.
    store.ok(&["sql", "three", "delete from t"]);
    store.ok(&["drop", "one", "--yes", "--now"]);
    let failure = store.fails(1, &["import", dir]);
    assert!(failure.contains("\"three\" exists already"), "{failure}");
    assert_eq!(store.ok(&["sql", "one", "select count(*) from t"]), "1\n");
    assert_eq!(store.ok(&["sql", "three", "select count(*) from t"]), "0\n");
}

#[test]
fn files_of_a_directory_that_cannot_all_be_imported_are_told_apart() {
    let store = Store::new();
    let dir = directory_of_files(&store);
    let at = |name: &str| dir.join(name);
    std::fs::copy(at("one.sqlite"), at("ONE.db3")).unwrap();
    let failure = store.fails(1, &["import", dir.to_str().unwrap()]);
    assert!(failure.contains("would both be \""), "{failure}");
    std::fs::remove_file(at("ONE.db3")).unwrap();
    // A damaged one keeps none of the others back.
    let mut bytes = std::fs::read(at("Two.DB")).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0x55);
    std::fs::write(at("Two.DB"), bytes).unwrap();
    let failure = store.fails(1, &["import", dir.to_str().unwrap()]);
    assert!(
        failure.contains("Two.DB is no sound SQLite database"),
        "{failure}"
    );
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 2);
    let failure = store.fails(2, &["import", "nowhere"]);
    assert!(failure.contains("nowhere is not a directory"), "{failure}");
}
