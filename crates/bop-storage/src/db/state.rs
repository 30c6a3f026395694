//! The run-time state of one database: its view, its writer slot, its readers' pins.
//!
//! Invariants
//! - the view is replaced under `publishing` alone, so views stay in Lsn order;
//! - whoever commits holds the writer slot until the commit is published or has failed.
//!
//! Never: does I/O.

use super::slot::WriterSlot;
use crate::canary::{Canary, is_planted};
use crate::error::{Damage, ReadError};
use crate::ids::{DbId, DbKind, Lsn};
use crate::runtime::sync::Mutex;
use crate::view::{BasePages, Pin, Pins, Seat, View};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One database of an open store.
#[derive(Debug)]
pub(crate) struct DbState {
    id: DbId,
    kind: DbKind,
    name: ArcSwap<String>,
    /// Held to read or exchange the pointer, no longer. Each commit exchanges it, and an `ArcSwap`
    /// would look at every thread then.
    view: Mutex<Arc<View>>,
    /// Whether the entries of the view's index are counted in the store's.
    publishing: Mutex<bool>,
    slot: Arc<WriterSlot>,
    /// Of readers.
    pins: Arc<Pins>,
    /// Of snapshots and forks, which stay when the database is dropped.
    points: Arc<Pins>,
    dropped: AtomicBool,
    /// How large it may grow, in bytes; zero: as large as it likes.
    quota_bytes: AtomicU64,
    /// Why it takes no more commits, if so.
    damage: OnceLock<Damage>,
}

impl DbState {
    /// A database as recovery or the manifest gives it.
    pub(crate) fn new(name: &str, view: View) -> Self {
        Self {
            id: view.database(),
            kind: view.kind(),
            name: ArcSwap::from_pointee(name.to_owned()),
            view: Mutex::new(Arc::new(view)),
            publishing: Mutex::new(true),
            slot: Arc::default(),
            pins: Arc::default(),
            points: Arc::default(),
            dropped: AtomicBool::new(false),
            quota_bytes: AtomicU64::new(0),
            damage: OnceLock::new(),
        }
    }

    /// The state of a database that is dropped and keeps its pages, or a state of the one that was
    /// brought back: what others have pinned for good is theirs.
    pub(crate) fn succeeding(self, before: &Self) -> Self {
        Self {
            points: Arc::clone(&before.points),
            ..self
        }
    }

    /// The same with a quota.
    pub(crate) fn with_quota(self, bytes: u64) -> Self {
        self.set_quota(bytes);
        self
    }

    /// From now on it may grow to so many bytes; zero: as large as it likes.
    pub(crate) fn set_quota(&self, bytes: u64) {
        self.quota_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How large it may grow; `None` when nobody has said.
    pub(crate) fn quota_bytes(&self) -> Option<u64> {
        let bytes = self.quota_bytes.load(Ordering::Relaxed);
        (bytes > 0).then_some(bytes)
    }

    pub(crate) fn id(&self) -> DbId {
        self.id
    }

    pub(crate) fn kind(&self) -> DbKind {
        self.kind
    }

    pub(crate) fn name(&self) -> Arc<String> {
        self.name.load_full()
    }

    pub(crate) fn rename(&self, name: &str) {
        self.name.store(Arc::new(name.to_owned()));
    }

    pub(crate) fn slot(&self) -> &Arc<WriterSlot> {
        &self.slot
    }

    /// The newest view.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock())
    }

    /// The newest commit.
    pub(crate) fn head(&self) -> Lsn {
        self.view.lock().head().lsn
    }

    /// Pins the newest view.
    pub(crate) fn pin(&self) -> Pin {
        self.pins.pin(|| self.view())
    }

    /// The same for a reader who has had a pin of this database before.
    pub(crate) fn pin_in(&self, seat: Seat) -> Pin {
        seat.pin(|| self.view())
    }

    /// Pins a view of the database for a reader, whatever commit it shows.
    pub(crate) fn pin_view(&self, view: Arc<View>) -> Pin {
        self.pins.pin(|| view)
    }

    /// Pins the newest view for a snapshot or a fork.
    pub(crate) fn pin_point(&self) -> Pin {
        self.points.pin(|| self.view())
    }

    /// Pins the state after a commit for a snapshot or a fork; `None` when it is neither the newest nor in
    /// the log.
    pub(crate) fn pin_point_at(&self, lsn: Lsn) -> Option<Pin> {
        let newest = self.view();
        let view = if newest.head().lsn == lsn {
            newest
        } else {
            Arc::new(newest.at(lsn).filter(|view| view.head().lsn == lsn)?)
        };
        if is_planted(Canary::PagesApartFromLsn) {
            return Some(self.pin_point());
        }
        Some(self.points.pin(|| view))
    }

    /// The commits before `cut` that somebody has pinned in the log, ascending.
    pub(crate) fn pinned_in_log_below(&self, cut: Lsn) -> Vec<Lsn> {
        let mut pinned = self.pins.in_log_below(cut);
        pinned.extend(self.points.in_log_below(cut));
        pinned.sort_unstable();
        pinned.dedup();
        pinned
    }

    /// All commits that somebody has pinned.
    pub(crate) fn pinned(&self) -> BTreeSet<Lsn> {
        let mut pinned = self.pins.lsns();
        pinned.extend(self.points.lsns());
        pinned
    }

    /// Readers of the database.
    pub(crate) fn pin_count(&self) -> usize {
        self.pins.count()
    }

    /// The oldest state that a reader has: the commit, when that was, and whether it needs the log.
    pub(crate) fn oldest_reader(&self) -> Option<(Lsn, u64, bool)> {
        self.pins.oldest()
    }

    /// Replaces the newest view by what `change` makes of it. Returns that, and how many index
    /// entries it added.
    pub(crate) fn publish(&self, change: impl FnOnce(&View) -> View) -> (Arc<View>, i64) {
        self.publish_shared(|view| Arc::new(change(view)))
    }

    /// The same for a change that may have been made before.
    pub(crate) fn publish_shared(
        &self,
        change: impl FnOnce(&Arc<View>) -> Arc<View>,
    ) -> (Arc<View>, i64) {
        let counted = self.publishing.lock();
        let before = self.view();
        let after = change(&before);
        *self.view.lock() = Arc::clone(&after);
        let added = added_entries(*counted, entries(&before), entries(&after));
        (after, added)
    }

    /// Changes the newest view where it is; one that somebody reads stays, and a copy takes its place.
    /// Readers wait for the change: it is to be small. Returns how many index entries it added.
    pub(crate) fn publish_in_place(&self, change: impl FnOnce(&mut View)) -> i64 {
        let counted = self.publishing.lock();
        let mut newest = self.view.lock();
        let before = entries(&newest);
        change(Arc::make_mut(&mut newest));
        added_entries(*counted, before, entries(&newest))
    }

    /// Closes the newest layer and returns the view that a checkpoint may copy: no commit gets
    /// between the two. `None` when it is retired: what it shows then is the head of its last view without its pages.
    pub(crate) fn freeze(&self) -> Option<Arc<View>> {
        let is_in_use = self.publishing.lock();
        if !*is_in_use {
            return None;
        }
        let mut newest = self.view.lock();
        if newest.layer_count() > 0 {
            *newest = Arc::new(newest.frozen());
        }
        Some(Arc::clone(&newest))
    }

    /// The database is gone for its users: its index counts no more, and neither its handles nor its
    /// readers, which answer `Dropped`, keep any of the log. Returns its last view, once.
    pub(crate) fn retire(&self) -> Option<Arc<View>> {
        let mut counted = self.publishing.lock();
        if !std::mem::replace(&mut *counted, false) {
            return None;
        }
        let last = self.view();
        *self.view.lock() = Arc::new(last.emptied());
        self.pins.empty();
        Some(last)
    }

    /// Puts a checkpointed base below the newest view and below the pins that can use it, and what `past`
    /// answers below older ones. Returns how many index entries that took away, as a negative number.
    pub(crate) fn rebase(
        &self,
        cut: Lsn,
        base: &Arc<dyn BasePages>,
        covered: usize,
        past: impl Fn(Lsn) -> Option<Arc<dyn BasePages>>,
    ) -> i64 {
        let (_, added) = self.publish(|view| view.rebased(Arc::clone(base), covered));
        self.pins.rebase(cut, base, covered, &past);
        self.points.rebase(cut, base, covered, &past);
        added
    }

    /// The pages of its newest generation have moved: puts the new place below the newest view and every
    /// pinned one that has `old` below it.
    pub(crate) fn exchange_base(&self, old: &Arc<dyn BasePages>, new: &Arc<dyn BasePages>) {
        self.publish_shared(|view| {
            if Arc::ptr_eq(view.base(), old) {
                Arc::new(view.rebased(Arc::clone(new), 0))
            } else {
                Arc::clone(view)
            }
        });
        self.pins.exchange_base(old, new);
        self.points.exchange_base(old, new);
    }

    /// The database is gone: its handles answer `Dropped` from now on.
    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
        self.slot.close();
    }

    /// A checkpoint met a damaged page: the database takes no more commits, since none of them
    /// could leave the log.
    pub(crate) fn set_damaged(&self, damage: Damage) {
        self.damage.get_or_init(|| damage);
    }

    /// Why it takes no more commits, if so.
    pub(crate) fn damage(&self) -> Option<&Damage> {
        self.damage.get()
    }

    /// Refuses when the database was dropped.
    pub(crate) fn check_live(&self) -> Result<(), ReadError> {
        if self.dropped.load(Ordering::Acquire) {
            Err(ReadError::Dropped)
        } else {
            Ok(())
        }
    }
}

/// What a change of the view is for the store's count of entries.
fn added_entries(counted: bool, before: i64, after: i64) -> i64 {
    if counted { after - before } else { 0 }
}

fn entries(view: &View) -> i64 {
    i64::try_from(view.index_entries()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(super) mod tests;
