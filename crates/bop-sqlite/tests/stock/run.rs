//! Running programs that load the extension.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// The extension, which cargo builds with the tests.
pub(crate) fn extension() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let found = tests.parent().unwrap().join("libbop_sqlite.so");
    assert!(found.is_file(), "{} is not there", found.display());
    found
}

/// A place for a store and for files.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        Self { dir }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Tells `command` where everything is.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("BOP_EXTENSION", extension().with_extension(""))
            .env("BOP_TEST_STORE", self.store())
            .env("BOP_TEST_FILES", self.files())
            .env_remove("BOP_STORE")
            .env_remove("BOP_DEFAULT_VFS")
    }
}

/// Whether a program is there. Where it is not, that is said.
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("BOP_REQUIRE_SQLITE").is_some();
    assert!(!required, "{program} {arguments:?} does not work here");
    eprintln!("SKIPPED: {program} {arguments:?} does not work here");
    false
}

/// Debian's Python, with a SQLite that loads extensions.
pub(crate) fn python() -> Option<&'static str> {
    const PYTHON: &str = "/usr/bin/python3";
    let probe = "import sqlite3; c = sqlite3.connect(':memory:'); c.enable_load_extension(True); c.serialize";
    has(PYTHON, &["-c", probe]).then_some(PYTHON)
}

/// A script of `scripts/`.
pub(crate) fn script(name: &str) -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock/scripts");
    scripts.join(name)
}

/// What a program wrote, which must have ended well.
pub(crate) fn written(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Runs a script to its end, in a place of its own.
pub(crate) fn run(name: &str) {
    run_with(name, &[]);
}

/// As [`run`], with arguments.
pub(crate) fn run_with(name: &str, arguments: &[&Path]) {
    if let Some(python) = python() {
        let place = Place::new();
        let mut command = Command::new(python);
        let command = place.tell(&mut command).arg(script(name)).args(arguments);
        let out = written(&command.output().unwrap());
        assert!(out.ends_with("done\n"), "{out}");
    }
}

/// A directory of the shared data; `None`, loudly, where it is absent.
pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("BOP_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let found = shared.join(part);
    if found.is_dir() {
        return Some(found);
    }
    let required = std::env::var_os("BOP_REQUIRE_SHARED").is_some();
    assert!(!required, "{} is not there", found.display());
    eprintln!("SKIPPED: {} is not there", found.display());
    None
}
