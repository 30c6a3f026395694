//! `bop backup`, `bop backup verify` and `bop restore --from`: what they say, what they answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use serde_json::Value;
use std::fs;

fn filled() -> Store {
    let store = Store::new();
    store.ok(&[
        "sql",
        "orders",
        "create table t(a); insert into t values (1), (2)",
    ]);
    store.ok(&["snapshot", "create", "orders", "monday"]);
    store.ok(&["fork", "orders", "trial"]);
    store.ok(&["sql", "orders", "insert into t values (3)"]);
    store
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_store_is_backed_up_verified_listed_and_restored() {
    let store = filled();
    let text = store.ok(&["backup", "kept"]);
    assert!(
        text.starts_with("backup 1 of 2 databases and 1 snapshots at lsn "),
        "{text}"
    );
    let listed = json(&store.ok(&["backup", "list", "kept", "--json"]));
    assert_eq!(
        (&listed[0]["backup"], &listed[0]["verified_us"]),
        (&1.into(), &Value::Null)
    );
    assert!(store.ok(&["backup", "list", "kept"]).contains("never"));
    let verified = json(&store.ok(&["backup", "verify", "kept", "--json"]));
    assert_eq!(
        (&verified["verified"], &verified["recorded"]),
        (&1.into(), &true.into())
    );
    let listed = json(&store.ok(&["backup", "list", "kept", "--json"]));
    assert_eq!(listed[0]["verified_us"], verified["verified_us"]);
    store.ok(&["sql", "orders", "insert into t values (4)"]);
    let second = json(&store.ok(&["backup", "kept", "--keep", "1", "--copy", "--json"]));
    assert_eq!(second["backup"], 2);
    let text = store.ok(&["--store", "new", "restore", "--from", "kept"]);
    assert!(
        text.starts_with("new has the 2 databases and 1 snapshots of backup 2, as they were at "),
        "{text}"
    );
    let count =
        |source: &str| store.ok(&["--store", "new", "sql", source, "select count(*) from t"]);
    assert_eq!(count("orders"), "4\n");
    assert_eq!(count("orders@snapshot:monday"), "2\n");
    assert_eq!(count("trial"), "2\n");
    assert!(!store.path().join("kept.verifying").exists());
}

#[test]
fn what_is_damaged_is_named_and_what_is_taken_refused() {
    let store = filled();
    store.ok(&["checkpoint"]);
    store.ok(&["backup", "kept", "--copy"]);
    let refused = store.fails(1, &["restore", "--from", "kept"]);
    assert!(refused.contains("is there already"), "{refused}");
    let refused = store.fails(1, &["--store", "new", "restore", "--from", "nowhere"]);
    assert!(
        refused.contains("nowhere has no finished backup"),
        "{refused}"
    );
    let chunks = store.path().join("kept/chunks");
    let chunk = fs::read_dir(chunks).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(chunk.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(chunk.path(), bytes).unwrap();
    let name = chunk.file_name().into_string().unwrap();
    for command in [
        &["backup", "verify", "kept"][..],
        &["--store", "new", "restore", "--from", "kept"],
    ] {
        let found = store.fails(3, command);
        assert!(
            found.contains(&name) && found.contains("--number N"),
            "{found}"
        );
    }
    assert!(!store.path().join("new").exists());
    let code = json(&store.fails(3, &["backup", "verify", "kept", "--json"]));
    assert_eq!(code["error"]["code"], "backup_damaged");
    let inside = store.store().join("kept");
    let refused = store.fails(2, &["backup", inside.to_str().unwrap()]);
    assert!(refused.contains("is inside the store"), "{refused}");
    store.fails(2, &["backup"]);
}
