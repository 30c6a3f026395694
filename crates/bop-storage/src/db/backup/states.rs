//! The states that a backup restores: found by replaying the log that was copied over the rows, and found
//! again in the store that was made of it.
//!
//! Invariant: both are told by the same words, so that they can be compared one by one.
//!
//! Never: reads a page.

use super::super::bases::checkpointed_head;
use super::super::chunks::ChunkSet;
use super::super::engine::Engine;
use super::super::housekeeper::Housekeeping;
use super::super::open::Parts;
use super::super::options::Options;
use crate::backup::{BackedSegment, BackedState, Shelf, StateOf, names};
use crate::cache::PageCache;
use crate::catalogue::{Catalogue, Snapshot};
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::{BackupError, Damage, Place, Reject};
use crate::ids::{DbId, DbKind, Lsn};
use crate::io::{Block, Disk, DiskFile, IoFailure, IoOp, OpenMode, ReadOnlyDisk, layout, refused};
use crate::log::LogHolds;
use crate::manifest::{DatabaseState, Manifest, ManifestStore, Write};
use crate::manifest::{ManifestState, MemoryManifest};
use crate::recordlog::LogIndex;
use crate::superblock::Superblock;
use crate::view::Head;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found in the log that was copied.
pub(super) struct Replayed {
    pub(super) states: Vec<BackedState>,
    /// The time of the newest record.
    pub(super) last_time_us: u64,
}

impl Engine {
    /// Replays the log that was copied, up to where it was cut.
    ///
    /// # Errors
    /// [`BackupError::Open`] when it cannot be, [`BackupError::StoreDamaged`] when that finds damage.
    pub(super) fn replayed(
        &self,
        shelf: &Shelf,
        segments: &[BackedSegment],
        rows: &[Write],
        superblock: Superblock,
    ) -> Result<Replayed, BackupError> {
        let memory = MemoryManifest::new();
        memory.commit(rows)?;
        let manifest = Manifest::open(Arc::new(memory), self.store)?;
        let state = manifest.state();
        let disk = copied_log(shelf, segments, Arc::clone(&self.disk));
        let parts = Parts {
            path: &shelf.dir,
            disk: Arc::clone(&disk),
            meters: Arc::clone(&self.meters),
            watchdog: Arc::clone(&self.watchdog),
            limits: self.limits.clone(),
            manifest: Arc::new(manifest),
            superblock,
            options: Options {
                housekeeping: Housekeeping::Manual,
                runtime: self.runtime.clone(),
                ..Options::new()
            },
        };
        let chunks = ChunkSet::new(disk, self.store, self.limits.chunks_open_max);
        let cache = Arc::new(PageCache::new(0));
        let holds = LogHolds::new(Arc::clone(&self.signals) as _);
        let (found, recovered) = parts
            .recover_state(&state, &chunks, &cache, &holds)
            .map_err(|error| BackupError::Open(Box::new(error)))?;
        let mut damage = found.findings.iter().chain(found.damaged.values());
        if let Some(damage) = damage.next() {
            return Err(BackupError::StoreDamaged(damage.clone()));
        }
        let head = |id: DbId| match found.views.get(&id) {
            Some(view) => *view.head(),
            None => checkpointed_head(id, &state, &found.catalogue),
        };
        let log = |id: DbId| found.record_logs.get(&id).map(log_state);
        Ok(Replayed {
            states: states(&found.catalogue, &head, &log),
            last_time_us: recovered.last_time_us,
        })
    }

    /// The states of this store now.
    pub(super) fn present_states(&self) -> Vec<BackedState> {
        let rows: ManifestState = self.manifest.state();
        let catalogue = self.catalogue.lock().catalogue.clone();
        let head = |id: DbId| match self.state_of(id) {
            Some(state) => *state.view().head(),
            None => checkpointed_head(id, &rows, &catalogue),
        };
        let log = |id: DbId| {
            let state = self.records.get(id)?;
            let look = state.look();
            Some(log_state(&look.index))
        };
        states(&catalogue, &head, &log)
    }
}

/// What of a record log is compared.
#[derive(Copy, Clone)]
struct LogState {
    head: Lsn,
    entries: u64,
    rolling_checksum: RollingChecksum,
}

fn log_state(index: &LogIndex) -> LogState {
    let entries = (index.bounds().first..index.next()).filter_map(|one| index.item(one));
    let hashes = entries.chain(index.vote()).map(|item| item.hash);
    LogState {
        head: index.head(),
        entries: index.len() as u64,
        rolling_checksum: hashes.fold(RollingChecksum::EMPTY, |sum, hash| {
            sum.toggled(PageHash::new(hash))
        }),
    }
}

/// By database and kind of state, those of a database by name.
fn states(
    catalogue: &Catalogue,
    head: &dyn Fn(DbId) -> Head,
    log: &dyn Fn(DbId) -> Option<LogState>,
) -> Vec<BackedState> {
    let mut all = Vec::new();
    for (id, entry) in catalogue.entries() {
        let of = match entry.state {
            DatabaseState::Live => Some(StateOf::Database),
            DatabaseState::Dropped { .. } => Some(StateOf::Dropped),
            DatabaseState::Tombstone { .. } => None,
        };
        // One that was being made is dropped by the next opening.
        let name = Some(&entry.name).filter(|name| !name.is_unfinished());
        if let (Some(of), Some(name)) = (of, name) {
            let name = name.as_str().to_owned();
            all.push(match entry.kind {
                DbKind::Log => of_log((id, of, name), log(id)),
                kind => of_pages((id, of, name), kind, &head(id)),
            });
        }
        let snapshots = catalogue.snapshots(id);
        all.extend(snapshots.map(|snapshot| of_snapshot(id, entry.kind, snapshot)));
    }
    all.sort_by(|a, b| (a.database, a.of, &a.name).cmp(&(b.database, b.of, &b.name)));
    all
}

fn of_pages(
    (database, of, name): (DbId, StateOf, String),
    kind: DbKind,
    head: &Head,
) -> BackedState {
    BackedState {
        database,
        of,
        name,
        kind,
        lsn: head.lsn,
        page_size: head.page_size,
        size: head.page_count.into(),
        rolling_checksum: head.rolling_checksum,
    }
}

fn of_log((database, of, name): (DbId, StateOf, String), log: Option<LogState>) -> BackedState {
    BackedState {
        database,
        of,
        name,
        kind: DbKind::Log,
        lsn: log.map_or(Lsn::ZERO, |log| log.head),
        page_size: None,
        size: log.map_or(0, |log| log.entries),
        rolling_checksum: log.map_or(RollingChecksum::EMPTY, |log| log.rolling_checksum),
    }
}

fn of_snapshot(database: DbId, kind: DbKind, snapshot: &Snapshot) -> BackedState {
    let point = &snapshot.point;
    BackedState {
        database,
        of: StateOf::Snapshot,
        name: snapshot.name.as_str().to_owned(),
        kind,
        lsn: point.lsn,
        page_size: point.page_size,
        size: point.page_count.into(),
        rolling_checksum: point.rolling_checksum,
    }
}

/// The first difference between what was backed up and what is there, if there is one.
pub(super) fn difference(backed: &[BackedState], found: &[BackedState]) -> Option<String> {
    let key = |state: &BackedState| (state.database, state.of, state.name.clone());
    let wanted: BTreeMap<_, _> = backed.iter().map(|one| (key(one), one)).collect();
    let there: BTreeMap<_, _> = found.iter().map(|one| (key(one), one)).collect();
    for (key, backed) in &wanted {
        match there.get(key) {
            None => return Some(format!("{} is missing", said(backed))),
            Some(found) if found != backed => {
                let (found, at) = (found.rolling_checksum, found.lsn);
                return Some(format!(
                    "{} was {} at lsn {}, and is {found} at lsn {at}",
                    said(backed),
                    backed.rolling_checksum,
                    backed.lsn
                ));
            }
            Some(_) => {}
        }
    }
    let more = there.iter().find(|(key, _)| !wanted.contains_key(*key));
    more.map(|(_, found)| format!("{} was not backed up", said(found)))
}

fn said(state: &BackedState) -> String {
    let (id, name) = (state.database, &state.name);
    match state.of {
        StateOf::Database => format!("database {name:?} (id {id})"),
        StateOf::Dropped => format!("the dropped database {name:?} (id {id})"),
        StateOf::Snapshot => format!("snapshot {name:?} of the database with id {id}"),
    }
}

/// The files of a store whose log is that of a backup; its chunks are the store's own.
fn copied_log(shelf: &Shelf, segments: &[BackedSegment], store: Arc<dyn Disk>) -> Arc<dyn Disk> {
    let copied: BTreeMap<PathBuf, (PathBuf, u64)> = segments
        .iter()
        .map(|segment| {
            let place = (names::segment(segment), segment.capacity_bytes);
            (layout::segment(segment.id), place)
        })
        .collect();
    let (copies, own) = (Arc::clone(&shelf.disk), Arc::clone(&store));
    let find = move |path: &Path| match copied.get(path) {
        None => own.open(path, OpenMode::Read),
        Some((copy, capacity_bytes)) => {
            let inner = copies.open(copy, OpenMode::Read)?;
            let file: Arc<dyn DiskFile> = Arc::new(CutFile {
                inner,
                path: path.to_owned(),
                bytes: *capacity_bytes,
            });
            Ok(file)
        }
    };
    ReadOnlyDisk::new(store, find)
}

/// A segment of which the backup has the beginning: the rest reads as zeros.
#[derive(Debug)]
struct CutFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
}

impl DiskFile for CutFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        self.inner.read_at(offset, blocks)?;
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        Ok(left.min(size_of_val(blocks)))
    }

    fn write_at(&self, _offset: u64, _blocks: &[Block]) -> Result<(), IoFailure> {
        Err(refused(IoOp::Write, &self.path))
    }

    fn write_durable_at(&self, _offset: u64, _blocks: &[Block]) -> Result<(), IoFailure> {
        Err(refused(IoOp::WriteDurable, &self.path))
    }

    fn sync(&self) -> Result<(), IoFailure> {
        Err(refused(IoOp::Sync, &self.path))
    }

    fn allocate(&self, _bytes: u64) -> Result<(), IoFailure> {
        Err(refused(IoOp::Allocate, &self.path))
    }
}

/// What nothing of a store's files is: found where the backup says that it is.
pub(super) fn missing(path: &Path) -> Damage {
    Damage::new(Place::File(path.to_owned()), Reject::Missing)
}
