//! A page as it stands in a chunk: raw, or compressed if that saves an eighth.
//!
//! Invariant: what [`Compressor::encode`] makes, [`decode`] turns back into the same page.
//!
//! Never: checks a checksum.

use super::format::{BodyEncoding, Slot};
use super::source::Span;
use crate::ids::PageSize;
use crate::io::{BLOCK_BYTES, blocks_for, zeroed_blocks};
use crate::lz4;
use crate::page::PageBytes;
use zerocopy::IntoBytes;

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

/// The page in a body; `None` when the body is not one page.
pub(super) fn decode(slot: &Slot, page_size: PageSize, span: Span) -> Option<PageBytes> {
    let size = page_size.bytes();
    match BodyEncoding::from_code(slot.encoding)? {
        BodyEncoding::Raw => Some(match span.into_whole_blocks() {
            Ok(blocks) => PageBytes::from_blocks(blocks),
            Err(span) => PageBytes::copy_of(span.bytes()),
        }),
        BodyEncoding::Lz4 => {
            let mut blocks = zeroed_blocks(blocks_for(size));
            let page = blocks.as_mut_bytes().get_mut(..size)?;
            if !lz4::decompress(span.bytes(), page) {
                return None;
            }
            Some(if size < BLOCK_BYTES {
                PageBytes::copy_of(page)
            } else {
                PageBytes::from_blocks(blocks)
            })
        }
        BodyEncoding::Zstd => None,
    }
}
