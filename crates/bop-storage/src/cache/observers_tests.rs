//! Observers that use the cache, that end in the middle of a call, that are gone.

use super::*;
use crate::cache::PageCache;
use crate::ids::{ChunkId, PageNo};
use parking_lot::Mutex;

fn key(raw: u32) -> PageKey {
    PageKey::Chunk {
        chunk: ChunkId::new(1),
        section: 0,
        page: PageNo::new(raw).unwrap(),
    }
}

fn page() -> PageBytes {
    PageBytes::copy_of(&[7; 4096])
}

fn observe(cache: &PageCache, observer: &Arc<impl CacheObserver + 'static>) {
    let observer = Arc::downgrade(observer);
    cache.observe(observer as Weak<dyn CacheObserver>);
}

/// Notes what it is told, and uses the cache meanwhile: a lock still held would never return.
struct Recorder {
    cache: Arc<PageCache>,
    hits: Mutex<Vec<PageKey>>,
    inserted: Mutex<Vec<PageKey>>,
    evicted: Mutex<Vec<PageKey>>,
}

impl Recorder {
    fn new(cache: &Arc<PageCache>) -> Arc<Self> {
        let recorder = Arc::new(Self {
            cache: Arc::clone(cache),
            hits: Mutex::default(),
            inserted: Mutex::default(),
            evicted: Mutex::default(),
        });
        observe(cache, &recorder);
        recorder
    }
}

impl CacheObserver for Recorder {
    fn hit(&self, key: PageKey) {
        assert!(self.cache.stats().hits > 0);
        self.hits.lock().push(key);
    }

    fn inserted(&self, key: PageKey, page: &PageBytes) {
        assert_eq!(page.len(), 4096);
        drop(self.cache.get(key));
        self.inserted.lock().push(key);
    }

    fn evicted(&self, key: PageKey, page: &PageBytes) {
        assert_eq!(page.len(), 4096);
        assert!(self.cache.peek(key).is_none());
        self.evicted.lock().push(key);
    }
}

#[test]
fn observers_hear_of_hits_insertions_and_evictions_and_are_not_kept_alive() {
    let cache = Arc::new(PageCache::new(16 << 10));
    let (one, other) = (Recorder::new(&cache), Recorder::new(&cache));
    for raw in 1..=50 {
        cache.get_or_load(key(raw), || Ok(page())).unwrap();
        cache.insert(key(raw + 1000), page());
    }
    let kept = (1..=2000)
        .find(|raw| cache.peek(key(*raw)).is_some())
        .unwrap();
    assert!(cache.get(key(kept)).is_some());
    for recorder in [&one, &other] {
        assert_eq!(*recorder.hits.lock(), [key(kept)]);
        assert_eq!(recorder.inserted.lock().len(), 100);
        let evicted = recorder.evicted.lock().len() as u64;
        assert_eq!(evicted, cache.stats().evictions);
        assert_eq!(evicted + cache.stats().pages, 100);
    }
    drop(one);
    cache.insert(key(3000), page());
    assert_eq!(other.inserted.lock().len(), 101);
    let alone = Arc::downgrade(&other);
    drop(other);
    assert!(alone.upgrade().is_none());
    cache.insert(key(3001), page());
}

/// Puts back what is thrown out, which throws out something else.
struct PutsBack {
    cache: Arc<PageCache>,
    told: Mutex<u64>,
}

impl CacheObserver for PutsBack {
    fn evicted(&self, key: PageKey, page: &PageBytes) {
        *self.told.lock() += 1;
        self.cache.insert(key, page.clone());
    }
}

#[test]
fn eviction_ends_whatever_observers_put_in() {
    let cache = Arc::new(PageCache::new(16 << 10));
    let both = [(); 2].map(|()| {
        let observer = Arc::new(PutsBack {
            cache: Arc::clone(&cache),
            told: Mutex::default(),
        });
        observe(&cache, &observer);
        observer
    });
    for raw in 1..=100 {
        cache.insert(key(raw), page());
    }
    let told = *both[0].told.lock();
    assert!((90..=100).contains(&told), "told {told} times");
    // What they put in is counted, though nobody is told.
    assert!(cache.stats().insertions > 250, "{:?}", cache.stats());
    assert!(cache.stats().bytes <= 16 << 10);
}

/// The only one to keep itself; lets go in the middle of a call, and uses the cache when it goes.
struct LetsGo {
    cache: Arc<PageCache>,
    own: Mutex<Option<Arc<LetsGo>>>,
    gone: Arc<Mutex<u32>>,
}

impl CacheObserver for LetsGo {
    fn inserted(&self, key: PageKey, _: &PageBytes) {
        drop(self.own.lock().take());
        assert!(self.cache.peek(key).is_some());
    }
}

impl Drop for LetsGo {
    fn drop(&mut self) {
        self.cache.insert(key(9), page());
        // A lock of the list that was still held would not let this return.
        self.cache
            .observe(Weak::<LetsGo>::new() as Weak<dyn CacheObserver>);
        *self.gone.lock() += 1;
    }
}

#[test]
fn an_observer_may_end_in_the_middle_of_a_call() {
    let cache = Arc::new(PageCache::new(1 << 20));
    let gone = Arc::new(Mutex::new(0));
    let observer = Arc::new(LetsGo {
        cache: Arc::clone(&cache),
        own: Mutex::default(),
        gone: Arc::clone(&gone),
    });
    observe(&cache, &observer);
    *observer.own.lock() = Some(Arc::clone(&observer));
    drop(observer);
    assert_eq!(*gone.lock(), 0);
    cache.insert(key(1), page());
    assert_eq!(*gone.lock(), 1);
    assert!(cache.peek(key(9)).is_some());
    cache.insert(key(2), page());
    assert_eq!(*gone.lock(), 1);
}

/// Panics once.
struct Panics(Mutex<u32>);

impl CacheObserver for Panics {
    fn hit(&self, _: PageKey) {
        let mut told = self.0.lock();
        *told += 1;
        assert!(*told > 1, "of a test");
    }
}

#[test]
fn a_panic_of_an_observer_leaves_the_cache_and_its_telling_as_they_were() {
    let cache = Arc::new(PageCache::new(1 << 20));
    let observer = Arc::new(Panics(Mutex::default()));
    observe(&cache, &observer);
    cache.insert(key(1), page());
    let get = || drop(cache.get(key(1)));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(get)).is_err());
    get();
    assert_eq!(*observer.0.lock(), 2);
}
