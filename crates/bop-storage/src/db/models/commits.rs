//! Commits, reads and checkpoints beside each other: power cuts, a close and failing calls among them.

use super::super::{Db, Housekeeping, Manager};
use super::ground::{
    Ground, LONG, Promised, Stopped, count, counter, counts, join, look, look_for,
};
use crate::error::{CommitError, Rejection};
use crate::io::IoOp;
use crate::runtime::models::{explore_engine, run_twice};
use crate::testing::Fault;
use rustix::io::Errno;
use shuttle::thread::{JoinHandle, spawn};
use std::sync::Arc;

/// A store with two databases that count.
struct Two {
    ground: Arc<Ground>,
    store: Manager,
    dbs: [Db; 2],
    promised: [Promised; 2],
}

impl Two {
    const NAMES: [&str; 2] = ["a", "b"];

    fn open() -> Self {
        let ground = Ground::new();
        let store = ground.open(Housekeeping::Background);
        Self {
            dbs: Self::NAMES.map(|name| counter(&store, name)),
            promised: [Promised::new(), Promised::new()],
            ground,
            store,
        }
    }

    /// Two count in "a", one in "b", each twice; the power is cut meanwhile.
    fn writers_and_power_cuts(&self) -> [JoinHandle<()>; 4] {
        let ([a, b], [of_a, of_b]) = (&self.dbs, &self.promised);
        let promised = self.promised.clone();
        let power = self.ground.power_cuts(
            move || promised.each_ref().map(Promised::now),
            |store, promised| {
                for (name, promised) in Self::NAMES.iter().zip(promised) {
                    assert!(promised <= look_for(store, name), "{name}");
                }
            },
        );
        let [one, two, three] = [(a, of_a), (a, of_a), (b, of_b)].map(|(db, of)| counts(2, db, of));
        [one, two, three, power]
    }

    /// All that was counted is there, in the store that was closed and opened again.
    fn end(self) {
        drop(self.dbs);
        let store = self.ground.reopened(self.store);
        assert_eq!(Self::NAMES.map(|name| look_for(&store, name)), [4, 2]);
    }
}

fn commits_reads_and_checkpoints() {
    let two = Two::open();
    let writers = two.writers_and_power_cuts();
    let reader = {
        let (a, of_a) = (two.dbs[0].clone(), two.promised[0].clone());
        spawn(move || {
            for _ in 0..3 {
                let before = of_a.now();
                assert!(before <= look(&a));
            }
        })
    };
    let checkpoint = {
        let store = two.store.clone();
        spawn(move || assert!(store.checkpoint().is_ok()))
    };
    join(writers);
    join([reader, checkpoint]);
    two.end();
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
    let two = Two::open();
    let writers = two.writers_and_power_cuts();
    let fault = {
        let disk = two.ground.disk.clone();
        spawn(move || {
            shuttle::thread::yield_now();
            let fault = Fault::Error(Errno::IO.raw_os_error());
            disk.fail_next(IoOp::WriteDurable, fault);
        })
    };
    join(writers);
    join([fault]);
    two.ground.disk.heal();
    two.end();
}

#[test]
fn a_write_that_fails_beside_commits_loses_none() {
    explore_engine(a_failing_write);
}
