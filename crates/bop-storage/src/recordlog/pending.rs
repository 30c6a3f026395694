//! The appends of one record log that readers see and the device may not have yet.
//!
//! ```text
//!   placed --expose--> in the index, and here --durable--> settled: not here any more
//!                                      '------failed-----> undone, with all that stand upon it
//! ```
//! Invariants
//! - what is here are appends alone, in the order of the log, each upon the one before: whatever
//!   else a log does is applied once it is durable, and then so is all that was here;
//! - an append whose ground was undone is never exposed.
//!
//! Never: decides whether something is durable.

use super::index::{Change, LogIndex};
use crate::ids::Lsn;

/// One append: where its record stands, and what the index was before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Pending {
    at: Lsn,
    next: u64,
    first: u64,
    head: Lsn,
}

/// The appends.
#[derive(Debug, Default)]
pub(super) struct PendingAppends(Vec<Pending>);

impl PendingAppends {
    /// Applies an append at `at` that was made of an index with the head `parent`. `false` when that
    /// index is not this one any more: what it stands on has failed, and so will it.
    pub(super) fn expose(
        &mut self,
        index: &mut LogIndex,
        change: &Change,
        at: Lsn,
        parent: Lsn,
    ) -> bool {
        if index.head() != parent {
            return false;
        }
        self.0.push(Pending {
            at,
            next: index.next(),
            first: index.first,
            head: parent,
        });
        index.apply(change, at);
        true
    }

    /// Everything up to `at` is durable.
    pub(super) fn settle(&mut self, at: Lsn) {
        self.0.retain(|one| one.at > at);
    }

    /// The append at `at` has failed: it goes, and all that were appended since.
    pub(super) fn undo(&mut self, index: &mut LogIndex, at: Lsn) {
        let Some(nth) = self.0.iter().position(|one| one.at == at) else {
            return;
        };
        let Pending {
            next, first, head, ..
        } = self.0[nth];
        self.0.truncate(nth);
        if head == Lsn::ZERO {
            // Its first record.
            *index = LogIndex::default();
            return;
        }
        let cut = if index.first == first {
            next
        } else {
            index.first
        };
        index.apply(&Change::Truncate { next: cut }, head);
        // Of a log without entries that had none before either, any index may be the first.
        index.first = first;
    }

    /// Whether everything is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;

    fn append(first: u64, terms: &[u64]) -> Change {
        let item = |term: &u64| Item {
            place: Lsn::new(100 + term),
            term: *term,
            hash: *term,
            bytes: 7,
        };
        let items = terms.iter().map(item).collect();
        Change::Append { first, items }
    }

    #[test]
    fn what_failed_goes_with_all_that_stands_upon_it() {
        let (mut index, mut pending) = (LogIndex::default(), PendingAppends::default());
        index.apply(&append(5, &[1, 1]), Lsn::new(1000));
        let durable = index.clone();
        let expose = |pending: &mut PendingAppends, index: &mut LogIndex, first, at, parent| {
            let (at, parent) = (Lsn::new(at), Lsn::new(parent));
            pending.expose(index, &append(first, &[2, 3]), at, parent)
        };
        assert!(expose(&mut pending, &mut index, 7, 2000, 1000));
        let first_one = index.clone();
        assert!(expose(&mut pending, &mut index, 9, 3000, 2000));
        assert!(expose(&mut pending, &mut index, 11, 4000, 3000));
        assert_eq!((index.next(), pending.is_empty()), (13, false));
        pending.settle(Lsn::new(2000));
        pending.undo(&mut index, Lsn::new(3000));
        assert_eq!(index, first_one);
        assert!(pending.is_empty());
        // Told of the others, it finds nothing more; nor is one exposed that stood on them.
        pending.undo(&mut index, Lsn::new(4000));
        pending.undo(&mut index, Lsn::new(2000));
        assert!(!expose(&mut pending, &mut index, 13, 5000, 4000));
        assert_eq!(index, first_one);
        assert_ne!(first_one, durable);
    }

    #[test]
    fn a_log_is_as_fresh_as_before() {
        let (mut index, mut pending) = (LogIndex::default(), PendingAppends::default());
        assert!(pending.expose(&mut index, &append(9, &[4]), Lsn::new(50), Lsn::ZERO));
        pending.undo(&mut index, Lsn::new(50));
        assert_eq!(index, LogIndex::default());
        // The same of one with a hard state.
        let vote = Item {
            place: Lsn::new(1),
            term: 0,
            hash: 3,
            bytes: 2,
        };
        index.apply(&Change::Vote(vote), Lsn::new(60));
        let before = index.clone();
        assert!(pending.expose(&mut index, &append(9, &[4]), Lsn::new(70), Lsn::new(60)));
        assert_eq!(index.bounds().first, 9);
        pending.undo(&mut index, Lsn::new(70));
        assert_eq!(index, before);
        assert!(index.is_fresh());
    }
}
