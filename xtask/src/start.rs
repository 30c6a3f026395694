//! `cargo xtask bench start`: how long a new store takes to answer its first question.
//!
//! Each run is a process of its own, `bop sql d 'select 1'` in release, on a store that is not there
//! yet: it is made, opened, asked and closed.
//!
//! Never: judges, unless it was told by what.

use crate::bench::{Spread, failed, with_dir};
use crate::tasks::{Failure, cargo};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Runs `bop` so often and prints what it took; more than `at_most_ms` for the fastest one fails.
pub(crate) fn start(root: &Path, runs: u32, at_most_ms: Option<u32>) -> Result<(), Failure> {
    let build = ["build", "--release", "-p", "bop-cli", "--bin", "bop"];
    cargo(root, "build bop", &build, &[])?;
    let target = root.join("target");
    let binary = target.join("release/bop");
    let times = with_dir(&target, |dir| {
        (0..runs)
            .map(|run| milliseconds(&binary, &dir.join(run.to_string())))
            .collect::<Result<Vec<f64>, Failure>>()
    })?;
    let Spread {
        min, median, max, ..
    } = Spread::of(times);
    println!("bop sql d 'select 1' on a new store, {runs} runs");
    println!("best {min:.1} ms, median {median:.1} ms, worst {max:.1} ms");
    match at_most_ms {
        Some(most) if min > f64::from(most) => Err(Failure::Bench {
            what: "bop sql d 'select 1'".to_owned(),
            why: format!("the best of {runs} runs took {min:.1} ms, more than {most}"),
        }),
        _ => Ok(()),
    }
}

fn milliseconds(binary: &Path, store: &Path) -> Result<f64, Failure> {
    let mut command = Command::new(binary);
    command.arg("--store").arg(store);
    command.args(["sql", "d", "select 1"]);
    let started = Instant::now();
    let ended = command.output();
    let took = started.elapsed();
    let output = ended.map_err(|source| failed("start", binary.display(), source))?;
    if output.stdout != b"1\n" {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed("run", binary.display(), said));
    }
    Ok(took.as_secs_f64() * 1e3)
}
