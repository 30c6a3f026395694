//! Between the catalogue and the manifest's rows of it.
//!
//! The log is first, the rows follow: [`Catalogue::write_rows`] brings the rows of a transaction
//! up to the catalogue, however far they were behind; doing it twice changes nothing.

use super::{Catalogue, Entry};
use crate::error::ManifestError;
use crate::ids::DbId;
use crate::manifest::{CheckpointedHead, DatabaseRow, Edit, ManifestState};

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
        };
        let entries = state.databases().map(|(id, row)| (id, entry(row)));
        catalogue.entries = entries.collect();
        for (id, row) in state.databases() {
            // Of twins the second has no name to be found by: it is among the damaged rows.
            let _twin = catalogue.index(id, &row.name, row.state, row.catalogue_lsn);
        }
        let damaged = state.damaged();
        let nameless = damaged
            .databases
            .iter()
            .filter(|(id, _)| state.database(**id).is_none())
            .map(|(_, damage)| damage);
        if let Some(damage) = nameless.chain(&damaged.unplaced).next() {
            catalogue.set_damaged(damage.clone());
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
        }
    }
}
