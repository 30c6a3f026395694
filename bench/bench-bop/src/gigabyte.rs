//! A log of 1 GiB: made and left behind by a kill, opened, verified.
//!
//! Every commit writes one page that was never written before, so all of the log is in use: a
//! verification has to read it all, and an open has to index it all.

use crate::pages::{commit, database};
use bench_work::{Args, Loop, Result, Side, forget_pages, share, wait_to_be_killed};
use bop_storage::{Limits, Manager, Options, PageNo};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

/// Bytes of the log.
const LOG_BYTES: u64 = 1 << 30;

/// No checkpoint shortens the log before it is four times as long.
fn options() -> Options {
    let mut limits = Limits::default();
    limits.log_bytes_max = 8 * LOG_BYTES;
    limits.checkpoint_log_bytes_min = 4 * LOG_BYTES;
    limits.log_sealed_segments_max = 1024;
    limits.index_entries_max = 8_000_000;
    Options::new().limits(limits)
}

fn store(args: &Args) -> PathBuf {
    args.dir.join("store")
}

/// Writes until the log is so long, and waits to be killed.
pub(crate) fn fill(args: &Args) -> Result<()> {
    let manager = Manager::open(store(args), options())?;
    let begin = manager.status().published.get();
    let written = || manager.status().published.get() - begin;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads)
            .map(|thread| {
                let (manager, written) = (&manager, &written);
                scope.spawn(move || -> Result<()> {
                    let databases = share(thread, args.threads, args.databases)
                        .map(|number| database(manager, number))
                        .collect::<Result<Vec<_>>>()?;
                    let mut random = bench_work::Random::new(thread as u64);
                    for page in 0.. {
                        for database in &databases {
                            commit(database, page, 1, &mut random)?;
                        }
                        // Asking costs more than a commit.
                        if page % 64 == 0 && written() >= LOG_BYTES {
                            break;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    wait_to_be_killed(&format!("bop, a log of {} bytes", written()))
}

/// Opens what a kill left, and reads a page.
pub(crate) fn open(args: &Args) -> Result<()> {
    let (path, opened) = (store(args), Mutex::new(Vec::new()));
    forget_pages(&path)?;
    let side = Side::new("bop, first page of a database read after the open");
    side.serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let manager = opened_with_a_page_read(&path)?;
            let mut opened = opened.lock().map_err(|_| "a thread panicked")?;
            opened.push(manager);
            Ok(())
        })
    })
}

fn opened_with_a_page_read(path: &Path) -> Result<Manager> {
    let manager = Manager::open(path, options().create(false))?;
    let first = PageNo::new(1).ok_or("no first page")?;
    manager.database("db-0")?.begin_read()?.read_page(first)?;
    Ok(manager)
}

/// Verifies the store that a kill left.
pub(crate) fn verify(args: &Args) -> Result<()> {
    let manager = Manager::open(store(args), options().create(false))?;
    let side = Side::new("bop, Manager::verify");
    side.serve(&args.alone(), |post| {
        post.serve(Loop::ONCE, |_| {
            let report = manager.verify();
            match report.findings.first() {
                None => Ok(()),
                Some(damage) => Err(format!("it found {damage}").into()),
            }
        })
    })
}
