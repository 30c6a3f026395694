//! Opening a store.
//!
//! ```text
//! lock -> superblock -> manifest -> recovery (reads only) -> spares -> first write of the epoch
//!   -> leftovers of earlier runs removed -> housekeeper -> serve
//! ```
//! Invariants
//! - nothing of an existing store is written before the first write of the new epoch, but for
//!   spares when there are none: a crash during recovery changes nothing;
//! - a directory that is not a store, or a store of another version, is not touched.
//!
//! Never: opens a database (that happens when it is used).

use super::chunks::ChunkSet;
use super::engine::{CatalogueCell, Engine};
use super::housekeeper::{Housekeeper, Housekeeping};
use super::leftovers::{forget_unused, sweep_leftovers, unused_segments};
use super::lifecycle::Lifecycle;
use super::options::Options;
use super::reader::PageReader;
use super::registry::ManifestRegistry;
use super::replay::Replay;
use super::signals::Signals;
use super::state::DbState;
use crate::cache::PageCache;
use crate::catalogue::{Catalogue, DatabaseState};
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{DbId, Epoch, SegmentId, StoreId};
use crate::io::{Disk, IoFailure, NativeDisk, OpenMode, StoreLock, layout};
use crate::limits::ValidLimits;
use crate::log::format::SegmentIdentity;
use crate::log::recover::Recovered;
use crate::log::{
    Checkpointed, HoldReason, Log, LogEnd, LogHolds, LogParts, LogSegment, LogStart, LogState,
    RegisteredSegment, Ring, SealedSegment, SpareMaker, SpareSegment, recover,
};
use crate::manifest::{LmdbManifest, Manifest, ManifestState, Table};
use crate::runtime::Runtime;
use crate::superblock::Superblock;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

/// Lsns that may have been given out for a segment that never became durable: after an unclean
/// stop the next base lies this far behind everything that was seen.
const UNCLEAN_GAP_BYTES: u64 = 128 << 20;

/// Opens a store.
pub(super) fn open(path: &Path, options: Options) -> Result<Arc<Engine>, OpenError> {
    let _span = tracing::info_span!("open", path = %path.display()).entered();
    let limits = options.limits.clone().validated()?;
    let disk = open_disk(path, &options)?;
    let lock = disk.lock().map_err(|failure| OpenError::Locked {
        path: path.into(),
        failure,
    })?;
    let (superblock, found) = superblock(path, disk.as_ref(), &options)?;
    let manifest = Arc::new(open_manifest(
        path,
        &disk,
        superblock.store,
        &limits,
        &options,
    )?);
    for dir in [layout::LOG_DIR, layout::CHUNK_DIR, layout::SCRATCH_DIR] {
        disk.create_dir(Path::new(dir))?;
    }
    let parts = Parts {
        path,
        disk,
        limits,
        manifest,
        superblock,
        options,
    };
    let (engine, unused) = parts.recover_and_start(lock, found)?;
    forget_unused(&engine, &unused);
    sweep_leftovers(&engine);
    if parts.options.housekeeping == Housekeeping::Background {
        let (spawn, signals) = (
            Arc::clone(&engine.runtime.spawn),
            Arc::clone(&engine.signals),
        );
        engine
            .housekeeper
            .start(spawn.as_ref(), signals, Arc::downgrade(&engine))
            .map_err(|source| OpenError::System {
                what: "a thread",
                source: Arc::new(source),
            })?;
    }
    Ok(engine)
}

fn open_disk(path: &Path, options: &Options) -> Result<Arc<dyn Disk>, OpenError> {
    if let Some(disk) = &options.disk {
        return Ok(Arc::clone(disk));
    }
    match NativeDisk::open(path, options.create, options.backend) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(failure) if failure.is_not_found() => Err(OpenError::NotFound { path: path.into() }),
        Err(failure) => Err(failure.into()),
    }
}

/// The store's superblock, made when the directory is empty and that is wanted; and what was found
/// damaged beside it.
fn superblock(
    path: &Path,
    disk: &dyn Disk,
    options: &Options,
) -> Result<(Superblock, Option<Damage>), OpenError> {
    if let Some(found) = Superblock::read(disk)? {
        return Ok((found.superblock, found.damaged_slot));
    }
    let ours = [layout::LOCK, layout::SCRATCH_DIR];
    let entries = disk.list(Path::new(""))?;
    let strangers = entries
        .iter()
        .filter(|entry| !ours.contains(&entry.name.as_str()))
        .count();
    let has_log = entries.iter().any(|entry| entry.name == layout::LOG_DIR);
    if has_log {
        let place = Place::File(layout::SUPERBLOCK.into());
        return Err(Damage::new(place, Reject::Missing).into());
    }
    if strangers > 0 {
        return Err(OpenError::NotAStore { path: path.into() });
    }
    if !options.create {
        return Err(OpenError::NotFound { path: path.into() });
    }
    let mut id = [0; 16];
    let entropy = options.runtime.entropy.fill(&mut id);
    entropy.map_err(|source| OpenError::System {
        what: "random bytes",
        source: Arc::new(source),
    })?;
    let superblock = Superblock::new(StoreId::new(id), options.runtime.clock.wall_us());
    superblock.create(disk)?;
    Ok((superblock, None))
}

/// The manifest. A store that has a superblock and nothing else was interrupted while it was made:
/// its manifest is made now.
fn open_manifest(
    path: &Path,
    disk: &Arc<dyn Disk>,
    store: StoreId,
    limits: &ValidLimits,
    options: &Options,
) -> Result<Manifest, OpenError> {
    let unfinished = || -> Result<bool, OpenError> {
        let names = disk.list(Path::new(""))?;
        let has = |dir| names.iter().any(|entry| entry.name == dir);
        let log_is_empty =
            !has(layout::LOG_DIR) || disk.list(Path::new(layout::LOG_DIR))?.is_empty();
        Ok(log_is_empty)
    };
    if let Some(given) = &options.manifest {
        if given.scan(Table::Meta, &[], 1)?.is_empty() && unfinished()? {
            return Ok(Manifest::initialize(Arc::clone(given), store)?);
        }
        return Ok(Manifest::open(Arc::clone(given), store)?);
    }
    let lmdb = if !LmdbManifest::exists(path)? && unfinished()? {
        LmdbManifest::create(path, limits, &Manifest::initial_writes(store)?)?
    } else {
        LmdbManifest::open(path, limits)?
    };
    Ok(Manifest::open(Arc::new(lmdb), store)?)
}

/// What opening has in hand before recovery.
struct Parts<'a> {
    path: &'a Path,
    disk: Arc<dyn Disk>,
    limits: ValidLimits,
    manifest: Arc<Manifest>,
    superblock: Superblock,
    options: Options,
}

impl Parts<'_> {
    fn recover_and_start(
        &self,
        lock: Box<dyn StoreLock>,
        found: Option<Damage>,
    ) -> Result<(Arc<Engine>, Vec<SegmentId>), OpenError> {
        let _span = tracing::info_span!("recovery").entered();
        let rows = self.manifest.state();
        let store = self.superblock.store;
        let cache = Arc::new(PageCache::new(self.limits.cache_bytes_max));
        let chunks = ChunkSet::new(Arc::clone(&self.disk), store);
        let holds = LogHolds::new();
        let mut replay = Replay {
            rows: &rows,
            chunks: &chunks,
            cache: &cache,
            limits: &self.limits,
            holds: &holds,
            catalogue: Catalogue::from_rows(&rows),
            catalogue_hold: None,
            views: BTreeMap::new(),
            damaged: BTreeMap::new(),
        };
        let recovered = self.recover(&rows, &mut replay)?;
        let Replay {
            mut catalogue,
            catalogue_hold,
            mut views,
            mut damaged,
            ..
        } = replay;
        damaged.extend(
            rows.damaged()
                .databases
                .iter()
                .map(|(id, why)| (*id, why.clone())),
        );
        damaged.extend(recovered.damaged.iter().map(|(id, why)| (*id, why.clone())));
        if let Some(damage) = damaged.remove(&DbId::CATALOGUE) {
            catalogue.set_damaged(damage);
        }
        // A dropped one has nothing left to lose: it must not hold the log.
        let is_live = |id| {
            let entry = catalogue.entry(id);
            entry.is_some_and(|entry| entry.state == DatabaseState::Live)
        };
        damaged.retain(|id, _| is_live(*id));
        views.retain(|id, _| !damaged.contains_key(id));
        let mut findings = recovered.findings.clone();
        findings.extend(found);
        let damage_holds = damage_holds(&holds, &damaged, &catalogue, &rows);
        let unused = unused_segments(&recovered);
        let log = self.start_log(recovered, &rows, &holds)?;
        let epoch = log.epoch;
        let states = views.into_iter().filter_map(|(id, view)| {
            let name = catalogue.entry(id)?.name.to_string();
            Some((id, Arc::new(DbState::new(&name, view))))
        });
        let databases: HashMap<DbId, Arc<DbState>> = states.collect();
        let entries: usize = databases
            .values()
            .map(|state| state.view().index_entries())
            .sum();
        let next_chunk = rows.watermarks().next_chunk.get();
        let engine = Arc::new(Engine {
            path: self.path.to_owned(),
            store,
            epoch,
            disk: Arc::clone(&self.disk),
            runtime: self.options.runtime.clone(),
            limits: self.limits.clone(),
            reader: PageReader::new(Arc::clone(log.log.ring()), cache),
            signals: log.signals,
            log: log.log,
            manifest: Arc::clone(&self.manifest),
            chunks,
            catalogue: Arc::new(Mutex::new(CatalogueCell {
                catalogue,
                hold: catalogue_hold,
            })),
            catalogue_writer: Mutex::new(()),
            databases: Mutex::new(databases),
            damaged,
            findings,
            _damage_holds: damage_holds,
            lifecycle: Lifecycle::new(),
            housekeeper: Housekeeper::default(),
            checkpointing: Mutex::new(()),
            commit_ids: AtomicU64::new(1),
            next_chunk: AtomicU64::new(next_chunk),
            index_entries: AtomicI64::new(i64::try_from(entries).unwrap_or(i64::MAX)),
            index_shrunk: (Mutex::new(()), Condvar::new()),
            lock: Mutex::new(Some(lock)),
        });
        Ok((engine, unused))
    }

    fn recover(
        &self,
        rows: &ManifestState,
        replay: &mut Replay<'_>,
    ) -> Result<Recovered, OpenError> {
        let segments: Vec<_> = rows
            .segments()
            .map(|(id, row)| RegisteredSegment {
                id,
                incarnation: row.incarnation,
                capacity_bytes: row.capacity_bytes,
            })
            .collect();
        let covered = rows.watermarks().checkpointed;
        let checkpointed: BTreeMap<DbId, Checkpointed> = rows
            .databases()
            .map(|(id, row)| {
                (
                    id,
                    Checkpointed {
                        head: row.checkpointed.lsn,
                        covered,
                    },
                )
            })
            .collect();
        let state = LogState {
            store: self.superblock.store,
            segments: &segments,
            truncated: rows.watermarks().truncated,
            catalogue: Checkpointed::at(rows.watermarks().catalogue),
            checkpointed: &checkpointed,
        };
        recover(self.disk.as_ref(), &state, replay)
    }

    /// The segments that recovery found, with their files open.
    fn ring(&self, recovered: &Recovered, rows: &ManifestState) -> Result<Ring, OpenError> {
        let file = |id| self.disk.open(&layout::segment(id), OpenMode::Write);
        let segment = |identity: &SegmentIdentity, base, capacity_bytes| {
            Ok::<_, IoFailure>(Arc::new(LogSegment {
                id: identity.segment,
                incarnation: identity.incarnation,
                base,
                capacity_bytes,
                file: file(identity.segment)?,
            }))
        };
        let sealed = recovered
            .sealed
            .iter()
            .map(|found| {
                let segment = segment(&found.identity, found.base, found.capacity_bytes)?;
                Ok(SealedSegment {
                    segment,
                    end: found.end,
                })
            })
            .collect::<Result<Vec<_>, IoFailure>>()?;
        let active = recovered.active.as_ref();
        let active = active
            .map(|found| segment(&found.identity, found.base, found.capacity_bytes))
            .transpose()?;
        let spares = recovered
            .spares
            .iter()
            .map(|found| {
                let RegisteredSegment {
                    id,
                    incarnation,
                    capacity_bytes,
                } = *found;
                Ok(SpareSegment {
                    id,
                    incarnation,
                    capacity_bytes,
                    file: file(id)?,
                })
            })
            .collect::<Result<Vec<_>, IoFailure>>()?;
        let largest = rows.watermarks().next_segment.get().saturating_sub(1);
        Ok(Ring::new(sealed, active, spares, SegmentId::new(largest)))
    }

    fn start_log(
        &self,
        recovered: Recovered,
        rows: &ManifestState,
        holds: &Arc<LogHolds>,
    ) -> Result<StartedLog, OpenError> {
        let start = log_start(&recovered)?;
        let (epoch, clean) = (start.position.epoch, start.goes_on);
        let ring = Arc::new(self.ring(&recovered, rows)?);
        let Runtime { clock, entropy, .. } = self.options.runtime.clone();
        let registry = Arc::new(ManifestRegistry(Arc::clone(&self.manifest)));
        let (disk, limits) = (Arc::clone(&self.disk), self.limits.clone());
        let store = self.superblock.store;
        let spares = Arc::new(SpareMaker::new(
            disk,
            store,
            entropy,
            registry,
            Arc::clone(&ring),
            limits,
        ));
        let wanted = self.limits.segments_spare_min as usize;
        // One more than wanted when an activation is to come, so that it costs no second round.
        let wanted = if clean { wanted } else { wanted + 1 };
        if let Err(error) = spares.ensure(wanted) {
            tracing::warn!(%error, "spare segments are missing");
        }
        let signals = Arc::new(Signals::new(self.limits.idle_note_delay));
        let parts = LogParts {
            store,
            ring,
            spares,
            holds: Arc::clone(holds),
            clock,
            limits: self.limits.clone(),
            events: Arc::clone(&signals) as _,
        };
        let log = Log::start(parts, start).map_err(|error| OpenError::Start(Box::new(error)))?;
        Ok(StartedLog {
            log,
            signals,
            epoch,
        })
    }
}

struct StartedLog {
    log: Log,
    signals: Arc<Signals>,
    epoch: Epoch,
}

/// Where the log goes on: behind a close record in the same segment, else in a new one whose Lsns
/// lie behind all that can ever have been given out.
fn log_start(recovered: &Recovered) -> Result<LogStart, OpenError> {
    let exhausted = |what| {
        let place = Place::File(layout::LOG_DIR.into());
        OpenError::Damaged(Damage::new(place, Reject::Invalid(what)))
    };
    let epoch = recovered
        .max_epoch
        .next()
        .ok_or_else(|| exhausted("all epochs are used up"))?;
    let goes_on = recovered.clean && recovered.active.is_some();
    let base = if goes_on {
        Some(recovered.end)
    } else if recovered.active.is_none() {
        Some(recovered.highest_possible_end)
    } else {
        recovered.highest_possible_end.advance(UNCLEAN_GAP_BYTES)
    };
    let position = LogEnd {
        end: recovered.end,
        segment: recovered.active.map(|active| active.identity.segment),
        chain_hash: recovered
            .active
            .map(|active| active.chain)
            .unwrap_or_default(),
        last_time_us: recovered.last_time_us,
        epoch,
    };
    let base = base.ok_or_else(|| exhausted("all positions of the log are used up"))?;
    Ok(LogStart {
        position,
        base,
        goes_on,
    })
}

/// Keep the log from where the closed databases' damage may start.
fn damage_holds(
    holds: &Arc<LogHolds>,
    damaged: &BTreeMap<DbId, Damage>,
    catalogue: &Catalogue,
    rows: &ManifestState,
) -> Vec<Arc<crate::log::LogHold>> {
    let from = rows.watermarks().truncated;
    let closed = damaged
        .keys()
        .map(|id| holds.hold(from, HoldReason::Pages(*id)));
    let names = catalogue
        .damage()
        .map(|_| holds.hold(from, HoldReason::Catalogue));
    closed.chain(names).collect()
}
