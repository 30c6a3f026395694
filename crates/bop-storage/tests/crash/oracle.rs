//! Opens what a crash or a fault has left, and judges it.

use crate::rig::{Keep, Rig};
use crate::session::{Session, Weather};
use crate::world::{Dropped, Which, World, judge, judge_dropped, observe};
use bop_storage::testing::SplitMix64;
use bop_storage::{Limits, Manager};
use std::time::Duration;

/// A state that was found, and which of the expected ones it is.
pub(crate) struct Found {
    pub(crate) world: World,
    pub(crate) which: Which,
}

/// Opens what `rig` holds: it must be one of the two states, sound, the same when it is opened once
/// more, and fit for work.
///
/// # Errors
/// The violation, in words.
pub(crate) fn check(
    rig: Rig,
    limits: &Limits,
    acknowledged: &World,
    in_flight: Option<&World>,
    dropped: &Dropped,
    seed: u64,
) -> Result<Found, String> {
    let mut random = SplitMix64::new(seed);
    let store = open(&rig, limits, "the first open")?;
    let world = observe(&store)?;
    let which = judge(&world, acknowledged, in_flight)?;
    judge_dropped(&store, dropped)?;
    verify(&store, "the first open")?;
    let rig = left(rig, store, &mut random)?;

    let store = open(&rig, limits, "the second open")?;
    let again = observe(&store)?;
    judge(&again, &world, None).map_err(|error| format!("after the second open: {error}"))?;
    verify(&store, "the second open")?;
    drop(store);

    let mut session = Session::new(rig, limits, world.clone(), Weather::Fair, random.next_u64());
    session.open();
    session.commit();
    session.commit();
    let store = session.store.take().ok_or("the store did not open")?;
    let rig = left(session.rig, store, &mut random)?;
    let store = open(&rig, limits, "the open after more commits")?;
    judge(&observe(&store)?, &session.acknowledged, None)
        .map_err(|error| format!("after more commits: {error}"))?;
    Ok(Found { world, which })
}

/// Leaves the store in one of the ways it can be left in. Everything acknowledged is durable, so
/// nothing else needs to be kept.
fn left(rig: Rig, store: Manager, random: &mut SplitMix64) -> Result<Rig, String> {
    match random.below(4) {
        0 | 1 => {
            let closed = store.close(Duration::from_secs(5));
            closed.map_err(|error| format!("close: {error}"))?;
            drop(store);
            Ok(rig)
        }
        2 => {
            drop(store);
            Ok(rig)
        }
        _ => {
            rig.disk.power_cut();
            let crashed = rig.crashed(Keep::Nothing, random.next_u64());
            drop(store);
            Ok(crashed)
        }
    }
}

pub(crate) fn open(rig: &Rig, limits: &Limits, when: &str) -> Result<Manager, String> {
    rig.open(limits)
        .map_err(|error| format!("{when} fails: {error}"))
}

pub(crate) fn verify(store: &Manager, when: &str) -> Result<(), String> {
    let report = store.verify();
    if report.is_healthy() {
        Ok(())
    } else {
        Err(format!("{when} finds damage: {:?}", report.findings))
    }
}
