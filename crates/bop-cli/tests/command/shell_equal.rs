//! `bop sql` writes what the shell of the same SQLite writes, byte for byte, in modes list and csv.
//!
//! The shell is built from the amalgamation that `libsql-ffi` bundles, with the flags of its own
//! build, and kept in the target directory. The oracle is a program: nothing here knows what any
//! query answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::store::{Store, require_shared};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The `-D` flags of the build script of `libsql-ffi`, and a name that the shell wants and only
/// the encrypting build of SQLite has.
const FLAGS: [&str; 21] = [
    "-DSQLITE_CORE",
    "-DSQLITE_ENABLE_API_ARMOR",
    "-DSQLITE_ENABLE_COLUMN_METADATA",
    "-DSQLITE_ENABLE_DBSTAT_VTAB",
    "-DSQLITE_ENABLE_FTS3",
    "-DSQLITE_ENABLE_FTS3_PARENTHESIS",
    "-DSQLITE_ENABLE_FTS5",
    "-DSQLITE_ENABLE_JSON1",
    "-DSQLITE_ENABLE_LOAD_EXTENSION=1",
    "-DSQLITE_ENABLE_MEMORY_MANAGEMENT",
    "-DSQLITE_ENABLE_RTREE",
    "-DSQLITE_ENABLE_STAT2",
    "-DSQLITE_ENABLE_STAT4",
    "-DSQLITE_SOUNDEX",
    "-DSQLITE_THREADSAFE=1",
    "-DSQLITE_USE_URI",
    "-DHAVE_USLEEP=1",
    "-D_POSIX_THREAD_SAFE_FUNCTIONS",
    "-std=gnu11",
    // Its queries are small: what it takes is its build, and everybody waits for that.
    "-O0",
    "-w",
];
const MISSING_NAME: &str = "const char *sqlite3mc_version(void) { return \"\"; }\n";

/// The directory of the `libsql-ffi` sources that this workspace builds with.
fn libsql_ffi() -> PathBuf {
    // For this platform only: what others need may not have been downloaded.
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "libsql-ffi")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().to_path_buf()
}

/// The shell, built once when it is not there yet.
fn shell() -> &'static Path {
    static SHELL: OnceLock<PathBuf> = OnceLock::new();
    SHELL.get_or_init(build_shell)
}

fn build_shell() -> PathBuf {
    let sources = libsql_ffi().join("bundled");
    let version = libsql_ffi().file_name().unwrap().to_owned();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("shell")
        .join(version);
    let shell = dir.join("sqlite3");
    if shell.exists() {
        return shell;
    }
    fs::create_dir_all(&dir).unwrap();
    let missing_name = dir.join("missing_name.c");
    fs::write(&missing_name, MISSING_NAME).unwrap();
    // Built under a name of its own and then renamed, so that two runs do not meet.
    let built = dir.join(format!("sqlite3.{}", std::process::id()));
    let status = Command::new("cc")
        .args(FLAGS)
        .arg("-I")
        .arg(sources.join("src"))
        .arg(sources.join("SQLite3MultipleCiphers/src/shell.c"))
        .arg(sources.join("src/sqlite3.c"))
        .arg(&missing_name)
        .args(["-lm", "-ldl", "-lpthread", "-o"])
        .arg(&built)
        .status()
        .unwrap();
    assert!(status.success(), "the shell does not build");
    fs::rename(&built, &shell).unwrap();
    shell
}

/// Loads a script into `bop` and into the shell, then compares the answers to `queries`.
fn compare(script: &Path, database: &str, queries: &str) {
    let shell = shell();
    let store = Store::new();
    let file = store.path().join("shell.sqlite");
    let ours = store.bop(&["sql", database, "--file", script.to_str().unwrap()]);
    assert_success(&ours, "load into bop");
    let script = fs::File::open(script).unwrap();
    let theirs = Command::new(shell)
        .arg("-bail")
        .arg(&file)
        .stdin(script)
        .output()
        .unwrap();
    assert_success(&theirs, "load into the shell");
    assert!(
        ours.stdout == theirs.stdout,
        "the scripts' own queries answer differently"
    );
    // So that the queries read chunks, not the log.
    store.ok(&["checkpoint"]);

    let queries: Vec<&str> = queries
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(queries.len(), 20);
    for mode in ["list", "csv"] {
        compare_answers(&store, database, &file, &queries, mode, false);
        compare_answers(&store, database, &file, &queries, mode, true);
    }
}

/// Runs all queries in one process each, with a mark behind every answer.
fn compare_answers(
    store: &Store,
    database: &str,
    file: &Path,
    queries: &[&str],
    mode: &str,
    header: bool,
) {
    const MARK: &str = "end-of-answer";
    let marked: Vec<String> = queries
        .iter()
        .map(|query| format!("{query}\nselect '{MARK}';\n"))
        .collect();
    let script = store.path().join("queries.sql");
    fs::write(&script, marked.concat()).unwrap();

    let mut ours = store.command(&["sql", database, "--mode", mode]);
    let mut theirs = Command::new(shell());
    theirs.args(["-bail", &format!("-{mode}")]);
    if header {
        ours.arg("--header");
        theirs.arg("-header");
    }
    theirs.arg(file);
    let answers = |command: &mut Command| {
        let output = command
            .stdin(fs::File::open(&script).unwrap())
            .output()
            .unwrap();
        assert_success(&output, mode);
        output.stdout
    };
    let (ours, theirs) = (answers(&mut ours), answers(&mut theirs));
    // Where a header is on, the mark has one too; text before it belongs to the answer.
    let by_query = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split(MARK).map(str::to_owned).collect()
    };
    for (at, (ours, theirs)) in by_query(&ours).iter().zip(by_query(&theirs)).enumerate() {
        let query = queries.get(at / if header { 2 } else { 1 }).unwrap_or(&"");
        assert_eq!(*ours, theirs, "mode {mode}, header {header}: {query}");
    }
    assert!(
        ours == theirs,
        "mode {mode}, header {header}: not the same bytes"
    );
    assert!(by_query(&ours).len() > queries.len());
}

#[track_caller]
fn assert_success(output: &Output, what: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {stderr}");
}

#[test]
fn the_twenty_queries_on_chinook() {
    let Some(data) = require_shared("data") else {
        return;
    };
    let queries = fs::read_to_string(data.join("queries.sql")).unwrap();
    compare(&data.join("chinook.sql"), "chinook", &queries);
}

#[test]
fn twenty_queries_on_northwind() {
    let Some(data) = require_shared("data") else {
        return;
    };
    compare(
        &data.join("northwind.sql"),
        "northwind",
        include_str!("northwind_queries.sql"),
    );
}

/// What the queries on real data do not have: odd values, explanations, headers without rows.
#[test]
fn odd_statements() {
    let store = Store::new();
    let file = store.path().join("shell.sqlite");
    let schema = "create table t(a integer primary key, b, c); create index i on t(b); \
                  create table u(a, b); create trigger r after insert on t begin \
                  insert into u values(new.a, new.b); end; \
                  insert into t values(1, 'x', 2.5), (2, null, x'00ff'), (3, '', 'a' || char(0));";
    store.ok(&["sql", "d", schema]);
    let made = Command::new(shell())
        .arg(&file)
        .arg(schema)
        .output()
        .unwrap();
    assert_success(&made, schema);
    for sql in [
        "select * from t",
        "select a as \"a b\", b as \"c,d\" from t where 0",
        "select a as \"a b\", b as \"c,d\" from t",
        "select 1e15, 1e16, 1.0, -1.5e-10, 123456789.123456789, 0.1 + 0.2, 1e999, -1e999",
        "select 'tab' || char(9) || 'x', char(127), 'caf' || char(233), '\"', '''', ','",
        "explain query plan select * from t join u on t.b = u.b where t.a in (select b from u)",
        "explain query plan select a from t union select b from u order by 1",
        "explain query plan select * from t where a = 1",
        "explain select * from t join u on t.b = u.b order by t.c",
        "explain insert into t values(9, 9, 9)",
        "explain with recursive n(i) as (select 1 union all select i + 1 from n limit 9) select * from n",
        "begin; create table v(a); rollback; select count(*) from sqlite_schema;; select 2",
        "pragma table_info(t)",
    ] {
        for mode in ["list", "csv"] {
            let ours = store.bop(&["sql", "d", sql, "--mode", mode, "--header"]);
            let theirs = Command::new(shell())
                .args([&format!("-{mode}"), "-header"])
                .arg(&file)
                .arg(sql)
                .output()
                .unwrap();
            assert_success(&ours, sql);
            assert!(
                ours.stdout == theirs.stdout,
                "mode {mode}: {sql}\n--- bop\n{}\n--- shell\n{}",
                String::from_utf8_lossy(&ours.stdout),
                String::from_utf8_lossy(&theirs.stdout)
            );
        }
    }
}
