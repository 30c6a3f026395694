//! `cargo xtask`: what the project does with its own sources.
//!
//! Owns the command line only; what a task does stands in [`tasks`], what is checked in [`tidy`].
//!
//! Never: changes a file, save in `fix`, `golden --bump` and the results of `mutants`.

#![deny(unsafe_code)]

mod bench;
mod canaries;
mod fuzz;
mod mutants;
mod programs;
mod prove;
mod soak;
mod start;
mod tasks;
mod tidy;
mod valgrind;

use bench::{Plan, Set};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The read-only gate: formatting, lints, documentation, style, tests
    Verify {
        /// Leave the tests out
        #[arg(long)]
        no_tests: bool,
    },
    /// Format the sources and apply what clippy can mend by itself
    Fix,
    /// Check the house style
    Tidy,
    /// Measure bop against its peers
    #[command(subcommand)]
    Bench(Bench),
    /// A mixed load for so long, which fails when memory, threads or descriptors grow
    Soak {
        /// For how long; at least 10
        #[arg(value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(10..))]
        seconds: u32,
    },
    /// All that the crash suites can try: a quarter of an hour on two cores, and the build before
    Prove {
        /// One seed of the simulated power cuts, twice: both must come to the same sums
        #[arg(long)]
        seed: Option<u64>,
    },
    /// The tests that cross into C code, under valgrind's memcheck
    Valgrind,
    /// Plant each known bug, and see that the tests find it
    Canaries {
        /// These alone
        #[arg(value_name = "CANARY")]
        canaries: Vec<String>,
    },
    /// Run each fuzz target for a while; a crash fails
    FuzzSmoke {
        /// For how long, each
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
        /// These alone
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Change what decides, one thing at a time, and see that the tests notice
    Mutants(mutants::Wanted),
    /// Compare the golden files of the formats, or write new ones
    Golden {
        /// Write the files of a new format version
        #[arg(long)]
        bump: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// The works of the log: SQL, pages, records, against whatever does the same
    Log(Plan),
    /// The works of the page store and the cache
    Pages(Plan),
    /// The works of the log over SQL, against stock SQLite
    Sql(Plan),
    /// What an engine that does nothing reaches of them here, against the same peers
    Ceilings(Plan),
    /// Policies of page caches: hits on mixes of accesses, and speed
    Cache,
    /// bop with other allocators, against bop with the system's
    Allocators(Plan),
    /// The first statement on a new store, as a process of its own
    Start {
        /// Runs
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// Fail when the best run takes longer
        #[arg(long, value_name = "MS")]
        at_most_ms: Option<u32>,
    },
}

fn main() -> ExitCode {
    let root = workspace_root();
    let outcome = match Args::parse().task {
        Task::Verify { no_tests } => tasks::verify(&root, !no_tests),
        Task::Fix => tasks::fix(&root),
        Task::Tidy => tasks::tidy(&root),
        Task::Bench(Bench::Log(plan)) => bench::run(&root, Set::Log, &plan),
        Task::Bench(Bench::Pages(plan)) => bench::run(&root, Set::Pages, &plan),
        Task::Bench(Bench::Sql(plan)) => bench::run(&root, Set::Sql, &plan),
        Task::Bench(Bench::Ceilings(plan)) => bench::run(&root, Set::Ceilings, &plan),
        Task::Bench(Bench::Cache) => bench::caches(&root),
        Task::Bench(Bench::Allocators(plan)) => bench::allocators(&root, &plan),
        Task::Bench(Bench::Start { runs, at_most_ms }) => start::start(&root, runs, at_most_ms),
        Task::Soak { seconds } => soak::soak(&root, seconds),
        Task::Prove { seed } => prove::prove(&root, seed),
        Task::Valgrind => valgrind::check(&root),
        Task::Canaries { canaries } => canaries::hunt(&root, &canaries),
        Task::FuzzSmoke { seconds, targets } => fuzz::smoke(&root, seconds, &targets),
        Task::Mutants(wanted) => mutants::mutants(&root, &wanted),
        Task::Golden { bump } => tasks::golden(&root, bump),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of the workspace's `Cargo.toml`: the parent of this crate's.
fn workspace_root() -> PathBuf {
    let this_crate = Path::new(env!("CARGO_MANIFEST_DIR"));
    this_crate.parent().unwrap_or(this_crate).to_path_buf()
}
