//! What an open store consists of. All handles share one [`OpenStore`].
//!
//! Owns: the log, the catalogue, the manifest, the run-time state of each database in use, and the
//! store's lock.
//!
//! Invariants
//! - a database has at most one [`DbState`] at a time;
//! - `catalogue` is changed only by publishing a catalogue record, or by recovery.
//!
//! Never: held by a worker thread longer than one piece of work.

use super::callbacks::Callbacks;
use super::checkpoint_catalogue::SectionCursors;
use super::chunks::ChunkSet;
use super::creation::Creations;
use super::cursor::OpenCursors;
use super::dropped::RetentionClock;
use super::guards::Guards;
use super::housekeeper::Housekeeper;
use super::images::ImageMakers;
use super::lifecycle::Lifecycle;
use super::points::HeldPoints;
use super::reader::PageReader;
use super::release::BackingUp;
use super::rewrite_chunks::Reclaim;
use super::signals::Signals;
use super::slot::WriterSlot;
use super::spill::SpillSpace;
use super::state::DbState;
use crate::catalogue::Catalogue;
use crate::error::{Damage, ReadError, Rejection};
use crate::ids::{CommitId, DbId, Epoch, IdMap, StoreId};
use crate::io::{Disk, StoreLock, WatchThread, Watchdog};
use crate::limits::ValidLimits;
use crate::log::{Log, LogHold};
use crate::manifest::{ClosedRow, Manifest};
use crate::meters::StoreMeters;
use crate::pagestore::Compression;
use crate::recordlog::{RecordLogs, RecordReader};
use crate::runtime::sync::{Condvar, Mutex, now};
use crate::runtime::{Errands, Runtime, after};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The catalogue, and what keeps its records in the log until a checkpoint has them.
#[derive(Debug)]
pub(super) struct CatalogueCell {
    /// The names and databases.
    pub(super) catalogue: Catalogue,
    /// Held while there are records that no checkpoint covers.
    pub(super) hold: Option<Arc<LogHold>>,
    /// Dropped or given up, and not taken out of use yet.
    pub(super) dropped: Vec<DbId>,
}

impl CatalogueCell {
    /// The catalogue that opening has found.
    pub(super) fn shared(catalogue: Catalogue, hold: Option<Arc<LogHold>>) -> Arc<Mutex<Self>> {
        let dropped = Vec::new();
        Arc::new(Mutex::new(Self {
            catalogue,
            hold,
            dropped,
        }))
    }
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) path: PathBuf,
    pub(super) store: StoreId,
    pub(super) epoch: Epoch,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) spills: Arc<SpillSpace>,
    /// What is measured.
    pub(super) meters: Arc<StoreMeters>,
    /// Watches the calls of `disk`.
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) watch_thread: Mutex<Option<WatchThread>>,
    pub(super) runtime: Runtime,
    /// Read ahead and write behind for whoever reads and writes much.
    pub(super) errands: Arc<Errands>,
    pub(super) compression: Compression,
    pub(super) limits: ValidLimits,
    pub(super) log: Log,
    pub(super) reader: PageReader,
    pub(super) manifest: Arc<Manifest>,
    pub(super) open_cursors: OpenCursors,
    /// The cursors as the newest section of the catalogue has them.
    pub(super) section_cursors: Mutex<SectionCursors>,
    pub(super) chunks: ChunkSet,
    /// States in the log that snapshots and forks need.
    pub(super) points: Arc<HeldPoints>,
    pub(super) catalogue: Arc<Mutex<CatalogueCell>>,
    /// Held from the plan of a catalogue record to its publication.
    pub(super) catalogue_writer: Arc<WriterSlot>,
    /// Who waits for a database to be created.
    pub(super) creations: Creations,
    pub(super) databases: Mutex<IdMap<DbId, Arc<DbState>>>,
    /// The record logs; they have no [`DbState`].
    pub(super) records: Arc<RecordLogs>,
    pub(super) record_reader: RecordReader,
    /// Calls back those who appended and did not wait.
    pub(super) callbacks: Callbacks,
    /// Damage that closes a database, found at open. Never shrinks.
    pub(super) damaged: BTreeMap<DbId, Damage>,
    /// Damage that closes no database, found at open.
    pub(super) findings: Vec<Damage>,
    /// Databases, perhaps the catalogue, that are closed or will be, and what of the log they need.
    pub(super) closed: Mutex<BTreeMap<DbId, ClosedRow>>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) retention_clock: RetentionClock,
    pub(super) signals: Arc<Signals>,
    pub(super) housekeeper: Housekeeper,
    pub(super) guards: Guards,
    /// Held while segments are chosen and released, and while a cursor over commits is opened.
    pub(super) releasing: Mutex<()>,
    pub(super) backing_up: BackingUp,
    /// Held while a checkpoint runs.
    pub(super) checkpointing: Mutex<()>,
    pub(super) reclaim: Reclaim,
    pub(super) commit_ids: AtomicU64,
    pub(super) next_chunk: AtomicU64,
    pub(super) images: ImageMakers,
    pub(super) index_entries: AtomicI64,
    pub(super) index_shrunk: (Mutex<()>, Condvar),
    pub(super) lock: Mutex<Option<Box<dyn StoreLock>>>,
}

impl Engine {
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn limits(&self) -> &ValidLimits {
        &self.limits
    }

    pub(super) fn reader(&self) -> &PageReader {
        &self.reader
    }

    pub(super) fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.lifecycle
    }

    /// Refuses when the store is closed.
    pub(super) fn check_open(&self) -> Result<(), ReadError> {
        if self.lifecycle.is_closed() {
            Err(ReadError::Closed)
        } else {
            Ok(())
        }
    }

    /// A number that no other chain of fragments of this store has: epochs never repeat.
    pub(super) fn next_commit_id(&self) -> CommitId {
        let count = self.commit_ids.fetch_add(1, Ordering::Relaxed);
        CommitId::new((self.epoch.get() << 32) | (count & 0xffff_ffff))
    }

    /// Counts index entries that a publication added (or took away, when negative).
    pub(super) fn count_index_entries(&self, added: i64) {
        let before = self.index_entries.fetch_add(added, Ordering::Relaxed);
        let half = self.index_entries_max() / 2;
        if before < half && half <= before + added {
            self.signals.want_checkpoint();
        }
        if added < 0 {
            let _shrunk = self.index_shrunk.0.lock();
            self.index_shrunk.1.notify_all();
        }
    }

    /// Waits until the page index of the store has room, which a checkpoint makes.
    pub(super) fn wait_for_index_room(&self) -> Result<(), Rejection> {
        let full = || self.index_entries.load(Ordering::Relaxed) >= self.index_entries_max();
        if !full() {
            return Ok(());
        }
        let waited = self.limits.writer_wait;
        let deadline = after(now(), waited);
        let mut shrunk = self.index_shrunk.0.lock();
        while full() {
            // Asked for again when the last one was not enough.
            self.signals.want_checkpoint();
            if self
                .index_shrunk
                .1
                .wait_until(&mut shrunk, deadline)
                .timed_out()
                && full()
            {
                return Err(Rejection::Timeout { waited });
            }
        }
        Ok(())
    }

    /// Whether three quarters of that room are taken.
    pub(super) fn index_is_filling(&self) -> bool {
        self.index_entries.load(Ordering::Relaxed) >= self.index_entries_max() / 4 * 3
    }

    fn index_entries_max(&self) -> i64 {
        i64::try_from(self.limits.index_entries_max).unwrap_or(i64::MAX)
    }

    /// Refuses a chain of fragments that the device has no room for: a begun chain is exempt from
    /// the log's cap, so it is all of it or none.
    pub(super) fn reserve_for_chain(&self, bytes: u64) -> Result<(), Rejection> {
        // Headers, block padding and segment tails cost well below a quarter. Segments are made
        // twice as large as the last one at most, and spares come on top.
        let spares = u64::from(self.limits.segments_spare_min) + 1;
        let next = 2 * self.log.spares().next_capacity_bytes();
        let next = next.min(self.limits.segment_bytes_max);
        let log = bytes + bytes / 4 + spares * next;
        let needed = log + self.log.spares().reserve_bytes_for_log(log);
        let free = self
            .disk
            .free_bytes()
            .map_err(|failure| Rejection::Read(failure.into()))?;
        if free < needed {
            Err(Rejection::OutOfSpace { needed })
        } else {
            Ok(())
        }
    }

    /// The databases in use.
    pub(super) fn states(&self) -> Vec<Arc<DbState>> {
        self.databases.lock().values().cloned().collect()
    }

    /// The state of a database in use.
    pub(super) fn state_of(&self, id: DbId) -> Option<Arc<DbState>> {
        self.databases.lock().get(&id).cloned()
    }
}

/// What all handles of users share: the engine, closed when the last of them is gone. The
/// housekeeper and the log's leader hold the [`Engine`] alone, so a drop never happens on their
/// threads, and the store is closed when the user's drop returns.
#[derive(Debug)]
pub(crate) struct OpenStore(Arc<Engine>);

impl OpenStore {
    pub(super) fn new(engine: Arc<Engine>) -> Arc<Self> {
        Arc::new(Self(engine))
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.0
    }
}

impl std::ops::Deref for OpenStore {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

/// How long a drop waits for what is inside: only the kernel can be, since transactions hold the
/// store open.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

impl Drop for OpenStore {
    fn drop(&mut self) {
        if let Err(error) = self.0.close(DROP_DEADLINE) {
            let path = self.0.path.display();
            tracing::warn!(%error, %path, "a dropped store did not close cleanly");
        }
    }
}
