//! Creating, renaming and dropping databases: catalogue records, committed like any other.
//!
//! ```text
//! plan (checked, nothing changed) -> record -> durable -> applied to the catalogue -> answered
//! ```
//! Invariants
//! - one operation at a time, from its plan to its publication, so a plan stays possible;
//! - a drop holds the database's writer slot, so no commit follows it in the log.
//!
//! Never: touches the manifest (the next checkpoint does).

use super::engine::{CatalogueCell, Engine};
use super::state::DbState;
use crate::catalogue::CatalogueChange;
use crate::error::{CatalogueError, CommitError};
use crate::ids::{DbId, DbKind};
use crate::log::format::{CatalogueEntry, CatalogueOp, encode_catalogue};
use crate::log::{HoldReason, LogHolds, Placed, Priority, Publish};
use crate::view::{Head, NoBase, View};
use parking_lot::Mutex;
use std::sync::Arc;

impl Engine {
    /// Creates a database.
    pub(super) fn create_database(
        &self,
        name: &str,
        kind: DbKind,
    ) -> Result<Arc<DbState>, CatalogueError> {
        self.check_open().map_err(|_| CatalogueError::Closed)?;
        let _writer = self.catalogue_writer.lock();
        let limit = self.limits.databases_max;
        let change = self
            .catalogue
            .lock()
            .catalogue
            .plan_create(name, kind, limit)?;
        self.commit_change(&change, Priority::User)?;
        let view = View::new(change.database(), kind, Head::EMPTY, Arc::new(NoBase));
        let state = Arc::new(DbState::new(name, view));
        self.databases.lock().insert(state.id(), Arc::clone(&state));
        Ok(state)
    }

    /// Renames a database; its id, its pages and its open handles stay.
    pub(super) fn rename_database(&self, from: &str, to: &str) -> Result<(), CatalogueError> {
        self.check_open().map_err(|_| CatalogueError::Closed)?;
        let _writer = self.catalogue_writer.lock();
        let change = self.catalogue.lock().catalogue.plan_rename(from, to)?;
        self.commit_change(&change, Priority::User)?;
        if let Some(state) = self.state_of(change.database()) {
            state.rename(change.name());
        }
        Ok(())
    }

    /// Drops a database. Open handles answer `Dropped` afterwards; its name is free.
    pub(super) fn drop_database(&self, name: &str) -> Result<(), CatalogueError> {
        self.check_open().map_err(|_| CatalogueError::Closed)?;
        let id = self.catalogue.lock().catalogue.find(name)?;
        // A damaged database can be dropped, too; it has no state and no writer.
        let state = if self.damaged.contains_key(&id) {
            None
        } else {
            Some(self.load_state(id)?)
        };
        let slot = state
            .as_ref()
            .map(|state| state.slot().acquire(self.limits.writer_wait));
        let _slot = slot.transpose().map_err(|_| CatalogueError::Busy {
            name: name.to_owned(),
        })?;
        let _writer = self.catalogue_writer.lock();
        let change = self.catalogue.lock().catalogue.plan_drop(name)?;
        if change.database() != id {
            return Err(CatalogueError::Busy {
                name: name.to_owned(),
            });
        }
        self.commit_change(&change, Priority::Housekeeping)?;
        if let Some(state) = state {
            state.mark_dropped();
        }
        let gone = self.databases.lock().remove(&id);
        if let Some(gone) = gone {
            let entries = i64::try_from(gone.view().index_entries()).unwrap_or(i64::MAX);
            self.count_index_entries(-entries);
        }
        Ok(())
    }

    fn commit_change(
        &self,
        change: &CatalogueChange,
        priority: Priority,
    ) -> Result<Placed, CatalogueError> {
        let op = match change {
            CatalogueChange::Create { name, kind, .. } => CatalogueOp::Create {
                name: name.as_str(),
                kind: *kind,
            },
            CatalogueChange::Rename { name, .. } => CatalogueOp::Rename {
                name: name.as_str(),
            },
            CatalogueChange::Drop { .. } => CatalogueOp::Drop,
        };
        let parent = self.catalogue.lock().catalogue.last_lsn();
        let entry = CatalogueEntry {
            database: change.database(),
            parent,
            op,
        };
        let record = encode_catalogue(&entry).map_err(CommitError::from)?;
        let publish = PublishChange {
            cell: Arc::clone(&self.catalogue),
            holds: Arc::clone(self.log.holds()),
            change: change.clone(),
        };
        Ok(self.log.append(record, priority, Box::new(publish))?)
    }
}

/// Applies a durable catalogue record.
struct PublishChange {
    cell: Arc<Mutex<CatalogueCell>>,
    holds: Arc<LogHolds>,
    change: CatalogueChange,
}

impl Publish for PublishChange {
    fn publish(self: Box<Self>, at: Placed) {
        let mut cell = self.cell.lock();
        let hold = || self.holds.hold(at.lsn, HoldReason::Catalogue);
        cell.hold.get_or_insert_with(hold);
        if let Err(reason) = cell.catalogue.apply(&self.change, at.lsn, at.time_us) {
            // A planned change with nothing applied since is possible: this cannot happen, and if
            // it does, the catalogue in memory is not to be trusted with another name.
            tracing::error!(%reason, database = %self.change.database(), "catalogue record");
            let segment = Default::default();
            let place = crate::error::Place::Log {
                segment,
                lsn: at.lsn,
            };
            cell.catalogue
                .set_damaged(crate::error::Damage::new(place, reason));
        }
    }
}

impl Engine {
    /// The run-time state of a database, made from the manifest when it is used for the first time.
    pub(super) fn load_state(&self, id: DbId) -> Result<Arc<DbState>, CatalogueError> {
        let mut databases = self.databases.lock();
        if let Some(state) = databases.get(&id) {
            return Ok(Arc::clone(state));
        }
        let (name, kind) = {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(id).ok_or(CatalogueError::Closed)?;
            (entry.name.to_string(), entry.kind)
        };
        let rows = self.manifest.state();
        let view = super::open::checkpointed_view(
            id,
            kind,
            &rows,
            &self.chunks,
            self.reader.cache(),
            &self.limits,
        );
        let state = Arc::new(DbState::new(&name, view));
        databases.insert(id, Arc::clone(&state));
        Ok(state)
    }
}
