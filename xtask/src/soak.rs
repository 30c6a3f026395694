//! `cargo xtask soak`: a mixed load in a process of its own, for so long, and beside it the model of the past.
//!
//! ```text
//!   the program `soak`, in release       -- its answers, and whether it grows
//!   the model's operations, as a test    -- each state of the past against what it was
//! ```
//! The program's directory is on the disk of the build directory, and gone afterwards; the model is in memory,
//! and begins with seeds that nobody had. What both say goes on to whoever asked.
//!
//! Never: judges; the programs' exit statuses say.

use crate::bench::{failed, with_dir};
use crate::tasks::{Failure, cargo};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The model, as a test of which the build is that of all others; what is built is told as JSON.
const MODEL: [&str; 6] = [
    "test",
    "--workspace",
    "--test",
    "past",
    "--no-run",
    "--message-format=json-render-diagnostics",
];

/// Builds and runs both.
pub(crate) fn soak(root: &Path, seconds: u32) -> Result<(), Failure> {
    // With the command, whose dependencies have the features of soak's and more: so both are made
    // of the same builds, and the engine is compiled once.
    let build = ["build", "--release", "-p", "soak", "-p", "bop-cli"];
    cargo(root, "build soak", &build, &[])?;
    let model = build_model(root)?;
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
    if status.success() {
        Ok(())
    } else {
        Err(failed("soak", "the model of the past", status))
    }
}

/// Returns the program.
fn build_model(root: &Path) -> Result<PathBuf, Failure> {
    const WHAT: &str = "the model of the past";
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .args(MODEL)
        .current_dir(root)
        .stderr(Stdio::inherit());
    let built = command.output();
    let built = built.map_err(|source| failed("build", WHAT, source))?;
    if !built.status.success() {
        return Err(failed("build", WHAT, built.status));
    }
    let told = String::from_utf8_lossy(&built.stdout);
    let mut programs = told.lines().filter_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(path.split_once('"')?.0))
    });
    let program = programs.next();
    program.ok_or_else(|| failed("build", WHAT, "cargo names no program"))
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
