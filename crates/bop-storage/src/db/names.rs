//! Creating, renaming and dropping databases: catalogue records, committed like any other.
//!
//! ```text
//! plan (checked, nothing changed) -> record -> durable -> applied to the catalogue -> answered
//! ```
//! Invariants
//! - one operation at a time, from its plan to its publication (also when nobody waits for it any
//!   more: the slot travels with the record), so a plan stays possible;
//! - a drop holds the database's writer slot as long, so no commit follows it in the log;
//! - a database has one state, made when it is first asked for, and none once it is dropped.
//!
//! Never: touches the manifest (the next checkpoint does).

use super::engine::{CatalogueCell, Engine};
use super::slot::{SlotGuard, SlotRefusal};
use super::state::DbState;
use crate::catalogue::{Catalogue, CatalogueChange, DatabaseState};
use crate::error::{CatalogueError, CommitError, Rejection};
use crate::ids::{DbId, DbKind, Lsn};
use crate::log::format::{CatalogueEntry, CatalogueOp, encode_catalogue};
use crate::log::{HoldReason, LogHolds, Placed, Priority, Publish};
use crate::recordlog::{RecordState, RecordWriter, WriterRefusal};
use parking_lot::Mutex;
use std::sync::Arc;

impl Engine {
    /// Creates a database.
    pub(super) fn create_database(
        &self,
        name: &str,
        kind: DbKind,
    ) -> Result<Arc<DbState>, CatalogueError> {
        check_pages(name, kind)?;
        // The name can be found since the record was published: somebody may have been faster.
        self.load_state(self.create_named(name, kind)?, name)
    }

    /// Opens a database, or creates it when it is missing.
    pub(super) fn open_or_create_database(
        &self,
        name: &str,
        kind: DbKind,
    ) -> Result<Arc<DbState>, CatalogueError> {
        if self.catalogue.lock().catalogue.has(name)? {
            match self.open_database(name) {
                // It was dropped meanwhile.
                Err(CatalogueError::NotFound { .. }) => {}
                opened => return opened,
            }
        }
        match self.create_database(name, kind) {
            // Somebody was faster.
            Err(CatalogueError::Exists { .. }) => self.open_database(name),
            created => created,
        }
    }

    /// Creates a record log.
    pub(super) fn create_record_log(&self, name: &str) -> Result<Arc<RecordState>, CatalogueError> {
        self.load_record_log(self.create_named(name, DbKind::Log)?, name)
    }

    fn create_named(&self, name: &str, kind: DbKind) -> Result<DbId, CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        self.create_with_others(name, kind)
    }

    /// Creates a database that nobody finds until it is finished.
    pub(super) fn create_unfinished(&self, kind: DbKind) -> Result<Arc<DbState>, CatalogueError> {
        check_pages("", kind)?;
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let limit = self.limits.databases_max;
        let planned = self.catalogue.lock().catalogue.plan_unfinished(kind, limit);
        let change = planned?;
        self.commit_changes(vec![change.clone()], Priority::User, writer, None)?;
        self.load_state(change.database(), "")
    }

    /// Gives an unfinished database its name: from then on it is one like any other.
    pub(super) fn finish(&self, id: DbId, name: &str) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let change = self.catalogue.lock().catalogue.plan_finish(id, name)?;
        self.commit_changes(vec![change.clone()], Priority::User, writer, None)?;
        if let Some(state) = self.state_of(id) {
            state.rename(change.name());
        }
        Ok(())
    }

    /// Drops an unfinished database.
    pub(super) fn abandon(&self, id: DbId) -> Result<(), CatalogueError> {
        let plan = |catalogue: &Catalogue| catalogue.plan_abandon(id);
        self.drop_found(id, "an unfinished database", plan)
    }

    /// Drops what was left unfinished when the store was last open.
    pub(super) fn drop_unfinished(&self) {
        let left: Vec<DbId> = self.catalogue.lock().catalogue.unfinished().collect();
        for id in left {
            match self.abandon(id) {
                Ok(()) => tracing::info!(database = %id, "an unfinished database is dropped"),
                Err(error) => {
                    tracing::warn!(database = %id, %error, "an unfinished database stays");
                }
            }
        }
    }

    /// Renames a database; its id, its pages and its open handles stay.
    pub(super) fn rename_database(&self, from: &str, to: &str) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let change = self.catalogue.lock().catalogue.plan_rename(from, to)?;
        self.commit_changes(vec![change.clone()], Priority::User, writer, None)?;
        if let Some(state) = self.state_of(change.database()) {
            state.rename(change.name());
        }
        Ok(())
    }

    /// Drops a database. Open handles answer `Dropped` afterwards; its name is free.
    pub(super) fn drop_database(&self, name: &str) -> Result<(), CatalogueError> {
        let id = self.catalogue.lock().catalogue.find(name)?;
        self.drop_found(id, name, |catalogue| catalogue.plan_drop(name))
    }

    fn drop_found(
        &self,
        id: DbId,
        name: &str,
        plan: impl FnOnce(&Catalogue) -> Result<CatalogueChange, CatalogueError>,
    ) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        // A damaged database can be dropped, too; it has no state and no writer.
        let kind = self.kind_of(id, name)?;
        let state = if self.damaged.contains_key(&id) || kind == DbKind::Log {
            None
        } else {
            Some(self.load_state(id, name)?)
        };
        let slot = state
            .as_ref()
            .map(|state| state.slot().acquire(self.limits.writer_wait));
        let slot = slot.transpose().map_err(|refusal| match refusal {
            SlotRefusal::Busy => CatalogueError::Busy {
                name: name.to_owned(),
            },
            // By a drop that came first, or by the close of the store.
            SlotRefusal::Closed => match state.as_ref().map(|state| state.check_live()) {
                Some(Err(_)) => self.not_found(name),
                _ => CatalogueError::Closed,
            },
        })?;
        let writer = self.catalogue_slot()?;
        let change = plan(&self.catalogue.lock().catalogue)?;
        if change.database() != id {
            // The name went to another database while this one was waited for.
            return Err(CatalogueError::Busy {
                name: name.to_owned(),
            });
        }
        let dropped = match (kind, state.zip(slot)) {
            (DbKind::Log, _) if !self.damaged.contains_key(&id) => {
                // Taken last: what makes room in the log may need it, and nothing is waited for
                // behind it.
                let state = self.load_record_log(id, name)?;
                let writer = state.acquire(self.limits.writer_wait);
                Some(Dropped::Records(writer.map_err(
                    |refusal| match refusal {
                        WriterRefusal::Busy => CatalogueError::Busy {
                            name: name.to_owned(),
                        },
                        WriterRefusal::Dropped => self.not_found(name),
                    },
                )?))
            }
            (_, pages) => pages.map(|(state, slot)| Dropped::Pages(state, slot)),
        };
        self.commit_changes(vec![change], Priority::Housekeeping, writer, dropped)?;
        self.retire_dropped();
        Ok(())
    }

    /// Takes databases that were dropped out of use. Each checkpoint does so too: the write of a
    /// drop may end when nobody waits for it any more.
    pub(super) fn retire_dropped(&self) {
        let is_dropped = |_: &DbId, state: &mut Arc<DbState>| state.check_live().is_err();
        let mut databases = self.databases.lock();
        let dropped: Vec<_> = databases.extract_if(is_dropped).collect();
        drop(databases);
        for (_, state) in dropped {
            self.count_index_entries(state.retire());
        }
        self.records.retire_dropped();
    }

    /// Waits for the operation before this one.
    pub(super) fn catalogue_slot(&self) -> Result<SlotGuard, CatalogueError> {
        let waited = self.limits.writer_wait;
        let slot = self.catalogue_writer.acquire(waited);
        slot.map_err(|_| CommitError::from(Rejection::Timeout { waited }).into())
    }

    /// All of them, in one record. `dropped`: the database that is dropped, if it is in use, with its
    /// writer slot.
    pub(super) fn commit_changes(
        &self,
        changes: Vec<CatalogueChange>,
        priority: Priority,
        writer: SlotGuard,
        dropped: Option<Dropped>,
    ) -> Result<Placed, CatalogueError> {
        let parent = self.catalogue.lock().catalogue.last_lsn();
        let entries: Vec<_> = changes
            .iter()
            .map(|change| entry_of(change, parent))
            .collect();
        let record = encode_catalogue(&entries).map_err(CommitError::from)?;
        let publish = PublishChanges {
            cell: Arc::clone(&self.catalogue),
            holds: Arc::clone(self.log.holds()),
            changes,
            dropped,
            _writer: writer,
        };
        Ok(self.log.append(record, priority, Box::new(publish))?)
    }
}

fn entry_of(change: &CatalogueChange, parent: Lsn) -> CatalogueEntry<'_> {
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
    CatalogueEntry {
        database: change.database(),
        parent,
        op,
    }
}

/// Applies a durable catalogue record.
struct PublishChanges {
    cell: Arc<Mutex<CatalogueCell>>,
    holds: Arc<LogHolds>,
    changes: Vec<CatalogueChange>,
    dropped: Option<Dropped>,
    _writer: SlotGuard,
}

/// What is dropped, with the right to write to it.
pub(super) enum Dropped {
    Pages(Arc<DbState>, SlotGuard),
    Records(Arc<RecordWriter>),
}

impl Publish for PublishChanges {
    fn publish(self: Box<Self>, at: Placed) {
        let mut cell = self.cell.lock();
        let hold = || self.holds.hold(at.lsn, HoldReason::Catalogue);
        cell.hold.get_or_insert_with(hold);
        if let Err(reason) = cell.catalogue.apply_all(&self.changes, at.lsn, at.time_us) {
            // A planned change with nothing applied since is possible: this cannot happen, and if
            // it does, the catalogue in memory is not to be trusted with another name.
            tracing::error!(%reason, lsn = %at.lsn, "catalogue record");
            let segment = Default::default();
            let place = crate::error::Place::Log {
                segment,
                lsn: at.lsn,
            };
            cell.catalogue
                .set_damaged(crate::error::Damage::new(place, reason));
        }
        drop(cell);
        // Before the slot is free: no commit may follow the drop in the log.
        match &self.dropped {
            Some(Dropped::Pages(state, _slot)) => state.mark_dropped(),
            Some(Dropped::Records(writer)) => writer.state().mark_dropped(),
            None => {}
        }
    }
}

impl Engine {
    /// The run-time state of a live database, made from the manifest when it is used for the first
    /// time. `name` is what it was asked for by.
    pub(super) fn load_state(&self, id: DbId, name: &str) -> Result<Arc<DbState>, CatalogueError> {
        let mut databases = self.databases.lock();
        if let Some(state) = databases.get(&id) {
            return Ok(Arc::clone(state));
        }
        // Asked under the lock of `databases`: a drop takes the state away after the catalogue
        // has the tombstone, so that no second state comes into being behind it.
        let found = {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(id);
            let live = entry.filter(|entry| entry.state == DatabaseState::Live);
            live.map(|entry| (entry.name.to_string(), entry.kind))
        };
        let Some((present_name, kind)) = found else {
            return Err(self.not_found(name));
        };
        let rows = self.manifest.state();
        let view = super::chunks::checkpointed_view(
            id,
            kind,
            &rows,
            &self.chunks,
            self.reader.cache(),
            &self.limits,
        );
        let state = Arc::new(DbState::new(&present_name, view));
        databases.insert(id, Arc::clone(&state));
        Ok(state)
    }

    /// The run-time state of a live record log.
    pub(super) fn load_record_log(
        &self,
        id: DbId,
        name: &str,
    ) -> Result<Arc<RecordState>, CatalogueError> {
        let is_live = || {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(id);
            entry.is_some_and(|entry| entry.state == DatabaseState::Live)
        };
        let state = self.records.load(id, is_live);
        state.ok_or_else(|| self.not_found(name))
    }

    /// What a database is.
    pub(super) fn kind_of(&self, id: DbId, name: &str) -> Result<DbKind, CatalogueError> {
        let cell = self.catalogue.lock();
        let kind = cell.catalogue.entry(id).map(|entry| entry.kind);
        drop(cell);
        kind.ok_or_else(|| self.not_found(name))
    }

    fn not_found(&self, name: &str) -> CatalogueError {
        CatalogueError::NotFound {
            name: name.to_owned(),
            nearest: self.catalogue.lock().catalogue.nearest(name),
        }
    }
}

/// Refuses a record log where a database of pages is meant.
pub(super) fn check_pages(name: &str, kind: DbKind) -> Result<(), CatalogueError> {
    match kind {
        DbKind::Sqlite | DbKind::Raw => Ok(()),
        DbKind::Log => Err(CatalogueError::WrongKind {
            name: name.to_owned(),
            found: kind.name(),
            wanted: "sqlite or raw",
        }),
    }
}
