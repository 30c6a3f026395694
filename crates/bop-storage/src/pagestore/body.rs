//! A page as it stands in a chunk: raw, or compressed if that saves an eighth.
//!
//! Invariant: what [`Compressor::encode`] makes, [`decode`] turns back into the same page.
//!
//! Never: checks a checksum.

use super::compression::Compression;
use super::format::{BodyEncoding, Slot};
use crate::buffer::Buffer;
use crate::ids::PageSize;
use crate::io::BLOCK_BYTES;
use crate::lz4;
use crate::page::PageBytes;
use crate::view::Packing;
use crate::zstandard;

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
pub(super) enum Compressor {
    Off,
    Lz4(lz4::Compressor),
    Zstd(zstandard::Compressor),
}

impl Compressor {
    /// `None` when there is no memory for it.
    pub(super) fn new(compression: Compression) -> Option<Self> {
        let bytes_max = PageSize::MAX.bytes();
        Some(match compression {
            Compression::Off => Self::Off,
            Compression::Lz4 => Self::Lz4(lz4::Compressor::new(bytes_max)),
            Compression::Zstd { level } => {
                let levels = Compression::LEVELS;
                let level = level.clamp(*levels.start(), *levels.end());
                Self::Zstd(zstandard::Compressor::new(level, bytes_max)?)
            }
        })
    }

    /// Whether versions of a page are told as what they change.
    pub(super) fn patches(&self) -> bool {
        !matches!(self, Self::Off)
    }

    /// The page compressed if that saves an eighth of it, else as it is. What `packing` says of LZ4 says
    /// nothing of Zstandard.
    pub(super) fn encode<'a>(
        &'a mut self,
        content: &'a [u8],
        packing: &'a Packing,
    ) -> (BodyEncoding, &'a [u8]) {
        let compressed = match (self, packing) {
            (Self::Off, _) | (Self::Lz4(_), Packing::No) => None,
            (Self::Lz4(_), Packing::Lz4(block)) => Some((BodyEncoding::Lz4, &**block)),
            (Self::Lz4(lz4), Packing::Unknown) => {
                let block = lz4.compress(content);
                block.map(|block| (BodyEncoding::Lz4, block))
            }
            (Self::Zstd(zstd), _) => {
                let frame = zstd.compress(content);
                frame.map(|frame| (BodyEncoding::Zstd, frame))
            }
        };
        compressed.unwrap_or((BodyEncoding::Raw, content))
    }
}

/// The page in a body; `None` when the body is not one page, or what one changes. The page is a copy in memory of just its
/// size: blocks of the disk are aligned, which costs an allocator as much again for each.
pub(super) fn decode(slot: &Slot, page_size: PageSize, body: &[u8]) -> Option<PageBytes> {
    let decompress = match BodyEncoding::from_code(slot.encoding)? {
        BodyEncoding::Raw => return Some(PageBytes::copy_of(body)),
        BodyEncoding::Lz4 => lz4::decompress,
        BodyEncoding::Zstd => zstandard::decompress,
        BodyEncoding::Patch => return None,
    };
    let mut page = Buffer::with_capacity(page_size.bytes());
    page.resize(page_size.bytes(), 0);
    decompress(body, &mut page).then(|| PageBytes::of(page))
}
