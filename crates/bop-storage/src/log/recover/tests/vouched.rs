//! Who is vouched for at the edges: a position that is just held, just covered, just released.

use super::super::databases::{Checkpointed, Databases, Fit, Hole};
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, Lsn, SegmentId};
use std::collections::BTreeMap;

const ONE: DbId = DbId::new(1);

fn damage(lsn: u64) -> Damage {
    let place = Place::Log {
        segment: SegmentId::new(1),
        lsn: Lsn::new(lsn),
    };
    Damage::new(place, Reject::Checksum)
}

fn checkpointed(head: u64, covered: u64) -> Checkpointed {
    Checkpointed {
        head: Lsn::new(head),
        covered: Lsn::new(covered),
    }
}

fn knowing(one: Checkpointed, truncated: u64) -> Databases {
    let known = BTreeMap::from([(ONE, one)]);
    Databases::new(&known, Checkpointed::default(), Lsn::new(truncated))
}

/// Database 1 is named, or all are suspect.
fn hole(end: u64, last: Option<u64>) -> Hole {
    Hole {
        damage: damage(end),
        end: Lsn::new(end),
        named: last.map(|last| BTreeMap::from([(ONE, Lsn::new(last))])),
        renamed: BTreeMap::new(),
    }
}

/// Chunks hold what is up to their newest commit, and what is below the place where they were cut.
#[test]
fn a_record_counts_that_the_chunks_do_not_hold() {
    for (one, lsn, held) in [
        (checkpointed(80, 160), 72, true),
        (checkpointed(80, 160), 80, true),
        (checkpointed(80, 160), 152, true),
        (checkpointed(80, 160), 160, false),
        (checkpointed(80, 0), 80, true),
        (checkpointed(80, 0), 88, false),
    ] {
        let mut databases = knowing(one, 0);
        databases.seen(ONE, Lsn::new(lsn));
        databases.seen(ONE, Lsn::new(200));
        let first = if held { 200 } else { lsn };
        let (damaged, spans) = databases.finish();
        assert_eq!(
            spans[&ONE],
            (Lsn::new(first), Lsn::new(200)),
            "{one:?} {lsn}"
        );
        assert!(damaged.is_empty());
    }
}

#[test]
fn a_hole_costs_nothing_if_the_chunks_hold_all_that_can_have_been_in_it() {
    for (hole, held) in [
        (hole(160, Some(80)), true),
        (hole(160, Some(88)), true),
        (hole(160, Some(120)), false),
        // Nobody knows what was in it: anything below its end.
        (hole(120, None), true),
        (hole(121, None), false),
    ] {
        let mut databases = knowing(checkpointed(80, 120), 0);
        databases.hole(hole.clone());
        let (damaged, _) = databases.finish();
        assert_eq!(!damaged.contains_key(&ONE), held, "{hole:?}");
    }
}

/// The catalogue's chunks hold what gave the database another name, or it is closed, whatever its commits say.
#[test]
fn a_lost_name_is_held_by_the_catalogue_alone() {
    for (catalogue, closed) in [(72, true), (80, false)] {
        let known = BTreeMap::from([(ONE, checkpointed(400, 400))]);
        let mut databases = Databases::new(&known, checkpointed(catalogue, 0), Lsn::ZERO);
        databases.hole(Hole {
            renamed: BTreeMap::from([(ONE, Lsn::new(80))]),
            ..hole(160, Some(80))
        });
        let (damaged, _) = databases.finish();
        assert_eq!(
            damaged.contains_key(&ONE),
            closed,
            "catalogue to {catalogue}"
        );
    }
}

/// Of what a record log had before the log's present beginning nothing is known; of the rest everything.
#[test]
fn a_record_log_goes_on_from_what_was_released_once() {
    let at = damage(0);
    let fit = |databases: &mut Databases, lsn, parent| {
        databases.fit_log(ONE, Lsn::new(lsn), Lsn::new(parent), &at)
    };
    let mut databases = knowing(checkpointed(0, 0), 100);
    assert_eq!(fit(&mut databases, 108, 92), Fit::Next, "released");
    assert_eq!(fit(&mut databases, 116, 108), Fit::Next);
    assert_eq!(fit(&mut databases, 124, 92), Fit::Refused, "not again");
    let mut databases = knowing(checkpointed(0, 0), 100);
    assert_eq!(fit(&mut databases, 108, 100), Fit::Refused, "not released");
}

/// A close record names the head of each database: the one that is found, or one that is not needed any more.
#[test]
fn a_head_that_a_close_record_names_is_found_held_or_released() {
    for (one, truncated, named, lost) in [
        (checkpointed(80, 80), 0, 80, false),
        (checkpointed(80, 80), 0, 88, true),
        (checkpointed(0, 0), 88, 80, false),
        (checkpointed(0, 0), 88, 88, true),
        (checkpointed(0, 0), 88, 96, true),
    ] {
        let mut databases = knowing(one, truncated);
        databases.closed(&[(ONE, Lsn::new(named))], &damage(200));
        let (damaged, _) = databases.finish();
        let what = format!("{one:?} {truncated} {named}");
        assert_eq!(damaged.contains_key(&ONE), lost, "{what}");
    }
}

/// A commit that names the head of its database proves that no hole before it had one of the database's; and
/// so does a close record, of all databases.
#[test]
fn proof_clears_of_the_holes_before_it_and_of_no_later_one() {
    let next = |databases: &mut Databases, lsn, parent| {
        databases.fit(ONE, Lsn::new(lsn), Lsn::new(parent), &damage(lsn))
    };
    let mut databases = knowing(checkpointed(0, 0), 0);
    assert_eq!(next(&mut databases, 8, 0), Fit::Next);
    databases.hole(hole(80, None));
    assert_eq!(next(&mut databases, 88, 8), Fit::Next);
    databases.hole(hole(160, None));
    let (damaged, _) = databases.finish();
    assert_eq!(damaged[&ONE], damage(160), "by the second one");

    let mut databases = knowing(checkpointed(0, 0), 0);
    databases.hole(hole(80, None));
    databases.hole(hole(160, None));
    databases.closed(&[], &damage(168));
    assert!(databases.finish().0.is_empty());

    // And one that was created behind a hole has nothing in it.
    let mut databases = knowing(checkpointed(0, 0), 0);
    let two = DbId::new(2);
    databases.hole(hole(80, None));
    databases.created(two);
    let (damaged, _) = databases.finish();
    assert_eq!(
        (damaged.contains_key(&ONE), damaged.contains_key(&two)),
        (true, false)
    );
}

/// The chunks are what replay goes on from.
#[test]
fn a_commit_is_covered_up_to_the_newest_one_of_the_chunks() {
    let mut databases = knowing(checkpointed(80, 160), 0);
    let mut fit = |lsn, parent| databases.fit(ONE, Lsn::new(lsn), Lsn::new(parent), &damage(lsn));
    assert_eq!(fit(72, 0), Fit::Covered);
    assert_eq!(fit(80, 72), Fit::Covered);
    assert_eq!(fit(168, 80), Fit::Next);
    assert_eq!(fit(176, 80), Fit::Refused);
    assert_eq!(
        fit(184, 168),
        Fit::Refused,
        "nothing behind the one that is lost"
    );
}
