//! The index of one record log, in memory: where each live entry stands, and the hard state.
//!
//! ```text
//!   purged            live                      not yet there
//!   ...... first-1 | first ... next-1 | next ......
//! ```
//! Invariants
//! - the live entries are `first..next` without a hole, their terms never decrease;
//! - an entry's *place*, the Lsn of its payload, changes by relocation alone;
//! - an index is changed by [`LogIndex::apply`] with what stands durable in the log, and by
//!   [`pending`](super::pending) with what is to.
//!
//! Never: does I/O, holds a payload.

use crate::error::RecordLogError;
use crate::ids::Lsn;
use std::collections::VecDeque;

/// Where an entry or a hard state stands, and what it must hash to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The Lsn of its payload.
    pub place: Lsn,
    /// Its term.
    pub term: u64,
    /// What log, index, term and payload hash to.
    pub hash: u64,
    /// Bytes of its payload.
    pub bytes: u32,
}
const _: () = assert!(size_of::<Item>() == 32);

/// What log bytes a live entry costs beside its payload, and a log beside its entries.
const ENTRY_COST: u64 = 48;
const LOG_COST: u64 = 192;

/// The bounds of a record log.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LogBounds {
    /// The index of its oldest entry; everything before is purged.
    pub first: u64,
    /// The index behind its newest entry. The log is empty where it is `first`.
    pub next: u64,
    /// The term of its newest entry, or of the last one that was purged; 0 when there never was one.
    pub last_term: u64,
    /// The term of the entry before `first`; 0 when there never was one.
    pub purged_term: u64,
}

/// The bounds as records carry them.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) first: u64,
    pub(crate) first_term: u64,
    pub(crate) next: u64,
}

/// An entry that is written again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    /// Its index; of no meaning for a hard state.
    pub(crate) index: u64,
    /// Where its payload stood.
    pub(crate) old: Lsn,
    /// Where it stands now, from the start of the record.
    pub(crate) offset: u32,
}

/// What one record does to a log. Places are offsets in the record.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// New entries from `first` on; in each item, `place` is the offset.
    Append { first: u64, items: Vec<Item> },
    /// Entries from `next` on are cut.
    Truncate { next: u64 },
    /// Entries before `first` are forgotten; the one before had term `term`.
    Purge { first: u64, term: u64 },
    /// A new hard state; `place` is the offset.
    Vote(Item),
    /// Live entries, and perhaps the hard state, stand in this record now.
    Relocate {
        entries: Vec<Moved>,
        vote: Option<Moved>,
    },
}

/// The index of one record log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogIndex {
    pub(super) first: u64,
    pub(super) first_term: u64,
    pub(super) items: VecDeque<Item>,
    /// Its newest record; zero before the first.
    pub(super) head: Lsn,
    pub(super) payload_bytes: u64,
    pub(super) vote: Vote,
}

/// Where the hard state stands: an [`Item`] without a term; at zero without one.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Vote {
    place: Lsn,
    hash: u64,
    bytes: u32,
}

impl LogIndex {
    pub(crate) fn head(&self) -> Lsn {
        self.head
    }

    pub(crate) fn next(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    pub(crate) fn last_term(&self) -> u64 {
        self.items.back().map_or(self.first_term, |item| item.term)
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    pub(crate) fn vote(&self) -> Option<Item> {
        let Vote { place, hash, bytes } = self.vote;
        let item = Item {
            place,
            term: 0,
            hash,
            bytes,
        };
        (place != Lsn::ZERO).then_some(item)
    }

    pub(super) fn set_vote(&mut self, item: Item) {
        let Item {
            place, hash, bytes, ..
        } = item;
        self.vote = Vote { place, hash, bytes };
    }

    pub(crate) fn bounds(&self) -> LogBounds {
        LogBounds {
            first: self.first,
            next: self.next(),
            last_term: self.last_term(),
            purged_term: self.first_term,
        }
    }

    /// Nothing was ever appended or purged (or all of it was cut): it may start at any index.
    pub(crate) fn is_fresh(&self) -> bool {
        self.first == 0 && self.first_term == 0 && self.items.is_empty()
    }

    /// A live entry.
    pub(crate) fn item(&self, index: u64) -> Option<Item> {
        let nth = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.items.get(nth).copied()
    }

    /// Bytes of the log that what is live needs.
    pub(crate) fn live_bytes(&self) -> u64 {
        if self.head == Lsn::ZERO {
            return 0;
        }
        let vote = self.vote().map_or(0, |vote| u64::from(vote.bytes));
        LOG_COST + self.payload_bytes + vote + ENTRY_COST * self.items.len() as u64
    }

    /// Bytes of the log that new entries with such payloads add to [`LogIndex::live_bytes`].
    pub(crate) fn append_bytes(entries: usize, payload_bytes: u64) -> u64 {
        ENTRY_COST * entries as u64 + payload_bytes
    }

    /// The oldest position of the log that is needed for it.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        if self.head == Lsn::ZERO {
            return None;
        }
        let places = self.items.iter().map(|item| item.place);
        let vote = self.vote().map(|vote| vote.place);
        places.chain(vote).min().or(Some(self.head))
    }

    /// The live entries that stand below `bound`.
    pub(crate) fn below(&self, bound: Lsn) -> Vec<(u64, Item)> {
        let numbered = (self.first..).zip(self.items.iter().copied());
        numbered.filter(|(_, item)| item.place < bound).collect()
    }

    /// Whether entries with these terms can be appended from `first` on.
    pub(crate) fn check_append(
        &self,
        first: u64,
        terms: impl IntoIterator<Item = u64>,
    ) -> Result<(), RecordLogError> {
        let expected = self.next();
        if first != expected && !self.is_fresh() {
            return Err(RecordLogError::Conflict {
                expected,
                found: first,
            });
        }
        let mut last = self.last_term();
        for (index, term) in (first..).zip(terms) {
            if term < last {
                return Err(RecordLogError::TermDecreases {
                    index,
                    term,
                    before: last,
                });
            }
            last = term;
        }
        Ok(())
    }

    /// The bounds after a change.
    pub(crate) fn bounds_after(&self, change: &Change) -> Bounds {
        let (mut first, mut first_term, mut next) = (self.first, self.first_term, self.next());
        match change {
            Change::Append { first: at, items } => {
                if self.is_fresh() {
                    first = *at;
                }
                next = at + items.len() as u64;
            }
            Change::Truncate { next: cut } => next = *cut,
            Change::Purge { first: kept, term } => {
                (first, first_term, next) = (*kept, *term, next.max(*kept));
            }
            Change::Vote(_) | Change::Relocate { .. } => {}
        }
        Bounds {
            first,
            first_term,
            next,
        }
    }

    /// Applies a change whose record stands at `at`.
    pub(crate) fn apply(&mut self, change: &Change, at: Lsn) {
        self.head = at;
        let placed = |offset: u64| Lsn::new(at.get() + offset);
        match change {
            Change::Append { first, items } => {
                if self.is_fresh() {
                    self.first = *first;
                }
                self.payload_bytes += items.iter().map(|item| u64::from(item.bytes)).sum::<u64>();
                self.items.extend(items.iter().map(|item| Item {
                    place: placed(item.place.get()),
                    ..*item
                }));
            }
            Change::Truncate { next } => {
                let kept = next.saturating_sub(self.first);
                let kept = usize::try_from(kept)
                    .unwrap_or(usize::MAX)
                    .min(self.items.len());
                let cut: u64 = self
                    .items
                    .drain(kept..)
                    .map(|item| u64::from(item.bytes))
                    .sum();
                self.payload_bytes -= cut;
            }
            Change::Purge { first, term } => {
                let gone = usize::try_from(first.saturating_sub(self.first)).unwrap_or(usize::MAX);
                let gone = gone.min(self.items.len());
                let cut: u64 = self
                    .items
                    .drain(..gone)
                    .map(|item| u64::from(item.bytes))
                    .sum();
                self.payload_bytes -= cut;
                (self.first, self.first_term) = (*first, *term);
            }
            Change::Vote(item) => {
                let place = placed(item.place.get());
                self.set_vote(Item { place, ..*item });
            }
            Change::Relocate { entries, vote } => {
                for moved in entries {
                    let nth = moved.index.checked_sub(self.first);
                    let nth = nth.and_then(|nth| usize::try_from(nth).ok());
                    if let Some(item) = nth.and_then(|nth| self.items.get_mut(nth))
                        && item.place == moved.old
                    {
                        item.place = placed(moved.offset.into());
                    }
                }
                if let Some(moved) = vote
                    && self.vote.place == moved.old
                {
                    self.vote.place = placed(moved.offset.into());
                }
            }
        }
        // An idle log is to be small, whatever it once held.
        if self.items.capacity() > 16 && self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(2 * self.items.len());
        }
    }
}
