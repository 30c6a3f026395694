//! One cache for the pages of all databases of a store.
//!
//! ```text
//! absent --first caller--> loading --loaded--> cached --room needed--> evicted (observers told)
//!                            |  ^
//!                     failed v  | the next waiter, if any, loads
//!                          absent
//! ```
//!
//! Invariants
//! - while a key is *loading*, all other callers of it wait; each gets the page, or loads in its turn
//!   and gets the error of its own load;
//! - what was thrown out leaves the cache's locks before anybody is told of it.
//!
//! Never: holds a lock while it loads or calls an observer.

use super::ahead::{ChunkPlace, Coming, Missed, ReadAhead};
use super::flight::value_or_guard;
use super::hash::PlaceHash;
use super::observers::{CacheObserver, Observers};
use crate::error::ReadError;
use crate::ids::{ChunkId, DbId, Lsn, PageNo, PageSize};
use crate::page::PageBytes;
use crate::runtime::Errands;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Names the bytes of a page, for good once an index names it: before, a commit that is refused may have had others there.
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

impl PageKey {
    /// The version of a page that a commit wrote.
    pub const fn in_log(database: DbId, version: Lsn, page: PageNo) -> Self {
        Self::Log {
            database,
            version,
            page,
        }
    }
}

impl From<ChunkPlace> for PageKey {
    fn from(place: ChunkPlace) -> Self {
        let ChunkPlace {
            chunk,
            section,
            page,
        } = place;
        Self::Chunk {
            chunk,
            section,
            page,
        }
    }
}

/// Numbers of a cache since it was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheStats {
    /// Pages that were asked for and there, or came by the load of another caller.
    pub hits: u64,
    /// Pages that were asked for and not there.
    pub misses: u64,
    /// Loads that were begun, failed ones included: a miss is without one where the page was read
    /// ahead, or whoever asked could do without.
    pub loads: u64,
    /// Pages put in.
    pub insertions: u64,
    /// Pages thrown out to make room.
    pub evictions: u64,
    /// Pages in the cache.
    pub pages: u64,
    /// Bytes of memory that the pages in the cache take.
    pub bytes: u64,
    /// The most that they may be.
    pub bytes_max: u64,
    /// How hard it is pressed for room: of the newest thousand pages that were put in, so many had
    /// another one thrown out. Near 1000, what is asked for does not fit.
    pub pressure_permille: u64,
}

/// A bounded cache of pages with single-flight loads.
pub struct PageCache {
    pages: Cache<PageKey, PageBytes, ByMemory, PlaceHash, Collect>,
    bytes_max: u64,
    ahead: ReadAhead,
    errands: Option<Arc<Errands>>,
    observers: Observers,
    counters: Counters,
}

/// A shard is a lock. Its holder may lose the processor, and whoever needs one of its pages waits: there are so many also
/// where processors are few.
const SHARDS: usize = 64;

/// But not for their sake fewer pages in each: small shards have less to choose from when something has to go.
const SHARD_PAGES_MIN: usize = 256;

/// How many for so many pages. The cache rounds to a power of two, and has fewer where they would have less than 32 pages.
fn shards(pages: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    SHARDS.min(pages / SHARD_PAGES_MIN).max(4 * processors)
}

/// As many pages as fit are remembered after they were thrown out, twice the default: with fewer, a set
/// that is read in turns and fits would never take the place of one that is not read any more
/// (docs/adr/0027-page-cache-policy.md).
fn options(bytes_max: u64) -> quick_cache::Options {
    let pages = bytes_max / u64::from(PageSize::DEFAULT.get());
    let pages = usize::try_from(pages).unwrap_or(usize::MAX).max(1);
    let built = OptionsBuilder::new()
        .estimated_items_capacity(pages)
        .weight_capacity(bytes_max)
        .ghost_allocation(1.0)
        .shards(shards(pages))
        .build();
    // Fails only without one of these numbers.
    built.unwrap_or_else(|_| unreachable!("both capacities are given"))
}

/// On a cache line of their own: every read of every thread counts here.
#[derive(Default)]
#[repr(align(128))]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    insertions: AtomicU64,
    evictions: AtomicU64,
    /// Evictions when the newest thousand of insertions began, and those in the one before.
    evictions_before: AtomicU64,
    pressure_permille: AtomicU64,
}

impl PageCache {
    /// A cache for pages that take at most `bytes_max` bytes of memory in all.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            pages: Cache::with_options(options(bytes_max), ByMemory, PlaceHash, Collect),
            bytes_max,
            ahead: ReadAhead::default(),
            errands: None,
            observers: Observers::default(),
            counters: Counters::default(),
        }
    }

    /// Has what a scan will come to fetched on other threads.
    #[must_use]
    pub(crate) fn fetching_by(mut self, errands: &Arc<Errands>) -> Self {
        self.errands = Some(Arc::clone(errands));
        self
    }

    /// Tells `observer` what happens from now on, as long as somebody else keeps it alive.
    pub fn observe(&self, observer: Weak<dyn CacheObserver>) {
        self.observers.add(observer);
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
        self.get_or_load_missed(key, || {
            add(&self.counters.loads, 1);
            load()
        })
    }

    fn get_or_load_missed(
        &self,
        key: PageKey,
        load: impl FnOnce() -> Result<PageBytes, ReadError>,
    ) -> Result<PageBytes, ReadError> {
        let guard = match value_or_guard(&self.pages, &key) {
            Ok(page) => {
                self.hit(key);
                return Ok(page);
            }
            Err(guard) => guard,
        };
        add(&self.counters.misses, 1);
        let page = load()?;
        let mut evicted = Evicted::default();
        // Refused only when the key was inserted meanwhile: then the cache has the page already.
        let kept = guard.insert_with_lifecycle(page.clone(), &mut evicted);
        if kept.is_ok() {
            self.inserted(key, &page, evicted);
        }
        Ok(page)
    }

    /// As [`PageCache::get_or_load`], for a page of a chunk, and reads ahead for those who ask for one
    /// page behind the other. `load` answers a page and those that stand behind it, as many of them as it
    /// likes: it is told how many bytes are worth loading. It is called for later pages on another thread,
    /// too, and answers nothing where there are none.
    ///
    /// # Errors
    /// Whatever `load` answers of this page; the next caller loads again.
    pub fn get_or_load_run<L>(&self, place: ChunkPlace, load: L) -> Result<PageBytes, ReadError>
    where
        L: Fn(PageNo, usize) -> Result<VecDeque<PageBytes>, ReadError> + Send + Clone + 'static,
    {
        self.get_or_load_missed(place.into(), || {
            let (came, bytes) = match self.ahead.missed(&place) {
                Missed::Ready(page) => return Ok(page),
                Missed::Wait(coming) => (self.ahead.wait(&place, &coming), 0),
                Missed::Load(bytes) => (None, bytes),
            };
            let page = came.map_or_else(|| self.load_run(&place, bytes, &load), Ok)?;
            self.fetch_more(&place, load);
            Ok(page)
        })
    }

    /// Loads a page with those behind it, so many bytes in all, which wait for the scan.
    fn load_run(
        &self,
        place: &ChunkPlace,
        bytes: usize,
        load: impl Fn(PageNo, usize) -> Result<VecDeque<PageBytes>, ReadError>,
    ) -> Result<PageBytes, ReadError> {
        add(&self.counters.loads, 1);
        let mut pages = load(place.page, bytes)?;
        let page = pages.pop_front();
        let page = page.unwrap_or_else(|| PageBytes::zeroed(PageSize::DEFAULT));
        let page_bytes = page.len();
        self.ahead
            .loaded(place, page_bytes, bytes.max(page_bytes), pages);
        Ok(page)
    }

    /// Has the pages fetched that a scan will come to, if it is one and somebody is free for that.
    fn fetch_more<L>(&self, place: &ChunkPlace, load: L)
    where
        L: Fn(PageNo, usize) -> Result<VecDeque<PageBytes>, ReadError> + Send + Clone + 'static,
    {
        let Some(errands) = &self.errands else {
            return;
        };
        while let Some((first, bytes)) = self.ahead.wants_more(place) {
            let load = load.clone();
            // What fails is told to whoever asks for it.
            let fetch = move || load(first, bytes).unwrap_or_default();
            let Ok(pages) = errands.send(fetch) else {
                return;
            };
            let first = first.get();
            self.ahead.comes(place, Coming { first, pages });
        }
    }

    /// The page behind `key` if it is in memory.
    pub fn get(&self, key: PageKey) -> Option<PageBytes> {
        let page = self.get_if_there(key);
        if page.is_none() {
            add(&self.counters.misses, 1);
        }
        page
    }

    /// The same for a caller who asks for it again, to be loaded: that it is not there does not count.
    pub fn get_if_there(&self, key: PageKey) -> Option<PageBytes> {
        let page = self.pages.get(&key);
        if page.is_some() {
            self.hit(key);
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
        let shared = page.clone();
        self.pages.insert_with_lifecycle(key, shared, &mut evicted);
        self.inserted(key, &page, evicted);
    }

    /// Forgets a page that nobody is likely to ask for again; the page, if it was there.
    pub fn remove(&self, key: PageKey) -> Option<PageBytes> {
        self.pages.remove(&key).map(|(_, page)| page)
    }

    /// What the cache holds and did.
    pub fn stats(&self) -> CacheStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: count(&self.counters.hits),
            misses: count(&self.counters.misses),
            loads: count(&self.counters.loads),
            insertions: count(&self.counters.insertions),
            evictions: count(&self.counters.evictions),
            pages: self.pages.len() as u64,
            bytes: self.pages.weight(),
            bytes_max: self.bytes_max,
            pressure_permille: count(&self.counters.pressure_permille),
        }
    }

    fn hit(&self, key: PageKey) {
        add(&self.counters.hits, 1);
        self.observers.tell(|observer| observer.hit(key));
    }

    /// `page` was put in, and `evicted` had to go for it, or for lack of room the page itself.
    fn inserted(&self, key: PageKey, page: &PageBytes, evicted: Evicted) {
        self.counters.inserted(evicted.len() as u64);
        self.observers.tell(|observer| {
            observer.inserted(key, page);
            for (key, page) in &evicted {
                observer.evicted(*key, page);
            }
        });
    }
}

fn add(counter: &AtomicU64, count: u64) -> u64 {
    counter.fetch_add(count, Ordering::Relaxed) + count
}

impl Counters {
    fn inserted(&self, evicted: u64) {
        let evictions = add(&self.evictions, evicted);
        if add(&self.insertions, 1).is_multiple_of(1000) {
            let before = self.evictions_before.swap(evictions, Ordering::Relaxed);
            let thousand = evictions.saturating_sub(before).min(1000);
            self.pressure_permille.store(thousand, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageCache({:?})", self.stats())
    }
}

/// A page weighs its memory. The few dozen bytes of key and counters are not counted.
#[derive(Copy, Clone)]
struct ByMemory;

impl Weighter<PageKey, PageBytes> for ByMemory {
    fn weight(&self, _: &PageKey, page: &PageBytes) -> u64 {
        page.memory_bytes() as u64
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
