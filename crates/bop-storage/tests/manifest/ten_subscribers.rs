//! Ten subscribers of both feeds, some dead, one slow: nothing grows, no commit is refused, and who loses
//! its place is told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::feed_rig::{DAY_US, Rig, write};
use bop_storage::error::FeedError;
use bop_storage::manifest::CHANGES_KEPT;
use bop_storage::{
    ChangesCursor, CommitsCursor, CommitsFrom, DbKind, FeedStart, Limits, Lsn, Manager,
};
use std::time::Duration;

/// Reads commits to the end, and acknowledges them.
fn follow_commits(cursor: &CommitsCursor, seen: &mut Vec<Lsn>) {
    loop {
        let page = cursor.read(20).unwrap();
        if page.commits.is_empty() {
            return cursor.flush().unwrap();
        }
        seen.extend(page.commits.iter().map(|commit| commit.lsn));
        cursor.acknowledge(page.next).unwrap();
    }
}

/// The same for changes: how many.
fn follow_changes(cursor: &ChangesCursor) -> usize {
    let mut seen = 0;
    loop {
        let page = cursor.read(500).unwrap();
        if page.changes.is_empty() {
            cursor.flush().unwrap();
            return seen;
        }
        seen += page.changes.len();
        cursor.acknowledge(page.next).unwrap();
    }
}

/// One commit, and what the housekeeper does about it; every so often a checkpoint beside.
fn step(store: &Manager, limits: &Limits, turn: u32) -> Lsn {
    let lsn = write(store, "a", u8::try_from(turn % 251).unwrap());
    store.keep_house();
    if turn.is_multiple_of(3) {
        store.checkpoint().unwrap();
    }
    let status = store.status();
    assert!(status.log_bytes <= limits.log_bytes_max, "{status:?}");
    assert!(status.cursor_log_bytes <= limits.cursor_log_bytes_max);
    lsn
}

#[test]
fn of_ten_subscribers_some_dead_and_one_slow_nothing_grows_and_the_slow_one_is_told() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    // Whoever had to wait for a cursor would be refused.
    limits.writer_wait = Duration::ZERO;
    let store = rig.open_with(limits.clone());
    store.create_database("a", DbKind::Raw).unwrap();
    let commits = |name: &str| {
        let from = CommitsFrom::Oldest;
        store.subscribe_commits(name, from, Some("a")).unwrap()
    };
    let changes = |name: &str| store.subscribe_changes(name, FeedStart::Oldest).unwrap();
    let following = ["c1", "c2", "c3"].map(commits);
    let watching = ["w1", "w2", "w3", "w4"].map(changes);
    let slow = commits("slow");
    // Their processes are gone.
    drop((commits("dead c"), changes("dead w")));
    assert_eq!(store.cursors().len(), 10);

    let (mut wanted, mut seen, mut told) = (Vec::new(), vec![Vec::new(); 3], [0; 4]);
    let mut held = 0;
    for turn in 0..2_500 {
        wanted.push(step(&store, &limits, turn));
        if turn.is_multiple_of(5) {
            for (cursor, seen) in following.iter().zip(&mut seen) {
                follow_commits(cursor, seen);
            }
        }
        if turn.is_multiple_of(10) {
            for (cursor, told) in watching.iter().zip(&mut told) {
                *told += follow_changes(cursor);
            }
        }
        if turn == 1_500 {
            held = rig.changes_kept();
            assert!(CHANGES_KEPT < held, "{held} are kept for the dead one");
            rig.clock.advance(DAY_US / 2);
            // The others are heard of; the slow one is alive, only slow.
            drop(slow.flush());
            for cursor in &watching {
                cursor.flush().unwrap();
            }
            rig.clock.advance(DAY_US / 2);
        }
    }
    for (cursor, seen) in following.iter().zip(&mut seen) {
        follow_commits(cursor, seen);
        assert_eq!(*seen, wanted, "each commit once, in order");
    }
    assert!(told.iter().all(|told| *told > 1_000), "{told:?}");
    assert!(rig.changes_kept() < held.min(CHANGES_KEPT + 50));
    match slow.read(1).unwrap_err() {
        FeedError::LogReleased { oldest } => assert_eq!(oldest, store.status().truncated),
        other => panic!("{other}"),
    }
    let lost = store.cursors().into_iter().filter(|info| info.lost);
    let lost: Vec<String> = lost.map(|info| info.name).collect();
    assert_eq!(lost, ["slow", "dead c", "dead w"]);
    let oldest = slow.reset().unwrap();
    assert_eq!(oldest, store.status().truncated);
    let mut rest = Vec::new();
    follow_commits(&slow, &mut rest);
    assert!(wanted.ends_with(&rest));
}
