//! The bodies of a section in their order, read ahead.
//!
//! ```text
//!   bodies in the file       [ group: a buffer of the disk's pool ][ group ][ ...
//!   the first one is wanted  --> wait for the errand that reads its group, send one for the next
//!                                 '--nobody was free: read it here
//! ```
//! Invariants
//! - two groups at most are in memory;
//! - it is a hint: what is not here is read alone, and that read says why it cannot be.
//!
//! Never: proves a body.

use super::format::Slot;
use super::reader::ChunkReader;
use super::run::Reach;
use super::section_index::SectionIndex;
use crate::io::{BLOCK_BYTES, PoolBuffer};
use crate::runtime::{Errands, Pending, Waited};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Less than what lies between two bodies of a section, one of which begins at a block.
const GAP: u64 = BLOCK_BYTES as u64;

/// Hands out bodies.
pub(super) struct Bodies<'c> {
    reader: &'c Arc<ChunkReader>,
    index: &'c SectionIndex,
    errands: Option<Arc<Errands>>,
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
    pub(super) fn new(
        reader: &'c Arc<ChunkReader>,
        index: &'c SectionIndex,
        errands: Option<Arc<Errands>>,
    ) -> Self {
        Self {
            reader,
            index,
            errands,
            group: Group::default(),
            coming: None,
        }
    }

    /// The body of a slot, as the file has it. Numbers ascend from one call to the next.
    pub(super) fn get(&mut self, number: u32, slot: &Slot) -> Option<&[u8]> {
        if self.group.extent.behind <= number {
            self.go_on(number);
        }
        self.group.body(slot)
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
            let filled = self.errand(extent).and_then(|read| read());
            Group { extent, filled }
        });
        self.coming = self.send(self.group.extent.behind);
    }

    /// Has the group read that begins with that slot, if there is one, and somebody is free.
    fn send(&self, number: u32) -> Option<(Extent, Pending<Filled>)> {
        let extent = self.extent(number)?;
        let errand = self.errand(extent)?;
        let sent = self.errands.as_ref()?.send(errand);
        sent.ok().map(|read| (extent, read))
    }

    fn errand(&self, extent: Extent) -> Option<impl FnOnce() -> Filled + use<>> {
        let mut buffer = self.reader.source.buffer()?;
        let reader = Arc::clone(self.reader);
        Some(move || {
            let blocks = buffer.get_mut(..extent.bytes.div_ceil(BLOCK_BYTES))?;
            let is_filled = reader.source.fill(extent.start, blocks, extent.bytes);
            is_filled.then_some(buffer)
        })
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
