//! Snapshots, forks, restores and the list of what can be had, as somebody uses them who lost rows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::manifest::code;
use crate::store::Store;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `orders` with the rows 1, 2 and 3.
fn with_orders() -> Store {
    let store = Store::new();
    let sql = "create table t(x); insert into t values (1), (2), (3)";
    store.ok(&["sql", "orders", sql]);
    store
}

fn rows(store: &Store, database: &str) -> String {
    let sql = "select group_concat(x, ' ') from (select x from t order by x)";
    store.ok(&["sql", database, sql]).trim_end().to_owned()
}

/// The states that can be had, the newest first.
fn points(store: &Store, database: &str) -> Vec<Value> {
    let points = store.json(&["restore-points", database]);
    points.as_array().unwrap().clone()
}

/// Waits until the clock shows another microsecond than that of the newest commit: the next one is later.
fn wait_for_a_later_moment(store: &Store, database: &str) {
    let newest = points(store, database)[0]["time_us"].as_u64().unwrap();
    let newest = Duration::from_micros(newest);
    while SystemTime::now().duration_since(UNIX_EPOCH).unwrap() <= newest {
        std::thread::yield_now();
    }
}

#[test]
fn rows_that_were_deleted_are_read_and_restored_from_a_snapshot() {
    let store = with_orders();
    assert_eq!(store.ok(&["snapshot", "list", "orders"]), "no snapshots\n");
    let made = store.json(&["snapshot", "create", "orders", "before"]);
    assert_eq!(
        (&made["database"], &made["name"]),
        (&"orders".into(), &"before".into())
    );
    store.ok(&["sql", "orders", "delete from t where x < 3"]);
    assert_eq!(rows(&store, "orders"), "3");
    assert_eq!(rows(&store, "orders@snapshot:before"), "1 2 3");
    store.ok(&["checkpoint"]);
    assert_eq!(rows(&store, "orders@snapshot:BEFORE"), "1 2 3");

    let restored = store.json(&["restore", "orders", "--at", "snapshot:before"]);
    assert_eq!(restored["restored"], "orders");
    assert_eq!(rows(&store, "orders"), "1 2 3");
    // What it was until then, and the snapshot, are there still.
    let kept = restored["kept"]["name"].as_str().unwrap();
    let kept = format!("orders@snapshot:{kept}");
    assert_eq!(rows(&store, &kept), "3");
    assert_eq!(rows(&store, "orders@snapshot:before"), "1 2 3");
    store.ok(&["sql", "orders", "insert into t values (4)"]);
    store.ok(&["checkpoint"]);
    assert_eq!(rows(&store, "orders"), "1 2 3 4");
    assert_eq!(rows(&store, &kept), "3");

    let listed = store.json(&["snapshot", "list", "orders"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(
        store
            .ok(&["snapshot", "list", "orders"])
            .contains("before restore 2")
    );
    // And back: the restore is undone by another one.
    let at = kept.split_once('@').unwrap().1;
    let text = store.ok(&["restore", "orders", "--at", at]);
    assert!(
        text.contains("stays as the snapshot \"before restore "),
        "{text}"
    );
    assert_eq!(rows(&store, "orders"), "3");
    assert_eq!(
        store.ok(&["snapshot", "drop", "orders", "before"]),
        "dropped orders@snapshot:before\n"
    );
    let gone = code(&store, &["sql", "orders@snapshot:before", "select 1"]);
    assert_eq!(gone, "snapshot_not_found");
    store.ok(&["verify", "--deep"]);
}

#[test]
fn a_fork_and_its_source_are_written_each_by_itself() {
    let store = with_orders();
    let first = points(&store, "orders")[0]["lsn"].as_u64().unwrap();
    store.ok(&["sql", "orders", "insert into t values (4)"]);
    let text = store.ok(&["fork", "orders", "trial"]);
    assert!(
        text.starts_with("trial is what orders is at now, with 2 pages"),
        "{text}"
    );
    store.ok(&[
        "sql",
        "trial",
        "delete from t where x = 1; insert into t values (5)",
    ]);
    store.ok(&["sql", "orders", "insert into t values (6)"]);
    let forked = store.json(&["fork", "orders", "first", "--at", &format!("lsn:{first}")]);
    assert_eq!(forked["at"], format!("lsn:{first}"));
    for checkpointed in [false, true] {
        if checkpointed {
            store.ok(&["checkpoint"]);
        }
        assert_eq!(rows(&store, "orders"), "1 2 3 4 6");
        assert_eq!(rows(&store, "trial"), "2 3 4 5");
        assert_eq!(rows(&store, "first"), "1 2 3");
    }
    store.ok(&["drop", "orders", "--now", "--yes"]);
    store.ok(&["fork", "trial", "again"]);
    assert_eq!(rows(&store, "again"), "2 3 4 5");
    assert_eq!(rows(&store, "first"), "1 2 3");
    store.ok(&["verify", "--deep"]);
}

#[test]
fn a_moment_between_two_commits_shows_the_first() {
    let store = with_orders();
    wait_for_a_later_moment(&store, "orders");
    store.ok(&["sql", "orders", "delete from t"]);
    for checkpointed in [false, true] {
        if checkpointed {
            store.ok(&["checkpoint"]);
        }
        let listed = points(&store, "orders");
        let [deleted, inserted] = [&listed[0], &listed[1]];
        assert!(inserted["time_us"].as_u64() < deleted["time_us"].as_u64());
        for state in [
            format!("time:{}", inserted["time"].as_str().unwrap()),
            format!("lsn:{}", deleted["lsn"].as_u64().unwrap() - 1),
        ] {
            assert_eq!(rows(&store, &format!("orders@{state}")), "1 2 3");
        }
        let last = format!("orders@time:{}", deleted["time"].as_str().unwrap());
        assert_eq!(rows(&store, &last), "");
        assert_eq!(rows(&store, "orders@now"), "");
    }
    // A copy beside the present, which stays.
    let listed = points(&store, "orders");
    let at = format!("time:{}", listed[1]["time"].as_str().unwrap());
    let out = store.json(&["restore", "orders", "--at", &at, "--as", "rescued"]);
    assert_eq!(
        (&out["forked"], &out["as"]),
        (&"orders".into(), &"rescued".into())
    );
    assert_eq!(rows(&store, "rescued"), "1 2 3");
    assert_eq!(rows(&store, "orders"), "");
    let checksum = store.json(&["info", "rescued"])["rolling_checksum"].clone();
    assert_eq!(checksum, listed[1]["rolling_checksum"]);
}

#[test]
fn restore_points_are_as_at_takes_them_and_the_newest_come_first() {
    let store = with_orders();
    store.ok(&["sql", "orders", "insert into t values (4)"]);
    let text = store.ok(&["restore-points", "orders"]);
    let listed = points(&store, "orders");
    assert_eq!(listed.len(), text.lines().count());
    assert!(
        listed
            .windows(2)
            .all(|two| two[1]["lsn"].as_u64() < two[0]["lsn"].as_u64())
    );
    assert_eq!(listed[0]["lsn"], store.json(&["info", "orders"])["head"]);
    for (line, shown) in text.lines().zip(["1 2 3 4", "1 2 3"]) {
        let mut words = line.split(' ');
        let (lsn, time) = (words.next().unwrap(), words.next().unwrap());
        assert!(
            lsn.starts_with("lsn:") && time.starts_with("time:"),
            "{line}"
        );
        assert_eq!(rows(&store, &format!("orders@{lsn}")), shown);
        assert_eq!(rows(&store, &format!("orders@{time}")), shown);
    }
    let newest = store.ok(&["restore-points", "orders", "--limit", "1"]);
    assert_eq!(
        newest.lines().collect::<Vec<_>>(),
        [text.lines().next().unwrap()]
    );
    let newest = store.json(&["restore-points", "orders", "--limit", "1"]);
    assert_eq!(newest, Value::from(vec![listed[0].clone()]));
}

#[test]
fn before_the_window_the_oldest_state_is_named() {
    let store = with_orders();
    let oldest = points(&store, "orders").last().unwrap()["lsn"].clone();
    for arguments in [
        &["sql", "orders@time:2001-01-01", "select 1"][..],
        &["fork", "orders", "trial", "--at", "lsn:0"],
        &["restore", "orders", "--at", "time:2001-01-01T12:00:00Z"],
        &[
            "snapshot",
            "create",
            "orders",
            "old",
            "--at",
            "time:2001-01-01",
        ],
        &["export", "orders@time:2001-01-01", "old.sqlite"],
    ] {
        assert_eq!(code(&store, arguments), "before_window");
        let error = store.fails(1, arguments);
        assert!(
            error.contains(&format!("its oldest is at lsn:{oldest}")),
            "{error}"
        );
        assert!(error.contains("hint: bop restore-points"), "{error}");
    }
    assert!(!store.path().join("old.sqlite").exists());
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_means_no_state_is_wrong_usage_and_touches_nothing() {
    let store = Store::new();
    for state in ["", "yesterday", "lsn:x", "snapshot:", "time:noon", "Now"] {
        for arguments in [
            &["sql", &format!("orders@{state}"), "select 1"][..],
            &["export", &format!("orders@{state}"), "x.sqlite"],
            &["fork", "orders", "trial", "--at", state],
            &["restore", "orders", "--at", state],
            &["snapshot", "create", "orders", "s", "--at", state],
        ] {
            let error = store.fails(2, arguments);
            assert!(error.contains("snapshot:NAME"), "{error}");
        }
    }
    store.fails(2, &["restore", "orders"]);
    assert!(!store.store().exists());
    // A state is only read: nothing is made for it.
    store.fails(1, &["sql", "orders@now", "select 1"]);
    assert!(!store.store().exists());
    store.ok(&["create", "other"]);
    let error = store.fails(1, &["sql", "othr@now", "select 1"]);
    assert!(error.contains("did you mean \"other\"?"), "{error}");
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn names_that_are_taken_and_snapshots_that_are_not_there() {
    let store = with_orders();
    store.ok(&["create", "taken"]);
    store.ok(&["snapshot", "create", "orders", "before"]);
    for arguments in [
        &[
            "restore",
            "orders",
            "--at",
            "snapshot:before",
            "--as",
            "Taken",
        ][..],
        &["fork", "orders", "taken"],
        &["fork", "orders", "orders"],
    ] {
        assert_eq!(code(&store, arguments), "database_exists");
    }
    let again = &["snapshot", "create", "orders", "Before"];
    assert_eq!(code(&store, again), "snapshot_exists");
    assert_eq!(code(&store, &["fork", "orders", "a/b"]), "invalid_name");
    assert_eq!(
        code(&store, &["snapshot", "create", "orders", "a/b"]),
        "invalid_name"
    );
    for arguments in [
        &["sql", "orders@snapshot:befor", "select 1"][..],
        &["export", "orders@snapshot:befor", "x.sqlite"],
        &["restore", "orders", "--at", "snapshot:befor"],
        &["fork", "orders", "trial", "--at", "snapshot:befor"],
        &["snapshot", "drop", "orders", "befor"],
    ] {
        assert_eq!(code(&store, arguments), "snapshot_not_found");
        let error = store.fails(1, arguments);
        assert!(error.contains("hint: did you mean \"before\"?"), "{error}");
    }
    let error = store.fails(1, &["snapshot", "drop", "orders", "something else"]);
    assert!(error.contains("hint: bop snapshot list"), "{error}");
    for arguments in [
        &["snapshot", "list", "order"][..],
        &["snapshot", "create", "order", "s"],
        &["fork", "order", "trial"],
        &["restore", "order", "--at", "now"],
        &["restore-points", "order"],
    ] {
        let error = store.fails(1, arguments);
        assert!(error.contains("did you mean \"orders\"?"), "{error}");
    }
}

#[test]
fn a_write_to_a_state_says_why_not_and_where_to() {
    let store = with_orders();
    let write = &["sql", "orders@now", "delete from t"];
    let error = store.fails(1, write);
    assert!(
        error.contains("orders@now is a state of a database"),
        "{error}"
    );
    assert!(
        error.contains("hint: ") && error.contains("bop fork"),
        "{error}"
    );
    let json = [&["--json"][..], write].concat();
    let json: Value = serde_json::from_str(&store.fails(1, &json)).unwrap();
    assert_eq!(json["error"]["sqlite_code"], 8);
    let sql = "create temp table u as select x from t; select count(*) from u";
    assert_eq!(store.ok(&["sql", "orders@now", sql]), "3\n");
    assert_eq!(rows(&store, "orders"), "1 2 3");
}

#[test]
fn a_state_is_attached_and_exported() {
    let store = with_orders();
    store.ok(&["snapshot", "create", "orders", "before"]);
    store.ok(&["sql", "orders", "delete from t where x <> 2"]);
    let back = "attach 'orders@snapshot:before' as before; \
                insert into main.t select x from before.t where x not in (select x from main.t)";
    store.ok(&["sql", "orders", back]);
    assert_eq!(rows(&store, "orders"), "1 2 3");
    store.ok(&["sql", "orders", "delete from t"]);
    let exported = store.json(&["export", "orders@snapshot:before", "before.sqlite"]);
    assert_eq!(exported["at"], "snapshot:before");
    store.ok(&["import", "copy", "before.sqlite"]);
    assert_eq!(rows(&store, "copy"), "1 2 3");
}

#[test]
fn a_state_that_cannot_be_attached_is_told_with_the_reason() {
    let store = with_orders();
    for (attach, code, why) in [
        ("orders@snapshot:never", "snapshot_not_found", "never"),
        ("orders@time:2001-01-01", "before_window", "2001-01-01"),
        ("nobody@now", "database_not_found", "nobody"),
        ("orders@yesterday", "usage", "yesterday"),
    ] {
        let sql = format!("attach '{attach}' as before");
        let status = if code == "usage" { 2 } else { 1 };
        let stderr = store.fails(status, &["--json", "sql", "orders", &sql]);
        let told: Value = serde_json::from_str(&stderr).unwrap();
        let message = told["error"]["message"].as_str().unwrap();
        assert_eq!(told["error"]["code"], code, "{stderr}");
        let (of_sqlite, reason) = message.split_once(attach).unwrap();
        assert!(of_sqlite.contains("unable to open database"), "{message}");
        assert!(reason.contains(why), "{message}");
    }
    // A file is none of ours: there is nothing more to say of it.
    let stderr = store.fails(
        1,
        &["sql", "orders", "attach '/no/such/dir/file' as before"],
    );
    assert!(stderr.contains("unable to open database"), "{stderr}");
}

#[test]
fn what_a_database_was_forked_from_and_its_snapshots_are_shown() {
    let store = with_orders();
    store.ok(&["snapshot", "create", "orders", "one"]);
    store.ok(&["snapshot", "create", "orders", "two"]);
    store.ok(&["fork", "orders", "copy", "--at", "snapshot:one"]);
    let (source, fork) = (
        store.json(&["info", "orders"]),
        store.json(&["info", "copy"]),
    );
    assert_eq!(
        (&source["fork_of"], &source["snapshots"]),
        (&Value::Null, &2.into())
    );
    assert_eq!(
        (&fork["fork_of"]["name"], &fork["snapshots"]),
        (&"orders".into(), &0.into())
    );
    assert_eq!(fork["fork_of"]["id"], source["id"]);
    assert_eq!(fork["fork_of"]["lsn"], source["head"]);
    let told = store.ok(&["info", "copy"]);
    assert!(
        told.contains("fork of") && told.contains("orders, id "),
        "{told}"
    );
    let listed = store.ok(&["list"]);
    let line = |name: &str| {
        listed
            .lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    assert!(line("copy").contains("orders"), "{listed}");
    // Its source is known by name while anything reads it.
    store.ok(&["drop", "--now", "--yes", "orders"]);
    assert_eq!(store.json(&["info", "copy"])["fork_of"]["name"], "orders");
}
