//! After a repair the store is what it was.

use crate::world::{WAIT, facts, files, make, open, options, pages, put, repair, shown, works};
use bop_storage::{CommitsFrom, DbId, DbKind, ErrorCode, FeedStart, Limits, Manager};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What it is called, and what does it.
type Loss = (&'static str, fn(&Path));

/// Ways to lose a manifest.
const LOSSES: [Loss; 4] = [
    ("deleted", |dir| {
        std::fs::remove_dir_all(dir.join("manifest")).unwrap();
    }),
    ("garbage", |dir| {
        std::fs::write(dir.join("manifest/data.mdb"), vec![0xa5; 100_000]).unwrap();
    }),
    ("truncated", |dir| {
        let data = std::fs::OpenOptions::new()
            .write(true)
            .open(dir.join("manifest/data.mdb"))
            .unwrap();
        data.set_len(5000).unwrap();
    }),
    ("without its file", |dir| {
        std::fs::remove_file(dir.join("manifest/data.mdb")).unwrap();
    }),
];

#[test]
fn whatever_happened_to_the_manifest_everything_is_as_before() {
    for (loss, lose) in LOSSES {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let store = open(dir.path());
        let before = shown(&store);
        let dropped = store.dropped_databases();
        assert_eq!(dropped.len(), 2, "{dropped:?}");
        store.close(WAIT).unwrap();
        let (rows, bytes) = (facts(dir.path()), files(dir.path()));
        lose(dir.path());
        Manager::open(dir.path(), options()).unwrap_err();
        let there = dir.path().join("manifest").exists();

        let report = repair(dir.path());
        assert!(report.done && report.is_whole(), "{loss}: {report:?}");
        assert!(report.reason.is_some(), "{loss}");
        assert_eq!(report.kept.is_some(), there, "{loss}");
        if let Some(kept) = &report.kept {
            assert_eq!(kept, Path::new("damaged/manifest-1"), "{loss}");
            assert!(dir.path().join(kept).is_dir(), "{loss}");
        }
        assert_eq!(
            files(dir.path()),
            bytes,
            "{loss}: nothing is deleted or changed"
        );
        assert_eq!(facts(dir.path()), rows, "{loss}");
        let store = open(dir.path());
        assert_eq!(shown(&store), before, "{loss}");
        assert_eq!(store.dropped_databases(), dropped, "{loss}");
        assert_eq!(store.verify().findings, [], "{loss}");
        for name in ["kept", "gone too"] {
            store.undrop_database(name, None).unwrap();
            let back = store.info(name).unwrap();
            let known = dropped.iter().find(|one| one.id == back.id).unwrap();
            assert_eq!(back.head, known.head, "{loss}");
        }
        store.close(WAIT).unwrap();
        works(dir.path());
    }
}

#[test]
fn what_was_killed_is_repaired_too() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let store = open(dir.path());
    put(&store, "large", &[2, 3], 90, None);
    put(&store, "shop", &[5], 91, None);
    let before = shown(&store);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    assert!(repair(dir.path()).is_whole());
    let store = open(dir.path());
    assert_eq!(shown(&store), before);
    store.close(WAIT).unwrap();
    works(dir.path());
}

#[test]
fn a_long_history_of_checkpoints_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let store = open(dir.path());
    for round in 0..12_u8 {
        let count = 10 + u32::from(round) * 7 % 50;
        put(&store, "large", &[1 + u32::from(round)], round, Some(count));
        put(&store, "renamed", &[1, 2, 3, 4], round, None);
        if round % 3 == 0 {
            put(&store, "late", &[], round, Some(u32::from(round) % 2));
            let name = format!("round {round}");
            store.create_database(&name, DbKind::Raw).unwrap();
            put(&store, &name, &[1], round, None);
        }
        if round == 7 {
            store.drop_database("round 3").unwrap();
        }
        store.checkpoint().unwrap();
    }
    let before = shown(&store);
    store.close(WAIT).unwrap();
    let rows = facts(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let report = repair(dir.path());
    assert!(report.is_whole(), "{report:?}");
    let store = open(dir.path());
    assert_eq!(shown(&store), before);
    store.close(WAIT).unwrap();
    // The opening may have made spares.
    let after = facts(dir.path());
    assert_eq!(after.databases, rows.databases);
    works(dir.path());
}

/// A database that only shrank, to nothing or not, has its state in a chunk.
#[test]
fn a_database_that_only_shrank_does_not_come_back_longer() {
    for left in [0, 1, 17] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let store = open(dir.path());
        store.checkpoint().unwrap();
        put(&store, "large", &[], 0, Some(left));
        store.checkpoint().unwrap();
        // So that the log forgets it.
        for round in 0..40 {
            put(&store, "idle", &[1, 2, 3, 4], round, None);
            store.checkpoint().unwrap();
        }
        let before = shown(&store);
        store.close(WAIT).unwrap();
        std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
        let report = repair(dir.path());
        assert!(report.is_whole(), "{left}: {report:?}");
        let store = open(dir.path());
        assert_eq!(shown(&store), before, "{left} pages");
        store.close(WAIT).unwrap();
        works(dir.path());
    }
}

/// Pages that were cut off and came back as zeros, between two checkpoints, stand nowhere.
#[test]
fn pages_that_came_back_as_zeros_do_not_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let store = open(dir.path());
    put(&store, "large", &super::world::pages(1, 50), 33, None);
    put(&store, "idle", &[4], 33, None);
    store.checkpoint().unwrap();
    put(&store, "large", &[], 0, Some(20));
    put(&store, "large", &[3, 50], 34, None);
    store.checkpoint().unwrap();
    let before = shown(&store);
    store.close(WAIT).unwrap();
    let rows = facts(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    assert!(repair(dir.path()).is_whole());
    assert_eq!(facts(dir.path()), rows);
    let store = open(dir.path());
    assert_eq!(shown(&store), before);
    store.close(WAIT).unwrap();
}

#[test]
fn who_subscribes_goes_on_at_or_before_where_it_was_and_is_told_of_a_new_feed() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let store = open(dir.path());
    let changes = store
        .subscribe_changes("mirror", FeedStart::Oldest)
        .unwrap();
    let commits = store
        .subscribe_commits("replica", CommitsFrom::Newest, Some("large"))
        .unwrap();
    put(&store, "large", &[3], 11, None);
    let first = commits.read(1).unwrap();
    commits.acknowledge(first.next).unwrap();
    commits.flush().unwrap();
    // The section of the catalogue has this place.
    store.checkpoint().unwrap();
    put(&store, "large", &[4], 12, None);
    let second = commits.read(1).unwrap();
    commits.acknowledge(second.next).unwrap();
    commits.flush().unwrap();
    drop((changes, commits));
    store.close(WAIT).unwrap();
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();

    repair(dir.path());
    let store = open(dir.path());
    let mut names: Vec<String> = store.cursors().into_iter().map(|c| c.name).collect();
    names.sort();
    assert_eq!(names, ["mirror", "replica"]);
    let commits = store
        .subscribe_commits("replica", CommitsFrom::Newest, Some("large"))
        .unwrap();
    assert_eq!(commits.position(), first.next);
    assert_eq!(
        commits.read(1).unwrap().commits,
        second.commits,
        "again, and none is missing"
    );
    let changes = store
        .subscribe_changes("mirror", FeedStart::Oldest)
        .unwrap();
    let lost = changes.read(10).unwrap_err();
    assert_eq!(lost.code(), ErrorCode::CursorLost);
    changes.reset().unwrap();
    changes.read(10).unwrap();
}

/// A catalogue of more than a thousand databases is not written whole each time.
#[test]
fn a_large_catalogue_is_put_together_from_its_sections() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), options().limits(Limits::default())).unwrap();
    let name = |number: u32| format!("db {number}");
    for number in 0..1200 {
        store.create_database(&name(number), DbKind::Raw).unwrap();
    }
    store.checkpoint().unwrap();
    let sections = || {
        let inspection = Manager::inspect_manifest(dir.path(), &options()).unwrap();
        inspection.state().ranges(DbId::CATALOGUE).count()
    };
    let mut bytes = Vec::new();
    for round in 0..5 {
        store
            .rename_database(&name(round), &name(round + 5000))
            .unwrap();
        store.drop_database(&name(round + 100)).unwrap();
        store.drop_database_now(&name(round + 200)).unwrap();
        store.set_quota(&name(round + 300), Some(1 << 20)).unwrap();
        bytes.push(store.checkpoint().unwrap().chunk_bytes);
    }
    // Names that went round in one delta, and a tombstone that is forgotten in another.
    store.rename_database(&name(1000), "aside").unwrap();
    store.rename_database(&name(1001), &name(1000)).unwrap();
    store.rename_database("aside", &name(1001)).unwrap();
    store.undrop_database(&name(100), Some("back")).unwrap();
    store.checkpoint().unwrap();
    assert!(bytes.iter().all(|bytes| *bytes < 20_000), "{bytes:?}");
    let before = store.databases();
    let dropped = store.dropped_databases();
    store.close(WAIT).unwrap();
    assert_eq!(sections(), 7, "a base and six deltas");
    let rows = facts(dir.path());
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();

    let report = repair(dir.path());
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(facts(dir.path()), rows);
    assert_eq!(sections(), 7);
    let store = open(dir.path());
    assert_eq!(store.databases(), before);
    assert_eq!(store.dropped_databases(), dropped);
    // The next ones go on behind them, and a base takes their place when much has changed.
    store.rename_database("back", "once more").unwrap();
    store.checkpoint().unwrap();
    for number in 400..500 {
        store.drop_database_now(&name(number)).unwrap();
    }
    let before = store.databases();
    store.checkpoint().unwrap();
    assert_eq!(store.verify().findings, []);
    store.close(WAIT).unwrap();
    assert_eq!(sections(), 1, "all of it");
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    assert!(repair(dir.path()).is_whole());
    let store = open(dir.path());
    assert_eq!(store.databases(), before);
    store.close(WAIT).unwrap();
}

/// Without one of the sections the names behind it may be lost, and nobody gives one out.
#[test]
fn a_lost_section_of_a_large_catalogue_closes_it_unless_the_log_has_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    (limits.segment_bytes_min, limits.segment_bytes_max) = (64 << 10, 64 << 10);
    let store = Manager::open(dir.path(), options().limits(limits)).unwrap();
    let name = |number: u32| format!("db {number}");
    for number in 0..1200 {
        store.create_database(&name(number), DbKind::Raw).unwrap();
    }
    store.checkpoint().unwrap();
    let chunks = || -> BTreeSet<PathBuf> { files(dir.path()).into_keys().collect() };
    let before = chunks();
    store.rename_database(&name(1), "renamed").unwrap();
    store.checkpoint().unwrap();
    let of_first: Vec<PathBuf> = chunks()
        .difference(&before)
        .filter(|path| path.parent().unwrap().ends_with("chunks"))
        .cloned()
        .collect();
    // The log forgets.
    store.create_database("filler", DbKind::Raw).unwrap();
    for round in 0..40 {
        put(&store, "filler", &pages(1, 20), round, None);
        store.checkpoint().unwrap();
    }
    store.rename_database(&name(2), "renamed too").unwrap();
    store.checkpoint().unwrap();
    store.close(WAIT).unwrap();
    std::fs::remove_dir_all(dir.path().join("manifest")).unwrap();
    let [lost] = of_first.as_slice() else {
        panic!("{of_first:?}");
    };
    std::fs::remove_file(lost).unwrap();

    let report = repair(dir.path());
    let why = report.catalogue_damage.unwrap();
    assert!(why.contains("cannot be read"), "{why}");
    let store = open(dir.path());
    let refused = store.create_database("new", DbKind::Raw).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::CatalogueDamaged);
    assert!(store.info(&name(3)).is_ok());
}
