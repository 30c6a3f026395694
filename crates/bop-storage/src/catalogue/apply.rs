//! What a durable record makes of the catalogue, in a running store and in replay alike.
//!
//! Invariants
//! - a record whose first change is impossible changes nothing;
//! - what the catalogue reflects already is not applied again.
//!
//! Never: asks whether a user may want the change (that is `plan`).

use super::lineage::TWIN_SNAPSHOTS;
use super::{
    Catalogue, CatalogueChange, DatabaseState, DbName, Entry, NOT_THERE, Point, Policy, Replayed,
    Snapshot, TWINS,
};
use crate::canary::{Canary, is_planted};
use crate::error::Reject;
use crate::ids::{DbId, DbKind, Lsn};
use std::collections::{BTreeMap, BTreeSet};

impl Catalogue {
    /// Applies a change whose record stands durable in the log at `lsn`. Answers with the databases that
    /// have no pages from then on: the one that is dropped, and those that were kept for its sake.
    ///
    /// # Errors
    /// Why the change is impossible, as damage of its record: nothing was changed. A change that
    /// was planned, with nothing applied since, is possible.
    pub fn apply(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<BTreeSet<DbId>, Reject> {
        self.apply_all(std::slice::from_ref(change), lsn, time_us)
    }

    /// Applies all changes of a record, in their order; answers as [`Catalogue::apply`].
    ///
    /// # Errors
    /// As for [`Catalogue::apply`]; those before the impossible one are applied.
    pub fn apply_all(
        &mut self,
        changes: &[CatalogueChange],
        lsn: Lsn,
        time_us: u64,
    ) -> Result<BTreeSet<DbId>, Reject> {
        if lsn <= self.last_lsn {
            return Err(Reject::Invalid("a catalogue record behind a newer one"));
        }
        let mut gone = BTreeSet::new();
        for change in changes {
            gone.append(&mut self.apply_one(change, lsn, time_us)?);
        }
        self.last_lsn = lsn;
        Ok(gone)
    }

    fn apply_one(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<BTreeSet<DbId>, Reject> {
        // Who may have lost what kept its pages.
        let mut unsure = Vec::new();
        match change {
            CatalogueChange::Create { id, name, kind } => {
                self.create(*id, name, *kind, time_us, None)?;
            }
            CatalogueChange::Fork {
                id,
                name,
                kind,
                origin,
            } => {
                self.check_source(origin, *kind)?;
                self.create(*id, name, *kind, time_us, Some(Box::new(*origin)))?;
            }
            CatalogueChange::Rename { id, name } => self.rename(*id, name)?,
            CatalogueChange::Drop { id, keep_us } => {
                self.drop(*id, *keep_us, lsn, time_us)?;
                if *keep_us == 0 {
                    let own = self.lineage.take(*id);
                    unsure.extend(own.iter().map(|snapshot| snapshot.point.source));
                    unsure.push(*id);
                }
            }
            CatalogueChange::Undrop { id, name } => self.undrop(*id, name)?,
            CatalogueChange::Retention { id, retention } => {
                self.live_mut(*id)?.policy.retention = *retention;
            }
            CatalogueChange::Quota { id, bytes } => {
                self.live_mut(*id)?.policy.quota_bytes = *bytes;
            }
            CatalogueChange::Snapshot { id, name, point } => {
                let kind = self.live_mut(*id)?.kind;
                self.check_source(point, kind)?;
                if self.snapshots(*id).any(|other| other.lsn == lsn) {
                    return Err(TWIN_RECORDS);
                }
                let snapshot = Snapshot {
                    name: name.clone(),
                    point: *point,
                    created_us: time_us,
                    lsn,
                };
                self.lineage.add(*id, snapshot)?;
            }
            CatalogueChange::SnapshotDrop { id, name } => {
                self.live_mut(*id)?;
                let snapshot = self.lineage.remove(*id, name);
                let snapshot = snapshot.ok_or(Reject::Invalid("a snapshot that is not there"))?;
                unsure.push(snapshot.point.source);
            }
            CatalogueChange::Adopt { id, from } => self.adopt(*id, *from, lsn)?,
        }
        if let Some(entry) = self.entries.get_mut(&change.database()) {
            entry.lsn = lsn;
        }
        Ok(self.settle(unsure, lsn))
    }

    fn create(
        &mut self,
        id: DbId,
        name: &DbName,
        kind: DbKind,
        created_us: u64,
        origin: Option<Box<Point>>,
    ) -> Result<(), Reject> {
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
            origin,
        };
        self.insert(id, entry)?;
        self.next_id = next;
        Ok(())
    }

    /// The snapshots go from one owner to another; what they keep stays.
    fn adopt(&mut self, id: DbId, from: DbId, lsn: Lsn) -> Result<(), Reject> {
        let (kind, others) = (self.live_mut(id)?.kind, self.live_mut(from)?.kind);
        if id == from || kind != others {
            return Err(Reject::Invalid(
                "snapshots that another database cannot have",
            ));
        }
        let names: BTreeSet<String> = self.snapshots(id).map(|one| one.name.folded()).collect();
        let records: BTreeSet<Lsn> = self.snapshots(id).map(|one| one.lsn).collect();
        for other in self.snapshots(from) {
            if names.contains(&other.name.folded()) {
                return Err(TWIN_SNAPSHOTS);
            }
            if records.contains(&other.lsn) {
                return Err(TWIN_RECORDS);
            }
        }
        for snapshot in self.lineage.take(from) {
            self.lineage.add(id, snapshot)?;
        }
        self.live_mut(from)?.lsn = lsn;
        Ok(())
    }

    fn rename(&mut self, id: DbId, name: &DbName) -> Result<(), Reject> {
        let folded = name.folded();
        if self.by_name.get(&folded).is_some_and(|other| *other != id) {
            return Err(TWINS);
        }
        let entry = live_mut(&mut self.entries, id)?;
        self.by_name.remove(&entry.name.folded());
        self.by_name.insert(folded, id);
        entry.name = name.clone();
        Ok(())
    }

    /// A drop; or of a database that was dropped, the end of what is kept of it.
    fn drop(&mut self, id: DbId, keep_us: u64, lsn: Lsn, time_us: u64) -> Result<(), Reject> {
        let entry = self.entries.get_mut(&id).ok_or(NOT_THERE)?;
        if is_planted(Canary::TombstoneIgnored) {
            return Ok(());
        }
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
        Ok(())
    }

    fn undrop(&mut self, id: DbId, name: &DbName) -> Result<(), Reject> {
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
        Ok(())
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
        let gone = self.apply_all(changes, lsn, time_us)?;
        Ok(Replayed::Applied(gone))
    }

    fn live_mut(&mut self, id: DbId) -> Result<&mut Entry, Reject> {
        live_mut(&mut self.entries, id)
    }
}

const TWIN_RECORDS: Reject = Reject::Invalid("two snapshots of a database by one record");

fn live_mut(entries: &mut BTreeMap<DbId, Entry>, id: DbId) -> Result<&mut Entry, Reject> {
    entries
        .get_mut(&id)
        .filter(|entry| entry.state == DatabaseState::Live)
        .ok_or(NOT_THERE)
}
