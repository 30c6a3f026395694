//! Record logs: nothing of them is in chunks, so what is provable is a record up to which all is there.

use super::history::{History, LogChange, flip_in, noise, salvage};
use bop_storage::DbKind;

fn append(term: u64, seed: u64) -> LogChange {
    LogChange::Append(term, noise(seed))
}

#[test]
fn a_record_log_ends_before_the_record_that_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("raft", DbKind::Log);
    history.create("other", DbKind::Log);
    history.create("none", DbKind::Log);
    for index in 0..6 {
        history.change_log("raft", &append(1 + index / 3, 10 + index));
        history.change_log("other", &append(1, 50 + index));
    }
    history.change_log("raft", &LogChange::Vote(b"for me".to_vec()));
    history.change_log("other", &LogChange::Purge(2));
    history.change_log("other", &LogChange::Vote(b"for you".to_vec()));
    history.change_log("other", &LogChange::Truncate(3));
    let states = history.close();
    let saved = salvage(dir.path(), &states);
    assert!(saved.report.is_whole(), "{:?}", saved.report);
    flip_in(dir.path(), "log", &noise(14));
    let saved = salvage(dir.path(), &states);
    let one = saved.of("raft");
    assert_eq!((one.saved, one.size), (true, 4), "{one:?}");
    assert_eq!(one.lost.as_ref().unwrap().commits, 3, "{one:?}");
    assert!(0 < one.time_us);
    saved.assert_whole("other");
    saved.assert_whole("none");
}

/// Behind an index nobody looks at payloads: the copy does, and takes what stands before.
#[test]
fn a_payload_that_only_a_read_can_see_ends_its_log_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("raft", DbKind::Log);
    history.create("pages", DbKind::Raw);
    for index in 0..60 {
        history.change_log("raft", &append(1, 10_000 + index));
        let page = (1 + index as u32 % 8, noise(20_000 + index));
        history.commit("pages", &[page], None);
    }
    let before = super::history::bytes_of(dir.path());
    history.store.keep_house();
    assert!(
        before != super::history::bytes_of(dir.path()),
        "indexes were written"
    );
    let states = history.close();
    flip_in(dir.path(), "log", &noise(10_010));
    let saved = salvage(dir.path(), &states);
    let one = saved.of("raft");
    assert_eq!((one.saved, one.size), (true, 10), "{one:?}");
    assert_eq!(one.lost.as_ref().unwrap().commits, 50, "{one:?}");
    saved.assert_whole("pages");
}

/// What was relocated stands nowhere else: no older state is left to go back to.
#[test]
fn a_damaged_entry_that_was_relocated_costs_what_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::make(dir.path());
    history.create("raft", DbKind::Log);
    history.create("pages", DbKind::Raw);
    for index in 0..40 {
        history.change_log("raft", &append(1, 30_000 + index));
    }
    history.change_log("raft", &LogChange::Purge(3));
    history.change_log("raft", &LogChange::Vote(b"for me".to_vec()));
    // So much else that the log is full, and what is live of the oldest segments is moved.
    for round in 0..800 {
        let page = |page: u32| (page, noise(40_000 + round * 8 + u64::from(page)));
        let pages: Vec<_> = (1..=8).map(page).collect();
        history.commit("pages", &pages, None);
        if round % 50 == 49 {
            history.store.checkpoint().unwrap();
            history.store.keep_house();
        }
    }
    let states = history.close();
    // Wherever it stands: the old places may be there still, though nothing needs them.
    let word = noise(30_020)[128..192].to_vec();
    let mut hit = 0;
    for (path, bytes) in super::history::bytes_of(&dir.path().join("log")) {
        if let Some(at) = bytes.windows(64).position(|window| window == word) {
            super::history::flip(&path, at);
            hit += 1;
        }
    }
    assert!(0 < hit);
    let saved = salvage(dir.path(), &states);
    let one = saved.of("raft");
    assert!(one.saved, "{one:?}");
    assert_eq!(
        (one.size, one.lost.as_ref().unwrap().entries_from),
        (17, Some(20)),
        "{one:?}"
    );
    saved.assert_whole("pages");
}
