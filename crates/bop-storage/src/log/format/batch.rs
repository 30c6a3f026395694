//! A batch: what one device write carries, and what replay takes whole or not at all.
//!
//! ```text
//! header (64) | directory (n x 40) | records ... | zeros | directory again | trailer (40)
//! |<--------------------------- length_bytes, a multiple of 4096 ------------------------>|
//! ```
//! Records start at multiples of 8. The directory stands at both ends, so that a batch whose head
//! or tail is damaged still tells which databases it touched.

use super::segment::SegmentIdentity;
use crate::ids::{Epoch, Lsn};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Starts a batch header.
pub const BATCH_MAGIC: u32 = 0x4250_4f42;
/// Starts a batch trailer.
pub const TRAILER_MAGIC: u32 = 0x5450_4f42;

/// The head of a batch.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BatchHeader {
    /// [`BATCH_MAGIC`].
    pub magic: U32,
    /// Directory entries.
    pub entries: U32,
    /// Bytes of the whole batch, a multiple of 4096.
    pub length_bytes: U32,
    /// Zero: features that an old reader must not ignore.
    pub flags: U32,
    /// The Lsn of this header: a misdirected write is noticed.
    pub lsn: U64,
    /// The opening of the store that wrote it: bytes of an older run are noticed.
    pub epoch: U64,
    /// Everything before this Lsn was durable when the batch was built: damage there is damage,
    /// never the end of the log.
    pub durable_lsn: U64,
    /// Zero.
    pub reserved: [u8; 16],
    /// CRC-64 of store id, segment id, incarnation, all fields before it, and the directory.
    pub checksum: U64,
}
const _: () = assert!(size_of::<BatchHeader>() == 64);

/// One record and one database that it touches. A group has one entry for each of its databases.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DirectoryEntry {
    /// The database: tells whom damage of the record can touch.
    pub database: U64,
    /// Where the record starts, in bytes from the batch header.
    pub offset_bytes: U32,
    /// Bytes of the record.
    pub record_bytes: U32,
    /// When it was appended, in microseconds since the Unix epoch, never less than before.
    pub time_us: U64,
    /// CRC-64 of the record.
    pub record_checksum: U64,
    /// The record's kind, as in its own header.
    pub kind: U16,
    /// Zero.
    pub flags: U16,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<DirectoryEntry>() == 40);

/// The last bytes of a batch, right behind the second directory.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BatchTrailer {
    /// CRC-64 of store id, segment id, incarnation, the directory, and all fields behind this one.
    pub checksum: U64,
    /// The Lsn of the batch header.
    pub lsn: U64,
    /// As in the header.
    pub epoch: U64,
    /// As in the header.
    pub entries: U32,
    /// As in the header.
    pub length_bytes: U32,
    /// Zero.
    pub reserved: U32,
    /// [`TRAILER_MAGIC`].
    pub magic: U32,
}
const _: () = assert!(size_of::<BatchTrailer>() == 40);

pub(super) const HEADER_BYTES: usize = size_of::<BatchHeader>();
pub(super) const ENTRY_BYTES: usize = size_of::<DirectoryEntry>();
pub(super) const TRAILER_BYTES: usize = size_of::<BatchTrailer>();

/// What a batch says of itself.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BatchPlace {
    /// Where it starts.
    pub lsn: Lsn,
    /// The opening of the store that writes it.
    pub epoch: Epoch,
    /// Everything before this Lsn is durable; at most `lsn`.
    pub durable: Lsn,
}

pub(super) fn header_checksum(
    identity: &SegmentIdentity,
    header: &BatchHeader,
    directory: &[u8],
) -> u64 {
    let fields = header.as_bytes();
    identity
        .checksum()
        .update(&fields[..HEADER_BYTES - size_of::<U64>()])
        .update(directory)
        .finish()
}

pub(super) fn trailer_checksum(
    identity: &SegmentIdentity,
    trailer: &BatchTrailer,
    directory: &[u8],
) -> u64 {
    identity
        .checksum()
        .update(directory)
        .update(&trailer.as_bytes()[size_of::<U64>()..])
        .finish()
}
