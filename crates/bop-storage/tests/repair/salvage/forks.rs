//! Forks and restored databases: they begin as what they were made of, which the log alone may know.

use super::history::{History, States, flip_in, lose_manifest, noise, salvage};
use bop_storage::DbKind;
use std::path::Path;

/// So many pages, none like another.
fn pages(count: u32, seed: u64) -> Vec<(u32, Vec<u8>)> {
    let page = |page: u32| (page, noise(seed << 16 | u64::from(page)));
    (1..=count).map(page).collect()
}

/// What no checkpoint knows: forks of states in chunks and in the log, of forks, of a database that is gone; and two
/// databases that were restored.
fn make(dir: &Path) -> States {
    let mut history = History::make(dir);
    for name in ["main", "orders", "gone"] {
        history.create(name, DbKind::Raw);
        history.commit(name, &pages(20, 1), None);
    }
    history.store.checkpoint().unwrap();
    history.commit("main", &[(2, noise(2))], None);
    history.create("fresh", DbKind::Raw);
    history.commit("fresh", &pages(5, 3), None);
    history.commit("fresh", &[(3, noise(4))], Some(4));
    history.fork("main", 1, "of chunks");
    history.fork("main", 2, "of the log");
    history.fork("main", 2, "written");
    history.commit("written", &[(3, noise(5)), (25, noise(6))], None);
    history.fork("written", 1, "of a fork");
    history.commit("of a fork", &[(4, noise(7))], Some(10));
    history.fork("of the log", 0, "of one without a commit");
    history.commit("main", &[(2, noise(8)), (5, noise(9))], None);
    history.commit("orders", &[(1, noise(10))], None);
    history.restore("orders", 1);
    history.restore("fresh", 1);
    history.commit("fresh", &[(1, noise(11))], None);
    history.fork("gone", 1, "orphan");
    history.commit("gone", &pages(20, 12), None);
    history.store.drop_database_now("gone").unwrap();
    history.states.remove("gone");
    history.close()
}

fn assert_all_whole(dir: &Path, states: &States) {
    let saved = salvage(dir, states);
    assert!(saved.report.is_whole(), "{:#?}", saved.report);
    assert_eq!(saved.report.databases.len(), states.len());
    states.keys().for_each(|name| saved.assert_whole(name));
}

#[test]
fn what_the_log_alone_knows_of_forks_and_restored_databases_is_saved_whole() {
    let dir = tempfile::tempdir().unwrap();
    let states = make(dir.path());
    assert_all_whole(dir.path(), &states);
    lose_manifest(dir.path());
    assert_all_whole(dir.path(), &states);
}

#[test]
fn the_same_when_a_checkpoint_has_seen_them() {
    let dir = tempfile::tempdir().unwrap();
    let states = make(dir.path());
    let mut history = History::open(dir.path(), states);
    history.store.checkpoint().unwrap();
    history.commit("written", &[(1, noise(20))], None);
    history.fork("of a fork", 1, "late");
    let states = history.close();
    assert_all_whole(dir.path(), &states);
    lose_manifest(dir.path());
    assert_all_whole(dir.path(), &states);
}

#[test]
fn a_fork_with_a_damaged_commit_is_saved_as_it_was_before() {
    for (page, nth, lost) in [(6, 1, 1), (5, 0, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::make(dir.path());
        history.create("main", DbKind::Raw);
        history.commit("main", &pages(8, 1), None);
        history.fork("main", 1, "fork");
        history.commit("fork", &[(3, noise(5))], None);
        history.commit("fork", &[(4, noise(6))], None);
        history.commit("main", &[(1, noise(7))], None);
        let states = history.close();
        flip_in(dir.path(), "log", &noise(page));
        let saved = salvage(dir.path(), &states);
        saved.assert_whole("main");
        saved.assert_at("fork", nth, lost);
    }
}

#[test]
fn where_what_a_fork_was_made_of_cannot_be_read_it_is_not_called_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("main", DbKind::Raw);
    history.commit("main", &pages(8, 1), None);
    history.commit("main", &[(2, noise(2))], None);
    history.fork("main", 2, "fork");
    history.fork("main", 2, "all its own");
    history.commit("all its own", &pages(8, 3), None);
    history.commit("main", &[(2, noise(4))], None);
    let states = history.close();
    flip_in(dir.path(), "log", &noise(2));
    let saved = salvage(dir.path(), &states);
    let fork = saved.of("fork");
    assert!(!fork.saved && fork.lost.is_some(), "{fork:?}");
    assert!(!saved.report.is_whole());
}
