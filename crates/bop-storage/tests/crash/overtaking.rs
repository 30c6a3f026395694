//! A change of the catalogue whose write hangs, so that nobody waits for it any more: what comes
//! after it must not be planned as if it had not happened.
//!
//! The change is to be in a batch that hangs and that another one leads. A thread that comes late on a
//! busy machine misses that, so a scenario is tried again, with more patience each time.

use crate::ground::Ground;
use crate::oracle::verify;
use crate::rig::{Keep, ManifestFault, Rig};
use crate::world::content;
use bop_storage::testing::Fault;
use bop_storage::{CatalogueError, CommitError, Db, DbKind, Limits, Manager, PageNo};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Scope;
use std::time::Duration;

const ATTEMPTS: u64 = 60;
const WAIT: Duration = Duration::from_millis(500);
const NOT_YET: Result<End, RecvTimeoutError> = Err(RecvTimeoutError::Timeout);
/// Between two looks at the queue.
const GLANCE: Duration = Duration::from_micros(100);
/// What the operation behind the change has, to be planned while the write hangs.
const NEXT: Duration = Duration::from_millis(20);

fn limits(attempt: u64) -> Limits {
    let mut limits = Limits::tiny();
    limits.io_deadline = Duration::from_millis(60 + 10 * attempt);
    limits.writer_wait = WAIT;
    limits
}

/// How an operation ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum End {
    Done,
    NotDone,
    Unknown,
}

fn end<T>(result: Result<T, CatalogueError>) -> End {
    match result {
        Ok(_) => End::Done,
        Err(CatalogueError::Commit(CommitError::Unknown { .. })) => End::Unknown,
        Err(_) => End::NotDone,
    }
}

fn commit(db: &Db, tag: u64) -> End {
    let Ok(mut write) = db.begin_write(WAIT) else {
        return End::NotDone;
    };
    let page = content(DbKind::Raw, 1, tag, 4096);
    write.write_page(PageNo::FIRST, &page).unwrap();
    match write.commit() {
        Ok(_) => End::Done,
        Err(CommitError::Unknown { .. }) => End::Unknown,
        Err(_) => End::NotDone,
    }
}

/// Starts a thread that tells how its operation ended.
fn ending<'scope>(
    scope: &'scope Scope<'scope, '_>,
    operation: impl FnOnce() -> End + Send + 'scope,
) -> Receiver<End> {
    let (tell, told) = channel();
    scope.spawn(move || tell.send(operation()));
    told
}

/// Runs `change` so that it may get into a batch whose write hangs, and, when it was given up,
/// `next`, which meets the end of that write. Returns how both ended, and the store.
fn overtake(
    ground: Ground,
    rig: &Rig,
    limits: &Limits,
    change: impl FnOnce(&Manager) -> End + Send,
    next: impl FnOnce(&Manager) -> End + Send,
) -> (End, End, Manager) {
    let store = rig.open(limits).unwrap();
    let dbs = ["a", "b", "c"].map(|name| store.create_database(name, DbKind::Raw).unwrap());
    assert_eq!(commit(&dbs[2], 1), End::Done);
    let (disk, durable) = (&rig.disk, ground.durable_op());
    disk.fail_next(durable, Fault::Hang);
    let (changed, nexted) = std::thread::scope(|scope| {
        scope.spawn(|| commit(&dbs[0], 2));
        disk.wait_until_hung(1);
        disk.fail_next(durable, Fault::Hang);
        // The oldest that waits leads: not the change, which could not give up then.
        let beside = ending(scope, || commit(&dbs[1], 2));
        while store.status().queued_records < 1 && beside.recv_timeout(GLANCE) == NOT_YET {}
        let changing = ending(scope, || change(&store));
        let mut changed = NOT_YET;
        // Where this thread comes late it has given up already, and misses the batch.
        while store.status().queued_records < 2 && changed == NOT_YET {
            changed = changing.recv_timeout(GLANCE);
        }
        disk.release_hung();
        // Long enough for it to give up; where it leads all the same it cannot.
        let changed = changed.or_else(|_| changing.recv_timeout(5 * limits.io_deadline));
        if changed != Ok(End::Unknown) {
            // The second hang may still be to come, and must not meet what comes next.
            disk.heal();
            disk.release_hung();
        }
        let changed = changed.unwrap_or_else(|_| changing.recv().unwrap());
        let nexting = ending(scope, || next(&store));
        let nexted = nexting.recv_timeout(NEXT);
        disk.heal();
        disk.release_hung();
        (changed, nexted.unwrap_or_else(|_| nexting.recv().unwrap()))
    });
    drop(dbs);
    (changed, nexted, store)
}

/// The names that are there, now and after a power cut; nothing may be damaged.
fn names(rig: &Rig, store: Manager) -> Vec<String> {
    let listed = |store: &Manager| -> Vec<String> {
        store
            .databases()
            .into_iter()
            .map(|info| info.name)
            .collect()
    };
    let now = listed(&store);
    rig.disk.power_cut();
    let image = rig.crashed(Keep::Nothing, 1);
    drop(store);
    let again = image.open(&limits(0)).unwrap();
    verify(&again, "the open after it").unwrap();
    assert_eq!(listed(&again), now);
    now
}

fn agrees(end: End, is_there: bool) -> bool {
    match end {
        End::Done => is_there,
        End::NotDone => !is_there,
        End::Unknown => true,
    }
}

/// How often the change is to have met the batch that hangs.
fn enough(ground: Ground) -> u64 {
    if ground == Ground::Simulated { 10 } else { 2 }
}

fn create_twice(ground: Ground) {
    let mut unknown = 0;
    for attempt in 0..ATTEMPTS {
        let rig = Rig::on(ground, attempt, ManifestFault::NotApplied);
        let (x, y, store) = overtake(
            ground,
            &rig,
            &limits(attempt),
            |store| end(store.create_database("x", DbKind::Raw)),
            |store| end(store.create_database("y", DbKind::Raw)),
        );
        let names = names(&rig, store);
        let has = |name: &str| names.iter().any(|other| other == name);
        assert!(
            agrees(x, has("x")) && agrees(y, has("y")),
            "{x:?} {y:?} {names:?}"
        );
        unknown += u64::from(x == End::Unknown);
        if unknown == enough(ground) {
            break;
        }
    }
    assert!(unknown >= 1, "the change never met the batch that hangs");
}

fn drop_and_commit(ground: Ground) {
    let mut unknown = 0;
    for attempt in 0..ATTEMPTS {
        let rig = Rig::on(ground, attempt, ManifestFault::NotApplied);
        let (dropped, committed, store) = overtake(
            ground,
            &rig,
            &limits(attempt),
            |store| end(store.drop_database("c")),
            |store| {
                let db = store.database("c");
                db.map_or(End::NotDone, |db| commit(&db, 2))
            },
        );
        if attempt % 2 == 0 && dropped == End::Unknown && store.info("c").is_err() {
            // Nobody waited for the drop to end, but it did: no log is kept for it.
            store.checkpoint().unwrap();
            assert_eq!(store.status().index_entries, 0);
        }
        let names = names(&rig, store);
        let is_there = names.iter().any(|name| name == "c");
        assert!(agrees(dropped, !is_there), "{dropped:?} {names:?}");
        assert!(
            committed != End::Done || is_there,
            "lost acknowledged commit: c"
        );
        unknown += u64::from(dropped == End::Unknown);
        if unknown == enough(ground) {
            break;
        }
    }
    assert!(unknown >= 1, "the drop never met the batch that hangs");
}

#[test]
fn a_creation_is_not_overtaken_by_the_next() {
    create_twice(Ground::Simulated);
}

#[test]
fn a_creation_in_real_files_is_not_overtaken_by_the_next() {
    Ground::real().for_each(create_twice);
}

#[test]
fn no_commit_follows_a_drop() {
    drop_and_commit(Ground::Simulated);
}

#[test]
fn no_commit_follows_a_drop_in_real_files() {
    Ground::real().for_each(drop_and_commit);
}
