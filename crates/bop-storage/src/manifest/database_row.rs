//! The row of a database: its name and the state that its chunks hold.
//!
//! ```text
//! DatabaseBytes | name (UTF-8)
//! ```
//! Invariant: a database that was never checkpointed has [`CheckpointedHead::NONE`], and one with
//! pages has a page size.

use super::policy::{Policy, PolicyBytes};
use super::rows::{Row, ensure};
use super::store::Table;
use crate::checksum::RollingChecksum;
use crate::error::Reject;
use crate::ids::{DbId, DbKind, Generation, Lsn, PageSize};
use crate::name::DbName;
use crate::point::{Point, PointBytes};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Whether a database can be opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum DatabaseState {
    /// It can.
    Live,
    /// It was dropped, and has all its pages still: the drop can be taken back.
    Dropped {
        /// When, in microseconds since the Unix epoch.
        dropped_us: u64,
        /// Until when that is promised, unless more is dropped than the store keeps.
        until_us: u64,
    },
    /// It was dropped and its pages are gone; its id and name are remembered while anything may name
    /// the id.
    Tombstone {
        /// When, in microseconds since the Unix epoch.
        dropped_us: u64,
    },
}

impl DatabaseState {
    /// Whether its pages are kept, so that checkpoints write them and repair looks for them.
    pub const fn has_pages(&self) -> bool {
        !matches!(self, Self::Tombstone { .. })
    }

    /// Until when a drop can be taken back; `None` where there is none, or no way back.
    pub const fn until_us(&self) -> Option<u64> {
        match self {
            Self::Dropped { until_us, .. } => Some(*until_us),
            Self::Live | Self::Tombstone { .. } => None,
        }
    }
}

/// The state of a database that its newest generation of chunks holds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CheckpointedHead {
    /// The generation.
    pub generation: Generation,
    /// The newest commit in it.
    pub lsn: Lsn,
    /// That commit's time, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Pages of the database after that commit.
    pub page_count: u32,
    /// The xor of its page hashes after that commit.
    pub rolling_checksum: RollingChecksum,
}

impl CheckpointedHead {
    /// Of a database that has no chunks yet.
    pub const NONE: Self = Self {
        generation: Generation::new(0),
        lsn: Lsn::ZERO,
        time_us: 0,
        page_count: 0,
        rolling_checksum: RollingChecksum::EMPTY,
    };
}

/// A database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseRow {
    /// Its name; of a tombstone, the last one.
    pub name: DbName,
    /// What its pages mean.
    pub kind: DbKind,
    /// Whether it can be opened.
    pub state: DatabaseState,
    /// Bytes in a page; none before the first checkpoint of a commit.
    pub page_size: Option<PageSize>,
    /// When it was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// The newest catalogue record about it.
    pub catalogue_lsn: Lsn,
    /// What its chunks hold.
    pub checkpointed: CheckpointedHead,
    /// What its owner has set for it.
    pub policy: Policy,
    /// What it started from, while it has pages; `None` of one that started empty.
    pub origin: Option<Box<Point>>,
}

/// The bytes of [`DatabaseRow`], without the name.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DatabaseBytes {
    /// A [`DbKind`].
    pub kind: U16,
    /// 1 live, 2 tombstone, 3 dropped with its pages kept.
    pub state: u8,
    /// Bytes of the name: a cut name is noticed.
    pub name_bytes: u8,
    /// Bytes in a page; 0 when not known yet.
    pub page_size: U32,
    /// When it was created.
    pub created_us: U64,
    /// When it was dropped; 0 when live.
    pub dropped_us: U64,
    /// The newest catalogue record about it: a record is applied once.
    pub catalogue_lsn: U64,
    /// The generation that readers start from.
    pub generation: U64,
    /// The newest commit in the chunks: the log's next one must name it as its parent.
    pub head_lsn: U64,
    /// That commit's time.
    pub head_time_us: U64,
    /// Pages after that commit.
    pub page_count: U32,
    /// Zero.
    pub reserved: U32,
    /// The xor of the page hashes after that commit: proves the chunks complete.
    pub rolling_checksum: U64,
    /// Until when the drop can be taken back; 0 when live, and of a tombstone. Rows of version 1 end
    /// before it.
    pub until_us: U64,
    /// What its owner has set for it.
    pub policy: PolicyBytes,
    /// What it started from; zeros of one that started empty.
    pub origin: PointBytes,
}
const _: () = assert!(size_of::<DatabaseBytes>() == 144);

/// Where version 2 of the row goes on.
const VERSION_1_BYTES: usize = std::mem::offset_of!(DatabaseBytes, until_us);

const LIVE: u8 = 1;
const TOMBSTONE: u8 = 2;
const DROPPED: u8 = 3;

impl Row for DatabaseRow {
    type Key = DbId;
    const TABLE: Table = Table::Databases;

    fn encode(&self) -> Vec<u8> {
        let (state, dropped_us, until_us) = encode_state(self.state);
        let head = &self.checkpointed;
        let name = self.name.as_str().as_bytes();
        let bytes = DatabaseBytes {
            kind: U16::new(self.kind.code()),
            state,
            // A name has at most 255 bytes.
            name_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
            page_size: U32::new(self.page_size.map_or(0, PageSize::get)),
            created_us: U64::new(self.created_us),
            dropped_us: U64::new(dropped_us),
            catalogue_lsn: U64::new(self.catalogue_lsn.get()),
            generation: U64::new(head.generation.get()),
            head_lsn: U64::new(head.lsn.get()),
            head_time_us: U64::new(head.time_us),
            page_count: U32::new(head.page_count),
            reserved: U32::ZERO,
            rolling_checksum: U64::new(head.rolling_checksum.get()),
            until_us: U64::new(until_us),
            policy: self.policy.into(),
            origin: PointBytes::of(self.origin.as_deref().copied()),
        };
        [bytes.as_bytes(), name].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let Ok((bytes, name)) = DatabaseBytes::read_from_prefix(bytes) else {
            return Err(Reject::Truncated {
                found: bytes.len() as u64,
                needed: size_of::<DatabaseBytes>() as u64,
            });
        };
        ensure(
            name.len() == usize::from(bytes.name_bytes),
            "length of the name",
        )?;
        ensure(bytes.reserved == U32::ZERO, "reserved bytes are not zero")?;
        let row = Self {
            name: decode_name(name)?,
            kind: DbKind::from_code(bytes.kind.get()).ok_or(Reject::Invalid("kind"))?,
            state: decode_state(bytes.state, bytes.dropped_us.get(), bytes.until_us.get())?,
            page_size: decode_page_size(bytes.page_size.get())?,
            created_us: bytes.created_us.get(),
            catalogue_lsn: Lsn::new(bytes.catalogue_lsn.get()),
            checkpointed: CheckpointedHead {
                generation: Generation::new(bytes.generation.get()),
                lsn: Lsn::new(bytes.head_lsn.get()),
                time_us: bytes.head_time_us.get(),
                page_count: bytes.page_count.get(),
                rolling_checksum: RollingChecksum::new(bytes.rolling_checksum.get()),
            },
            policy: bytes.policy.into(),
            origin: bytes.origin.read_optional()?.map(Box::new),
        };
        let head = &row.checkpointed;
        ensure(
            head.generation.get() != 0 || *head == CheckpointedHead::NONE,
            "a head without a generation",
        )?;
        ensure(
            head.page_count == 0 || row.page_size.is_some(),
            "pages without a page size",
        )?;
        Ok(row)
    }

    fn decode_version((version, bytes): (u16, &[u8])) -> Result<Self, Reject> {
        match (version, bytes.split_at_checked(VERSION_1_BYTES)) {
            (1, Some((head, name))) => {
                let policy = PolicyBytes::from(Policy::default());
                let (until_us, origin) = (U64::ZERO, PointBytes::NONE);
                let added = [until_us.as_bytes(), policy.as_bytes(), origin.as_bytes()].concat();
                Self::decode(&[head, &added, name].concat())
            }
            _ => Self::decode(bytes),
        }
    }
}

/// The name behind bytes from disk.
pub(crate) fn decode_name(bytes: &[u8]) -> Result<DbName, Reject> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| DbName::new(text).ok())
        .ok_or(Reject::Invalid("not a database name"))
}

/// A state as its code, the time of the drop and until when it can be taken back.
pub(crate) fn encode_state(state: DatabaseState) -> (u8, u64, u64) {
    match state {
        DatabaseState::Live => (LIVE, 0, 0),
        DatabaseState::Tombstone { dropped_us } => (TOMBSTONE, dropped_us, 0),
        DatabaseState::Dropped {
            dropped_us,
            until_us,
        } => (DROPPED, dropped_us, until_us),
    }
}

/// The state behind the numbers on disk.
pub(crate) fn decode_state(
    state: u8,
    dropped_us: u64,
    until_us: u64,
) -> Result<DatabaseState, Reject> {
    match (state, dropped_us, until_us) {
        (LIVE, 0, 0) => Ok(DatabaseState::Live),
        (LIVE, _, _) => Err(Reject::Invalid("a live database with a time of its drop")),
        (TOMBSTONE, dropped_us, 0) => Ok(DatabaseState::Tombstone { dropped_us }),
        (DROPPED, dropped_us, until_us) => Ok(DatabaseState::Dropped {
            dropped_us,
            until_us,
        }),
        _ => Err(Reject::Invalid("state")),
    }
}

fn decode_page_size(bytes: u32) -> Result<Option<PageSize>, Reject> {
    match bytes {
        0 => Ok(None),
        bytes => Ok(Some(
            PageSize::new(bytes).ok_or(Reject::Invalid("page size"))?,
        )),
    }
}
