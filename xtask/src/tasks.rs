//! The tasks: each a short list of commands that stop at the first failure.
//!
//! Invariants
//! - `verify` writes nothing but the build directory;
//! - the steps of `verify` are those of `.ci/run`, which has the slow suites besides.

use crate::tidy;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A task that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A command could not be started.
    Start {
        /// The step.
        step: &'static str,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A command ended with an error.
    Step {
        /// The step.
        step: &'static str,
    },
    /// The sources could not be read.
    Sources(std::io::Error),
    /// A benchmark could not be run.
    Bench {
        /// What was attempted.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// The sources break rules of the house style; they were printed.
    Untidy {
        /// How many times.
        findings: usize,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { step, source } => write!(f, "start {step}: {source}"),
            Self::Step { step } => write!(f, "{step} failed"),
            Self::Sources(source) => write!(f, "read the sources: {source}"),
            Self::Bench { what, why } => write!(f, "{what}: {why}"),
            Self::Untidy { findings } => write!(f, "tidy has {findings} findings"),
        }
    }
}

/// The read-only gate that every change passes.
pub(crate) fn verify(root: &Path, tests: bool) -> Result<(), Failure> {
    cargo(root, "fmt", &["fmt", "--all", "--check"], &[])?;
    tidy(root)?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    cargo(root, "clippy", &clippy, &[])?;
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    cargo(root, "doc", &doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    if tests {
        cargo(root, "test", &["test", "--workspace"], &[])?;
    }
    Ok(())
}

/// Mends what can be mended without thinking.
pub(crate) fn fix(root: &Path) -> Result<(), Failure> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
    ];
    cargo(root, "clippy --fix", &clippy, &[])?;
    cargo(root, "fmt", &["fmt", "--all"], &[])
}

/// Prints every finding of the style checks.
pub(crate) fn tidy(root: &Path) -> Result<(), Failure> {
    let findings = tidy::check(root).map_err(Failure::Sources)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        findings => Err(Failure::Untidy { findings }),
    }
}

/// Runs the golden tests; with `bump` they write the files of a new format version, and refuse
/// where the version constant is still that of existing files.
pub(crate) fn golden(root: &Path, bump: bool) -> Result<(), Failure> {
    let set: &[(&str, &str)] = if bump {
        &[("BOP_GOLDEN_BUMP", "1")]
    } else {
        &[]
    };
    cargo(
        root,
        "golden tests",
        // One after the other: some of the files are made of others.
        &[
            "test",
            "-p",
            "bop-storage",
            "--test",
            "formats",
            "--",
            "--test-threads=1",
        ],
        set,
    )
}

/// Runs cargo with `arguments` in `root`.
pub(crate) fn cargo(
    root: &Path,
    step: &'static str,
    arguments: &[&str],
    set: &[(&str, &str)],
) -> Result<(), Failure> {
    let started = Instant::now();
    eprintln!("--- {step}");
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(arguments)
        .envs(set.iter().copied())
        .current_dir(root)
        .status()
        .map_err(|source| Failure::Start { step, source })?;
    eprintln!(
        "--- {step}: {status}, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Step { step })
    }
}
