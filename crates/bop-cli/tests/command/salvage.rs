//! `bop salvage`: what it says, what it answers, and what it leaves of a damaged store.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use bop_storage::{DbKind, Manager, Options};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Two databases, of which `sales` has had a second transaction with a word that stands nowhere else.
fn with_sales() -> Store {
    let store = Store::new();
    let sql = "create table t(a, b); insert into t values (1, 'first')";
    store.ok(&["sql", "sales", sql]);
    store.ok(&["sql", "stock", sql]);
    let second = "insert into t values (2, 'a-word-of-its-own'||hex(randomblob(3000)))";
    store.ok(&["sql", "sales", second]);
    store
}

/// The new store, to be used as one.
fn count(store: &Store, database: &str) -> String {
    let new = store.path().join("new");
    let new = new.to_str().unwrap();
    store.ok(&["--store", new, "sql", database, "select count(*) from t"])
}

/// Flips a bit where the log has the word.
fn flip_the_word(store: &Store) {
    for entry in fs::read_dir(store.store().join("log")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let word = b"a-word-of-its-own";
        let found = bytes.windows(word.len()).position(|window| window == word);
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the word is not in the log");
}

#[test]
fn a_sound_store_is_saved_whole_and_a_place_that_is_taken_is_refused() {
    let store = with_sales();
    let from = store.store();
    let from = from.to_str().unwrap();
    let text = store.ok(&["salvage", from, "new"]);
    assert!(
        text.contains("whole     sales (id 1, sqlite), at lsn "),
        "{text}"
    );
    assert!(
        text.ends_with("2 of 2 databases are in new; nothing was lost\n"),
        "{text}"
    );
    assert_eq!(count(&store, "sales"), "2\n");
    let refused = store.fails(1, &["salvage", from, "new"]);
    assert!(refused.contains("not an empty directory"), "{refused}");
    let refused = store.fails(1, &["--json", "salvage", from, "other", "--db", "sale"]);
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["error"]["code"], "database_not_found");
    assert_eq!(refused["error"]["hint"], "did you mean \"sales\"?");
    let one = store.json(&["salvage", from, "other", "--db", "stock"]);
    assert_eq!(one["databases"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&one["whole"], &one["new"]),
        (&true.into(), &"other".into())
    );
}

#[test]
fn what_was_lost_is_said_and_the_status_tells() {
    let store = with_sales();
    flip_the_word(&store);
    let from = store.store();
    let output = store.bop(&["--json", "salvage", from.to_str().unwrap(), "new"]);
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["whole"], false);
    let sales = &report["databases"][0];
    assert_eq!(
        (&sales["name"], &sales["saved"]),
        (&"sales".into(), &true.into())
    );
    assert_eq!(sales["lost"]["commits"], 1, "{report}");
    assert_eq!(sales["lost"]["first"], sales["lost"]["last"]);
    assert!(sales["time_us"].as_u64().unwrap() > 0);
    let damage = sales["lost"]["damage"].as_str().unwrap();
    assert!(
        damage.contains("segment") && damage.contains("lsn"),
        "{damage}"
    );
    assert_eq!(report["databases"][1]["lost"], serde_json::Value::Null);
    assert_eq!(
        (count(&store, "sales"), count(&store, "stock")),
        ("1\n".into(), "1\n".into())
    );

    let output = store.bop(&["salvage", from.to_str().unwrap(), "again"]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("in part   sales"), "{text}");
    assert!(
        text.contains("; lost 1 commits that are known of, from lsn "),
        "{text}"
    );
}

/// However far it had come: NEW is not there, and the damaged store is as it was.
#[test]
fn a_salvage_that_is_killed_leaves_nothing_that_looks_like_a_store() {
    let store = Store::new();
    let made = Manager::open(store.store(), Options::new()).unwrap();
    for nth in 0..500 {
        let name = format!("database {nth}");
        made.create_database(&name, DbKind::Raw).unwrap();
    }
    made.close(Duration::from_secs(60)).unwrap();
    let (new, left) = (
        store.path().join("new"),
        store.path().join("new.unfinished"),
    );
    let from = store.store();
    let arguments = ["salvage", from.to_str().unwrap(), "new"];
    let mut child = store.command(&arguments);
    let mut child = child.stdout(Stdio::null()).spawn().unwrap();
    // Until it has begun with the log of the new store.
    while !left.join("log").exists() {
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "it ended before it was killed"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(left.exists() && !new.exists());
    let refused = store.fails(1, &arguments);
    assert!(
        refused.contains("new.unfinished is there already"),
        "{refused}"
    );
    fs::remove_dir_all(&left).unwrap();
    let text = store.ok(&arguments);
    assert!(
        text.contains("500 of 500 databases are in new; nothing was lost"),
        "{text}"
    );
    assert!(new.exists() && !left.exists());
}
