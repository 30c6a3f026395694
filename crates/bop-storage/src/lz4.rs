//! Pages as LZ4 blocks, in log and chunks alike: without a length in front, only if it pays.
//!
//! Invariant: what [`Compressor::compress`] makes, [`decompress`] turns back into the same bytes.
//!
//! Never: checks a checksum; allocates by a length that was read.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use std::fmt;

/// Compresses pages one by one, with memory that is used again.
pub(crate) struct Compressor {
    table: CompressTable,
    output: Vec<u8>,
}

impl Compressor {
    /// For inputs of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            table: CompressTable::default(),
            output: vec![0; get_maximum_output_size(bytes_max)],
        }
    }

    /// The content compressed, if that saves an eighth of it.
    pub(crate) fn compress(&mut self, content: &[u8]) -> Option<&[u8]> {
        let compressed = compress_into_with_table(content, &mut self.output, &mut self.table);
        // No room in `output` cannot be, as long as the caller keeps to its bound. As it is, then.
        let bytes = compressed.ok()?;
        (bytes <= content.len() - content.len() / 8).then(|| &self.output[..bytes])
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

/// Fills `page` from a block; `false` when the block is not exactly that long a page.
pub(crate) fn decompress(block: &[u8], page: &mut [u8]) -> bool {
    lz4_flex::block::decompress_into(block, page).is_ok_and(|written| written == page.len())
}
