//! The N-th call does not return, for every N: whoever waits for it is answered by a deadline, the
//! store can be left, and when the call ends after all, nothing was said that is not so.

use crate::ground::Ground;
use crate::oracle::{Expected, check, verify};
use crate::replay::{Replay, is_replay, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::session::{Session, Weather};
use crate::world::{Database, Dropped, World, content, is_state, observe};
use bop_storage::io::IoOp;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    BeginError, CloseError, CommitError, DbKind, Limits, Manager, PageNo, Rejection,
};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(10);
const STEPS: u32 = 10;
/// A database that the session does not know, for a committer who waits behind the call.
const BYSTANDER: &str = "bystander";

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.io_deadline = SOON;
    limits.writer_wait = SOON;
    limits.log_sealed_segments_max = 1;
    limits
}

/// How often each end was met.
#[derive(Default, Debug)]
struct Ends {
    committed: u64,
    rejected: u64,
    unknown: u64,
    closed: u64,
    stalled: u64,
    still_open: u64,
}

/// What the bystander's commit came to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum End {
    Committed,
    Rejected,
    Unknown,
}

fn bystander_commit(store: &Manager) -> End {
    let db = store.database(BYSTANDER).unwrap();
    let mut write = match db.begin_write(SOON) {
        Ok(write) => write,
        Err(BeginError::Poisoned(_)) => return End::Rejected,
        Err(error) => panic!("nobody else writes to the bystander: {error}"),
    };
    let page = content(DbKind::Raw, 1, 2, 4096);
    write.write_page(PageNo::FIRST, &page).unwrap();
    match write.commit() {
        Ok(_) => End::Committed,
        Err(CommitError::Unknown { .. }) => End::Unknown,
        Err(CommitError::Rejected(Rejection::Closed)) => panic!("the store is open"),
        Err(_) => End::Rejected,
    }
}

/// Steps that stay in the open store, until the planned call has come; beside the point when it
/// did not come in any of them.
fn work(mut session: Session, hangs: u64) -> Session {
    for _ in 0..STEPS {
        if !session.is_over() {
            session.inner_step();
        }
    }
    while session.rig.disk.op_count() <= hangs {
        let _ticked = session.rig.disk.tick(IoOp::Sync, Path::new("beside"));
    }
    session
}

/// A store with a few commits, and the bystander.
fn prepared(ground: Ground, seed: u64) -> (Session, Manager) {
    let rig = Rig::on(ground, seed, ManifestFault::NotApplied);
    let mut session = Session::new(rig, &limits(), World::new(), Weather::Fair, seed);
    session.run(4);
    let store = session.store.clone().expect("it opened");
    store.create_database(BYSTANDER, DbKind::Raw).unwrap();
    let acknowledged = session.acknowledged;
    let mut session = Session::new(session.rig, &limits(), acknowledged, Weather::Foul, seed);
    session.store = Some(store.clone());
    (session, store)
}

/// How many calls the steps make.
fn calls(ground: Ground, seed: u64) -> u64 {
    let (session, store) = prepared(ground, seed);
    let before = session.rig.disk.op_count();
    let mut session = work(session, 0);
    let calls = session.rig.disk.op_count() - before;
    session.leave(true);
    drop(store);
    calls
}

/// Lets one call hang.
fn hang(ground: Ground, seed: u64, nth: u64, ends: &mut Ends) {
    let (session, store) = prepared(ground, seed);
    let disk = session.rig.disk.clone();
    let hangs = disk.op_count() + nth;
    disk.fail_at(hangs, Fault::Hang);
    let (session, end) = std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(session, hangs));
        disk.wait_until_hung(1);
        let end = bystander_commit(&store);
        match store.close(SOON) {
            Ok(()) => ends.closed += 1,
            Err(CloseError::StillStalled) => ends.stalled += 1,
            Err(CloseError::StillOpen { .. }) => ends.still_open += 1,
            Err(error) => panic!("close: {error}"),
        }
        disk.release_hung();
        (worker.join().unwrap(), end)
    });
    match end {
        End::Committed => ends.committed += 1,
        End::Rejected => ends.rejected += 1,
        End::Unknown => ends.unknown += 1,
    }
    after(session, store, &disk, end);
}

/// What is left must be one of the states that the answers allow.
fn after(mut session: Session, store: Manager, disk: &SimDisk, end: End) {
    session.leave(false);
    drop(store);
    disk.power_cut();
    for keep in [Keep::Nothing, Keep::Everything, Keep::Some(7)] {
        let image = session.rig.crashed(keep, 7);
        let opened = image.open(&limits()).expect("what is left opens");
        let mut found = observe(&opened).expect("and can be read");
        verify(&opened, "the open after a hang").expect("and is sound");
        drop(opened);
        let all = found.clone();
        let bystander = found.remove(BYSTANDER).expect("it was there before");
        let written = !bystander.pages.is_empty();
        match end {
            End::Committed => assert!(written, "{keep:?}: lost acknowledged commit: bystander"),
            End::Rejected => assert!(!written, "{keep:?}: a rejected commit is there"),
            End::Unknown => {}
        }
        let expected = Database {
            pages: vec![2],
            page_size: Some(4096),
            head: None,
            ..Database::new(DbKind::Raw)
        };
        assert!(!written || bystander.pages == expected.pages);
        let in_flight = session.in_flight.as_ref();
        assert!(
            is_state(&session.acknowledged, &found)
                || in_flight.is_some_and(|state| is_state(state, &found)),
            "{keep:?}: {found:?} is neither {:?} nor {in_flight:?}",
            session.acknowledged
        );
        let expected = Expected {
            acknowledged: &all,
            in_flight: None,
            dropped: &Dropped::new(),
        };
        check(image, &limits(), &expected, 7).expect("it stays so");
    }
}

fn hang_each(test: &'static str, ground: Ground, range: Range<u64>, stride: usize) {
    let mut ends = Ends::default();
    let mut runs = 0;
    let wanted = 20 * (range.end - range.start) / stride as u64;
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        for nth in (0..calls(ground, seed)).step_by(stride) {
            runs += 1;
            hang(ground, seed, nth, &mut ends);
        }
    }
    println!("{test}, {ground}: {runs} runs, {ends:?}");
    if !is_replay() {
        assert!(runs >= wanted, "{runs} runs");
        assert!(ends.stalled >= wanted / 6, "{ends:?}");
        assert!(ends.rejected >= wanted / 6, "{ends:?}");
    }
}

#[test]
fn a_call_that_does_not_return_holds_nobody_for_ever() {
    const TEST: &str = "a_call_that_does_not_return_holds_nobody_for_ever";
    hang_each(TEST, Ground::Simulated, 60..63, 1);
}

#[test]
fn a_call_of_real_files_that_does_not_return_holds_nobody_for_ever() {
    const TEST: &str = "a_call_of_real_files_that_does_not_return_holds_nobody_for_ever";
    for ground in Ground::real() {
        let stride = if ground.is_slow() { 10 } else { 1 };
        hang_each(TEST, ground, 63..64, stride);
    }
}
