//! From the records of the log to the index of a record log, as it was.
//!
//! The records before the oldest segment are gone. What was live in them was relocated, so it comes
//! later in the log than what was appended behind it: until then its places are *missing*. The
//! oldest record that is left says which entries there must be.
//!
//! ```text
//! nothing --first record: its bounds--> incomplete --relocated entries fill it--> complete
//! ```
//! Invariants
//! - a relocated entry takes its place only where that index still stands at the old place, or
//!   stood before everything that was read: what was cut, or written again, never comes back;
//! - a log with a place that nothing filled is damaged, never shorter.
//!
//! Never: trusts that an index is in order because its record is sound.

use super::index::{Item, LogIndex};
use crate::error::Reject;
use crate::ids::Lsn;
use crate::log::ReplayedLog;
use crate::log::format::record::RecordKind;
use crate::log::format::{EntryKind, EntryLocation, LogMember};
use std::collections::BTreeMap;

/// A record log that is being read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuild {
    first: u64,
    first_term: u64,
    next: u64,
    head: Lsn,
    /// The oldest record that was read: what stands before it is not known.
    since: Lsn,
    entries: BTreeMap<u64, Item>,
    vote: Option<Item>,
    /// Where the vote stood before the oldest record; zero without one, or once it was replaced.
    vote_missing: Lsn,
}

impl Rebuild {
    /// Applies the log's next record.
    pub(crate) fn apply(&mut self, record: &ReplayedLog<'_>) -> Result<(), Reject> {
        let log = record.log;
        if self.head == Lsn::ZERO {
            self.since = record.lsn;
            self.vote_missing = log.vote;
            if log.parent != Lsn::ZERO {
                (self.first, self.first_term, self.next) = before(record.kind, log);
            }
        }
        match record.kind {
            RecordKind::Append => self.append(record)?,
            RecordKind::Truncate => {
                ensure(
                    log.next <= self.next,
                    "a cut behind the end of a record log",
                )?;
                drop(self.entries.split_off(&log.next));
                self.next = log.next;
            }
            RecordKind::Purge => {
                ensure(self.first <= log.first, "a purge of what was purged")?;
                self.entries = self.entries.split_off(&log.first);
                (self.first, self.first_term) = (log.first, log.first_term);
                self.next = self.next.max(log.first);
            }
            RecordKind::Vote => {
                for entry in &log.entries {
                    self.vote = Some(item(record.lsn, entry));
                    self.vote_missing = Lsn::ZERO;
                }
            }
            _ => self.relocate(record),
        }
        let bounds = (self.first, self.first_term, self.next);
        ensure(
            bounds == (log.first, log.first_term, log.next),
            "a record log with other bounds than its record says",
        )?;
        self.head = record.lsn;
        Ok(())
    }

    fn append(&mut self, record: &ReplayedLog<'_>) -> Result<(), Reject> {
        let log = record.log;
        let start = log.entries.first().map_or(log.next, |entry| entry.index);
        if self.first == 0 && self.first_term == 0 && self.next == 0 {
            (self.first, self.next) = (start, start);
        }
        ensure(start == self.next, "an append that does not follow")?;
        for entry in &log.entries {
            self.entries.insert(entry.index, item(record.lsn, entry));
        }
        self.next = log.next;
        Ok(())
    }

    fn relocate(&mut self, record: &ReplayedLog<'_>) {
        for entry in &record.log.entries {
            let moved = item(record.lsn, entry);
            let from_before = entry.old < self.since;
            if entry.kind == EntryKind::Vote {
                match self.vote {
                    Some(vote) if vote.place == entry.old => self.vote = Some(moved),
                    None if self.vote_missing == entry.old => {
                        self.vote = Some(moved);
                        self.vote_missing = Lsn::ZERO;
                    }
                    _ => {}
                }
                continue;
            }
            let there = (self.first..self.next).contains(&entry.index);
            let stands = match self.entries.get(&entry.index) {
                Some(found) => found.place == entry.old,
                None => from_before,
            };
            if there && stands {
                self.entries.insert(entry.index, moved);
            }
        }
    }

    /// Its newest record; zero before the first.
    pub(crate) fn head(&self) -> Lsn {
        self.head
    }

    /// Whether every entry that there must be was found.
    pub(crate) fn is_complete(&self) -> bool {
        let there = self.entries.len() as u64;
        self.first + there == self.next && self.vote_missing == Lsn::ZERO
    }

    /// Whether the hard state, or the entry at `index`, stands at `place`.
    pub(crate) fn stands_at(&self, kind: EntryKind, index: u64, place: Lsn) -> bool {
        let found = match kind {
            EntryKind::Vote => self.vote.as_ref(),
            EntryKind::Entry => self.entries.get(&index),
        };
        found.is_some_and(|item| item.place == place)
    }

    /// The index, if all of it was found.
    pub(crate) fn finish(self) -> Result<LogIndex, Reject> {
        ensure(
            self.is_complete(),
            "a record log whose relocated entries are not all there",
        )?;
        let terms = std::iter::once(self.first_term).chain(self.entries.values().map(|e| e.term));
        ensure(terms.is_sorted(), "terms of a record log that decrease")?;
        let sizes = self.entries.values().map(|item| u64::from(item.bytes));
        let mut index = LogIndex {
            first: self.first,
            first_term: self.first_term,
            payload_bytes: sizes.sum(),
            items: self.entries.into_values().collect(),
            head: self.head,
            ..LogIndex::default()
        };
        if let Some(vote) = self.vote {
            index.set_vote(vote);
        }
        Ok(index)
    }
}

/// The bounds before the oldest record that is left. Those behind it that a cut or a purge took
/// are of no interest.
fn before(kind: RecordKind, log: &LogMember) -> (u64, u64, u64) {
    let next = match (kind, log.entries.first()) {
        (RecordKind::Append, Some(entry)) => entry.index,
        _ => log.next,
    };
    (log.first, log.first_term, next)
}

/// Where an entry of the record at `record` stands.
pub(crate) fn item(record: Lsn, entry: &EntryLocation) -> Item {
    Item {
        place: Lsn::new(record.get() + u64::from(entry.offset)),
        term: entry.term,
        hash: entry.hash,
        bytes: entry.bytes,
    }
}

fn ensure(holds: bool, what: &'static str) -> Result<(), Reject> {
    if holds {
        Ok(())
    } else {
        Err(Reject::Invalid(what))
    }
}
