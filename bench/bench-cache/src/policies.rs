//! The caches that are compared, behind one seam.

use foyer_memory::{Cache as Foyer, CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig};
use parking_lot::Mutex;
use quick_cache::sync::Cache as Quick;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, UnitWeighter};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// What an entry holds: a page is shared, so that a hit copies a pointer.
type Page = Arc<[u8; 64]>;

/// A bounded cache.
pub(crate) trait Policy: Send + Sync {
    /// Whether the key is there; counts as a use of it.
    fn get(&self, key: u64) -> bool;
    /// Puts it in.
    fn insert(&self, key: u64);
}

/// Makes a cache for so many entries.
type Make = fn(usize) -> Box<dyn Policy>;

/// All of them, by their names.
pub(crate) fn policies() -> [(&'static str, Make); 7] {
    [
        ("quick_cache, its defaults", |entries| {
            quick(entries, 0.97, 0.5)
        }),
        ("quick_cache, ghosts 1.0 (bop)", |entries| {
            quick(entries, 0.97, 1.0)
        }),
        ("quick_cache, ghosts 1.0, hot 0.8", |entries| {
            quick(entries, 0.8, 1.0)
        }),
        ("foyer, S3-FIFO", |entries| {
            foyer(entries, S3FifoConfig::default().into())
        }),
        ("foyer, W-TinyLFU", |entries| {
            foyer(entries, LfuConfig::default().into())
        }),
        ("moka, TinyLFU", |entries| {
            Box::new(moka::sync::Cache::<u64, Page>::new(entries as u64))
        }),
        ("lru, behind a mutex", |entries| {
            let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
            Box::new(Mutex::new(lru::LruCache::<u64, Page>::new(entries)))
        }),
    ]
}

fn page() -> Page {
    Arc::new([0; 64])
}

/// Tells of nothing.
#[derive(Clone)]
struct Silent;

impl Lifecycle<u64, Page> for Silent {
    type RequestState = ();
}

type QuickPages = Quick<u64, Page, UnitWeighter, DefaultHashBuilder, Silent>;

fn quick(entries: usize, hot: f64, ghosts: f64) -> Box<dyn Policy> {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(entries)
        .weight_capacity(entries as u64)
        .hot_allocation(hot)
        .ghost_allocation(ghosts)
        .build();
    let options = options.unwrap_or_else(|_| unreachable!("both capacities are given"));
    let hash = DefaultHashBuilder::default();
    Box::new(QuickPages::with_options(
        options,
        UnitWeighter,
        hash,
        Silent,
    ))
}

impl Policy for QuickPages {
    fn get(&self, key: u64) -> bool {
        Quick::get(self, &key).is_some()
    }

    fn insert(&self, key: u64) {
        Quick::insert(self, key, page());
    }
}

fn foyer(entries: usize, config: EvictionConfig) -> Box<dyn Policy> {
    let cache: Foyer<u64, Page> = CacheBuilder::new(entries)
        .with_eviction_config(config)
        .build();
    Box::new(cache)
}

impl Policy for Foyer<u64, Page> {
    fn get(&self, key: u64) -> bool {
        Foyer::get(self, &key).is_some()
    }

    fn insert(&self, key: u64) {
        drop(Foyer::insert(self, key, page()));
    }
}

impl Policy for moka::sync::Cache<u64, Page> {
    fn get(&self, key: u64) -> bool {
        moka::sync::Cache::get(self, &key).is_some()
    }

    fn insert(&self, key: u64) {
        moka::sync::Cache::insert(self, key, page());
    }
}

impl Policy for Mutex<lru::LruCache<u64, Page>> {
    fn get(&self, key: u64) -> bool {
        self.lock().get(&key).cloned().is_some()
    }

    fn insert(&self, key: u64) {
        self.lock().put(key, page());
    }
}
