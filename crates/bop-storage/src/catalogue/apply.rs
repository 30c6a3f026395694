//! What a durable record makes of the catalogue, in a running store and in replay alike.
//!
//! Invariants
//! - a record whose first change is impossible changes nothing;
//! - what the catalogue reflects already is not applied again.
//!
//! Never: asks whether a user may want the change (that is `plan`).

use super::{
    Catalogue, CatalogueChange, DatabaseState, DbName, Entry, NOT_THERE, Policy, Replayed, TWINS,
};
use crate::error::Reject;
use crate::ids::{DbId, DbKind, Lsn};
use std::collections::BTreeMap;

impl Catalogue {
    /// Applies a change whose record stands durable in the log at `lsn`.
    ///
    /// # Errors
    /// Why the change is impossible, as damage of its record: nothing was changed. A change that
    /// was planned, with nothing applied since, is possible.
    pub fn apply(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        self.apply_all(std::slice::from_ref(change), lsn, time_us)
    }

    /// Applies all changes of a record, in their order.
    ///
    /// # Errors
    /// As for [`Catalogue::apply`]; those before the impossible one are applied.
    pub fn apply_all(
        &mut self,
        changes: &[CatalogueChange],
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        if lsn <= self.last_lsn {
            return Err(Reject::Invalid("a catalogue record behind a newer one"));
        }
        for change in changes {
            self.apply_one(change, lsn, time_us)?;
        }
        self.last_lsn = lsn;
        Ok(())
    }

    fn apply_one(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        let entry = match change {
            CatalogueChange::Create { id, name, kind } => self.create(*id, name, *kind, time_us)?,
            CatalogueChange::Rename { id, name } => self.rename(*id, name)?,
            CatalogueChange::Drop { id, keep_us } => self.drop(*id, *keep_us, lsn, time_us)?,
            CatalogueChange::Undrop { id, name } => self.undrop(*id, name)?,
            CatalogueChange::Retention { id, retention } => {
                let entry = live_mut(&mut self.entries, *id)?;
                entry.policy.retention = *retention;
                entry
            }
            CatalogueChange::Quota { id, bytes } => {
                let entry = live_mut(&mut self.entries, *id)?;
                entry.policy.quota_bytes = *bytes;
                entry
            }
        };
        entry.lsn = lsn;
        Ok(())
    }

    fn create(
        &mut self,
        id: DbId,
        name: &DbName,
        kind: DbKind,
        created_us: u64,
    ) -> Result<&mut Entry, Reject> {
        if id < self.next_id {
            return Err(Reject::Invalid("a database with an id that was given out"));
        }
        let next = id.next().ok_or(Reject::Invalid("the last id"))?;
        let entry = Entry {
            name: name.clone(),
            kind,
            state: DatabaseState::Live,
            created_us,
            lsn: Lsn::ZERO,
            policy: Policy::default(),
        };
        self.insert(id, entry)?;
        self.next_id = next;
        live_mut(&mut self.entries, id)
    }

    fn rename(&mut self, id: DbId, name: &DbName) -> Result<&mut Entry, Reject> {
        let folded = name.folded();
        if self.by_name.get(&folded).is_some_and(|other| *other != id) {
            return Err(TWINS);
        }
        let entry = live_mut(&mut self.entries, id)?;
        self.by_name.remove(&entry.name.folded());
        self.by_name.insert(folded, id);
        entry.name = name.clone();
        Ok(entry)
    }

    /// A drop; or of a database that was dropped, the end of what is kept of it.
    fn drop(
        &mut self,
        id: DbId,
        keep_us: u64,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<&mut Entry, Reject> {
        let entry = self.entries.get_mut(&id).ok_or(NOT_THERE)?;
        match entry.state {
            DatabaseState::Live => {
                self.by_name.remove(&entry.name.folded());
                entry.state = DatabaseState::Tombstone {
                    dropped_us: time_us,
                };
                if keep_us > 0 {
                    entry.state = DatabaseState::Dropped {
                        dropped_us: time_us,
                        until_us: time_us.saturating_add(keep_us),
                    };
                    self.dropped.insert((lsn, id));
                }
            }
            DatabaseState::Dropped { dropped_us, .. } if keep_us == 0 => {
                self.dropped.remove(&(entry.lsn, id));
                entry.state = DatabaseState::Tombstone { dropped_us };
            }
            DatabaseState::Dropped { .. } | DatabaseState::Tombstone { .. } => {
                return Err(NOT_THERE);
            }
        }
        Ok(entry)
    }

    fn undrop(&mut self, id: DbId, name: &DbName) -> Result<&mut Entry, Reject> {
        let folded = name.folded();
        if self.by_name.contains_key(&folded) {
            return Err(TWINS);
        }
        let entry = self.entries.get_mut(&id).ok_or(NOT_THERE)?;
        if !matches!(entry.state, DatabaseState::Dropped { .. }) {
            return Err(NOT_THERE);
        }
        self.by_name.insert(folded, id);
        self.dropped.remove(&(entry.lsn, id));
        entry.name = name.clone();
        entry.state = DatabaseState::Live;
        Ok(entry)
    }

    /// Applies the changes of a record of the log, once: what the catalogue reflects already is known.
    ///
    /// # Errors
    /// [`Reject::BrokenChain`] when a record between is lost; else as for [`Catalogue::apply`].
    pub fn replay(
        &mut self,
        changes: &[CatalogueChange],
        parent: Lsn,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<Replayed, Reject> {
        if lsn <= self.last_lsn {
            return Ok(Replayed::Known);
        }
        if parent != self.last_lsn {
            return Err(Reject::BrokenChain {
                expected_parent: parent,
                found_head: self.last_lsn,
            });
        }
        self.apply_all(changes, lsn, time_us)?;
        Ok(Replayed::Applied)
    }
}

fn live_mut(entries: &mut BTreeMap<DbId, Entry>, id: DbId) -> Result<&mut Entry, Reject> {
    entries
        .get_mut(&id)
        .filter(|entry| entry.state == DatabaseState::Live)
        .ok_or(NOT_THERE)
}
