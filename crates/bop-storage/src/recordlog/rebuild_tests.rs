//! Replay of a record log whose oldest records are gone: the old copy of an entry, its relocated
//! copy and the cut come in all orders, and with any part of them released.

use super::index::{Change, Item, LogIndex, Moved};
use super::rebuild::Rebuild;
use crate::error::Reject;
use crate::ids::{DbId, Lsn, SegmentId};
use crate::log::ReplayedLog;
use crate::log::format::record::RecordKind;
use crate::log::format::{EntryKind, EntryLocation, LogMember};
use proptest::prelude::*;

/// Payloads stand so far behind the start of their record.
const OFFSET: u32 = 64;

/// A log that is written and remembered: each record, and the index after it.
#[derive(Default)]
struct Written {
    index: LogIndex,
    records: Vec<(RecordKind, Lsn, LogMember)>,
}

impl Written {
    fn write(&mut self, kind: RecordKind, change: &Change, entries: Vec<EntryLocation>) {
        let lsn = Lsn::new(1000 * (self.records.len() as u64 + 1));
        let bounds = self.index.bounds_after(change);
        let member = LogMember {
            database: DbId::new(1),
            parent: self.index.head(),
            first: bounds.first,
            first_term: bounds.first_term,
            next: bounds.next,
            vote: self.index.vote().map_or(Lsn::ZERO, |vote| vote.place),
            entries,
        };
        self.index.apply(change, lsn);
        self.records.push((kind, lsn, member));
    }

    fn append(&mut self, count: u64, term: u64) {
        let first = self.index.next().max(1);
        let term = term.max(self.index.last_term());
        let tag = self.records.len() as u64;
        let item = |nth| Item {
            place: Lsn::new(u64::from(OFFSET) + nth),
            term,
            hash: 1000 * tag + nth,
            bytes: 1,
        };
        let items: Vec<Item> = (0..count).map(item).collect();
        let entries = items.iter().zip(first..);
        let entries =
            entries.map(|(item, index)| located(EntryKind::Entry, index, item, Lsn::ZERO));
        let entries = entries.collect();
        self.write(
            RecordKind::Append,
            &Change::Append { first, items },
            entries,
        );
    }

    fn truncate(&mut self, next: u64) {
        self.write(RecordKind::Truncate, &Change::Truncate { next }, Vec::new());
    }

    fn purge(&mut self, first: u64) {
        let term = self.index.item(first - 1).map_or(0, |item| item.term);
        self.write(
            RecordKind::Purge,
            &Change::Purge { first, term },
            Vec::new(),
        );
    }

    fn vote(&mut self) {
        let item = Item {
            place: Lsn::new(OFFSET.into()),
            term: 0,
            hash: self.records.len() as u64,
            bytes: 1,
        };
        let entry = located(EntryKind::Vote, 0, &item, Lsn::ZERO);
        self.write(RecordKind::Vote, &Change::Vote(item), vec![entry]);
    }

    /// Moves what stands below `bound`, as the housekeeper does before it releases that.
    fn relocate(&mut self, bound: Lsn) {
        let mut offset = OFFSET;
        let mut list = Vec::new();
        let mut moved = |kind, index, item: &Item| {
            let moved = Moved {
                index,
                old: item.place,
                offset,
            };
            let at = Item {
                place: Lsn::new(offset.into()),
                ..*item
            };
            list.push(located(kind, index, &at, item.place));
            offset += 1;
            moved
        };
        let below = self.index.below(bound);
        let entries = below
            .iter()
            .map(|(index, item)| moved(EntryKind::Entry, *index, item));
        let entries = entries.collect();
        let vote = self.index.vote().filter(|vote| vote.place < bound);
        let vote = vote.map(|item| moved(EntryKind::Vote, 0, &item));
        self.write(
            RecordKind::Relocate,
            &Change::Relocate { entries, vote },
            list,
        );
    }

    /// What replay makes of the records from the `nth` on.
    fn replay(&self, nth: usize) -> Result<LogIndex, Reject> {
        let mut rebuild = Rebuild::default();
        for (kind, lsn, log) in &self.records[nth..] {
            rebuild.apply(&ReplayedLog {
                lsn: *lsn,
                segment: SegmentId::new(1),
                time_us: 0,
                kind: *kind,
                log,
            })?;
        }
        rebuild.finish()
    }

    /// The first record that has to be there.
    fn oldest_needed(&self) -> usize {
        let Some(oldest) = self.index.oldest() else {
            return self.records.len();
        };
        let at = self.records.partition_point(|(_, lsn, _)| *lsn <= oldest);
        at - 1
    }
}

fn located(kind: EntryKind, index: u64, item: &Item, old: Lsn) -> EntryLocation {
    EntryLocation {
        kind,
        index,
        term: item.term,
        old,
        hash: item.hash,
        offset: u32::try_from(item.place.get()).unwrap(),
        bytes: item.bytes,
    }
}

#[test]
fn what_was_cut_does_not_come_back_with_its_moved_copy() {
    // Old copy, moved copy, cut, and another entry of that index.
    let mut log = Written::default();
    log.append(3, 1);
    log.relocate(Lsn::new(1500));
    log.truncate(2);
    log.append(1, 2);
    for nth in [0, 1] {
        assert_eq!(log.replay(nth), Ok(log.index.clone()), "from record {nth}");
    }
    // Old copy, cut, another entry, and then what is live is moved.
    let mut log = Written::default();
    log.append(3, 1);
    log.truncate(2);
    log.append(1, 2);
    log.relocate(Lsn::new(3500));
    for nth in 0..=3 {
        assert_eq!(log.replay(nth), Ok(log.index.clone()), "from record {nth}");
    }
}

#[test]
fn a_moved_copy_that_was_overtaken_by_a_cut_is_passed_by() {
    // No version of ours writes this: the writer of a log is held while it is moved.
    let mut log = Written::default();
    log.append(3, 1);
    let stale = {
        let mut other = Written::default();
        other.append(3, 1);
        other.relocate(Lsn::new(1500));
        other.records.remove(1).2
    };
    log.truncate(2);
    log.append(1, 2);
    let expected = log.index.clone();
    let bounds = (log.index.bounds().first, log.index.next());
    let head = log.index.head();
    let overtaken = LogMember {
        parent: head,
        next: bounds.1,
        entries: stale.entries[..2].to_vec(),
        ..stale
    };
    log.records
        .push((RecordKind::Relocate, Lsn::new(4000), overtaken));
    let found = log.replay(0).unwrap();
    assert_eq!(
        found.item(2),
        expected.item(2),
        "index 2 stands elsewhere by now"
    );
    assert_eq!(
        found.item(1).unwrap().place,
        Lsn::new(4000 + u64::from(OFFSET))
    );
}

#[test]
fn a_lost_move_makes_the_log_damaged_and_not_shorter() {
    let mut log = Written::default();
    log.append(3, 1);
    log.vote();
    log.append(1, 1);
    log.relocate(Lsn::new(2500));
    assert_eq!(log.replay(2), Ok(log.index.clone()));
    log.records.pop();
    assert!(
        log.replay(2).is_err(),
        "three entries and a vote are missing"
    );
    let mut log = Written::default();
    log.vote();
    log.append(1, 1);
    assert!(log.replay(1).is_err(), "a vote is missing");
    assert_eq!(log.replay(0), Ok(log.index.clone()));
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u64),
    Truncate(u64),
    Purge(u64),
    Vote,
    Relocate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u64, 0..4_u64).prop_map(|(count, term)| Step::Append(count, term)),
        2 => any::<u64>().prop_map(Step::Truncate),
        2 => any::<u64>().prop_map(Step::Purge),
        1 => Just(Step::Vote),
        3 => any::<usize>().prop_map(Step::Relocate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn replay_of_whatever_is_left_is_what_was_there(steps in prop::collection::vec(step(), 1..40)) {
        let mut log = Written::default();
        for step in steps {
            let (first, next) = (log.index.bounds().first, log.index.next());
            match step {
                Step::Append(count, term) => log.append(count, log.index.last_term() + term / 3),
                Step::Truncate(at) if first < next => log.truncate(first + at % (next - first)),
                Step::Purge(at) if first < next => log.purge(first + 1 + at % (next - first)),
                Step::Vote => log.vote(),
                Step::Relocate(nth) if !log.records.is_empty() => {
                    log.relocate(log.records[nth % log.records.len()].1);
                }
                _ => {}
            }
            for nth in 0..=log.oldest_needed().min(log.records.len().saturating_sub(1)) {
                if !log.records.is_empty() {
                    prop_assert_eq!(log.replay(nth), Ok(log.index.clone()), "from record {}", nth);
                }
            }
        }
    }
}
