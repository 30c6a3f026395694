//! The row of a snapshot: the name of a point that its owner keeps.
//!
//! ```text
//! key    owner (8) | the record that made it (8)
//! row    SnapshotBytes | name (UTF-8)
//! ```
//! Invariant: a snapshot keeps its row as long as it has its owner; a new owner has a new row of it, with
//! the same record in the key.
//!
//! Never: knows what its point is needed for.

use super::database_row::decode_name;
use super::edit::{Edit, RowKey};
use super::rows::{Row, ensure};
use super::schema::Key;
use super::store::Table;
use crate::error::{ManifestError, Reject};
use crate::ids::{DbId, Lsn};
use crate::name::DbName;
use crate::point::{Point, PointBytes};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a snapshot is found by.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SnapshotKey {
    /// The database that has it.
    pub owner: DbId,
    /// The catalogue record that made it; no two snapshots of an owner are of one record.
    pub lsn: Lsn,
}

impl Key for SnapshotKey {
    fn encode(self) -> Vec<u8> {
        let mut key = self.owner.get().to_be_bytes().to_vec();
        key.extend_from_slice(&self.lsn.get().to_be_bytes());
        key
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (owner, lsn) = bytes.split_first_chunk::<8>()?;
        let lsn: [u8; 8] = lsn.try_into().ok()?;
        Some(Self {
            owner: DbId::new(u64::from_be_bytes(*owner)),
            lsn: Lsn::new(u64::from_be_bytes(lsn)),
        })
    }
}

/// A snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRow {
    /// Its name; no two of an owner have the same folded one.
    pub name: DbName,
    /// What is kept.
    pub point: Point,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
}

/// The bytes of [`SnapshotRow`], without the name.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SnapshotBytes {
    /// What is kept: all that a reader must know of it.
    pub point: PointBytes,
    /// When it was made.
    pub created_us: U64,
    /// Bytes of the name: a cut name is noticed.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 7],
}
const _: () = assert!(size_of::<SnapshotBytes>() == 56);

impl Row for SnapshotRow {
    type Key = SnapshotKey;
    const TABLE: Table = Table::Snapshots;

    fn encode(&self) -> Vec<u8> {
        encode_snapshot(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (row, rest) = decode_snapshot(bytes)?;
        ensure(rest.is_empty(), "length of the name")?;
        Ok(row)
    }
}

/// A snapshot as bytes, its name included.
pub(crate) fn encode_snapshot(row: &SnapshotRow) -> Vec<u8> {
    let name = row.name.as_str().as_bytes();
    let bytes = SnapshotBytes {
        point: row.point.into(),
        created_us: U64::new(row.created_us),
        // A name has at most 255 bytes.
        name_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
        reserved: [0; 7],
    };
    [bytes.as_bytes(), name].concat()
}

/// The snapshot at the start of bytes from disk, and what stands behind it.
pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<(SnapshotRow, &[u8]), Reject> {
    let found = bytes.len() as u64;
    let truncated = |needed: usize| Reject::Truncated {
        found,
        needed: needed as u64,
    };
    let Ok((head, rest)) = SnapshotBytes::read_from_prefix(bytes) else {
        return Err(truncated(size_of::<SnapshotBytes>()));
    };
    let name_bytes = usize::from(head.name_bytes);
    let (name, rest) = rest
        .split_at_checked(name_bytes)
        .ok_or_else(|| truncated(size_of::<SnapshotBytes>() + name_bytes))?;
    ensure(head.reserved == [0; 7], "reserved bytes are not zero")?;
    let row = SnapshotRow {
        name: decode_name(name)?,
        point: head.point.read()?,
        created_us: head.created_us.get(),
    };
    Ok((row, rest))
}

impl Edit<'_> {
    /// Adds a snapshot or replaces its row.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when the present row is damaged.
    pub fn put_snapshot(
        &mut self,
        key: SnapshotKey,
        row: SnapshotRow,
    ) -> Result<(), ManifestError> {
        if let Some(damage) = self.before().damaged().snapshots.get(&key) {
            return Err(damage.clone().into());
        }
        self.after().snapshots.insert(key, row);
        self.touch(RowKey::Snapshot(key));
        Ok(())
    }

    /// Forgets a snapshot: nothing is kept for its sake any more.
    pub fn delete_snapshot(&mut self, key: SnapshotKey) {
        self.after().snapshots.remove(&key);
        self.touch(RowKey::Snapshot(key));
    }

    /// Forgets all snapshots of an owner.
    pub(super) fn delete_snapshots_of(&mut self, owner: DbId) {
        let own: Vec<SnapshotKey> = self.state().snapshots(owner).map(|(key, _)| key).collect();
        own.into_iter().for_each(|key| self.delete_snapshot(key));
    }
}
