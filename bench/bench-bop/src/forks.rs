//! Forks: what one costs, whatever the size of its source; and copying a file of that size.

use crate::pages::{commit, database};
use crate::selects::budget_bytes;
use crate::table;
use bench_work::{Args, CACHE_BYTES, PAGE_BYTES, Random, Result, Side};
use bop_libsql::Options;
use bop_storage::{At, Limits, Manager};
use std::fs::{self, File};
use std::io::{BufWriter, Write};

/// Forks that a slice makes; it tells the mean.
const FORKS: u32 = 50;
/// Pages of each commit that makes the source.
const COMMIT_PAGES: u32 = 4096;

/// A source of forks.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    what: &'static str,
    bytes: u64,
    /// `None`: as a store has it by itself.
    range_bytes: Option<u64>,
}

/// Of 20 MiB, one range.
pub(crate) const SMALL: Source = Source {
    what: "of 20 MiB",
    bytes: 20 << 20,
    range_bytes: None,
};
/// Of 2 GiB.
pub(crate) const LARGE: Source = Source {
    what: "of 2 GiB",
    bytes: 2 << 30,
    range_bytes: None,
};
/// Of 1 GiB in 16,384 ranges.
pub(crate) const RANGES: Source = Source {
    what: "of 16,384 ranges",
    bytes: 1 << 30,
    range_bytes: Some(64 << 10),
};

/// Forks of a database that is in chunks. They are dropped between the slices.
pub(crate) fn forks(args: &Args, source: Source) -> Result<()> {
    let mut limits = Limits::default();
    limits.cache_bytes_max = CACHE_BYTES;
    if let Some(bytes) = source.range_bytes {
        limits.range_bytes = bytes;
    }
    let manager = Manager::open(args.dir.join("store"), Options::new().limits(limits))?;
    let large = database(&manager, 0)?;
    let mut random = Random::new(0);
    let pages = u32::try_from(source.bytes / PAGE_BYTES as u64)?;
    for first in (0..pages).step_by(COMMIT_PAGES as usize) {
        commit(&large, first, COMMIT_PAGES.min(pages - first), &mut random)?;
    }
    manager.checkpoint()?;
    let side = Side::new(format!("bop, forks {}", source.what)).budget_bytes(budget_bytes());
    side.serve(args, |post| {
        post.serve_told(|_| {
            let took = table::timed(|| {
                for number in 0..FORKS {
                    manager.fork_database(&large.name(), &format!("fork-{number}"), &At::Now)?;
                }
                Ok(())
            })?;
            for number in 0..FORKS {
                manager.drop_database_now(&format!("fork-{number}"))?;
            }
            Ok(took / FORKS)
        })
    })
}

/// Copies of a file of 2 GiB, each durable when it counts.
pub(crate) fn copies(args: &Args) -> Result<()> {
    let (from, to) = (args.dir.join("source"), args.dir.join("copy"));
    let mut random = Random::new(0);
    let mut file = BufWriter::new(File::create(&from)?);
    let mut block = [0; PAGE_BYTES];
    for _ in 0..LARGE.bytes / PAGE_BYTES as u64 {
        random.fill(&mut block);
        file.write_all(&block)?;
    }
    file.into_inner()?.sync_all()?;
    Side::new("a copy of 2 GiB with fsync").serve(args, |post| {
        post.serve_told(|_| {
            let took = table::timed(|| {
                fs::copy(&from, &to)?;
                File::open(&to)?.sync_all()?;
                Ok(())
            })?;
            fs::remove_file(&to)?;
            Ok(took)
        })
    })
}
