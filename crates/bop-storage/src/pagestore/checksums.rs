//! What each checksum of a chunk covers, in one place for writer and reader.
//!
//! Never: decides what a mismatch means.

use super::format::{ChunkFooter, ChunkHeader, Slot};
use crate::checksum::{Crc64, crc64};
use crate::ids::{ChunkId, DbId, Generation, StoreId};
use std::mem::offset_of;
use zerocopy::IntoBytes;

/// The chunk that a part of it is bound to.
#[derive(Copy, Clone, Debug)]
pub(super) struct Owner {
    pub(super) store_id: StoreId,
    pub(super) chunk_id: ChunkId,
}

impl Owner {
    fn crc(&self) -> Crc64 {
        Crc64::new()
            .update(self.store_id.bytes())
            .update(&self.chunk_id.get().to_le_bytes())
    }

    pub(super) fn directory_checksum(&self, directory: &[u8]) -> u64 {
        self.crc().update(directory).finish()
    }

    /// Of the index or the payload of a section.
    pub(super) fn part_checksum(&self, section: u32, part: &[u8]) -> u64 {
        self.crc()
            .update(&section.to_le_bytes())
            .update(part)
            .finish()
    }

    pub(super) fn footer_checksum(&self, footer: &ChunkFooter) -> u64 {
        let behind = offset_of!(ChunkFooter, checksum) + size_of::<u64>();
        self.crc().update(&footer.as_bytes()[behind..]).finish()
    }
}

pub(super) fn header_checksum(header: &ChunkHeader) -> u64 {
    crc64(&header.as_bytes()[..offset_of!(ChunkHeader, checksum)])
}

/// Of one slot and its body.
pub(super) fn slot_checksum(
    database: DbId,
    generation: Generation,
    number: u32,
    slot: &Slot,
    body: &[u8],
) -> u64 {
    let fields = slot.as_bytes();
    Crc64::new()
        .update(&database.get().to_le_bytes())
        .update(&generation.get().to_le_bytes())
        .update(&number.to_le_bytes())
        .update(&fields[..offset_of!(Slot, body_offset)])
        .update(&fields[offset_of!(Slot, page)..offset_of!(Slot, checksum)])
        .update(body)
        .finish()
}
