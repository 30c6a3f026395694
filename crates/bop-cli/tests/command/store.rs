//! A store in a temporary directory and the built `bop` to use it.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "helpers of tests, not tests themselves"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A store that is not there yet, gone when dropped.
pub struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    /// A directory for the store and other files of the test.
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the store is made.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// `bop` on this store, with nothing on standard input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bop"));
        command
            .args(arguments)
            .env("BOP_STORE", self.store())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `bop` to its end.
    pub fn bop(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs `bop`, which must succeed; answers what it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.bop(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "bop {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `bop`, which must fail with `status`; answers what it reported.
    #[track_caller]
    pub fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.bop(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(status),
            "bop {arguments:?}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    /// Runs `bop --json`, which must succeed; answers the value that it printed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }
}

/// A directory of the data that the project's tests share but do not carry: at `BOP_SHARED`, else
/// beside the workspace. Where it is missing the test is skipped, unless `BOP_REQUIRE_SHARED=1`.
pub fn require_shared(below: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("BOP_SHARED").map_or(beside, PathBuf::from);
    let dir = shared.join(below);
    if dir.is_dir() {
        return Some(dir);
    }
    let required = std::env::var_os("BOP_REQUIRE_SHARED").is_some_and(|value| value == "1");
    assert!(
        !required,
        "BOP_REQUIRE_SHARED=1, but {} is missing",
        dir.display()
    );
    eprintln!("SKIPPED, NOT TESTED: {} is missing", dir.display());
    None
}
