//! Damage of the page store.

use super::history::{History, States, flip_in, lose_manifest, noise, salvage};
use bop_storage::{DbKind, Manager, PageNo, ReadError};
use std::path::Path;

/// `a` and `b` in one chunk; `a` once more, wholly, in a second one, and then so much of others that the
/// log has forgotten both.
fn make(dir: &Path, behind: bool) -> States {
    let mut history = History::make(dir);
    for name in ["a", "b", "busy"] {
        history.create(name, DbKind::Raw);
    }
    history.commit("a", &[(1, noise(1)), (2, noise(2))], None);
    history.commit("b", &[(1, noise(3))], None);
    history.store.checkpoint().unwrap();
    history.commit("a", &[(1, noise(4))], None);
    history.commit("a", &[(2, noise(5)), (3, noise(6))], None);
    history.store.checkpoint().unwrap();
    for round in 0..200 {
        let pages: Vec<_> = (1..=16)
            .map(|page| (page, noise(round << 8 | 1 << 20 | u64::from(page))))
            .collect();
        history.commit("busy", &pages, None);
        if round % 16 == 15 {
            history.store.checkpoint().unwrap();
        }
    }
    if behind {
        history.commit("a", &[(1, noise(7))], None);
        history.commit("a", &[(2, noise(8))], None);
        history.commit("a", &[(1, noise(9))], None);
    }
    history.close()
}

/// Its page answers that it is damaged, and all else is there.
fn assert_read(dir: &Path, page: u32) {
    let store = Manager::open(dir, super::history::salvage_options()).unwrap();
    let read = store.database("a").unwrap().begin_read().unwrap();
    let found = read.read_page(PageNo::new(page).unwrap());
    assert!(matches!(found, Err(ReadError::Damaged(_))), "{found:?}");
    drop(read);
    assert!(store.database("b").is_ok());
    // Not closed: nothing of it is changed.
}

/// The checkpoint before is in the chunk that both share.
#[test]
fn a_page_of_a_chunk_costs_what_is_behind_the_checkpoint_before() {
    for lost in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let states = make(dir.path(), false);
        flip_in(dir.path(), "chunks", &noise(5));
        assert_read(dir.path(), 2);
        if lost {
            lose_manifest(dir.path());
        }
        let saved = salvage(dir.path(), &states);
        let one = saved.of("a");
        assert!(one.saved && one.head == states["a"][1].0, "{one:?}");
        let loss = one.lost.as_ref().unwrap();
        assert_eq!(loss.last, Some(states["a"][3].0), "{loss:?}");
        saved.assert_whole("b");
        saved.assert_whole("busy");
    }
}

/// Commits behind the damage are provable again once the damaged page was written anew.
#[test]
fn a_page_that_was_written_again_hinders_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let states = make(dir.path(), true);
    flip_in(dir.path(), "chunks", &noise(5));
    let saved = salvage(dir.path(), &states);
    saved.assert_whole("a");

    // The page of a commit in the log is damaged as well, where only its index is read.
    flip_in(dir.path(), "chunks", &noise(6));
    let saved = salvage(dir.path(), &states);
    let one = saved.of("a");
    assert_eq!(
        one.head, states["a"][1].0,
        "page 3 was not written again: {one:?}"
    );
    assert_eq!(one.lost.as_ref().unwrap().last, Some(states["a"][6].0));
    saved.assert_whole("b");
}

/// While the log still has all of it, from the creation on, no chunk is needed.
#[test]
fn a_log_from_the_creation_on_stands_in_for_a_damaged_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("a", DbKind::Raw);
    history.commit("a", &[(1, noise(1)), (2, noise(2))], None);
    history.commit("a", &[(2, noise(3))], None);
    history.store.checkpoint().unwrap();
    let states = history.close();
    flip_in(dir.path(), "chunks", &noise(1));
    let saved = salvage(dir.path(), &states);
    saved.assert_whole("a");
}

#[test]
fn a_chunk_that_is_gone_costs_those_that_were_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let states = make(dir.path(), false);
    let chunk = flip_in(dir.path(), "chunks", &noise(3));
    std::fs::remove_file(chunk).unwrap();
    let saved = salvage(dir.path(), &states);
    let b = saved.of("b");
    assert!(!b.saved && b.lost.is_some(), "{b:?}");
    saved.assert_whole("a");
    saved.assert_whole("busy");
}
