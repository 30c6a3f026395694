//! The chunks that views read from: opened when first needed, removed when last needed.
//!
//! Invariants
//! - a chunk that a view names stays on disk, also when the manifest has forgotten it: the view
//!   holds a [`ChunkFile`], and a doomed file is removed with the last one;
//! - a chunk is opened at most once at a time, and only so many are open: whoever needs another one
//!   closes one that was not read for long. Its index is read anew then.
//!
//! Never: writes a chunk.

use crate::cache::{ChunkPlace, PageCache};
use crate::checkpoint::{RangeNo, Ranges};
use crate::checksum::PageHash;
use crate::error::ReadError;
use crate::ids::{ChunkId, DbId, DbKind, Generation, Lsn, PageNo, PageSize, StoreId};
use crate::io::{Disk, layout};
use crate::limits::ValidLimits;
use crate::manifest::{ChunkRow, ManifestState, RangeRow};
use crate::page::PageBytes;
use crate::pagestore::{ChunkDigest, ChunkIdentity, ChunkReader, StoredPage};
use crate::view::{BasePage, BasePages, Head, NoBase, View};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// All chunks that are in use.
#[derive(Clone, Debug)]
pub(crate) struct ChunkSet {
    disk: Arc<dyn Disk>,
    store: StoreId,
    files: Arc<Mutex<HashMap<ChunkId, Weak<ChunkFile>>>>,
    open: Arc<OpenChunks>,
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

    /// The manifest has forgotten the chunk: its file goes when nobody reads it any more.
    pub(crate) fn doom(&self, id: ChunkId, row: &ChunkRow) {
        self.file(id, row).doomed.store(true, Ordering::Release);
    }
}

impl ChunkFile {
    /// The open chunk.
    pub(crate) fn reader(&self) -> Result<Arc<ChunkReader>, ReadError> {
        self.open.get_or_insert_with(&self.id, || {
            let (disk, identity) = (self.disk.as_ref(), Some(&self.identity));
            ChunkReader::open(disk, self.store, self.id, identity).map(Arc::new)
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

#[derive(Debug)]
struct Section {
    file: Arc<ChunkFile>,
    index: u32,
    /// Pages from the start of the range that the section may answer for.
    pages: u32,
}

impl Section {
    fn place(&self, page: PageNo) -> ChunkPlace {
        ChunkPlace {
            chunk: self.file.id,
            section: self.index,
            page,
        }
    }

    /// A page that has a slot, and what stands behind it, of so many bytes in all.
    fn load_run(
        &self,
        page: PageNo,
        bytes: usize,
    ) -> Result<(PageBytes, VecDeque<PageBytes>), ReadError> {
        let run = self.file.reader()?.read_run(self.index, page, bytes)?;
        let mut pages: VecDeque<_> = run.into_iter().map(|page| page.content).collect();
        let first = pages.pop_front();
        let first = first.unwrap_or_else(|| PageBytes::zeroed(PageSize::DEFAULT));
        Ok((first, pages))
    }
}

/// One generation of a database.
#[derive(Debug)]
pub(crate) struct ChunkBase {
    generation: Generation,
    ranges: Ranges,
    sections: BTreeMap<RangeNo, Section>,
    cache: Arc<PageCache>,
}

impl ChunkBase {
    /// The newest generation of `database` that the manifest has.
    pub(crate) fn newest(
        database: DbId,
        generation: Generation,
        ranges: Ranges,
        rows: &ManifestState,
        chunks: &ChunkSet,
        cache: Arc<PageCache>,
    ) -> Self {
        // A range whose chunk has no row is damage that closed the database.
        let sections = rows.newest_ranges(database);
        let sections =
            sections.filter_map(|(range, row)| Some((range, row, *rows.chunk(row.chunk)?)));
        Self::of_sections(generation, ranges, sections, chunks, cache)
    }

    /// The generation of which these are the sections, with their ranges and chunks.
    pub(super) fn of_sections(
        generation: Generation,
        ranges: Ranges,
        sections: impl Iterator<Item = (u32, RangeRow, ChunkRow)>,
        chunks: &ChunkSet,
        cache: Arc<PageCache>,
    ) -> Self {
        let sections = sections.map(|(range, row, chunk)| {
            let section = Section {
                file: chunks.file(row.chunk, &chunk),
                index: row.section,
                pages: row.pages,
            };
            (RangeNo(range), section)
        });
        Self {
            generation,
            ranges,
            sections: sections.collect(),
            cache,
        }
    }

    fn section(&self, page: PageNo) -> Option<&Section> {
        let range = self.ranges.of(page);
        let section = self.sections.get(&range)?;
        let nth = u64::from(page.get()) - self.ranges.first_page(range);
        (nth < u64::from(section.pages)).then_some(section)
    }

    /// Takes a page into the cache that a checkpoint has just copied: whoever reads it finds it under
    /// its place in the chunk, if what the chunk has is that version.
    pub(super) fn adopt(&self, page: PageNo, version: Lsn, content: PageBytes) {
        let Some(section) = self.section(page) else {
            return;
        };
        // What cannot be told now is told to whoever reads the page.
        let found = self.version(page).ok().flatten();
        if found.is_some_and(|(_, found)| found == version) {
            self.cache.insert(section.place(page).into(), content);
        }
    }

    fn load_from(section: &Section, page: PageNo) -> Result<Option<StoredPage>, ReadError> {
        section.file.reader()?.read_page(section.index, page)
    }
}

impl BasePages for ChunkBase {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn read(&self, page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        let Some(section) = self.section(page) else {
            return Ok(None);
        };
        // What is there is the page of a slot: the index need not be asked.
        if let Some(content) = self.cache.get_if_there(section.place(page).into()) {
            return Ok(Some(content));
        }
        if section
            .file
            .reader()?
            .page_hash(section.index, page)?
            .is_none()
        {
            return Ok(None);
        }
        let content = self
            .cache
            .get_or_load_run(section.place(page), |bytes| section.load_run(page, bytes))?;
        Ok(Some(content))
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        let Some(section) = self.section(page) else {
            return Ok(None);
        };
        let found = Self::load_from(section, page)?;
        Ok(found.map(
            |StoredPage {
                 content,
                 hash,
                 version,
             }| BasePage {
                content,
                hash,
                version,
            },
        ))
    }

    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        match self.section(page) {
            Some(section) => section.file.reader()?.page_hash(section.index, page),
            None => Ok(None),
        }
    }

    fn in_memory(&self, page: PageNo) -> Option<PageBytes> {
        let section = self.section(page)?;
        self.cache.get(section.place(page).into())
    }
}

/// The state of a database that its chunks hold.
pub(super) fn checkpointed_head(id: DbId, rows: &ManifestState) -> Head {
    rows.database(id).map_or(Head::EMPTY, |row| Head {
        lsn: row.checkpointed.lsn,
        time_us: row.checkpointed.time_us,
        page_size: row.page_size,
        page_count: row.checkpointed.page_count,
        rolling_checksum: row.checkpointed.rolling_checksum,
    })
}

/// A view of that state.
pub(super) fn checkpointed_view(
    id: DbId,
    kind: DbKind,
    rows: &ManifestState,
    chunks: &ChunkSet,
    cache: &Arc<PageCache>,
    limits: &ValidLimits,
) -> View {
    let head = checkpointed_head(id, rows);
    let generation = rows
        .database(id)
        .map(|row| row.checkpointed.generation)
        .unwrap_or_default();
    let base: Arc<dyn BasePages> = match head.page_size {
        None => Arc::new(NoBase),
        Some(size) => {
            let ranges = Ranges::new(limits.range_bytes, size);
            let cache = Arc::clone(cache);
            Arc::new(ChunkBase::newest(
                id, generation, ranges, rows, chunks, cache,
            ))
        }
    };
    View::new(id, kind, head, base)
}
