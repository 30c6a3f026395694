//! The chunks that views read from: opened when first needed, removed when last needed.
//!
//! Invariants
//! - a chunk that a view names stays on disk, also when the manifest has forgotten it: the view
//!   holds a [`ChunkFile`], and a doomed file is removed with the last one;
//! - a chunk is opened at most once at a time, and only so many are open: whoever needs another one
//!   closes one that was not read for long. Its index is read anew then.
//!
//! Never: writes a chunk.

use crate::cache::value_or_guard;
use crate::error::ReadError;
use crate::ids::{ChunkId, IdMap, StoreId};
use crate::io::{Disk, layout};
use crate::manifest::ChunkRow;
use crate::pagestore::{ChunkDigest, ChunkIdentity, ChunkReader};
use crate::runtime::sync::Mutex;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// All chunks that are in use.
#[derive(Clone, Debug)]
pub(crate) struct ChunkSet {
    disk: Arc<dyn Disk>,
    store: StoreId,
    files: Arc<Mutex<IdMap<ChunkId, Weak<ChunkFile>>>>,
    open: Arc<OpenChunks>,
    doomed: Arc<AtomicU64>,
}

/// Chunks that are open, with as much of their indexes as was needed.
type OpenChunks = Cache<ChunkId, Arc<ChunkReader>>;

/// One chunk, for as long as anybody may read it.
#[derive(Debug)]
pub(crate) struct ChunkFile {
    disk: Arc<dyn Disk>,
    store: StoreId,
    id: ChunkId,
    /// What the manifest says of it.
    identity: ChunkIdentity,
    open: Arc<OpenChunks>,
    doomed: AtomicBool,
}

impl ChunkSet {
    /// At most `open_max` chunks are open at a time.
    pub(crate) fn new(disk: Arc<dyn Disk>, store: StoreId, open_max: usize) -> Self {
        Self {
            disk,
            store,
            files: Arc::default(),
            open: Arc::new(Cache::new(open_max)),
            doomed: Arc::default(),
        }
    }

    /// The chunk, without opening it.
    pub(crate) fn file(&self, id: ChunkId, row: &ChunkRow) -> Arc<ChunkFile> {
        let mut files = self.files.lock();
        if let Some(file) = files.get(&id).and_then(Weak::upgrade) {
            return file;
        }
        files.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(ChunkFile {
            disk: Arc::clone(&self.disk),
            store: self.store,
            id,
            identity: ChunkIdentity {
                bytes: row.file_bytes,
                digest: ChunkDigest::from_bytes(row.digest.to_le_bytes()),
            },
            open: Arc::clone(&self.open),
            doomed: AtomicBool::new(false),
        });
        files.insert(id, Arc::downgrade(&file));
        file
    }

    /// How often a chunk was doomed. Who has rows, names the files in them and finds the same number as
    /// before has files that are there.
    pub(crate) fn doomed(&self) -> u64 {
        self.doomed.load(Ordering::Acquire)
    }

    /// The manifest has forgotten the chunk: its file goes when nobody reads it any more.
    pub(crate) fn doom(&self, id: ChunkId, row: &ChunkRow) {
        // First: whoever names it from now on looks again.
        self.doomed.fetch_add(1, Ordering::AcqRel);
        self.file(id, row).doomed.store(true, Ordering::Release);
    }
}

impl ChunkFile {
    /// The chunk.
    pub(crate) fn id(&self) -> ChunkId {
        self.id
    }

    /// The open chunk, if it is open; opens nothing.
    pub(crate) fn if_open(&self) -> Option<Arc<ChunkReader>> {
        self.open.get(&self.id)
    }

    /// The open chunk.
    pub(crate) fn reader(&self) -> Result<Arc<ChunkReader>, ReadError> {
        value_or_guard(&self.open, &self.id).or_else(|guard| {
            let (disk, identity) = (self.disk.as_ref(), Some(&self.identity));
            let reader = ChunkReader::open(disk, self.store, self.id, identity).map(Arc::new)?;
            // Refused only when somebody else has put one there: both read the same file.
            drop(guard.insert(Arc::clone(&reader)));
            Ok(reader)
        })
    }
}

impl Drop for ChunkFile {
    fn drop(&mut self) {
        self.open.remove(&self.id);
        if self.doomed.load(Ordering::Acquire)
            && let Err(failure) = self.disk.remove(&layout::chunk(self.id))
        {
            tracing::warn!(%failure, "a dead chunk stays until the next open");
        }
    }
}
