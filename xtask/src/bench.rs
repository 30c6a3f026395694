//! `cargo xtask bench`: two processes that do the same work in turns.
//!
//! Both are built in release, get a directory on the same file system, and take turns slice by
//! slice, the one that goes first changing each time: what the machine and the disk do meanwhile
//! meets both. A ratio is of two neighbouring slices.
//!
//! Never: judges, unless it was told by what; it prints what it saw in any case.

use crate::tasks::{Failure, cargo};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What is measured, and how long.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Slices of each side.
    pub(crate) slices: u32,
    /// Milliseconds of each slice.
    pub(crate) slice_ms: u32,
    /// The smallest median of the paired ratios that is no failure.
    pub(crate) at_least: Option<f64>,
}

/// Durable single-row inserts over one connection: bop against SQLite.
pub(crate) fn sql(root: &Path, plan: Plan, dir: Option<PathBuf>) -> Result<(), Failure> {
    let target = root.join("target");
    let target_text = target.display().to_string();
    let build = ["build", "--release", "--target-dir", &target_text];
    cargo(&root.join("bench"), "build the benchmarks", &build, &[])?;
    let parent = dir.unwrap_or_else(|| target.clone());
    let ratio = with_dir(&parent, |dir| measure(&target.join("release"), dir, plan))?;
    match plan.at_least {
        Some(least) if ratio < least => Err(Failure::Bench {
            what: "durable inserts".to_owned(),
            why: format!("the median ratio is {ratio:.2}, below {least}"),
        }),
        _ => Ok(()),
    }
}

/// Gives `work` a new directory in `parent`, which is removed afterwards.
pub(crate) fn with_dir<T>(
    parent: &Path,
    work: impl FnOnce(&Path) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let dir = parent.join(format!("bench-data-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|source| failed("make", dir.display(), source))?;
    let measured = work(&dir);
    let removed = fs::remove_dir_all(&dir);
    let measured = measured?;
    removed.map_err(|source| failed("remove", dir.display(), source))?;
    Ok(measured)
}

/// Runs the slices; the median ratio.
fn measure(binaries: &Path, dir: &Path, plan: Plan) -> Result<f64, Failure> {
    let mut bop = Side::start("bop", &binaries.join("bench-bop"), dir)?;
    let mut sqlite = Side::start("sqlite", &binaries.join("bench-sqlite"), dir)?;
    println!("bop:    {}\nsqlite: {}", bop.version, sqlite.version);
    // Both meet an empty table and a cold device once, uncounted.
    bop.slice(plan.slice_ms)?;
    sqlite.slice(plan.slice_ms)?;
    println!("commits/s    bop  sqlite  ratio");
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for slice in 0..plan.slices {
        let (ours, theirs) = if slice % 2 == 0 {
            let ours = bop.slice(plan.slice_ms)?;
            (ours, sqlite.slice(plan.slice_ms)?)
        } else {
            let theirs = sqlite.slice(plan.slice_ms)?;
            (bop.slice(plan.slice_ms)?, theirs)
        };
        println!(
            "slice {slice:2}  {ours:6.0}  {theirs:6.0}  {:5.2}",
            ours / theirs
        );
        rates[0].push(ours);
        rates[1].push(theirs);
        ratios.push(ours / theirs);
    }
    bop.end()?;
    sqlite.end()?;
    let [ours, theirs] = rates.map(Spread::of);
    let ratio = Spread::of(ratios);
    println!("median    {:6.0}  {:6.0}", ours.median, theirs.median);
    println!(
        "paired ratio: median {:.2}, from {:.2} to {:.2}",
        ratio.median, ratio.min, ratio.max
    );
    Ok(ratio.median)
}

/// One of the two processes.
struct Side {
    name: &'static str,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    version: String,
}

impl Side {
    fn start(name: &'static str, binary: &Path, dir: &Path) -> Result<Self, Failure> {
        let started = Command::new(binary)
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = started.map_err(|source| failed("start", binary.display(), source))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed("start", name, "it has no pipes"));
        };
        let mut side = Self {
            name,
            process,
            input,
            output: BufReader::new(output),
            version: String::new(),
        };
        let said = side.hear()?;
        let version = said.strip_prefix("ready ");
        side.version = version
            .ok_or_else(|| failed("start", name, &said))?
            .to_owned();
        Ok(side)
    }

    /// Commits a second.
    fn slice(&mut self, ms: u32) -> Result<f64, Failure> {
        writeln!(self.input, "slice {ms}").map_err(|source| failed("run", self.name, source))?;
        let said = self.hear()?;
        let numbers = said.split_once(' ').and_then(|(commits, us)| {
            let number = |text: &str| text.parse::<u32>().ok().map(f64::from);
            Some(number(commits)? * 1e6 / number(us)?)
        });
        numbers.ok_or_else(|| failed("run", self.name, format!("it said {said:?}")))
    }

    fn hear(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(failed("run", self.name, "it ended early")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(source) => Err(failed("hear", self.name, source)),
        }
    }

    fn end(self) -> Result<(), Failure> {
        let Self {
            name,
            mut process,
            input,
            ..
        } = self;
        drop(input);
        match process.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed("end", name, status)),
            Err(source) => Err(failed("end", name, source)),
        }
    }
}

/// The smallest, the middle and the largest of some numbers.
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(values.len() / 2),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

pub(crate) fn failed(step: &str, what: impl ToString, why: impl ToString) -> Failure {
    Failure::Bench {
        what: format!("{step} {}", what.to_string()),
        why: why.to_string(),
    }
}
