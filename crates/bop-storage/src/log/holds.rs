//! Who still needs which part of the log: the one answer that truncation follows.
//!
//! Owns: a registry of *holds*. A hold names an Lsn; nothing at or above the smallest one is
//! released. Index layers, un-checkpointed catalogue records and open fragment chains hold the log;
//! a reader holds it only through the layers of its view.
//!
//! Invariants
//! - a hold is registered before the position it protects can be passed by truncation, and
//!   unregistered when its last owner is gone (it is counted by `Arc`);
//! - whoever waits for room that a hold keeps is not forgotten: see [`LogHolds::watch`].
//!
//! Never: releases a segment itself.

use super::parts::LogEvents;
use crate::ids::{DbId, Lsn};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a part of the log is needed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// Page versions of a database that no checkpoint covers, or that an old reader still sees.
    Pages(DbId),
    /// Catalogue records that no checkpoint covers.
    Catalogue,
    /// A transaction whose fragments are being written.
    FragmentChain(DbId),
}

/// The registry. One for each store.
#[derive(Debug)]
pub struct LogHolds {
    inner: Mutex<Inner>,
    events: Arc<dyn LogEvents>,
}

#[derive(Debug, Default)]
struct Inner {
    holds: BTreeMap<(Lsn, u64), HoldReason>,
    next: u64,
    /// Below here the log is wanted back.
    watched: Option<Lsn>,
}

impl Inner {
    /// Whether nothing below the watched position is held any more. It is watched no longer then.
    fn take_watched(&mut self) -> bool {
        let Some(bound) = self.watched else {
            return false;
        };
        let oldest = self.holds.first_key_value();
        let free = oldest.is_none_or(|((lsn, _), _)| bound <= *lsn);
        if free {
            self.watched = None;
        }
        free
    }
}

impl LogHolds {
    /// A registry without holds; `events` hears when one that was watched is gone.
    pub fn new(events: Arc<dyn LogEvents>) -> Arc<Self> {
        let inner = Mutex::default();
        Arc::new(Self { inner, events })
    }

    /// The log is full, and what lies below `bound` could be released if nobody held it: says
    /// [`LogEvents::room_wanted`] once when that has come. `None` watches nothing.
    pub fn watch(&self, bound: Option<Lsn>) {
        let mut inner = self.inner.lock();
        inner.watched = bound;
        let free = inner.take_watched();
        drop(inner);
        if free {
            self.events.room_wanted();
        }
    }

    /// Keeps everything from `lsn` on until the hold is dropped.
    pub fn hold(self: &Arc<Self>, lsn: Lsn, reason: HoldReason) -> Arc<LogHold> {
        let mut inner = self.inner.lock();
        let key = (lsn, inner.next);
        inner.next += 1;
        inner.holds.insert(key, reason);
        Arc::new(LogHold {
            registry: Arc::clone(self),
            key,
        })
    }

    /// The oldest position that is needed, and why.
    pub fn oldest(&self) -> Option<(Lsn, HoldReason)> {
        let inner = self.inner.lock();
        inner
            .holds
            .first_key_value()
            .map(|((lsn, _), reason)| (*lsn, *reason))
    }

    /// The oldest position that is needed for a reason that is not `excepted`.
    pub fn oldest_but(&self, excepted: impl Fn(&HoldReason) -> bool) -> Option<Lsn> {
        let inner = self.inner.lock();
        let mut holds = inner.holds.iter();
        let found = holds.find(|(_, reason)| !excepted(reason));
        found.map(|((lsn, _), _)| *lsn)
    }
}

/// Keeps a part of the log while it lives.
#[derive(Debug)]
pub struct LogHold {
    registry: Arc<LogHolds>,
    key: (Lsn, u64),
}

impl LogHold {
    /// The oldest position it keeps.
    pub fn lsn(&self) -> Lsn {
        self.key.0
    }
}

impl Drop for LogHold {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.lock();
        inner.holds.remove(&self.key);
        let free = inner.take_watched();
        drop(inner);
        if free {
            self.registry.events.room_wanted();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts how often room was wanted.
    #[derive(Debug, Default)]
    struct Wanted(AtomicUsize);

    impl LogEvents for Wanted {
        fn batch_written(&self) {}
        fn segment_sealed(&self) {}
        fn room_wanted(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn room_is_wanted_once_when_nothing_below_the_watched_position_is_held() {
        let events = Arc::new(Wanted::default());
        let holds = LogHolds::new(Arc::clone(&events) as _);
        let wanted = || events.0.load(Ordering::Relaxed);
        let [a, b, c] = [10, 20, 90].map(|lsn| holds.hold(Lsn::new(lsn), HoldReason::Catalogue));
        drop(a);
        assert_eq!(wanted(), 0, "nobody watches");
        holds.watch(Some(Lsn::new(50)));
        holds.watch(Some(Lsn::new(80)));
        drop(holds.hold(Lsn::new(10), HoldReason::Catalogue));
        assert_eq!(wanted(), 0, "20 is held");
        drop(b);
        assert_eq!(wanted(), 1);
        drop(c);
        assert_eq!(wanted(), 1, "said once");
        holds.watch(Some(Lsn::new(50)));
        assert_eq!(wanted(), 2, "free already");
        let again = holds.hold(Lsn::new(10), HoldReason::Catalogue);
        holds.watch(Some(Lsn::new(50)));
        holds.watch(None);
        drop(again);
        assert_eq!(wanted(), 2);
    }

    #[test]
    fn the_oldest_hold_decides_until_its_last_owner_is_gone() {
        let holds = LogHolds::new(Arc::new(Wanted::default()));
        assert_eq!(holds.oldest(), None);
        let late = holds.hold(Lsn::new(90), HoldReason::Catalogue);
        let early = holds.hold(Lsn::new(10), HoldReason::Pages(DbId::new(7)));
        let shared = Arc::clone(&early);
        drop(early);
        assert_eq!(
            holds.oldest(),
            Some((Lsn::new(10), HoldReason::Pages(DbId::new(7))))
        );
        let pages = |reason: &HoldReason| matches!(reason, HoldReason::Pages(_));
        assert_eq!(holds.oldest_but(pages), Some(Lsn::new(90)));
        assert_eq!(holds.oldest_but(|_| true), None);
        drop(shared);
        assert_eq!(holds.oldest(), Some((Lsn::new(90), HoldReason::Catalogue)));
        drop(late);
        assert_eq!(holds.oldest(), None);
    }
}
