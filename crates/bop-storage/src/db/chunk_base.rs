//! One generation of a database, as its chunks hold it.
//!
//! ```text
//! page --> range --> link (newest) --no slot--> link --no slot--> ... --> base: never written
//!                      |slot                      |slot                 `-- no base: not here
//!                      v                          v
//!                    found                      found
//! ```
//! Invariants
//! - a page that is found is that of the newest link that covers it and has it: one is passed by where its
//!   index said so, now or before;
//! - what is not here is told from what was never written: a fork has the one from its origin.
//!
//! Never: writes a chunk.

use super::chunks::{ChunkFile, ChunkSet};
use crate::cache::{ChunkPlace, PageCache};
use crate::checkpoint::{RangeNo, Ranges};
use crate::checksum::PageHash;
use crate::error::ReadError;
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo};
use crate::manifest::{ChunkRow, LinkKind, ManifestState, RangeLink, RangeRow};
use crate::page::PageBytes;
use crate::pagestore::{ChunkReader, PageSet, StoredPage};
use crate::view::{BasePage, BasePages};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What a generation's chunks say of a page.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Lookup<T> {
    /// They have it.
    Found(T),
    /// A base that covers it has none: it reads as zeros.
    NeverWritten,
    /// No link has it and none ends the search: of a fork, the origin may have it.
    NotHere,
}

impl<T> Lookup<T> {
    /// The page, for whoever has no origin.
    fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            Self::NeverWritten | Self::NotHere => None,
        }
    }
}

#[derive(Debug)]
struct Section {
    file: Arc<ChunkFile>,
    index: u32,
    /// Pages from the start of the range that the section may answer for.
    pages: u32,
    kind: LinkKind,
    /// Those that it has, once a page was missed here.
    present: OnceLock<PageSet>,
}

impl Section {
    fn place(&self, page: PageNo) -> ChunkPlace {
        ChunkPlace {
            chunk: self.file.id(),
            section: self.index,
            page,
        }
    }

    fn of(link: &RangeLink, chunk: &ChunkRow, chunks: &ChunkSet) -> Self {
        Self {
            file: chunks.file(link.chunk, chunk),
            index: link.section,
            pages: link.pages,
            kind: link.kind,
            present: OnceLock::new(),
        }
    }

    /// Whether it is known that the section has not the `nth` page of its range.
    fn lacks(&self, nth: u64) -> bool {
        self.present.get().is_some_and(|present| !present.has(nth))
    }

    /// The `nth` page is not here: nor will others be, so that is made quick to see.
    fn missed(&self, reader: &ChunkReader) -> Result<(), ReadError> {
        if self.kind == LinkKind::Delta && self.present.get().is_none() {
            // Somebody else may have been quicker, with the same.
            drop(self.present.set(reader.page_set(self.index)?));
        }
        Ok(())
    }
}

/// Where a page was found.
struct Slot<'s> {
    section: &'s Section,
    reader: Arc<ChunkReader>,
    hash: PageHash,
    version: Lsn,
}

/// The sections of a range, the newest first. Most ranges have one.
#[derive(Debug)]
struct Chain {
    newest: Section,
    older: Box<[Section]>,
}

impl Chain {
    /// The sections that may answer for the `nth` page of the range, counted from 0.
    fn covering(&self, nth: u64) -> impl Iterator<Item = &Section> {
        let sections = std::iter::once(&self.newest).chain(&self.older);
        sections.filter(move |section| nth < u64::from(section.pages) && !section.lacks(nth))
    }
}

/// One generation of a database.
#[derive(Debug)]
pub(crate) struct ChunkBase {
    generation: Generation,
    ranges: Ranges,
    chains: BTreeMap<RangeNo, Chain>,
    cache: Arc<PageCache>,
}

impl ChunkBase {
    /// A generation of `database` that the manifest has: the newest, or an older one.
    pub(crate) fn at(
        database: DbId,
        generation: Generation,
        ranges: Ranges,
        rows: &ManifestState,
        chunks: &ChunkSet,
        cache: Arc<PageCache>,
    ) -> Self {
        let chains = rows.ranges_at(database, generation);
        let chunk_row = |chunk| rows.chunk(chunk).copied();
        Self::of_chains(generation, ranges, chains, chunk_row, chunks, cache)
    }

    /// The generation of which these are the chains, with their ranges. A link whose chunk has no row is
    /// damage that closed the database: nothing of its range is read.
    pub(super) fn of_chains<'r>(
        generation: Generation,
        ranges: Ranges,
        chains: impl Iterator<Item = (u32, &'r RangeRow)>,
        chunk_row: impl Fn(ChunkId) -> Option<ChunkRow>,
        chunks: &ChunkSet,
        cache: Arc<PageCache>,
    ) -> Self {
        let section = |link: &RangeLink| Some(Section::of(link, &chunk_row(link.chunk)?, chunks));
        let chain = |row: &RangeRow| {
            let (newest, older) = row.links().split_first()?;
            Some(Chain {
                newest: section(newest)?,
                older: older.iter().map(&section).collect::<Option<_>>()?,
            })
        };
        Self {
            generation,
            ranges,
            chains: chains
                .filter_map(|(range, row)| Some((RangeNo(range), chain(row)?)))
                .collect(),
            cache,
        }
    }

    /// A page, from the cache if it is there.
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    pub(crate) fn look_up(&self, page: PageNo) -> Result<Lookup<PageBytes>, ReadError> {
        // What is there of the newest link that may have the page is the page of a slot: the index need not
        // be asked.
        if let Some(newest) = self.covering(page).next()
            && let Some(content) = self.cache.get_if_there(newest.place(page).into())
        {
            return Ok(Lookup::Found(content));
        }
        Ok(match self.find(page)? {
            Lookup::Found(Slot {
                section, reader, ..
            }) => {
                // The reader alone: whoever reads ahead does not keep a chunk that nobody needs.
                let index = section.index;
                let load = move |page, bytes| {
                    let run = reader.read_run(index, page, bytes)?;
                    Ok(run.into_iter().map(|page| page.content).collect())
                };
                let place = section.place(page);
                Lookup::Found(self.cache.get_or_load_run(place, load)?)
            }
            Lookup::NeverWritten => Lookup::NeverWritten,
            Lookup::NotHere => Lookup::NotHere,
        })
    }

    /// A page with its hash and version, past the cache.
    ///
    /// # Errors
    /// As [`ChunkBase::look_up`].
    pub(crate) fn look_up_stored(&self, page: PageNo) -> Result<Lookup<BasePage>, ReadError> {
        for section in self.covering(page) {
            if let Some(stored) = Self::load_from(section, page)? {
                return Ok(Lookup::Found(stored.into()));
            }
            if section.kind == LinkKind::Base {
                return Ok(Lookup::NeverWritten);
            }
        }
        Ok(Lookup::NotHere)
    }

    /// The first of `pages`, which ascend, and those of them that stand near it in the same section, past the cache;
    /// empty when the first is not here or cannot be read.
    pub(crate) fn look_up_near(&self, pages: &[PageNo]) -> Vec<(PageNo, BasePage)> {
        let section_of = |page: PageNo| match self.find(page) {
            Ok(Lookup::Found(slot)) => Some(slot.section),
            _ => None,
        };
        let Some(section) = pages.first().and_then(|first| section_of(*first)) else {
            return Vec::new();
        };
        let is_there =
            |page: &PageNo| section_of(*page).is_some_and(|of| std::ptr::eq(of, section));
        let pages = pages.iter().copied().filter(is_there);
        let near = section.file.reader();
        let near = near.and_then(|reader| reader.read_near(section.index, pages));
        let near = near.unwrap_or_default().into_iter();
        near.map(|(page, stored)| (page, stored.into())).collect()
    }

    /// The hash and version of a page.
    ///
    /// # Errors
    /// As [`ChunkBase::look_up`].
    pub(crate) fn look_up_version(
        &self,
        page: PageNo,
    ) -> Result<Lookup<(PageHash, Lsn)>, ReadError> {
        Ok(match self.find(page)? {
            Lookup::Found(slot) => Lookup::Found((slot.hash, slot.version)),
            Lookup::NeverWritten => Lookup::NeverWritten,
            Lookup::NotHere => Lookup::NotHere,
        })
    }

    /// A page, if it can be told without reading anything.
    pub(crate) fn look_up_in_memory(&self, page: PageNo) -> Option<Lookup<PageBytes>> {
        for section in self.covering(page) {
            if let Some(content) = self.cache.get(section.place(page).into()) {
                return Some(Lookup::Found(content));
            }
            let reader = section.file.if_open()?;
            if reader.has_page_in_memory(section.index, page)? {
                return None;
            }
            if section.kind == LinkKind::Base {
                return Some(Lookup::NeverWritten);
            }
        }
        Some(Lookup::NotHere)
    }

    fn covering(&self, page: PageNo) -> impl Iterator<Item = &Section> {
        let range = self.ranges.of(page);
        let nth = u64::from(page.get()) - self.ranges.first_page(range);
        let chain = self.chains.get(&range);
        chain.into_iter().flat_map(move |chain| chain.covering(nth))
    }

    fn find(&self, page: PageNo) -> Result<Lookup<Slot<'_>>, ReadError> {
        for section in self.covering(page) {
            let reader = section.file.reader()?;
            if let Some((hash, version)) = reader.page_hash(section.index, page)? {
                return Ok(Lookup::Found(Slot {
                    section,
                    reader,
                    hash,
                    version,
                }));
            }
            if section.kind == LinkKind::Base {
                return Ok(Lookup::NeverWritten);
            }
            section.missed(&reader)?;
        }
        Ok(Lookup::NotHere)
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
        self.look_up(page).map(Lookup::found)
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        self.look_up_stored(page).map(Lookup::found)
    }

    fn load_near(&self, pages: &[PageNo]) -> Vec<(PageNo, BasePage)> {
        self.look_up_near(pages)
    }

    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        self.look_up_version(page).map(Lookup::found)
    }

    fn in_memory(&self, page: PageNo) -> Option<PageBytes> {
        self.look_up_in_memory(page)?.found()
    }

    fn adopt(&self, page: PageNo, version: Lsn, content: PageBytes) {
        // What cannot be told now is told to whoever reads the page.
        if let Ok(Lookup::Found(slot)) = self.find(page)
            && slot.version == version
        {
            self.cache.insert(slot.section.place(page).into(), content);
        }
    }
}

#[cfg(test)]
#[path = "chunk_base_tests.rs"]
mod tests;
