//! A page as it stands in a chunk: raw, or compressed if that saves an eighth.
//!
//! Invariant: what [`Compressor::encode`] makes, [`decode`] turns back into the same page.
//!
//! Never: checks a checksum.

use super::format::{BodyEncoding, Slot};
use super::source::Span;
use crate::ids::PageSize;
use crate::io::{BLOCK_BYTES, blocks_for, zeroed_blocks};
use crate::page::PageBytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use std::fmt;
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
pub(super) struct Compressor {
    table: CompressTable,
    output: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            table: CompressTable::default(),
            output: vec![0; get_maximum_output_size(PageSize::MAX.bytes())],
        }
    }

    /// The page compressed if that saves an eighth of it, else as it is.
    pub(super) fn encode<'a>(&'a mut self, content: &'a [u8]) -> (BodyEncoding, &'a [u8]) {
        let compressed = compress_into_with_table(content, &mut self.output, &mut self.table);
        match compressed {
            Ok(bytes) if bytes <= content.len() - content.len() / 8 => {
                (BodyEncoding::Lz4, &self.output[..bytes])
            }
            // No room in `output` cannot be: it has the largest page's bound. Raw is right anyway.
            _ => (BodyEncoding::Raw, content),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
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
            let written = lz4_flex::block::decompress_into(span.bytes(), page).ok()?;
            if written != size {
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
