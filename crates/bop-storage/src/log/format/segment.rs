//! A segment file: one stamp block, two activation blocks, then batches to the end.
//!
//! ```text
//! block 0      stamp: which store, which segment, which life of the file
//! block 1, 2   activation, twice: written when the segment becomes the active one
//! block 3 ...  batches; the place of an Lsn is DATA_START + (lsn - base_lsn)
//! ```

use crate::io::BLOCK_BYTES;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the batches start, in bytes.
pub const DATA_START: u64 = 3 * BLOCK_BYTES as u64;

/// Starts a stamp. The high bit, CR LF and ^Z catch a transfer that treats the file as text.
pub const STAMP_MAGIC: [u8; 8] = *b"\x89BOPs\r\n\x1a";
/// Starts an activation.
pub const ACTIVATION_MAGIC: [u8; 8] = *b"\x89BOPa\r\n\x1a";

/// The first block of a segment file; the rest of the block is zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Stamp {
    /// [`STAMP_MAGIC`].
    pub magic: [u8; 8],
    /// The format: a newer one is refused, never guessed at.
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store: a segment copied from elsewhere is refused.
    pub store_id: [u8; 16],
    /// The segment: a file renamed or swapped is noticed.
    pub segment_id: U64,
    /// This life of the file: what an earlier life left in it fails its checksum.
    pub incarnation: U64,
    /// Bytes of the file: a shorter one is damage.
    pub capacity_bytes: U64,
    /// CRC-64 of all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<Stamp>() == 64);

/// The second and third block of a segment file; the rest of each block is zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Activation {
    /// [`ACTIVATION_MAGIC`].
    pub magic: [u8; 8],
    /// The epoch that activated the segment: bytes of an older run never come back.
    pub epoch: U64,
    /// The Lsn of the first byte behind the activation blocks.
    pub base_lsn: U64,
    /// The newest time stamp given out before: time stays monotone across segments and opens.
    pub last_time_us: U64,
    /// The segment before this one; 0 for the first of a store. A missing one is noticed.
    pub predecessor_id: U64,
    /// Where the predecessor ends: what lies behind is dead for ever.
    pub predecessor_end: U64,
    /// The fold of the predecessor's batch checksums up to that end: a shortened or exchanged
    /// predecessor is noticed.
    pub predecessor_hash: U64,
    /// CRC-64 of store id, segment id, incarnation, and all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<Activation>() == 64);
