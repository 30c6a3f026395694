//! What a section is about, in memory and in the directory.
//!
//! Invariant: a [`SectionRef`] made from a directory entry has only numbers that fit each other
//! and the file: slots and payload lie inside it, the page range is a range.
//!
//! Never: reads a slot.

use super::format::{CHUNK_FORMAT_VERSION_MIN, SectionEntry, SectionKind, Slot};
use crate::checksum::RollingChecksum;
use crate::ids::{DbId, Generation, Lsn, PageNo, PageSize};
use crate::io::BLOCK_BYTES;
use zerocopy::little_endian::{U16, U32, U64};

/// What a section of pages is about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SectionMeta {
    /// Base, delta or history.
    pub kind: SectionKind,
    /// The database.
    pub database: DbId,
    /// The generation that the section was written for.
    pub generation: Generation,
    /// The newest Lsn that it covers: the head of its generation.
    pub cut: Lsn,
    /// The head of the generation before: where a history's interval starts, and what a delta stands
    /// on. [`Lsn::ZERO`] of a first generation, and where a chunk of version 1 does not say it.
    pub since: Lsn,
    /// The number of the range in its database, from 0.
    pub range: u32,
    /// The first page of the range.
    pub first_page: PageNo,
    /// Pages of the range, at least 1; [`SectionMeta::ALL_PAGES`] of a history.
    pub pages: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// Pages of the database at `cut`.
    pub page_count: u32,
    /// The fewest pages that it had since the generation before. Where a chunk of version 1 does not
    /// say it, `page_count`: there may have been fewer.
    pub page_count_min: u32,
    /// Pages that a fork still reads from its origin where it has none of its own; else 0.
    pub inherited: u32,
    /// The xor of all page hashes of the database at `cut`.
    pub rolling_checksum: RollingChecksum,
}

impl SectionMeta {
    /// The range of a history, from page 1: also pages that were cut off later have versions.
    pub const ALL_PAGES: u32 = u32::MAX;

    /// Whether a page belongs to the section's range.
    pub fn covers(&self, page: PageNo) -> bool {
        page.get()
            .checked_sub(self.first_page.get())
            .is_some_and(|nth| nth < self.pages)
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.kind == SectionKind::Catalogue {
            return Some("a catalogue section has no pages");
        }
        if self.pages == 0 || self.first_page.get().checked_add(self.pages - 1).is_none() {
            return Some("page range");
        }
        None
    }

    /// What is wrong with what version 1 did not say, if anything.
    pub(super) fn problem_between_generations(&self) -> Option<&'static str> {
        let is_history = self.kind == SectionKind::History;
        let all = (0, 1, Self::ALL_PAGES);
        if self.page_count < self.page_count_min {
            Some("the fewest pages are more than there are")
        } else if self.page_count_min < self.inherited {
            Some("more pages inherited than there are")
        } else if self.cut < self.since || (is_history && self.cut == self.since) {
            Some("the generation before is newer")
        } else if is_history && (self.range, self.first_page.get(), self.pages) != all {
            Some("a history of some pages only")
        } else {
            None
        }
    }
}

/// What a section is about.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Section {
    /// Pages of a database.
    Pages(SectionMeta),
    /// The catalogue.
    Catalogue {
        /// The generation that the section was written for.
        generation: Generation,
        /// The newest catalogue record that it covers.
        cut: Lsn,
    },
}

impl Section {
    /// The section's kind.
    pub fn kind(&self) -> SectionKind {
        match self {
            Self::Pages(meta) => meta.kind,
            Self::Catalogue { .. } => SectionKind::Catalogue,
        }
    }
}

/// One section of a chunk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SectionRef {
    /// Its number in the chunk, from 0.
    pub index: u32,
    /// What it is about.
    pub section: Section,
    /// Slots: pages that it has.
    pub slots: u32,
    pub(super) parts: Parts,
}

/// Where the parts of a section are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Parts {
    pub(super) start_offset: u64,
    pub(super) index_offset: u64,
    pub(super) index_checksum: u64,
    pub(super) payload_offset: u64,
    pub(super) payload_bytes: u64,
    pub(super) payload_checksum: u64,
}

impl SectionRef {
    /// What it is about, unless it is the catalogue.
    pub fn meta(&self) -> Option<&SectionMeta> {
        match &self.section {
            Section::Pages(meta) => Some(meta),
            Section::Catalogue { .. } => None,
        }
    }

    /// Bytes of it in the file: bodies, index and payload.
    pub fn file_bytes(&self) -> u64 {
        let parts = &self.parts;
        let end = parts.payload_offset.saturating_add(parts.payload_bytes);
        end.saturating_sub(parts.start_offset)
    }

    pub(super) fn to_entry(self) -> SectionEntry {
        let parts = self.parts;
        let mut entry = SectionEntry {
            kind: U16::new(self.section.kind().code()),
            flags: U16::ZERO,
            page_size: U32::ZERO,
            database: U64::ZERO,
            generation: U64::ZERO,
            cut_lsn: U64::ZERO,
            rolling_checksum: U64::ZERO,
            page_count: U32::ZERO,
            range: U32::ZERO,
            first_page: U32::ZERO,
            pages: U32::ZERO,
            slots: U32::new(self.slots),
            page_count_min: U32::ZERO,
            start_offset: U64::new(parts.start_offset),
            index_offset: U64::new(parts.index_offset),
            index_checksum: U64::new(parts.index_checksum),
            payload_offset: U64::new(parts.payload_offset),
            payload_bytes: U64::new(parts.payload_bytes),
            payload_checksum: U64::new(parts.payload_checksum),
            since_lsn: U64::ZERO,
            inherited: U32::ZERO,
            reserved: U32::ZERO,
        };
        match self.section {
            Section::Catalogue { generation, cut } => {
                entry.generation = U64::new(generation.get());
                entry.cut_lsn = U64::new(cut.get());
            }
            Section::Pages(meta) => {
                entry.generation = U64::new(meta.generation.get());
                entry.cut_lsn = U64::new(meta.cut.get());
                entry.page_size = U32::new(meta.page_size.get());
                entry.database = U64::new(meta.database.get());
                entry.rolling_checksum = U64::new(meta.rolling_checksum.get());
                entry.page_count = U32::new(meta.page_count);
                entry.range = U32::new(meta.range);
                entry.first_page = U32::new(meta.first_page.get());
                entry.pages = U32::new(meta.pages);
                entry.page_count_min = U32::new(meta.page_count_min);
                entry.since_lsn = U64::new(meta.since.get());
                entry.inherited = U32::new(meta.inherited);
            }
        }
        entry
    }

    /// Reads an entry of a chunk of `version` whose checksum was right. `end` is where the directory
    /// starts.
    ///
    /// # Errors
    /// Which of its numbers do not fit.
    pub(super) fn from_entry(
        index: u32,
        entry: &SectionEntry,
        version: u32,
        end: u64,
    ) -> Result<Self, &'static str> {
        let newer = (entry.page_count_min, entry.inherited, entry.since_lsn);
        let first = version == CHUNK_FORMAT_VERSION_MIN;
        if entry.flags != U16::ZERO
            || entry.reserved != U32::ZERO
            || (first && newer != (U32::ZERO, U32::ZERO, U64::ZERO))
        {
            return Err("a reserved field of a section entry is not zero");
        }
        let section = section_of(entry, first)?;
        let parts = Parts {
            start_offset: entry.start_offset.get(),
            index_offset: entry.index_offset.get(),
            index_checksum: entry.index_checksum.get(),
            payload_offset: entry.payload_offset.get(),
            payload_bytes: entry.payload_bytes.get(),
            payload_checksum: entry.payload_checksum.get(),
        };
        let index_bytes = u64::from(entry.slots.get()) * size_of::<Slot>() as u64;
        let index_end = parts.index_offset.checked_add(index_bytes);
        let payload_end = parts.payload_offset.checked_add(parts.payload_bytes);
        let ordered = BLOCK_BYTES as u64 <= parts.start_offset
            && parts.start_offset <= parts.index_offset
            && index_end.is_some_and(|index_end| index_end <= parts.payload_offset)
            && payload_end.is_some_and(|payload_end| payload_end <= end);
        if !ordered {
            return Err("a part of a section lies outside the file");
        }
        Ok(Self {
            index,
            section,
            slots: entry.slots.get(),
            parts,
        })
    }
}

fn section_of(entry: &SectionEntry, first: bool) -> Result<Section, &'static str> {
    let kind = SectionKind::from_code(entry.kind.get()).ok_or("unknown kind of section")?;
    let generation = Generation::new(entry.generation.get());
    let cut = Lsn::new(entry.cut_lsn.get());
    if kind == SectionKind::Catalogue {
        return if entry.slots == U32::ZERO {
            Ok(Section::Catalogue { generation, cut })
        } else {
            Err("a catalogue section has no pages")
        };
    }
    let meta = SectionMeta {
        kind,
        database: DbId::new(entry.database.get()),
        generation,
        cut,
        since: Lsn::new(entry.since_lsn.get()),
        range: entry.range.get(),
        first_page: PageNo::new(entry.first_page.get()).ok_or("page range")?,
        pages: entry.pages.get(),
        page_size: PageSize::new(entry.page_size.get()).ok_or("page size")?,
        page_count: entry.page_count.get(),
        page_count_min: if first {
            entry.page_count.get()
        } else {
            entry.page_count_min.get()
        },
        inherited: entry.inherited.get(),
        rolling_checksum: RollingChecksum::new(entry.rolling_checksum.get()),
    };
    let newer = || {
        (!first)
            .then(|| meta.problem_between_generations())
            .flatten()
    };
    if let Some(problem) = meta.problem().or_else(newer) {
        return Err(problem);
    }
    if kind != SectionKind::History && entry.pages.get() < entry.slots.get() {
        return Err("more slots than pages");
    }
    Ok(Section::Pages(meta))
}
