//! The views that somebody has pinned, one slot for each: readers, snapshots, forks.
//!
//! A reader asks its slot for the view at every lookup. When a checkpoint has put a database's
//! layers into chunks, it stores into each slot an equivalent view of the same commit without those
//! layers: the reader goes on, and the log that the layers held is free. Of a commit before the
//! checkpoint's own the pages are in chunks, too: which commits are pinned is asked before it writes.
//!
//! Invariants
//! - a slot's Lsn never changes, whatever view is stored in it;
//! - a view is loaded under the registry's lock, so a checkpoint that published a base before it
//!   takes that lock misses no reader; one that pinned the published view has the base already,
//!   and its layers are all newer.
//!
//! Never: keeps a reader's lookup waiting for longer than a pointer takes to be exchanged.

use super::{BasePages, View};
use crate::ids::Lsn;
use crate::runtime::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The pins of one database.
#[derive(Debug, Default)]
pub struct Pins {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<u64, Arc<Slot>>,
    next: u64,
}

#[derive(Debug)]
struct Slot {
    lsn: Lsn,
    /// Not an `ArcSwap`: there is one for each transaction, and dropping one looks at every thread.
    view: Mutex<Arc<View>>,
}

impl Pins {
    /// Pins what `load` returns. `load` runs under the registry's lock.
    pub fn pin(self: &Arc<Self>, load: impl FnOnce() -> Arc<View>) -> Pin {
        let mut inner = self.inner.lock();
        let view = load();
        let slot = Arc::new(Slot {
            lsn: view.head().lsn,
            view: Mutex::new(view),
        });
        let key = inner.next;
        inner.next += 1;
        inner.slots.insert(key, Arc::clone(&slot));
        Pin {
            pins: Arc::clone(self),
            key,
            slot,
        }
    }

    /// The commits before `cut` that are pinned in the log, ascending.
    pub fn in_log_below(&self, cut: Lsn) -> Vec<Lsn> {
        let inner = self.inner.lock();
        let slots = inner.slots.values().filter(|slot| slot.lsn < cut);
        let in_log = slots.filter(|slot| slot.view.lock().layer_count() > 0);
        let mut found: Vec<Lsn> = in_log.map(|slot| slot.lsn).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All commits that are pinned.
    pub fn lsns(&self) -> BTreeSet<Lsn> {
        let inner = self.inner.lock();
        inner.slots.values().map(|slot| slot.lsn).collect()
    }

    /// A checkpoint is published: gives every pin at or above its `cut` an equivalent view whose oldest
    /// `covered` layers are replaced by `base`, and every older one whose pages are in the log the base
    /// that `past` answers for its commit. Where that is none the pin keeps its view, and the log.
    pub fn rebase(
        &self,
        cut: Lsn,
        base: &Arc<dyn BasePages>,
        covered: usize,
        past: impl Fn(Lsn) -> Option<Arc<dyn BasePages>>,
    ) {
        let inner = self.inner.lock();
        for slot in inner.slots.values() {
            let mut view = slot.view.lock();
            if slot.lsn < cut {
                if view.layer_count() > 0
                    && let Some(past) = past(slot.lsn)
                {
                    *view = Arc::new(view.on(past));
                }
            } else if view.base().generation() < base.generation() {
                *view = Arc::new(view.rebased(Arc::clone(base), covered));
            }
        }
    }

    /// Gives every pin that has `old` below it the same pages in another place.
    pub fn exchange_base(&self, old: &Arc<dyn BasePages>, new: &Arc<dyn BasePages>) {
        let inner = self.inner.lock();
        for slot in inner.slots.values() {
            let mut view = slot.view.lock();
            if Arc::ptr_eq(view.base(), old) {
                *view = Arc::new(view.rebased(Arc::clone(new), 0));
            }
        }
    }

    /// Takes its pages from every pin: the database is gone.
    pub fn empty(&self) {
        let inner = self.inner.lock();
        for slot in inner.slots.values() {
            let mut view = slot.view.lock();
            *view = Arc::new(view.emptied());
        }
    }

    /// The oldest state that is pinned: the commit, when that was, and whether it needs the log.
    pub fn oldest(&self) -> Option<(Lsn, u64, bool)> {
        let inner = self.inner.lock();
        let slot = inner.slots.values().min_by_key(|slot| slot.lsn)?;
        let view = slot.view.lock();
        Some((slot.lsn, view.head().time_us, view.layer_count() > 0))
    }

    /// How many pins there are.
    pub fn count(&self) -> usize {
        self.inner.lock().slots.len()
    }
}

/// One reader's pin, until dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    key: u64,
    slot: Arc<Slot>,
}

impl Pin {
    /// The commit that is pinned.
    pub fn lsn(&self) -> Lsn {
        self.slot.lsn
    }

    /// Another pin of the same view.
    #[must_use]
    pub fn again(&self) -> Self {
        self.pins.pin(|| self.view())
    }

    /// The view, for one lookup.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.slot.view.lock())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.inner.lock().slots.remove(&self.key);
    }
}
