//! Who still needs which part of the log: the one answer that truncation follows.
//!
//! Owns: a registry of *holds*. A hold names an Lsn; nothing at or above the smallest one is
//! released. Index layers, un-checkpointed catalogue records, open fragment chains and what is live
//! of record logs hold the log; a reader holds it only through the layers of its view. Cursors over
//! commits are no holds: what is kept for them is what nobody else needs, and has a bound of its own.
//!
//! Invariants
//! - a hold is registered before the position it protects can be passed by truncation, and
//!   unregistered when its last owner is gone (it is counted by `Arc`);
//! - whoever waits for room that a hold keeps is not forgotten: see [`LogHolds::watch`].
//!
//! Never: releases a segment itself.

use super::parts::LogEvents;
use crate::ids::{DbId, Lsn};
use crate::runtime::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
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
    /// What is live of a record log. It moves to the head of the log when the rest is wanted back.
    Records(DbId),
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
    /// One for each record log that has anything; there may be very many, so they are small.
    records: BTreeSet<(Lsn, DbId)>,
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
        let free = self.oldest().is_none_or(|(lsn, _)| bound <= lsn);
        if free {
            self.watched = None;
        }
        free
    }

    fn oldest(&self) -> Option<(Lsn, HoldReason)> {
        let hold = self.holds.first_key_value();
        let hold = hold.map(|((lsn, _), reason)| (*lsn, *reason));
        let records = self.records.first();
        let records = records.map(|(lsn, database)| (*lsn, HoldReason::Records(*database)));
        [hold, records]
            .into_iter()
            .flatten()
            .min_by_key(|(lsn, _)| *lsn)
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

    /// Moves the hold of a record log from one position to another; zero stands for none.
    pub fn hold_records(&self, database: DbId, from: Lsn, to: Lsn) {
        let mut inner = self.inner.lock();
        if to != Lsn::ZERO {
            inner.records.insert((to, database));
        }
        if from != Lsn::ZERO && from != to {
            inner.records.remove(&(from, database));
        }
        let free = inner.take_watched();
        drop(inner);
        if free {
            self.events.room_wanted();
        }
    }

    /// The record logs that need something below `bound`, ascending.
    pub fn records_below(&self, bound: Lsn) -> BTreeSet<DbId> {
        let inner = self.inner.lock();
        let below = inner.records.iter().take_while(|(lsn, _)| *lsn < bound);
        below.map(|(_, database)| *database).collect()
    }

    /// All positions that are needed, and why, oldest first.
    pub fn all(&self) -> Vec<(Lsn, HoldReason)> {
        let inner = self.inner.lock();
        let holds = inner.holds.iter().map(|((lsn, _), reason)| (*lsn, *reason));
        let records = inner.records.iter();
        let records = records.map(|(lsn, database)| (*lsn, HoldReason::Records(*database)));
        let mut all: Vec<(Lsn, HoldReason)> = holds.chain(records).collect();
        all.sort_by_key(|(lsn, _)| *lsn);
        all
    }

    /// The oldest position that is needed, and why.
    pub fn oldest(&self) -> Option<(Lsn, HoldReason)> {
        self.inner.lock().oldest()
    }

    /// The oldest position that is needed for a reason that is not `excepted`.
    pub fn oldest_but(&self, excepted: impl Fn(&HoldReason) -> bool) -> Option<Lsn> {
        let inner = self.inner.lock();
        let mut holds = inner.holds.iter();
        let found = holds.find(|(_, reason)| !excepted(reason));
        let mut records = inner.records.iter();
        let of_records = records.find(|(_, database)| !excepted(&HoldReason::Records(*database)));
        let found = found.map(|((lsn, _), _)| *lsn);
        found
            .into_iter()
            .chain(of_records.map(|(lsn, _)| *lsn))
            .min()
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
        fn segment_sealed(&self, _: usize) {}
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
    fn the_hold_of_a_record_log_moves_and_counts_like_any_other() {
        let events = Arc::new(Wanted::default());
        let holds = LogHolds::new(Arc::clone(&events) as _);
        let (one, two) = (DbId::new(1), DbId::new(2));
        holds.hold_records(one, Lsn::ZERO, Lsn::new(10));
        holds.hold_records(two, Lsn::ZERO, Lsn::new(20));
        let other = holds.hold(Lsn::new(15), HoldReason::Catalogue);
        assert_eq!(
            holds.oldest(),
            Some((Lsn::new(10), HoldReason::Records(one)))
        );
        assert_eq!(holds.records_below(Lsn::new(20)), BTreeSet::from([one]));
        assert_eq!(
            holds.records_below(Lsn::new(21)),
            BTreeSet::from([one, two])
        );
        let records = |reason: &HoldReason| matches!(reason, HoldReason::Records(_));
        assert_eq!(holds.oldest_but(records), Some(Lsn::new(15)));
        let first = |reason: &HoldReason| *reason == HoldReason::Records(one);
        assert_eq!(holds.oldest_but(first), Some(Lsn::new(15)));
        holds.watch(Some(Lsn::new(18)));
        drop(other);
        assert_eq!(events.0.load(Ordering::Relaxed), 0, "10 is held");
        holds.hold_records(one, Lsn::new(10), Lsn::new(90));
        assert_eq!(events.0.load(Ordering::Relaxed), 1);
        assert_eq!(
            holds.oldest(),
            Some((Lsn::new(20), HoldReason::Records(two)))
        );
        holds.hold_records(two, Lsn::new(20), Lsn::ZERO);
        assert_eq!(
            holds.oldest(),
            Some((Lsn::new(90), HoldReason::Records(one)))
        );
    }

    #[test]
    fn two_who_hold_the_same_position_let_go_of_it_one_by_one() {
        let holds = LogHolds::new(Arc::new(Wanted::default()));
        let [a, b, c] = [(); 3].map(|()| holds.hold(Lsn::new(10), HoldReason::Catalogue));
        drop(b);
        drop(a);
        assert_eq!(holds.all(), [(Lsn::new(10), HoldReason::Catalogue)]);
        drop(c);
        assert_eq!(holds.oldest(), None);
    }

    #[test]
    fn a_record_log_that_does_not_move_keeps_its_hold_and_all_are_told_oldest_first() {
        let holds = LogHolds::new(Arc::new(Wanted::default()));
        let (one, two) = (DbId::new(1), DbId::new(2));
        let pages = holds.hold(Lsn::new(20), HoldReason::Pages(two));
        holds.hold_records(one, Lsn::ZERO, Lsn::new(10));
        holds.hold_records(one, Lsn::new(10), Lsn::new(10));
        holds.hold_records(two, Lsn::ZERO, Lsn::new(30));
        assert_eq!(
            holds.all(),
            [
                (Lsn::new(10), HoldReason::Records(one)),
                (Lsn::new(20), HoldReason::Pages(two)),
                (Lsn::new(30), HoldReason::Records(two)),
            ]
        );
        assert_eq!(pages.lsn(), Lsn::new(20));
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
