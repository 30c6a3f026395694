//! The unit of every transfer: 4 KiB, aligned as direct I/O wants it, without `unsafe`.
//!
//! Invariant: a `Block` starts at an address that is a multiple of its size, so a slice of blocks
//! can be handed to a file opened with `O_DIRECT` on any device with blocks up to 4 KiB.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks between two places that are rather read along than left out: another read costs more.
pub const READ_GAP_BLOCKS_MAX: u64 = 4;

/// 4 KiB of bytes at an aligned address. `&[Block]` turns into `&[u8]` by
/// [`zerocopy::IntoBytes::as_bytes`], and back to mutable bytes by `as_mut_bytes`.
#[derive(Copy, Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);

impl Block {
    /// A block of zeros.
    pub const ZERO: Self = Self([0; BLOCK_BYTES]);
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block(crc64 {:016x})", crate::checksum::crc64(&self.0))
    }
}

/// How many blocks hold `bytes` bytes.
pub const fn blocks_for(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES)
}

/// `count` blocks of zeros.
pub fn zeroed_blocks(count: usize) -> Vec<Block> {
    vec![Block::ZERO; count]
}
