//! The index of a record log: what follows, what is refused, what stands where.

use super::index::{Change, Item, LogBounds, LogIndex, Moved};
use crate::error::RecordLogError;
use crate::ids::Lsn;

fn items(terms: &[u64]) -> Vec<Item> {
    let item = |(nth, term): (usize, &u64)| Item {
        place: Lsn::new(100 + 10 * nth as u64),
        term: *term,
        hash: nth as u64,
        bytes: 10,
    };
    terms.iter().enumerate().map(item).collect()
}

fn append(index: &mut LogIndex, first: u64, terms: &[u64], at: u64) {
    index.check_append(first, terms.iter().copied()).unwrap();
    let change = Change::Append {
        first,
        items: items(terms),
    };
    let bounds = index.bounds_after(&change);
    index.apply(&change, Lsn::new(at));
    assert_eq!(
        (bounds.first, bounds.next),
        (index.bounds().first, index.next())
    );
}

fn place(index: &LogIndex, at: u64) -> Option<u64> {
    index.item(at).map(|item| item.place.get())
}

#[test]
fn the_first_index_is_free_and_every_other_one_follows() {
    for first in [0, 1, 7] {
        let mut index = LogIndex::default();
        append(&mut index, first, &[1, 1], 1000);
        assert_eq!((index.bounds().first, index.next()), (first, first + 2));
        for found in [first, first + 1, first + 3] {
            let refused = index.check_append(found, [1]).unwrap_err();
            let expected = first + 2;
            assert!(
                matches!(refused, RecordLogError::Conflict { expected: e, found: f }
                    if e == expected && f == found)
            );
        }
        append(&mut index, first + 2, &[2], 2000);
        assert_eq!(place(&index, first + 1), Some(1110));
        assert_eq!(place(&index, first + 2), Some(2100));
        assert_eq!(index.head(), Lsn::new(2000));
    }
}

#[test]
fn terms_never_decrease_not_even_behind_what_was_purged() {
    let mut index = LogIndex::default();
    append(&mut index, 1, &[3], 1000);
    let refused = index.check_append(2, [4, 3]).unwrap_err();
    assert!(matches!(
        refused,
        RecordLogError::TermDecreases {
            index: 3,
            term: 3,
            before: 4
        }
    ));
    index.apply(&Change::Purge { first: 2, term: 3 }, Lsn::new(2000));
    let refused = index.check_append(2, [2]).unwrap_err();
    assert!(matches!(
        refused,
        RecordLogError::TermDecreases {
            index: 2,
            term: 2,
            before: 3
        }
    ));
    index.check_append(2, [3]).unwrap();
}

#[test]
fn a_cut_a_purge_and_a_start_elsewhere_leave_what_they_should() {
    let mut index = LogIndex::default();
    append(&mut index, 1, &[1, 1, 2, 2, 3], 1000);
    index.apply(&Change::Truncate { next: 5 }, Lsn::new(2000));
    index.apply(&Change::Purge { first: 3, term: 1 }, Lsn::new(3000));
    let bounds = LogBounds {
        first: 3,
        next: 5,
        last_term: 2,
        purged_term: 1,
    };
    assert_eq!(index.bounds(), bounds);
    assert_eq!((place(&index, 2), place(&index, 5)), (None, None));
    assert_eq!(index.payload_bytes(), 20);
    assert_eq!(index.oldest(), Some(Lsn::new(1120)));
    index.apply(&Change::Purge { first: 90, term: 7 }, Lsn::new(4000));
    assert_eq!(
        (index.bounds().first, index.next(), index.last_term()),
        (90, 90, 7)
    );
    assert_eq!(index.payload_bytes(), 0);
    assert_eq!(
        index.oldest(),
        Some(Lsn::new(4000)),
        "its bounds stand in its newest record"
    );
    assert!(!index.is_fresh());
}

#[test]
fn a_moved_entry_stands_in_its_new_place_if_it_stood_in_the_old_one() {
    let mut index = LogIndex::default();
    append(&mut index, 1, &[1, 1], 1000);
    let vote = items(&[0])[0];
    index.apply(&Change::Vote(vote), Lsn::new(2000));
    let moved = |index, old, offset| Moved {
        index,
        old: Lsn::new(old),
        offset,
    };
    let change = Change::Relocate {
        entries: vec![moved(1, 1100, 8), moved(2, 999, 16), moved(3, 1120, 24)],
        vote: Some(moved(0, 2100, 32)),
    };
    index.apply(&change, Lsn::new(5000));
    assert_eq!(
        (place(&index, 1), place(&index, 2)),
        (Some(5008), Some(1110))
    );
    assert_eq!(index.vote().unwrap().place, Lsn::new(5032));
    assert_eq!(index.next(), 3);
    assert_eq!(index.below(Lsn::new(5000)).len(), 1);
    assert_eq!(index.oldest(), Some(Lsn::new(1110)));
}
