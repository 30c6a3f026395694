//! Damage of the log.

use super::history::{History, States, flip_in, lose_manifest, noise, salvage, sqlite_page};
use bop_storage::{CatalogueError, DbKind, Place};
use std::path::Path;

/// Two databases of several commits each. Answers the page that the third commit of `a` wrote.
fn make(dir: &Path) -> (States, Vec<u8>) {
    let mut history = History::make(dir);
    history.create("a", DbKind::Sqlite);
    history.create("b", DbKind::Raw);
    for round in 0..5 {
        let own = [
            (1, sqlite_page(round)),
            (2 + round as u32, noise(100 + round)),
        ];
        history.commit("a", &own, None);
        history.commit("b", &[(1 + round as u32, noise(200 + round))], None);
    }
    (history.close(), noise(102))
}

/// The record's database answers `Corrupt` and says where; the other one reads, and is written to.
fn go_on(dir: &Path, states: States, segment: &Path, rounds: std::ops::Range<u64>) -> States {
    let mut history = History::open(dir, states);
    let refused = history.store.database("a").unwrap_err();
    let CatalogueError::Corrupt { damage, .. } = &refused else {
        panic!("{refused:?}");
    };
    let Place::Log { segment: named, .. } = damage.place else {
        panic!("{damage:?}");
    };
    assert!(
        segment.ends_with(bop_storage::io::layout::segment(named)),
        "{damage}"
    );
    let before = history.newest("b").pages[0].clone();
    let read = history.store.database("b").unwrap().begin_read().unwrap();
    assert!(read.read_page(bop_storage::PageNo::FIRST).unwrap()[..] == before);
    drop(read);
    for round in rounds {
        let pages: Vec<_> = (1..=16)
            .map(|page| (page, noise(round << 8 | u64::from(page))))
            .collect();
        history.commit("b", &pages, None);
        if round % 16 == 0 {
            history.store.checkpoint().unwrap();
        }
    }
    history.close()
}

#[test]
fn a_flip_in_a_record_of_a_costs_a_what_is_behind_it_and_b_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (states, page) = make(dir.path());
    let segment = flip_in(dir.path(), "log", &page);
    // As it is found, and with the manifest gone.
    let saved = salvage(dir.path(), &states);
    assert!(!saved.report.is_whole() && saved.report.catalogue.is_none());
    saved.assert_at("a", 2, 3);
    saved.assert_whole("b");
    let states = go_on(dir.path(), states, &segment, 1000..1004);
    let saved = salvage(dir.path(), &states);
    saved.assert_at("a", 2, 3);
    saved.assert_whole("b");
    assert!(matches!(
        saved.of("a").lost.as_ref().unwrap().damage.place,
        Place::Log { .. }
    ));
    lose_manifest(dir.path());
    let saved = salvage(dir.path(), &states);
    assert!(saved.report.manifest.is_some());
    saved.assert_at("a", 2, 3);
    saved.assert_whole("b");
}

#[test]
fn what_was_set_aside_is_what_a_salvage_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (states, page) = make(dir.path());
    let segment = flip_in(dir.path(), "log", &page);
    let states = go_on(dir.path(), states, &segment, 1000..1600);
    let name = segment.file_name().unwrap();
    assert!(dir.path().join("damaged").join(name).exists() && !segment.exists());
    let saved = salvage(dir.path(), &states);
    saved.assert_at("a", 2, 3);
    saved.assert_whole("b");
    lose_manifest(dir.path());
    let saved = salvage(dir.path(), &states);
    saved.assert_at("a", 2, 3);
    assert!(saved.of("b").saved);
}

#[test]
fn a_store_without_damage_is_saved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (states, _) = make(dir.path());
    let mut history = History::open(dir.path(), states);
    history.create("empty", DbKind::Raw);
    history.create("cut", DbKind::Raw);
    history.commit("cut", &[(9, noise(9))], Some(5));
    history.store.checkpoint().unwrap();
    history.commit("cut", &[(2, noise(10))], Some(4));
    history.create("gone", DbKind::Raw);
    history.store.drop_database("gone").unwrap();
    history.states.remove("gone");
    let states = history.close();
    for _ in 0..2 {
        let saved = salvage(dir.path(), &states);
        assert!(saved.report.is_whole(), "{:?}", saved.report);
        assert_eq!(saved.report.databases.len(), states.len());
        for name in states.keys() {
            saved.assert_whole(name);
        }
        if dir.path().join("manifest").exists() {
            lose_manifest(dir.path());
        }
    }
}

/// A group is all or nothing, but what a salvage saves of it is what each member can prove.
#[test]
fn a_group_is_there_for_the_member_whose_chain_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("a", DbKind::Raw);
    history.create("b", DbKind::Raw);
    history.commit("a", &[(1, noise(1))], None);
    history.commit("a", &[(1, noise(2))], None);
    history.commit("b", &[(1, noise(3))], None);
    let (ours, theirs) = ([(1, noise(4))], [(2, noise(5))]);
    history.group(&[("a", &ours, None), ("b", &theirs, None)]);
    history.commit("b", &[(3, noise(6))], None);
    let states = history.close();
    flip_in(dir.path(), "log", &noise(2));
    let saved = salvage(dir.path(), &states);
    saved.assert_at("a", 1, 2);
    saved.assert_whole("b");
}

/// With the group's own record both are at the commit before.
#[test]
fn a_group_whose_record_is_damaged_is_lost_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("a", DbKind::Raw);
    history.create("b", DbKind::Raw);
    history.create("c", DbKind::Raw);
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        history.commit(name, &[(1, noise(seed))], None);
    }
    let (ours, theirs) = ([(1, noise(4))], [(2, noise(5))]);
    history.group(&[("a", &ours, None), ("b", &theirs, None)]);
    history.commit("c", &[(3, noise(6))], None);
    let states = history.close();
    flip_in(dir.path(), "log", &noise(5));
    let saved = salvage(dir.path(), &states);
    saved.assert_at("a", 1, 1);
    saved.assert_at("b", 1, 1);
    saved.assert_whole("c");
}
