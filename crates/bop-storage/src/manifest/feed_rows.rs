//! The rows of the changes feed: its state, one row a change; and whose run it is.
//!
//! ```text
//! FeedBytes   ChangeBytes | name (UTF-8)   RunBytes
//! ```
//! Invariant: as for all rows, [`Row::decode`] accepts exactly what [`Row::encode`] writes.
//!
//! Never: decides what is trimmed.

use super::change::{Change, ChangeKind};
use super::database_row::decode_name;
use super::rows::{Row, ensure, exactly};
use super::schema::Single;
use super::store::Table;
use crate::error::Reject;
use crate::ids::{ChangeNo, CursorId, DbId, Epoch, Lsn};
use crate::name::DbName;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which changes there are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FeedRow {
    /// The opening of the store that began this feed: another one starts its numbers anew.
    pub feed: Epoch,
    /// The oldest change that is kept.
    pub first: ChangeNo,
    /// The number of the next change. Without a gap from `first` on.
    pub next: ChangeNo,
    /// The id of the next cursor.
    pub next_cursor: CursorId,
}

impl FeedRow {
    /// Of a new store, whose first opening it names.
    pub const INITIAL: Self = Self {
        feed: Epoch::new(1),
        first: ChangeNo::new(1),
        next: ChangeNo::new(1),
        next_cursor: CursorId::new(1),
    };
}

/// The bytes of [`FeedRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FeedBytes {
    /// The opening that began this feed: a subscriber notices that it began anew.
    pub feed: U64,
    /// The oldest change that is kept: a missing one is damage, a trimmed one is not.
    pub first: U64,
    /// The number of the next change: none is given out twice.
    pub next: U64,
    /// The id of the next cursor: none is given out twice.
    pub next_cursor: U64,
}
const _: () = assert!(size_of::<FeedBytes>() == 32);

impl Row for FeedRow {
    type Key = Single;
    const TABLE: Table = Table::Feed;

    fn encode(&self) -> Vec<u8> {
        let bytes = FeedBytes {
            feed: self.feed.get().into(),
            first: self.first.get().into(),
            next: self.next.get().into(),
            next_cursor: self.next_cursor.get().into(),
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: FeedBytes = exactly(bytes)?;
        let row = Self {
            feed: Epoch::new(bytes.feed.get()),
            first: ChangeNo::new(bytes.first.get()),
            next: ChangeNo::new(bytes.next.get()),
            next_cursor: CursorId::new(bytes.next_cursor.get()),
        };
        ensure(row.first <= row.next, "changes that end before they begin")?;
        Ok(row)
    }
}

/// The bytes of a [`Change`]; the name stands behind, in UTF-8.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ChangeBytes {
    /// A [`ChangeKind`], as its code.
    pub kind: u8,
    /// Bytes of the name: a cut name is noticed.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// When the transaction was made.
    pub time_us: U64,
    /// The database; 0 when it is about none.
    pub database: U64,
    /// The chunk, or the generation; 0 when it is about none.
    pub number: U64,
    /// The position of the log; 0 when it is about none.
    pub lsn: U64,
}
const _: () = assert!(size_of::<ChangeBytes>() == 40);

impl Row for Change {
    type Key = ChangeNo;
    const TABLE: Table = Table::Changes;

    fn encode(&self) -> Vec<u8> {
        let name = self.name.as_ref().map_or("", DbName::as_str).as_bytes();
        let bytes = ChangeBytes {
            kind: self.kind.code(),
            // A name has at most 255 bytes.
            name_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
            reserved: [0; 6],
            time_us: self.time_us.into(),
            database: self.database.map_or(0, DbId::get).into(),
            number: self.number.into(),
            lsn: self.lsn.get().into(),
        };
        [bytes.as_bytes(), name].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let Ok((bytes, name)) = ChangeBytes::read_from_prefix(bytes) else {
            return Err(Reject::Truncated {
                found: bytes.len() as u64,
                needed: size_of::<ChangeBytes>() as u64,
            });
        };
        ensure(
            name.len() == usize::from(bytes.name_bytes),
            "length of the name",
        )?;
        ensure(bytes.reserved == [0; 6], "reserved bytes are not zero")?;
        let name = (!name.is_empty()).then(|| decode_name(name)).transpose()?;
        let database = bytes.database.get();
        Ok(Self {
            kind: ChangeKind::from_code(bytes.kind).ok_or(Reject::Invalid("kind of change"))?,
            time_us: bytes.time_us.get(),
            database: (database != 0).then(|| DbId::new(database)),
            name,
            number: bytes.number.get(),
            lsn: Lsn::new(bytes.lsn.get()),
        })
    }
}

/// Who has the store open, or had it last.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RunRow {
    /// The opening's number.
    pub epoch: Epoch,
    /// The boot of the machine; zeros when it has none.
    pub boot: [u8; 16],
    /// The process.
    pub pid: u32,
    /// When the store was opened, in microseconds since the Unix epoch.
    pub opened_us: u64,
    /// When it was closed; `None` while it is open, and after a kill.
    pub closed_us: Option<u64>,
}

/// The bytes of [`RunRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RunBytes {
    /// The opening's number, as in the log.
    pub epoch: U64,
    /// The kernel's boot id: a process id of another boot is nobody's.
    pub boot: [u8; 16],
    /// When it was opened.
    pub opened_us: U64,
    /// When it was closed; 0 while it is open, and after a kill.
    pub closed_us: U64,
    /// The process id.
    pub pid: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<RunBytes>() == 48);

impl Row for RunRow {
    type Key = Single;
    const TABLE: Table = Table::Run;

    fn encode(&self) -> Vec<u8> {
        let bytes = RunBytes {
            epoch: self.epoch.get().into(),
            boot: self.boot,
            opened_us: self.opened_us.into(),
            closed_us: self.closed_us.unwrap_or(0).into(),
            pid: self.pid.into(),
            reserved: U32::ZERO,
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: RunBytes = exactly(bytes)?;
        ensure(bytes.reserved == U32::ZERO, "reserved bytes are not zero")?;
        let closed_us = bytes.closed_us.get();
        Ok(Self {
            epoch: Epoch::new(bytes.epoch.get()),
            boot: bytes.boot,
            pid: bytes.pid.get(),
            opened_us: bytes.opened_us.get(),
            closed_us: (closed_us != 0).then_some(closed_us),
        })
    }
}
