//! A record log and a feed of commits beside databases, and power cuts among them.

use super::super::{CommitsFrom, Housekeeping, Manager, NewEntry};
use super::ground::{Ground, LONG, Promised, counter, counts, join, look_for};
use crate::runtime::models::explore_engine;
use shuttle::thread::{JoinHandle, spawn};

/// Reads the commits of "a" until it has seen so many.
fn follower(store: &Manager, commits: usize) -> JoinHandle<()> {
    let cursor = store.subscribe_commits("follower", CommitsFrom::Oldest, Some("a"));
    let cursor = cursor.unwrap();
    spawn(move || {
        let mut seen = 0;
        while seen < commits {
            let page = cursor.read(10).unwrap();
            seen += page.commits.len();
            cursor.acknowledge(page.next).unwrap();
            assert!(seen == commits || cursor.wait(LONG).unwrap());
        }
    })
}

fn entries_votes_and_commits() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let (a, log) = (
        counter(&store, "a"),
        store.create_record_log("log").unwrap(),
    );
    let (of_a, of_log, of_vote) = (Promised::new(), Promised::new(), Promised::new());
    let writer = counts(3, &a, &of_a);
    let appender = {
        let (log, of_log) = (log.clone(), of_log.clone());
        spawn(move || {
            for index in 1..=4 {
                let payload = &[index as u8; 100];
                let entry = NewEntry {
                    index,
                    term: 1,
                    payload,
                };
                log.append(&[entry]).unwrap();
                of_log.at_least(index);
            }
            log.purge(2).unwrap();
        })
    };
    let voter = {
        let (log, of_vote) = (log.clone(), of_vote.clone());
        spawn(move || {
            for vote in 1..=2_u8 {
                log.set_vote(&[vote]).unwrap();
                of_vote.at_least(vote.into());
            }
        })
    };
    let follower = follower(&store, 3);
    let checkpoint = {
        let store = store.clone();
        spawn(move || assert!(store.checkpoint().is_ok()))
    };
    let power = ground.power_cuts(
        move || [of_a.now(), of_log.now(), of_vote.now()],
        |store, [of_a, of_log, of_vote]| {
            assert!(of_a <= look_for(store, "a"));
            let log = store.record_log("log").unwrap();
            assert!(of_log == 0 || of_log < log.bounds().unwrap().next);
            let vote = log.vote().unwrap().map_or(0, |vote| vote[0]);
            assert!(of_vote <= vote.into());
        },
    );
    join([writer, appender, voter, follower, checkpoint, power]);
    drop((a, log));
    let store = ground.reopened(store);
    let log = store.record_log("log").unwrap();
    let bounds = log.bounds().unwrap();
    assert_eq!((bounds.first, bounds.next), (3, 5));
    assert_eq!(log.read(3..5, 1000).unwrap().len(), 2);
    assert_eq!(log.vote().unwrap().as_deref(), Some(&[2][..]));
    assert_eq!(look_for(&store, "a"), 3);
}

#[test]
fn entries_votes_commits_and_their_feed_beside_power_cuts() {
    explore_engine(entries_votes_and_commits);
}
