//! The records: what a batch carries. A record's bytes do not depend on where it is written, so
//! they are made outside every lock; place and time stand in the batch.
//!
//! ```text
//! commit, fragment   RecordHeader | PageRecord | Member x m | PageEntry x n | images
//! abort              RecordHeader | Abort
//! catalogue          RecordHeader | Catalogue | name
//! append, truncate, purge, vote, relocate
//!                    RecordHeader | LogGroup | LogRecord x m | LogEntry x n | payloads
//! note               RecordHeader | Note
//! close              RecordHeader | CloseHead x n
//! seal index         RecordHeader | what a later version puts there
//! ```
//! Zeros round each record up to a multiple of 8.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum RecordKind {
    /// A transaction of one database or, as a group, of several; or the last part of a large one.
    Commit = 1,
    /// A part of a large transaction: void unless its commit follows.
    Fragment = 2,
    /// Ends a chain of fragments that will not be committed.
    Abort = 3,
    /// Creates, renames, drops ... a database.
    Catalogue = 4,
    /// Appends to a record log.
    Append = 5,
    /// Cuts the suffix of a record log.
    Truncate = 6,
    /// Forgets the prefix of a record log.
    Purge = 7,
    /// The hard state of a record log.
    Vote = 8,
    /// What is live of record logs in segments that are to be released, copied to the head of the
    /// log.
    Relocate = 9,
    /// Tells how far the log is durable; `open` starts an epoch.
    Note = 10,
    /// A clean end: the heads of all databases with records that no checkpoint covers.
    Close = 11,
    /// The index at the end of a sealed segment. Says nothing that the segment's batches do not
    /// say: a reader may pass over it.
    SealIndex = 12,
}

impl RecordKind {
    /// All kinds, by number.
    pub const ALL: &'static [Self] = &[
        Self::Commit,
        Self::Fragment,
        Self::Abort,
        Self::Catalogue,
        Self::Append,
        Self::Truncate,
        Self::Purge,
        Self::Vote,
        Self::Relocate,
        Self::Note,
        Self::Close,
        Self::SealIndex,
    ];

    /// The number that stands for the kind.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The kind behind a number read from disk; `None` for a number we do not know.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether a record of this kind ends a change that somebody asked for: it is neither the log's
    /// own, nor a part of something that is still to come.
    pub const fn ends_change(self) -> bool {
        matches!(
            self,
            Self::Commit
                | Self::Catalogue
                | Self::Append
                | Self::Truncate
                | Self::Purge
                | Self::Vote
        )
    }

    /// Whether a record of this kind changes a database, or the catalogue.
    pub const fn touches_databases(self) -> bool {
        !matches!(self, Self::Note | Self::Close | Self::SealIndex)
    }
}

/// A catalogue record with more than one entry.
pub const FLAG_SEVERAL: u16 = 1;

/// The head of every record.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RecordHeader {
    /// A [`RecordKind`].
    pub kind: U16,
    /// [`FLAG_SEVERAL`], or zero: features that an old reader must not ignore.
    pub flags: U16,
    /// Bytes of this header and all that stands before the images or the payload; a name counts.
    pub header_bytes: U32,
    /// Bytes of the whole record with the zeros that round it up to a multiple of 8.
    pub record_bytes: U64,
    /// CRC-64 of the first `header_bytes` bytes, this field as zero: the page list can be trusted
    /// without reading an image.
    pub header_checksum: U64,
}
const _: () = assert!(size_of::<RecordHeader>() == 24);

/// What a commit and a fragment say about the whole transaction.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PageRecord {
    /// Ties fragments together; 0 for a transaction that is one record.
    pub commit_id: U64,
    /// How many fragments stand before this record: a missing one is noticed.
    pub fragment_index: U32,
    /// Databases ([`Member`]s) of the record.
    pub members: U16,
    /// Zero.
    pub reserved: U16,
    /// Header checksum of the fragment before, which covers that of the one before it, and so on; 0
    /// in the first: a chain assembled from parts of two transactions is noticed.
    pub running_checksum: U64,
}
const _: () = assert!(size_of::<PageRecord>() == 24);

/// One database of a commit or fragment.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Member {
    /// The database.
    pub database: U64,
    /// The database's commit before this one: a lost record is noticed. 0 in a fragment.
    pub parent_lsn: U64,
    /// The xor of all page hashes after this commit. 0 in a fragment.
    pub rolling_checksum: U64,
    /// Pages of the database after this commit. 0 in a fragment.
    pub page_count: U32,
    /// The smallest page count that the database had during the transaction: pages above it that
    /// are not in the list read as zeros. 0 in a fragment.
    pub page_count_min: U32,
    /// Bytes in a page.
    pub page_size: U32,
    /// Entries of the page list that belong to this member.
    pub entries: U32,
}
const _: () = assert!(size_of::<Member>() == 40);

/// How a page image is stored.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Encoding {
    /// The page itself.
    Raw = 0,
    /// The page, compressed by LZ4.
    Lz4 = 1,
    /// The difference to an earlier version.
    Patch = 2,
}

impl Encoding {
    /// The encoding behind a number read from disk; `None` for a number we do not know.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Lz4),
            2 => Some(Self::Patch),
            _ => None,
        }
    }
}

/// One page of a commit or fragment. Images stand behind the list, in its order.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PageEntry {
    /// The page.
    pub page: U32,
    /// Bytes of its image.
    pub image_bytes: U32,
    /// XXH3-64 of page number and page: checked at every later read of the page.
    pub hash: U64,
    /// An [`Encoding`].
    pub encoding: u8,
    /// Zero.
    pub reserved: [u8; 7],
}
const _: () = assert!(size_of::<PageEntry>() == 24);

/// Ends a chain of fragments.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Abort {
    /// The chain.
    pub commit_id: U64,
    /// A database of the chain.
    pub database: U64,
}
const _: () = assert!(size_of::<Abort>() == 16);

/// What a catalogue record does.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum CatalogueKind {
    /// A new database: name, and its kind.
    Create = 1,
    /// A new name.
    Rename = 2,
    /// The database is dropped; a tombstone stays.
    Drop = 3,
    /// The drop is taken back; name.
    Undrop = 4,
    /// A new database that starts as another one was: name, its kind, and that point.
    Fork = 5,
    /// A named snapshot: name and point.
    Snapshot = 6,
    /// A snapshot is dropped; name.
    SnapshotDrop = 7,
    /// How long the past is kept, in microseconds and in bytes.
    Retention = 8,
    /// How large the database may grow, in bytes.
    Quota = 9,
    /// All snapshots of another database become its own; that database.
    Adopt = 10,
}

impl CatalogueKind {
    /// All kinds, by number.
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::Rename,
        Self::Drop,
        Self::Undrop,
        Self::Fork,
        Self::Snapshot,
        Self::SnapshotDrop,
        Self::Retention,
        Self::Quota,
        Self::Adopt,
    ];

    /// The kind behind a number read from disk; `None` for a number we do not know.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u16 == code)
    }
}

/// A catalogue record; the name (UTF-8) stands behind it.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Catalogue {
    /// A [`CatalogueKind`].
    pub kind: U16,
    /// Bytes of the name; 0 when there is none.
    pub name_bytes: U16,
    /// Of a database that comes into being, its kind; else zero.
    pub database_kind: U16,
    /// Zero.
    pub reserved: [u8; 2],
    /// The database.
    pub database: U64,
    /// The catalogue record before this one: a lost one is noticed.
    pub parent_lsn: U64,
    /// As the kind says; else zero.
    pub arguments: [U64; 5],
}
const _: () = assert!(size_of::<Catalogue>() == 64);

/// What a record of record logs begins with; a [`LogRecord`] for each log, the [`LogEntry`]s of all
/// of them and the payloads stand behind it.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LogGroup {
    /// Record logs ([`LogRecord`]s) of the record; more than one in a relocation alone.
    pub logs: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<LogGroup>() == 8);

/// One record log of a record: its bounds after the record, so that they outlive older records.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LogRecord {
    /// The record log.
    pub database: U64,
    /// The log's record before this one, 0 for its first: a lost one is noticed.
    pub parent_lsn: U64,
    /// The index of its oldest entry: everything before is purged.
    pub first_index: U64,
    /// The term of the entry before that one; 0 when there never was one.
    pub first_term: U64,
    /// The index behind its newest entry: everything from here on is cut.
    pub next_index: U64,
    /// Where the payload of its hard state stood before this record; 0 without one: a lost vote is
    /// noticed.
    pub vote_lsn: U64,
    /// Entries of the list that belong to this log.
    pub entries: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<LogRecord>() == 56);

/// One entry of a record log, or its hard state. Payloads stand behind the list, in its order.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct LogEntry {
    /// The entry's index; 0 for a hard state.
    pub index: U64,
    /// The entry's term; 0 for a hard state.
    pub term: U64,
    /// Where the payload of a relocated entry stood before; else 0.
    pub old_lsn: U64,
    /// XXH3-64 of log, kind, index, term and payload: checked at every later read.
    pub hash: U64,
    /// Bytes of the payload.
    pub payload_bytes: U32,
    /// 0 for an entry, 1 for a hard state.
    pub kind: U32,
}
const _: () = assert!(size_of::<LogEntry>() == 40);

/// What a note says, beside the durable Lsn in its batch header.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum NoteKind {
    /// Nothing follows for now.
    Idle = 0,
    /// The first batch of an epoch.
    Open = 1,
}

impl NoteKind {
    /// The kind behind a number read from disk; `None` for a number we do not know.
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Idle),
            1 => Some(Self::Open),
            _ => None,
        }
    }
}

/// A note.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Note {
    /// A [`NoteKind`].
    pub kind: U16,
    /// Zero.
    pub reserved: [u8; 6],
}
const _: () = assert!(size_of::<Note>() == 8);

/// One database in a close record.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CloseHead {
    /// The database; 0 for the catalogue.
    pub database: U64,
    /// Its newest commit (the catalogue's newest record).
    pub head_lsn: U64,
}
const _: () = assert!(size_of::<CloseHead>() == 16);
