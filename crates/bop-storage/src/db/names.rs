//! Creating, renaming and dropping databases: catalogue records, committed like any other. What becomes
//! of the pages of a dropped one is said in [`dropped`](super::dropped).
//!
//! ```text
//! plan (checked, nothing changed) -> record -> durable -> applied to the catalogue -> answered
//! ```
//! Invariants
//! - one operation at a time, from its plan to its publication (also when nobody waits for it any
//!   more: the slot travels with the record), so a plan stays possible;
//! - a state that is to be kept is pinned as long, so no checkpoint lets it go before it is kept for good;
//! - a drop holds the database's writer slot as long, so no commit follows it in the log;
//! - a database has one state, made when it is first asked for, and none once it is dropped.
//!
//! Never: touches the manifest (the next checkpoint does).

use super::engine::{CatalogueCell, Engine};
use super::points::HeldPoints;
use super::slot::{SlotGuard, SlotRefusal};
use super::state::DbState;
use crate::catalogue::{Catalogue, CatalogueChange, DatabaseState};
use crate::error::{CatalogueError, CommitError, Rejection};
use crate::ids::{DbId, DbKind, IdMap};
use crate::log::format::{CatalogueEntry, encode_catalogue};
use crate::log::{HoldReason, LogHolds, Placed, Priority, Publish, Remains};
use crate::recordlog::{RecordState, RecordWriter, WriterRefusal};
use crate::runtime::sync::Mutex;
use crate::view::{Pin, View};
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
        if let Some((state, name)) = self.state_of(id).zip(change.name()) {
            state.rename(name.as_str());
        }
        Ok(())
    }

    /// Drops an unfinished database.
    pub(super) fn abandon(&self, id: DbId) -> Result<(), CatalogueError> {
        let plan = |catalogue: &Catalogue, _| catalogue.plan_abandon(id);
        self.drop_found(id, "an unfinished database", Keep::Nothing, plan)
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
        if let Some((state, name)) = self.state_of(change.database()).zip(change.name()) {
            state.rename(name.as_str());
        }
        Ok(())
    }

    /// Drops a database. Open handles answer `Dropped` afterwards; its name is free.
    pub(super) fn drop_database(&self, name: &str, keep: Keep) -> Result<(), CatalogueError> {
        self.by_name(name, |id, _| {
            self.drop_found(id, name, keep, |catalogue, keep_us| {
                catalogue.plan_drop(name, keep_us)
            })
        })
    }

    fn drop_found(
        &self,
        id: DbId,
        name: &str,
        keep: Keep,
        plan: impl FnOnce(&Catalogue, u64) -> Result<CatalogueChange, CatalogueError>,
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
        let keep_us = self.keep_us(id, keep);
        let change = plan(&self.catalogue.lock().catalogue, keep_us)?;
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
        let mut changes = self.overdue(Some(id).filter(|_| keep_us > 0));
        changes.push(change);
        self.commit_changes(changes, Priority::Housekeeping, writer, dropped)?;
        self.retire_dropped();
        if keep_us > 0 {
            self.expect_overdue();
        }
        Ok(())
    }

    /// Takes databases that were dropped or given up out of use. Each checkpoint does so too: the write
    /// of a drop may end when nobody waits for it any more.
    pub(super) fn retire_dropped(&self) {
        let mut databases = self.databases.lock();
        let dropped = std::mem::take(&mut self.catalogue.lock().dropped);
        if !dropped.is_empty() {
            self.expect_dropped();
        }
        let mut entries = 0;
        for id in dropped {
            if let Some(state) = databases.get(&id).cloned() {
                entries += self.retire(&mut databases, &state);
            }
        }
        drop(databases);
        self.count_index_entries(entries);
        self.records.retire_dropped();
    }

    /// Takes a database away from its handles and readers, if it was dropped. If its pages are kept,
    /// another state has them, which nobody finds by a name before it is brought back: checkpoints
    /// write it like any other. Returns how many index entries are gone, as a negative number.
    fn retire(&self, databases: &mut IdMap<DbId, Arc<DbState>>, state: &Arc<DbState>) -> i64 {
        let id = state.id();
        let cell = self.catalogue.lock();
        let has_pages = cell.catalogue.has_pages(id);
        let kept = cell.catalogue.entry(id).filter(|_| has_pages);
        if kept.is_some() && state.check_live().is_ok() {
            return 0;
        }
        let Some(last) = state.retire() else {
            return 0;
        };
        match kept {
            Some(entry) => {
                let next = DbState::new(entry.name.as_str(), View::clone(&last))
                    .succeeding(state)
                    .with_quota(entry.policy.quota_bytes);
                databases.insert(id, Arc::new(next));
                0
            }
            None => {
                databases.remove(&id);
                -i64::try_from(last.index_entries()).unwrap_or(i64::MAX)
            }
        }
    }

    /// Waits for the operation before this one.
    pub(super) fn catalogue_slot(&self) -> Result<SlotGuard, CatalogueError> {
        let waited = self.limits.writer_wait;
        let slot = self.catalogue_writer.acquire(waited);
        slot.map_err(|_| CommitError::from(Rejection::Timeout { waited }).into())
    }

    /// All of them, in one record and in this order. `dropped`: the database that is dropped, if it is in use, with its
    /// writer slot.
    pub(super) fn commit_changes(
        &self,
        changes: Vec<CatalogueChange>,
        priority: Priority,
        writer: SlotGuard,
        dropped: Option<Dropped>,
    ) -> Result<Placed, CatalogueError> {
        self.commit_keeping(changes, priority, writer, dropped, Vec::new())
    }

    /// The same of changes that keep states for good: `kept` has those until the record has ended.
    pub(super) fn commit_keeping(
        &self,
        changes: Vec<CatalogueChange>,
        priority: Priority,
        writer: SlotGuard,
        dropped: Option<Dropped>,
        kept: Vec<Pin>,
    ) -> Result<Placed, CatalogueError> {
        let parent = self.catalogue.lock().catalogue.last_lsn();
        let entry = |change| CatalogueEntry {
            database: CatalogueChange::database(change),
            parent,
            op: change.op(),
        };
        let entries: Vec<_> = changes.iter().map(entry).collect();
        let record = encode_catalogue(&entries).map_err(CommitError::from)?;
        let publish = PublishChanges {
            cell: Arc::clone(&self.catalogue),
            holds: Arc::clone(self.log.holds()),
            changes,
            dropped,
            points: Arc::clone(&self.points),
            kept,
            _writer: writer,
        };
        Ok(self.log.append(record, priority, Box::new(publish))?)
    }
}

/// Applies a durable catalogue record.
struct PublishChanges {
    cell: Arc<Mutex<CatalogueCell>>,
    holds: Arc<LogHolds>,
    changes: Vec<CatalogueChange>,
    dropped: Option<Dropped>,
    points: Arc<HeldPoints>,
    /// States that snapshots and forks are made of.
    kept: Vec<Pin>,
    _writer: SlotGuard,
}

/// What a drop leaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// The pages, for as long as the retention of the database says.
    Window,
    /// Nothing.
    Nothing,
}

/// What is dropped, with the right to write to it.
pub(super) enum Dropped {
    Pages(Arc<DbState>, SlotGuard),
    Records(Arc<RecordWriter>),
}

impl Publish for PublishChanges {
    fn publish(mut self: Box<Self>, at: Placed) -> Remains {
        let mut cell = self.cell.lock();
        let dropped = |change: &CatalogueChange| matches!(change, CatalogueChange::Drop { .. });
        let dropped = self.changes.iter().filter(|change| dropped(change));
        cell.dropped.extend(dropped.map(CatalogueChange::database));
        let hold = || self.holds.hold(at.lsn, HoldReason::Catalogue);
        cell.hold.get_or_insert_with(hold);
        match cell.catalogue.apply_all(&self.changes, at.lsn, at.time_us) {
            // Those among them, too, that were dropped before and kept for the sake of another.
            Ok(gone) => cell.dropped.extend(gone),
            // A planned change with nothing applied since is possible: this cannot happen, and if
            // it does, the catalogue in memory is not to be trusted with another name.
            Err(reason) => {
                tracing::error!(%reason, lsn = %at.lsn, "catalogue record");
                let place = crate::error::Place::Log {
                    segment: Default::default(),
                    lsn: at.lsn,
                };
                cell.catalogue
                    .set_damaged(crate::error::Damage::new(place, reason));
            }
        }
        drop(cell);
        // Behind the catalogue, which says until when they are needed.
        let kept = std::mem::take(&mut self.kept);
        kept.into_iter().for_each(|pin| self.points.hold(pin));
        // Before the slot is free: no commit may follow the drop in the log.
        match &self.dropped {
            Some(Dropped::Pages(state, _slot)) => state.mark_dropped(),
            Some(Dropped::Records(writer)) => writer.state().mark_dropped(),
            None => {}
        }
        None
    }
}

impl Engine {
    /// The run-time state of a live database, made from the manifest when it is used for the first
    /// time. `name` is what it was asked for by.
    pub(super) fn load_state(&self, id: DbId, name: &str) -> Result<Arc<DbState>, CatalogueError> {
        self.load_state_of(id, name, |state| *state == DatabaseState::Live)
    }

    /// The same of a database whose state is `wanted`.
    pub(super) fn load_state_of(
        &self,
        id: DbId,
        name: &str,
        wanted: impl FnOnce(&DatabaseState) -> bool,
    ) -> Result<Arc<DbState>, CatalogueError> {
        let mut databases = self.databases.lock();
        if let Some(state) = databases.get(&id).cloned() {
            // Whoever dropped it may not have come so far as to take it out of use.
            self.count_index_entries(self.retire(&mut databases, &state));
        }
        // Asked under the lock of `databases`: a drop takes the state away after the catalogue
        // has it, so that no second state comes into being behind it.
        let found = {
            let cell = self.catalogue.lock();
            let entry = cell.catalogue.entry(id);
            let wanted = entry.filter(|entry| wanted(&entry.state));
            wanted.map(|entry| (entry.name.to_string(), entry.kind, entry.policy.quota_bytes))
        };
        let Some((present_name, kind, quota_bytes)) = found else {
            return Err(self.not_found(name));
        };
        if let Some(state) = databases.get(&id) {
            // One that was brought back may have another name than the one it was dropped with.
            if **state.name() != present_name {
                state.rename(&present_name);
            }
            return Ok(Arc::clone(state));
        }
        let view = self.with_bases_in(&databases, |bases| bases.view(id, kind));
        let state = Arc::new(DbState::new(&present_name, view).with_quota(quota_bytes));
        databases.insert(id, Arc::clone(&state));
        Ok(state)
    }

    /// The run-time state of a live record log.
    pub(super) fn load_record_log(
        &self,
        id: DbId,
        name: &str,
    ) -> Result<Arc<RecordState>, CatalogueError> {
        let is_live = || self.catalogue.lock().catalogue.is_live(id);
        let state = self.records.load(id, is_live);
        state.ok_or_else(|| self.not_found(name))
    }

    /// What `look` makes of the database with that name. A restore, a rename may give the name to another
    /// database meanwhile: whoever asks by name gets the one or the other, and does not hear of none.
    pub(super) fn by_name<T>(
        &self,
        name: &str,
        look: impl Fn(DbId, DbKind) -> Result<T, CatalogueError>,
    ) -> Result<T, CatalogueError> {
        let find = || self.catalogue.lock().catalogue.find_kind(name);
        let (mut id, mut kind) = find()?;
        loop {
            let looked = look(id, kind);
            if !matches!(looked, Err(CatalogueError::NotFound { .. })) {
                return looked;
            }
            let before = id;
            (id, kind) = find()?;
            if id == before {
                return looked;
            }
        }
    }

    /// Refuses a database whose log or chunks were found damaged when the store was opened.
    pub(super) fn check_undamaged(&self, id: DbId, name: &str) -> Result<(), CatalogueError> {
        match self.damaged.get(&id).cloned() {
            None => Ok(()),
            Some(damage) => Err(CatalogueError::Corrupt {
                name: name.to_owned(),
                damage,
            }),
        }
    }

    /// What a database is.
    pub(super) fn kind_of(&self, id: DbId, name: &str) -> Result<DbKind, CatalogueError> {
        let cell = self.catalogue.lock();
        let kind = cell.catalogue.entry(id).map(|entry| entry.kind);
        drop(cell);
        kind.ok_or_else(|| self.not_found(name))
    }

    pub(super) fn not_found(&self, name: &str) -> CatalogueError {
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
