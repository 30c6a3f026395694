//! The views that somebody has pinned, one slot for each: readers, snapshots, forks.
//!
//! ```text
//!   Pins --pin--> Pin --leave--> Seat --pin--> Pin ...     dropped, either gives the slot back
//! ```
//! A reader asks its slot for the view at every lookup. When a checkpoint has put a database's
//! layers into chunks, it stores into each slot an equivalent view of the same commit without those
//! layers: the reader goes on, and the log that the layers held is free. Of a commit before the
//! checkpoint's own the pages are in chunks, too: which commits are pinned is asked before it writes.
//!
//! Invariants
//! - while a slot is pinned its head never changes, whatever view is stored in it; a seat's slot is
//!   empty and keeps nothing;
//! - a view is loaded under its slot's lock, or under the registry's before there is a slot, so a
//!   checkpoint that published a base before it takes these locks misses no reader; one that pinned
//!   the published view has the base already, and its layers are all newer;
//! - locks are taken in this order: the registry's, a slot's, whatever `load` takes.
//!
//! Never: keeps a reader's lookup waiting for longer than a pointer takes to be exchanged.

use super::{BasePages, Head, View};
use crate::canary::{Canary, is_planted};
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
    /// `None` between two pins. Not an `ArcSwap`: dropping one looks at every thread.
    view: Mutex<Option<Arc<View>>>,
}

impl Inner {
    /// Shows the views that are pinned; what `change` answers takes their place.
    fn exchange(&self, change: impl Fn(&Arc<View>) -> Option<View>) {
        for slot in self.slots.values() {
            let mut pinned = slot.view.lock();
            if let Some(changed) = pinned.as_ref().and_then(&change) {
                *pinned = Some(Arc::new(changed));
            }
        }
    }

    /// Of each view that is pinned, what `tell` has to say.
    fn told<T>(&self, tell: impl Fn(&View) -> Option<T>) -> impl Iterator<Item = T> {
        let slots = self.slots.values();
        slots.filter_map(move |slot| slot.view.lock().as_deref().and_then(&tell))
    }
}

impl Pins {
    /// Pins what `load` returns. `load` runs under the registry's lock.
    pub fn pin(self: &Arc<Self>, load: impl FnOnce() -> Arc<View>) -> Pin {
        let mut inner = self.inner.lock();
        let view = load();
        let head = *view.head();
        let slot = Arc::new(Slot {
            view: Mutex::new(Some(view)),
        });
        let key = inner.next;
        inner.next += 1;
        inner.slots.insert(key, Arc::clone(&slot));
        let pins = Arc::clone(self);
        let seat = Seat { pins, key, slot };
        Pin { head, seat }
    }

    /// The commits before `cut` that are pinned in the log, ascending.
    pub fn in_log_below(&self, cut: Lsn) -> Vec<Lsn> {
        let inner = self.inner.lock();
        let lsn_in_log = |view: &View| (view.layer_count() > 0).then_some(view.head().lsn);
        let mut found: Vec<Lsn> = inner.told(lsn_in_log).filter(|lsn| *lsn < cut).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All commits that are pinned.
    pub fn lsns(&self) -> BTreeSet<Lsn> {
        let inner = self.inner.lock();
        inner.told(|view| Some(view.head().lsn)).collect()
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
        self.inner.lock().exchange(|view| {
            if cut <= view.head().lsn || is_planted(Canary::IndexPrunedUnderReader) {
                let is_older = view.base().generation() < base.generation();
                is_older.then(|| view.rebased(Arc::clone(base), covered))
            } else if view.layer_count() > 0 {
                past(view.head().lsn).map(|past| view.on(past))
            } else {
                None
            }
        });
    }

    /// Gives every pin that has `old` below it the same pages in another place.
    pub fn exchange_base(&self, old: &Arc<dyn BasePages>, new: &Arc<dyn BasePages>) {
        self.inner.lock().exchange(|view| {
            let has_old = Arc::ptr_eq(view.base(), old);
            has_old.then(|| view.rebased(Arc::clone(new), 0))
        });
    }

    /// Takes its pages from every pin: the database is gone.
    pub fn empty(&self) {
        self.inner.lock().exchange(|view| Some(view.emptied()));
    }

    /// The oldest state that is pinned: the commit, when that was, and whether it needs the log.
    pub fn oldest(&self) -> Option<(Lsn, u64, bool)> {
        let inner = self.inner.lock();
        let told = |view: &View| {
            let head = view.head();
            Some((head.lsn, head.time_us, view.layer_count() > 0))
        };
        inner.told(told).min()
    }

    /// How many pins there are.
    pub fn count(&self) -> usize {
        self.inner.lock().told(|_| Some(())).count()
    }
}

/// One reader's pin, until dropped.
#[derive(Debug)]
pub struct Pin {
    head: Head,
    seat: Seat,
}

impl Pin {
    /// What the commit that is pinned made of the database.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The commit that is pinned.
    pub fn lsn(&self) -> Lsn {
        self.head.lsn
    }

    /// Another pin of the same view.
    #[must_use]
    pub fn again(&self) -> Self {
        self.seat.pins.pin(|| self.view())
    }

    /// The view, for one lookup.
    pub fn view(&self) -> Arc<View> {
        match &*self.seat.slot.view.lock() {
            Some(view) => Arc::clone(view),
            None => unreachable!("only `leave`, which ends the pin, empties its slot"),
        }
    }

    /// Pins nothing any more, and keeps the slot for the next time.
    pub fn leave(self) -> Seat {
        drop(self.seat.slot.view.lock().take());
        self.seat
    }
}

/// A slot with nothing pinned in it, or a [`Pin`]'s.
#[derive(Debug)]
pub struct Seat {
    pins: Arc<Pins>,
    key: u64,
    slot: Arc<Slot>,
}

impl Seat {
    /// Pins what `load` returns. `load` runs under the slot's lock. Nobody else's is waited for, save for
    /// the moment in which a checkpoint exchanges what is in the slot.
    pub fn pin(self, load: impl FnOnce() -> Arc<View>) -> Pin {
        let mut pinned = self.slot.view.lock();
        let head = *pinned.insert(load()).head();
        drop(pinned);
        Pin { head, seat: self }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pins.inner.lock().slots.remove(&self.key);
    }
}
