//! A batch: what one device write carries, and what replay takes whole or not at all.
//!
//! ```text
//! header (64) | entry (40) | record | entry | record | ... | zeros | all entries again | trailer (40)
//! |<------------------------------- length_bytes, a multiple of 4096 ----------------------------->|
//! ```
//! Records start at multiples of 8. A record's entry stands right in front of it (a group has one
//! for each of its databases), so that the Lsn of a record is known when it is appended, whatever
//! follows it in its batch. All entries together are the *directory*; it stands at the end again, so
//! that a batch whose head or tail is damaged still tells which databases it touched.

use super::bytes::sealed;
use super::segment::SegmentIdentity;
use crate::ids::{Epoch, Lsn};
use crate::io::{BLOCK_BYTES, blocks_for};
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
    /// CRC-64 of all entries: whichever of the two directories agrees is right.
    pub directory_checksum: U64,
    /// Zero.
    pub reserved: [u8; 8],
    /// CRC-64 of store id, segment id, incarnation, and all fields before it.
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

/// Where the records of a batch come to stand, one after the other, while it is being filled.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BatchLayout {
    /// Behind the last record.
    free: usize,
    entries: usize,
}

impl Default for BatchLayout {
    fn default() -> Self {
        Self {
            free: HEADER_BYTES,
            entries: 0,
        }
    }
}

impl BatchLayout {
    /// Takes the next record, of so many bytes, that touches so many databases (one that touches
    /// none has an entry, too). Returns where it starts, in bytes from the batch header.
    pub const fn add(&mut self, record_bytes: usize, databases: usize) -> usize {
        let entries = if databases == 0 { 1 } else { databases };
        let record = self.free + entries * ENTRY_BYTES;
        self.free = record + record_bytes;
        self.entries += entries;
        record
    }

    /// Bytes of the batch as it is: a multiple of a block.
    pub const fn batch_bytes(&self) -> usize {
        blocks_for(self.free + self.entries * ENTRY_BYTES + TRAILER_BYTES) * BLOCK_BYTES
    }

    /// Behind the last record, in bytes from the batch header.
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// Directory entries.
    pub(super) const fn entries(&self) -> usize {
        self.entries
    }
}

pub(super) fn header_checksum(identity: &SegmentIdentity, header: &BatchHeader) -> u64 {
    sealed(identity.checksum(), header.as_bytes())
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
