//! One cycle: open, a crew at work, and one of the ends that a store can have.

use crate::crew::{self, Cycle};
use crate::world::{LASTING, World};
use bop_storage::testing::SplitMix64;
use bop_storage::{CloseError, Db, ErrorCode, Manager};
use std::thread::{self, Scope};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);

/// How a cycle ends.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    /// Closed while all are at work.
    CloseAtWork,
    /// Closed by two threads at once, while all are at work.
    CloseTwice,
    /// Closed while a reader and a writer stay inside past the deadline.
    CloseStillOpen,
    /// Closed, then all handles are used and dropped.
    CloseThenUse,
    /// Everybody stops; the last handle that goes closes the store.
    Drop,
    /// The manager goes first; a database and its transactions keep the store open.
    ManagerFirst,
    /// Nobody was inside.
    Idle,
}

impl End {
    pub(crate) const ALL: [Self; 7] = [
        Self::CloseAtWork,
        Self::CloseTwice,
        Self::CloseStillOpen,
        Self::CloseThenUse,
        Self::Drop,
        Self::ManagerFirst,
        Self::Idle,
    ];
}

/// Runs a cycle and tells how it ended.
pub(crate) fn run(world: &World, random: &mut SplitMix64) -> End {
    let end = End::ALL[random.index(End::ALL.len())];
    let store = world.open(random);
    if end == End::Idle {
        if random.chance(1, 2) {
            store.close(Duration::ZERO).unwrap();
        }
        return end;
    }
    let cycle = Cycle::default();
    let things = random.below(60);
    let dbs = LASTING.map(|name| store.database(name).unwrap());
    thread::scope(|scope| {
        hire(scope, &cycle, world, &store, &dbs, random);
        cycle.wait_for(things);
        match end {
            End::CloseAtWork => store.close(LONG).unwrap(),
            End::CloseTwice => close_twice(&store),
            End::CloseStillOpen => close_still_open(&store, &dbs[0]),
            End::CloseThenUse => close_then_use(&store, &dbs[0]),
            End::Drop | End::ManagerFirst | End::Idle => {}
        }
        cycle.stop();
    });
    match end {
        End::ManagerFirst => manager_first(store, dbs),
        // Which handle goes last must not matter.
        _ if random.chance(1, 2) => drop((store, dbs)),
        _ => drop((dbs, store)),
    }
    end
}

/// Starts the threads. Each has handles of its own.
fn hire<'scope>(
    scope: &'scope Scope<'scope, '_>,
    cycle: &'scope Cycle,
    world: &'scope World,
    store: &Manager,
    dbs: &[Db],
    random: &mut SplitMix64,
) {
    for db in dbs {
        for _ in 0..=random.below(2) {
            let (db, random) = (db.clone(), random.split());
            scope.spawn(move || crew::write(cycle, &world.known, &db, random));
        }
        let (db, random) = (db.clone(), random.split());
        scope.spawn(move || crew::read(cycle, &db, random));
    }
    if random.chance(1, 2) {
        let store = store.clone();
        scope.spawn(move || crew::checkpoint(cycle, &store));
    }
    let (own, of_namer) = (store.clone(), random.split());
    scope.spawn(move || crew::name(cycle, &world.known, &own, of_namer));
    if random.chance(1, 2) {
        let (own, of_looker) = (store.clone(), random.split());
        scope.spawn(move || crew::look(cycle, &own, of_looker));
    }
}

fn close_twice(store: &Manager) {
    thread::scope(|scope| {
        let other = scope.spawn(|| store.close(LONG));
        store.close(LONG).unwrap();
        other.join().unwrap().unwrap();
    });
    // Whoever was told that the store is closed finds it so, and unlocked.
    assert_eq!(
        store.database(LASTING[0]).unwrap_err().code(),
        ErrorCode::Closed
    );
}

fn close_still_open(store: &Manager, db: &Db) {
    let read = db.begin_read().unwrap();
    let write = db.begin_write(LONG).unwrap();
    let left = store.close(Duration::from_millis(1)).unwrap_err();
    assert!(
        matches!(left, CloseError::StillOpen { transactions } if transactions >= 2),
        "{left}"
    );
    store.close(LONG).unwrap();
    crew::must_be_closed(&read, write);
}

fn close_then_use(store: &Manager, db: &Db) {
    store.close(LONG).unwrap();
    store.close(Duration::ZERO).unwrap();
    assert_eq!(db.begin_read().unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(db.begin_write(LONG).unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(store.checkpoint().unwrap_err().code(), ErrorCode::Closed);
    let [created, dropped] = [
        store
            .create_database("late", bop_storage::DbKind::Raw)
            .map(drop),
        store.drop_database(LASTING[0]),
    ];
    assert_eq!(created.unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(dropped.unwrap_err().code(), ErrorCode::Closed);
    store.keep_house();
    assert!(!store.verify().is_healthy());
    assert!(store.status().databases > 0 && !store.databases().is_empty());
}

fn manager_first(store: Manager, [one, two]: [Db; 2]) {
    drop(store);
    let read = two.begin_read().unwrap();
    drop(two);
    crew::must_be_open(&one);
    let write = one.begin_write(LONG).unwrap();
    drop(one);
    drop(write);
    crate::world::number_of(&read);
}
