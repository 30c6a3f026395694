//! Three in the morning: an application commits on 64 connections, and somebody at a second terminal looks what is
//! the matter with its store, and mends it, while clients of the socket that nobody wants do their worst.
//!
//! What it costs the application's slowest commits is a benchmark: `cargo xtask bench log --only p99-socket`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod application;
pub(crate) mod hostile;

use crate::store::Store;
use application::{Application, CONNECTIONS, database};
use hostile::{Babbler, half_open};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// Each command that the owner of a store answers, in an order in which each finds what it needs.
const COMMANDS: &[&[&str]] = &[
    &["list"],
    &["info", "app-0"],
    &["stats"],
    &["status"],
    &["doctor"],
    &["space"],
    &["log", "why"],
    &["create", "orders"],
    &[
        "sql",
        "orders",
        "--write",
        "create table t(x); insert into t values (7)",
    ],
    &["sql", "orders", "select x from t"],
    &["sql", "app-1", "select max(n) = count(*) from t"],
    &["snapshot", "create", "orders", "before"],
    &["snapshot", "create", "app-2", "before"],
    &["snapshot", "list", "app-2"],
    &["fork", "orders", "copy", "--at", "snapshot:before"],
    &["fork", "app-3", "copy of app-3"],
    &["sql", "orders", "--write", "delete from t"],
    &["restore", "orders", "--at", "snapshot:before"],
    &["restore", "app-4", "--at", "now", "--as", "app-4 again"],
    &["restore-points", "orders"],
    &["rename", "copy", "other"],
    &["drop", "other", "--yes"],
    &["list", "--dropped"],
    &["undrop", "other"],
    &["drop", "other", "--yes"],
    &["purge", "other", "--yes"],
    &["quota", "orders", "1GiB"],
    &["retention", "orders", "--window", "3days"],
    &["checkpoint"],
    &["verify"],
    &["verify", "--deep", "orders"],
    &["scrub"],
    &["jobs"],
    &["changes", "tail", "--cursor", "watcher"],
    &["commits", "tail", "--db", "app-5"],
    &["commits", "tail"],
    &["cursor", "list"],
    &["cursor", "drop", "watcher"],
    &["snapshot", "drop", "orders", "before"],
    &["export", "app-7", "app-7.sqlite"],
    &["import", "imported", "app-7.sqlite"],
    &["backup", "kept"],
    &["backup", "list", "kept"],
    &["backup", "verify", "kept"],
    &["status"],
];

/// A command that goes on, of which somebody reads a few lines.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn of(store: &Store, arguments: &[&str]) -> Self {
        let mut command = store.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until a line has that text.
    fn sees(&mut self, text: &str) {
        let seen = self.lines.any(|line| line.unwrap().contains(text));
        assert!(seen, "it ended before it said {text:?}");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // One that is gone already need not be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the seed of a run that failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}: BOP_SEED={} runs it again", self.0, self.0);
        }
    }
}

#[test]
fn an_application_commits_on_while_others_use_each_command_and_abuse_the_socket() {
    let seed = std::env::var("BOP_SEED").map_or(0x0b0b, |seed| seed.parse().unwrap());
    let told = Told(seed);
    let store = Store::new();
    let mut application = Application::start(&store.store());
    let babbler = Babbler::start(&store, seed);
    let mut silent = application.goes_on_while("clients fall silent", || half_open(&store));
    let mut followed = [
        Follower::of(&store, &["changes", "tail", "--from", "1", "--follow"]),
        Follower::of(&store, &["commits", "tail", "--db", "app-6", "--follow"]),
        Follower::of(&store, &["--json", "status", "--watch", "--every", "100ms"]),
    ];
    for command in COMMANDS {
        application.goes_on_while(&format!("bop {command:?}"), || store.ok(command));
    }
    application.goes_on_while("others follow", || {
        followed[0].sees("copy of app-3");
        followed[1].sees("app-6");
        followed[2].sees("\"healthy\":true");
    });
    // Who fell silent and was let go meanwhile leaves his place to the next.
    silent.extend(application.goes_on_while("more fall silent", || half_open(&store)));
    assert!(0 < babbler.end());
    let acknowledged = application.end_commits();
    for connection in [0, CONNECTIONS / 2, CONNECTIONS - 1] {
        let count = store.ok(&["sql", &database(connection), "select count(*) from t"]);
        assert_eq!(count.trim_end(), acknowledged[connection].to_string());
    }
    assert_eq!(store.ok(&["sql", "orders", "select x from t"]), "7\n");
    application.close();
    assert_eq!(store.json(&["verify"])["healthy"], true);
    drop((silent, followed, told));
}
