//! What a section is about, in memory and in the directory.
//!
//! Invariant: a [`SectionRef`] made from a directory entry has only numbers that fit each other
//! and the file: slots and payload lie inside it, the page range is a range.
//!
//! Never: reads a slot.

use super::format::{SectionEntry, SectionKind, Slot};
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
    /// The newest Lsn that it covers.
    pub cut: Lsn,
    /// The number of the range in its database, from 0.
    pub range: u32,
    /// The first page of the range.
    pub first_page: PageNo,
    /// Pages of the range, at least 1.
    pub pages: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// Pages of the database at `cut`.
    pub page_count: u32,
    /// The xor of all page hashes of the database at `cut`.
    pub rolling_checksum: RollingChecksum,
}

impl SectionMeta {
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
    /// Bytes of it in the file: bodies, index and payload.
    pub bytes: u64,
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

    /// `bytes` is set from the parts.
    pub(super) fn new(index: u32, section: Section, slots: u32, parts: Parts) -> Self {
        let end = parts.payload_offset.saturating_add(parts.payload_bytes);
        Self {
            index,
            section,
            slots,
            bytes: end.saturating_sub(parts.start_offset),
            parts,
        }
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
            reserved: U32::ZERO,
            start_offset: U64::new(parts.start_offset),
            index_offset: U64::new(parts.index_offset),
            index_checksum: U64::new(parts.index_checksum),
            payload_offset: U64::new(parts.payload_offset),
            payload_bytes: U64::new(parts.payload_bytes),
            payload_checksum: U64::new(parts.payload_checksum),
            reserved_end: [0; 16],
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
            }
        }
        entry
    }

    /// Reads an entry whose checksum was right. `end` is where the directory starts.
    ///
    /// # Errors
    /// Which of its numbers do not fit.
    pub(super) fn from_entry(
        index: u32,
        entry: &SectionEntry,
        end: u64,
    ) -> Result<Self, &'static str> {
        if entry.flags != U16::ZERO || entry.reserved != U32::ZERO || entry.reserved_end != [0; 16]
        {
            return Err("a reserved field of a section entry is not zero");
        }
        let section = section_of(entry)?;
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
        Ok(Self::new(index, section, entry.slots.get(), parts))
    }
}

fn section_of(entry: &SectionEntry) -> Result<Section, &'static str> {
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
        range: entry.range.get(),
        first_page: PageNo::new(entry.first_page.get()).ok_or("page range")?,
        pages: entry.pages.get(),
        page_size: PageSize::new(entry.page_size.get()).ok_or("page size")?,
        page_count: entry.page_count.get(),
        rolling_checksum: RollingChecksum::new(entry.rolling_checksum.get()),
    };
    if let Some(problem) = meta.problem() {
        return Err(problem);
    }
    if kind != SectionKind::History && entry.pages.get() < entry.slots.get() {
        return Err("more slots than pages");
    }
    Ok(Section::Pages(meta))
}
