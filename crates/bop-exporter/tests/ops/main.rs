//! What stands in `ops/`: its files are sound and speak of metrics that there are, and each alert fires in a real
//! Prometheus while a fault of its kind is staged, and is gone after it.
//!
//! Where Debian's package `prometheus` is not installed the tests that need it skip, loudly; with `BOP_REQUIRE_OPS=1`
//! they fail.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod prometheus;
mod scaled;
mod stage;
mod staged;

use std::path::PathBuf;
use std::process::Command;

/// A file of `ops/` or `docs/`.
fn repository(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// Whether a program is there.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let required = std::env::var_os("BOP_REQUIRE_OPS").is_some_and(|value| value == "1");
    assert!(!required, "BOP_REQUIRE_OPS=1, but there is no {program}");
    eprintln!("SKIPPED: {program} is not installed, so ops/ is not tested against it");
    false
}
