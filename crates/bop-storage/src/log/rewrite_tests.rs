//! What becomes of a batch that the device does not take.

use super::super::group::Log;
use super::super::lead::Stopped;
use super::super::member::{Placed, Priority, Publish, Remains};
use super::super::rig::{LONG, append, log_within, note, threaded, until_nobody_leads};
use super::*;
use crate::error::{CommitError, Rejection};
use crate::io::IoOp;
use crate::io::errno::EIO;
use crate::limits::Limits;
use crate::testing::{Fault, SimDisk};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Tells where its record is.
struct Tells(mpsc::Sender<Placed>);

impl Publish for Tells {
    fn publish(self: Box<Self>, at: Placed) -> Remains {
        self.0.send(at).unwrap();
        None
    }
}

fn segment_of(log: &Log, at: Placed) -> u64 {
    log.ring().locate(at.lsn).unwrap().0.id.get()
}

#[test]
fn a_failed_batch_is_durable_in_a_fresh_segment() {
    for start in [log_within, threaded] {
        let disk = SimDisk::new(1);
        let log = start(&disk, Limits::tiny());
        let before = append(&log).unwrap();
        disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
        let at = append(&log).unwrap();
        assert!(segment_of(&log, before) < segment_of(&log, at));
        assert!(log.failure().is_none());
        let after = append(&log).unwrap();
        assert_eq!(segment_of(&log, at), segment_of(&log, after));
        assert!(log.wait_until_quiet(Instant::now() + LONG));
        assert!(log.stop(Instant::now() + LONG));
    }
}

#[test]
fn activations_that_fail_are_given_up_and_their_segments_removed() {
    let disk = SimDisk::new(1);
    let log = threaded(&disk, Limits::tiny());
    append(&log).unwrap();
    // The batch, the first activation block of the next segment, the second one of the one after.
    let fail = || disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    fail();
    fail();
    let at = append(&log).unwrap();
    assert_eq!(segment_of(&log, at), 3);
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    let names = crate::io::Disk::list(&disk, std::path::Path::new("log")).unwrap();
    let names: Vec<_> = names.iter().map(|entry| entry.name.as_str()).collect();
    assert!(!names.contains(&"0000000000000002.seg"), "{names:?}");
}

#[test]
fn the_device_has_its_rest_before_the_next_attempt() {
    let disk = SimDisk::new(1);
    let delay = Duration::from_millis(200);
    let limits = Limits {
        retry_delay_min: delay,
        retry_delay_max: delay,
        ..Limits::tiny()
    };
    let log = threaded(&disk, limits);
    disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    let begun = Instant::now();
    append(&log).unwrap();
    let waited = begun.elapsed();
    assert!(delay / 2 <= waited, "half of it is not jitter: {waited:?}");
}

/// Its device is a simulated one, which does not get better by waiting.
#[test]
fn a_log_without_threads_tries_again_at_once() {
    let disk = SimDisk::new(1);
    let limits = Limits {
        retry_delay_min: LONG,
        retry_delay_max: LONG,
        ..Limits::tiny()
    };
    let log = log_within(&disk, limits);
    disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    let begun = Instant::now();
    append(&log).unwrap();
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn a_write_within_its_time_is_not_overtaken() {
    let disk = SimDisk::new(1);
    let limits = Limits {
        stall_limit: LONG,
        ..Limits::tiny()
    };
    let log = log_within(&disk, limits);
    let before = append(&log).unwrap();
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let leader = scope.spawn(|| append(&log));
        disk.wait_until_hung(1);
        assert!(!log.shared().take_stalled());
        disk.release_hung();
        let at = leader.join().unwrap().unwrap();
        assert_eq!(segment_of(&log, before), segment_of(&log, at));
    });
}

#[test]
fn a_device_that_fails_for_ever_poisons_after_so_many_attempts() {
    let disk = SimDisk::new(1);
    let attempts = 3;
    let log = threaded(
        &disk,
        Limits {
            write_retries_max: attempts,
            ..Limits::tiny()
        },
    );
    let before = disk.op_count();
    disk.fail_at(before, Fault::Sticky(EIO));
    let failed = append(&log).unwrap_err();
    assert!(matches!(failed, CommitError::Unknown { .. }), "{failed}");
    let calls = disk.op_count() - before;
    // Each attempt makes one call, that fails: an activation, or the making of a segment for it.
    assert!(calls <= 1 + 2 * u64::from(attempts), "{calls} calls");
    assert!(log.wait_until_quiet(Instant::now() + LONG));
    let refused = append(&log).unwrap_err();
    assert!(
        matches!(refused, CommitError::Rejected(Rejection::Poisoned(_))),
        "{refused}"
    );
    assert!(log.stop(Instant::now() + LONG));
}

#[test]
fn a_write_that_does_not_return_stalls_the_log_and_is_overtaken() {
    let disk = SimDisk::new(1);
    let log = threaded(
        &disk,
        Limits {
            io_deadline: Duration::from_millis(20),
            stall_limit: Duration::from_millis(200),
            ..Limits::tiny()
        },
    );
    append(&log).unwrap();
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let (tells, told) = mpsc::channel();
        let leader = scope.spawn(|| log.append(note(), Priority::User, Box::new(Tells(tells))));
        disk.wait_until_hung(1);
        while log.stalled().is_none() && log.published().get() == 0 {
            thread::yield_now();
        }
        // Published from the fresh segment, though the first write is still in the kernel.
        let at = told.recv_timeout(LONG).unwrap();
        until_nobody_leads(&log);
        let next = append(&log).unwrap();
        assert_eq!(segment_of(&log, at), segment_of(&log, next));
        let published = log.published();
        disk.release_hung();
        assert_eq!(leader.join().unwrap().unwrap(), at);
        assert_eq!(log.published(), published);
    });
    append(&log).unwrap();
}

#[test]
fn while_the_log_is_stalled_nothing_is_taken() {
    let disk = SimDisk::new(1);
    let log = threaded(
        &disk,
        Limits {
            io_deadline: Duration::from_millis(20),
            ..Limits::tiny()
        },
    );
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let leader = scope.spawn(|| append(&log));
        disk.wait_until_hung(1);
        while log.stalled().is_none() {
            thread::yield_now();
        }
        let refused = append(&log).unwrap_err();
        assert!(
            matches!(refused, CommitError::Rejected(Rejection::Stalled { .. })),
            "{refused}"
        );
        disk.release_hung();
        leader.join().unwrap().unwrap();
    });
    append(&log).unwrap();
}

/// Else the log went on in a segment with a smaller id than that of a leader who comes back late, and
/// recovery took the latter's for the newest, and what was acknowledged in the other for given up.
#[test]
fn who_has_lost_the_turn_takes_no_spare() {
    let disk = SimDisk::new(1);
    let log = log_within(&disk, Limits::tiny());
    let shared = log.shared();
    let before = log.ring().spares();
    let (late, now) = {
        let mut state = shared.state.lock();
        state.number += 1;
        (state.number - 1, state.number)
    };
    let taken = shared.take_spare(late, 0);
    assert!(matches!(taken, Err(Stopped::Lost)));
    let taken = shared.take_spare(now, 0).ok().flatten().unwrap();
    assert_eq!(taken.id, before[0].id);
    assert!(log.stop(Instant::now() + LONG));
}
