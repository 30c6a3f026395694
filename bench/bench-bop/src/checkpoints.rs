//! Checkpoints: of one large database, of many small ones, beside commits.

use crate::pages::{commit, database};
use crate::selects::budget_bytes;
use crate::table;
use bench_work::{
    Args, CACHE_BYTES, DIRTY_BYTES, DIRTY_PAGES, Loop, PAGE_BYTES, Random, Result, Side,
};
use bop_libsql::{Options, Store};
use bop_storage::{Housekeeping, Limits, Manager};
use std::sync::atomic::{AtomicBool, Ordering};

/// Pages that a checkpoint beside commits has to move: 256 MiB.
const BESIDE_PAGES: u32 = 65_536;
/// Pages of each commit that makes them.
const COMMIT_PAGES: u32 = 1024;

/// A log that nothing shortens but the checkpoint that is measured.
fn options() -> Options {
    let mut limits = Limits::default();
    limits.cache_bytes_max = CACHE_BYTES;
    limits.log_bytes_max = 8 * DIRTY_BYTES;
    limits.checkpoint_log_bytes_min = 4 * DIRTY_BYTES;
    limits.log_sealed_segments_max = 1024;
    limits.index_entries_max = 8_000_000;
    Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
}

fn side(what: &str) -> Side<'static> {
    Side::new(format!("bop, {what}")).budget_bytes(budget_bytes())
}

/// One database, all of it dirty.
pub(crate) fn large(args: &Args) -> Result<()> {
    let store = Store::open(args.dir.join("store"), options())?;
    let pages = DIRTY_BYTES / PAGE_BYTES as u64;
    side("checkpoint of 1 GiB").serve(args, |post| {
        let connection = store.connect("large")?;
        post.serve_told(|random| {
            table::dirty(&connection, pages, random)?;
            let took = table::timed(|| checkpoint(store.manager()))?;
            store.manager().keep_house();
            Ok(took)
        })
    })
}

/// Many databases, each with a few dirty pages.
pub(crate) fn many(args: &Args) -> Result<()> {
    let store = Store::open(args.dir.join("store"), options())?;
    side("one checkpoint of all").serve(args, |post| {
        post.serve_told(|random| {
            for number in 0..args.databases {
                let connection = store.connect(&format!("db-{number}"))?;
                table::dirty(&connection, DIRTY_PAGES, random)?;
            }
            let took = table::timed(|| checkpoint(store.manager()))?;
            store.manager().keep_house();
            Ok(took)
        })
    })
}

fn checkpoint(manager: &Manager) -> Result<()> {
    manager.checkpoint()?;
    Ok(())
}

/// Commits of a page each, counted while a checkpoint of another database goes on, or without one.
/// Between slices that database becomes dirty, in both cases.
pub(crate) fn commits(args: &Args, beside: bool) -> Result<()> {
    let manager = Manager::open(args.dir.join("store"), options())?;
    let large = database(&manager, args.threads)?;
    let rest = || {
        checkpoint(&manager)?;
        manager.keep_house();
        let mut random = Random::new(0);
        for first in (0..BESIDE_PAGES).step_by(COMMIT_PAGES as usize) {
            commit(&large, first, COMMIT_PAGES, &mut random)?;
        }
        Ok(())
    };
    rest()?;
    let side = side(match beside {
        true => "page API, during a checkpoint of 256 MiB",
        false => "page API, without a checkpoint",
    });
    let side = side.rest(rest);
    let writers = args.threads;
    let crew = Args {
        threads: writers + usize::from(beside),
        ..args.clone()
    };
    let over = AtomicBool::new(false);
    side.serve(&crew, |post| {
        if post.thread() == writers {
            let once = Loop {
                counted: false,
                at_most: 1,
            };
            return post.serve(once, |_| {
                over.store(false, Ordering::SeqCst);
                checkpoint(&manager)?;
                over.store(true, Ordering::SeqCst);
                Ok(())
            });
        }
        let database = database(&manager, post.thread())?;
        let mut turn = 0;
        let goes_on = || !over.load(Ordering::SeqCst);
        post.serve_while(Loop::TIMED, goes_on, |random| {
            commit(&database, turn % 256, 1, random)?;
            turn += 1;
            Ok(())
        })
    })
}
