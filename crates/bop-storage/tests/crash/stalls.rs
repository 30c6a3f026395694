//! The N-th call does not return, with all threads of the store running and a small stall limit:
//! the batch in flight goes to another segment, every committer but the one that leads is
//! answered before the call ends, and when it does that changes nothing.

use crate::fill::fill_with;
use crate::ground::Ground;
use crate::oracle::verify;
use crate::replay::{Replay, is_replay, one_of, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::world::{Database, World, is_state, observe};
use bop_storage::testing::{Fault, SplitMix64};
use bop_storage::{CommitError, Db, DbKind, Health, Housekeeping, Limits, Lsn, Manager};
use std::ops::Range;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Committers, each with a database of its own.
const WRITERS: u64 = 3;
const COMMITS: u64 = 3;
/// Of calls that are tried: more are only made when the housekeeper has much to do.
const CALLS_MAX: u64 = 160;
/// Of those that are answered while a call hangs.
const IN_TIME: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.stall_limit = Duration::from_millis(5);
    limits.io_deadline = Duration::from_millis(40);
    limits.writer_wait = Duration::from_millis(40);
    limits.idle_note_delay = Duration::from_millis(1);
    limits.log_sealed_segments_max = 2;
    limits
}

fn name(writer: u64) -> String {
    format!("writer-{writer}")
}

/// What a committer was told: the state it was promised, and the one that its commits of unknown
/// end, the last thing it does, would have made.
struct Told {
    acknowledged: Database,
    in_flight: Option<Database>,
    commits: u64,
    rejected: u64,
}

fn write(db: &Db, seed: u64) -> Told {
    let mut random = SplitMix64::new(seed);
    let mut told = Told {
        acknowledged: Database::new(DbKind::Raw),
        in_flight: None,
        commits: 0,
        rejected: 0,
    };
    for _ in 0..COMMITS {
        let Ok(mut write) = db.begin_write(IN_TIME) else {
            told.rejected += 1;
            continue;
        };
        let mut after = told.acknowledged.clone();
        if fill_with(&mut random, &mut write, &mut after).is_err() {
            told.rejected += 1;
            continue;
        }
        after.head = None;
        match write.commit() {
            Ok(read) => {
                after.head = Some(read.lsn());
                if read.lsn() == Lsn::ZERO {
                    // All that it wrote was cut off again: no commit, so nothing has a page size.
                    after.page_size = None;
                }
                told.commits += 1;
                told.acknowledged = after;
            }
            Err(CommitError::Unknown { .. }) => {
                told.in_flight = Some(after);
                break;
            }
            Err(_) => told.rejected += 1,
        }
    }
    told
}

/// Somebody who has no commit on the way and waits for the device as long as that takes:
/// checkpoints, a new database.
fn bystand(store: &Manager) {
    for round in 0..2 {
        // Each may be refused: what counts is that it returns.
        let _refused = store.checkpoint().is_err();
        let _refused = store.create_database(&format!("more-{round}"), DbKind::Raw);
    }
}

type Committer<'scope> = (String, ScopedJoinHandle<'scope, Told>);

/// Waits until every committer is answered but the one that leads, and lets go what hangs then. The
/// leader sits in the call itself, or needs a segment and waits for the manifest to register it.
fn answers(
    rig: &Rig,
    committers: Vec<Committer<'_>>,
    bystander: &ScopedJoinHandle<'_, ()>,
) -> Vec<(String, Told)> {
    let deadline = Instant::now() + IN_TIME;
    let waits = |(_, thread): &&Committer<'_>| !thread.is_finished();
    while committers.iter().filter(waits).count() > 1 {
        if deadline < Instant::now() {
            rig.disk.release_hung();
            panic!("more than one committer waits for a call that hangs");
        }
        std::thread::yield_now();
    }
    // The call may be one that is still to come.
    while !(bystander.is_finished() && committers.iter().all(|(_, thread)| thread.is_finished())) {
        rig.disk.release_hung();
        std::thread::yield_now();
    }
    let told = committers
        .into_iter()
        .map(|(name, thread)| (name, thread.join().unwrap()));
    told.collect()
}

/// Sums over the runs.
#[derive(Default, Debug)]
struct Sums {
    runs: u64,
    hung: u64,
    commits: u64,
    rejected: u64,
    unknown: u64,
}

/// One run; `nth` is the call that hangs. Returns how many calls there were.
fn hang(ground: Ground, seed: u64, nth: u64, sums: &mut Sums) -> u64 {
    let mut rig = Rig::on(ground, seed, ManifestFault::NotApplied);
    rig.housekeeping = Housekeeping::Background;
    let store = rig.open(&limits()).expect("opens");
    let dbs: Vec<Db> = (0..WRITERS)
        .map(|writer| store.create_database(&name(writer), DbKind::Raw).unwrap())
        .collect();
    let first = rig.disk.op_count();
    rig.disk.fail_at(first + nth, Fault::Hang);
    let told = std::thread::scope(|scope| {
        let committers = (0..).zip(&dbs);
        let committers = committers
            .map(|(writer, db)| {
                (
                    name(writer),
                    scope.spawn(move || write(db, seed ^ writer << 32)),
                )
            })
            .collect();
        let store = &store;
        let bystander = scope.spawn(move || bystand(store));
        answers(&rig, committers, &bystander)
    });
    let calls = rig.disk.op_count() - first;
    sums.runs += 1;
    sums.hung += u64::from(nth < calls);
    for (_, told) in &told {
        sums.commits += told.commits;
        sums.rejected += told.rejected;
        sums.unknown += u64::from(told.in_flight.is_some());
    }
    drop(dbs);
    after(&rig, store, &told);
    calls
}

/// The late end of the call has changed nothing: neither in the open store, nor in what the power
/// leaves, nor in what an ordinary opening finds.
fn after(rig: &Rig, store: Manager, told: &[(String, Told)]) {
    // The call that was to hang may not have been made, or by the housekeeper only now.
    rig.disk.heal();
    rig.disk.release_hung();
    // What nobody waits for any more may become visible while the store is looked at. The log may
    // have failed, and then nothing does.
    let deadline = Instant::now() + IN_TIME;
    while let Err(error) = store.sync() {
        if matches!(store.status().health, Health::Poisoned(_)) {
            break;
        }
        // Refused while the late write is on its way back.
        assert!(Instant::now() < deadline, "{error}");
        std::thread::yield_now();
    }
    look(&store, told, "the open store");
    for keep in [Keep::Nothing, Keep::Everything, Keep::Some(5)] {
        let image = at_one_moment(rig, keep);
        let opened = image.open(&limits()).expect("what is left opens");
        let found = look(&opened, told, "after a power cut");
        verify(&opened, "after a power cut").expect("sound");
        drop(opened);
        let again = image.open(&limits()).expect("and again");
        assert!(is_state(&found, &observe(&again).unwrap()), "{keep:?}");
    }
    // On a busy machine spares may have come too late, and then the log has failed.
    let poisoned = matches!(store.status().health, Health::Poisoned(_));
    let closed = store.close(IN_TIME);
    assert!(closed.is_ok() || poisoned, "{closed:?}");
    drop(store);
    let again = rig.open(&limits()).expect("opens");
    look(&again, told, "the next open");
    verify(&again, "the next open").expect("sound");
}

/// What a crash leaves, while the threads of the store go on.
fn at_one_moment(rig: &Rig, keep: Keep) -> Rig {
    loop {
        let before = rig.disk.op_count();
        let image = rig.crashed(keep, 5);
        if rig.disk.op_count() == before {
            return image;
        }
    }
}

fn look(store: &Manager, told: &[(String, Told)], when: &str) -> World {
    let found = observe(store).expect("can be read");
    for (name, told) in told {
        let database = &found[name];
        let one = |state: &Database| state.is(database);
        assert!(
            one(&told.acknowledged) || told.in_flight.as_ref().is_some_and(one),
            "{when}: {name} is {database:?}, acknowledged {:?}, in flight {:?}",
            told.acknowledged,
            told.in_flight
        );
    }
    found
}

fn hang_each(test: &'static str, ground: Ground, range: Range<u64>, stride: usize) {
    let mut sums = Sums::default();
    let wanted = 40 * (range.end - range.start) / stride as u64;
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        let stride = one_of(stride);
        let first = seed % stride as u64;
        for nth in (first..CALLS_MAX).step_by(stride) {
            // Which threads come first is theirs to say: beyond the end is beyond any doubt.
            if hang(ground, seed, nth, &mut sums) + 2 < nth {
                break;
            }
        }
    }
    println!("{test}, {ground}: {sums:?}");
    if !is_replay() {
        assert!(sums.hung >= wanted, "{sums:?}");
        assert!(sums.commits >= wanted * 3 / 2, "{sums:?}");
    }
}

#[test]
fn a_hung_call_is_overtaken_and_its_late_end_changes_nothing() {
    const TEST: &str = "a_hung_call_is_overtaken_and_its_late_end_changes_nothing";
    hang_each(TEST, Ground::Simulated, 200..206, 4);
}

#[test]
fn a_hung_call_of_real_files_is_overtaken_and_its_late_end_changes_nothing() {
    const TEST: &str = "a_hung_call_of_real_files_is_overtaken_and_its_late_end_changes_nothing";
    for ground in Ground::real() {
        let stride = if ground.is_slow() { 40 } else { 4 };
        hang_each(TEST, ground, 206..207, stride);
    }
}
