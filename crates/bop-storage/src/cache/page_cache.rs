//! One cache for the pages of all databases of a store.
//!
//! ```text
//! absent --first caller--> loading --loaded--> cached --room needed--> evicted (observer called)
//!                            |  ^
//!                     failed v  | the next waiter, if any, loads
//!                          absent
//! ```
//!
//! Invariant: while a key is *loading*, all other callers of it wait; each gets the page, or loads
//! in its turn and gets the error of its own load.
//!
//! Never: holds a lock while it loads or calls an observer.

use crate::error::ReadError;
use crate::ids::{ChunkId, DbId, Lsn, PageNo, PageSize};
use crate::page::PageBytes;
use parking_lot::RwLock;
use quick_cache::sync::{Cache, GuardResult};
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter};
use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the bytes of a page for good.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum PageKey {
    /// A version of a page that stands in the log.
    Log {
        /// The database that wrote it.
        database: DbId,
        /// The commit that wrote it.
        version: Lsn,
        /// The page.
        page: PageNo,
    },
    /// A page that stands in a chunk.
    Chunk {
        /// The chunk.
        chunk: ChunkId,
        /// The section, counted from 0.
        section: u32,
        /// The page.
        page: PageNo,
    },
}

/// Told of pages that left the cache.
pub trait CacheObserver: Send + Sync {
    /// `page` was thrown out to make room. Called on the thread that needed the room, under no
    /// lock of the cache: it may use the cache.
    fn evicted(&self, key: PageKey, page: PageBytes);
}

/// Numbers of a cache since it was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Pages handed out without a load of the caller's own.
    pub hits: u64,
    /// Loads, failed ones included.
    pub misses: u64,
    /// Pages thrown out to make room.
    pub evictions: u64,
    /// Pages in the cache.
    pub pages: u64,
    /// Bytes of the pages in the cache.
    pub bytes: u64,
}

/// A bounded cache of pages with single-flight loads.
pub struct PageCache {
    pages: Cache<PageKey, PageBytes, ByLength, DefaultHashBuilder, Collect>,
    observer: RwLock<Option<Weak<dyn CacheObserver>>>,
    counters: Counters,
}

/// On a cache line of their own: every read of every thread counts here.
#[derive(Default)]
#[repr(align(128))]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl PageCache {
    /// A cache for pages of at most `bytes_max` bytes in all.
    pub fn new(bytes_max: u64) -> Self {
        let pages_estimate = bytes_max / u64::from(PageSize::DEFAULT.get());
        Self {
            pages: Cache::with(
                usize::try_from(pages_estimate).unwrap_or(usize::MAX).max(1),
                bytes_max,
                ByLength,
                DefaultHashBuilder::default(),
                Collect,
            ),
            observer: RwLock::new(None),
            counters: Counters::default(),
        }
    }

    /// Calls `observer` for every eviction from now on, as long as somebody else keeps it alive.
    /// Takes the place of an earlier observer.
    pub fn observe(&self, observer: Weak<dyn CacheObserver>) {
        *self.observer.write() = Some(observer);
    }

    /// The page behind `key`, from memory or by `load`. Several callers with the same key wait for
    /// one load. `load` must not ask for the same key: it would wait for itself.
    ///
    /// # Errors
    /// Whatever `load` answers; the next caller loads again.
    pub fn get_or_load(
        &self,
        key: PageKey,
        load: impl FnOnce() -> Result<PageBytes, ReadError>,
    ) -> Result<PageBytes, ReadError> {
        let guard = match self.pages.get_value_or_guard(&key, None) {
            GuardResult::Value(page) => {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(page);
            }
            GuardResult::Guard(guard) => guard,
            // Answered only to a bounded wait, which this is not: loading is right all the same.
            GuardResult::Timeout => {
                self.counters.misses.fetch_add(1, Ordering::Relaxed);
                return load();
            }
        };
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let page = load()?;
        let mut evicted = Evicted::default();
        // Refused only when the key was inserted meanwhile: then the cache has the page already.
        let _ = guard.insert_with_lifecycle(page.clone(), &mut evicted);
        self.report(evicted);
        Ok(page)
    }

    /// The page behind `key` if it is in memory.
    pub fn get(&self, key: PageKey) -> Option<PageBytes> {
        let page = self.pages.get(&key);
        if page.is_some() {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
        }
        page
    }

    /// The same for a caller who does not want it kept any longer for that: it counts neither as a hit
    /// nor as a use.
    pub fn peek(&self, key: PageKey) -> Option<PageBytes> {
        self.pages.peek(&key)
    }

    /// Puts a page in that the caller has at hand, such as one it has just committed.
    pub fn insert(&self, key: PageKey, page: PageBytes) {
        let mut evicted = Evicted::default();
        self.pages.insert_with_lifecycle(key, page, &mut evicted);
        self.report(evicted);
    }

    /// Forgets a page that nobody is likely to ask for again.
    pub fn remove(&self, key: PageKey) {
        self.pages.remove(&key);
    }

    /// What the cache holds and did.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.counters.hits.load(Ordering::Relaxed),
            misses: self.counters.misses.load(Ordering::Relaxed),
            evictions: self.counters.evictions.load(Ordering::Relaxed),
            pages: self.pages.len() as u64,
            bytes: self.pages.weight(),
        }
    }

    fn report(&self, evicted: Evicted) {
        if evicted.is_empty() {
            return;
        }
        self.counters
            .evictions
            .fetch_add(evicted.len() as u64, Ordering::Relaxed);
        let observer = self.observer.read().as_ref().and_then(Weak::upgrade);
        if let Some(observer) = observer {
            for (key, page) in evicted {
                observer.evicted(key, page);
            }
        }
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageCache({:?})", self.stats())
    }
}

/// A page weighs what it is long. The few dozen bytes of key and counters are not counted.
#[derive(Copy, Clone)]
struct ByLength;

impl Weighter<PageKey, PageBytes> for ByLength {
    fn weight(&self, _: &PageKey, page: &PageBytes) -> u64 {
        page.len() as u64
    }
}

/// What one request threw out. Collected under the lock, dropped and reported after it.
type Evicted = Vec<(PageKey, PageBytes)>;

#[derive(Copy, Clone)]
struct Collect;

impl Lifecycle<PageKey, PageBytes> for Collect {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, key: PageKey, page: PageBytes) {
        evicted.push((key, page));
    }
}

#[cfg(test)]
#[path = "page_cache_tests.rs"]
mod tests;
