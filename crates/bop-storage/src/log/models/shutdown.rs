//! The log is closed while committers wait: each is answered, and what was taken is durable.

use super::super::format::encode_close;
use super::super::rig::LONG;
use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::error::{CommitError, Rejection};
use crate::limits::Limits;
use crate::runtime::sync::now;

fn assert_closed(error: &CommitError) {
    let closed = matches!(error, CommitError::Rejected(Rejection::Closed));
    assert!(closed, "{error}");
}

/// As the engine closes: nothing of users, then the last record, then the threads.
fn close(threads: Threads) {
    let rig = Rig::new(
        Limits {
            queue_records_max: 1,
            ..limits()
        },
        threads,
    );
    let committers: Vec<_> = (1..=3)
        .map(|tag| {
            rig.thread(move |rig| match rig.append(tag) {
                Ok(at) => Some(at.lsn),
                Err(error) => {
                    assert_closed(&error);
                    None
                }
            })
        })
        .collect();
    let unattended = rig.thread(|rig| {
        // Nobody waits for them: they are durable all the same once they are taken.
        drop(rig.append_async(4));
        rig.append_relaxed(5).inspect_err(assert_closed).is_ok()
    });
    rig.log.close();
    assert!(rig.log.wait_until_quiet(now() + LONG));
    rig.log.sync().unwrap();
    // The last record vouches for what is visible now.
    let vouched = rig.visible();
    let last = rig.log.append_last(encode_close(&[]).unwrap()).unwrap();
    for committer in committers {
        if let Some(lsn) = committer.join().unwrap() {
            assert!(lsn < last.lsn);
        }
    }
    let relaxed = unattended.join().unwrap();
    assert_eq!(rig.seen(5).len(), usize::from(relaxed));
    assert_closed(&rig.append(6).unwrap_err());
    assert_eq!(rig.visible(), vouched);
    rig.finish();
}

#[test]
fn who_waits_for_room_or_for_the_device_is_answered() {
    explore(|| close(Threads::Both));
}

#[test]
fn the_same_without_threads() {
    explore(|| close(Threads::None));
}

/// Commits wait for room in a log that is full, which is made, or the log is closed.
fn full_log(closes: bool) {
    let rig = Rig::new(limits(), Threads::None);
    rig.fill();
    let committers: Vec<_> = (1..=2)
        .map(|tag| {
            rig.thread(move |rig| match rig.append(tag) {
                Ok(_) => assert!(rig.log.ring().held_bytes() < limits().log_bytes_max),
                Err(error) => {
                    assert!(closes, "{error}");
                    assert_closed(&error);
                }
            })
        })
        .collect();
    if closes {
        rig.log.close();
    } else {
        let mut oldest = rig.log.ring().sealed();
        oldest.truncate(4);
        rig.log.spares().release(oldest).unwrap();
        rig.log.room_made();
    }
    for committer in committers {
        committer.join().unwrap();
    }
    assert_eq!(rig.visible().is_empty(), closes);
    rig.finish();
}

#[test]
fn who_waits_for_room_in_the_log_gets_it() {
    explore(|| full_log(false));
}

#[test]
fn who_waits_for_room_in_the_log_is_refused_when_it_closes() {
    explore(|| full_log(true));
}

/// Nobody waits for the last commit of a user when the engine closes.
fn close_behind_an_unattended_commit() {
    let rig = Rig::new(limits(), Threads::Both);
    drop(rig.append_async(1).unwrap());
    rig.log.close();
    assert!(rig.log.wait_until_quiet(now() + LONG));
    rig.log.sync().unwrap();
    assert_eq!(rig.seen(1).len(), 1, "the last record vouches for it");
    rig.log.append_last(encode_close(&[]).unwrap()).unwrap();
    rig.finish();
}

#[test]
fn the_last_record_vouches_for_what_nobody_waited_for() {
    explore(close_behind_an_unattended_commit);
}

/// The threads are told to end while they have work, and while they wait.
fn stop() {
    let rig = Rig::new(limits(), Threads::Both);
    let future = rig.append_async(1).unwrap();
    let stopper = rig.thread(|rig| assert!(rig.log.stop(now() + LONG)));
    rig.append(2).unwrap();
    stopper.join().unwrap();
    // Whoever writes next takes along what the background thread left.
    rig.append(3).unwrap();
    rig.check(1, &future.wait(LONG));
    rig.finish();
}

#[test]
fn threads_end_when_they_are_told_to() {
    explore(stop);
}
