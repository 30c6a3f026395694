//! Names that come and go while others commit and checkpoints run, and the power goes: each database is what its
//! owner was last promised, or asked for last, and has every commit that was acknowledged.
//!
//! ```text
//!   owner, one for each database    create others, rename, drop, undrop its own, over and over
//!   committer, one for each         a page with a number that grows, by a handle that stays open until it is told
//!                                   that the database was dropped
//!   checkpoints                     without a pause, beside the housekeeper
//! ```
//! Not repeatable to the last call: which thread comes first is the threads' affair.

use crate::ground::Ground;
use crate::oracle::{open, verify};
use crate::replay::{Replay, is_replay, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use bop_storage::testing::{Fault, SimDisk, SplitMix64};
use bop_storage::{
    CatalogueError, CommitError, Db, DbId, DbKind, Housekeeping, Limits, Manager, PageNo,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

const OWNERS: usize = 3;
const WAIT: Duration = Duration::from_millis(50);

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 2;
    limits.writer_wait = WAIT;
    limits.idle_note_delay = Duration::from_millis(1);
    // Nothing that is dropped here is given up.
    limits.dropped_databases_max = 100;
    limits.dropped_bytes_max = 64 << 20;
    limits
}

/// What a database is, for whoever looks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Live(String),
    Dropped,
    NotThere,
}

/// What an owner was promised.
struct Promise {
    own: DbId,
    acknowledged: State,
    in_flight: Option<State>,
    /// Others that it made.
    made: Vec<String>,
    operations: u64,
}

/// How an operation ended; `None` when it was refused, and changed nothing.
fn end<T>(result: Result<T, CatalogueError>) -> Option<bool> {
    match result {
        Ok(_) => Some(true),
        Err(CatalogueError::Commit(CommitError::Unknown { .. })) => Some(false),
        Err(_) => None,
    }
}

/// The name of each owner's database while it is live, for its committer.
type Names = Mutex<BTreeMap<usize, String>>;

/// Names, and takes names away, until the power is gone.
fn own(store: &Manager, disk: &SimDisk, owner: usize, seed: u64, names: &Names) -> Promise {
    let mut random = SplitMix64::new(seed);
    let name = format!("own-{owner}-0");
    let mut promise = Promise {
        own: store.info(&name).expect("created before").id,
        acknowledged: State::Live(name),
        in_flight: None,
        made: Vec::new(),
        operations: 0,
    };
    let mut number = 0;
    while !disk.is_cut() {
        number += 1;
        let next = format!("own-{owner}-{number}");
        let (asked, ended) = match (&promise.acknowledged, random.below(4)) {
            (_, 0) => {
                let other = format!("other-{owner}-{number}");
                match end(store.create_database(&other, DbKind::Raw)) {
                    Some(true) => promise.made.push(other),
                    Some(false) => return promise,
                    None => {}
                }
                continue;
            }
            (State::Live(name), 1) => (State::Dropped, end(store.drop_database(name))),
            (State::Live(name), _) => {
                let ended = end(store.rename_database(name, &next));
                (State::Live(next), ended)
            }
            (_, _) => {
                let ended = end(store.undrop_database_id(promise.own, Some(&next)));
                (State::Live(next), ended)
            }
        };
        match ended {
            Some(true) => {
                promise.operations += 1;
                if let State::Live(name) = &asked {
                    names.lock().unwrap().insert(owner, name.clone());
                }
                promise.acknowledged = asked;
            }
            Some(false) => {
                promise.in_flight = Some(asked);
                return promise;
            }
            None => {}
        }
    }
    promise
}

/// Commits numbers, until the power is gone; answers the last one that was acknowledged.
fn commit(store: &Manager, disk: &SimDisk, owner: usize, names: &Names) -> u64 {
    let (mut acknowledged, mut db): (u64, Option<Db>) = (0, None);
    let mut next = 1_u64;
    while !disk.is_cut() {
        let Some(handle) = &db else {
            let name = names.lock().unwrap()[&owner].clone();
            db = store.database(&name).ok();
            continue;
        };
        let Ok(mut write) = handle.begin_write(WAIT) else {
            // It was dropped: whoever takes that back gives it another name.
            db = None;
            std::thread::yield_now();
            continue;
        };
        let mut page = [0; 4096];
        page[..8].copy_from_slice(&next.to_be_bytes());
        if write.write_page(PageNo::FIRST, &page).is_err() {
            continue;
        }
        match write.commit() {
            Ok(_) => acknowledged = next,
            Err(CommitError::Unknown { .. }) => break,
            Err(_) => {}
        }
        next += 1;
    }
    acknowledged
}

/// The number that a database has.
fn number(store: &Manager, name: &str) -> Result<u64, String> {
    let told = |error: &dyn std::error::Error| format!("{name}: {error}");
    let db = store.database(name).map_err(|error| told(&error))?;
    let read = db.begin_read().map_err(|error| told(&error))?;
    if read.page_count() == 0 {
        return Ok(0);
    }
    let page = read.read_page(PageNo::FIRST);
    let page = page.map_err(|error| told(&error))?;
    let bytes = page[..8].try_into().expect("eight of them");
    Ok(u64::from_be_bytes(bytes))
}

/// All databases, live and dropped.
fn states(store: &Manager) -> BTreeMap<DbId, State> {
    let live = store.databases().into_iter();
    let live = live.map(|info| (info.id, State::Live(info.name)));
    let dropped = store.dropped_databases().into_iter();
    live.chain(dropped.map(|one| (one.id, State::Dropped)))
        .collect()
}

fn look(rig: &Rig, promises: &[(Promise, u64)], keep: Keep, seed: u64) -> Result<(), String> {
    let image = rig.crashed(keep, seed);
    let store = open(&image, &limits(), "the first open")?;
    verify(&store, "the first open")?;
    let found = states(&store);
    // The log may be full of what was committed, and nobody keeps house here.
    let made_room = store.checkpoint();
    made_room.map_err(|error| format!("no checkpoint: {error}"))?;
    for (promise, committed) in promises {
        let state = found.get(&promise.own).unwrap_or(&State::NotThere);
        if *state != promise.acknowledged && Some(state) != promise.in_flight.as_ref() {
            let (was, asked) = (&promise.acknowledged, &promise.in_flight);
            return Err(format!(
                "{state:?} was {was:?}, and {asked:?} was asked for"
            ));
        }
        if *state == State::Dropped {
            let back = store.undrop_database_id(promise.own, Some("back"));
            back.map_err(|error| format!("a drop cannot be taken back: {error}"))?;
        }
        let name = match state {
            State::Live(name) => name.as_str(),
            _ => "back",
        };
        let number = number(&store, name)?;
        if number < *committed {
            return Err(format!(
                "lost acknowledged commit: {name} has {number}, not {committed}"
            ));
        }
        if *state == State::Dropped {
            let again = store.drop_database("back");
            again.map_err(|error| format!("it cannot be dropped again: {error}"))?;
        }
        for made in &promise.made {
            let there = store.info(made);
            there.map_err(|error| format!("lost acknowledged creation: {made}: {error}"))?;
        }
    }
    drop(store);
    let again = open(&image, &limits(), "the second open")?;
    if states(&again) != found {
        return Err("the second open shows something else".to_owned());
    }
    verify(&again, "the second open")
}

/// Runs all of them until the power goes; what each owner was promised, and the last acknowledged number.
fn run(rig: &Rig, random: &mut SplitMix64) -> Vec<(Promise, u64)> {
    let store = rig.open(&limits()).unwrap();
    let names = Names::default();
    for owner in 0..OWNERS {
        let name = format!("own-{owner}-0");
        store.create_database(&name, DbKind::Raw).unwrap();
        names.lock().unwrap().insert(owner, name);
    }
    let cut = rig.disk.op_count() + 20 + random.below(400);
    rig.disk.fail_at(cut, Fault::PowerCut);
    let promises = std::thread::scope(|scope| {
        let (store, disk, names) = (&store, &rig.disk, &names);
        scope.spawn(move || {
            while !disk.is_cut() {
                // It is refused when the log has no room for it, and when the power goes.
                drop(store.checkpoint());
            }
        });
        let pairs: Vec<_> = (0..OWNERS)
            .map(|owner| {
                let seed = random.next_u64();
                let names_of = scope.spawn(move || own(store, disk, owner, seed, names));
                let commits = scope.spawn(move || commit(store, disk, owner, names));
                (names_of, commits)
            })
            .collect();
        let joined = pairs
            .into_iter()
            .map(|(names_of, commits)| (names_of.join().unwrap(), commits.join().unwrap()));
        joined.collect()
    });
    rig.disk.power_cut();
    promises
}

#[test]
fn names_come_and_go_beside_commits_and_checkpoints_and_none_is_lost() {
    const TEST: &str = "names_come_and_go_beside_commits_and_checkpoints_and_none_is_lost";
    const SEEDS: std::ops::Range<u64> = 300..340;
    let (mut images, mut operations, mut committed, mut unknown) = (0, 0, 0, 0);
    for seed in seeds(SEEDS) {
        let _replay = Replay::new(TEST, Ground::Simulated, seed);
        let mut random = SplitMix64::new(seed);
        let mut rig = Rig::on(Ground::Simulated, seed, ManifestFault::Either);
        rig.housekeeping = Housekeeping::Background;
        let promises = run(&rig, &mut random);
        for (promise, number) in &promises {
            operations += promise.operations + promise.made.len() as u64;
            unknown += u64::from(promise.in_flight.is_some());
            committed += number;
        }
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
    }
    println!(
        "{images} images, {operations} names given and taken, {committed} numbers, {unknown} unknown"
    );
    if !is_replay() {
        let wanted = SEEDS.end - SEEDS.start;
        assert!(10 * wanted <= operations, "{operations}");
        assert!(5 * wanted <= committed, "{committed}");
        assert!(0 < unknown, "{unknown}");
    }
}
