//! The file itself, and Python's sessions.

use crate::run::{Place, extension, has, python, run, run_with, shared, written};
use std::path::Path;
use std::process::Command;

/// Whoever loads the extension has a SQLite. A second one in the same process would be another list of
/// locks, another allocator, other VFSes.
#[test]
fn the_extension_has_no_sqlite_in_it() {
    if !has("nm", &["--version"]) {
        return;
    }
    let symbols = |arguments: &[&str]| {
        let output = Command::new("nm").args(arguments).arg(extension()).output();
        written(&output.unwrap())
    };
    let exported = symbols(&["-D", "--defined-only", "--format=just-symbols"]);
    let mut exported: Vec<&str> = exported.lines().collect();
    exported.sort_unstable();
    assert_eq!(
        exported,
        ["sqlite3_bopdefault_init", "sqlite3_bopsqlite_init"]
    );
    let undefined = symbols(&["-D", "--undefined-only", "--format=just-symbols"]);
    assert!(!undefined.contains("sqlite3"), "{undefined}");
    let all = symbols(&["--format=just-symbols"]);
    let of_sqlite = all.lines().filter(|name| {
        let is_api = name.starts_with("sqlite3_") && !name.starts_with("sqlite3_bop");
        is_api || name.starts_with("sqlite3Vdbe") || name.starts_with("sqlite3Pager")
    });
    assert_eq!(of_sqlite.count(), 0);
}

/// A program may have its SQLite load the extension into every connection, also into those that the extension
/// opens itself.
#[test]
fn every_connection_loads_it() {
    const PROGRAM: &str = "
import ctypes, sqlite3, sys
def address(function): return ctypes.cast(function, ctypes.c_void_p)
extension, sqlite = ctypes.CDLL(sys.argv[1]), ctypes.CDLL('libsqlite3.so.0')
assert sqlite.sqlite3_auto_extension(address(extension.sqlite3_bopsqlite_init)) == 0
for _ in range(3):
    print(sqlite3.connect(':memory:').execute('select bop_last_error()').fetchall())
";
    let Some(python) = python() else {
        return;
    };
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM]).arg(extension());
    let output = Place::new().tell(&mut command).output();
    assert_eq!(written(&output.unwrap()), "[(None,)]\n".repeat(3));
}

#[test]
fn sessions_of_python() {
    run("sessions.py");
}

#[test]
fn every_mode_and_page_size() {
    run("modes.py");
}

#[test]
fn transactions_over_several_databases() {
    run("attach.py");
}

#[test]
fn the_past_names_and_processes() {
    run("past.py");
}

/// Twenty thousand of them, half in each of two processes.
#[test]
fn random_sequences_give_what_stock_sqlite_gives() {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| run("differential.py"));
        }
    });
}

#[test]
fn sqlites_logic_tests_give_what_stock_sqlite_gives() {
    if let Some(files) = shared("data/slt") {
        run_with("logic.py", &[&files]);
    }
}

/// The example runs as it stands, but for where the extension is.
#[test]
fn the_example_of_the_readme() {
    let Some(python) = python() else {
        return;
    };
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, example) = readme.split_once("```python\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let built = "target/release/libbop_sqlite";
    assert!(example.contains(built));
    let here = extension().with_extension("");
    let example = example.replace(built, here.to_str().unwrap());
    let place = Place::new();
    let mut command = Command::new(python);
    let command = place.tell(&mut command).args(["-c", &example]);
    let out = written(&command.current_dir(place.files()).output().unwrap());
    assert_eq!(out, "('orders@snapshot:before',)\n");
}
