//! Cursors from outside: who tails by a name goes on where it was, and is seen and forgotten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::manifest::{code, first_line};
use crate::store::Store;

fn lines(store: &Store, arguments: &[&str]) -> Vec<serde_json::Value> {
    let text = store.ok(&[arguments, &["--json"]].concat());
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn with_two_databases() -> Store {
    let store = Store::new();
    store.ok(&["sql", "a", "create table t(x); insert into t values (1)"]);
    store.ok(&["sql", "b", "create table t(x)"]);
    store
}

#[test]
fn a_tail_by_a_cursor_goes_on_where_it_was_though_the_log_was_checkpointed() {
    let store = with_two_databases();
    let tail = ["commits", "tail", "--cursor", "replica"];
    let first = lines(&store, &tail);
    assert_eq!(first.len(), 3);
    assert_eq!(store.ok(&tail), "");
    store.ok(&["sql", "a", "insert into t values (2)"]);
    store.ok(&["checkpoint"]);
    let more = lines(&store, &tail);
    assert_eq!(more.len(), 1);
    assert_eq!(
        (&more[0]["name"], &more[0]["parent"]),
        (&"a".into(), &first[1]["lsn"])
    );
    // Of one database, and from a position.
    let of_b = ["commits", "tail", "--cursor", "of b", "--db", "B"];
    let of_b = [&of_b[..], &["--from", "0"]].concat();
    store.ok(&of_b);
    store.ok(&["sql", "a", "insert into t values (3)"]);
    store.ok(&["sql", "b", "insert into t values (1)"]);
    let found = lines(&store, &of_b);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["name"], "b");
    let refused = store.fails(2, &["commits", "tail", "--cursor", "of b"]);
    assert!(refused.contains("the database with id 2"), "{refused}");
    assert!(refused.contains("bop cursor list"), "{refused}");
    let line = first_line(&store, &[&tail[..], &["--follow"]].concat());
    assert!(line.starts_with("lsn "), "{line}");

    let tail = ["changes", "tail", "--cursor", "backup"];
    let kinds = lines(&store, &tail);
    assert!(kinds.iter().any(|change| change["kind"] == "published"));
    assert_eq!(store.ok(&tail), "");
    let refused = store.fails(2, &["changes", "tail", "--cursor", "of b"]);
    assert!(refused.contains("is one of the commits"), "{refused}");
}

#[test]
fn cursors_of_both_feeds_are_listed_and_forgotten() {
    let store = with_two_databases();
    assert_eq!(store.ok(&["cursor", "list"]), "no cursors\n");
    store.ok(&["changes", "tail", "--cursor", "backup"]);
    store.ok(&["commits", "tail", "--cursor", "replica", "--db", "a"]);
    store.ok(&["sql", "a", "insert into t values (2)"]);
    let listed = store.json(&["cursor", "list"]);
    let [backup, replica] = [&listed[0], &listed[1]];
    assert_eq!(
        (&backup["name"], &backup["feed"]),
        (&"backup".into(), &"changes".into())
    );
    assert_eq!(backup["unit"], "changes");
    assert_eq!(
        (&replica["name"], &replica["feed"]),
        (&"replica".into(), &"commits".into())
    );
    assert_eq!(replica["unit"], "bytes");
    assert_eq!(replica["database"], 1);
    assert!(replica["behind"].as_u64().unwrap() >= 4096, "{replica}");
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["alive"] == true)
    );
    let text = store.ok(&["cursor", "list"]);
    assert!(
        text.contains("alive") && text.contains("commits of id 1"),
        "{text}"
    );
    for name in ["Backup", "Replica"] {
        assert_eq!(
            store.ok(&["cursor", "drop", name]),
            format!("dropped {name}\n")
        );
        assert_eq!(code(&store, &["cursor", "drop", name]), "cursor_not_found");
    }
}
