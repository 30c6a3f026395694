//! Records that are visible before they are durable, and whose end is told: once, in their order, and
//! none is durable behind one that is not.

use super::explore;
use super::rig::{Rig, Threads, limits};
use crate::error::CommitError;
use crate::io::IoOp;
use crate::io::errno::EIO;
use crate::testing::Fault;
use parking_lot::Mutex;
use std::sync::Arc;

/// Two threads with three records each, beside a committer that waits, while the device goes on or
/// fails for good.
fn told_once(threads: Threads, fails: bool) {
    let rig = Rig::new(limits(), threads);
    let told = Arc::new(Mutex::new(Vec::new()));
    if fails {
        let sim = &rig.disk.sim;
        sim.fail_next(IoOp::WriteDurable, Fault::Sticky(EIO));
    }
    let appenders: Vec<_> = [1, 4]
        .map(|first| {
            let told = Arc::clone(&told);
            rig.thread(move |rig| append_three(rig, first, &told))
        })
        .into_iter()
        .collect();
    let committed = rig.append(7);
    assert_eq!(committed.is_err(), fails, "{committed:?}");
    let taken: Vec<u64> = appenders
        .into_iter()
        .flat_map(|appender| appender.join().unwrap())
        .collect();
    assert_eq!(rig.log.sync().is_err(), fails);
    // Whoever wrote the last ones tells so in a moment.
    while told.lock().len() < taken.len() {
        shuttle::thread::yield_now();
    }
    rig.finish();
    let told = std::mem::take(&mut *told.lock());
    for of in [1..4, 4..7] {
        let tags = |told: &(u64, bool)| of.contains(&told.0).then_some(told.0);
        let of_thread: Vec<u64> = told.iter().filter_map(tags).collect();
        let wanted: Vec<u64> = taken
            .iter()
            .copied()
            .filter(|tag| of.contains(tag))
            .collect();
        assert_eq!(of_thread, wanted, "once, and in order: {told:?}");
    }
    assert!(
        told.iter().all(|(_, durable)| *durable != fails),
        "{told:?}"
    );
}

/// Appends until the log takes nothing any more. Answers what it took.
fn append_three(rig: &Rig, first: u64, told: &Arc<Mutex<Vec<(u64, bool)>>>) -> Vec<u64> {
    let mut taken = Vec::new();
    for tag in first..first + 3 {
        let told = Arc::clone(told);
        let disk = (rig.disk.clone(), Arc::clone(rig.log.ring()));
        let ended = move |outcome: Result<super::super::Placed, CommitError>| {
            let durable = outcome.is_ok_and(|at| Rig::holds(&disk.0, &disk.1, at.lsn));
            told.lock().push((tag, durable));
        };
        if rig.append_exposed(tag, ended).is_err() {
            break;
        }
        assert!(
            rig.seen(tag).len() == 1 || rig.log.failure().is_some(),
            "record {tag}"
        );
        taken.push(tag);
    }
    taken
}

#[test]
fn each_end_is_told_once_and_in_order() {
    explore(|| told_once(Threads::Both, false));
}

#[test]
fn each_end_is_told_once_by_committers_alone() {
    explore(|| told_once(Threads::None, false));
}

#[test]
fn each_failure_is_told_once_and_in_order() {
    explore(|| told_once(Threads::Both, true));
}
