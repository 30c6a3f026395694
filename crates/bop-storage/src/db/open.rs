//! Opening a store.
//!
//! ```text
//! lock -> superblock -> manifest -> recovery (reads only) -> spares -> first write of the epoch
//!   -> leftovers of earlier runs removed -> housekeeper -> serve
//! ```
//! Invariants
//! - nothing of an existing store is written before the first write of the new epoch, but for
//!   spares when there are none, and the log's newest bytes over themselves: a crash during
//!   recovery changes nothing;
//! - the store's own names are durable before anything is put into its directories;
//! - a directory that is not a store, or a store of another version, is not touched.
//!
//! Never: opens a database (that happens when it is used).

use super::callbacks::Callbacks;
use super::chunks::ChunkSet;
use super::closed::settle_closed;
use super::creation::Creations;
use super::cursor::OpenCursors;
use super::dropped::RetentionClock;
use super::engine::{CatalogueCell, Engine};
use super::guards::Guards;
use super::housekeeper::{Housekeeper, Housekeeping};
use super::images::ImageMakers;
use super::leftovers::{forget_unused, sweep_leftovers, unused_segments};
use super::lifecycle::Lifecycle;
use super::log_sorted::SortingRoom;
use super::options::Options;
use super::reader::PageReader;
use super::recovery::RecoveredState;
use super::release::BackingUp;
use super::rewrite_chunks::Reclaim;
use super::signals::Signals;
use super::spill::SpillSpace;
use super::start::StartedLog;
use super::state::DbState;
use super::strangers::check_unregistered;
use crate::cache::PageCache;
use crate::catalogue::Catalogue;
use crate::error::{Damage, ManifestError, OpenError, Place, Reject};
use crate::ids::{DbId, IdMap, SegmentId, StoreId};
use crate::io::{
    BufferPool, Disk, IoFailure, NativeDisk, OpenDiskError, StoreLock, WatchThread, Watchdog,
    WatchedDisk, layout,
};
use crate::limits::ValidLimits;
use crate::log::{Log, LogHolds};
use crate::manifest::{LmdbManifest, Manifest, Table, fenced};
use crate::meters::StoreMeters;
use crate::recordlog::{RecentPayloads, RecordLogs, RecordReader};
use crate::runtime::Errands;
use crate::runtime::sync::{Condvar, Mutex};
use crate::superblock::Superblock;
use crate::view::View;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

/// Three for a checkpoint, two for scans.
const ERRANDS_MAX: usize = 5;

/// Opens a store.
pub(super) fn open(path: &Path, options: Options) -> Result<Arc<Engine>, OpenError> {
    let _span = tracing::info_span!("open", path = %path.display()).entered();
    let limits = options.limits.clone().validated()?;
    let watchdog = Watchdog::new(Arc::clone(&options.runtime.clock), limits.io_deadline);
    let disk = open_disk(path, &options, &limits)?;
    let watched = Arc::new(WatchedDisk::new(disk, Arc::clone(&watchdog)));
    let disk: Arc<dyn Disk> = Arc::clone(&watched) as _;
    let watch_thread = start_watching(&watchdog, &options)?;
    check_directory(path, disk.as_ref(), options.create)?;
    let lock = lock(path, disk.as_ref())?;
    let (superblock, found) = superblock(path, disk.as_ref(), &options, &limits)?;
    let limits = limits.of_store(superblock.range_bytes);
    let meters = Arc::new(StoreMeters::new(superblock.store));
    watched.measure(&meters);
    let manifest = open_manifest(path, &disk, superblock.store, &limits, &options)?;
    let manifest = Arc::new(manifest.with_clock(Arc::clone(&options.runtime.clock)));
    for dir in [layout::LOG_DIR, layout::CHUNK_DIR, layout::SCRATCH_DIR] {
        disk.create_dir(Path::new(dir))?;
    }
    // Also when they were there already: whoever made them may have been killed before its sync.
    disk.sync_dir(Path::new(""))?;
    let parts = Parts {
        path,
        disk,
        meters,
        watchdog,
        limits,
        manifest,
        superblock,
        options,
    };
    check_unregistered(
        parts.disk.as_ref(),
        parts.superblock.store,
        &parts.manifest.state(),
    )?;
    let (engine, unused) = parts.recover_and_start(lock, found)?;
    engine.recover_points();
    *engine.watch_thread.lock() = watch_thread;
    engine
        .log
        .spares()
        .fit_segments_to(engine.log_bytes_target());
    engine.begin_run();
    forget_unused(&engine, &unused);
    settle_closed(&engine);
    sweep_leftovers(&engine);
    engine.drop_unfinished();
    engine.expect_overdue();
    // Those that the run before has left.
    engine.signals.want_jobs();
    if parts.options.housekeeping == Housekeeping::Background {
        let manifest = engine.manifest.start(engine.runtime.spawn.as_ref());
        manifest.map_err(no_thread)?;
        let (spawn, signals) = (
            Arc::clone(&engine.runtime.spawn),
            Arc::clone(&engine.signals),
        );
        engine
            .housekeeper
            .start(spawn.as_ref(), signals, Arc::downgrade(&engine))
            .map_err(no_thread)?;
        engine.catch_up();
    }
    Ok(engine)
}

/// A store that is there, locked and not opened: to be looked at, or repaired.
pub(super) struct LockedStore {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) lock: Box<dyn StoreLock>,
    pub(super) store: StoreId,
    pub(super) limits: ValidLimits,
}

impl LockedStore {
    /// Makes nothing that is not there but the lock's file.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let limits = options.limits.clone().validated()?;
        let disk = open_disk(path, options, &limits)?;
        check_directory(path, disk.as_ref(), false)?;
        let lock = lock(path, disk.as_ref())?;
        let missing = || Damage::new(Place::File(layout::SUPERBLOCK.into()), Reject::Missing);
        let found = Superblock::read(disk.as_ref())?.ok_or_else(missing)?;
        Ok(Self {
            disk,
            lock,
            store: found.superblock.store,
            limits: limits.of_store(found.superblock.range_bytes),
        })
    }
}

fn lock(path: &Path, disk: &dyn Disk) -> Result<Box<dyn StoreLock>, OpenError> {
    disk.lock().map_err(|failure| OpenError::Locked {
        path: path.into(),
        failure,
    })
}

/// Starts the thread that looks for calls that do not come back, from recovery on. Where nothing is
/// to happen by itself nobody looks, and the store's status tells all the same.
fn start_watching(
    watchdog: &Arc<Watchdog>,
    options: &Options,
) -> Result<Option<WatchThread>, OpenError> {
    if options.housekeeping == Housekeeping::Manual {
        return Ok(None);
    }
    let started = watchdog.start(options.runtime.spawn.as_ref());
    started.map(Some).map_err(no_thread)
}

fn no_thread(source: std::io::Error) -> OpenError {
    OpenError::System {
        what: "a thread",
        source: Arc::new(source),
    }
}

fn open_disk(
    path: &Path,
    options: &Options,
    limits: &ValidLimits,
) -> Result<Arc<dyn Disk>, OpenError> {
    if let Some(disk) = &options.disk {
        return Ok(Arc::clone(disk));
    }
    let pool = BufferPool::new(limits.buffer_pool_bytes_max);
    match NativeDisk::open(path, options.create, options.io, &pool) {
        Ok(disk) => {
            tracing::debug!(backend = disk.describe(), "files");
            Ok(Arc::new(disk))
        }
        Err(OpenDiskError::Io(failure)) if failure.is_not_found() => {
            Err(OpenError::NotFound { path: path.into() })
        }
        Err(OpenDiskError::Io(failure)) => Err(failure.into()),
        Err(OpenDiskError::Unavailable(why)) => Err(why.into()),
    }
}

/// Refuses a directory of other things, or an empty one that is not to become a store. Before the
/// lock is taken, since that leaves a file.
fn check_directory(path: &Path, disk: &dyn Disk, create: bool) -> Result<(), OpenError> {
    // In this order: somebody who makes a store now makes the superblock first.
    let has_log = has_entry(disk, layout::LOG_DIR)?;
    if has_entry(disk, layout::SUPERBLOCK)? {
        return Ok(());
    }
    if has_log {
        let place = Place::File(layout::SUPERBLOCK.into());
        return Err(Damage::new(place, Reject::Missing).into());
    }
    let ours = [layout::LOCK, layout::SCRATCH_DIR];
    let entries = disk.list(Path::new(""))?;
    if !entries
        .iter()
        .all(|entry| ours.contains(&entry.name.as_str()))
    {
        return Err(OpenError::NotAStore { path: path.into() });
    }
    if create {
        Ok(())
    } else {
        Err(OpenError::NotFound { path: path.into() })
    }
}

fn has_entry(disk: &dyn Disk, name: &str) -> Result<bool, IoFailure> {
    let entries = disk.list(Path::new(""))?;
    Ok(entries.iter().any(|entry| entry.name == name))
}

/// The store's superblock, made when the directory is empty and that is wanted; and what was found
/// damaged beside it.
fn superblock(
    path: &Path,
    disk: &dyn Disk,
    options: &Options,
    limits: &ValidLimits,
) -> Result<(Superblock, Option<Damage>), OpenError> {
    if let Some(found) = Superblock::read(disk)? {
        return Ok((found.superblock, found.damaged_slot));
    }
    check_directory(path, disk, options.create)?;
    let mut id = [0; 16];
    let entropy = options.runtime.entropy.fill(&mut id);
    entropy.map_err(|source| OpenError::System {
        what: "random bytes",
        source: Arc::new(source),
    })?;
    let created_us = options.runtime.clock.wall_us();
    let superblock = Superblock::new(StoreId::new(id), created_us, limits.range_bytes);
    superblock.create(disk)?;
    Ok((superblock, None))
}

/// The manifest. A store that has a superblock and nothing else was interrupted while it was made:
/// its manifest is made now.
pub(super) fn open_manifest(
    path: &Path,
    disk: &Arc<dyn Disk>,
    store: StoreId,
    limits: &ValidLimits,
    options: &Options,
) -> Result<Manifest, OpenError> {
    let unfinished = || -> Result<bool, OpenError> {
        let is_empty = |dir| -> Result<bool, OpenError> {
            Ok(!has_entry(disk.as_ref(), dir)? || disk.list(Path::new(dir))?.is_empty())
        };
        Ok(is_empty(layout::LOG_DIR)? && is_empty(layout::CHUNK_DIR)?)
    };
    if let Some(given) = &options.manifest {
        let is_new = fenced("read the manifest", || {
            Ok::<_, ManifestError>(given.scan(Table::Meta, &[], 1)?.is_empty())
        })?;
        if is_new && unfinished()? {
            return Ok(Manifest::initialize(Arc::clone(given), store)?);
        }
        return Ok(Manifest::open(Arc::clone(given), store)?);
    }
    let lmdb = fenced("opened the manifest", || -> Result<_, OpenError> {
        if !LmdbManifest::exists(path)? && unfinished()? {
            let rows = Manifest::initial_writes(store)?;
            Ok(LmdbManifest::create(path, limits, &rows)?)
        } else {
            Ok(LmdbManifest::open(path, limits)?)
        }
    })?;
    Ok(Manifest::open(Arc::new(lmdb), store)?)
}

/// What opening has in hand before recovery.
pub(super) struct Parts<'a> {
    pub(super) path: &'a Path,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) meters: Arc<StoreMeters>,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) limits: ValidLimits,
    pub(super) manifest: Arc<Manifest>,
    pub(super) superblock: Superblock,
    pub(super) options: Options,
}

impl Parts<'_> {
    fn recover_and_start(
        &self,
        lock: Box<dyn StoreLock>,
        found: Option<Damage>,
    ) -> Result<(Arc<Engine>, Vec<SegmentId>), OpenError> {
        let (rows, chunks) = (self.manifest.state(), self.chunks());
        let (cache, errands) = self.cache();
        let signals = Arc::new(Signals::new(&self.limits));
        let holds = LogHolds::new(Arc::clone(&signals) as _);
        let (state, recovered) = self.recover_state(&rows, &chunks, &cache, &holds)?;
        let unused = unused_segments(&recovered);
        let StartedLog { log, epoch } = self.start_log(recovered, &rows, &holds, &signals)?;
        let RecoveredState {
            catalogue,
            catalogue_hold,
            views,
            record_logs,
            damaged,
            findings,
            closed,
        } = state;
        let databases = states_of(views, &catalogue);
        let engine = Arc::new(Engine {
            path: self.path.to_owned(),
            store: self.superblock.store,
            epoch,
            disk: Arc::clone(&self.disk),
            spills: Arc::new(SpillSpace::new(Arc::clone(&self.disk))),
            meters: Arc::clone(&self.meters),
            watchdog: Arc::clone(&self.watchdog),
            watch_thread: Mutex::new(None),
            runtime: self.options.runtime.clone(),
            limits: self.limits.clone(),
            reader: reader_of(&log, cache, &errands, self.sorting_room()),
            errands,
            compression: self.options.compression,
            signals,
            record_reader: self.record_reader(&log),
            log,
            manifest: Arc::clone(&self.manifest),
            open_cursors: OpenCursors::default(),
            section_cursors: Mutex::default(),
            chunks,
            points: Arc::default(),
            catalogue: CatalogueCell::shared(catalogue, catalogue_hold),
            catalogue_writer: Arc::default(),
            creations: Creations::default(),
            index_entries: AtomicI64::new(index_entries(databases.values())),
            databases: Mutex::new(databases),
            records: Arc::new(RecordLogs::new(record_logs, holds)),
            callbacks: Callbacks::new(&self.options.runtime.spawn, &self.limits),
            damaged,
            findings: findings.into_iter().chain(found).collect(),
            closed: Mutex::new(closed),
            lifecycle: Lifecycle::new(),
            retention_clock: RetentionClock::new(self.options.runtime.clock.as_ref()),
            housekeeper: Housekeeper::default(),
            guards: Guards::new(&self.limits),
            releasing: Mutex::new(()),
            backing_up: BackingUp::default(),
            checkpointing: Mutex::new(()),
            reclaim: Reclaim::default(),
            commit_ids: AtomicU64::new(1),
            next_chunk: AtomicU64::new(rows.watermarks().next_chunk.get()),
            images: ImageMakers::default(),
            index_shrunk: (Mutex::new(()), Condvar::new()),
            lock: Mutex::new(Some(lock)),
        });
        Ok((engine, unused))
    }

    fn chunks(&self) -> ChunkSet {
        let (disk, open_max) = (Arc::clone(&self.disk), self.limits.chunks_open_max);
        ChunkSet::new(disk, self.superblock.store, open_max)
    }

    /// Where a checkpoint sorts. Its file is no longer than the log, and chunks take no more than twice as much.
    fn sorting_room(&self) -> SortingRoom {
        SortingRoom {
            disk: Arc::clone(&self.disk),
            free_bytes_min: self.limits.log_bytes_max.saturating_mul(4),
        }
    }

    /// The cache, and who fetches for it.
    fn cache(&self) -> (Arc<PageCache>, Arc<Errands>) {
        let errands = Errands::new(Arc::clone(&self.options.runtime.spawn), ERRANDS_MAX);
        let cache = PageCache::new(self.limits.cache_bytes_max);
        (Arc::new(cache.fetching_by(&errands)), errands)
    }

    fn record_reader(&self, log: &Log) -> RecordReader {
        let (ring, unwritten) = (log.ring(), Arc::clone(log.unwritten()));
        let recent = Arc::new(RecentPayloads::new(self.limits.record_cache_bytes_max));
        RecordReader::new(Arc::clone(ring), unwritten, recent)
    }
}

fn reader_of(
    log: &Log,
    cache: Arc<PageCache>,
    errands: &Arc<Errands>,
    room: SortingRoom,
) -> PageReader {
    let (ring, unwritten) = (Arc::clone(log.ring()), Arc::clone(log.unwritten()));
    PageReader::new(
        ring,
        unwritten,
        Arc::clone(log.kept()),
        cache,
        errands,
        room,
    )
}

fn index_entries<'s>(states: impl Iterator<Item = &'s Arc<DbState>>) -> i64 {
    let entries: usize = states.map(|state| state.view().index_entries()).sum();
    i64::try_from(entries).unwrap_or(i64::MAX)
}

/// The run-time states of databases with commits that no checkpoint covers.
fn states_of(views: BTreeMap<DbId, View>, catalogue: &Catalogue) -> IdMap<DbId, Arc<DbState>> {
    let states = views.into_iter().filter_map(|(id, view)| {
        let entry = catalogue.entry(id)?;
        let state = DbState::new(entry.name.as_str(), view);
        Some((id, Arc::new(state.with_quota(entry.policy.quota_bytes))))
    });
    states.collect()
}
