//! A catalogue that has lost records: databases without a name are saved under another.

use super::history::{History, flip_bytes, noise, salvage, sqlite_page};
use bop_storage::{DbKind, ErrorCode};

/// To `kept`, with checkpoints in between.
fn commit_more_than_the_log_holds(history: &mut History) {
    for round in 0..600 {
        let page = |page: u32| (page, noise(1_000 + round * 16 + u64::from(page)));
        let pages: Vec<_> = (1..=16).map(page).collect();
        history.commit("kept", &pages, None);
        if round % 16 == 15 {
            history.store.checkpoint().unwrap();
        }
    }
}

#[test]
fn a_database_whose_name_is_lost_gets_one_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("kept", DbKind::Raw);
    history.commit("kept", &[(1, noise(1))], None);
    history.create("a name that will be lost", DbKind::Sqlite);
    history.commit(
        "a name that will be lost",
        &[(1, sqlite_page(2)), (2, noise(3))],
        None,
    );
    history.create("third", DbKind::Raw);
    history.commit("kept", &[(2, noise(4))], None);
    let states = history.close();
    flip_bytes(dir.path(), "log", b"a name that will be lost");
    let saved = salvage(dir.path(), &states);
    let loss = saved.report.catalogue.as_ref().unwrap();
    assert_eq!(loss.commits, 2, "{loss:?}");
    saved.assert_whole("kept");
    let one = saved.of("lost-2");
    assert!(one.nameless && one.saved, "{one:?}");
    assert_eq!(one.kind, DbKind::Sqlite, "page 1 tells");
    let known = states["a name that will be lost"].last().unwrap();
    assert_eq!(saved.content("lost-2"), known.1);
    assert_eq!(one.head, known.0);
    // Of the third one nothing is left: it had no commit.
    assert_eq!(saved.report.databases.len(), 2);
}

/// The catalogue is closed, and the log has gone on: what tells of the database is in `damaged/`.
#[test]
fn what_only_segments_that_were_set_aside_tell_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("kept", DbKind::Raw);
    history.commit("kept", &[(1, noise(1))], None);
    history.store.checkpoint().unwrap();
    history.create("a name that will be lost", DbKind::Raw);
    history.commit("a name that will be lost", &[(1, noise(2))], None);
    history.commit("a name that will be lost", &[(3, noise(3))], None);
    let states = history.close();
    let segment = flip_bytes(dir.path(), "log", b"a name that will be lost");
    let mut history = History::open(dir.path(), states);
    let refused = history
        .store
        .create_database("new", DbKind::Raw)
        .unwrap_err();
    assert_eq!(refused.code(), ErrorCode::CatalogueDamaged);
    commit_more_than_the_log_holds(&mut history);
    let states = history.close();
    assert!(!segment.exists(), "it was set aside");
    let saved = salvage(dir.path(), &states);
    saved.assert_whole("kept");
    assert!(saved.report.catalogue.is_some());
    let one = saved.of("lost-2");
    let known = states["a name that will be lost"].last().unwrap();
    assert!(one.nameless && one.saved && one.head == known.0, "{one:?}");
    assert_eq!(saved.content("lost-2"), known.1);
}

/// No checkpoint has had the catalogue yet when it is damaged: what stands before the damage is
/// published all the same, or the log could never be released.
#[test]
fn what_was_made_before_the_damage_of_the_catalogue_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("kept", DbKind::Raw);
    history.commit("kept", &[(1, noise(1))], None);
    history.create("a name that will be lost", DbKind::Raw);
    history.commit("a name that will be lost", &[(1, noise(2))], None);
    let states = history.close();
    flip_bytes(dir.path(), "log", b"a name that will be lost");
    let mut history = History::open(dir.path(), states);
    commit_more_than_the_log_holds(&mut history);
    let states = history.close();
    for _ in 0..2 {
        let history = History::open(dir.path(), states.clone());
        let refused = history.store.create_database("new", DbKind::Raw);
        assert_eq!(refused.unwrap_err().code(), ErrorCode::CatalogueDamaged);
        assert!(history.store.info("kept").unwrap().damage.is_none());
        history.close();
    }
    let saved = salvage(dir.path(), &states);
    saved.assert_whole("kept");
    assert!(saved.report.catalogue.is_some());
    let known = states["a name that will be lost"].last().unwrap();
    assert_eq!(saved.content("lost-2"), known.1);
}
