//! Forks, snapshots and restores that are refused, each with its reason, and what a restore is made of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use super::lineage_reference::{limits, point};
use bop_storage::Limits;
use bop_storage::catalogue::{
    Catalogue, CatalogueChange, DatabaseState, DbName, Point, Restore, Retention,
};
use bop_storage::error::{CatalogueError, Damage, Place, Reject};
use bop_storage::ids::{DbId, DbKind, Lsn, PageNo};
use bop_storage::log::format::{CatalogueEntry, CatalogueOp, encode_catalogue};
use std::collections::BTreeSet;

pub(crate) const fn id(number: u64) -> DbId {
    DbId::new(number)
}

pub(crate) fn name(text: &str) -> DbName {
    DbName::new(text).unwrap()
}

pub(crate) fn create(number: u64, text: &str, kind: DbKind) -> CatalogueChange {
    CatalogueChange::Create {
        id: id(number),
        name: name(text),
        kind,
    }
}

pub(crate) fn fork(number: u64, text: &str, origin: Point) -> CatalogueChange {
    CatalogueChange::Fork {
        id: id(number),
        name: name(text),
        kind: DbKind::Raw,
        origin,
    }
}

pub(crate) fn snapshot(owner: u64, text: &str, point: Point) -> CatalogueChange {
    CatalogueChange::Snapshot {
        id: id(owner),
        name: name(text),
        point,
    }
}

pub(crate) fn drop_now(number: u64) -> CatalogueChange {
    CatalogueChange::Drop {
        id: id(number),
        keep_us: 0,
    }
}

fn adopt(number: u64, from: u64) -> CatalogueChange {
    CatalogueChange::Adopt {
        id: id(number),
        from: id(from),
    }
}

pub(crate) fn apply(catalogue: &mut Catalogue, change: &CatalogueChange) -> BTreeSet<DbId> {
    let lsn = catalogue.last_lsn().get() + 10;
    catalogue.apply(change, Lsn::new(lsn), lsn).unwrap()
}

/// 1 `one`, with the snapshot `before`; 2 `two`, a fork of it; 3 a tombstone that 2's snapshot `old` needs
/// at 5; 4 dropped and kept; 5 another kind; 6 a record log; 7 a tombstone that nobody needs; 8 `eight`,
/// with a snapshot `Old`.
fn sample() -> Catalogue {
    let mut catalogue = Catalogue::new();
    for change in [
        create(1, "one", DbKind::Raw),
        fork(2, "two", point((1, 3))),
        create(3, "three", DbKind::Raw),
        create(4, "four", DbKind::Raw),
        create(5, "five", DbKind::Sqlite),
        create(6, "six", DbKind::Log),
        create(7, "seven", DbKind::Raw),
        create(8, "eight", DbKind::Raw),
        snapshot(1, "before", point((1, 2))),
        snapshot(2, "old", point((3, 5))),
        snapshot(8, "Old", point((8, 1))),
        drop_now(3),
        CatalogueChange::Drop {
            id: id(4),
            keep_us: 9,
        },
        drop_now(7),
    ] {
        apply(&mut catalogue, &change);
    }
    catalogue
}

#[test]
fn impossible_records_are_refused_and_change_nothing() {
    let catalogue = sample();
    let other_kind = CatalogueChange::Fork {
        id: id(9),
        name: name("nine"),
        kind: DbKind::Sqlite,
        origin: point((1, 3)),
    };
    let no_pages = Point {
        page_size: None,
        ..point((1, 1))
    };
    let gone = CatalogueChange::SnapshotDrop {
        id: id(1),
        name: name("behind"),
    };
    for (change, why) in [
        (fork(9, "nine", point((99, 1))), "of one that never was"),
        (fork(9, "nine", point((9, 1))), "of itself"),
        (fork(9, "nine", point((7, 1))), "of one without pages"),
        (fork(9, "nine", point((3, 4))), "a point that nobody needs"),
        (fork(9, "nine", point((5, 1))), "of another kind"),
        (fork(9, "nine", point((6, 1))), "of a record log"),
        (fork(9, "nine", no_pages), "pages without a size"),
        (other_kind, "of another kind than its source"),
        (fork(2, "nine", point((1, 3))), "an id that was given out"),
        (fork(9, "ONE", point((1, 3))), "a name that is taken"),
        (snapshot(4, "s", point((4, 1))), "of a dropped database"),
        (snapshot(7, "s", point((1, 1))), "of a tombstone"),
        (snapshot(1, "BEFORE", point((1, 1))), "a name that it has"),
        (snapshot(1, "s", point((7, 1))), "a point that is gone"),
        (snapshot(1, "s", point((5, 1))), "a point of another kind"),
        (snapshot(6, "s", point((6, 1))), "of a record log"),
        (gone, "a snapshot that is not there"),
        (adopt(1, 1), "its own"),
        (adopt(1, 7), "of a tombstone"),
        (adopt(1, 4), "of a dropped database"),
        (adopt(5, 1), "of another kind"),
        (adopt(2, 8), "names that it has"),
    ] {
        let mut hit = catalogue.clone();
        let answer = hit.apply(&change, Lsn::new(1000), 9);
        assert!(matches!(answer, Err(Reject::Invalid(_))), "{why}");
        assert_eq!(hit, catalogue, "{why}");
    }
    let mut twice = catalogue.clone();
    let both = ["s", "t"].map(|text| snapshot(1, text, point((1, 1))));
    let answer = twice.apply_all(&both, Lsn::new(1000), 9);
    assert!(matches!(answer, Err(Reject::Invalid(_))), "{answer:?}");
    // By one record, and then to one owner.
    let mut split = catalogue.clone();
    let both = [1, 8].map(|owner| snapshot(owner, &format!("s{owner}"), point((1, 1))));
    split.apply_all(&both, Lsn::new(1000), 9).unwrap();
    let answer = split.apply(&adopt(1, 8), Lsn::new(1010), 9);
    assert!(matches!(answer, Err(Reject::Invalid(_))), "{answer:?}");
}

#[test]
fn forks_are_refused_with_their_reason() {
    let catalogue = sample();
    let forked = |text, at| catalogue.plan_fork(text, &point(at), 100).unwrap_err();
    assert!(matches!(
        forked("a/b", (1, 1)),
        CatalogueError::InvalidName { .. }
    ));
    assert!(matches!(forked("Two", (1, 1)), CatalogueError::Exists { name } if name == "two"));
    assert!(matches!(
        forked("nine", (3, 4)),
        CatalogueError::PointGone { database, lsn } if (database, lsn) == (id(3), Lsn::new(4))
    ));
    let log = forked("nine", (6, 1));
    assert!(
        matches!(log, CatalogueError::WrongKind { found: "log", .. }),
        "{log}"
    );
    let full = catalogue.plan_fork("nine", &point((1, 1)), 8).unwrap_err();
    assert!(matches!(full, CatalogueError::LimitReached { limit: 8 }));
}

#[test]
fn snapshots_are_refused_with_their_reason() {
    let catalogue = sample();
    let kept = |owner, text, at| {
        catalogue
            .plan_snapshot(owner, text, &point(at), 1)
            .unwrap_err()
    };
    let full = kept("one", "s", (1, 1));
    assert!(
        matches!(full, CatalogueError::SnapshotsLimit { database, limit: 1 } if database == "one")
    );
    let log = kept("six", "s", (6, 1));
    assert!(
        matches!(log, CatalogueError::WrongKind { found: "log", .. }),
        "{log}"
    );
    let gone = kept("five", "s", (7, 1));
    assert!(matches!(gone, CatalogueError::PointGone { .. }), "{gone}");
    let other = kept("five", "s", (1, 1));
    assert!(
        matches!(other, CatalogueError::WrongKind { wanted: "raw", .. }),
        "{other}"
    );
    let dropped = kept("four", "s", (4, 1));
    assert!(
        matches!(dropped, CatalogueError::NotFound { .. }),
        "{dropped}"
    );

    let missing = catalogue.plan_snapshot_drop("one", "befor").unwrap_err();
    let CatalogueError::SnapshotNotFound {
        database, nearest, ..
    } = missing
    else {
        panic!("{missing}");
    };
    assert_eq!(
        (database.as_str(), nearest.as_deref()),
        ("one", Some("before"))
    );
}

#[test]
fn restores_are_refused_with_their_reason() {
    let (catalogue, limits) = (sample(), limits());
    let restored = |database, target, kept| {
        let restore = Restore {
            database,
            target: point(target),
            kept,
            head: point((1, 9)),
        };
        catalogue.plan_restore(&restore, &limits).unwrap_err()
    };
    let gone = restored("one", (7, 1), "now");
    assert!(matches!(gone, CatalogueError::PointGone { .. }), "{gone}");
    let twin = restored("one", (1, 1), "BEFORE");
    assert!(matches!(twin, CatalogueError::SnapshotExists { name, .. } if name == "before"));
    let log = restored("six", (6, 1), "now");
    assert!(
        matches!(log, CatalogueError::WrongKind { found: "log", .. }),
        "{log}"
    );
    let other = restored("one", (5, 1), "now");
    assert!(matches!(other, CatalogueError::WrongKind { .. }), "{other}");
}

#[test]
fn a_damaged_catalogue_plans_none_of_it() {
    let mut catalogue = sample();
    let place = Place::Page {
        database: DbId::CATALOGUE,
        page: PageNo::FIRST,
    };
    catalogue.set_damaged(Damage::new(place, Reject::Checksum));
    let restore = Restore {
        database: "one",
        target: point((1, 1)),
        kept: "now",
        head: point((1, 9)),
    };
    for refused in [
        catalogue.plan_fork("nine", &point((1, 1)), 100).map(drop),
        catalogue
            .plan_snapshot("one", "s", &point((1, 1)), 9)
            .map(drop),
        catalogue.plan_snapshot_drop("one", "before").map(drop),
        catalogue.plan_restore(&restore, &limits()).map(drop),
        // It may be one that is lost.
        catalogue.snapshot(id(1), "behind").map(drop),
    ] {
        assert!(
            matches!(refused, Err(CatalogueError::Damaged(_))),
            "{refused:?}"
        );
    }
    assert!(catalogue.snapshot(id(1), "Before").is_ok());
}

#[test]
fn hostile_names_of_snapshots_are_refused_and_twins_found() {
    let mut catalogue = sample();
    let long = "x".repeat(256);
    for hostile in [
        "",
        ".hidden",
        "a/b",
        "one@5",
        "a\nb",
        "\u{202e}x",
        "~Unfinished-9",
        &long,
    ] {
        let planned = catalogue.plan_snapshot("one", hostile, &point((1, 1)), 9);
        assert!(
            matches!(planned, Err(CatalogueError::InvalidSnapshotName { .. })),
            "{hostile:?}"
        );
        let found = catalogue.snapshot(id(1), hostile);
        assert!(matches!(
            found,
            Err(CatalogueError::InvalidSnapshotName { .. })
        ));
    }
    for hostile in ["a/b", "a\nb", ".hidden"] {
        let point = point((1, 1));
        let op = CatalogueOp::Snapshot {
            name: hostile,
            point,
        };
        assert!(CatalogueChange::from_op(id(1), &op).is_err(), "{hostile:?}");
    }
    apply(&mut catalogue, &snapshot(1, "caf\u{e9}", point((1, 1))));
    let twin = catalogue.plan_snapshot("one", "CAFE\u{301}", &point((1, 1)), 9);
    let twin = twin.unwrap_err();
    assert!(matches!(twin, CatalogueError::SnapshotExists { name, .. } if name == "caf\u{e9}"));
    let found = catalogue.snapshot(id(1), "CAFE\u{301}").unwrap();
    assert_eq!(found.name.as_str(), "caf\u{e9}");
    // Another owner may have it too.
    catalogue
        .plan_snapshot("two", "caf\u{e9}", &point((1, 1)), 9)
        .unwrap();
}

const RETENTION: Retention = Retention {
    window_us: 7,
    bytes: 8,
};

/// A database with a policy, and one snapshot less than it may have.
fn with_many_snapshots(limits: &Limits) -> Catalogue {
    let mut catalogue = Catalogue::new();
    apply(&mut catalogue, &create(1, "one", DbKind::Raw));
    apply(
        &mut catalogue,
        &CatalogueChange::Retention {
            id: id(1),
            retention: RETENTION,
        },
    );
    apply(
        &mut catalogue,
        &CatalogueChange::Quota {
            id: id(1),
            bytes: 9,
        },
    );
    for n in 1..limits.snapshots_max {
        apply(
            &mut catalogue,
            &snapshot(1, &format!("{n}{}", "x".repeat(250)), point((1, 2))),
        );
    }
    catalogue
}

/// However many snapshots go along, the record is small: it fits into a segment of any size.
#[test]
fn a_restore_of_a_database_with_all_its_snapshots_is_one_small_record() {
    let limits = Limits::default();
    let mut catalogue = with_many_snapshots(&limits);
    let restore = Restore {
        database: "ONE",
        target: point((1, 5)),
        kept: "now",
        head: point((1, 6)),
    };
    let changes = catalogue.plan_restore(&restore, &limits).unwrap();
    let entry = |change| CatalogueEntry {
        database: CatalogueChange::database(change),
        parent: catalogue.last_lsn(),
        op: change.op(),
    };
    let entries: Vec<_> = changes.iter().map(entry).collect();
    let record = encode_catalogue(&entries).unwrap();
    assert_eq!(record.databases[..], [DbId::CATALOGUE, id(1), id(2)]);
    assert!(record.bytes.len() < 1024, "{} bytes", record.bytes.len());
    let lsn = Lsn::new(1 << 20);
    let gone = catalogue.apply_all(&changes, lsn, 1).unwrap();
    assert_eq!(gone, BTreeSet::new(), "the old one keeps its pages");
    let restored = catalogue.entry(catalogue.find("one").unwrap()).unwrap();
    assert_eq!(
        (restored.policy.retention, restored.policy.quota_bytes),
        (RETENTION, 9)
    );
    assert_eq!(restored.name.as_str(), "one");
    assert_eq!(
        catalogue.snapshots(id(2)).count(),
        limits.snapshots_max as usize
    );
    let points: Vec<u64> = catalogue.points_of(id(1)).map(Lsn::get).collect();
    assert_eq!(points, [2, 5, 6]);
    assert!(!catalogue.forget(id(1)), "it is pointed at");

    // One more than a database may have.
    let again = Restore {
        kept: "again",
        head: point((2, 1)),
        ..restore
    };
    let refused = catalogue.plan_restore(&again, &limits).unwrap_err();
    assert!(
        matches!(refused, CatalogueError::SnapshotsLimit { .. }),
        "{refused}"
    );
}

/// A chain of restores: the last one that points ends them all, by one record.
#[test]
fn a_chain_of_tombstones_ends_when_nobody_points_at_it() {
    let mut catalogue = Catalogue::new();
    apply(&mut catalogue, &create(1, "one", DbKind::Raw));
    for number in 2..6 {
        apply(
            &mut catalogue,
            &fork(number, &format!("n{number}"), point((number - 1, 4))),
        );
        assert_eq!(
            apply(&mut catalogue, &drop_now(number - 1)),
            BTreeSet::new()
        );
    }
    apply(&mut catalogue, &snapshot(5, "old", point((2, 4))));
    assert_eq!(catalogue.forks_of(id(4)).count(), 1);
    let before = catalogue.last_lsn();
    let gone = apply(&mut catalogue, &drop_now(5));
    assert_eq!(gone, (1..6).map(id).collect());
    for (number, entry) in catalogue.entries() {
        assert!(matches!(entry.state, DatabaseState::Tombstone { .. }));
        assert!(!catalogue.has_pages(number) && entry.origin.is_none());
        assert!(before < entry.lsn, "rows and sections are told of {number}");
    }
    for number in 1..6 {
        assert!(catalogue.forget(id(number)));
    }
}
