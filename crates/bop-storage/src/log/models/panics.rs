//! Writes that panic or fail, and publishers that do: each waiter gets one outcome, the turn is
//! handed on.

use super::super::LogEvents;
use super::super::member::{Placed, Priority, Publish, Remains};
use super::super::rig::note;
use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::error::{CommitError, Rejection};
use crate::io::IoOp;
use crate::io::errno::EIO;
use crate::limits::Limits;
use crate::testing::Fault;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

/// The log took a record, or cannot any more.
fn assert_ended(outcome: &Result<Placed, CommitError>) {
    let fits = matches!(
        outcome,
        Ok(_) | Err(CommitError::Unknown { .. } | CommitError::Rejected(Rejection::Poisoned(_)))
    );
    assert!(fits, "{outcome:?}");
}

/// A leader panics in the device; the batch is written into a fresh segment and all goes on.
fn leader_panics_in_the_device(threads: Threads) {
    let rig = Rig::new(limits(), threads);
    rig.disk.panic_after(1);
    let committers: Vec<_> = (1..=3)
        .map(|tag| rig.thread(move |rig| rig.commit(tag)))
        .collect();
    let mut future = pin!(rig.append_async(4).unwrap());
    rig.append(5).unwrap();
    for committer in committers {
        committer.join().unwrap();
    }
    rig.log.sync().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    // It is durable and visible; who wrote it tells so in a moment.
    let outcome = loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => shuttle::thread::yield_now(),
        }
    };
    rig.check(4, &outcome);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(future.poll(&mut context).is_pending(), "a second outcome");
    assert!(rig.log.failure().is_none());
    rig.finish();
}

#[test]
fn a_panic_in_the_device_loses_no_record_and_no_waiter() {
    explore(|| leader_panics_in_the_device(Threads::Both));
}

#[test]
fn the_same_without_threads() {
    explore(|| leader_panics_in_the_device(Threads::None));
}

/// The device fails for good while committers wait.
fn device_fails_for_good(threads: Threads) {
    let rig = Rig::new(
        Limits {
            write_retries_max: 2,
            ..limits()
        },
        threads,
    );
    let committers: Vec<_> = (1..=3)
        .map(|tag| {
            rig.thread(move |rig| {
                let outcome = rig.append(tag);
                assert_ended(&outcome);
                outcome.is_ok()
            })
        })
        .collect();
    let sim = &rig.disk.sim;
    sim.fail_next(IoOp::WriteDurable, Fault::Sticky(EIO));
    let failed = rig.append(4);
    assert_ended(&failed);
    assert!(failed.is_err(), "{failed:?}");
    for committer in committers {
        committer.join().unwrap();
    }
    let refused = rig.append(5).unwrap_err();
    let poisoned = matches!(refused, CommitError::Rejected(Rejection::Poisoned(_)));
    assert!(poisoned, "{refused}");
    rig.finish();
}

#[test]
fn a_device_that_fails_for_good_answers_everybody() {
    explore(|| device_fails_for_good(Threads::Both));
}

#[test]
fn a_device_that_fails_for_good_answers_everybody_without_threads() {
    explore(|| device_fails_for_good(Threads::None));
}

/// Makes its record visible only in part.
struct Breaks;

impl Publish for Breaks {
    fn publish(self: Box<Self>, _at: Placed) -> Remains {
        super::disk::moment();
        panic!("the publisher's panic");
    }
}

fn publisher_panics() {
    let rig = Rig::new(limits(), Threads::Both);
    let committers: Vec<_> = (1..=2)
        .map(|tag| rig.thread(move |rig| assert_ended(&rig.append(tag))))
        .collect();
    let broken = rig.log.append(note(), Priority::User, Box::new(Breaks));
    assert_ended(&broken);
    assert!(broken.is_err());
    for committer in committers {
        committer.join().unwrap();
    }
    assert!(rig.log.failure().is_some());
    rig.finish();
}

#[test]
fn a_publisher_that_panics_poisons_and_answers_everybody() {
    explore(publisher_panics);
}

/// Hears of one batch and panics.
#[derive(Debug, Default)]
struct PanicsOnce(AtomicBool);

impl LogEvents for PanicsOnce {
    fn batch_written(&self) {
        super::disk::moment();
        assert!(self.0.swap(true, Ordering::Relaxed), "the listener's panic");
    }

    fn segment_sealed(&self, _: usize) {}

    fn room_wanted(&self) {}
}

/// A leader unwinds outside of any fence: no waiter is left behind.
fn leader_unwinds() {
    let rig = Rig::told(limits(), Threads::None, Arc::<PanicsOnce>::default());
    let commit = |rig: &Rig, tag| match catch_unwind(AssertUnwindSafe(|| rig.append(tag))) {
        Ok(outcome) => {
            assert_ended(&outcome);
            true
        }
        Err(_) => false,
    };
    let committers: Vec<_> = (1..=3)
        .map(|tag| rig.thread(move |rig| commit(rig, tag)))
        .collect();
    let ended = committers.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(
        ended.filter(|ended| !ended).count(),
        1,
        "one leader unwinds"
    );
    assert!(rig.log.failure().is_some());
    rig.finish();
}

#[test]
fn a_leader_that_unwinds_poisons_and_answers_everybody() {
    explore(leader_unwinds);
}
