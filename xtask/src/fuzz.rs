//! `cargo xtask fuzz-smoke`: each fuzz target for a while, from the committed corpus on.
//!
//! ```text
//! cargo fuzz build (nightly) -> for each target: its program, on a copy of the corpus -> the table
//! ```
//! What a target finds is in `target/fuzz/artifacts/TARGET`, and the run fails. What reaches new code stays
//! in `target/fuzz/corpus/TARGET`, where the next run begins; the committed corpus is not written.
//!
//! Invariant: a target that could not run is a failure, as a crash is.
//!
//! Never: judges an input; the target's exit status does.

use crate::bench::failed;
use crate::tasks::Failure;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Memory of a target's process. AddressSanitizer's own is in it.
const RSS_LIMIT_MB: u32 = 512;
/// No single allocation is larger: inputs have 64 KiB at most.
const ALLOCATION_LIMIT_MB: u32 = 64;
/// An input that takes longer is a hang.
const INPUT_SECONDS_MAX: u32 = 10;
/// As `bop_fuzz_targets` has it.
const INPUT_BYTES_MAX: u32 = 64 << 10;
/// Where cargo-fuzz puts programs.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What a target's run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    inputs: u64,
    executions: u64,
    per_second: u64,
    edges: u64,
    found: usize,
    /// It ended by itself, at its time.
    succeeded: bool,
}

/// Builds all targets and runs those called, or all, each for so many seconds.
pub(crate) fn smoke(root: &Path, seconds: u32, only: &[String]) -> Result<(), Failure> {
    let targets = targets(root)?;
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        return Err(failed("find the fuzz target", unknown, targets.join(", ")));
    }
    let home = root.join("target/fuzz");
    build(root, &home)?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "target", "runs", "runs/s", "coverage", "inputs", "crashes", "",
    ]);
    for column in 1..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut bad = Vec::new();
    for target in targets
        .iter()
        .filter(|name| only.is_empty() || only.contains(name))
    {
        eprintln!("--- {target}");
        let ran = run(root, &home, target, seconds)?;
        let ended = match (&ran, ran.executions) {
            (Ran { found: 1.., .. }, _) => "found something",
            (
                Ran {
                    succeeded: true, ..
                },
                1..,
            ) => "ok",
            _ => "did not run",
        };
        if ended != "ok" {
            bad.push(target.clone());
        }
        let numbers = [
            ran.executions,
            ran.per_second,
            ran.edges,
            ran.inputs,
            ran.found as u64,
        ];
        let mut row = vec![target.clone()];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(ended.to_owned());
        table.add_row(row);
    }
    println!("{table}");
    if bad.is_empty() {
        return Ok(());
    }
    let place = home.join("artifacts");
    Err(failed(
        "fuzz",
        bad.join(", "),
        format!("see {}", place.display()),
    ))
}

/// The names of the targets, in their order.
fn targets(root: &Path) -> Result<Vec<String>, Failure> {
    let dir = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&dir).map_err(|error| failed("read", dir.display(), error))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some(path.file_stem()?.to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

/// With the nightly compiler, whatever this program was built with.
fn build(root: &Path, home: &Path) -> Result<(), Failure> {
    const WHAT: &str =
        "the fuzz targets (rustup toolchain install nightly, cargo install cargo-fuzz)";
    let mut command = Command::new("rustup");
    command.args([
        "run",
        "nightly",
        "cargo",
        "fuzz",
        "build",
        "--fuzz-dir",
        "fuzz",
    ]);
    command.arg("--target-dir").arg(home);
    // Of the compiler that built this program.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    let status = command.current_dir(root).status();
    let status = status.map_err(|error| failed("build", WHAT, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed("build", WHAT, status))
    }
}

fn run(root: &Path, home: &Path, target: &str, seconds: u32) -> Result<Ran, Failure> {
    let directory = |kind: &str| -> Result<PathBuf, Failure> {
        let path = home.join(kind).join(target);
        let made = fs::create_dir_all(&path);
        made.map_err(|error| failed("make", path.display(), error))?;
        Ok(path)
    };
    let (corpus, artifacts) = (directory("corpus")?, directory("artifacts")?);
    let before = files(&artifacts);
    let program = home.join(TRIPLE).join("release").join(target);
    let mut command = Command::new(&program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"))
        .arg(format!("-malloc_limit_mb={ALLOCATION_LIMIT_MB}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-detect_leaks=0"])
        .arg(&corpus)
        .arg(root.join("fuzz/corpus").join(target))
        // Memory that was freed is kept for a while, to find its use; that counts as the target's.
        .env("ASAN_OPTIONS", "quarantine_size_mb=16:detect_leaks=0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = command.output();
    let output = output.map_err(|error| failed("start", program.display(), error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let mut ran = read(&said);
    ran.succeeded = output.status.success();
    ran.found = files(&artifacts).saturating_sub(before);
    if !ran.succeeded {
        eprintln!("{said}");
        ran.found = ran.found.max(1);
    }
    Ok(ran)
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// What libFuzzer says at its end: `#N DONE cov: E ft: F corp: I/B ...`, and its statistics.
fn read(said: &str) -> Ran {
    let mut ran = Ran::default();
    for line in said.lines() {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let next = words.peek().copied().unwrap_or_default();
            let number = next
                .split('/')
                .next()
                .and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            match word {
                "cov:" => ran.edges = number,
                "corp:" => ran.inputs = number,
                "stat::number_of_executed_units:" => ran.executions = number,
                "stat::average_exec_per_sec:" => ran.per_second = number,
                _ => {}
            }
        }
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let said = "#2 INITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #900 DONE   cov: 321 ft: 402 corp: 37/512b lim: 4096 exec/s: 450 rss: 31Mb\n\
            Done 900 runs in 2 second(s)\n\
            stat::number_of_executed_units: 900\n\
            stat::average_exec_per_sec:     450\n";
        let expected = Ran {
            inputs: 37,
            executions: 900,
            per_second: 450,
            edges: 321,
            ..Ran::default()
        };
        assert_eq!(read(said), expected);
        assert_eq!(read("no such file"), Ran::default());
    }
}
