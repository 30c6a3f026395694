//! Writes one planned chunk. No decision is made here.
//!
//! Never: touches the manifest or a view.

use super::history::{History, Superseded};
use super::plan::{Content, PlannedChunk, PlannedSection, RangeNo, Ranges};
use super::versions_ahead::VersionsAhead;
use crate::checksum::RollingChecksum;
use crate::error::{CheckpointError, ReadError};
use crate::ids::{DbId, Generation, Lsn, PageNo, PageSize};
use crate::pagestore::{ChunkWriter, SectionKind, SectionMeta};
use crate::view::{BasePage, PageVersion};

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
    /// Chunks that were half dead, and were replaced by smaller ones.
    pub chunks_rewritten: usize,
    /// Bytes that this freed.
    pub freed_bytes: u64,
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

/// The state of a database that a checkpoint writes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct NewGeneration {
    /// Its number.
    pub generation: Generation,
    /// The newest commit that it shows.
    pub cut: Lsn,
    /// The head of the generation before.
    pub since: Lsn,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// Pages of the database.
    pub page_count: u32,
    /// The fewest pages since the generation before.
    pub page_count_min: u32,
    /// Pages that a fork still reads from its origin where it has none of its own.
    pub inherited: u32,
    /// The xor of all page hashes.
    pub rolling_checksum: RollingChecksum,
}

/// Pages with what each of them is.
pub type LoadedPages<'s> =
    Box<dyn Iterator<Item = (PageNo, Result<Option<BasePage>, ReadError>)> + 's>;

/// Where the sections of a database come from.
pub trait SectionSource {
    /// How the database is cut.
    fn ranges(&self) -> Ranges;
    /// What is made of it.
    fn generation(&self) -> NewGeneration;
    /// The superseded versions that are kept.
    fn history(&self) -> &History;
    /// The pages of a range that changed since the generation before and are still there, ascending.
    fn changed(&self, range: RangeNo) -> Vec<PageNo>;

    /// Pages that ascend, in their order; `None` of one that was never written. Those that follow may be read ahead.
    ///
    /// # Errors
    /// Of a page: damage, or an I/O failure.
    fn load(&self, pages: Vec<PageNo>) -> LoadedPages<'_>;

    /// A version of a page that is in the log. `before` is an older one of the same page, which this one may
    /// be a patch of.
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    fn load_version(
        &self,
        page: PageNo,
        version: PageVersion,
        before: Option<&BasePage>,
    ) -> Result<BasePage, ReadError>;

    /// These are loaded, too, behind those that were told before, and in a round with those that were told since the
    /// last one ended: what a round needs can be read together.
    fn expect_versions(&self, versions: &[Superseded]);

    /// A round ends.
    fn end_round(&self);

    /// Reads a piece of what the next round needs, when all were told; `false` when nothing is left. Between two
    /// pieces there may be something else to do.
    fn read_expected(&self) -> bool;

    /// Has a piece of it read meanwhile, if somebody is free for that and does not read one already.
    fn read_behind(&self);

    /// The round is loaded from now on: what was read for the one before it is not needed any more.
    fn show_expected(&self);

    /// No version is loaded next.
    fn expect_nothing(&self);
}

/// Writes the sections of `planned` and returns how many pages they have. `ahead` is of all chunks that are
/// written one after the other.
///
/// # Errors
/// A page that cannot be read, with its database; a failed write, or [`CheckpointError::Closed`]
/// when `cancelled` says so between two pages.
pub fn write_chunk<'s>(
    planned: &PlannedChunk,
    writer: &mut ChunkWriter,
    source_of: impl Fn(PlannedSection) -> Option<&'s dyn SectionSource>,
    ahead: &mut VersionsAhead<'s>,
    cancelled: &dyn Fn() -> bool,
) -> Result<u64, ChunkFailure> {
    let mut written = 0;
    let with_source = |section: &PlannedSection| Some((*section, source_of(*section)?));
    let mut sections = planned.sections.iter().filter_map(with_source).peekable();
    let mut opened = sections.peek().and_then(|first| load_pages(*first));
    while let Some((planned, source)) = sections.next() {
        writer.begin_section(meta(planned, source)?)?;
        let mut section = OpenSection {
            database: planned.database,
            writer: &mut *writer,
            cancelled,
            pages: 0,
        };
        // The first of the next section are read while this one is written.
        let next = sections.peek().and_then(|next| load_pages(*next));
        match std::mem::replace(&mut opened, next) {
            Some(pages) => {
                section.push_pages(pages)?;
                section.writer.end_section()?;
            }
            None => {
                section.push_versions(source, ahead)?;
                section.writer.end_history(&source.history().commits)?;
            }
        }
        written += section.pages;
    }
    Ok(written)
}

/// The pages of a section; `None`: it has the versions of a history.
fn load_pages<'s>(
    (section, source): (PlannedSection, &'s dyn SectionSource),
) -> Option<LoadedPages<'s>> {
    let pages = match section.content {
        Content::Base(range) => {
            let whole = source.ranges().pages(range, source.generation().page_count);
            whole.collect()
        }
        Content::Delta(range) => source.changed(range),
        Content::History => return None,
    };
    Some(source.load(pages))
}

/// The section that is being written.
struct OpenSection<'a> {
    database: DbId,
    writer: &'a mut ChunkWriter,
    cancelled: &'a dyn Fn() -> bool,
    pages: u64,
}

impl OpenSection<'_> {
    fn push_pages(&mut self, mut pages: LoadedPages<'_>) -> Result<(), ChunkFailure> {
        loop {
            self.check_cancelled()?;
            match pages.next() {
                Some((page, loaded)) => self.push(page, loaded)?,
                None => return Ok(()),
            };
        }
    }

    /// Versions of a page stand far apart in the log, and mostly each is a patch of the one before.
    fn push_versions(
        &mut self,
        source: &dyn SectionSource,
        ahead: &mut VersionsAhead<'_>,
    ) -> Result<(), ChunkFailure> {
        let mut before: Option<(PageNo, BasePage)> = None;
        for Superseded { page, version } in &source.history().versions {
            let of_page = before.take().filter(|(of, _)| of == page);
            let of_page = of_page.as_ref().map(|(_, before)| before);
            self.check_cancelled()?;
            ahead.reach(|| self.check_cancelled())?;
            let loaded = source.load_version(*page, *version, of_page).map(Some);
            before = self.push(*page, loaded)?.map(|pushed| (*page, pushed));
        }
        ahead.next_history();
        Ok(())
    }

    /// To be called before a page is loaded.
    fn check_cancelled(&self) -> Result<(), ChunkFailure> {
        match (self.cancelled)() {
            true => Err(CheckpointError::Closed.into()),
            false => Ok(()),
        }
    }

    /// Returns the page that it pushed, if there is one.
    fn push(
        &mut self,
        page: PageNo,
        loaded: Result<Option<BasePage>, ReadError>,
    ) -> Result<Option<BasePage>, ChunkFailure> {
        let database = self.database;
        let loaded = loaded.map_err(|error| ChunkFailure::Unreadable { database, error })?;
        if let Some(found) = &loaded {
            let BasePage {
                content,
                hash,
                version,
                packing,
            } = found;
            self.writer
                .push_packed(page, *version, *hash, content, packing)?;
            self.pages += 1;
        }
        Ok(loaded)
    }
}

fn meta(
    section: PlannedSection,
    source: &dyn SectionSource,
) -> Result<SectionMeta, CheckpointError> {
    let (ranges, new) = (source.ranges(), source.generation());
    let (kind, range) = match section.content {
        Content::Base(range) => (SectionKind::Base, range),
        Content::Delta(range) => (SectionKind::Delta, range),
        Content::History => (SectionKind::History, RangeNo(0)),
    };
    let first = u32::try_from(ranges.first_page(range))
        .ok()
        .and_then(PageNo::new);
    // Of a database that has no pages, a section has none either; its range has one, so that it is one.
    let pages = match kind {
        SectionKind::History => u64::from(SectionMeta::ALL_PAGES),
        _ => ranges.pages(range, new.page_count).count().max(1) as u64,
    };
    Ok(SectionMeta {
        kind,
        database: section.database,
        generation: new.generation,
        cut: new.cut,
        since: new.since,
        range: range.0,
        first_page: first.ok_or(CheckpointError::Limit("a range lies past the last page"))?,
        pages: u32::try_from(pages).map_err(|_| CheckpointError::Limit("a range is too long"))?,
        page_size: new.page_size,
        page_count: new.page_count,
        page_count_min: new.page_count_min,
        inherited: new.inherited,
        rolling_checksum: new.rolling_checksum,
    })
}
