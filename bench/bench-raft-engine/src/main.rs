//! The benchmarks' work through raft-engine: synced writes of one entry, a region a thread.

use bench_work::{
    Args, Loop, PAGE_BYTES, Random, Result, Side, forget_pages, share, wait_to_be_killed,
};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes of an entry of the work `rec`.
const ENTRY_BYTES: usize = 128;
/// Entries that a region keeps.
const KEPT: u64 = 256;
/// Bytes of the log of the works `fill` and `open`.
const LOG_BYTES: u64 = 1 << 30;

fn main() -> Result<()> {
    let args = Args::parse()?;
    match args.work.as_str() {
        "page" => appends(&args, PAGE_BYTES),
        "rec" => appends(&args, ENTRY_BYTES),
        "fill" => fill(&args),
        "open" => open(&args),
        _ => args.unknown(),
    }
}

/// An entry of a log. It has to be a protobuf message with a number and bytes in it, as Raft's own
/// entries are; of those that come with protobuf, this is one.
struct Entry;

impl MessageExt for Entry {
    type Entry = UninterpretedOption;

    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

/// One region of the engine, written by one thread.
struct Region {
    id: u64,
    next: u64,
    batch: LogBatch,
}

impl Region {
    fn new(engine: &Engine, number: usize) -> Self {
        let id = number as u64 + 1;
        let next = engine.last_index(id).map_or(1, |last| last + 1);
        let batch = LogBatch::with_capacity(4);
        Self { id, next, batch }
    }

    /// Appends one entry of so many random bytes; the bytes that went to the log for it.
    fn append(
        &mut self,
        engine: &Engine,
        bytes: usize,
        sync: bool,
        random: &mut Random,
    ) -> Result<u64> {
        let mut content = vec![0; bytes];
        random.fill(&mut content);
        let mut entry = UninterpretedOption::new();
        entry.set_positive_int_value(self.next);
        entry.set_string_value(content);
        self.batch.add_entries::<Entry>(self.id, &[entry])?;
        let written = engine.write(&mut self.batch, sync)?;
        self.next += 1;
        Ok(written as u64)
    }

    /// Gives up all but the newest entries, now and then.
    fn compact(&self, engine: &Engine) {
        if self.next.is_multiple_of(KEPT) && self.next > KEPT {
            engine.compact_to(self.id, self.next - KEPT);
        }
    }
}

/// As its users run it: files are recycled, and made before they are needed; random bytes are not
/// tried to be compressed.
fn config(dir: &Path, purge_threshold: ReadableSize) -> Config {
    Config {
        dir: dir.display().to_string(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize::mb(64),
        purge_threshold,
        enable_log_recycle: true,
        prefill_for_recycle: true,
        prefill_limit: Some(ReadableSize::mb(512)),
        ..Config::default()
    }
}

/// One thread a share of the regions; each write is one entry, synced.
fn appends(args: &Args, bytes: usize) -> Result<()> {
    let engine = Arc::new(Engine::open(config(&args.dir, ReadableSize::mb(256)))?);
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let purged = Arc::clone(&engine);
        // The engine's owner is to call this from time to time.
        let purge = scope.spawn(move || -> Result<()> {
            let tick = Duration::from_millis(200);
            while stopped.recv_timeout(tick) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                purged.purge_expired_files()?;
            }
            Ok(())
        });
        let side =
            Side::new("raft-engine 0.4.2, sync writes, 64 MiB files, prefilled and recycled");
        let side = side.log_bytes(|| Ok(written.load(Ordering::Relaxed)));
        let served = side.serve(args, |post| {
            let mut regions: Vec<Region> = share(post.thread(), args.threads, args.databases)
                .map(|number| Region::new(&engine, number))
                .collect();
            let mut turn = 0;
            post.serve(Loop::TIMED, |random| {
                let region = &mut regions[turn];
                let appended = region.append(&engine, bytes, true, random)?;
                region.compact(&engine);
                written.fetch_add(appended, Ordering::Relaxed);
                turn = (turn + 1) % regions.len();
                Ok(())
            })
        });
        drop(stop);
        purge.join().map_err(|_| "the purging thread panicked")??;
        served
    })
}

/// Writes entries of a page until the log is so long, and waits to be killed.
fn fill(args: &Args) -> Result<()> {
    let engine = Engine::open(config(&args.dir, ReadableSize::gb(16)))?;
    let mut regions: Vec<Region> = (0..args.databases)
        .map(|number| Region::new(&engine, number))
        .collect();
    let (mut random, mut written) = (Random::new(0), 0);
    while written < LOG_BYTES {
        for region in &mut regions {
            written += region.append(&engine, PAGE_BYTES, false, &mut random)?;
        }
    }
    engine.sync()?;
    wait_to_be_killed(&format!("raft-engine, a log of {written} bytes"))
}

/// Opens what a kill left, and reads an entry.
fn open(args: &Args) -> Result<()> {
    forget_pages(&args.dir)?;
    let opened = Mutex::new(Vec::new());
    let side = Side::new("raft-engine 0.4.2, first entry of a region read after the open");
    side.serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let mut config = config(&args.dir, ReadableSize::gb(16));
            // Making files for later is no part of an open.
            config.prefill_for_recycle = false;
            let engine = Engine::open(config)?;
            match engine.get_entry::<Entry>(1, 1)? {
                Some(entry) if entry.get_string_value().len() == PAGE_BYTES => {}
                _ => return Err("the first entry is not there".into()),
            }
            let mut opened = opened.lock().map_err(|_| "a thread panicked")?;
            opened.push(engine);
            Ok(())
        })
    })
}
