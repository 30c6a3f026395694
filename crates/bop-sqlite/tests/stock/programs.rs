//! Other programs with an SQLite of their own: its shell, and Node's `better-sqlite3`.

use crate::run::{Place, extension, has, script, written};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs the shell on `input`.
fn shell(place: &Place, input: &str) -> String {
    let mut command = Command::new("sqlite3");
    let command = place.tell(&mut command).args(["-batch", ":memory:"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(input.as_bytes()).unwrap();
    drop(pipe);
    written(&child.wait_with_output().unwrap())
}

#[test]
fn a_session_of_the_shell() {
    if !has("sqlite3", &["--version"]) {
        return;
    }
    let place = Place::new();
    let store = place.store();
    let load = extension().with_extension("");
    let (load, store) = (load.display(), store.display());
    let copy = place.files().join("copy.db");
    let copy = copy.display();
    let out = shell(
        &place,
        &format!(
            ".load {load}
.open 'file:app?vfs=bop&store={store}'
CREATE TABLE t(a INTEGER PRIMARY KEY, b);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO t SELECT i, hex(randomblob(50)) FROM n;
SELECT count(*) FROM t;
BEGIN;
DELETE FROM t WHERE a > 10;
SAVEPOINT s;
DELETE FROM t;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM t;
.vfsname
PRAGMA bop_snapshot = ten;
DELETE FROM t;
ATTACH 'file:app@snapshot:ten?vfs=bop&store={store}' AS ten;
INSERT INTO main.t SELECT * FROM ten.t;
PRAGMA integrity_check;
.backup '{copy}'
.open '{copy}'
SELECT count(*) FROM t;
"
        ),
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        ["5000", "10", "bop", "app@snapshot:ten", "ok", "10"],
        "{out}"
    );
    // The next process finds it, by the default VFS.
    let out = shell(
        &place,
        &format!(
            ".load {load} sqlite3_bopdefault_init
.open {store}/app
SELECT count(*) FROM t;
.open 'file:nothing-of-that-name?vfs=bop&store={store}&mode=ro'
"
        ),
    );
    assert!(out.starts_with("10\n"), "{out}");
}

#[test]
fn a_session_of_better_sqlite3() {
    let Some(modules) = std::env::var_os("BOP_NODE_MODULES") else {
        eprintln!("SKIPPED: BOP_NODE_MODULES names no directory with better-sqlite3");
        return;
    };
    let place = Place::new();
    let mut node = Command::new("node");
    let node = place.tell(&mut node).arg(script("session.js"));
    node.env("BOP_NODE_MODULES", modules)
        .env("BOP_STORE", place.store())
        .env("BOP_DEFAULT_VFS", "1");
    assert_eq!(written(&node.output().unwrap()), "done\n");
}
