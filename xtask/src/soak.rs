//! `cargo xtask soak`: a mixed load in a process of its own, for so long.
//!
//! The program is the crate `soak`, in release. Its directory is on the disk of the build directory,
//! and gone afterwards; what it says goes on to whoever asked.
//!
//! Never: judges; the program's exit status says.

use crate::bench::{failed, with_dir};
use crate::tasks::{Failure, cargo};
use std::path::Path;
use std::process::Command;

/// Builds and runs it.
pub(crate) fn soak(root: &Path, seconds: u32) -> Result<(), Failure> {
    // With the command, whose dependencies have the features of soak's and more: so both are made
    // of the same builds, and the engine is compiled once.
    let build = ["build", "--release", "-p", "soak", "-p", "bop-cli"];
    cargo(root, "build soak", &build, &[])?;
    let target = root.join("target");
    let binary = target.join("release/soak");
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
    })
}
