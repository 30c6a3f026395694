//! Pages that stand near each other in a chunk, with one read of the device.
//!
//! Invariant: a page of a run was proved as one that is read alone.
//!
//! Never: answers damage of any page but the first that was asked for: the run ends before it.

use super::format::Slot;
use super::reader::{ChunkReader, StoredPage};
use super::section::SectionMeta;
use super::section_index::SectionIndex;
use crate::error::ReadError;
use crate::ids::PageNo;
use crate::io::{BLOCK_BYTES, BUFFER_BYTES, Block, READ_GAP_BLOCKS_MAX};
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// The part of a file that one read takes, as far as it is known.
pub(super) struct Reach {
    /// Where the first body's block begins.
    pub(super) aligned: u64,
    /// Where the last body ends.
    pub(super) end: u64,
}

impl Reach {
    pub(super) fn of(first: &Slot) -> Self {
        let begin = first.body_offset.get();
        Self {
            aligned: begin - begin % BLOCK,
            end: first.body_end(),
        }
    }

    /// Whether the body of `slot`, less than `gap` bytes behind the last one, fits into the same buffer; it is the
    /// last one then.
    pub(super) fn takes(&mut self, slot: &Slot, gap: u64) -> bool {
        let (offset, behind) = (slot.body_offset.get(), slot.body_end());
        let is_near = self.end <= offset && offset - self.end < gap;
        let fits = is_near && behind - self.aligned <= BUFFER_BYTES as u64;
        if fits {
            self.end = behind;
        }
        fits
    }
}

impl ChunkReader {
    /// A page of a section, and those that come directly behind it, by their numbers and in the file,
    /// as far as they fit into one buffer and, the first included, into `bytes` of content. Empty when
    /// the section has no slot for the page.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`], of the first page.
    pub fn read_run(
        &self,
        section: u32,
        page: PageNo,
        bytes: usize,
    ) -> Result<Vec<StoredPage>, ReadError> {
        let (meta, index) = self.index(section)?;
        let Some((number, first)) = index.find(page) else {
            return Ok(Vec::new());
        };
        let mut reach = Reach::of(first);
        let behind = (number..).zip(index.from(number)).zip(page.get()..);
        let behind = behind.take(bytes / meta.page_size.bytes()).skip(1);
        // A body may be aligned: what lies between two is less than a block.
        let behind = behind
            .take_while(|((_, slot), expected)| {
                slot.page.get() == *expected && reach.takes(slot, BLOCK)
            })
            .map(|(numbered, _)| numbered);
        let slots: Vec<_> = std::iter::once((number, first)).chain(behind).collect();
        self.read_slots(meta, &index, &slots, &reach)
    }

    /// The first of `pages`, which ascend, and those of them that stand near it in the file, as far as they fit into
    /// one buffer. Empty when the section has no slot for the first one.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`], of the first page.
    pub fn read_near(
        &self,
        section: u32,
        pages: impl IntoIterator<Item = PageNo>,
    ) -> Result<Vec<(PageNo, StoredPage)>, ReadError> {
        let (meta, index) = self.index(section)?;
        let mut pages = pages.into_iter();
        let Some((first, (number, slot))) = pages
            .next()
            .and_then(|page| Some((page, index.find(page)?)))
        else {
            return Ok(Vec::new());
        };
        let mut reach = Reach::of(slot);
        let gap = READ_GAP_BLOCKS_MAX * BLOCK;
        let behind = pages
            .filter_map(|page| Some((page, index.find(page)?)))
            .take_while(|(_, (_, slot))| reach.takes(slot, gap));
        let (pages, slots): (Vec<_>, Vec<_>) = std::iter::once((first, (number, slot)))
            .chain(behind)
            .unzip();
        let found = self.read_slots(meta, &index, &slots, &reach)?;
        Ok(pages.into_iter().zip(found).collect())
    }

    /// The pages of these slots, up to the first that is not what was written.
    fn read_slots(
        &self,
        meta: &SectionMeta,
        index: &SectionIndex,
        slots: &[(u32, &Slot)],
        reach: &Reach,
    ) -> Result<Vec<StoredPage>, ReadError> {
        let Some(((number, first), behind)) = slots.split_first() else {
            return Ok(Vec::new());
        };
        // Of one page alone: with the second try and the errors of a single read.
        let alone = || self.read_slot(meta, index, *number, first);
        let buffer = (!behind.is_empty()).then(|| self.source.buffer()).flatten();
        // Fits: at most a buffer.
        let needed = (reach.end - reach.aligned) as usize;
        let filled = buffer.and_then(|mut buffer| {
            let blocks: &mut [Block] = buffer.get_mut(..needed.div_ceil(BLOCK_BYTES))?;
            let is_filled = self.source.fill(reach.aligned, blocks, needed);
            is_filled.then_some(buffer)
        });
        let Some(buffer) = filled else {
            return Ok(vec![alone()?]);
        };
        let mut pages = Vec::with_capacity(slots.len());
        for (number, slot) in slots {
            let start = (slot.body_offset.get() - reach.aligned) as usize;
            let body = start..start + slot.body_bytes.get() as usize;
            let body = buffer.as_bytes().get(body).unwrap_or_default();
            match self.prove(meta, *number, slot, body) {
                Ok(page) => pages.push(page),
                Err(_) if pages.is_empty() => return Ok(vec![alone()?]),
                Err(_) => break,
            }
        }
        Ok(pages)
    }
}
