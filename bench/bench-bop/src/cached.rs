//! A page that is in memory: through the page API, and from a bare `quick_cache`.

use crate::pages::{commit, database};
use bench_work::{Args, CACHE_BYTES, Loop, PAGE_BYTES, Random, Result, Side};
use bop_storage::{Limits, Manager, Options, PageNo};
use quick_cache::sync::Cache;
use std::hint::black_box;
use std::sync::Arc;

/// Pages that are read at random: 64 MiB.
const PAGES: u32 = 16_384;
/// Reads that count as one operation.
const READS: usize = 1000;

/// `ReadTxn::read_page`, and a copy of the page, from a database that is in chunks.
pub(crate) fn pages(args: &Args) -> Result<()> {
    let mut limits = Limits::default();
    limits.cache_bytes_max = CACHE_BYTES;
    let budget = CACHE_BYTES + limits.transaction_memory_bytes_max + limits.buffer_pool_bytes_max;
    let manager = Manager::open(args.dir.join("store"), Options::new().limits(limits))?;
    let database = database(&manager, 0)?;
    for first in (0..PAGES).step_by(1024) {
        commit(&database, first, 1024, &mut Random::new(u64::from(first)))?;
    }
    manager.checkpoint()?;
    let side = Side::new("bop, ReadTxn::read_page and a copy").budget_bytes(budget);
    side.serve(args, |post| {
        let read = database.begin_read()?;
        let mut out = [0; PAGE_BYTES];
        for page in (1..=PAGES).filter_map(PageNo::new) {
            read.read_page(page)?;
        }
        post.serve(Loop::TIMED, |random| {
            for _ in 0..READS {
                let page = PageNo::new(1 + index(random)).ok_or("no such page")?;
                out.copy_from_slice(&read.read_page(page)?);
                black_box(&out);
            }
            Ok(())
        })
    })
}

/// `Cache::get`, and a copy of the page.
pub(crate) fn bare(args: &Args) -> Result<()> {
    let cache: Cache<(u64, u32, u32), Arc<Vec<u8>>> = Cache::new(2 * PAGES as usize);
    let mut random = Random::new(0);
    for page in 0..PAGES {
        let mut content = vec![0; PAGE_BYTES];
        random.fill(&mut content);
        cache.insert((1, 0, page), Arc::new(content));
    }
    Side::new("quick_cache, get and a copy").serve(args, |post| {
        let mut out = [0; PAGE_BYTES];
        post.serve(Loop::TIMED, |random| {
            for _ in 0..READS {
                let page = cache.get(&(1, 0, index(random)));
                out.copy_from_slice(&page.ok_or("a page was thrown out")?);
                black_box(&out);
            }
            Ok(())
        })
    })
}

fn index(random: &mut Random) -> u32 {
    (random.number() % u64::from(PAGES)) as u32
}
