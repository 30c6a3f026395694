//! Rows about what is damaged: databases that are closed, and the segments kept for them outside
//! the log.
//!
//! Invariant: as for the other rows, what is decoded is exactly what is encoded.
//!
//! Never: says which database is damaged without a place.

use super::rows::{Row, ensure, exactly};
use super::store::Table;
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, Incarnation, Lsn, SegmentId};
use crate::io::layout;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A longer reason is cut.
const REASON_BYTES_MAX: usize = 200;

/// Where the damage of a closed database is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ClosedBy {
    /// In the manifest or in a chunk, where it is found again.
    Elsewhere,
    /// At a position of the log.
    Log(SegmentId, Lsn),
    /// A segment's file as a whole.
    File(SegmentId),
    /// The manifest was lost, and what is left does not prove the database whole.
    Lost,
}

/// A database that is closed for damage, also when the log has gone on without what it lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClosedRow {
    /// Where the damage is.
    pub by: ClosedBy,
    /// Why those bytes were not believed.
    pub reason: String,
    /// Its part of the log, and that of the damage, start here.
    pub from: Lsn,
    /// And they end before here.
    pub to: Lsn,
}

impl ClosedRow {
    /// The row of a database that was closed for `damage`, which needs the log from `from` to `to`.
    pub fn new(damage: &Damage, from: Lsn, to: Lsn) -> Self {
        let by = match &damage.place {
            Place::Log { segment, lsn } => ClosedBy::Log(*segment, *lsn),
            Place::File(path) => {
                let name = path.file_name().and_then(|name| name.to_str());
                let segment = name.and_then(layout::segment_of);
                segment.map_or(ClosedBy::Elsewhere, ClosedBy::File)
            }
            _ => ClosedBy::Elsewhere,
        };
        Self {
            by,
            reason: cut(damage.reason.to_string()),
            from,
            to,
        }
    }

    /// The row of a database that nothing proves whole since the manifest was lost; it needs the log from
    /// `from` to `to`.
    pub fn lost(why: &str, from: Lsn, to: Lsn) -> Self {
        Self {
            by: ClosedBy::Lost,
            reason: cut(why.to_owned()),
            from,
            to,
        }
    }

    /// What closed the database, whose row this is; `None` when that is found elsewhere, again and again.
    pub fn damage(&self, database: DbId) -> Option<Damage> {
        let place = match self.by {
            ClosedBy::Lost => Place::Database { database },
            ClosedBy::Elsewhere => return None,
            ClosedBy::Log(segment, lsn) => Place::Log { segment, lsn },
            ClosedBy::File(segment) => Place::File(layout::segment(segment)),
        };
        let simple = [Reject::Missing, Reject::Magic, Reject::Checksum];
        let mut simple = simple.into_iter();
        let reason = simple.find(|reject| reject.to_string() == self.reason);
        let reason = reason.unwrap_or_else(|| Reject::Recorded(self.reason.clone()));
        Some(Damage::new(place, reason))
    }

    /// Whether the database needs something of a segment that spans `base` to `end`.
    pub fn needs(&self, base: Lsn, end: Lsn) -> bool {
        base < self.to && self.from < end
    }
}

fn cut(mut reason: String) -> String {
    let cut = (0..=REASON_BYTES_MAX.min(reason.len())).rev();
    let cut = cut.into_iter().find(|at| reason.is_char_boundary(*at));
    reason.truncate(cut.unwrap_or(0));
    reason
}

/// The bytes of [`ClosedRow`]; the reason stands behind, in UTF-8.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ClosedBytes {
    /// The damaged segment; 0 when the damage is elsewhere.
    pub segment: U64,
    /// Where the damage is; 0 when it is elsewhere, or all of the segment.
    pub lsn: U64,
    /// The database's part of the log starts here.
    pub from_lsn: U64,
    /// It ends before here.
    pub to_lsn: U64,
    /// 0 elsewhere, 1 a position, 2 a whole segment, 3 lost with the manifest.
    pub place: U16,
    /// Bytes of the reason: a cut one is noticed.
    pub reason_bytes: U16,
    /// Zero.
    pub reserved: [u8; 4],
}
const _: () = assert!(size_of::<ClosedBytes>() == 40);

impl Row for ClosedRow {
    type Key = DbId;
    const TABLE: Table = Table::Closed;

    fn encode(&self) -> Vec<u8> {
        let (place, segment, lsn) = match self.by {
            ClosedBy::Elsewhere => (0, 0, 0),
            ClosedBy::Log(segment, lsn) => (1, segment.get(), lsn.get()),
            ClosedBy::File(segment) => (2, segment.get(), 0),
            ClosedBy::Lost => (3, 0, 0),
        };
        let fixed = ClosedBytes {
            segment: segment.into(),
            lsn: lsn.into(),
            from_lsn: self.from.get().into(),
            to_lsn: self.to.get().into(),
            place: U16::new(place),
            // Cut when the row was made; a longer one does not read back, and is refused.
            reason_bytes: U16::new(u16::try_from(self.reason.len()).unwrap_or(u16::MAX)),
            reserved: [0; 4],
        };
        let mut bytes = fixed.as_bytes().to_vec();
        bytes.extend_from_slice(self.reason.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (fixed, reason) =
            ClosedBytes::read_from_prefix(bytes).map_err(|_| Reject::Truncated {
                found: bytes.len() as u64,
                needed: size_of::<ClosedBytes>() as u64,
            })?;
        ensure(fixed.reserved == [0; 4], "reserved bytes are not zero")?;
        ensure(
            reason.len() == usize::from(fixed.reason_bytes.get())
                && reason.len() <= REASON_BYTES_MAX,
            "length of a reason",
        )?;
        let reason = std::str::from_utf8(reason);
        let reason = reason.map_err(|_| Reject::Invalid("a reason that is no text"))?;
        let (segment, lsn) = (
            SegmentId::new(fixed.segment.get()),
            Lsn::new(fixed.lsn.get()),
        );
        let none = segment == SegmentId::default();
        let by = match (fixed.place.get(), none, lsn == Lsn::ZERO) {
            (0, true, true) => ClosedBy::Elsewhere,
            (1, _, _) => ClosedBy::Log(segment, lsn),
            (2, _, true) => ClosedBy::File(segment),
            (3, true, true) => ClosedBy::Lost,
            _ => return Err(Reject::Invalid("the place of damage")),
        };
        Ok(Self {
            by,
            reason: reason.to_owned(),
            from: Lsn::new(fixed.from_lsn.get()),
            to: Lsn::new(fixed.to_lsn.get()),
        })
    }
}

/// A segment that was taken out of the log because a closed database needs it: in `damaged/`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SalvageRow {
    /// The life of the file's bytes.
    pub incarnation: Incarnation,
    /// Bytes of the file.
    pub capacity_bytes: u64,
    /// Its first Lsn.
    pub base: Lsn,
    /// Where the log left it.
    pub end: Lsn,
}

/// The bytes of [`SalvageRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SalvageBytes {
    /// As in the row that registered it.
    pub incarnation: U64,
    /// As in the row that registered it.
    pub capacity_bytes: U64,
    /// Its first Lsn: the activation that says so may be what is damaged.
    pub base_lsn: U64,
    /// Where the log left it: the segment that said so is gone.
    pub end_lsn: U64,
}
const _: () = assert!(size_of::<SalvageBytes>() == 32);

impl Row for SalvageRow {
    type Key = SegmentId;
    const TABLE: Table = Table::Salvage;

    fn encode(&self) -> Vec<u8> {
        let bytes = SalvageBytes {
            incarnation: self.incarnation.get().into(),
            capacity_bytes: self.capacity_bytes.into(),
            base_lsn: self.base.get().into(),
            end_lsn: self.end.get().into(),
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: SalvageBytes = exactly(bytes)?;
        let row = Self {
            incarnation: Incarnation::new(bytes.incarnation.get()),
            capacity_bytes: bytes.capacity_bytes.get(),
            base: Lsn::new(bytes.base_lsn.get()),
            end: Lsn::new(bytes.end_lsn.get()),
        };
        ensure(row.base <= row.end, "a segment that ends before it starts")?;
        Ok(row)
    }
}
