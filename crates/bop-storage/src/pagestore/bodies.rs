//! The bodies of a section in their order, read ahead.
//!
//! ```text
//!   bodies in the file       [ group: a buffer of the disk's pool ][ group ][ ...
//!   the first one is wanted  --> wait for the errand that reads its group, send one for the next
//!                                 '--nobody was free, or nobody is to: read it here
//! ```
//! Invariants
//! - two groups at most are in memory;
//! - what is not in its group as it was written is read alone, and that read says why it cannot be.
//!
//! Never: proves more of a body than its checksum.

use super::format::Slot;
use super::reader::ChunkReader;
use super::run::Reach;
use super::section::SectionMeta;
use super::section_index::SectionIndex;
use crate::error::ReadError;
use crate::io::{BLOCK_BYTES, PoolBuffer};
use crate::runtime::{Errands, Pending, Waited};
use std::borrow::Cow;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// What lies between two bodies of a section is less: one may begin at a block.
const GAP: u64 = BLOCK_BYTES as u64;

/// Hands out bodies.
pub(super) struct Bodies<'c> {
    reader: &'c ChunkReader,
    index: &'c SectionIndex,
    /// Who reads ahead, and through what.
    behind: Option<(Arc<ChunkReader>, Arc<Errands>)>,
    group: Group,
    /// The group behind, while an errand reads it.
    coming: Option<(Extent, Pending<Filled>)>,
}

/// Bodies that are read together.
#[derive(Copy, Clone, Default)]
struct Extent {
    /// The number of the first slot that is not among them.
    behind: u32,
    /// Where in the file the block of the first one begins.
    start: u64,
    /// From there to the end of the last one.
    bytes: usize,
}

/// The blocks of an extent; `None` of those that could not be read.
type Filled = Option<PoolBuffer>;

#[derive(Default)]
struct Group {
    extent: Extent,
    filled: Filled,
}

impl Group {
    fn body(&self, slot: &Slot) -> Option<&[u8]> {
        let from = slot.body_offset.get().checked_sub(self.extent.start)?;
        let from = usize::try_from(from).ok()?;
        let there = self.filled.as_ref()?.as_bytes().get(..self.extent.bytes)?;
        there.get(from..from + slot.body_bytes.get() as usize)
    }
}

impl<'c> Bodies<'c> {
    /// Those of the section with this index.
    pub(super) fn new(reader: &'c ChunkReader, index: &'c SectionIndex) -> Self {
        Self {
            reader,
            index,
            behind: None,
            group: Group::default(),
            coming: None,
        }
    }

    /// Has them read ahead by errands, through the same reader.
    pub(super) fn read_ahead(self, reader: &Arc<ChunkReader>, errands: Arc<Errands>) -> Self {
        Self {
            behind: Some((Arc::clone(reader), errands)),
            ..self
        }
    }

    /// The body of a slot, if its checksum is right. Numbers ascend from one call to the next.
    ///
    /// # Errors
    /// As [`ChunkReader::read_page`].
    pub(super) fn next(
        &mut self,
        meta: &SectionMeta,
        number: u32,
        slot: &Slot,
    ) -> Result<Cow<'_, [u8]>, ReadError> {
        if self.group.extent.behind <= number {
            self.go_on(number);
        }
        let reader = self.reader;
        let here = self.group.body(slot);
        match here.filter(|body| reader.is_body(meta, number, slot, body)) {
            Some(body) => Ok(Cow::Borrowed(body)),
            None => {
                let body = reader.read_body(meta, number, slot)?;
                Ok(Cow::Owned(body.bytes().to_vec()))
            }
        }
    }

    /// Goes on to the group that begins with the slot with that number.
    fn go_on(&mut self, number: u32) {
        let came = self.coming.take().and_then(|(extent, read)| {
            let Waited::Answer(filled) = read.wait(None) else {
                return None;
            };
            Some(Group { extent, filled })
        });
        self.group = came.unwrap_or_else(|| {
            let extent = self.extent(number).unwrap_or_default();
            let buffer = self.reader.source.buffer();
            let filled = buffer.and_then(|buffer| fill(self.reader, extent, buffer));
            Group { extent, filled }
        });
        self.coming = self.send(self.group.extent.behind);
    }

    /// Has the group read that begins with that slot, if there is one, and somebody is free.
    fn send(&self, number: u32) -> Option<(Extent, Pending<Filled>)> {
        let (reader, errands) = self.behind.as_ref()?;
        let extent = self.extent(number)?;
        let (reader, buffer) = (Arc::clone(reader), reader.source.buffer()?);
        let sent = errands.send(move || fill(&reader, extent, buffer));
        sent.ok().map(|read| (extent, read))
    }

    /// What is read together, from that slot on.
    fn extent(&self, number: u32) -> Option<Extent> {
        let mut slots = self.index.from(number);
        let mut reach = Reach::of(slots.next()?);
        let count = slots.take_while(|slot| reach.takes(slot, GAP)).count();
        Some(Extent {
            // A section has fewer slots than `u32` has numbers.
            behind: number + 1 + count as u32,
            start: reach.aligned,
            // A body is shorter than a buffer, and a reach is no longer than one.
            bytes: (reach.end - reach.aligned) as usize,
        })
    }
}

fn fill(reader: &ChunkReader, extent: Extent, mut buffer: PoolBuffer) -> Filled {
    let blocks = buffer.get_mut(..extent.bytes.div_ceil(BLOCK_BYTES))?;
    let is_filled = reader.source.fill(extent.start, blocks, extent.bytes);
    is_filled.then_some(buffer)
}
