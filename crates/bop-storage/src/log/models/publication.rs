//! What readers see: nothing before it is durable, all of it once a commit has returned.

use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::ids::Lsn;

/// A reader asks how far the log is published, and looks, while others commit.
fn readers_look() {
    let rig = Rig::new(limits(), Threads::Both);
    let committers: Vec<_> = [[1, 2], [3, 4]]
        .into_iter()
        .map(|tags| rig.thread(move |rig| tags.map(|tag| rig.append(tag).unwrap().lsn)))
        .collect();
    let reader = rig.thread(|rig| {
        let look = |_| {
            let published = rig.log.published();
            (published, rig.visible())
        };
        (0..4).map(look).collect::<Vec<_>>()
    });
    let looks = reader.join().unwrap();
    let mut committed: Vec<Lsn> = Vec::new();
    for committer in committers {
        let own = committer.join().unwrap();
        assert!(own.is_sorted(), "{own:?}");
        committed.extend(own);
    }
    for (published, visible) in looks {
        for lsn in committed.iter().filter(|lsn| **lsn < published) {
            let seen = visible.iter().any(|seen| seen.lsn == *lsn);
            assert!(seen, "{lsn} is before {published}, and not visible");
        }
    }
    rig.finish();
}

#[test]
fn all_before_the_published_end_is_visible() {
    explore(readers_look);
}

/// Whoever syncs sees all that was appended before, also what nobody waits for.
fn sync_and_look() {
    let rig = Rig::new(limits(), Threads::Both);
    let committer = rig.thread(|rig| rig.commit(3));
    rig.append_relaxed(2).unwrap();
    drop(rig.append_async(1).unwrap());
    rig.log.sync().unwrap();
    for tag in [1, 2] {
        assert_eq!(rig.seen(tag).len(), 1, "record {tag}");
        assert!(rig.is_durable(rig.seen(tag)[0]), "record {tag}");
    }
    committer.join().unwrap();
    rig.finish();
}

#[test]
fn after_a_sync_all_before_it_is_visible_and_durable() {
    explore(sync_and_look);
}

/// What is visible before it is durable can be read all the time, from memory or from the device.
fn readers_read_relaxed_records() {
    let rig = Rig::new(limits(), Threads::Both);
    let relaxed = rig.thread(|rig| {
        for tag in [1, 2] {
            let at = rig.append_relaxed(tag).unwrap();
            assert_eq!(rig.seen(tag), [at.lsn]);
        }
    });
    let strict = rig.thread(|rig| rig.commit(3));
    let reader = rig.thread(|rig| {
        for _ in 0..6 {
            for seen in rig.visible() {
                let in_memory = rig.log.unwritten().read(seen.lsn, 1).is_some();
                super::disk::moment();
                assert!(in_memory || rig.is_durable(seen.lsn), "{seen:?} is nowhere");
            }
            super::disk::moment();
        }
    });
    for thread in [relaxed, strict, reader] {
        thread.join().unwrap();
    }
    rig.log.sync().unwrap();
    assert_eq!(rig.log.unwritten().oldest(), None);
    rig.finish();
}

#[test]
fn a_visible_record_can_be_read_at_any_moment() {
    explore(readers_read_relaxed_records);
}
