//! Forks, snapshots, restores and drops beside commits and checkpoints, and power cuts among them.

use super::super::Housekeeping;
use super::ground::{Ground, Promised, counter, counts, join, look, look_for};
use crate::at::At;
use crate::runtime::models::explore_engine;
use shuttle::thread::spawn;

fn names_come_and_go() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let (a, gone) = (counter(&store, "a"), counter(&store, "gone"));
    let (of_a, of_fork) = (Promised::new(), Promised::new());
    of_a.count(&a);
    Promised::new().count(&gone);
    let writer = counts(3, &a, &of_a);
    let fork = {
        let (store, of_a, of_fork) = (store.clone(), of_a.clone(), of_fork.clone());
        spawn(move || {
            let before = of_a.now();
            let fork = store.fork_database("a", "fork", &At::Now).unwrap();
            assert!(before <= look(&fork));
            of_fork.at_least(look(&fork));
            of_fork.count(&fork);
        })
    };
    let snapshot = {
        let (store, a, of_a) = (store.clone(), a.clone(), of_a.clone());
        spawn(move || {
            let before = of_a.now();
            store.snapshot_database("a", "s", &At::Now).unwrap();
            let at = At::Snapshot("s".to_owned());
            let copy = store.fork_database("a", "copy", &at).unwrap();
            let read = a.begin_read_at(&at).unwrap();
            assert!(before <= look(&copy));
            assert_eq!(
                read.rolling_checksum(),
                copy.begin_read().unwrap().rolling_checksum()
            );
            drop(read);
            store.drop_snapshot("a", "s").unwrap();
        })
    };
    let housework = {
        let store = store.clone();
        spawn(move || {
            store.drop_database("gone").unwrap();
            store.checkpoint().unwrap();
        })
    };
    let power = ground.power_cuts(
        move || [of_a.now(), of_fork.now()],
        |store, [of_a, of_fork]| {
            assert!(of_a <= look_for(store, "a"));
            assert!(of_fork <= look_for(store, "fork"));
        },
    );
    join([writer, fork, snapshot, housework, power]);
    drop((a, gone));
    let store = ground.reopened(store);
    assert_eq!(look_for(&store, "a"), 4);
    assert!((2..=5).contains(&look_for(&store, "fork")));
    let names: Vec<_> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["a", "copy", "fork"]);
}

#[test]
fn forks_snapshots_and_drops_beside_commits_and_power_cuts() {
    explore_engine(names_come_and_go);
}

/// Whoever has the database open goes on with what it was, or is told that it is another one.
fn a_restore_beside_commits() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let a = counter(&store, "a");
    let promised = Promised::new();
    promised.count(&a);
    store.snapshot_database("a", "first", &At::Now).unwrap();
    let writer = {
        let store = store.clone();
        spawn(move || {
            for _ in 0..2 {
                // By its name, each time: there is one all the while.
                let db = store.database("a").unwrap();
                drop(super::ground::count(&db));
            }
        })
    };
    let restore = {
        let store = store.clone();
        spawn(move || {
            let at = At::Snapshot("first".to_owned());
            store.restore_database("a", &at).unwrap();
        })
    };
    let checkpoint = {
        let store = store.clone();
        spawn(move || assert!(store.checkpoint().is_ok()))
    };
    let power = ground.power_cuts(
        move || promised.now(),
        |store, first| assert!(first <= look_for(store, "a")),
    );
    join([writer, restore, checkpoint, power]);
    drop(a);
    let store = ground.reopened(store);
    assert!((1..=3).contains(&look_for(&store, "a")));
}

#[test]
fn a_restore_beside_commits_and_power_cuts() {
    explore_engine(a_restore_beside_commits);
}

/// What was committed before a drop is there when that is taken back, whatever a checkpoint beside the drop has written.
fn a_drop_beside_a_checkpoint() {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Manual);
    let a = counter(&store, "a");
    drop(super::ground::count(&a));
    let dropping = {
        let store = store.clone();
        spawn(move || store.drop_database("a").unwrap())
    };
    let checkpoint = {
        let store = store.clone();
        spawn(move || assert!(store.checkpoint().is_ok()))
    };
    join([dropping, checkpoint]);
    drop(a);
    store.undrop_database("a", None).unwrap();
    assert_eq!(look_for(&store, "a"), 1);
    store.checkpoint().unwrap();
    let store = ground.reopened(store);
    assert_eq!(look_for(&store, "a"), 1);
}

#[test]
fn a_drop_beside_a_checkpoint_takes_no_commit_with_it() {
    explore_engine(a_drop_beside_a_checkpoint);
}
