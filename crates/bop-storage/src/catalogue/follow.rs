//! A delta of the catalogue put on the section before it.
//!
//! Invariant: a base and the deltas behind it, each on the one before, give the catalogue from which the
//! last one was written.
//!
//! Never: skips one in between.

use super::{Catalogue, CatalogueSection, DatabaseState};
use crate::error::Reject;
use crate::ids::DbId;

impl CatalogueSection {
    /// The catalogue after this delta, which stands on `before`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn on(mut self, before: Self) -> Result<Self, Reject> {
        let mut catalogue = before.catalogue;
        if self.since != catalogue.last_lsn {
            return Err(Reject::BrokenChain {
                expected_parent: self.since,
                found_head: catalogue.last_lsn,
            });
        }
        let changed = self.catalogue.entries.keys();
        for id in self.forgotten.iter().chain(changed) {
            catalogue.take_out(*id);
        }
        // Names may have gone from one to another: all are out before the first comes in.
        for (id, entry) in self.catalogue.entries {
            catalogue.insert(id, entry)?;
            for snapshot in self.catalogue.lineage.take(id) {
                catalogue.lineage.add(id, snapshot)?;
            }
        }
        catalogue.check_lineage()?;
        catalogue.next_id = self.catalogue.next_id;
        catalogue.last_lsn = self.catalogue.last_lsn;
        Ok(Self {
            catalogue,
            since: before.since,
            forgotten: Vec::new(),
            cursors: self.cursors,
        })
    }
}

impl Catalogue {
    fn take_out(&mut self, id: DbId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        match entry.state {
            DatabaseState::Live => drop(self.by_name.remove(&entry.name.folded())),
            DatabaseState::Dropped { .. } => drop(self.dropped.remove(&(entry.lsn, id))),
            DatabaseState::Tombstone { .. } => {}
        }
        self.lineage.take(id);
        if let Some(origin) = entry.origin {
            self.lineage.remove_origin(id, &origin);
        }
    }
}
