//! Between the catalogue and the manifest's rows of it.
//!
//! The log is first, the rows follow: [`Catalogue::write_rows`] brings the rows of a transaction
//! up to the catalogue, however far they were behind; doing it twice changes nothing.

use super::{Catalogue, Entry, Snapshot};
use crate::error::{Damage, ManifestError, Place, Reject};
use crate::ids::DbId;
use crate::manifest::{CheckpointedHead, DatabaseRow, Edit, ManifestState, SnapshotKey, Table};
use std::collections::{BTreeMap, BTreeSet};

impl Catalogue {
    /// The catalogue as the manifest's rows reflect it; replay brings it up to date. It is damaged
    /// when a row is lost that may hold a name.
    pub fn from_rows(state: &ManifestState) -> Self {
        let marks = state.watermarks();
        let mut catalogue = Self {
            next_id: marks.next_database,
            last_lsn: marks.catalogue,
            ..Self::new()
        };
        // All at once, which fills the map's nodes: one by one they would be half empty.
        let entry = |row: &DatabaseRow| Entry {
            name: row.name.clone(),
            kind: row.kind,
            state: row.state,
            created_us: row.created_us,
            lsn: row.catalogue_lsn,
            policy: row.policy,
            origin: row.origin.clone(),
        };
        let entries = state.databases().map(|(id, row)| (id, entry(row)));
        catalogue.entries = entries.collect();
        for (id, row) in state.databases() {
            // Of twins the second has no name to be found by: it is among the damaged rows.
            let _twin = catalogue.index(id, &row.name, row.state, row.catalogue_lsn);
            if let Some(origin) = &row.origin {
                catalogue.lineage.add_origin(id, origin);
            }
        }
        let taken = catalogue.take_snapshots(state);
        let damaged = state.damaged();
        let nameless = damaged
            .databases
            .iter()
            .filter(|(id, _)| state.database(**id).is_none())
            .map(|(_, damage)| damage);
        let mut lost = nameless
            .chain(damaged.snapshots.values())
            .chain(&damaged.unplaced);
        if let Some(damage) = lost.next() {
            catalogue.set_damaged(damage.clone());
        }
        // Sound rows that contradict each other: each is what somebody wrote, one that is lost is not there.
        if let Err(reason) = taken {
            let place = Place::Manifest {
                table: Table::Snapshots.name(),
                key: "any".to_owned(),
            };
            catalogue.set_damaged(Damage::new(place, reason));
        }
        catalogue
    }

    /// Brings the rows of the databases up to this catalogue. What checkpoints wrote in them
    /// stays.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when a row that must change is damaged.
    pub fn write_rows(&self, edit: &mut Edit<'_>) -> Result<(), ManifestError> {
        let reflected = edit.state().watermarks().catalogue;
        for (id, entry) in self.entries().filter(|(_, entry)| reflected < entry.lsn) {
            let row = entry.row(edit.state().database(id));
            edit.put_database(id, row)?;
            self.write_snapshots(id, edit)?;
        }
        let forgotten: Vec<DbId> = edit
            .state()
            .databases()
            .map(|(id, _)| id)
            .filter(|id| self.entry(*id).is_none())
            .collect();
        for id in forgotten {
            edit.delete_database(id);
        }
        edit.set_next_database(self.next_id());
        edit.set_catalogue(self.last_lsn().max(reflected));
        Ok(())
    }

    /// The snapshots of the rows. Of rows that contradict each other, those are taken that do not.
    fn take_snapshots(&mut self, state: &ManifestState) -> Result<(), Reject> {
        let mut taken = Ok(());
        for (key, row) in state.all_snapshots() {
            let snapshot = Snapshot::of(row.clone(), key.lsn);
            taken = taken.and(self.lineage.add(key.owner, snapshot));
        }
        taken.and_then(|()| self.check_lineage())
    }

    /// Brings the rows of an owner's snapshots up to this catalogue.
    pub(crate) fn write_snapshots(
        &self,
        owner: DbId,
        edit: &mut Edit<'_>,
    ) -> Result<(), ManifestError> {
        let own: BTreeMap<SnapshotKey, &Snapshot> = self
            .snapshots(owner)
            .map(|one| {
                (
                    SnapshotKey {
                        owner,
                        lsn: one.lsn,
                    },
                    one,
                )
            })
            .collect();
        let written = edit.state().snapshots(owner);
        let written: BTreeSet<SnapshotKey> = written.map(|(key, _)| key).collect();
        for key in written.iter().filter(|key| !own.contains_key(key)) {
            edit.delete_snapshot(*key);
        }
        // A row never changes: its name and its point are what they were.
        for (key, snapshot) in own.iter().filter(|(key, _)| !written.contains(key)) {
            edit.put_snapshot(*key, snapshot.row())?;
        }
        Ok(())
    }
}

impl Entry {
    /// The row of this database, with what `before` says of its chunks.
    fn row(&self, before: Option<&DatabaseRow>) -> DatabaseRow {
        DatabaseRow {
            name: self.name.clone(),
            kind: self.kind,
            state: self.state,
            page_size: before.and_then(|row| row.page_size),
            created_us: self.created_us,
            catalogue_lsn: self.lsn,
            checkpointed: before.map_or(CheckpointedHead::NONE, |row| row.checkpointed),
            policy: self.policy,
            origin: self.origin.clone(),
        }
    }
}
