//! Commits, reads and checkpoints beside each other: power cuts, a close and failing calls among them.

use super::super::Housekeeping;
use super::ground::{
    Ground, LONG, Promised, Stopped, count, counter, counts, join, look, look_for,
};
use crate::error::{CommitError, Rejection};
use crate::io::IoOp;
use crate::runtime::models::{explore_engine, run_twice};
use crate::testing::Fault;
use rustix::io::Errno;
use shuttle::thread::spawn;

fn commits_reads_and_checkpoints() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let (a, b) = (counter(&store, "a"), counter(&store, "b"));
    let (of_a, of_b) = (Promised::new(), Promised::new());
    let writers = [
        counts(2, &a, &of_a),
        counts(2, &a, &of_a),
        counts(2, &b, &of_b),
    ];
    let reader = {
        let (a, of_a) = (a.clone(), of_a.clone());
        spawn(move || {
            for _ in 0..3 {
                let before = of_a.now();
                assert!(before <= look(&a));
            }
        })
    };
    let checkpoint = {
        let store = store.clone();
        spawn(move || assert!(store.checkpoint().is_ok()))
    };
    let power = ground.power_cuts(
        move || [of_a.now(), of_b.now()],
        |store, [of_a, of_b]| {
            assert!(of_a <= look_for(store, "a"));
            assert!(of_b <= look_for(store, "b"));
        },
    );
    join(writers);
    join([reader, checkpoint, power]);
    drop((a, b));
    let store = ground.reopened(store);
    assert_eq!([look_for(&store, "a"), look_for(&store, "b")], [4, 2]);
}

#[test]
fn commits_reads_checkpoints_and_power_cuts() {
    explore_engine(commits_reads_and_checkpoints);
}

/// The engine has no time and no chance but the model's.
#[test]
fn a_schedule_has_the_same_calls_and_rows_again() {
    run_twice(20, commits_reads_and_checkpoints);
}

fn a_close_beside_commits() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let promised = Promised::new();
    let a = counter(&store, "a");
    let writer = || {
        let (a, promised) = (a.clone(), promised.clone());
        spawn(move || {
            for _ in 0..3 {
                match count(&a) {
                    Ok(counted) => promised.at_least(counted),
                    Err(Stopped::Begin(_)) => return,
                    Err(Stopped::Commit(CommitError::Rejected(Rejection::Closed))) => return,
                    Err(other) => panic!("{other:?}"),
                }
            }
        })
    };
    let writers = [writer(), writer()];
    let checkpoint = {
        let store = store.clone();
        spawn(move || drop(store.checkpoint()))
    };
    let close = {
        let store = store.clone();
        spawn(move || store.close(LONG).unwrap())
    };
    join(writers);
    join([checkpoint, close]);
    drop(a);
    let store = ground.reopened(store);
    // What was refused was not done.
    assert_eq!(look_for(&store, "a"), promised.now());
}

#[test]
fn a_close_refuses_or_finishes_each_commit() {
    explore_engine(a_close_beside_commits);
}

/// A write of the log fails while others are on their way: it is done again, elsewhere, and nobody is told.
fn a_failing_write() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let (a, b) = (counter(&store, "a"), counter(&store, "b"));
    let (of_a, of_b) = (Promised::new(), Promised::new());
    let writers = [
        counts(2, &a, &of_a),
        counts(2, &a, &of_a),
        counts(2, &b, &of_b),
    ];
    let fault = {
        let disk = ground.disk.clone();
        spawn(move || {
            shuttle::thread::yield_now();
            disk.fail_next(IoOp::WriteDurable, Fault::Error(Errno::IO.raw_os_error()));
        })
    };
    let power = ground.power_cuts(
        move || [of_a.now(), of_b.now()],
        |store, [of_a, of_b]| {
            assert!(of_a <= look_for(store, "a"));
            assert!(of_b <= look_for(store, "b"));
        },
    );
    join(writers);
    join([fault, power]);
    ground.disk.heal();
    drop((a, b));
    let store = ground.reopened(store);
    assert_eq!([look_for(&store, "a"), look_for(&store, "b")], [4, 2]);
}

#[test]
fn a_write_that_fails_beside_commits_loses_none() {
    explore_engine(a_failing_write);
}
