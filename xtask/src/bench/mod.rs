//! `cargo xtask bench`: bop and its peers, doing the same work in turns.
//!
//! ```text
//!   sets (log_works, sql_works, page_works, ceilings: tables of works, and what is wanted of each)
//!     -> pairs | gigabyte | shared   (who runs what, when)
//!          '-> side                  (one process and its protocol)
//!     -> report                      (a table, or a line of JSON each)
//! ```
//!
//! All programs are built in release and get directories on the same file system. The sides take
//! turns slice by slice, the one that goes first changing each time: what the machine and the disk
//! do meanwhile meets both. A ratio is of two neighbouring slices.
//!
//! Never: judges, unless it was told by what; it prints what it saw in any case.

mod allocators;
mod ceilings;
mod descriptors;
mod gigabyte;
mod log_works;
mod page_works;
mod pairs;
mod report;
mod sets;
mod shared;
mod side;
mod sql_works;
mod works;

use crate::tasks::{Failure, cargo};
use report::Row;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use works::{Kind, Program, Work};

pub(crate) use report::Spread;
pub(crate) use sets::Set;

/// What is measured, and how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// Four slices of each side
    #[arg(long)]
    pub(crate) quick: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// This work alone
    #[arg(long, value_name = "ID")]
    pub(crate) only: Option<String>,
    /// Fail when the median ratio of a work is below this
    #[arg(long, value_name = "RATIO")]
    pub(crate) at_least: Option<f64>,
    /// Where the data is put; the build directory by default
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

impl Plan {
    /// Slices of each side.
    fn slices(&self) -> usize {
        if self.quick { 4 } else { 10 }
    }
}

/// Where things are.
pub(crate) struct Place {
    /// The programs.
    binaries: PathBuf,
    /// The data; a directory of its own, gone afterwards.
    data: PathBuf,
}

/// Runs the works of a set.
pub(crate) fn run(root: &Path, set: Set, plan: &Plan) -> Result<(), Failure> {
    let chosen: Vec<&Work> = set
        .works()
        .filter(|work| plan.only.as_deref().is_none_or(|only| only == work.want.id))
        .collect();
    if chosen.is_empty() {
        let ids: Vec<&str> = set.works().map(|work| work.want.id).collect();
        return Err(failed(
            "find",
            "the work",
            format!("there are {}", ids.join(", ")),
        ));
    }
    let mut unmeasured = Vec::new();
    measured(root, plan, |place| {
        let mut rows = Vec::new();
        for work in chosen {
            // One that a machine cannot do, for want of descriptors or room, keeps no other back.
            match row(work, root, place, plan) {
                Ok(None) => {}
                Ok(Some(row)) => {
                    eprintln!("{}", row.summary());
                    if plan.json {
                        println!("{}", row.json());
                    }
                    rows.push(row);
                }
                Err(failure) => {
                    eprintln!("{}: not measured: {failure}", work.want.id);
                    unmeasured.push((work.want.id, failure));
                }
            }
        }
        Ok(rows)
    })?;
    match unmeasured.into_iter().next() {
        Some((id, failure)) => Err(failed("measure", id, failure)),
        None => Ok(()),
    }
}

/// Compares allocators, see [`mod@allocators`].
pub(crate) fn allocators(root: &Path, plan: &Plan) -> Result<(), Failure> {
    allocators::build(root)?;
    measured(root, plan, |place| allocators::rows(place, plan))
}

/// Compares policies of page caches: their program prints the table.
pub(crate) fn caches(root: &Path) -> Result<(), Failure> {
    let target = root.join("target");
    build(root, &target, &["--package", "bench-cache"])?;
    let program = target.join("release/bench-cache");
    let ended = Command::new(&program).status();
    let status = ended.map_err(|source| failed("start", program.display(), source))?;
    match status.success() {
        true => Ok(()),
        false => Err(failed("run", program.display(), status)),
    }
}

fn measured(
    root: &Path,
    plan: &Plan,
    rows: impl FnOnce(&Place) -> Result<Vec<Row>, Failure>,
) -> Result<(), Failure> {
    let target = root.join("target");
    build(root, &target, &[])?;
    let parent = plan.dir.clone().unwrap_or_else(|| target.clone());
    let rows = with_dir(&parent, |data| {
        let place = Place {
            binaries: target.join("release"),
            data: data.to_path_buf(),
        };
        eprintln!("{}", device(&place)?);
        rows(&place)
    })?;
    if !plan.json {
        println!("{}", report::table(&rows));
    }
    let least = plan.at_least.unwrap_or(f64::NEG_INFINITY);
    match rows.iter().find(|row| row.ratio.median < least) {
        Some(row) => Err(Failure::Bench {
            what: row.work.to_owned(),
            why: format!("the median ratio is {:.2}, below {least}", row.ratio.median),
        }),
        None => Ok(()),
    }
}

/// Builds the benchmarks into `target`.
fn build(root: &Path, target: &Path, more: &[&str]) -> Result<(), Failure> {
    let target = target.display().to_string();
    let mut build = vec!["build", "--quiet", "--release", "--target-dir", &target];
    build.extend(more);
    cargo(&root.join("bench"), "build the benchmarks", &build, &[])
}

/// Measures one work; `None`, loudly, for one that needs data which is not there.
fn row(work: &Work, root: &Path, place: &Place, plan: &Plan) -> Result<Option<Row>, Failure> {
    let dir = place.data.join(work.want.id);
    let row = match &work.kind {
        Kind::Shared(pair) => match shared::script(root) {
            Ok(script) => {
                shared::alternate(&work.want, pair, place, (&script, &dir), plan.slices())
            }
            Err(missing) => {
                eprintln!("{}: SKIPPED: there is no {missing}", work.want.id);
                return Ok(None);
            }
        },
        Kind::Pairs(pair) => pairs::alternate(&work.want, pair, place, &dir, plan.slices()),
        Kind::Opened(pair) => {
            let pair = descriptors::fitting(work.want.id, pair)?;
            pairs::alternate(&work.want, &pair, place, &dir, plan.slices())
        }
        Kind::BestThreads(pair) => pairs::at_best(&work.want, pair, place, &dir, plan.slices()),
        Kind::Open(pair, fill) => {
            gigabyte::opens(&work.want, (pair, fill), place, &dir, plan.slices())
        }
        Kind::Verify(pair) => gigabyte::verifies(&work.want, pair, place, &dir, plan.slices()),
    };
    let removed = fs::remove_dir_all(&dir);
    let row = row?;
    removed.map_err(|source| failed("remove", dir.display(), source))?;
    Ok(Some(row))
}

/// What the bare device does: the scale of everything else.
fn device(place: &Place) -> Result<String, Failure> {
    let dir = place.data.join("device");
    let mut raw = side::Side::start(place, &Program::raw("sync"), &dir)?;
    let slice = raw.slice(1000)?;
    raw.end()?;
    fs::remove_dir_all(&dir).map_err(|source| failed("remove", dir.display(), source))?;
    Ok(format!(
        "device: {:.0} durable 4 KiB writes a second in one stream, p50 {:.0} us, p99 {:.0} us",
        slice.rate(),
        slice.p50_us,
        slice.p99_us
    ))
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

pub(crate) fn failed(step: &str, what: impl ToString, why: impl ToString) -> Failure {
    Failure::Bench {
        what: format!("{step} {}", what.to_string()),
        why: why.to_string(),
    }
}
