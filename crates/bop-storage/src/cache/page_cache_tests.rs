//! The cache under many threads, failing loads and little room.

use super::*;
use crate::error::{Damage, Place, Reject};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Barrier, Mutex};
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
    assert_eq!((stats.hits, stats.misses), (2, 1));
    assert_eq!((stats.pages, stats.bytes), (1, 4096));
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

/// Uses the cache from the callback: a lock still held would never return.
struct Recorder {
    cache: Arc<PageCache>,
    seen: Mutex<Vec<PageKey>>,
}

impl CacheObserver for Recorder {
    fn evicted(&self, key: PageKey, page: PageBytes) {
        assert_eq!(page.len(), 4096);
        let stats = self.cache.stats();
        assert!(0 < stats.evictions);
        let _ = self.cache.get(key);
        self.seen.lock().unwrap().push(key);
    }
}

#[test]
fn an_observer_may_use_the_cache_and_is_not_kept_alive() {
    let cache = Arc::new(PageCache::new(16 << 10));
    let recorder = Arc::new(Recorder {
        cache: Arc::clone(&cache),
        seen: Mutex::new(Vec::new()),
    });
    let weak: Weak<dyn CacheObserver> = Arc::downgrade(&recorder) as Weak<dyn CacheObserver>;
    cache.observe(weak);
    for raw in 1..=50 {
        cache.get_or_load(key(raw), || Ok(filled(1))).unwrap();
        cache.insert(key(raw + 1000), filled(2));
    }
    let seen = recorder.seen.lock().unwrap().len() as u64;
    assert_eq!(seen, cache.stats().evictions);
    assert_eq!(seen + cache.stats().pages, 100);
    drop(recorder);
    for raw in 2000..2050 {
        cache.insert(key(raw), filled(1));
    }
    assert!(seen < cache.stats().evictions);
}
