//! The bytes of a chunk file.
//!
//! ```text
//! block 0        ChunkHeader, zeros to the end of the block
//! per section    bodies | slots (n x 48, the section's index) | payload
//! directory      SectionEntry x n (128 each)
//! zeros          so that the footer ends a block
//! footer         ChunkFooter: the last 64 bytes of the file
//! ```
//! The file's length is a multiple of 4096. Raw bodies of pages of 4096 bytes and more start at
//! multiples of 4096, so that a direct read is the page; everything else starts at multiples of 8.
//!
//! | section | slots | a page without a slot | payload |
//! |---|---|---|---|
//! | base | one for each page of the range that was written | reads as zeros | none |
//! | delta | one for each page changed since an older section | is in that section | none |
//! | history | one for each superseded version that is kept, by page and then Lsn | was not superseded, or nobody needs it | [`CommitPoint`]s of its interval |
//! | catalogue | none | - | the catalogue |
//!
//! Never: decides what to do with bytes that are wrong.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The newest chunk format that this program reads, and the one it writes.
///
/// 1: nothing of what is between two generations; 2: `page_count_min`, `inherited` and `since_lsn` of a
/// section, and commits of 40 bytes in a history; 3: versions in a history that are patches.
pub const CHUNK_FORMAT_VERSION: u32 = 3;

/// The oldest chunk format that this program reads. Programs that wrote it wrote bases and catalogues.
pub const CHUNK_FORMAT_VERSION_MIN: u32 = 1;

/// Starts a chunk. The high bit, CR LF and ^Z catch a transfer that treats the file as text.
pub const CHUNK_MAGIC: [u8; 8] = *b"\x89BOPc\r\n\x1a";
/// Ends a chunk.
pub const FOOTER_MAGIC: [u8; 8] = *b"\x89BOPf\r\n\x1a";

/// The first bytes of a chunk. Their layout is the same in every format version, so that damage
/// is told from a newer version.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ChunkHeader {
    /// [`CHUNK_MAGIC`].
    pub magic: [u8; 8],
    /// The format: a newer one is refused, never guessed at.
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store: a chunk copied from elsewhere is refused.
    pub store_id: [u8; 16],
    /// The chunk: a file renamed or swapped is noticed.
    pub chunk_id: U64,
    /// CRC-64 of all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<ChunkHeader>() == 48);

/// The last bytes of a chunk.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ChunkFooter {
    /// CRC-64 of store id, chunk id, and all fields behind this one.
    pub checksum: U64,
    /// Where the directory starts in the file.
    pub directory_offset: U64,
    /// CRC-64 of store id, chunk id, and the directory.
    pub directory_checksum: U64,
    /// Bytes of the file: a shorter or longer one is damage.
    pub chunk_bytes: U64,
    /// XXH3-128 of every byte before this footer, little-endian: proves the file as a whole.
    pub digest: [u8; 16],
    /// Entries of the directory.
    pub sections: U32,
    /// As in the header.
    pub format_version: U32,
    /// [`FOOTER_MAGIC`]: a file that was cut off is noticed.
    pub magic: [u8; 8],
}
const _: () = assert!(size_of::<ChunkFooter>() == 64);

/// What a section is.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum SectionKind {
    /// All pages of a range.
    Base = 1,
    /// The pages of a range that changed since an older section.
    Delta = 2,
    /// Superseded versions of the pages of a database.
    History = 3,
    /// The names and kinds of all databases.
    Catalogue = 4,
}

impl SectionKind {
    /// The number that stands for the kind in the directory.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The kind behind a number read from disk; `None` for a number we do not know.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Base),
            2 => Some(Self::Delta),
            3 => Some(Self::History),
            4 => Some(Self::Catalogue),
            _ => None,
        }
    }
}

/// One section, in the directory. In a catalogue section, what describes pages is zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SectionEntry {
    /// A [`SectionKind`].
    pub kind: U16,
    /// Zero: features that an old reader must not ignore.
    pub flags: U16,
    /// Bytes in a page.
    pub page_size: U32,
    /// The database: a section taken for another one is noticed in every slot.
    pub database: U64,
    /// The generation that the section was written for.
    pub generation: U64,
    /// The newest Lsn that the section covers: no slot has a newer version.
    pub cut_lsn: U64,
    /// The xor of all page hashes of the database at that Lsn: proves the sections of a
    /// generation complete.
    pub rolling_checksum: U64,
    /// Pages of the database at that Lsn.
    pub page_count: U32,
    /// The number of the range in its database, from 0.
    pub range: U32,
    /// The first page of the range.
    pub first_page: U32,
    /// Pages of the range: no slot lies outside.
    pub pages: U32,
    /// Slots of the index.
    pub slots: U32,
    /// The fewest pages that the database had since the generation before: older sections answer for
    /// none above. Version 1 has zero here and does not say it.
    pub page_count_min: U32,
    /// Where the section starts in the file: no body of it lies before.
    pub start_offset: U64,
    /// Where the index starts in the file.
    pub index_offset: U64,
    /// CRC-64 of store id, chunk id, the section's number as four bytes, and the slots.
    pub index_checksum: U64,
    /// Where the payload starts in the file.
    pub payload_offset: U64,
    /// Bytes of the payload.
    pub payload_bytes: U64,
    /// CRC-64 of store id, chunk id, the section's number as four bytes, and the payload.
    pub payload_checksum: U64,
    /// The head of the generation before: where the interval of a history starts, and what a delta
    /// stands on; zero of a first generation, and in version 1.
    pub since_lsn: U64,
    /// Pages that a fork still reads from its origin where it has none of its own.
    pub inherited: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<SectionEntry>() == 128);

/// How a body is stored.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BodyEncoding {
    /// The page itself.
    Raw = 0,
    /// The page as one LZ4 block, without a length in front. Used when it saves an eighth.
    Lz4 = 1,
    /// The page as one Zstandard frame. Used when it saves an eighth.
    Zstd = 2,
    /// In a history: what the page changes of the version in the slot before, as two bytes with a count, so many
    /// runs of offset and length, two bytes each, and their bytes. Used when it saves half, and is no longer than the page
    /// was when it was whole.
    Patch = 3,
}

/// Patches of a history that rest on one body that is a page, at most.
pub const PATCHES_MAX: u8 = 7;

impl BodyEncoding {
    /// The encoding behind a number read from disk; `None` for one that this version cannot read.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            3 => Some(Self::Patch),
            _ => None,
        }
    }
}

/// One version of a page, in a section's index. Ascending by page, in a history by page and
/// version.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Slot {
    /// The commit that wrote the page.
    pub version_lsn: U64,
    /// XXH3-64 of page number and page: what the body must be, however it was stored.
    pub hash: U64,
    /// Where the body starts in the file.
    pub body_offset: U64,
    /// The page.
    pub page: U32,
    /// Bytes of the body as stored.
    pub body_bytes: U32,
    /// A [`BodyEncoding`].
    pub encoding: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// CRC-64 of database, generation, the slot's number as four bytes, all fields before this one
    /// but `body_offset`, and the body: a body read from the wrong place is noticed, while one can
    /// be copied into another chunk as it is.
    pub checksum: U64,
}
const _: () = assert!(size_of::<Slot>() == 48);

impl Slot {
    /// Where the body ends in the file.
    pub(super) fn body_end(&self) -> u64 {
        let bytes = u64::from(self.body_bytes.get());
        self.body_offset.get().saturating_add(bytes)
    }
}

/// [`CommitPoint::flags`]: all versions that a reader at this commit needs are there.
pub const POINT_READABLE: u32 = 1;
/// [`CommitPoint::flags`]: no commit lies between this one and the one before it in the payload, or the
/// start of the interval.
pub const POINT_FOLLOWS: u32 = 2;

/// One commit of the interval of a history section, in its payload. Ascending; the last one is the
/// commit that the section's generation shows.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CommitPoint {
    /// The commit.
    pub lsn: U64,
    /// When it was appended, in microseconds since the Unix epoch.
    pub time_us: U64,
    /// The xor of all page hashes after it.
    pub rolling_checksum: U64,
    /// Pages of the database after it.
    pub page_count: U32,
    /// The fewest pages that the database had within it: what it cut off is not read behind it.
    pub page_count_min: U32,
    /// Bit 0: [`POINT_READABLE`]; bit 1: [`POINT_FOLLOWS`]. The others are zero.
    pub flags: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<CommitPoint>() == 40);
