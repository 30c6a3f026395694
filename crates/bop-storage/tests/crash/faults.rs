//! The N-th call fails, for every N: nothing is said that is not so, and what was acknowledged is
//! there when the device works again, also when the power goes after that.

use crate::ground::Ground;
use crate::oracle::{Expected, Judged, check, look, open};
use crate::replay::{Replay, is_replay, one_of, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::session::{Done, Session, Weather};
use crate::world::{Dropped, World, is_state, judge, observe};
use bop_storage::io::errno::{EIO, ENOSPC};
use bop_storage::testing::{Fault, SplitMix64};
use bop_storage::{BeginError, Health, Limits, Manager};
use std::ops::Range;
use std::time::Duration;

/// Calls of which one fails.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Changes,
    Reads,
}

/// A way to fail.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Case {
    pub(crate) class: Class,
    pub(crate) fault: Fault,
    pub(crate) manifest: ManifestFault,
    /// Which share of the calls is tried: every one, or every so-manieth from one on that the seed
    /// chooses. `BOP_CRASH_ALL=1` tries all.
    pub(crate) stride: usize,
    pub(crate) steps: u32,
}

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 2;
    limits.transaction_memory_bytes_max = 8 << 10;
    limits.cache_bytes_max = 0;
    limits.writer_wait = Duration::from_millis(5);
    limits
}

pub(crate) const STEPS: u32 = 16;

/// Where the runs of a seed start: at a new store, or at one that was not closed.
fn origin(ground: Ground, seed: u64) -> Start {
    let rig = Rig::on(ground, seed, ManifestFault::Either);
    let world = World::new();
    if seed.is_multiple_of(2) {
        return Start { rig, world };
    }
    let mut session = Session::new(rig, &limits(), world, Weather::Fair, seed);
    session.run(STEPS);
    session.rig.disk.power_cut();
    let rig = session.rig.crashed(Keep::Everything, seed);
    Start {
        rig,
        world: session.acknowledged.clone(),
    }
}

struct Start {
    rig: Rig,
    world: World,
}

/// Fails one call after the other until a run meets no failure any more.
fn fail_each(test: &'static str, range: Range<u64>, case: Case) {
    let tried = fail_each_on(Ground::Simulated, test, range, case);
    if !is_replay() {
        assert_budgets(case, &tried);
    }
}

/// What came of some runs.
#[derive(Default)]
pub(crate) struct Tried {
    pub(crate) runs: u64,
    pub(crate) poisoned: u64,
    done: Done,
}

pub(crate) fn fail_each_on(
    ground: Ground,
    test: &'static str,
    range: Range<u64>,
    case: Case,
) -> Tried {
    let mut tried = Tried::default();
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        let stride = one_of(case.stride * ground.less());
        let first = usize::try_from(seed).unwrap() % stride;
        let origin = origin(ground, seed);
        for call in (first as u64..).step_by(stride) {
            let (rig, world) = (origin.rig.copied(seed, case.manifest), origin.world.clone());
            match case.class {
                Class::Changes => rig.disk.fail_at(call, case.fault),
                Class::Reads => rig.disk.fail_read_at(call, case.fault),
            }
            let mut session = Session::new(rig, &limits(), world, Weather::Foul, seed);
            session.run(case.steps);
            let calls = match case.class {
                Class::Changes => session.rig.disk.op_count(),
                Class::Reads => session.rig.disk.read_count(),
            };
            tried.runs += 1;
            tried.poisoned += u64::from(session.in_flight.is_some());
            tried.done.add(&session.done);
            aftermath(session, call, case)
                .unwrap_or_else(|violation| panic!("{case:?}, call {call}: {violation}"));
            if calls <= call {
                break;
            }
        }
    }
    let Tried {
        runs,
        poisoned,
        done,
    } = &tried;
    println!(
        "{test}, {ground}, {:?}: {runs} runs, {poisoned} ended unknown, {done:?}",
        case.fault
    );
    println!("proved: {runs} error loops");
    assert!(0 < *runs && 0 < done.commits, "{done:?}");
    tried
}

/// Enough was tried. A sample, of real files, says little of what each sort of call does.
fn assert_budgets(case: Case, tried: &Tried) {
    let Tried {
        runs,
        poisoned,
        done,
    } = tried;
    assert!(*runs >= 30, "{runs} runs");
    assert!(done.commits >= 50, "{done:?}");
    assert!(done.rejected >= 3, "{done:?}");
    let fills = case.fault == Fault::Full;
    assert!(!fills || done.without_room >= 5, "{done:?}");
    // A single failure is made good in a fresh segment, whatever call it hits.
    match (case.class, case.fault) {
        (Class::Changes, fault) if is_for_ever(fault) => {
            assert!(*poisoned >= 3, "{poisoned} poisoned");
        }
        _ => assert_eq!(*poisoned, 0, "ended unknown"),
    }
}

/// After the failure: the open store, the store opened again, and what a power cut leaves of each.
fn aftermath(mut session: Session, call: u64, case: Case) -> Result<(), String> {
    let mut random = SplitMix64::new(call);
    let disk = session.rig.disk.clone();
    for keep in [
        Keep::Nothing,
        Keep::Everything,
        Keep::Some(random.next_u64()),
    ] {
        let image = session.rig.crashed(keep, random.next_u64());
        let expected = Expected {
            acknowledged: &session.acknowledged,
            in_flight: session.in_flight.as_ref(),
            dropped: &Dropped::new(),
        };
        let judged = look(image, &limits(), &expected).and_then(Judged::verified);
        let seed = random.next_u64();
        judged
            .and_then(|judged| match random.below(4) {
                0 => judged.goes_on(&limits(), seed),
                _ => Ok(judged.found()),
            })
            .map_err(|violation| format!("power cut at once, {keep:?}: {violation}"))?;
    }
    if case.class == Class::Reads {
        disk.heal();
    }
    if let Some(store) = &session.store {
        let found = observe(store)?;
        judge(&found, &session.acknowledged, None)
            .map_err(|violation| format!("reads while the device fails: {violation}"))?;
    }
    disk.heal();
    if let Some(store) = session.store.clone() {
        goes_on(&mut session, &store, case)?;
    }
    session.leave(random.chance(1, 2));
    let store = open(&session.rig, &limits(), "the open after the failure")?;
    let found = observe(&store)?;
    judge(&found, &session.acknowledged, session.in_flight.as_ref())?;
    // What a user has seen stays, whatever the device still loses.
    disk.power_cut();
    let image = session.rig.crashed(Keep::Nothing, random.next_u64());
    drop(store);
    let expected = Expected {
        acknowledged: &found,
        in_flight: None,
        dropped: &Dropped::new(),
    };
    let after = check(image, &limits(), &expected, random.next_u64())
        .map_err(|violation| format!("power cut after the next open: {violation}"))?;
    assert!(is_state(&found, &after.world));
    Ok(())
}

/// The open store, once the device works again: as good as new, or poisoned when more than one call
/// failed.
fn goes_on(session: &mut Session, store: &Manager, case: Case) -> Result<(), String> {
    let Health::Poisoned { .. } = store.status().health else {
        session.weather = Weather::Fair;
        session.commit();
        session.commit();
        session.weather = Weather::Foul;
        let found = observe(store)?;
        return judge(&found, &session.acknowledged, None)
            .map(drop)
            .map_err(|violation| format!("commits when the device is well: {violation}"));
    };
    let may_be = case.class == Class::Changes && is_for_ever(case.fault);
    if !may_be {
        return Err("a single failure poisons".to_owned());
    }
    if let Some(name) = session.acknowledged.keys().next() {
        let db = store.database(name).map_err(|error| error.to_string())?;
        let begun = db.begin_write(Duration::ZERO).map(drop);
        if !matches!(begun, Err(BeginError::Poisoned(_))) {
            return Err(format!("a poisoned store takes commits: {begun:?}"));
        }
    }
    Ok(())
}

/// Whether the log can find no segment that takes what another one did not.
fn is_for_ever(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Sticky(_) | Fault::StickyShort(_) | Fault::StickyPanic
    )
}

#[test]
fn one_change_fails() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Error(EIO),
        manifest: ManifestFault::Either,
        stride: 1,
        steps: STEPS,
    };
    fail_each("one_change_fails", 0..2, case);
}

#[test]
fn all_changes_fail_from_one_on() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Sticky(EIO),
        manifest: ManifestFault::Either,
        stride: 2,
        steps: STEPS,
    };
    fail_each("all_changes_fail_from_one_on", 10..12, case);
}

#[test]
fn the_device_is_full_once() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Error(ENOSPC),
        manifest: ManifestFault::NotApplied,
        stride: 2,
        steps: STEPS,
    };
    fail_each("the_device_is_full_once", 20..22, case);
}

#[test]
fn the_device_stays_full() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Sticky(ENOSPC),
        manifest: ManifestFault::NotApplied,
        stride: 2,
        steps: STEPS,
    };
    fail_each("the_device_stays_full", 30..32, case);
}

/// Space runs out and comes back: nobody has to open the store again for that.
#[test]
fn a_disk_without_room_heals() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Full,
        manifest: ManifestFault::Either,
        stride: 16,
        steps: 5 * STEPS,
    };
    fail_each("a_disk_without_room_heals", 120..124, case);
}

#[test]
fn one_read_fails() {
    let case = Case {
        class: Class::Reads,
        fault: Fault::Error(EIO),
        manifest: ManifestFault::Either,
        stride: 2,
        steps: STEPS,
    };
    fail_each("one_read_fails", 40..42, case);
}

#[test]
fn all_reads_fail_from_one_on() {
    let case = Case {
        class: Class::Reads,
        fault: Fault::Sticky(EIO),
        manifest: ManifestFault::Either,
        stride: 2,
        steps: STEPS,
    };
    fail_each("all_reads_fail_from_one_on", 50..52, case);
}

#[test]
fn one_change_is_cut_short() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Short(ENOSPC),
        manifest: ManifestFault::NotApplied,
        stride: 3,
        steps: STEPS,
    };
    fail_each("one_change_is_cut_short", 60..62, case);
}

#[test]
fn all_changes_are_cut_short_from_one_on() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::StickyShort(EIO),
        manifest: ManifestFault::Either,
        stride: 4,
        steps: STEPS,
    };
    fail_each("all_changes_are_cut_short_from_one_on", 70..72, case);
}

#[test]
fn one_change_panics() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::Panic,
        manifest: ManifestFault::Either,
        stride: 3,
        steps: STEPS,
    };
    fail_each("one_change_panics", 80..82, case);
}

#[test]
fn all_changes_panic_from_one_on() {
    let case = Case {
        class: Class::Changes,
        fault: Fault::StickyPanic,
        manifest: ManifestFault::Either,
        stride: 4,
        steps: STEPS,
    };
    fail_each("all_changes_panic_from_one_on", 90..92, case);
}

#[test]
fn one_read_panics() {
    let case = Case {
        class: Class::Reads,
        fault: Fault::Panic,
        manifest: ManifestFault::Either,
        stride: 4,
        steps: STEPS,
    };
    fail_each("one_read_panics", 100..102, case);
}

/// A share of the calls; which, the seed says.
#[test]
fn changes_of_real_files_fail() {
    use ManifestFault::{Either, NotApplied};
    let cases = [
        (Fault::Error(EIO), Either, 1, STEPS),
        (Fault::Sticky(EIO), Either, 2, STEPS),
        (Fault::Sticky(ENOSPC), NotApplied, 2, STEPS),
        (Fault::Full, Either, 16, 5 * STEPS),
        (Fault::Short(ENOSPC), NotApplied, 2, STEPS),
        (Fault::StickyShort(EIO), Either, 2, STEPS),
        (Fault::Panic, Either, 2, STEPS),
        (Fault::StickyPanic, Either, 2, STEPS),
    ];
    for ground in Ground::real() {
        for (seed, (fault, manifest, stride, steps)) in (130..).zip(cases) {
            let case = Case {
                class: Class::Changes,
                fault,
                manifest,
                stride,
                steps,
            };
            fail_each_on(ground, "changes_of_real_files_fail", seed..seed + 1, case);
        }
    }
}
