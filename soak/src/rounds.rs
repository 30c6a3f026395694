//! The rounds: a store is opened, worked on, verified and closed, again and again, and watched.
//!
//! Invariant: when a store is closed the process has the threads and the open files that it had
//! before the first opening.

use crate::Result;
use crate::growth::{Series, Slack};
use crate::load::{self, Load};
use crate::stop::{Stop, StopsAtEnd};
use crate::usage::{Held, dir_bytes, rss_bytes};
use bop_libsql::Store;
use bop_storage::{Limits, Options};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A shorter run has too few measurements in a quarter.
pub(crate) const SECONDS_MIN: u64 = 10;

/// What is measured is measured so often at least in a run.
const SAMPLES: u32 = 240;
const SAMPLE_MAX: Duration = Duration::from_secs(5);

/// A run of a few minutes has so many lines, a longer one a line a minute.
const LINES: u32 = 12;
const LINE_MAX: Duration = Duration::from_secs(60);

/// A run has so many openings, and one every five minutes at least.
const ROUNDS: u32 = 6;
const ROUND_MAX: Duration = Duration::from_secs(300);

const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// How long the kernel may take to count a thread that has ended, or a file that was closed, out.
const COUNTED_OUT: Duration = Duration::from_secs(10);

/// What the store's files take when all bounds are met: the log and the segment that it goes over its cap
/// by, the reserve of a checkpoint of it, and of each database the sections that are not worth to be
/// merged yet, which were 160 to 240 MiB in runs of 150,000 commits.
const FILES_FULL_BYTES: u64 = 400 * MIB;

/// What the process has resident when all bounds are met: the caches, the buffers, a transaction of
/// each load, a full log's index and a checkpoint of it, LMDB's map. It was 70 to 90 MiB in runs of
/// 350,000 commits. A machine that has not made [`FULL_COMMITS`] in half of a run sees a leak only when it
/// is larger than what still fills.
const RSS_FULL_BYTES: u64 = 96 * MIB;

/// After so many commits memory is full: what it grows by then is a leak, whatever its level. It comes in steps
/// of some MiB; the last one seen was at 158,000 commits of 370,000.
const FULL_COMMITS: u64 = 160_000;

/// Everything small, so that every bound is met within seconds.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.cache_bytes_max = 8 * MIB;
    limits.segment_bytes_max = 4 * MIB;
    limits.log_bytes_max = 64 * MIB;
    limits.checkpoint_log_bytes_min = 8 * MIB;
    limits.fragment_bytes_max = MIB / 4;
    limits.transaction_memory_bytes_max = MIB;
    limits.record_cache_bytes_max = MIB;
    limits.dropped_databases_max = 50;
    limits.dropped_bytes_max = MIB;
    limits.buffer_pool_bytes_max = 8 * MIB;
    limits
}

/// What is watched.
struct Watch<'a> {
    dir: &'a Path,
    began: Instant,
    line_at: Instant,
    /// Until half of the run is over.
    half_at: Option<Instant>,
    every: Duration,
    line_every: Duration,
    rss: Series,
    threads: Series,
    workers: Series,
    descriptors: Series,
    queue: Series,
    disk: Series,
}

/// Runs for `length`.
pub(crate) fn soak(length: Duration, dir: &Path) -> Result<()> {
    let mut loads = load::all();
    // Each thread has a few records under way at most.
    let queued = 4 * loads.len() as u64;
    let began = Instant::now();
    let line_every = (length / LINES).min(LINE_MAX);
    let slack = |percent, fixed| Slack {
        percent,
        fixed,
        full: 0,
    };
    let filling = |full, slack| Slack { full, ..slack };
    let rss = filling(RSS_FULL_BYTES, slack(5, 4 * MIB));
    let files = filling(FILES_FULL_BYTES, slack(20, 64 * MIB));
    let mut watch = Watch {
        dir,
        began,
        line_at: began + line_every,
        half_at: Some(began + length / 2),
        every: (length / SAMPLES).min(SAMPLE_MAX),
        line_every,
        rss: Series::new("resident bytes", rss),
        // Those for errands come when so many are first wanted at once: four at most, for good.
        threads: Series::new("threads", slack(0, 4)),
        workers: Series::new("workers of the kernel", slack(0, 16)),
        // Chunks are opened as they are read, up to a bound that is met only in a long run.
        descriptors: Series::new("descriptors", slack(0, 64)),
        queue: Series::new("queued records", slack(0, queued)),
        disk: Series::new("bytes of the store's files", files),
    };
    println!("  second   rss MiB  threads  workers  descriptors  queued  files MiB  commits");
    let before = Held::read()?;
    let commits = AtomicU64::new(0);
    let round = (length / ROUNDS).min(ROUND_MAX);
    let end = began + length;
    while Instant::now() < end {
        let until = (Instant::now() + round).min(end);
        // A short rest belongs to this round.
        let until = if end - until < round / 2 { end } else { until };
        work(&mut loads, &mut watch, &commits, until)?;
        come_back(before)?;
    }
    for series in [
        &watch.rss,
        &watch.threads,
        &watch.workers,
        &watch.descriptors,
        &watch.queue,
        &watch.disk,
    ] {
        println!("{}", series.judge()?);
    }
    println!("{} commits, nothing grows", commits.into_inner());
    Ok(())
}

/// One opening of the store.
fn work(
    loads: &mut [Box<dyn Load>],
    watch: &mut Watch<'_>,
    commits: &AtomicU64,
    until: Instant,
) -> Result<()> {
    let store = Store::open(watch.dir, Options::new().limits(limits()))?;
    let stop = Stop::default();
    let (store_ref, stop_ref) = (&store, &stop);
    thread::scope(|scope| {
        let threads: Vec<_> = loads
            .iter_mut()
            .map(|load| {
                scope.spawn(move || {
                    let _ends = StopsAtEnd(stop_ref);
                    let ended = load.run(store_ref, stop_ref, commits);
                    // The first error ends the round; without one the round has ended.
                    stop_ref.set();
                    ended.map_err(|error| format!("{}: {error}", load.name()))
                })
            })
            .collect();
        let watched = watch.until(&store, &stop, commits, until);
        stop.set();
        for thread in threads {
            thread.join().map_err(|_| "a load panicked")??;
        }
        watched
    })?;
    let manager = store.manager().clone();
    let report = manager.verify();
    if !report.is_healthy() {
        return Err(format!("the store is damaged: {:?}", report.findings).into());
    }
    drop(store);
    manager.close(CLOSE_DEADLINE)?;
    Ok(())
}

/// The process has what it had before the first opening.
fn come_back(before: Held) -> Result<()> {
    let deadline = Instant::now() + COUNTED_OUT;
    loop {
        let now = Held::read()?;
        if now == before {
            return Ok(());
        }
        if deadline < Instant::now() {
            return Err(
                format!("a closed store leaves {now:?}, before it there was {before:?}").into(),
            );
        }
        thread::yield_now();
    }
}

impl Watch<'_> {
    /// Measures until the end of a round.
    fn until(
        &mut self,
        store: &Store,
        stop: &Stop,
        commits: &AtomicU64,
        until: Instant,
    ) -> Result<()> {
        while !stop.is_set() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            stop.wait(self.every.min(left));
            if !stop.is_set() {
                self.measure(store, commits)?;
            }
        }
        Ok(())
    }

    fn measure(&mut self, store: &Store, commits: &AtomicU64) -> Result<()> {
        let (rss, held) = (rss_bytes()?, Held::read()?);
        let queued = store.manager().status().queued_records as u64;
        let disk = dir_bytes(self.dir)?;
        self.rss.push(rss);
        self.threads.push(held.threads);
        self.workers.push(held.workers);
        self.descriptors.push(held.descriptors);
        self.queue.push(queued);
        self.disk.push(disk);
        let is_half = self.half_at.take_if(|at| *at <= Instant::now()).is_some();
        if is_half && FULL_COMMITS <= commits.load(Ordering::Relaxed) {
            self.rss.is_full();
        }
        if self.line_at <= Instant::now() {
            self.line_at += self.line_every;
            println!(
                "{:8} {:9.1} {:8} {:8} {:12} {:7} {:10.1} {:8}",
                self.began.elapsed().as_secs(),
                rss as f64 / MIB as f64,
                held.threads,
                held.workers,
                held.descriptors,
                queued,
                disk as f64 / MIB as f64,
                commits.load(Ordering::Relaxed),
            );
        }
        Ok(())
    }
}
