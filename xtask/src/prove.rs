//! `cargo xtask prove`: the crash suites with everything they can try, in an optimized build, and what they
//! came to.
//!
//! ```text
//! one build -> stages, two at a time: a test program, with more of everything -> its lines "proved: N WHAT" -> sums, asserted
//! --seed S: one seed of the simulated power cuts, twice; both make the same calls and leave the same images
//! ```
//! Invariant: what did not run was not proved: each sum has a least value.
//!
//! Never: judges a run; the tests do.

use crate::bench::failed;
use crate::programs::{Programs, Wanted, build};
use crate::tasks::Failure;
use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Cargo's profile: optimized, with assertions.
const PROFILE: &str = "prove";

/// What must have been tried, of each kind.
const LEAST: [(&str, u64); 6] = [
    ("crash images", 1_000_000),
    ("kill points", 5_000),
    ("recorder images", 1_000),
    ("error loops", 5_000),
    ("schedules", 1_000_000),
    ("engine schedules", 20_000),
];

/// A run of a test program.
struct Stage {
    program: &'static str,
    filter: &'static str,
    environment: &'static [(&'static str, &'static str)],
}

const fn stage(
    program: &'static str,
    filter: &'static str,
    environment: &'static [(&'static str, &'static str)],
) -> Stage {
    Stage {
        program,
        filter,
        environment,
    }
}

/// Stages that run beside each other: many wait for the disk, or have one long test.
const LANES: usize = 2;

const IMAGES: &str = "bop-storage/crash";
const STRACE: &str = "bop-libsql/strace";
const MODELS: &str = "bop-storage";

const ITERATIONS_OF_THE_LOG: (&str, &str) = ("BOP_MODEL_ITERATIONS", "20000");
const ITERATIONS_OF_ALL: (&str, &str) = ("BOP_MODEL_ITERATIONS", "1700");
/// Some models panic in every schedule.
const NO_BACKTRACE: (&str, &str) = ("RUST_BACKTRACE", "0");

/// The longest first.
const STAGES: &[Stage] = &[
    stage(STRACE, "kills::", &[("BOP_KILL_POINTS", "3600")]),
    stage(IMAGES, "every_call::", &[("BOP_CRASH_SEEDS", "245")]),
    stage(IMAGES, "faults::", &[("BOP_CRASH_ALL", "1")]),
    stage(
        IMAGES,
        "sequences::",
        &[("BOP_CRASH_ALL", "1"), ("BOP_CRASH_IMAGES", "12")],
    ),
    stage(
        MODELS,
        "log::models::",
        &[ITERATIONS_OF_THE_LOG, NO_BACKTRACE],
    ),
    stage(MODELS, "db::models::", &[ITERATIONS_OF_ALL, NO_BACKTRACE]),
    stage(IMAGES, "images::power_cuts_", &[("BOP_CRASH_SEEDS", "80")]),
    stage(IMAGES, "errnos::", &[("BOP_CRASH_ALL", "1")]),
    stage("bop-storage/past", "faults::", &[]),
    stage("bop-storage/past", "killed::", &[]),
    stage("bop-storage/backup", "power::", &[]),
    stage("bop-storage/manifest_injected", "", &[]),
    stage("bop-libsql/sql", "faults::", &[("BOP_FAULTS_ALL", "1")]),
    stage(STRACE, "images::", &[("BOP_RECORDED_IMAGES", "1000")]),
    stage(STRACE, "pair::", &[]),
];

/// Runs all stages, or one seed twice.
pub(crate) fn prove(root: &Path, seed: Option<u64>) -> Result<(), Failure> {
    let tests: Vec<_> = STAGES.iter().map(|stage| stage.program).collect();
    let wanted = Wanted {
        programs: &tests,
        profile: Some(PROFILE),
        wrapper: None,
    };
    let programs = build(root, &wanted)?;
    match seed {
        Some(seed) => replay(&programs, seed),
        None => prove_all(&programs),
    }
}

/// What was proved of each kind.
type Sums = BTreeMap<&'static str, u64>;

/// Runs stages until there are none left, or one fails.
fn run_lane(
    programs: &Programs,
    begun: Instant,
    left: &Mutex<slice::Iter<'_, Stage>>,
    sums: &Mutex<Sums>,
) -> Result<(), Failure> {
    loop {
        let Some(stage) = left.lock().unwrap_or_else(PoisonError::into_inner).next() else {
            return Ok(());
        };
        let from = begun.elapsed().as_secs();
        let told = run(programs, stage, stage.environment)?;
        let to = begun.elapsed().as_secs();
        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!("--- {from} s to {to} s: {} {}", stage.program, stage.filter);
        for (count, kind) in told.lines().filter_map(proved) {
            eprintln!("    {count} {kind}");
            if let Some((_, sum)) = sums.iter_mut().find(|(name, _)| kind.starts_with(**name)) {
                *sum += count;
            }
        }
    }
}

fn prove_all(programs: &Programs) -> Result<(), Failure> {
    let begun = Instant::now();
    let left = Mutex::new(STAGES.iter());
    let sums = Mutex::new(LEAST.iter().map(|(kind, _)| (*kind, 0)).collect());
    std::thread::scope(|scope| {
        let lane = || scope.spawn(|| run_lane(programs, begun, &left, &sums));
        let lanes = [(); LANES].map(|()| lane());
        lanes.into_iter().try_for_each(|lane| {
            let panicked = |_| failed("prove", "a stage", "it panicked");
            lane.join().map_err(panicked)?
        })
    })?;
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["proved", "at least", "violations"]);
    let mut short = Vec::new();
    for (kind, least) in LEAST {
        let sum = sums[kind];
        table.add_row([format!("{sum} {kind}"), least.to_string(), "0".to_owned()]);
        if sum < least {
            short.push(kind);
        }
    }
    println!("{table}");
    println!("in {} s", begun.elapsed().as_secs());
    if short.is_empty() {
        return Ok(());
    }
    Err(failed("prove", short.join(", "), "too few were tried"))
}

/// One seed of the simulated power cuts, twice: what it says ends with a digest of each call and image.
fn replay(programs: &Programs, seed: u64) -> Result<(), Failure> {
    const TEST: &str = "every_call_first_share";
    let stage = stage(IMAGES, TEST, &[]);
    let seed = seed.to_string();
    let run = || {
        let told = run(programs, &stage, &[("BOP_CRASH_SEED", &seed)])?;
        let tally = told.lines().find(|line| line.starts_with(TEST));
        tally
            .map(str::to_owned)
            .ok_or_else(|| failed("replay", &seed, "no tally"))
    };
    let (first, second) = (run()?, run()?);
    println!("{first}");
    if first == second {
        println!("the second run made the same calls and left the same images");
        return Ok(());
    }
    let reason = format!("the second run said {second}");
    Err(failed("replay", seed, reason))
}

/// `proved: N WHAT`.
fn proved(line: &str) -> Option<(u64, &str)> {
    let (_, told) = line.split_once("proved: ")?;
    let (count, kind) = told.split_once(' ')?;
    Some((count.parse().ok()?, kind))
}

/// What a program said; an error with that when it failed.
fn run(
    programs: &Programs,
    stage: &Stage,
    environment: &[(&str, &str)],
) -> Result<String, Failure> {
    let program = programs.find(stage.program)?;
    let output = Command::new(&program.executable)
        .args([stage.filter, "--nocapture"])
        .current_dir(&program.package)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("run", stage.program, error))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(told);
    }
    eprintln!("{told}{}", String::from_utf8_lossy(&output.stderr));
    Err(failed("prove", stage.program, output.status))
}
