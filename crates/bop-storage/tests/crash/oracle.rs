//! Opens what a crash or a fault has left, and judges it.

use crate::rig::{Keep, Rig};
use crate::session::{Session, Weather};
use crate::world::{Dropped, Which, World, judge, judge_dropped, observe};
use bop_storage::testing::SplitMix64;
use bop_storage::{Limits, Manager};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A state that was found, and which of the expected ones it is.
pub(crate) struct Found {
    pub(crate) world: World,
    pub(crate) which: Which,
}

/// What a store may be found in.
pub(crate) struct Expected<'a> {
    pub(crate) acknowledged: &'a World,
    pub(crate) in_flight: Option<&'a World>,
    pub(crate) dropped: &'a Dropped,
}

/// What a store may be found in now, for whoever looks into the middle of a call.
pub(crate) struct Standing(Mutex<Arc<Promise>>);

/// What one moment promises.
pub(crate) struct Promise {
    /// Moments with another promise have another number.
    pub(crate) number: u64,
    acknowledged: World,
    in_flight: Option<World>,
    dropped: Dropped,
}

impl Standing {
    pub(crate) fn new(acknowledged: World) -> Arc<Self> {
        let promise = Promise {
            number: 0,
            acknowledged,
            in_flight: None,
            dropped: Dropped::new(),
        };
        Arc::new(Self(Mutex::new(Arc::new(promise))))
    }

    pub(crate) fn change(
        &self,
        acknowledged: &World,
        in_flight: Option<&World>,
        dropped: &Dropped,
    ) {
        let mut promise = self.0.lock().unwrap();
        *promise = Arc::new(Promise {
            number: promise.number + 1,
            acknowledged: acknowledged.clone(),
            in_flight: in_flight.cloned(),
            dropped: dropped.clone(),
        });
    }

    pub(crate) fn now(&self) -> Arc<Promise> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

impl Promise {
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected {
            acknowledged: &self.acknowledged,
            in_flight: self.in_flight.as_ref(),
            dropped: &self.dropped,
        }
    }
}

/// A store that was opened, and judged.
pub(crate) struct Judged {
    rig: Rig,
    store: Manager,
    found: Found,
}

/// Opens what `rig` holds: it must be one of the two states.
///
/// # Errors
/// The violation, in words.
pub(crate) fn look(rig: Rig, limits: &Limits, expected: &Expected<'_>) -> Result<Judged, String> {
    let store = open(&rig, limits, "the first open")?;
    let world = observe(&store)?;
    let which = judge(&world, expected.acknowledged, expected.in_flight)?;
    judge_dropped(&store, expected.dropped)?;
    let found = Found { world, which };
    Ok(Judged { rig, store, found })
}

impl Judged {
    /// Without asking more.
    pub(crate) fn found(self) -> Found {
        self.found
    }

    /// It must be sound.
    ///
    /// # Errors
    /// The damage, in words.
    pub(crate) fn verified(self) -> Result<Self, String> {
        verify(&self.store, "the first open")?;
        Ok(self)
    }

    /// It must be the same when it is opened once more, and fit for work.
    ///
    /// # Errors
    /// The violation, in words.
    pub(crate) fn goes_on(self, limits: &Limits, seed: u64) -> Result<Found, String> {
        let Self { rig, store, found } = self;
        let mut random = SplitMix64::new(seed);
        let world = &found.world;
        let rig = left(rig, store, &mut random)?;
        let store = open(&rig, limits, "the second open")?;
        let again = observe(&store)?;
        judge(&again, world, None).map_err(|error| format!("after the second open: {error}"))?;
        verify(&store, "the second open")?;
        drop(store);

        let mut session =
            Session::new(rig, limits, world.clone(), Weather::Fair, random.next_u64());
        session.open();
        session.commit();
        session.commit();
        let store = session.store.take().ok_or("the store did not open")?;
        let rig = left(session.rig, store, &mut random)?;
        let store = open(&rig, limits, "the open after more commits")?;
        judge(&observe(&store)?, &session.acknowledged, None)
            .map_err(|error| format!("after more commits: {error}"))?;
        Ok(found)
    }
}

/// All of it: one of the two states, sound, the same once more, and fit for work.
///
/// # Errors
/// The violation, in words.
pub(crate) fn check(
    rig: Rig,
    limits: &Limits,
    expected: &Expected<'_>,
    seed: u64,
) -> Result<Found, String> {
    look(rig, limits, expected)?
        .verified()?
        .goes_on(limits, seed)
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
