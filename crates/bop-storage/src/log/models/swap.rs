//! The queue is taken while others append: each record is written once, where its committer was told.

use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::error::{CommitError, Rejection};
use crate::limits::Limits;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// All three ways to append, some twice, while batches leave.
fn all_ways(threads: Threads) {
    let rig = Rig::new(limits(), threads);
    let waiting = rig.thread(|rig| {
        rig.append(1).unwrap();
        rig.append(2).unwrap();
    });
    let relaxed = rig.thread(|rig| {
        rig.append_relaxed(3).unwrap();
        rig.append_relaxed(4).unwrap();
    });
    let first = rig.append_async(5).unwrap();
    let second = rig.append_async(6).unwrap();
    rig.check(6, &second.wait(PATIENCE));
    rig.check(5, &first.wait(PATIENCE));
    waiting.join().unwrap();
    relaxed.join().unwrap();
    rig.log.sync().unwrap();
    for tag in 1..=6 {
        assert_eq!(rig.seen(tag).len(), 1, "record {tag}");
    }
    rig.finish();
}

#[test]
fn each_record_is_in_one_batch_whichever_way_it_came() {
    explore(|| all_ways(Threads::Both));
}

#[test]
fn without_threads_committers_write_what_nobody_waits_for() {
    explore(|| all_ways(Threads::None));
}

/// The queue takes one record, so that committers wait for it to be taken.
fn full_queue() {
    let rig = Rig::new(
        Limits {
            queue_records_max: 1,
            ..limits()
        },
        Threads::Both,
    );
    let committers: Vec<_> = (1..=3)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    let hasty = rig.append_async(4);
    rig.append_relaxed(5).unwrap();
    match hasty {
        Ok(future) => rig.check(4, &future.wait(PATIENCE)),
        Err(error) => {
            let busy = matches!(error, CommitError::Rejected(Rejection::Busy { .. }));
            assert!(busy, "{error}");
        }
    }
    for committer in committers {
        committer.join().unwrap();
    }
    rig.log.sync().unwrap();
    rig.finish();
}

#[test]
fn who_waits_for_room_gets_it_when_the_queue_is_taken() {
    explore(full_queue);
}

/// A batch is written until the next record is there, which waits for the room that the batch left.
fn room_during_a_write() {
    let rig = Rig::new(
        Limits {
            queue_records_max: 1,
            ..limits()
        },
        Threads::None,
    );
    let (log, writes) = (Arc::downgrade(&rig.log), AtomicU32::new(0));
    rig.disk.during_writes(move || {
        let last = writes.fetch_add(1, Ordering::Relaxed) == 2;
        while !last
            && log
                .upgrade()
                .is_some_and(|log| log.backlog().queued_records == 0)
        {
            shuttle::thread::yield_now();
        }
    });
    let committers: Vec<_> = (1..=3)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    for committer in committers {
        committer.join().unwrap();
    }
    rig.finish();
}

#[test]
fn room_is_told_of_when_a_batch_is_taken_and_not_when_it_is_written() {
    explore(room_during_a_write);
}
