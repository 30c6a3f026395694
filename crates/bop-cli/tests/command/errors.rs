//! What `bop` answers to what it cannot do: the exit status, the message, the hint.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use bop_storage::checksum::crc64;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// A store with the databases `orders` and `invoices`.
fn two_databases() -> Store {
    let store = Store::new();
    store.ok(&["create", "orders"]);
    store.ok(&["create", "invoices"]);
    store
}

#[track_caller]
fn assert_says(stderr: &str, parts: &[&str]) {
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is missing in: {stderr}");
    }
}

#[test]
fn an_unknown_database_names_the_nearest() {
    let store = two_databases();
    for command in [
        &["info", "order"][..],
        &["rename", "order", "x"],
        &["drop", "order", "--yes"],
        &["export", "order", "x.sqlite"],
        &["verify", "order"],
        &["sql", "order", "select 1", "--no-create"],
    ] {
        let stderr = store.fails(1, command);
        assert_says(
            &stderr,
            &["error: ", "\"order\"", "hint: did you mean \"orders\"?"],
        );
    }
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_database_without_a_similar_name_is_just_unknown() {
    let stderr = two_databases().fails(1, &["info", "zzzzzzzzzzzz"]);
    assert_says(&stderr, &["zzzzzzzzzzzz", "hint: bop list"]);
}

#[test]
fn a_missing_store_is_reported_and_not_made() {
    let store = Store::new();
    for command in [
        &["list"][..],
        &["info", "d"],
        &["rename", "d", "e"],
        &["drop", "d", "--yes"],
        &["stats"],
        &["checkpoint"],
        &["verify"],
        &["export", "d", "x.sqlite"],
        &["sql", "d", "select 1", "--no-create"],
    ] {
        assert_says(&store.fails(1, command), &["no store at", "hint: "]);
        assert!(!store.store().exists(), "{command:?} made a store");
    }
}

#[test]
fn bad_names_are_refused_and_nothing_is_made() {
    let store = two_databases();
    let long = "n".repeat(256);
    for name in ["../x", "a/b", "", "a@b", ".hidden", "a\nb", &long] {
        assert_says(
            &store.fails(1, &["create", name]),
            &["name", "hint: a name is"],
        );
        // Behind an @ of what is read stands a state of it.
        let status = if name.contains('@') { 2 } else { 1 };
        let refused = store.fails(status, &["sql", name, "select 1"]);
        assert_says(
            &refused,
            &[if status == 2 { "snapshot:NAME" } else { "name" }],
        );
        assert_says(&store.fails(1, &["rename", "orders", name]), &["name"]);
    }
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 2);
}

#[test]
fn names_that_differ_in_a_dash_are_two_databases() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "my-db",
        "create table t(a); insert into t values('dash')",
    ]);
    store.ok(&[
        "sql",
        "my_db",
        "create table t(a); insert into t values('underscore')",
    ]);
    assert_eq!(store.ok(&["sql", "my-db", "select a from t"]), "dash\n");
    assert_eq!(
        store.ok(&["sql", "my_db", "select a from t"]),
        "underscore\n"
    );
}

#[test]
fn an_existing_name_is_not_given_out_again() {
    let store = two_databases();
    assert_says(
        &store.fails(1, &["create", "orders"]),
        &["exists already", "hint: "],
    );
    assert_says(
        &store.fails(1, &["rename", "orders", "invoices"]),
        &["exists already"],
    );
    let json = store.fails(1, &["--json", "create", "ORDERS"]);
    assert_says(&json, &["\"code\":\"database_exists\""]);
}

#[test]
fn drop_wants_a_yes() {
    let store = two_databases();
    assert_says(
        &store.fails(2, &["drop", "orders"]),
        &["not dropped", "hint: --yes"],
    );
    store.ok(&["info", "orders"]);
    let dropped = store.ok(&["drop", "orders", "--yes"]);
    assert!(dropped.starts_with("dropped orders; until "), "{dropped}");
    store.fails(1, &["info", "orders"]);
}

#[test]
fn wrong_usage_is_status_two() {
    let store = Store::new();
    store.fails(2, &["no-such-command"]);
    store.fails(2, &["sql"]);
    store.fails(2, &["sql", "d", "select 1", "--mode", "html"]);
    store.fails(2, &["list", "--log", "a=b=c"]);
    let json = store.fails(2, &["--json", "sql"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let error = &value["error"];
    assert_eq!(error["code"], "usage");
    assert!(error["hint"].as_str().unwrap().contains("--help"), "{json}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("<DB>") && !message.contains("Usage:"),
        "{json}"
    );
}

#[test]
fn an_empty_variable_names_no_store() {
    let store = Store::new();
    let made = store
        .command(&["create", "d"])
        .env("BOP_STORE", "")
        .status()
        .unwrap();
    assert!(made.success());
    assert!(store.path().join("bop-data").exists());
}

#[test]
fn a_file_that_is_missing_is_said_to_be_missing() {
    let store = two_databases();
    for command in [
        &["sql", "orders", "--file", "missing.sql"][..],
        &["import", "new", "missing.sqlite"],
    ] {
        let stderr = store.fails(1, command);
        assert_says(&stderr, &["missing.sql", "does not exist", "hint: "]);
    }
    let directory = store.fails(1, &["sql", "orders", "--file", "."]);
    assert_says(&directory, &["open .: is a directory", "hint: "]);
    let import = store.fails(1, &["import", "new", "."]);
    assert_says(&import, &[". is not a regular file", "hint: "]);
    let export = store.fails(1, &["export", "orders", "no/such/x.sqlite"]);
    assert_says(
        &export,
        &["no/such/x.sqlite", "hint: the directory of the file"],
    );
}

#[test]
fn an_export_into_the_store_or_onto_no_file_says_what_to_do() {
    let store = two_databases();
    let superblock = store.store().join("store.bop");
    let inside = superblock.to_str().unwrap();
    let stderr = store.fails(2, &["export", "orders", inside, "--force"]);
    assert_says(
        &stderr,
        &[inside, "inside the store", "hint: choose a file outside"],
    );
    let stderr = store.fails(1, &["export", "orders", "/dev/null", "--force"]);
    assert_says(
        &stderr,
        &["/dev/null is a device", "hint: choose another file"],
    );
    store.ok(&["verify"]);
}

#[test]
fn a_store_of_a_newer_version_is_not_called_damaged() {
    let store = two_databases();
    let path = store.store().join("store.bop");
    let mut content = fs::read(&path).unwrap();
    content[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let checksum = crc64(&content[..56]);
    content[56..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, content).unwrap();
    let stderr = store.fails(1, &["list"]);
    assert_says(&stderr, &["newer version", "hint: use the version"]);
    assert!(!stderr.contains("damaged"), "{stderr}");
}

#[test]
fn a_sql_error_has_its_place_and_stops_the_run() {
    let store = Store::new();
    let output = store.bop(&["sql", "d", "select 1;\nselect 2, nope;\nselect 3;"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"1\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "error: no such column: nope\n  at line 2, column 11\n  2 | select 2, nope;\n    |           ^\n\
         hint: select sql from sqlite_schema shows the tables, their columns and constraints\n"
    );
}

#[test]
fn a_sql_error_as_json_has_its_place_too() {
    let store = Store::new();
    let stderr = store.fails(
        1,
        &[
            "--json",
            "sql",
            "d",
            "create table t(a unique);\n insert into t values(1),(1)",
        ],
    );
    let value: serde_json::Value = serde_json::from_str(&stderr).unwrap();
    let error = &value["error"];
    assert_eq!(error["code"], "sql");
    assert_eq!(error["message"], "UNIQUE constraint failed: t.a");
    assert_eq!((&error["line"], &error["column"]), (&2.into(), &2.into()));
    assert_eq!(error["sqlite_code"], 2067);
}

#[test]
fn a_missing_sql_file_makes_nothing() {
    let store = Store::new();
    assert_says(
        &store.fails(1, &["sql", "d", "--file", "missing.sql"]),
        &["missing.sql"],
    );
    assert!(!store.store().exists());
}

#[test]
fn a_store_that_another_process_keeps_to_itself_is_locked() {
    let store = two_databases();
    let mut holder = store
        .command(&["sql", "orders", "--control", "off"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    input.write_all(b"select 'open';\n").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "open\n");

    let stderr = store.fails(1, &["list"]);
    assert_says(&stderr, &["locked", &holder.id().to_string(), "hint: "]);
    let json = store.fails(1, &["list", "--json"]);
    assert_says(&json, &["\"code\":\"store_locked\""]);

    drop(input);
    assert!(holder.wait().unwrap().success());
    store.ok(&["list"]);
}

#[test]
fn a_directory_of_other_files_is_no_store() {
    let store = Store::new();
    fs::create_dir(store.store()).unwrap();
    fs::write(store.store().join("letter.txt"), "dear").unwrap();
    let stderr = store.fails(1, &["sql", "d", "select 1"]);
    assert_says(&stderr, &["not a store", "hint: "]);
    assert_eq!(fs::read_dir(store.store()).unwrap().count(), 1);
}

#[test]
fn a_file_in_place_of_the_store_is_an_error() {
    let store = Store::new();
    fs::write(store.store(), "not a directory").unwrap();
    store.fails(1, &["list"]);
    store.fails(1, &["sql", "d", "select 1"]);
    assert_eq!(fs::read(store.store()).unwrap(), b"not a directory");
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let store = Store::new();
    let closed = store.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let inside = closed.join("store");
    if fs::create_dir(&inside).is_ok() {
        // Whoever may write everywhere, as root may, meets the same error where nobody can.
        let output = store.bop(&["--store", "/proc/bop", "sql", "d", "select 1"]);
        assert_eq!(output.status.code(), Some(1));
        return;
    }
    let inside = inside.to_str().unwrap();
    let stderr = store.fails(1, &["--store", inside, "sql", "d", "select 1"]);
    assert_says(&stderr, &["error: ", "hint: "]);
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let store = Store::new();
    let sql = "with recursive c(x) as (select 1 union all select x + 1 from c limit 500000) select x from c";
    let mut child = store
        .command(&["sql", "d", sql])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "1\n");
    let output = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn what_nobody_hears_is_told_by_the_status_alone() {
    let store = Store::new();
    for options in [&[][..], &["--json"]] {
        for (sql, status) in [("select nope;", 1), (".nope", 1), ("begin;", 0)] {
            let mut child = store
                .command(&[options, &["sql", "d"]].concat())
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // The other end goes before anything is written to it.
            drop(child.stderr.take());
            let mut input = child.stdin.take().unwrap();
            writeln!(input, "{sql}").unwrap();
            drop(input);
            let ended = child.wait().unwrap().code();
            assert_eq!(ended, Some(status), "{options:?} {sql}");
        }
    }
}
