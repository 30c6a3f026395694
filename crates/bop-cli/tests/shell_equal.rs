//! `bop sql` writes what the shell of the same SQLite writes, byte for byte, in modes list and csv.
//!
//! The shell is built from the amalgamation that `libsql-ffi` bundles, with the flags of its own
//! build, and kept in the target directory. The oracle is a program: nothing here knows what any
//! query answers.

mod common;

use common::{Store, require_shared};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    "-O1",
    "-w",
];
const MISSING_NAME: &str = "const char *sqlite3mc_version(void) { return \"\"; }\n";

/// The directory of the `libsql-ffi` sources that this workspace builds with.
fn libsql_ffi() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
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

/// The shell, built when it is not there yet.
fn shell() -> PathBuf {
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
    let theirs = Command::new(&shell)
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

    let queries: Vec<&str> = queries
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(queries.len(), 20);
    for query in queries {
        for mode in ["list", "csv"] {
            for header in [false, true] {
                let mut ours = vec!["sql", database, query, "--mode", mode];
                let mut theirs = vec![format!("-{mode}")];
                if header {
                    ours.push("--header");
                    theirs.push("-header".to_owned());
                }
                let ours = store.bop(&ours);
                let theirs = Command::new(&shell)
                    .args(theirs)
                    .arg(&file)
                    .arg(query)
                    .output();
                let theirs = theirs.unwrap();
                assert_success(&ours, query);
                assert_success(&theirs, query);
                assert!(
                    ours.stdout == theirs.stdout,
                    "mode {mode}, header {header}: {query}\n--- bop\n{}\n--- shell\n{}",
                    String::from_utf8_lossy(&ours.stdout),
                    String::from_utf8_lossy(&theirs.stdout)
                );
            }
        }
    }
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
