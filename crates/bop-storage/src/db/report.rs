//! What a store tells about itself: databases and status.

use super::bases::checkpointed_head;
use super::engine::Engine;
use super::images::ImageStats;
use super::names::check_pages;
use super::record_report::RecordLogInfo;
use super::state::DbState;
use crate::cache::CacheStats;
use crate::catalogue::{Entry, Policy};
use crate::checksum::RollingChecksum;
use crate::error::{CatalogueError, Damage, LogFailure};
use crate::ids::{DbId, DbKind, Epoch, JobId, Lsn, PageSize, StoreId};
use crate::io::InFlight;
use crate::manifest::{ManifestState, ScrubRow};
use crate::point::Point;
use crate::runtime::BreakerStatus;
use std::path::PathBuf;
use std::sync::Arc;

/// One database, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DatabaseInfo {
    /// Its number in the store.
    pub id: DbId,
    /// Its name.
    pub name: String,
    /// What its pages mean.
    pub kind: DbKind,
    /// Bytes in a page; `None` before the first commit.
    pub page_size: Option<PageSize>,
    /// Its pages.
    pub page_count: u32,
    /// Its newest commit.
    pub head: Lsn,
    /// When that was, in microseconds since the Unix epoch; 0 without one.
    pub head_us: u64,
    /// The xor of all page hashes.
    pub rolling_checksum: RollingChecksum,
    /// When it was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// What its owner has set for it.
    pub policy: Policy,
    /// What it was forked from, or restored from; `None` of one that started empty.
    pub fork_of: Option<ForkInfo>,
    /// Its named snapshots.
    pub snapshots: usize,
    /// Read transactions that are open on it.
    pub readers: usize,
    /// Of a record log, what is in it.
    pub records: Option<RecordLogInfo>,
    /// When its chunks were scrubbed last, and nothing was wrong.
    pub last_scrub: Option<ScrubInfo>,
    /// Why it cannot be opened, or takes no commits, if so.
    pub damage: Option<Damage>,
}

/// The state that a fork started from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ForkInfo {
    /// The database whose state it was.
    pub id: DbId,
    /// Its name now, or the one that it had when it was dropped.
    pub name: String,
    /// The commit; [`Lsn::ZERO`] before its first.
    pub lsn: Lsn,
    /// When that was, in microseconds since the Unix epoch; 0 without one.
    pub time_us: u64,
}

/// A scrub that found nothing wrong.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ScrubInfo {
    /// The job that did it.
    pub job: JobId,
    /// When, in microseconds since the Unix epoch.
    pub finished_us: u64,
    /// Pages that the database had in chunks.
    pub pages: u32,
    /// Bytes that were read.
    pub bytes: u64,
}

impl ScrubInfo {
    fn of(row: &ScrubRow) -> Self {
        Self {
            job: row.job,
            finished_us: row.finished_us,
            pages: row.pages,
            bytes: row.bytes,
        }
    }
}

/// Whether the store takes commits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// It does.
    Ok,
    /// It does, but some databases are closed for damage.
    Damaged {
        /// How many.
        databases: usize,
    },
    /// A write failed: no commits until the store is opened again. Reads go on.
    Poisoned(Arc<LogFailure>),
}

/// The state of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Its directory.
    pub path: PathBuf,
    /// Its id.
    pub store: StoreId,
    /// Which opening of it this is.
    pub epoch: Epoch,
    /// How its files are read and written, and why so where that is not what was asked for.
    pub backend: String,
    /// I/O calls that have not returned within [`Limits::io_deadline`](crate::Limits), oldest first.
    pub stalled_calls: Vec<InFlight>,
    /// Whether it takes commits.
    pub health: Health,
    /// Everything before it is durable and visible.
    pub published: Lsn,
    /// Everything before it is in chunks.
    pub checkpointed: Lsn,
    /// Nothing before it is in the log.
    pub truncated: Lsn,
    /// Bytes of the segments that hold records.
    pub log_bytes: u64,
    /// Segments that hold records.
    pub log_segments: usize,
    /// Bytes of those that are kept for cursors over commits alone, outside the log's cap.
    pub cursor_log_bytes: u64,
    /// The cursor that needs the oldest of them.
    pub slowest_cursor: Option<String>,
    /// Segments kept ready.
    pub spare_segments: usize,
    /// Bytes of segments that are kept for closed databases, outside the log and its cap.
    pub damaged_bytes: u64,
    /// Records that wait for the next batch.
    pub queued_records: usize,
    /// The work in the background that is left alone for a while after too many failures.
    pub breakers: Vec<BreakerStatus>,
    /// Chunks that the manifest names.
    pub chunks: usize,
    /// Bytes of these chunks.
    pub chunk_bytes: u64,
    /// Live databases.
    pub databases: usize,
    /// Entries of the page index over the log.
    pub index_entries: usize,
    /// Page images that were written into the log since the store was opened.
    pub images: ImageStats,
    /// Live entries of record logs.
    pub record_entries: u64,
    /// Bytes of the log that what is live of record logs needs.
    pub record_bytes: u64,
    /// The shared page cache.
    pub cache: CacheStats,
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Pages whose hash was checked.
    pub pages: u64,
    /// Chunks of which every byte was checked.
    pub chunks: usize,
    /// Databases whose rolling checksum was computed anew.
    pub databases: usize,
    /// Record logs whose live entries were read.
    pub record_logs: usize,
    /// These entries.
    pub entries: u64,
    /// What is wrong; empty when nothing is.
    pub findings: Vec<Damage>,
    /// Whether the store was closed meanwhile, or before: not all was looked at.
    pub closed: bool,
}

impl VerifyReport {
    /// Whether all was looked at, and nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.findings.is_empty() && !self.closed
    }
}

impl Engine {
    /// Opens a database by name.
    pub(super) fn open_database(&self, name: &str) -> Result<Arc<DbState>, CatalogueError> {
        self.check_open().map_err(|_| CatalogueError::Closed)?;
        self.by_name(name, |id, kind| self.open_found(id, kind, name))
    }

    /// Opens the database that a name was found to mean.
    pub(super) fn open_found(
        &self,
        id: DbId,
        kind: DbKind,
        name: &str,
    ) -> Result<Arc<DbState>, CatalogueError> {
        check_pages(name, kind)?;
        self.check_undamaged(id, name)?;
        self.load_state(id, name)
    }

    /// By name.
    pub(super) fn database_infos(&self) -> Vec<DatabaseInfo> {
        let mut infos = self.database_infos_from(DbId::default(), usize::MAX);
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        infos
    }

    /// By id, from that one on.
    pub(super) fn database_infos_from(&self, id: DbId, limit: usize) -> Vec<DatabaseInfo> {
        let ids: Vec<DbId> = {
            let cell = self.catalogue.lock();
            let finished = cell.catalogue.live_from(id);
            let finished = finished.filter(|(_, entry)| !entry.name.is_unfinished());
            finished.map(|(id, _)| id).take(limit).collect()
        };
        let rows = self.manifest.state();
        let infos = ids.into_iter().filter_map(|id| self.info_of(id, &rows));
        infos.collect()
    }

    pub(super) fn database_info(&self, name: &str) -> Result<DatabaseInfo, CatalogueError> {
        self.by_name(name, |id, _| {
            self.info_of(id, &self.manifest.state())
                .ok_or_else(|| self.not_found(name))
        })
    }

    /// Does not open the database: one that was not used since the store was opened is described
    /// by its row.
    fn info_of(&self, id: DbId, rows: &ManifestState) -> Option<DatabaseInfo> {
        let Entry {
            name,
            kind,
            created_us,
            policy,
            origin,
            ..
        } = self.catalogue.lock().catalogue.entry(id)?.clone();
        let (fork_of, snapshots) = self.lineage_of(id, origin.as_deref());
        let state = self.state_of(id);
        let mut head = match &state {
            Some(state) => *state.view().head(),
            None => checkpointed_head(id, rows, &self.catalogue.lock().catalogue),
        };
        let records = (kind == DbKind::Log).then(|| {
            let (newest, info) = self.record_log_info(id);
            head.lsn = newest;
            info
        });
        let met = state.as_ref().and_then(|state| state.damage());
        let damage = self.damaged.get(&id).or(met).cloned();
        Some(DatabaseInfo {
            id,
            name: name.to_string(),
            kind,
            page_size: head.page_size,
            page_count: head.page_count,
            head: head.lsn,
            head_us: head.time_us,
            rolling_checksum: head.rolling_checksum,
            created_us,
            policy,
            fork_of,
            snapshots,
            readers: state.as_ref().map_or(0, |state| state.pin_count()),
            records,
            last_scrub: rows.scrub(id).map(ScrubInfo::of),
            damage: damage.or_else(|| self.records.damage(id)),
        })
    }

    /// What a database was forked from, and how many snapshots it has.
    fn lineage_of(&self, id: DbId, origin: Option<&Point>) -> (Option<ForkInfo>, usize) {
        let cell = self.catalogue.lock();
        let info = |point: &Point| {
            let source = cell.catalogue.entry(point.source);
            ForkInfo {
                id: point.source,
                name: source.map_or_else(String::new, |source| source.name.to_string()),
                lsn: point.lsn,
                time_us: point.time_us,
            }
        };
        (origin.map(info), cell.catalogue.snapshots(id).count())
    }

    pub(super) fn status(&self) -> StoreStatus {
        let rows = self.manifest.state();
        let ring = self.log.ring();
        let health = match self.log.failure() {
            Some(cause) => Health::Poisoned(cause),
            None if self.damaged.is_empty() => Health::Ok,
            None => Health::Damaged {
                databases: self.damaged.len(),
            },
        };
        // One lock at a time: opening a database takes these two in the other order.
        let databases = self.catalogue.lock().catalogue.live_count();
        let for_cursors = self.kept_for_cursors();
        StoreStatus {
            path: self.path.clone(),
            store: self.store,
            epoch: self.epoch,
            backend: self.disk.describe(),
            stalled_calls: self.watchdog.stalled(),
            health,
            published: self.log.published(),
            checkpointed: rows.watermarks().checkpointed,
            truncated: rows.watermarks().truncated,
            log_bytes: ring.kept_bytes(),
            log_segments: ring.sealed().len() + usize::from(ring.active().is_some()),
            cursor_log_bytes: for_cursors.bytes,
            slowest_cursor: for_cursors.slowest.map(|name| name.to_string()),
            spare_segments: ring.spare_count(),
            damaged_bytes: rows.salvage().map(|(_, row)| row.capacity_bytes).sum(),
            queued_records: self.log.backlog().queued_records,
            breakers: self.guards.status(),
            chunks: rows.chunks().count(),
            chunk_bytes: rows.chunks().map(|(_, chunk)| chunk.file_bytes).sum(),
            databases,
            index_entries: self
                .states()
                .iter()
                .map(|state| state.view().index_entries())
                .sum(),
            images: self.images.stats(),
            record_entries: self.records.entries(),
            record_bytes: self.records.live_bytes(),
            cache: self.reader.cache().stats(),
        }
    }
}
