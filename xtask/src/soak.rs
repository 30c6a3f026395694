//! `cargo xtask soak`: a mixed load in a process of its own, for so long, and beside it the model of the past.
//!
//! ```text
//!   the program `soak`, in release       -- its answers, and whether it grows
//!   the model's operations, as a test    -- each state of the past against what it was
//!   from ten minutes on: the manifest's tests at their full size, one after the other
//! ```
//! The program's directory is on the disk of the build directory, and gone afterwards; the model is in memory,
//! and begins with seeds that nobody had. What all say goes on to whoever asked.
//!
//! Never: judges; the programs' exit statuses say.

use crate::bench::{failed, with_dir};
use crate::tasks::{Failure, cargo};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A soak of so many seconds has time for the manifest's tests at their full size: a few minutes.
const LARGE_SECONDS_MIN: u32 = 600;

/// The manifest's tests that can be larger than they are in CI, and what makes them so.
const LARGE: [(&str, &str, &str); 3] = [
    ("map_growth::", "BOP_MANIFEST_MAP_MIB", "1024"),
    ("flips::used_bytes", "BOP_MANIFEST_EVERY_BYTE", "1"),
    ("trimming::", "BOP_FEED_CHANGES", "1000000"),
];

/// Builds and runs them.
pub(crate) fn soak(root: &Path, seconds: u32) -> Result<(), Failure> {
    // With the command, whose dependencies have the features of soak's and more: so both are made
    // of the same builds, and the engine is compiled once.
    let build = ["build", "--release", "-p", "soak", "-p", "bop-cli"];
    cargo(root, "build soak", &build, &[])?;
    let model = build_test(root, "past")?;
    let manifest = match LARGE_SECONDS_MIN <= seconds {
        true => Some(build_test(root, "manifest")?),
        false => None,
    };
    let target = root.join("target");
    let binary = target.join("release/soak");
    let mut model = Ended(start_model(&model, seconds)?);
    with_dir(&target, |dir| {
        let mut command = Command::new(&binary);
        command.arg(seconds.to_string()).arg(dir.join("store"));
        // With an arena for every few threads the allocator keeps more at each opening, for minutes,
        // until all arenas have once had the most; one arena is full after the first.
        command.env("MALLOC_ARENA_MAX", "1");
        let status = command.status();
        let status = status.map_err(|source| failed("start", binary.display(), source))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed("soak for", format!("{seconds} s"), status))
        }
    })?;
    let status = model.0.wait();
    let status = status.map_err(|source| failed("wait for", "the model of the past", source))?;
    if !status.success() {
        return Err(failed("soak", "the model of the past", status));
    }
    manifest.map_or(Ok(()), |program| run_large(&program))
}

/// The manifest's tests at their full size.
fn run_large(program: &Path) -> Result<(), Failure> {
    for (filter, variable, value) in LARGE {
        let mut command = Command::new(program);
        let command = command.args([filter, "--nocapture"]).env(variable, value);
        let status = command.status();
        let status = status.map_err(|source| failed("start", program.display(), source))?;
        if !status.success() {
            return Err(failed(
                "soak",
                format!("{filter} with {variable}={value}"),
                status,
            ));
        }
    }
    Ok(())
}

/// Builds a test program, as the build of all others does, and returns it: what is built is told as JSON.
fn build_test(root: &Path, test: &str) -> Result<PathBuf, Failure> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .args(["test", "--workspace", "--test", test, "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stderr(Stdio::inherit());
    let built = command.output();
    let built = built.map_err(|source| failed("build", test, source))?;
    if !built.status.success() {
        return Err(failed("build", test, built.status));
    }
    let told = String::from_utf8_lossy(&built.stdout);
    let mut programs = told.lines().filter_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(path.split_once('"')?.0))
    });
    let program = programs.next();
    program.ok_or_else(|| failed("build", test, "cargo names no program"))
}

fn start_model(program: &Path, seconds: u32) -> Result<Child, Failure> {
    let mut command = Command::new(program);
    // All at a time.
    command.args(["model::", "--nocapture", "--test-threads=4"]);
    command.env("BOP_PAST_SECONDS", seconds.to_string());
    let child = command.spawn();
    child.map_err(|source| failed("start", program.display(), source))
}

/// A process that has ended when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}
