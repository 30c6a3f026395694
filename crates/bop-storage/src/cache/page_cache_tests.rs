//! The cache under many threads, failing loads and little room.

use super::*;
use crate::error::{Damage, Place, Reject};
use crate::runtime::SystemSpawn;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;

fn key(raw: u32) -> PageKey {
    PageKey::Chunk {
        chunk: ChunkId::new(1),
        section: 0,
        page: PageNo::new(raw).unwrap(),
    }
}

fn filled(byte: u8) -> PageBytes {
    PageBytes::copy_of(&[byte; 4096])
}

fn failure() -> ReadError {
    Damage::new(
        Place::Chunk {
            chunk: ChunkId::new(1),
            offset: 0,
        },
        Reject::Checksum,
    )
    .into()
}

#[test]
fn a_page_is_loaded_once_and_then_comes_from_memory() {
    let cache = PageCache::new(1 << 20);
    assert_eq!(cache.get(key(1)), None);
    for _ in 0..3 {
        let page = cache.get_or_load(key(1), || Ok(filled(7))).unwrap();
        assert_eq!(page, filled(7));
    }
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (2, 2, 1));
    assert_eq!((stats.pages, stats.bytes), (1, 4096 + 256));
}

#[test]
fn versions_of_one_page_are_different_keys() {
    let cache = PageCache::new(1 << 20);
    let log = |version| PageKey::Log {
        database: DbId::new(1),
        version: Lsn::new(version),
        page: PageNo::FIRST,
    };
    cache.insert(log(1), filled(1));
    cache.insert(log(2), filled(2));
    assert_eq!(cache.get(log(1)), Some(filled(1)));
    assert_eq!(cache.get(log(2)), Some(filled(2)));
}

/// The loader holds its load open until all others have come to the cache, as far as that can be
/// seen from outside: none of them may get through to a load of its own.
#[test]
fn callers_of_one_page_share_one_load() {
    const CALLERS: usize = 8;
    let cache = PageCache::new(1 << 20);
    let loads = AtomicUsize::new(0);
    let arrived = AtomicUsize::new(0);
    let together = Barrier::new(CALLERS);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                together.wait();
                arrived.fetch_add(1, Ordering::SeqCst);
                let page = cache.get_or_load(key(1), || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    while arrived.load(Ordering::SeqCst) < CALLERS {
                        thread::yield_now();
                    }
                    Ok(filled(9))
                });
                assert_eq!(page.unwrap(), filled(9));
            });
        }
    });
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    assert_eq!(cache.stats().hits, CALLERS as u64 - 1);
}

#[test]
fn a_failed_load_answers_every_caller_and_is_forgotten() {
    const CALLERS: usize = 6;
    let cache = PageCache::new(1 << 20);
    let together = Barrier::new(CALLERS);
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                together.wait();
                if cache.get_or_load(key(1), || Err(failure())).is_err() {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(failed.load(Ordering::SeqCst), CALLERS);
    assert_eq!(cache.stats().pages, 0);
    assert_eq!(
        cache.get_or_load(key(1), || Ok(filled(1))).unwrap(),
        filled(1)
    );
}

#[test]
fn a_load_that_panics_lets_the_next_caller_load() {
    let cache = PageCache::new(1 << 20);
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| cache.get_or_load(key(1), || panic!("load of a test")))
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!(
        cache.get_or_load(key(1), || Ok(filled(2))).unwrap(),
        filled(2)
    );
}

#[test]
fn the_cache_never_holds_more_bytes_than_it_may() {
    for bytes_max in [0, 4096, 64 << 10, 1 << 20] {
        let cache = PageCache::new(bytes_max);
        for raw in 1..2000 {
            let page = cache.get_or_load(key(raw), || Ok(filled(1))).unwrap();
            assert_eq!(page.len(), 4096);
            assert!(cache.stats().bytes <= bytes_max, "of {bytes_max}");
        }
        let stats = cache.stats();
        assert_eq!(stats.pages + stats.evictions, 1999, "of {bytes_max}");
        if 64 << 10 <= bytes_max {
            assert!(bytes_max / 2 < stats.bytes, "room is used");
        }
    }
}

/// Whoever copies a page for a checkpoint does not want it kept for that.
#[test]
fn a_peek_is_no_use_of_a_page() {
    let hits_of_old_pages = |look: &dyn Fn(&PageCache, PageKey)| {
        let cache = PageCache::new(256 << 10);
        (1..=64).for_each(|raw| cache.insert(key(raw), filled(1)));
        (1..=64).for_each(|raw| look(&cache, key(raw)));
        for raw in (1000..1064).cycle().take(10 * 64) {
            cache.get_or_load(key(raw), || Ok(filled(2))).unwrap();
        }
        (1..=64)
            .filter(|raw| cache.peek(key(*raw)).is_some())
            .count()
    };
    let peeked = hits_of_old_pages(&|cache, key| drop(cache.peek(key)));
    let untouched = hits_of_old_pages(&|_, _| {});
    assert_eq!(peeked, untouched);
}

/// A set that is read in turns and fits takes the place of one that is not read any more, also when that
/// was read much before.
#[test]
fn what_is_read_in_turns_and_fits_comes_to_be_cached() {
    let cache = PageCache::new(1 << 20);
    for raw in (1..=256).cycle().take(10 * 256) {
        cache.get_or_load(key(raw), || Ok(filled(1))).unwrap();
    }
    let turn = || {
        let before = cache.stats().hits;
        for raw in 1000..1200 {
            cache.get_or_load(key(raw), || Ok(filled(2))).unwrap();
        }
        cache.stats().hits - before
    };
    let turns: Vec<u64> = (0..8).map(|_| turn()).collect();
    assert!(turns[7] >= 190, "hits of 200 by turn: {turns:?}");
}

/// A page that is asked for at random in a set that fits half of the cache, beside a scan of ten times
/// the cache.
#[test]
fn a_scan_leaves_a_hot_set_its_hits() {
    const CACHE_PAGES: u32 = 1024;
    const HOT: u32 = CACHE_PAGES / 2;
    let cache = PageCache::new(u64::from(CACHE_PAGES) * 4096);
    let mut random = 1_u64;
    let mut hot_hit = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let raw = 1 + (random >> 33) as u32 % HOT;
        let before = cache.stats().hits;
        cache.get_or_load(key(raw), || Ok(filled(1))).unwrap();
        cache.stats().hits - before
    };
    let reads = 10 * CACHE_PAGES;
    let _warm: u64 = (0..reads).map(|_| hot_hit()).sum();
    let before: u64 = (0..reads).map(|_| hot_hit()).sum();
    let beside: u64 = (0..reads)
        .map(|step| {
            let place = ChunkPlace {
                chunk: ChunkId::new(2),
                section: 0,
                page: PageNo::new(1 + step).unwrap(),
            };
            let load = |_, bytes: usize| {
                let pages = (bytes / 4096).max(1);
                Ok(std::iter::repeat_n(filled(2), pages).collect())
            };
            cache.get_or_load_run(place, load).unwrap();
            hot_hit()
        })
        .sum();
    let share = beside as f64 / before as f64;
    assert!(
        share > 0.9,
        "{beside} hits beside the scan, {before} before"
    );
    let stats = cache.stats();
    assert!(stats.loads < stats.misses / 10, "read ahead: {stats:?}");
}

/// A page of a section of 2,000, as scans ask for it.
fn read_run<L>(cache: &PageCache, raw: u32, load: L) -> Result<PageBytes, ReadError>
where
    L: Fn(PageNo, usize) -> Result<VecDeque<PageBytes>, ReadError> + Send + Clone + 'static,
{
    cache.get_or_load_run(place_of(PageNo::new(raw).unwrap()), load)
}

fn place_of(page: PageNo) -> ChunkPlace {
    ChunkPlace {
        chunk: ChunkId::new(1),
        section: 0,
        page,
    }
}

fn load(first: PageNo, bytes: usize) -> Result<VecDeque<PageBytes>, ReadError> {
    let pages = (first.get()..=2000).take((bytes / 4096).max(1));
    Ok(pages.map(|raw| filled(raw as u8)).collect())
}

/// A cache whose scans have one thread beside them.
fn fetching() -> PageCache {
    PageCache::new(16 << 20).fetching_by(&Errands::new(Arc::new(SystemSpawn), 1))
}

#[test]
fn a_long_scan_finds_what_was_fetched_meanwhile() {
    let cache = fetching();
    for raw in 1..=2000 {
        assert_eq!(
            read_run(&cache, raw, load).unwrap(),
            filled(raw as u8),
            "page {raw}"
        );
    }
    let stats = cache.stats();
    assert_eq!(
        (stats.misses, stats.loads),
        (2000, 4),
        "1, 4, 16 and 64 pages"
    );
}

/// As it is where pages of a chunk are packed: no window has as many of them as it could have.
#[test]
fn where_windows_end_early_a_scan_finds_every_page() {
    for threads in 1..=4 {
        let errands = Errands::new(Arc::new(SystemSpawn), threads);
        let cache = PageCache::new(16 << 20).fetching_by(&errands);
        let short = |first, bytes| load(first, bytes * 50 / 64);
        for raw in 1..=2000 {
            let found = read_run(&cache, raw, short).unwrap();
            assert_eq!(found, filled(raw as u8), "page {raw}, {threads} threads");
        }
        // A window has 50 pages, and what is missing of 64 is three loads; not one for each page.
        let loads = cache.stats().loads;
        assert!(loads < 150, "{loads} with {threads} threads");
    }
}

#[test]
fn pages_that_are_cached_or_stand_elsewhere_are_no_end_of_a_scan() {
    let cache = fetching();
    for raw in 500..=530 {
        let page = PageNo::new(raw).unwrap();
        cache.insert(place_of(page).into(), filled(raw as u8));
    }
    for raw in (1..=1200).chain(1241..=2000) {
        let found = read_run(&cache, raw, load).unwrap();
        assert_eq!(found, filled(raw as u8), "page {raw}");
    }
    // Page 1241 was on its way: until 1242 is asked for, too, it might be one to come back from.
    let loads = cache.stats().loads;
    assert_eq!(loads, 5, "1, 4, 16 and 64 pages, and one alone");
}

#[test]
fn what_cannot_be_fetched_is_loaded_and_its_error_told_to_who_asks() {
    let cache = fetching();
    let failing = |first: PageNo, bytes: usize| match first.get() {
        500.. => Err(ReadError::Closed),
        _ => load(first, bytes),
    };
    let read = |raw| read_run(&cache, raw, failing);
    let failed = (1..=2000).find(|raw| read(*raw).is_err());
    let failed = failed.unwrap();
    assert!((500..564).contains(&failed), "page {failed}");
    assert!(read(failed).is_err());
    assert_eq!(
        read_run(&cache, failed, load).unwrap(),
        filled(failed as u8)
    );
}

#[test]
fn a_fetch_that_panics_is_heard_by_the_scan_as_one_that_failed() {
    let cache = fetching();
    let here = std::thread::current().id();
    let panicking = move |first, bytes| {
        assert_eq!(std::thread::current().id(), here, "on purpose");
        load(first, bytes)
    };
    for raw in 1..=1000 {
        assert_eq!(read_run(&cache, raw, panicking).unwrap(), filled(raw as u8));
    }
}

#[test]
fn a_page_that_was_read_ahead_is_a_miss_without_a_load() {
    let cache = PageCache::new(1 << 20);
    let read = |raw: u32| assert_eq!(read_run(&cache, raw, load).unwrap(), filled(raw as u8));
    (1..=50).for_each(&read);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (0, 50, 4));
    assert_eq!(stats.pages, 50);
    (1..=50).for_each(&read);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (50, 50, 4));
}

#[test]
fn pressure_is_what_insertions_throw_out() {
    let cache = PageCache::new(100 * 4096);
    (1..=1000).for_each(|raw| cache.insert(key(raw), filled(1)));
    assert!(
        (850..=950).contains(&cache.stats().pressure_permille),
        "{:?}",
        cache.stats()
    );
    (1001..=2000).for_each(|raw| cache.insert(key(raw), filled(1)));
    assert_eq!(cache.stats().pressure_permille, 1000);
    assert_eq!(PageCache::new(1 << 20).stats().pressure_permille, 0);
}
