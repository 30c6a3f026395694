//! The damaged store: its rows, as its manifest has them or as a repair would make them, its chunks, and
//! which segments there are.
//!
//! ```text
//! lock -> superblock -> the manifest is sound ------------------------------> its rows
//!                         '-- damaged, lost, older than the log --> the rows that a repair would write
//! ```
//! Invariants
//! - the store is locked for as long as this lives, and nothing of it is written;
//! - a manifest of a newer program is no damage: it is refused.
//!
//! Never: replays the log.

use super::super::bases::{Bases, checkpointed_head};
use super::super::chunk_base::ChunkBase;
use super::super::chunks::ChunkSet;
use super::super::open::LockedStore;
use super::super::options::Options;
use super::super::repair::{Evidence, ProvedState, is_newer, sound_rows};
use crate::cache::PageCache;
use crate::catalogue::Catalogue;
use crate::checkpoint::Ranges;
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::{DbId, DbKind, Lsn, StoreId};
use crate::io::{Disk, DiskFile, IoFailure, OpenMode, ReadOnlyDisk, StoreLock, layout};
use crate::limits::ValidLimits;
use crate::log::RegisteredSegment;
use crate::manifest::{Manifest, ManifestState, ManifestStore, MemoryManifest};
use crate::runtime::Runtime;
use crate::view::{BasePages, Head, NoBase, View};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a database stands on below its commits in the log.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// What rows and catalogue say: its chunks, and of a fork the state that it was made of, which the log alone may have.
    Own(Head),
    /// A state that chunks prove, whatever the rows say; or none at all.
    Proved(Head, Arc<dyn BasePages>),
}

impl Base {
    /// Before the first commit of a database that is no fork.
    pub(super) fn none() -> Self {
        Self::Proved(Head::EMPTY, Arc::new(NoBase))
    }

    pub(super) fn head(&self) -> &Head {
        match self {
            Self::Own(head) | Self::Proved(head, _) => head,
        }
    }
}

/// A store that is read.
pub(super) struct Source {
    pub(super) store: StoreId,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) limits: ValidLimits,
    pub(super) rows: ManifestState,
    /// As far as the rows reflect it.
    pub(super) catalogue: Catalogue,
    /// Why the rows are not those of the manifest, if so.
    pub(super) manifest_damage: Option<String>,
    pub(super) runtime: Runtime,
    pub(super) cache: Arc<PageCache>,
    chunks: ChunkSet,
    _lock: Box<dyn StoreLock>,
}

impl Source {
    /// # Errors
    /// The store is open elsewhere, is none, is a newer program's; its files cannot be read.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let options = options.clone().create(false);
        let locked = LockedStore::open(path, &options)?;
        let sound = sound_rows(path, &locked, &options);
        let LockedStore {
            disk,
            lock,
            store,
            limits,
        } = locked;
        let disk = only_read(disk);
        let (rows, manifest_damage) = match sound {
            Ok(rows) => (rows, None),
            Err(error) if is_newer(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the manifest is of no use: what chunks and log say is");
                let rows = rebuilt(&disk, store, &limits)?;
                (rows, Some(error.to_string()))
            }
        };
        Ok(Self {
            store,
            chunks: ChunkSet::new(Arc::clone(&disk), store, limits.chunks_open_max),
            cache: Arc::new(PageCache::new(limits.cache_bytes_max)),
            disk,
            limits,
            catalogue: Catalogue::from_rows(&rows),
            rows,
            manifest_damage,
            runtime: options.runtime,
            _lock: lock,
        })
    }

    /// What was recorded of the databases that are closed: why, and from where on they need the log.
    pub(super) fn closed(&self) -> BTreeMap<DbId, (Damage, Lsn)> {
        let closed = self.rows.closed().map(|(id, row)| {
            let found_again = || {
                let place = Place::Database { database: id };
                Damage::new(place, Reject::Recorded(row.reason.clone()))
            };
            (id, (row.damage(id).unwrap_or_else(found_again), row.from))
        });
        closed.collect()
    }

    /// What chunks and log say without the manifest.
    pub(super) fn evidence(&self) -> Result<Evidence<'_>, OpenError> {
        Evidence::find(&self.disk, self.store, &self.limits)
    }

    /// What the rows say that a database's chunks end with; of a fork without any, by this catalogue, what it was made of.
    pub(super) fn head(&self, id: DbId, catalogue: &Catalogue) -> Head {
        checkpointed_head(id, &self.rows, catalogue)
    }

    /// The state that rows and catalogue say that a database stands on. `in_log`: the pages of a point that is in the log.
    pub(super) fn own_view(
        &self,
        (id, kind): (DbId, DbKind),
        catalogue: &Catalogue,
        in_log: &dyn Fn(DbId, Lsn) -> Option<Arc<dyn BasePages>>,
    ) -> View {
        let bases = Bases {
            rows: &self.rows,
            catalogue,
            chunks: &self.chunks,
            cache: &self.cache,
            limits: &self.limits,
            in_log,
        };
        bases.view(id, kind)
    }

    /// A state that chunks prove.
    pub(super) fn base_of(&self, state: ProvedState) -> Base {
        let head = Head {
            lsn: state.head.lsn,
            time_us: state.head.time_us,
            page_size: state.page_size,
            page_count: state.head.page_count,
            rolling_checksum: state.head.rolling_checksum,
        };
        let Some(size) = state.page_size else {
            return Base::none();
        };
        let ranges = Ranges::new(self.limits.range_bytes, size);
        let (cache, generation) = (Arc::clone(&self.cache), state.head.generation);
        let chains = state.chains.iter().map(|(range, row)| (*range, row));
        let chunk_row = |chunk| state.chunks.get(&chunk).copied();
        let chunks = &self.chunks;
        let base = ChunkBase::of_chains(generation, ranges, chains, chunk_row, chunks, cache);
        Base::Proved(head, Arc::new(base))
    }

    /// The segments of the log.
    pub(super) fn segments(&self) -> Vec<RegisteredSegment> {
        let registered = self.rows.segments().map(|(id, row)| RegisteredSegment {
            id,
            incarnation: row.incarnation,
            capacity_bytes: row.capacity_bytes,
        });
        registered.collect()
    }

    /// The segments that hold anything from `from` on: those that were set aside, and the log's.
    pub(super) fn segments_from(&self, from: Lsn) -> Vec<RegisteredSegment> {
        let aside: Vec<_> = self.rows.salvage().collect();
        // They start in the order of their ids; what starts later is the log's or theirs.
        let first = aside
            .iter()
            .filter(|(_, row)| row.base <= from)
            .map(|(id, _)| *id);
        let first = first.max();
        let needed = aside
            .iter()
            .filter(|(id, _)| first.is_none_or(|first| first <= *id));
        let needed = needed.map(|(id, row)| RegisteredSegment {
            id: *id,
            incarnation: row.incarnation,
            capacity_bytes: row.capacity_bytes,
        });
        let mut all = self.segments();
        all.extend(needed);
        all.sort_by_key(|segment| segment.id);
        all.dedup_by_key(|segment| segment.id);
        all
    }

    /// Where the oldest part of the log starts that is left, set aside or not.
    pub(super) fn oldest(&self) -> Lsn {
        let aside = self.rows.salvage().map(|(_, row)| row.base).min();
        let truncated = self.rows.watermarks().truncated;
        aside.map_or(truncated, |aside| aside.min(truncated))
    }
}

/// The files of the damaged store, to be read and nothing else: segments that were set aside are found
/// where the log would have them.
fn only_read(disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
    let from = Arc::clone(&disk);
    let find = move |path: &Path| -> Result<Arc<dyn DiskFile>, IoFailure> {
        let opened = from.open(path, OpenMode::Read);
        let Err(failure) = opened else {
            return opened;
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let segment = name.and_then(layout::segment_of);
        match segment.filter(|id| layout::segment(*id) == path && failure.is_not_found()) {
            Some(id) => {
                let aside = from.open(&layout::damaged(id), OpenMode::Read);
                aside.map_err(|_| failure)
            }
            None => Err(failure),
        }
    };
    ReadOnlyDisk::new(disk, find)
}

/// The rows that a repair would write.
fn rebuilt(
    disk: &Arc<dyn Disk>,
    store: StoreId,
    limits: &ValidLimits,
) -> Result<ManifestState, OpenError> {
    let rows = Evidence::find(disk, store, limits)?.rows()?;
    let memory = MemoryManifest::new();
    memory.commit(&rows)?;
    Ok(Manifest::open(Arc::new(memory), store)?.state())
}
