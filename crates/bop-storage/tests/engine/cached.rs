//! The pages of commits in the cache: before they are visible, when they never will be, and when they were replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::ways_to_commit::{LATER, Rig, fill, first, now, written};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::testing::Fault;
use bop_storage::{ErrorCode, Housekeeping, Manager};

/// It is put into the cache while its commit waits, which is written again when its batch fails.
#[test]
fn a_page_in_the_cache_is_not_seen_before_its_commit() {
    let rig = Rig::new(Housekeeping::Background);
    let store = rig.with(&["a", "b"]);
    written(&store, "b", 1).commit().unwrap();
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    let in_flight = written(&store, "a", 1).commit_async().unwrap();
    rig.disk.wait_until_hung(1);
    let cached = store.status().cache.pages;
    let waiting = written(&store, "b", 2).commit_async().unwrap();
    assert_eq!(store.status().cache.pages, cached + 1);
    assert_eq!(now(&store, "b"), 1);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    rig.disk.release_hung();
    in_flight.wait().unwrap();
    assert_eq!((first(&waiting.wait().unwrap()), now(&store, "b")), (2, 2));
    written(&store, "b", 3).commit().unwrap();
    assert_eq!(now(&store, "b"), 3);
}

/// A store on a disk without room, whose database `b` has 1 and whose log takes this many more commits.
fn nearly_full(rig: &Rig, room: u8) -> Manager {
    let begin = |rig: &Rig| {
        let store = rig.with(&["a", "b"]);
        written(&store, "b", 1).commit().unwrap();
        rig.disk.set_capacity(Some(0));
        store
    };
    let refused = fill(&begin(&Rig::new(Housekeeping::Manual)));
    let store = begin(rig);
    for byte in 1..refused - room {
        written(&store, "a", byte).commit().unwrap();
    }
    store
}

#[test]
fn what_a_refused_commit_had_in_the_cache_is_not_there_for_who_comes_to_stand_at_its_place() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = nearly_full(&rig, 1);
    let cached = store.status().cache.pages;
    std::thread::scope(|scope| {
        rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
        let leader = scope.spawn(|| written(&store, "a", 0).commit().map(drop));
        rig.disk.wait_until_hung(1);
        let waiting = written(&store, "b", 2).commit_async().unwrap();
        assert_eq!(store.status().cache.pages, cached + 1);
        rig.disk.release_hung();
        leader.join().unwrap().unwrap();
        assert_eq!(waiting.wait().unwrap_err().code(), ErrorCode::OutOfSpace);
    });
    assert_eq!((store.status().cache.pages, now(&store, "b")), (cached, 1));
    rig.disk.set_capacity(None);
    written(&store, "b", 3).commit_with(LATER).unwrap();
    assert_eq!(now(&store, "b"), 3);
}

#[test]
fn of_a_page_that_is_committed_again_and_again_one_version_stays_in_the_cache() {
    type Way = fn(&Manager, u8);
    let ways: [(&str, Way); 5] = [
        ("full", |store, byte| {
            drop(written(store, "a", byte).commit().unwrap());
        }),
        ("relaxed", |store, byte| {
            drop(written(store, "a", byte).commit_with(LATER).unwrap());
        }),
        ("waited for", |store, byte| {
            let pending = written(store, "a", byte).commit_async().unwrap();
            drop(pending.wait().unwrap());
        }),
        ("forgotten", |store, byte| {
            drop(written(store, "a", byte).commit_async().unwrap());
        }),
        ("in a group", |store, byte| {
            drop(store.group_commit(vec![written(store, "a", byte)]).unwrap());
        }),
    ];
    for housekeeping in [Housekeeping::Background, Housekeeping::Manual] {
        for (how, commit) in ways {
            let store = Rig::new(housekeeping).with(&["a"]);
            for byte in 1..=20 {
                commit(&store, byte);
            }
            // The writer after a forgotten commit begins when that is visible, or over.
            written(&store, "a", 21).commit().unwrap();
            assert_eq!(store.status().cache.pages, 1, "{how}");
        }
    }
}
