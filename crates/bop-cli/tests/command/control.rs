//! A second process asks the first one, which has the store open.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::beside::hostile::{self, HELLO, framed};
use crate::store::Store;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// `bop sql d` at the other end of a pipe: it has the store open for as long as the pipe is.
pub(crate) struct Owner {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Owner {
    pub(crate) fn of(store: &Store, options: &[&str]) -> Self {
        let arguments = [options, &["sql", "d"]].concat();
        let mut command = store.command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut owner = Self {
            child,
            input,
            output,
        };
        // It answers, so it has the store open.
        assert_eq!(owner.answer("select 'here';"), "here");
        owner
    }

    /// The one line that it answers to a statement.
    fn answer(&mut self, sql: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{sql}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Its input ends, and it closes the store.
    pub(crate) fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It is gone already, if the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owned(options: &[&str]) -> (Store, Owner) {
    let store = Store::new();
    store.ok(&[
        "sql",
        "d",
        "create table t(x); insert into t values (1), (2)",
    ]);
    let owner = Owner::of(&store, options);
    (store, owner)
}

#[test]
fn each_command_works_while_another_process_has_the_store_open() {
    let (store, mut owner) = owned(&[]);
    assert_eq!(store.json(&["list"])[0]["name"], "d");
    assert_eq!(store.json(&["info", "d"])["page_count"], 2);
    assert_eq!(store.json(&["stats"])["healthy"], true);
    assert!(
        store
            .ok(&["stats", "--prometheus"])
            .contains("\nbop_databases 1\n")
    );
    assert!(store.ok(&["space"]).contains("log"));
    assert!(store.ok(&["log", "why"]).contains("the log has"));
    store.ok(&["create", "e"]);
    store.ok(&["rename", "e", "f"]);
    store.ok(&["snapshot", "create", "d", "before"]);
    store.ok(&["sql", "d", "--write", "delete from t"]);
    assert_eq!(owner.answer("select count(*) from t;"), "0");
    store.ok(&["fork", "d", "g", "--at", "snapshot:before"]);
    assert_eq!(store.ok(&["sql", "g", "select count(*) from t"]), "2\n");
    let of_past = "select count(*) from t";
    assert_eq!(store.ok(&["sql", "d@snapshot:before", of_past]), "2\n");
    store.ok(&["restore", "f", "--at", "now", "--as", "h"]);
    assert!(store.ok(&["restore-points", "d"]).contains("lsn:"));
    store.ok(&["quota", "d", "1GiB"]);
    store.ok(&["retention", "d", "--window", "3days"]);
    assert!(store.ok(&["snapshot", "list", "d"]).contains("before"));
    assert_eq!(store.json(&["checkpoint"])["databases_skipped"], 0);
    assert_eq!(store.json(&["verify", "--deep"])["healthy"], true);
    assert!(store.ok(&["scrub", "d"]).contains("no damage"));
    assert_eq!(store.json(&["jobs"])[0]["state"], "done");
    assert!(store.ok(&["commits", "tail", "--db", "d"]).contains("lsn"));
    store.ok(&["changes", "tail", "--cursor", "watcher"]);
    assert_eq!(store.json(&["cursor", "list"])[0]["name"], "watcher");
    store.ok(&["cursor", "drop", "watcher"]);
    store.ok(&["drop", "h", "--yes"]);
    assert_eq!(store.json(&["list", "--dropped"])[0]["name"], "h");
    store.ok(&["undrop", "h"]);
    store.ok(&["snapshot", "drop", "d", "before"]);
    assert_eq!(store.json(&["status"])["healthy"], true);
    assert_eq!(store.ok(&["doctor"]), "nothing is wrong\n");
    let kept = store.json(&["backup", "kept"]);
    assert_eq!(
        (&kept["backup"], &kept["databases"]),
        (&1.into(), &4.into())
    );
    assert_eq!(store.json(&["status"])["backup"]["newest"]["backup"], 1);
    assert_eq!(
        store.json(&["status"])["backup"]["verified"],
        serde_json::Value::Null
    );
    assert_eq!(store.json(&["backup", "verify", "kept"])["verified"], 1);
    assert!(store.ok(&["status"]).contains("; 1 was verified at "));
    // It noticed nothing.
    assert_eq!(owner.answer("select 'still here';"), "still here");
    owner.end();
    assert!(store.ok(&["list"]).contains("g"));
}

#[test]
fn errors_and_their_exit_status_are_those_of_a_store_that_nobody_has_open() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(x)"]);
    let commands: [&[&str]; 5] = [
        &["info", "e"],
        &["create", "d"],
        &["drop", "d"],
        &["restore", "d", "--at", "snapshot:none"],
        &["sql", "d", "select 1;\nselect 'a', wrong from t"],
    ];
    let errors = |store: &Store| {
        commands.map(|command| {
            let output = store.bop(command);
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap(),
            )
        })
    };
    let alone = errors(&store);
    let owner = Owner::of(&store, &[]);
    assert_eq!(errors(&store), alone);
    owner.end();
}

#[test]
fn what_is_printed_is_the_same_byte_for_byte() {
    let store = Store::new();
    let made = "create table t(a, b); insert into t values (1, x'00ff'), (2.5, 'a|b,\"c\"'), (null, '\u{e9}')";
    store.ok(&["sql", "d", made]);
    let commands: [&[&str]; 8] = [
        &["sql", "d", "select * from t"],
        &["sql", "d", "select * from t", "--mode", "csv", "--header"],
        &["sql", "d", "select * from t", "--mode", "json"],
        &["sql", "d", "select * from t", "--mode", "table"],
        &["sql", "d", "explain query plan select * from t order by a"],
        &[
            "sql",
            "d",
            ".tables\n.schema t\n.headers on\nselect 1 as one;",
        ],
        &["list"],
        &["info", "d", "--json"],
    ];
    let answers = |store: &Store| commands.map(|command| store.ok(command));
    let alone = answers(&store);
    let owner = Owner::of(&store, &[]);
    assert_eq!(answers(&store), alone);
    owner.end();
}

/// SQLite says the first of an expression, the second of a statement, the third of a transaction.
fn is_denied(error: &str) -> bool {
    let words = [
        "not authorized",
        "authorization denied",
        "attempt to write a readonly database\n",
    ];
    words.iter().any(|words| error.contains(words))
}

#[test]
fn sql_over_the_socket_reads_whatever_it_tries() {
    let (store, mut owner) = owned(&[]);
    let file = store.path().join("out");
    let into_file = format!("vacuum into '{}'", file.display());
    for sql in [
        "insert into t values (3)",
        "delete from t",
        "create table u(x)",
        "create temp table u(x)",
        "drop table t",
        "pragma writable_schema = on",
        "pragma query_only = off; insert into t values (3)",
        "pragma user_version = 7",
        "attach 'd' as other",
        "attach ':memory:' as m",
        &into_file,
        "select load_extension('x')",
        "begin immediate; insert into t values (3); commit",
        "explain insert into t values (3)",
    ] {
        let error = store.fails(1, &["sql", "d", sql]);
        assert!(is_denied(&error), "{sql}: {error}");
    }
    assert!(!file.exists());
    assert_eq!(owner.answer("select sum(x) from t;"), "3");
    // What only tells is no harm.
    assert_eq!(store.ok(&["sql", "d", "pragma user_version"]), "0\n");
    assert_eq!(
        store.ok(&["sql", "d", "select name from pragma_table_info('t')"]),
        "x\n"
    );
    assert_eq!(
        store.ok(&["sql", "d", "begin; select sum(x) from t; commit"]),
        "3\n"
    );
    // It makes no database, either.
    store.fails(1, &["sql", "new", "select 1"]);
    owner.end();
}

#[test]
fn a_session_that_writes_has_no_file_but_the_stores() {
    let (store, owner) = owned(&[]);
    let file = store.path().join("out");
    for sql in [
        format!("attach '{}' as f", file.display()),
        format!("attach 'file:{}?vfs=unix' as f", file.display()),
        format!("vacuum into '{}'", file.display()),
        "pragma writable_schema = on".to_owned(),
        "select load_extension('x')".to_owned(),
    ] {
        let error = store.fails(1, &["sql", "d", "--write", &sql]);
        assert!(is_denied(&error), "{sql}: {error}");
    }
    assert!(!file.exists());
    store.ok(&[
        "sql",
        "e",
        "--write",
        "create table t(x); attach 'd' as d; insert into t select x from d.t; vacuum",
    ]);
    assert_eq!(store.ok(&["sql", "e", "select count(*) from t"]), "2\n");
    owner.end();
}

#[test]
fn an_owner_says_what_others_may() {
    let (store, owner) = owned(&["--control", "read"]);
    assert_eq!(store.ok(&["sql", "d", "select 1"]), "1\n");
    let refused = store.fails(1, &["--json", "sql", "d", "--write", "delete from t"]);
    assert!(refused.contains("\"not_supported\""), "{refused}");
    owner.end();
    let owner = Owner::of(&store, &["--control", "off"]);
    let refused = store.fails(1, &["--json", "list"]);
    assert!(refused.contains("\"store_locked\""), "{refused}");
    owner.end();
}

#[test]
fn a_file_goes_in_and_out_while_another_process_has_the_store_open() {
    let (store, mut owner) = owned(&[]);
    let told = store.ok(&["export", "d", "out.sqlite"]);
    assert!(
        told.starts_with("exported 2 pages to /") && told.ends_with("/out.sqlite\n"),
        "{told}"
    );
    let there = store.fails(1, &["--json", "export", "d", "out.sqlite"]);
    assert!(there.contains("\"target_exists\""), "{there}");
    owner.answer("insert into t values (3); select 1;");
    store.ok(&["export", "d", "out.sqlite", "--force"]);
    store.ok(&["snapshot", "create", "d", "three"]);
    owner.answer("delete from t; select 1;");
    let past = store.json(&["export", "d@snapshot:three", "past.sqlite"]);
    assert_eq!(past["at"], "snapshot:three");
    let equal = |file: &str| std::fs::read(store.path().join(file)).unwrap();
    assert!(equal("out.sqlite") == equal("past.sqlite"));
    let imported = store.json(&["import", "e", "out.sqlite"]);
    assert_eq!(imported["rolling_checksum"], past["rolling_checksum"]);
    assert_eq!(store.ok(&["sql", "e", "select sum(x) from t"]), "6\n");
    let taken = store.fails(1, &["--json", "import", "e", "out.sqlite"]);
    assert!(taken.contains("\"database_exists\""), "{taken}");
    std::fs::write(store.path().join("letter"), "dear").unwrap();
    let refused = store.fails(1, &["--json", "import", "f", "letter"]);
    assert!(refused.contains("\"invalid_database_file\""), "{refused}");
    // Nothing of the store's is written over, whoever asks.
    let inside = store.store().join("store.bop");
    let refused = store.fails(2, &["export", "d", inside.to_str().unwrap(), "--force"]);
    assert!(refused.contains("store"), "{refused}");
    owner.end();
    store.ok(&["verify"]);
}

#[test]
fn a_follower_sees_what_others_do_and_ends_with_the_owner() {
    let (store, owner) = owned(&[]);
    let mut follower = store.command(&["changes", "tail", "--from", "1", "--follow"]);
    let mut follower = follower
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = BufReader::new(follower.stdout.take().unwrap()).lines();
    store.ok(&["create", "seen by the follower"]);
    // What the log alone has the manifest has not done yet.
    store.ok(&["checkpoint"]);
    let wanted = |line: &str| line.contains("created") && line.contains("seen by the follower");
    assert!(seen.any(|line| wanted(&line.unwrap())));
    owner.end();
    // There is nothing to follow any more, and it says so by its status alone.
    assert!(!follower.wait().unwrap().success());
}

#[test]
fn a_socket_left_behind_by_a_process_that_was_killed_is_replaced() {
    let (store, mut owner) = owned(&[]);
    let socket = store.store().join("control/control.sock");
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    assert!(socket.exists(), "nobody took it away");
    // Whoever comes next has the lock.
    let owner = Owner::of(&store, &[]);
    assert_eq!(store.ok(&["sql", "d", "select sum(x) from t"]), "3\n");
    owner.end();
    assert!(!socket.exists());
}

#[test]
fn the_directory_of_the_socket_is_its_owners_alone() {
    let (store, owner) = owned(&[]);
    let mode = store
        .store()
        .join("control")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    owner.end();
}

#[test]
fn a_long_path_of_a_store_is_no_obstacle() {
    let store = Store::new();
    let deep = store.path().join("d".repeat(150)).join("s");
    std::fs::create_dir_all(deep.parent().unwrap()).unwrap();
    let deep = deep.to_str().unwrap();
    let owner = Owner::of(&store, &["--store", deep]);
    assert!(store.ok(&["--store", deep, "list"]).contains(" d "));
    owner.end();
}

#[test]
fn hostile_clients_harm_nobody() {
    let (store, mut owner) = owned(&[]);
    let connect = || hostile::connect(&store);
    let greeting = framed(HELLO);
    let sent: [Vec<u8>; 7] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        u32::MAX.to_le_bytes().to_vec(),
        vec![0; 64],
        framed(br#"{"hello":{"protocol":99}}"#),
        [
            &greeting[..],
            &framed(br#"{"run":{"json":false,"progress":false,"request":"no such"}}"#),
        ]
        .concat(),
        [
            &greeting[..],
            &framed(br#"{"piece":{"sql":"select 1","mode":"list","header":false}}"#),
        ]
        .concat(),
        [&greeting[..], &greeting[..10]].concat(),
    ];
    for bytes in &sent {
        let mut client = connect();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It is told, or let go; never kept.
        let _ = client.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("panic"));
    }
    // Those who say nothing have a few seconds; meanwhile there is no place for more than so many.
    let begun = Instant::now();
    let silent: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
    assert_eq!(owner.answer("select sum(x) from t;"), "3");
    for mut client in silent {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(store.ok(&["list"]).contains(" d "));
    owner.end();
}

#[test]
fn the_status_of_a_store_is_for_people_and_for_monitors() {
    let store = Store::new();
    store.ok(&["sql", "d", "create table t(x); insert into t values (1)"]);
    let status = store.json(&["status"]);
    assert_eq!(status["healthy"], true);
    assert_eq!(status["databases"], 1);
    assert!(status["lag_bytes"].as_u64().unwrap() > 0);
    assert!(status["last_checkpoint_us"].is_null());
    let mut owner = Owner::of(&store, &[]);
    store.ok(&["checkpoint"]);
    assert_eq!(store.json(&["status"])["lag_commits"], 0);
    assert!(
        store.json(&["status"])["last_checkpoint_us"]
            .as_u64()
            .is_some()
    );
    // Who reads an old state is named, with what he keeps.
    assert_eq!(owner.answer("begin; select count(*) from t;"), "1");
    store.ok(&["sql", "d", "--write", "insert into t values (2)"]);
    let status = store.json(&["status"]);
    assert_eq!(status["oldest_reader"]["database"], "d");
    assert_eq!(status["lag_commits"], 1);
    assert!(store.ok(&["status"]).contains("the oldest reads \"d\""));
    // A quota that is nearly used is a warning: the store is well.
    store.ok(&["quota", "d", "8KiB"]);
    let text = store.ok(&["status"]);
    assert!(
        text.contains("ok, with warnings") && text.contains("quota:"),
        "{text}"
    );
    assert!(store.ok(&["doctor"]).contains("raise it with bop quota"));
    owner.end();
}

#[test]
fn a_status_that_is_watched_goes_on() {
    let (store, owner) = owned(&[]);
    let mut watch = store.command(&["--json", "status", "--watch", "--every", "100ms"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    for line in seen.take(3) {
        let status: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(status["healthy"], true);
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    owner.end();
}
