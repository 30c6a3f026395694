//! Dropping databases, and bringing them back.
//!
//! ```text
//!            drop                          the window has passed, or more is dropped
//!            ----> dropped, its pages kept ----------------------- than is kept ----> pages gone
//!   live <---'           |                                                              ^
//!            <--undrop---'------------------------drop now------------------------------'
//! ```
//! Invariants
//! - a drop holds the database's writer slot until it is published, so no commit follows it in the log;
//! - giving up pages is a record of the log, as all that happens to a database: whoever replays it comes
//!   to the same catalogue, and a record that brings one back never meets one whose pages are gone;
//! - what is kept for undrop is bounded in number and bytes, those of the chunk files that nothing else
//!   needs among them; the newest drop alone is kept whatever its size.
//!
//! Never: keeps the entries of a record log, or what a damaged database left.

use super::bases::checkpointed_head;
use super::engine::Engine;
use super::manager::Manager;
use super::names::Keep;
use crate::catalogue::{CatalogueChange, DatabaseState};
use crate::error::CatalogueError;
use crate::ids::{ChunkId, DbId, DbKind, Lsn};
use crate::log::Priority;
use crate::manifest::ManifestState;
use crate::name::DbName;
use crate::runtime::sync::now;
use crate::runtime::{Clock, after};
use std::collections::BTreeMap;
use std::time::Duration;

/// Databases whose pages one record gives up, at most.
const PURGED_TOGETHER_MAX: usize = 100;

/// A database that was dropped and can be brought back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DroppedDatabase {
    /// Its number in the store.
    pub id: DbId,
    /// Its last name.
    pub name: String,
    /// What its pages mean.
    pub kind: DbKind,
    /// When it was dropped, in microseconds since the Unix epoch.
    pub dropped_us: u64,
    /// Until when it is kept, unless more is dropped than the store keeps.
    pub until_us: u64,
    /// Bytes of its pages.
    pub bytes: u64,
    /// Its newest commit.
    pub head: Lsn,
}

impl Manager {
    /// Drops a database. Waits for its writer; open handles answer `Dropped` afterwards. For as long as its
    /// [`Retention`](crate::Retention) says it can be brought back, unless the limits
    /// [`dropped_databases_max` and `dropped_bytes_max`](crate::Limits) are reached before. A record
    /// log, and a database that is closed for damage, are gone at once.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`], [`CatalogueError::Busy`], or why the record could not be
    /// committed.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// store.create_database("orders", DbKind::Raw)?;
    /// store.drop_database("orders")?;
    /// assert_eq!(store.dropped_databases()[0].name, "orders");
    /// store.undrop_database("orders", None)?;
    /// store.drop_database_now("orders")?;
    /// assert!(store.undrop_database("orders", None).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn drop_database(&self, name: &str) -> Result<(), CatalogueError> {
        let dropped = self.engine.drop_database(name, Keep::Window);
        self.engine.told(dropped)
    }

    /// Drops a database so that it cannot be brought back: the next checkpoint frees what it has.
    ///
    /// # Errors
    /// As for [`Manager::drop_database`].
    pub fn drop_database_now(&self, name: &str) -> Result<(), CatalogueError> {
        let dropped = self.engine.drop_database(name, Keep::Nothing);
        self.engine.told(dropped)
    }

    /// The databases that can be brought back, the newest drop first.
    pub fn dropped_databases(&self) -> Vec<DroppedDatabase> {
        self.engine.dropped_databases()
    }

    /// Takes the newest drop of a database of that name back; it is called `new_name` then, or what it
    /// was called before. Handles from before the drop stay as they are. Returns its id.
    ///
    /// # Errors
    /// [`CatalogueError::NotDropped`], [`CatalogueError::Exists`] when the name is taken by now,
    /// [`CatalogueError::InvalidName`], or why the record could not be committed.
    pub fn undrop_database(
        &self,
        name: &str,
        new_name: Option<&str>,
    ) -> Result<DbId, CatalogueError> {
        self.engine.told(self.engine.undrop_named(name, new_name))
    }

    /// The same of the database with that id, when several of one name were dropped.
    ///
    /// # Errors
    /// As for [`Manager::undrop_database`].
    pub fn undrop_database_id(
        &self,
        id: DbId,
        new_name: Option<&str>,
    ) -> Result<(), CatalogueError> {
        self.engine.told(self.engine.undrop(id, new_name))
    }

    /// Gives up a database that was dropped: it cannot be brought back any more.
    ///
    /// # Errors
    /// [`CatalogueError::NotDropped`], or why the record could not be committed.
    pub fn purge_database(&self, id: DbId) -> Result<(), CatalogueError> {
        self.engine.told(self.engine.purge(id))
    }
}

impl DroppedDatabase {
    /// Whether that was its last name, in any case and composition of its letters.
    pub fn is_named(&self, name: &str) -> bool {
        let folded = |name: &str| DbName::given(name).ok().map(|name| name.folded());
        folded(name).is_some() && folded(name) == folded(&self.name)
    }
}

/// What time it is, for windows: the wall's time when the store was opened, and what has passed since.
/// Who sets the wall clock forward does not throw away what was dropped a minute ago.
#[derive(Copy, Clone, Debug)]
pub(super) struct RetentionClock {
    wall_us: u64,
    monotonic_us: u64,
}

impl RetentionClock {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self {
            wall_us: clock.wall_us(),
            monotonic_us: clock.monotonic_us(),
        }
    }

    fn now_us(&self, clock: &dyn Clock) -> u64 {
        let passed = clock.monotonic_us().saturating_sub(self.monotonic_us);
        self.wall_us.saturating_add(passed)
    }
}

/// The chunks that are there for dropped databases alone. A pack may hold much beside a small one: what
/// counts is what would be free without it.
struct ChunksKept(BTreeMap<ChunkId, u64>);

impl ChunksKept {
    fn of(dropped: impl Iterator<Item = DbId>, rows: &ManifestState) -> Self {
        let mut named: BTreeMap<ChunkId, u64> = BTreeMap::new();
        for chunk in dropped.flat_map(|id| rows.chunks_named(id)) {
            *named.entry(chunk).or_default() += 1;
        }
        named.retain(|id, count| {
            rows.chunk(*id)
                .is_some_and(|chunk| chunk.references == *count)
        });
        Self(named)
    }

    /// Bytes of those that a database names; each counts for whoever is asked about first.
    fn take(&mut self, database: DbId, rows: &ManifestState) -> u64 {
        let chunks = rows.chunks_named(database);
        let chunks = chunks.filter(|id| self.0.remove(id).is_some());
        let bytes = chunks.filter_map(|id| Some(rows.chunk(id)?.file_bytes));
        bytes.sum()
    }
}

impl Engine {
    /// Those that can be brought back, the newest drop first.
    pub(super) fn dropped_databases(&self) -> Vec<DroppedDatabase> {
        let rows = self.manifest.state();
        let cell = self.catalogue.lock();
        let mut found: Vec<DroppedDatabase> = Vec::new();
        for (id, entry) in cell.catalogue.dropped().rev() {
            if let DatabaseState::Dropped {
                dropped_us,
                until_us,
            } = entry.state
            {
                found.push(DroppedDatabase {
                    id,
                    name: entry.name.to_string(),
                    kind: entry.kind,
                    dropped_us,
                    until_us,
                    bytes: 0,
                    head: Lsn::ZERO,
                });
            }
        }
        drop(cell);
        for one in &mut found {
            (one.bytes, one.head) = self.size_of(one.id, &rows);
        }
        found
    }

    /// What time it is, for windows.
    pub(super) fn now_us(&self) -> u64 {
        self.retention_clock.now_us(self.runtime.clock.as_ref())
    }

    /// Bytes of the pages of a database, and its newest commit.
    fn size_of(&self, id: DbId, rows: &ManifestState) -> (u64, Lsn) {
        let head = match self.state_of(id) {
            Some(state) => *state.view().head(),
            None => checkpointed_head(id, rows, &self.catalogue.lock().catalogue),
        };
        (head.bytes(), head.lsn)
    }

    /// For how long, in microseconds, the pages of a database that is dropped now are kept.
    pub(super) fn keep_us(&self, id: DbId, keep: Keep) -> u64 {
        let policy = self.catalogue.lock().catalogue.entry(id).map(|entry| {
            let pages = entry.kind != DbKind::Log && !entry.name.is_unfinished();
            (pages, entry.policy.retention)
        });
        let met = self
            .state_of(id)
            .is_some_and(|state| state.damage().is_some());
        let damaged = met || self.damaged.contains_key(&id) || self.is_closed_for_damage(id);
        let Some((true, retention)) = policy.filter(|_| keep == Keep::Window && !damaged) else {
            return 0;
        };
        let (bytes, _) = self.size_of(id, &self.manifest.state());
        if bytes <= retention.bytes {
            retention.window_us_or(self.limits.retention)
        } else {
            0
        }
    }

    /// Takes back the newest drop of a database of that name, which is called `new_name` then.
    pub(super) fn undrop_named(
        &self,
        name: &str,
        new_name: Option<&str>,
    ) -> Result<DbId, CatalogueError> {
        let id = self.catalogue.lock().catalogue.find_dropped(name)?;
        self.undrop(id, new_name)?;
        Ok(id)
    }

    /// Takes back a drop. Without a name it gets its last one again.
    pub(super) fn undrop(&self, id: DbId, name: Option<&str>) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let change = {
            let cell = self.catalogue.lock();
            let last = cell.catalogue.entry(id).map(|entry| entry.name.to_string());
            let name = name.map(str::to_owned).or(last);
            cell.catalogue.plan_undrop(id, &name.unwrap_or_default())?
        };
        self.commit_changes(vec![change], Priority::User, writer, None)?;
        Ok(())
    }

    /// Gives up the pages of a database that was dropped.
    pub(super) fn purge(&self, id: DbId) -> Result<(), CatalogueError> {
        let _work = self.lifecycle.enter_work().ok_or(CatalogueError::Closed)?;
        let writer = self.catalogue_slot()?;
        let change = self.catalogue.lock().catalogue.plan_purge(id)?;
        self.commit_changes(vec![change], Priority::Housekeeping, writer, None)?;
        self.retire_dropped();
        Ok(())
    }

    /// What is dropped and is not to be kept any more, when `newest` is dropped too. Whoever asks holds
    /// the catalogue's slot.
    pub(super) fn overdue(&self, newest: Option<DbId>) -> Vec<CatalogueChange> {
        let now_us = self.now_us();
        let dropped: Vec<(DbId, u64)> = {
            let cell = self.catalogue.lock();
            let dropped = cell.catalogue.dropped().rev();
            dropped
                .filter_map(|(id, entry)| Some((id, entry.state.until_us()?)))
                .collect()
        };
        let rows = self.manifest.state();
        let ids = newest.into_iter().chain(dropped.iter().map(|(id, _)| *id));
        let mut chunks = ChunksKept::of(ids, &rows);
        let (mut kept, mut kept_bytes) = (0, 0);
        let mut is_kept = |id: DbId, until_us: u64| {
            let bytes = self.size_of(id, &rows).0.max(chunks.take(id, &rows));
            let fits = kept == 0 || kept_bytes + bytes <= self.limits.dropped_bytes_max;
            let keeps = now_us < until_us && kept < self.limits.dropped_databases_max && fits;
            if keeps {
                kept += 1;
                kept_bytes += bytes;
            }
            keeps
        };
        if let Some(id) = newest {
            is_kept(id, u64::MAX);
        }
        let overdue = dropped
            .into_iter()
            .filter(|(id, until_us)| !is_kept(*id, *until_us));
        let gone = overdue.map(|(id, _)| CatalogueChange::Drop { id, keep_us: 0 });
        gone.take(PURGED_TOGETHER_MAX).collect()
    }

    /// Gives up what is not to be kept any more, and says when there will be more of it. Nothing is
    /// waited for: what cannot be done now is done by the next checkpoint.
    pub(super) fn purge_overdue(&self) {
        loop {
            let Ok(writer) = self.catalogue_writer.acquire(Duration::ZERO) else {
                return;
            };
            if self.catalogue.lock().catalogue.damage().is_some() {
                return;
            }
            let overdue = self.overdue(None);
            if overdue.is_empty() {
                break;
            }
            tracing::info!(databases = overdue.len(), "dropped databases are given up");
            let done = self.commit_changes(overdue, Priority::Housekeeping, writer, None);
            if let Err(error) = done {
                tracing::warn!(%error, "dropped databases stay");
                return;
            }
            self.retire_dropped();
        }
        self.expect_overdue();
    }

    /// Asks for a look when the first window of what is dropped has passed.
    pub(super) fn expect_overdue(&self) {
        let first = {
            let cell = self.catalogue.lock();
            let dropped = cell.catalogue.dropped();
            dropped
                .filter_map(|(_, entry)| entry.state.until_us())
                .min()
        };
        if let Some(until_us) = first {
            let now_us = self.now_us();
            let wait = Duration::from_micros(until_us.saturating_sub(now_us));
            self.signals.purge_at(after(now(), wait));
        }
    }

    /// The pages of what was given up go with the next checkpoint: this one.
    pub(super) fn purge_in_background(&self) {
        let before = self.catalogue.lock().catalogue.last_lsn();
        self.purge_overdue();
        if before < self.catalogue.lock().catalogue.last_lsn() {
            self.signals.want_checkpoint();
        }
    }

    /// Once a checkpoint has all of a dropped database, nothing of it needs to be in memory.
    pub(super) fn forget_dropped_states(&self) {
        let mut databases = self.databases.lock();
        let cell = self.catalogue.lock();
        databases.retain(|id, state| {
            let idle = state.view().layer_count() == 0 && state.check_live().is_ok();
            !idle || cell.catalogue.is_live(*id)
        });
    }
}
