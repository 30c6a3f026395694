//! Threads that read the log while others release it and use its segments again: nobody takes that for
//! damage, and no cursor begins at what is about to go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::feed_rig::{Rig, write};
use bop_storage::error::FeedError;
use bop_storage::testing::SplitMix64;
use bop_storage::{CommitsFrom, DbKind, Limits, Lsn, Manager};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Ends the other thread, also when this one fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Commits and checkpoints, so often that segments go all the time, while `beside` runs.
fn while_the_log_goes(limits: Limits, beside: impl FnOnce(&Manager)) {
    let rig = Rig::new();
    let store = rig.open_with(limits);
    store.create_database("a", DbKind::Raw).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let released = scope.spawn(|| {
            let mut turn = 0_u8;
            while !done.load(Ordering::Acquire) {
                write(&store, "a", turn);
                turn = turn.wrapping_add(1);
                if turn.is_multiple_of(4) {
                    store.keep_house();
                    store.checkpoint().unwrap();
                }
            }
            store.status().truncated
        });
        let ends = Done(&done);
        beside(&store);
        drop(ends);
        assert!(Lsn::ZERO < released.join().unwrap());
    });
}

#[test]
fn what_is_released_while_it_is_read_is_told_as_such() {
    let seed = std::env::var("BOP_CURSOR_SEED");
    let seed = seed.map_or_else(
        |_| u64::from(std::process::id()),
        |seed| seed.parse().unwrap(),
    );
    println!("BOP_CURSOR_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    while_the_log_goes(Limits::tiny(), |store| {
        let (mut read, mut refused) = (0, 0);
        while read < 300 || refused < 300 {
            // From where it begins, wherever that is by then.
            store.commits(None, 1, None).unwrap();
            // About where the log begins, before or behind.
            let begins = store.status().truncated.get();
            let from = (begins + random.below(128 << 10)).saturating_sub(32 << 10);
            match store.commits(Some(Lsn::new(from)), 30, None) {
                Ok(page) => {
                    read += 1;
                    assert!(page.commits.iter().all(|commit| from <= commit.lsn.get()));
                }
                Err(FeedError::LogReleased { oldest }) => {
                    refused += 1;
                    assert!(from < oldest.get());
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
}

#[test]
fn no_cursor_begins_at_what_is_about_to_go() {
    let mut limits = Limits::tiny();
    // None is too slow.
    limits.log_bytes_max = 64 << 20;
    limits.cursor_log_bytes_max = 32 << 20;
    while_the_log_goes(limits, |store| {
        let (mut released, mut turn) = (0, 0);
        while released < 40 {
            let before = store.status().truncated;
            turn += 1;
            let name = format!("cursor-{turn}");
            let cursor = store.subscribe_commits(&name, CommitsFrom::Oldest, None);
            let cursor = cursor.unwrap();
            let begun = cursor.position();
            let page = cursor.read(1).unwrap();
            assert!(begun <= page.next && before <= begun);
            cursor.acknowledge(page.next).unwrap();
            drop(cursor);
            store.drop_cursor(&name).unwrap();
            released += u32::from(before < store.status().truncated);
        }
    });
}
