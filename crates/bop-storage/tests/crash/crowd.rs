//! Many writers and a housekeeper at once, and the power goes: not repeatable to the last call, but
//! each writer knows what it was promised.

use crate::fill::fill_with;
use crate::ground::Ground;
use crate::oracle::{open, verify};
use crate::replay::{Replay, is_replay, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::world::{Database, World, observe};
use bop_storage::testing::{Fault, SimDisk, SplitMix64};
use bop_storage::{DbKind, Housekeeping, Limits, Manager};
use std::ops::Range;
use std::time::Duration;

const WRITERS: u64 = 4;

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 2;
    limits.writer_wait = Duration::from_millis(50);
    limits.idle_note_delay = Duration::from_millis(1);
    limits
}

/// What one writer was promised about its database, and what it last asked for.
struct Promise {
    name: String,
    acknowledged: Database,
    in_flight: Option<Database>,
    commits: u64,
}

/// One writer: commits to its own database until the power is gone.
fn write(store: &Manager, disk: &SimDisk, number: usize, seed: u64) -> Promise {
    let name = format!("writer-{number}");
    let db = store.database(&name).expect("created before");
    let mut random = SplitMix64::new(seed);
    let mut promise = Promise {
        name,
        acknowledged: Database::new(DbKind::Raw),
        in_flight: None,
        commits: 0,
    };
    while !disk.is_cut() {
        let Ok(mut write) = db.begin_write(Duration::from_secs(5)) else {
            return promise;
        };
        let mut after = promise.acknowledged.clone();
        if fill_with(&mut random, &mut write, &mut after).is_err() {
            return promise;
        }
        after.head = None;
        match write.commit() {
            Ok(read) => {
                after.head = Some(read.lsn());
                promise.commits += 1;
                promise.acknowledged = after;
            }
            Err(bop_storage::CommitError::Unknown { .. }) => {
                promise.in_flight = Some(after);
                break;
            }
            // Turned away for want of room, or of power.
            Err(_) => {}
        }
    }
    promise
}

fn look(rig: &Rig, promises: &[Promise], keep: Keep, seed: u64) -> Result<(), String> {
    let image = rig.crashed(keep, seed);
    let store = open(&image, &limits(), "the first open")?;
    let found: World = observe(&store)?;
    verify(&store, "the first open")?;
    for promise in promises {
        let name = &promise.name;
        let Some(database) = found.get(name) else {
            return Err(format!("lost acknowledged commit: no {name}"));
        };
        if database.head < promise.acknowledged.head {
            return Err(format!(
                "lost acknowledged commit: {name} is at {:?}, not at {:?}",
                database.head, promise.acknowledged.head
            ));
        }
        let in_flight = promise.in_flight.as_ref();
        let is_that = |state: &Database| state.pages == database.pages;
        if !(is_that(&promise.acknowledged) || in_flight.is_some_and(is_that)) {
            return Err(format!("{name} has a state that was never committed"));
        }
    }
    drop(store);
    let again = open(&image, &limits(), "the second open")?;
    if observe(&again)? != found {
        return Err("the second open shows something else".to_owned());
    }
    verify(&again, "the second open")
}

fn crowd(test: &'static str, ground: Ground, range: Range<u64>) {
    let (mut images, mut acknowledged, mut unknown) = (0, 0, 0);
    let wanted = range.end - range.start;
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        let mut random = SplitMix64::new(seed);
        let mut rig = Rig::on(ground, seed, ManifestFault::Either);
        rig.housekeeping = Housekeeping::Background;
        let store = rig.open(&limits()).unwrap();
        for number in 0..WRITERS {
            let name = format!("writer-{number}");
            store.create_database(&name, DbKind::Raw).unwrap();
        }
        let cut = rig.disk.op_count() + 20 + random.below(400);
        rig.disk.fail_at(cut, Fault::PowerCut);
        let promises: Vec<Promise> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| {
                    let (store, disk) = (&store, &rig.disk);
                    let seed = random.next_u64();
                    scope.spawn(move || write(store, disk, usize::try_from(number).unwrap(), seed))
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        rig.disk.power_cut();
        acknowledged += promises.iter().map(|promise| promise.commits).sum::<u64>();
        unknown += promises
            .iter()
            .filter(|promise| promise.in_flight.is_some())
            .count();
        for nth in 0..6 {
            let keep = match nth {
                0 => Keep::Nothing,
                1 => Keep::Everything,
                _ => Keep::Some(random.next_u64()),
            };
            look(&rig, &promises, keep, random.next_u64())
                .unwrap_or_else(|violation| panic!("image {nth} ({keep:?}): {violation}"));
            images += 1;
        }
        drop(store);
    }
    println!("{test}, {ground}: {images} images, {acknowledged} acknowledged, {unknown} unknown");
    if !is_replay() {
        assert!(images >= 5 * wanted, "{images}");
        assert!(acknowledged >= 12 * wanted, "{acknowledged}");
        assert!(unknown as u64 >= wanted / 8, "{unknown}");
    }
}

#[test]
fn a_crowd_of_writers_loses_nothing_it_was_promised() {
    const TEST: &str = "a_crowd_of_writers_loses_nothing_it_was_promised";
    crowd(TEST, Ground::Simulated, 0..40);
}

#[test]
fn a_crowd_of_writers_to_real_files_loses_nothing_it_was_promised() {
    const TEST: &str = "a_crowd_of_writers_to_real_files_loses_nothing_it_was_promised";
    for ground in Ground::real() {
        let seeds = if ground.is_slow() { 40..41 } else { 40..48 };
        crowd(TEST, ground, seeds);
    }
}
