//! Writes one planned chunk. No decision is made here.
//!
//! Never: touches the manifest or a view.

use super::plan::{PlannedChunk, PlannedSection, Ranges};
use crate::checksum::RollingChecksum;
use crate::error::{CheckpointError, ReadError};
use crate::ids::{DbId, Generation, Lsn, PageNo, PageSize};
use crate::pagestore::{ChunkWriter, SectionKind, SectionMeta};
use crate::view::BasePage;

/// What a checkpoint did.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckpointReport {
    /// Databases whose commits it moved.
    pub databases: usize,
    /// Chunks that it wrote.
    pub chunks: usize,
    /// Bytes of these chunks.
    pub chunk_bytes: u64,
    /// Pages that it wrote.
    pub pages: u64,
    /// Everything before this Lsn is in chunks.
    pub checkpointed: Lsn,
    /// Segments of the log that it released.
    pub segments_released: usize,
    /// Databases left out because one of their pages cannot be read: their commits stay in the log.
    pub databases_skipped: usize,
}

/// A chunk was not written.
#[derive(Debug)]
pub enum ChunkFailure {
    /// A page of this database cannot be read: without the database it would do.
    Unreadable {
        /// The database.
        database: DbId,
        /// Why not.
        error: ReadError,
    },
    /// Anything else.
    Failed(CheckpointError),
}

impl From<CheckpointError> for ChunkFailure {
    fn from(error: CheckpointError) -> Self {
        Self::Failed(error)
    }
}

/// Where the pages of one section come from.
pub trait SectionSource {
    /// How the database is cut.
    fn ranges(&self) -> Ranges;
    /// Bytes in a page.
    fn page_size(&self) -> PageSize;
    /// Pages of the database at the cut.
    fn page_count(&self) -> u32;
    /// The xor of all page hashes at the cut.
    fn rolling_checksum(&self) -> RollingChecksum;
    /// The newest commit that the section shows.
    fn cut(&self) -> Lsn;
    /// The generation that is made.
    fn generation(&self) -> Generation;
    /// The head of the generation before it.
    fn since(&self) -> Lsn;
    /// The fewest pages that the database had since then.
    fn page_count_min(&self) -> u32;

    /// A page; `None` when it was never written.
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError>;
}

/// Writes the sections of `planned` and returns how many pages they have.
///
/// # Errors
/// A page that cannot be read, with its database; a failed write, or [`CheckpointError::Closed`]
/// when `cancelled` says so between two pages.
pub fn write_chunk<'s>(
    planned: &PlannedChunk,
    writer: &mut ChunkWriter,
    source_of: impl Fn(PlannedSection) -> Option<&'s dyn SectionSource>,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, ChunkFailure> {
    let mut pages = 0;
    for section in &planned.sections {
        let Some(source) = source_of(*section) else {
            continue;
        };
        writer.begin_section(meta(*section, source)?)?;
        for page in source.ranges().pages(section.range, source.page_count()) {
            if cancelled() {
                return Err(CheckpointError::Closed.into());
            }
            let database = section.database;
            let unreadable = |error| ChunkFailure::Unreadable { database, error };
            if let Some(BasePage {
                content,
                hash,
                version,
            }) = source.load(page).map_err(unreadable)?
            {
                writer.push_page(page, version, hash, &content)?;
                pages += 1;
            }
        }
        writer.end_section()?;
    }
    Ok(pages)
}

fn meta(
    section: PlannedSection,
    source: &dyn SectionSource,
) -> Result<SectionMeta, CheckpointError> {
    let ranges = source.ranges();
    let first = u32::try_from(ranges.first_page(section.range))
        .ok()
        .and_then(PageNo::new);
    // Of a database that has no pages, a section has none either; its range has one, so that it is one.
    let pages = ranges
        .pages(section.range, source.page_count())
        .count()
        .max(1);
    Ok(SectionMeta {
        kind: SectionKind::Base,
        database: section.database,
        generation: source.generation(),
        cut: source.cut(),
        since: source.since(),
        range: section.range.0,
        first_page: first.ok_or(CheckpointError::Limit("a range lies past the last page"))?,
        pages: u32::try_from(pages).map_err(|_| CheckpointError::Limit("a range is too long"))?,
        page_size: source.page_size(),
        page_count: source.page_count(),
        page_count_min: source.page_count_min(),
        inherited: 0,
        rolling_checksum: source.rolling_checksum(),
    })
}
