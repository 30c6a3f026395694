//! Who is told of what happens to the pages of a cache.
//!
//! ```text
//!   the cache's locks are free --> a copy of the list --> each that still lives is told
//!                                                            '-- uses the cache --> nobody is told
//! ```
//! Invariants
//! - whoever is told is called under no lock, of the cache or of this list;
//! - what an observer itself does with the cache is counted and told to nobody: one that puts a page in
//!   whenever one is thrown out would be told for ever;
//! - an observer is not kept alive, but for the call in which it is;
//! - a cache that nobody observes pays for one load of a flag.
//!
//! Never: keeps an event for later.

use super::page_cache::PageKey;
use crate::page::PageBytes;
use crate::runtime::sync::RwLock;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Told of the pages of a cache, on the thread that caused it, after it has happened. It may use the
/// cache, and may observe it or cease to be in the middle of a call.
pub trait CacheObserver: Send + Sync {
    /// `key` was asked for and there. This is on the path of every read.
    fn hit(&self, key: PageKey) {
        let _ = key;
    }

    /// `page` was put in.
    fn inserted(&self, key: PageKey, page: &PageBytes) {
        let _ = (key, page);
    }

    /// `page` was thrown out to make room.
    fn evicted(&self, key: PageKey, page: &PageBytes) {
        let _ = (key, page);
    }
}

/// The observers of one cache.
#[derive(Default)]
pub(super) struct Observers {
    any: AtomicBool,
    list: RwLock<Vec<Weak<dyn CacheObserver>>>,
}

thread_local! {
    /// The caches whose observers this thread is in, by the addresses of their lists.
    static TELLING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Observers {
    /// One more, who forgets those that are gone.
    pub(super) fn add(&self, observer: Weak<dyn CacheObserver>) {
        let mut list = self.list.write();
        let (kept, gone) = std::mem::take(&mut *list)
            .into_iter()
            .partition(|observer| observer.strong_count() > 0);
        *list = kept;
        list.push(observer);
        self.any.store(true, Ordering::Release);
        drop(list);
        drop::<Vec<_>>(gone);
    }

    /// Tells all of them.
    pub(super) fn tell(&self, what: impl Fn(&dyn CacheObserver)) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let Some(_telling) = Telling::begin(self) else {
            return;
        };
        let living: Vec<Arc<dyn CacheObserver>> = {
            let list = self.list.read();
            list.iter().filter_map(Weak::upgrade).collect()
        };
        if living.is_empty() {
            self.forget_gone();
        }
        for observer in living {
            what(observer.as_ref());
            // The last one to keep it may be this call: then it goes here, under no lock.
            drop(observer);
        }
    }

    /// Whoever looked last may find that nobody observes any more.
    fn forget_gone(&self) {
        let mut list = self.list.write();
        if list.iter().all(|observer| observer.strong_count() == 0) {
            self.any.store(false, Ordering::Release);
            let gone = std::mem::take(&mut *list);
            drop(list);
            drop(gone);
        }
    }
}

/// This thread is telling, until it is dropped; also when an observer panics.
struct Telling;

impl Telling {
    /// `None` when this thread is in an observer of the same cache.
    fn begin(observers: &Observers) -> Option<Self> {
        let address = std::ptr::from_ref(observers).addr();
        TELLING.with_borrow_mut(|caches| {
            if caches.contains(&address) {
                return None;
            }
            caches.push(address);
            Some(Self)
        })
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.with_borrow_mut(Vec::pop);
    }
}

#[cfg(test)]
#[path = "observers_tests.rs"]
mod tests;
