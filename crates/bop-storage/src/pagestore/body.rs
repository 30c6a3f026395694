//! A page as it stands in a chunk: raw, or compressed if that saves an eighth.
//!
//! Invariant: what [`Compressor::encode`] makes, [`decode`] turns back into the same page.
//!
//! Never: checks a checksum.

use super::format::{BodyEncoding, Slot};
use crate::buffer::Buffer;
use crate::ids::PageSize;
use crate::io::BLOCK_BYTES;
use crate::lz4;
use crate::page::PageBytes;

/// Everything but whole blocks of pages starts at a multiple of this.
pub(super) const PACKED: usize = 8;

/// Where a body may start: whole blocks are read without copying, the rest is packed.
pub(super) const fn alignment(encoding: u8, page_size: u32) -> usize {
    if encoding == BodyEncoding::Raw as u8 && BLOCK_BYTES <= page_size as usize {
        BLOCK_BYTES
    } else {
        PACKED
    }
}

/// Compresses pages one by one, with memory that is used again.
#[derive(Debug)]
pub(super) struct Compressor(lz4::Compressor);

impl Compressor {
    pub(super) fn new() -> Self {
        Self(lz4::Compressor::new(PageSize::MAX.bytes()))
    }

    /// The page compressed if that saves an eighth of it, else as it is.
    pub(super) fn encode<'a>(&'a mut self, content: &'a [u8]) -> (BodyEncoding, &'a [u8]) {
        match self.0.compress(content) {
            Some(compressed) => (BodyEncoding::Lz4, compressed),
            None => (BodyEncoding::Raw, content),
        }
    }
}

/// The page in a body; `None` when the body is not one page. The page is a copy in memory of just its
/// size: blocks of the disk are aligned, which costs an allocator as much again for each.
pub(super) fn decode(slot: &Slot, page_size: PageSize, body: &[u8]) -> Option<PageBytes> {
    match BodyEncoding::from_code(slot.encoding)? {
        BodyEncoding::Raw => Some(PageBytes::copy_of(body)),
        BodyEncoding::Lz4 => {
            let mut page = Buffer::with_capacity(page_size.bytes());
            page.resize(page_size.bytes(), 0);
            lz4::decompress(body, &mut page).then(|| PageBytes::of(page))
        }
        BodyEncoding::Zstd => None,
    }
}
