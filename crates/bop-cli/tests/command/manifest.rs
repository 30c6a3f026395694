//! The manifest from outside: its rows, what it did, and who wants to know.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn with_history() -> Store {
    let store = Store::new();
    store.ok(&[
        "sql",
        "orders",
        "create table t(a); insert into t values (1)",
    ]);
    store.ok(&["checkpoint"]);
    store.ok(&["rename", "orders", "sales"]);
    store.ok(&["create", "gone"]);
    store.ok(&["drop", "gone", "--yes"]);
    store.ok(&["checkpoint"]);
    store
}

/// What a command that does not end says first; it is killed then.
pub(crate) fn first_line(store: &Store, arguments: &[&str]) -> String {
    let mut follower = store.command(arguments);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    follower.kill().unwrap();
    follower.wait().unwrap();
    line
}

/// The code of the error that a command ends with.
pub(crate) fn code(store: &Store, arguments: &[&str]) -> String {
    let reported = store.fails(1, &[&["--json"], arguments].concat());
    let reported: serde_json::Value = serde_json::from_str(&reported).unwrap();
    reported["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn the_changes_are_told_oldest_first_and_from_where_one_likes() {
    let store = with_history();
    let text = store.ok(&["changes", "tail"]);
    let kinds: Vec<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    for wanted in ["created", "published", "chunk_added", "renamed", "dropped"] {
        assert!(kinds.contains(&wanted), "{wanted}: {text}");
    }
    assert!(text.contains("renamed database id 1 \"sales\""), "{text}");
    let second = store.ok(&["changes", "tail", "--from", "2", "--json"]);
    let second: Vec<serde_json::Value> = second
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(second.len(), text.lines().count() - 1);
    assert_eq!(second[0]["change"], 2);
    assert!(
        second
            .iter()
            .all(|change| change["time_us"].as_u64().unwrap() > 0)
    );
    assert_eq!(
        code(&store, &["changes", "tail", "--from", "0"]),
        "cursor_lost"
    );
}

#[test]
fn a_follower_is_told_what_there_is_at_once() {
    let store = with_history();
    let line = first_line(&store, &["changes", "tail", "--from", "1", "--follow"]);
    assert!(line.starts_with("1 created"), "{line}");
    // Killed, and the next one finds everything.
    assert!(store.ok(&["changes", "tail"]).contains("dropped"));
}

#[test]
fn the_rows_are_shown_counted_and_checked_also_of_a_store_that_is_damaged() {
    let store = with_history();
    let dump = store.ok(&["manifest", "dump"]);
    let row = |table: &str| dump.lines().any(|line| line.starts_with(table));
    for table in [
        "meta ",
        "databases ",
        "chunks ",
        "changes ",
        "feed ",
        "run ",
    ] {
        assert!(row(table), "{table}: {dump}");
    }
    assert!(dump.contains("\"sales\""), "{dump}");
    let stat = store.json(&["manifest", "stat"]);
    assert_eq!(stat["schema"], 2);
    assert!(stat["run"]["closed_us"].as_u64().unwrap() > 0);
    assert_eq!(stat["tables"]["meta"]["rows"], 1);
    assert_eq!(store.ok(&["manifest", "verify"]), "ok\n");

    // A flipped byte in the name: the store need not open for it to be found.
    let data = store.store().join("manifest/data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    let places: Vec<usize> = (0..bytes.len() - 5)
        .filter(|at| &bytes[*at..*at + 5] == b"sales")
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] = b'S';
    }
    fs::write(&data, bytes).unwrap();
    let found = store.bop(&["manifest", "verify"]);
    assert_eq!(found.status.code(), Some(3));
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("manifest table databases"), "{text}");
    let dump = store.bop(&["manifest", "dump"]);
    assert_eq!(dump.status.code(), Some(3));
    assert!(String::from_utf8(dump.stdout).unwrap().contains("DAMAGED"));
}

#[test]
fn the_commits_are_told_as_the_log_has_them() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "a",
        "create table t(x); insert into t values (1); insert into t values (2)",
    ]);
    store.ok(&["sql", "b", "create table t(x)"]);
    let text = store.ok(&["commits", "tail"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(
        text.lines().last().unwrap().contains("database \"b\""),
        "{text}"
    );
    let of_a = store.ok(&["commits", "tail", "--db", "A", "--json"]);
    let of_a: Vec<serde_json::Value> = of_a
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(of_a.len(), 3);
    assert!(
        of_a.iter()
            .all(|commit| commit["name"] == "a" && commit["group"] == 1)
    );
    assert_eq!(of_a[2]["parent"], of_a[1]["lsn"]);
    assert_eq!(of_a[0]["pages"], serde_json::json!([1, 2]));
    let from = of_a[1]["lsn"].to_string();
    let rest = store.ok(&["commits", "tail", "--db", "a", "--from", &from]);
    assert_eq!(rest.lines().count(), 2, "{rest}");
    // In chunks, and no longer in the log.
    store.ok(&["checkpoint"]);
    store.ok(&["sql", "b", "insert into t values (1)"]);
    assert_eq!(
        code(&store, &["commits", "tail", "--db", "c"]),
        "database_not_found"
    );
    let line = first_line(&store, &["commits", "tail", "--follow"]);
    assert!(line.starts_with("lsn "), "{line}");
}

#[test]
fn a_lost_manifest_is_made_anew_and_a_sound_one_is_not() {
    let store = with_history();
    store.ok(&["sql", "late", "create table t(a); insert into t values (2)"]);
    let list = store.ok(&["list"]);
    assert_eq!(code(&store, &["repair"]), "target_exists");
    let manifest = store.store().join("manifest");
    fs::write(manifest.join("data.mdb"), [0x5a; 9000]).unwrap();
    let broken = store.fails(3, &["list"]);
    assert!(broken.contains("bop repair"), "{broken}");

    let said = store.json(&["repair", "--dry-run"]);
    assert_eq!(
        (&said["done"], &said["whole"]),
        (&false.into(), &true.into())
    );
    assert!(
        store
            .ok(&["repair", "--dry-run"])
            .contains("nothing was changed")
    );
    assert!(!store.store().join("damaged").exists());
    let text = store.ok(&["repair"]);
    assert!(text.contains("damaged/manifest-1"), "{text}");
    let kept = fs::read(store.store().join("damaged/manifest-1/data.mdb")).unwrap();
    assert_eq!(kept, [0x5a; 9000]);
    assert_eq!(store.ok(&["list"]), list);
    assert_eq!(store.ok(&["sql", "sales", "select a from t"]), "1\n");
    assert_eq!(store.ok(&["sql", "late", "select a from t"]), "2\n");
    store.ok(&["verify", "--deep"]);

    fs::remove_dir_all(&manifest).unwrap();
    let done = store.json(&["repair"]);
    assert_eq!(
        (&done["done"], &done["kept"]),
        (&true.into(), &serde_json::Value::Null)
    );
    assert_eq!(store.ok(&["list"]), list);
    let forced = store.json(&["repair", "--force"]);
    assert_eq!(forced["kept"], "damaged/manifest-2");
    store.ok(&["verify"]);
}

#[test]
fn what_a_repair_cannot_prove_is_told_and_closed() {
    let store = with_history();
    fs::remove_dir_all(store.store().join("manifest")).unwrap();
    for chunk in fs::read_dir(store.store().join("chunks")).unwrap() {
        let path = chunk.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[1] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    // The log still has everything.
    let said = store.json(&["repair", "--dry-run"]);
    assert!(!said["chunks_damaged"].as_array().unwrap().is_empty());
    assert_eq!(said["whole"], true);
    // And now it has not.
    for segment in fs::read_dir(store.store().join("log")).unwrap() {
        fs::remove_file(segment.unwrap().path()).unwrap();
    }
    let found = store.bop(&["--json", "repair"]);
    assert_eq!(found.status.code(), Some(3));
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["done"], true);
    assert_eq!(found["whole"], false);
    assert!(found["catalogue_damage"].is_string(), "{found}");
    let refused = store.fails(3, &["create", "sales"]);
    assert!(refused.contains("catalogue"), "{refused}");
    assert!(fs::read_dir(store.store().join("chunks")).unwrap().count() > 0);
}
