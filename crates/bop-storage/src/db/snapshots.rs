//! Snapshots, forks, and databases that become again what they were.
//!
//! ```text
//! snapshot   a name for a state of a database
//! fork       a database that begins as a state of another one
//! restore    a fork that takes the name of its source, which stays as a snapshot of the fork
//! ```
//! Invariants
//! - no page is copied: what any of them costs does not depend on the size of the database;
//! - each is one record of the catalogue, so it is there wholly or not at all;
//! - a state is pinned until the record that keeps it has ended, also when nobody waits for that any more;
//! - a restore holds the writer slot of the database until it is published: no commit is lost between the
//!   state that is kept and the end of the database.
//!
//! Never: waits for a checkpoint, unless a state of the past is asked for, or the line of forks is long.

use super::engine::Engine;
use super::lifecycle::Inside;
use super::manager::Manager;
use super::names::Dropped;
use super::points::point_of;
use super::read::ReadTxn;
use super::restore_points::RestorePoint;
use super::slot::{SlotGuard, SlotRefusal};
use super::state::DbState;
use super::{Db, engine::OpenStore};
use crate::at::{At, Moment};
use crate::catalogue::{CatalogueChange, Point, Restore, Snapshot};
use crate::error::{BeginError, CatalogueError, PastError};
use crate::ids::{DbId, Lsn, PageSize};
use crate::log::Priority;
use crate::runtime::sync::MutexGuard;
use crate::view::Pin;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A named state of a database.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The commit whose state it is.
    pub lsn: Lsn,
    /// When that was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// When the snapshot was made.
    pub created_us: u64,
    /// Bytes in a page; `None` of a database without a commit.
    pub page_size: Option<PageSize>,
    /// Pages of the database.
    pub page_count: u32,
}

impl From<&Snapshot> for SnapshotInfo {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot {
            name,
            point,
            created_us,
            ..
        } = snapshot;
        Self {
            name: name.to_string(),
            lsn: point.lsn,
            time_us: point.time_us,
            created_us: *created_us,
            page_size: point.page_size,
            page_count: point.page_count,
        }
    }
}

impl Manager {
    /// Gives a state of a database a name, under which it stays until the snapshot is dropped.
    ///
    /// # Errors
    /// [`PastError`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{At, DbKind, Manager, Options, PageNo};
    /// use std::time::Duration;
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("orders", DbKind::Raw)?;
    /// let write = |byte: u8| -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut write = db.begin_write(Duration::from_secs(1))?;
    ///     write.write_page(PageNo::FIRST, &[byte; 4096])?;
    ///     write.commit()?;
    ///     Ok(())
    /// };
    /// write(1)?;
    /// store.snapshot_database("orders", "before", &At::Now)?;
    /// write(2)?;
    /// let before = At::Snapshot("before".to_owned());
    /// assert_eq!(db.begin_read_at(&before)?.read_page(PageNo::FIRST)?[0], 1);
    ///
    /// let fork = store.fork_database("orders", "trial", &before)?;
    /// assert_eq!(fork.begin_read()?.read_page(PageNo::FIRST)?[0], 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot_database(
        &self,
        database: &str,
        name: &str,
        at: &At,
    ) -> Result<SnapshotInfo, PastError> {
        self.engine.told(self.engine.snapshot(database, name, at))
    }

    /// The snapshots of a database, by name.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`].
    pub fn snapshots(&self, database: &str) -> Result<Vec<SnapshotInfo>, CatalogueError> {
        let cell = self.engine.catalogue.lock();
        let id = cell.catalogue.find(database)?;
        let snapshots = cell.catalogue.snapshots(id);
        Ok(snapshots.map(SnapshotInfo::from).collect())
    }

    /// Drops a snapshot. What it alone has kept goes with the next checkpoint.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], [`CatalogueError::SnapshotNotFound`], or why the record could not
    /// be committed.
    pub fn drop_snapshot(&self, database: &str, name: &str) -> Result<(), CatalogueError> {
        self.engine.told(self.engine.drop_snapshot(database, name))
    }

    /// Makes a database that begins as a state of another one. From then on they have nothing to do with
    /// each other: either can be written, forked and dropped.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn fork_database(&self, database: &str, name: &str, at: &At) -> Result<Db, PastError> {
        let forked = self.engine.fork(database, name, at);
        let state = self.engine.told(forked)?;
        Ok(Db::new(Arc::clone(&self.engine), state))
    }

    /// Makes a database again what it was. It is another one then, with the same name, settings and
    /// snapshots; handles from before answer `Dropped`. What it was until now stays as a snapshot, which
    /// is returned.
    ///
    /// # Errors
    /// [`PastError`]; [`CatalogueError::Busy`] while somebody writes to it.
    pub fn restore_database(&self, database: &str, at: &At) -> Result<SnapshotInfo, PastError> {
        self.engine.told(self.engine.restore(database, at))
    }

    /// The states of a database that can be had, the oldest first. The newest is the present one.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn restore_points(&self, database: &str) -> Result<Vec<RestorePoint>, PastError> {
        self.engine.told(self.engine.restore_points(database))
    }
}

impl Db {
    /// A read transaction on a state of the past.
    ///
    /// # Errors
    /// [`PastError`].
    pub fn begin_read_at(&self, at: &At) -> Result<ReadTxn, PastError> {
        let (engine, state) = self.parts();
        engine.told(read_at(engine, state, at))
    }
}

fn read_at(engine: &Arc<OpenStore>, state: &Arc<DbState>, at: &At) -> Result<ReadTxn, PastError> {
    let inside: Inside = engine.lifecycle().enter().ok_or(BeginError::Closed)?;
    let pin = engine.pin_at(state, at)?;
    let (engine, state) = (Arc::clone(engine), Arc::clone(state));
    let snapshot = ReadTxn::new(engine, Arc::clone(&state), pin, inside);
    // After it is pinned: a drop before takes the pages away.
    state.check_live().map_err(|_| BeginError::Dropped)?;
    Ok(snapshot)
}

/// A state that is about to be kept for good: it stays while this lives.
struct HeldPoint<'a> {
    point: Point,
    pin: Option<Pin>,
    /// Of a state of the past: no checkpoint runs that would not write it.
    _no_checkpoint: Option<MutexGuard<'a, ()>>,
}

impl Engine {
    /// The state that is meant, held, and the catalogue's slot. Nobody waits for a checkpoint while he has
    /// the slot: the checkpoint may be what makes room for the record of who has it.
    fn hold_point(
        &self,
        state: &DbState,
        at: &At,
    ) -> Result<(HeldPoint<'_>, SlotGuard), PastError> {
        if *at == At::Now {
            let pin = state.pin_point();
            let point = point_of(state.id(), pin.view().head());
            if point.lsn != Lsn::ZERO || !self.is_far(point.source) {
                let held = HeldPoint {
                    point,
                    pin: Some(pin),
                    _no_checkpoint: None,
                };
                return Ok((held, self.catalogue_slot()?));
            }
        }
        loop {
            let writer = self.catalogue_slot()?;
            if let Some(no_checkpoint) = self.checkpointing.try_lock() {
                let point = self.nearest(self.point_at(state, at)?);
                let held = HeldPoint {
                    pin: self.pin_point(&point),
                    point,
                    _no_checkpoint: Some(no_checkpoint),
                };
                return Ok((held, writer));
            }
            drop(writer);
            drop(self.checkpointing.lock());
        }
    }

    /// Whoever is told that the outcome is not known has no pin any more: it goes with the record, which may be there
    /// later.
    fn commit_held(
        &self,
        held: HeldPoint<'_>,
        head: Option<Pin>,
        changes: Vec<CatalogueChange>,
        writer: SlotGuard,
        dropped: Option<Dropped>,
    ) -> Result<(), PastError> {
        let HeldPoint {
            pin,
            _no_checkpoint,
            ..
        } = held;
        let kept = pin.into_iter().chain(head).collect();
        // It must not wait for room in the log: that may take the checkpoint that is held back.
        self.commit_keeping(changes, Priority::Housekeeping, writer, dropped, kept)?;
        Ok(())
    }

    fn snapshot(&self, database: &str, name: &str, at: &At) -> Result<SnapshotInfo, PastError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let state = self.open_database(database)?;
        let (held, writer) = self.hold_point(&state, at)?;
        let limit = self.limits.snapshots_max;
        let planned = {
            let cell = self.catalogue.lock();
            cell.catalogue
                .plan_snapshot(database, name, &held.point, limit)?
        };
        self.commit_held(held, None, vec![planned], writer, None)?;
        self.snapshot_info(state.id(), name)
    }

    fn snapshot_info(&self, owner: DbId, name: &str) -> Result<SnapshotInfo, PastError> {
        let cell = self.catalogue.lock();
        Ok(cell.catalogue.snapshot(owner, name)?.into())
    }

    fn drop_snapshot(&self, database: &str, name: &str) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let planned = self
            .catalogue
            .lock()
            .catalogue
            .plan_snapshot_drop(database, name);
        self.commit_changes(vec![planned?], Priority::Housekeeping, writer, None)?;
        self.retire_dropped();
        self.expect_dropped();
        Ok(())
    }

    fn fork(&self, database: &str, name: &str, at: &At) -> Result<Arc<DbState>, PastError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let state = self.open_database(database)?;
        self.shorten_line(state.id());
        let (held, writer) = self.hold_point(&state, at)?;
        let planned = {
            let cell = self.catalogue.lock();
            cell.catalogue
                .plan_fork(name, &held.point, self.limits.databases_max)?
        };
        let id = planned.database();
        self.commit_held(held, None, vec![planned], writer, None)?;
        Ok(self.load_state(id, name)?)
    }

    fn restore(&self, database: &str, at: &At) -> Result<SnapshotInfo, PastError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let (state, slot) = self.by_name(database, |id, kind| {
            let state = self.open_found(id, kind, database)?;
            let slot = self.writer_of(&state, database)?;
            Ok((state, slot))
        })?;
        let (held, writer) = self.hold_point(&state, at)?;
        let head = state.pin_point();
        let kept = format!("before restore {}", Moment(self.now_us()));
        let restore = Restore {
            database,
            target: held.point,
            kept: &kept,
            head: point_of(state.id(), head.view().head()),
        };
        let changes = {
            let cell = self.catalogue.lock();
            cell.catalogue.plan_restore(&restore, &self.limits)?
        };
        let new = changes.first().map(CatalogueChange::database);
        let dropped = Some(Dropped::Pages(state, slot));
        self.commit_held(held, Some(head), changes, writer, dropped)?;
        self.retire_dropped();
        let new = new.ok_or(CatalogueError::Closed)?;
        self.snapshot_info(new, &kept)
    }

    fn writer_of(&self, state: &Arc<DbState>, name: &str) -> Result<SlotGuard, CatalogueError> {
        let slot = state.slot().acquire(self.limits.writer_wait);
        slot.map_err(|refusal| match refusal {
            SlotRefusal::Busy => CatalogueError::Busy {
                name: name.to_owned(),
            },
            // By a drop that came first, or by the close of the store.
            SlotRefusal::Closed => match state.check_live() {
                Err(_) => self.not_found(name),
                Ok(()) => CatalogueError::Closed,
            },
        })
    }

    fn restore_points(&self, database: &str) -> Result<Vec<RestorePoint>, PastError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let state = self.open_database(database)?;
        let mut points = Vec::new();
        self.walk_back(&state, |point| {
            points.push(point);
            ControlFlow::Continue(())
        })?;
        points.reverse();
        Ok(points)
    }
}
