//! Pages that stand one behind the other in a chunk, with one read of the device.
//!
//! Invariant: a page of a run was proved as one that is read alone.
//!
//! Never: answers damage of any page but the one that was asked for: the run ends before it.

use super::reader::{ChunkReader, StoredPage};
use crate::error::ReadError;
use crate::ids::PageNo;
use crate::io::{BLOCK_BYTES, BUFFER_BYTES, Block};
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

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
        let begin = first.body_offset.get();
        let aligned = begin - begin % BLOCK;
        let end_max = aligned + BUFFER_BYTES as u64;
        let mut end = begin;
        let slots: Vec<_> = (number..)
            .zip(index.from(number))
            .zip(page.get()..)
            .take((bytes / meta.page_size.bytes()).max(1))
            .take_while(|((_, slot), expected)| {
                let offset = slot.body_offset.get();
                let behind = offset.saturating_add(slot.body_bytes.get().into());
                // A body may be aligned: what lies between two is less than a block.
                let fits = end <= offset && offset - end < BLOCK && behind <= end_max;
                let goes_on = fits && slot.page.get() == *expected;
                if goes_on {
                    end = behind;
                }
                goes_on
            })
            .map(|(numbered, _)| numbered)
            .collect();
        let buffer = if slots.len() > 1 {
            self.source.buffer()
        } else {
            None
        };
        // Fits: at most a buffer.
        let needed = (end - aligned) as usize;
        let filled = buffer.and_then(|mut buffer| {
            let blocks: &mut [Block] = buffer.get_mut(..needed.div_ceil(BLOCK_BYTES))?;
            self.source.fill(aligned, blocks, needed).then_some(buffer)
        });
        let Some(buffer) = filled else {
            // With the second try and the errors of a single read.
            return Ok(vec![self.read_slot(meta, number, first)?]);
        };
        let mut pages = Vec::with_capacity(slots.len());
        for (number, slot) in slots {
            let start = (slot.body_offset.get() - aligned) as usize;
            let body = start..start + slot.body_bytes.get() as usize;
            let body = buffer.as_bytes().get(body).unwrap_or_default();
            match self.prove(meta, number, slot, body) {
                Ok(page) => pages.push(page),
                Err(_) if pages.is_empty() => {
                    pages.push(self.read_slot(meta, number, slot)?);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(pages)
    }
}
