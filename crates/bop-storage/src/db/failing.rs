//! What of a store does not work: the one judgement that its metrics and `bop status` share.
//!
//! Invariant: a store is healthy exactly when nothing of this is the case.
//!
//! Never: reads a file of the store: it is asked often, and while the device may be the trouble.

use super::engine::Engine;
use super::manager::Manager;
use crate::ids::DbId;
use crate::runtime::BreakerState;
use std::collections::BTreeSet;

/// Something of a store that does not work.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Failing {
    /// A write failed: no commits are taken before the store is opened again.
    Poisoned,
    /// A call to the kernel has not returned within [`Limits::io_deadline`](crate::Limits).
    Stalled,
    /// Work in the background is left alone for a while: it failed too often.
    BreakerOpen,
    /// The device lacks room that a checkpoint may need.
    DiskReserve,
    /// A database is closed for damage.
    Damaged,
}

impl Failing {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [
        Self::Poisoned,
        Self::Stalled,
        Self::BreakerOpen,
        Self::DiskReserve,
        Self::Damaged,
    ];

    /// Its stable name, as metrics and `bop status --json` have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poisoned => "poisoned",
            Self::Stalled => "stalled",
            Self::BreakerOpen => "breaker_open",
            Self::DiskReserve => "disk_reserve",
            Self::Damaged => "damaged",
        }
    }
}

impl Manager {
    /// What does not work, the worst first; empty of a healthy store.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{Manager, Options};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// assert_eq!(store.failing(), []);
    /// # Ok(())
    /// # }
    /// ```
    pub fn failing(&self) -> Vec<Failing> {
        self.engine().failing(self.engine().closed_databases())
    }
}

impl Engine {
    /// What does not work, while so many databases are closed: who asks has counted them.
    pub(super) fn failing(&self, closed_databases: usize) -> Vec<Failing> {
        let is_failing = |failing: &Failing| match failing {
            Failing::Poisoned => self.log.failure().is_some(),
            Failing::Stalled => !self.watchdog.stalled().is_empty(),
            Failing::BreakerOpen => {
                let breakers = self.guards.status();
                breakers
                    .iter()
                    .any(|breaker| breaker.state != BreakerState::Closed)
            }
            Failing::DiskReserve => 0 < self.log.spares().reserve_bytes_for_log(0),
            Failing::Damaged => 0 < closed_databases,
        };
        Failing::ALL.into_iter().filter(is_failing).collect()
    }

    /// Live databases that are closed for damage, or take no commits for it.
    pub(super) fn closed_databases(&self) -> usize {
        let states = self.states();
        let met = states.iter().filter(|state| state.damage().is_some());
        let found = self.damaged.keys().copied();
        let all = found.chain(met.map(|state| state.id()));
        let all: BTreeSet<DbId> = all.chain(self.records.damaged()).collect();
        let cell = self.catalogue.lock();
        all.into_iter()
            .filter(|id| cell.catalogue.is_live(*id))
            .count()
    }
}
