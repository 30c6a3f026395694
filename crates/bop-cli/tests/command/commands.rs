//! The commands on a healthy store: what they do, what they print, the shapes of their JSON.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::Store;
use bop_storage::{DbKind, Manager, Options};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn sql_makes_the_store_and_the_database() {
    let store = Store::new();
    assert_eq!(store.ok(&["sql", "d", "select 1"]), "1\n");
    assert_eq!(store.json(&["list"])[0]["name"], "d");
}

/// Bytes that the files in `dir` occupy on the device.
fn occupied_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => occupied_bytes(&entry.path()),
                false => metadata.blocks() * 512,
            }
        })
        .sum()
}

#[test]
fn an_empty_store_is_small() {
    let store = Store::new();
    store.ok(&["create", "d"]);
    store.ok(&["drop", "d", "--yes"]);
    let bytes = occupied_bytes(&store.store());
    println!("an empty store occupies {bytes} bytes");
    assert!(bytes < 8 << 20, "{bytes}");
    assert!(bytes > 0);
}

#[test]
fn what_was_written_is_there_in_the_next_process() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "create table t(a, b); insert into t values(1, 'x'), (2, null)",
    ]);
    assert_eq!(store.ok(&["sql", "d", "select * from t"]), "1|x\n2|\n");
    let csv = store.ok(&["sql", "d", "select * from t", "--mode", "csv", "--header"]);
    assert_eq!(csv, "a,b\n1,x\n2,\n");
    let json = store.json(&["sql", "d", "select * from t"]);
    assert_eq!(
        json,
        serde_json::json!([{"a": 1, "b": "x"}, {"a": 2, "b": null}])
    );
    let table = store.ok(&["sql", "d", "select * from t", "--mode", "table"]);
    assert!(table.contains(" a ") && table.contains(" x "), "{table}");
}

#[test]
fn the_store_is_where_the_option_or_the_environment_says() {
    let store = Store::new();
    let other = store.path().join("other");
    store.ok(&["--store", other.to_str().unwrap(), "create", "d"]);
    assert!(other.exists() && !store.store().exists());
    let here = store
        .command(&["create", "d"])
        .env_remove("BOP_STORE")
        .status()
        .unwrap();
    assert!(here.success());
    assert!(store.path().join("bop-data").exists());
}

#[test]
fn sql_comes_from_a_file_or_standard_input() {
    let store = Store::new();
    let file = store.path().join("script.sql");
    fs::write(
        &file,
        "\u{feff}create table t(a);\n-- one\ninsert into t values(1);\n",
    )
    .unwrap();
    store.ok(&["sql", "d", "--file", file.to_str().unwrap()]);
    let mut child = store
        .command(&["sql", "d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"select count(*) from t")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"1\n");
}

#[test]
fn a_pipe_is_a_live_conversation() {
    let store = Store::new();
    let mut child = store
        .command(&["sql", "d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut ask = |sql: &str| {
        input.write_all(sql.as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line
    };
    // Without a line end: a statement runs when it is complete, not when its line is.
    assert_eq!(
        ask("create table t(a); insert into t values(41); select a + 1 from t;"),
        "42\n"
    );
    assert_eq!(ask("\nselect 'a;b'\n;"), "a;b\n");
    assert_eq!(
        ask("begin; update t set a = 7; commit; select a from t;"),
        "7\n"
    );
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_error_in_a_conversation_is_at_a_line_of_all_that_was_said() {
    let store = Store::new();
    let mut child = store
        .command(&["sql", "d"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for number in ["1\n", "2\n"] {
        write!(input, "select\n {};\n", number.trim()).unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert_eq!(answer, number);
    }
    input.write_all(b"select nope;\nselect 3;\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let place = "at line 5, column 8\n  5 | select nope;\n    |        ^\n";
    assert!(stderr.contains(place), "{stderr}");
}

#[test]
fn a_transaction_that_is_left_open_is_rolled_back_and_said_so() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(a)"]);
    let output = store.bop(&["sql", "d", "begin; insert into t values(1)"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("rolled back"));
    let output = store.bop(&["--json", "sql", "d", "begin; insert into t values(1)"]);
    assert!(output.status.success());
    let warning: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let message = warning["warning"]["message"].as_str().unwrap();
    assert!(message.contains("rolled back"), "{message}");
    assert_eq!(store.ok(&["sql", "d", "select count(*) from t"]), "0\n");
}

#[test]
fn create_list_info_rename_and_drop() {
    let store = Store::new();
    let created = store.json(&["create", "b"]);
    assert_eq!(
        (&created["created"], &created["kind"]),
        (&"b".into(), &"sqlite".into())
    );
    assert_eq!(store.json(&["create", "a", "--raw"])["kind"], "raw");
    store.ok(&["sql", "b", "create table t(a)"]);

    let list = store.json(&["list"]);
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|d| d["name"].as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let text = store.ok(&["list"]);
    assert!(text.contains("sqlite") && text.contains("raw"), "{text}");

    let info = store.json(&["info", "b"]);
    assert_eq!(info["page_size"], 4096);
    assert_eq!(info["page_count"], 2);
    assert_eq!(info["bytes"], 8192);
    assert!(info["damage"].is_null());
    assert!(store.ok(&["info", "b"]).contains("4096 bytes"));

    store.ok(&["rename", "b", "c"]);
    store.fails(1, &["info", "b"]);
    assert_eq!(store.json(&["info", "c"])["id"], info["id"]);
    store.ok(&["drop", "c", "--yes"]);
    assert_eq!(store.json(&["list"]).as_array().unwrap().len(), 1);
}

/// They are asked for a thousand at a time, in the order in which they were made, and listed by name.
#[test]
fn more_databases_than_are_asked_for_at_once_are_all_listed_by_name() {
    const DATABASES: usize = 2_001;
    let store = Store::new();
    let made = Manager::open(store.store(), Options::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let made = &made;
            scope.spawn(move || {
                for number in (thread..DATABASES).step_by(32) {
                    let name = format!("db-{number:04}");
                    made.create_database(&name, DbKind::Raw).unwrap();
                }
            });
        }
    });
    made.close(Duration::from_secs(60)).unwrap();
    let list = store.json(&["list"]);
    let list = list.as_array().unwrap();
    let names: Vec<&str> = list.iter().filter_map(|d| d["name"].as_str()).collect();
    let expected: Vec<String> = (0..DATABASES)
        .map(|number| format!("db-{number:04}"))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(store.ok(&["list"]).matches("db-").count(), DATABASES);
}

#[test]
fn a_dropped_database_comes_back_until_it_is_given_up() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(a); insert into t values (7)"]);
    let id = store.json(&["info", "d"])["id"].to_string();
    let dropped = store.json(&["drop", "d", "--yes"]);
    assert!(dropped["until_us"].as_u64().unwrap() > 0, "{dropped}");
    let list = store.json(&["list", "--dropped"]);
    assert_eq!(
        (&list[0]["name"], &list[0]["bytes"]),
        (&"d".into(), &8192.into())
    );
    assert!(store.ok(&["list", "--dropped"]).contains("sqlite"));

    store.ok(&["sql", "d", "create table other(a)"]);
    let taken = store.fails(1, &["undrop", "d"]);
    assert!(taken.contains("exists already"), "{taken}");
    store.ok(&["undrop", "d", "--as", "back"]);
    assert_eq!(store.ok(&["sql", "back", "select a from t"]), "7\n");

    store.ok(&["drop", "back", "--yes"]);
    let asked = store.fails(2, &["purge", "back"]);
    assert!(asked.contains("--yes"), "{asked}");
    store.ok(&["purge", "back", "--id", &id, "--yes"]);
    let gone = store.fails(1, &["undrop", "back"]);
    assert!(gone.contains("its pages are gone"), "{gone}");
    let now = store.json(&["drop", "d", "--yes", "--now"]);
    assert!(now["until_us"].is_null(), "{now}");
    assert_eq!(store.ok(&["list", "--dropped"]), "no dropped databases\n");
}

#[test]
fn retention_and_quota_are_set_shown_and_kept() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(a)"]);
    let shown = store.json(&["retention", "d"]);
    assert!(
        shown["window_us"].is_null() && shown["bytes"].is_null(),
        "{shown}"
    );
    store.ok(&["retention", "d", "--window", "7days", "--bytes", "2GiB"]);
    let shown = store.json(&["retention", "d"]);
    assert_eq!(shown["window_us"], 7 * 24 * 3600 * 1_000_000_u64);
    assert_eq!(shown["bytes"], 2_u64 << 30);
    assert!(store.ok(&["retention", "d"]).contains("7days"));
    let before_us = store.json(&["info", "d"])["created_us"].as_u64().unwrap();
    let until_us = store.json(&["drop", "d", "--yes"])["until_us"].as_u64();
    assert!(until_us.unwrap() > before_us + 6 * 24 * 3600 * 1_000_000);
    store.ok(&["undrop", "d"]);
    store.ok(&["retention", "d", "--default"]);
    assert!(store.json(&["retention", "d"])["window_us"].is_null());
    store.fails(2, &["retention", "d", "--window", "soon"]);

    store.ok(&["quota", "d", "16KiB"]);
    assert_eq!(store.json(&["quota", "d"])["quota_bytes"], 16_384);
    assert_eq!(store.json(&["info", "d"])["quota_bytes"], 16_384);
    let full = store.fails(1, &["sql", "d", "insert into t values (zeroblob(100000))"]);
    assert!(full.contains("quota is 16384"), "{full}");
    assert_eq!(store.ok(&["sql", "d", "select count(*) from t"]), "0\n");
    store.ok(&["quota", "d", "--none"]);
    store.ok(&["sql", "d", "insert into t values (zeroblob(100000))"]);
    assert!(store.json(&["quota", "d"])["quota_bytes"].is_null());
}

#[test]
fn sql_on_a_raw_database_is_refused() {
    let store = Store::new();
    store.ok(&["create", "plain", "--raw"]);
    let stderr = store.fails(1, &["--json", "sql", "plain", "select 1"]);
    assert!(stderr.contains("\"code\":\"wrong_kind\""), "{stderr}");
}

#[test]
fn stats_say_what_the_store_is_and_measures() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(a)"]);
    let stats = store.json(&["stats"]);
    assert_eq!(
        (&stats["healthy"], &stats["health"]),
        (&true.into(), &"ok".into())
    );
    assert!(stats["published"].as_u64().unwrap() > 0);
    let metrics = &stats["metrics"];
    assert_eq!(metrics["bop_databases"], 1);
    assert_eq!(metrics["bop_errors_total"]["busy"], 0);
    assert!(
        metrics["bop_checkpoint_seconds"]["p99"].is_null(),
        "{stats}"
    );
    let documented = include_str!("../../../../docs/metrics.md");
    for name in metrics.as_object().unwrap().keys() {
        assert!(documented.contains(name), "{name}");
    }

    let prometheus = store.ok(&["stats", "--prometheus"]);
    assert!(prometheus.contains("\nbop_databases 1\n"), "{prometheus}");
    let as_json = store.json(&["stats", "--prometheus"]);
    assert!(as_json.as_str().unwrap().contains("\nbop_databases 1\n"));

    let text = store.ok(&["stats"]);
    let row = |name: &str| text.lines().find(|line| line.contains(name));
    assert!(row("bop_databases").unwrap().contains(" 1 "), "{text}");
    assert!(row("health").unwrap().ends_with("ok"), "{text}");
    assert!(
        row("bop_errors_total").is_none(),
        "nothing happened: {text}"
    );
}

#[test]
fn checkpoint_and_verify_find_a_healthy_store() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "create table t(a); insert into t values(zeroblob(100000))",
    ]);
    assert!(store.json(&["checkpoint"]).is_object());
    for command in [
        &["verify"][..],
        &["verify", "--deep"],
        &["verify", "--deep", "d"],
    ] {
        let report = store.json(command);
        assert_eq!(report["healthy"], true, "{report}");
        assert_eq!(report["findings"], serde_json::json!([]));
        assert!(store.ok(command).contains("healthy"));
    }
    assert_eq!(
        store.ok(&["sql", "d", "select length(a) from t"]),
        "100000\n"
    );
}

#[test]
fn what_only_an_application_can_judge_is_no_damage_to_a_deep_verify() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "create table t(a collate nocase); create index i on t(a); insert into t values('x');
         create table k(a check (a > 0)); pragma ignore_check_constraints = on;
         insert into k values(-1); pragma writable_schema = on;
         update sqlite_schema set sql = replace(sql, 'nocase', 'app_order')",
    ]);
    let report = store.json(&["verify", "--deep"]);
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
}

#[test]
fn export_then_import_then_export_gives_the_same_file() {
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "pragma page_size=1024; pragma user_version=7; create table t(a); insert into t values('x')",
    ]);
    let (first, second) = (store.path().join("1.sqlite"), store.path().join("2.sqlite"));
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    store.ok(&["export", "d", first]);
    store.ok(&["import", "e", first]);
    assert_eq!(
        store.ok(&["sql", "e", "select a from t; pragma user_version"]),
        "x\n7\n"
    );
    store.ok(&["export", "e", second]);
    let same = |mut bytes: Vec<u8>| {
        for at in [18..20, 24..28, 92..100] {
            bytes[at].fill(0);
        }
        bytes
    };
    assert!(same(fs::read(first).unwrap()) == same(fs::read(second).unwrap()));

    let stderr = store.fails(1, &["export", "d", first]);
    assert!(stderr.contains("hint: --force"), "{stderr}");
    store.ok(&["export", "d", first, "--force"]);
    let stderr = store.fails(1, &["import", "d", first]);
    assert!(stderr.contains("exists already"), "{stderr}");
}

#[test]
fn a_file_that_is_no_database_is_not_imported() {
    let store = Store::new();
    let file = store.path().join("letter.sqlite");
    fs::write(&file, "dear reader, this is no database".repeat(100)).unwrap();
    let stderr = store.fails(1, &["--json", "import", "d", file.to_str().unwrap()]);
    assert!(
        stderr.contains("\"code\":\"invalid_database_file\""),
        "{stderr}"
    );
    assert!(store.fails(1, &["info", "d"]).contains("\"d\""));
    store.fails(1, &["import", "d", "missing.sqlite"]);
}

#[test]
fn the_log_goes_to_standard_error() {
    let store = Store::new();
    let output = store.bop(&["sql", "d", "select 1", "--log", "debug"]);
    assert_eq!(output.stdout, b"1\n");
    assert!(!output.stderr.is_empty());
}

/// The lines of `log` that say that a span of this name has ended, and in which spans.
fn ends_of<'a>(log: &'a str, span: &str) -> Vec<&'a str> {
    let is_named = |line: &&str| {
        let (spans, _) = line.split_once(": close ").unwrap_or_default();
        spans.split([' ', ':']).any(|part| {
            let name = part.split('{').next();
            name == Some(span)
        })
    };
    log.lines().filter(is_named).collect()
}

#[test]
fn the_log_shows_the_spans_of_what_a_store_does() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(a)"]);
    let run = |arguments: &[&str]| {
        let output = store.bop(arguments);
        assert!(output.status.success());
        let [out, log] = [output.stdout, output.stderr].map(String::from_utf8);
        let (out, log) = (out.unwrap(), log.unwrap());
        assert!(!log.contains('\u{1b}'), "colours in a pipe: {log}");
        assert!(!out.contains("TRACE") && !out.contains("close"), "{out}");
        log
    };
    let insert = run(&["sql", "d", "insert into t values(1)", "--log", "trace"]);
    for span in ["open", "recovery", "commit", "batch"] {
        assert!(!ends_of(&insert, span).is_empty(), "{span} in:\n{insert}");
    }
    let batches = ends_of(&insert, "batch");
    assert!(
        batches.iter().all(|line| line.contains("records=1")),
        "{batches:?}"
    );
    let checkpoint = run(&["checkpoint", "--log", "trace"]);
    assert!(
        !ends_of(&checkpoint, "checkpoint").is_empty(),
        "{checkpoint}"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for argument in ["--help", "--version"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bop"))
            .arg(argument)
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("bop"));
    }
    let version = Store::new().json(&["--version"]);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
