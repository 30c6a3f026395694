//! How rows stand in the store: keys, and the envelope around each value.
//!
//! ```text
//! key    fixed-width big-endian numbers, so that rows lie in the order of their numbers
//! value  ValueHeader { version, reserved, checksum } | the row
//! ```
//! Invariant: a value's checksum covers the store's id, the table and the key beside the value, so
//! that a value moved to another row or brought from another store is not believed.
//!
//! Never: knows what a row means.

use super::store::{Table, hex};
use crate::checksum::Crc64;
use crate::error::{Damage, Place, Reject};
use crate::ids::{ChangeNo, ChunkId, CursorId, DbId, Generation, JobId, SegmentId, StoreId};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The schema that this program writes. A store of a newer one is left alone; one of an older one, from
/// [`SCHEMA_VERSION_MIN`] on, is brought up to it when it is opened.
///
/// 1: tables 1 to 8; 2: the changes feed, cursors and runs, jobs and scrubs, snapshots, older generations,
/// tables 9 to 17, and chains of ranges.
pub const SCHEMA_VERSION: u32 = 2;

/// The oldest schema that this program reads.
pub const SCHEMA_VERSION_MIN: u32 = 1;

/// What every value starts with.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ValueHeader {
    /// The version of the row's lay-out: an unknown one is refused, not guessed.
    pub version: U16,
    /// Zero.
    pub reserved: [u8; 6],
    /// CRC-64 over store id, table, key and value, this field as zero: a flipped, misplaced or
    /// foreign value is noticed.
    pub checksum: U64,
}
const _: () = assert!(size_of::<ValueHeader>() == 16);

/// The version of a table's rows that this program writes. It reads the older ones, from 1 on.
///
/// Databases, 2: how much of their past is kept, how large they may grow, until when a drop can be
/// taken back, and what a fork started from. Ranges, 2: chains of sections.
pub(super) const fn row_version(table: Table) -> u16 {
    match table {
        Table::Databases | Table::Ranges => 2,
        _ => 1,
    }
}

/// Puts a row into its envelope.
pub(super) fn seal(store: StoreId, table: Table, key: &[u8], row: &[u8]) -> Vec<u8> {
    let version = row_version(table);
    let header = ValueHeader {
        version: U16::new(version),
        reserved: [0; 6],
        checksum: U64::new(checksum(store, table, key, version, row)),
    };
    let mut value = header.as_bytes().to_vec();
    value.extend_from_slice(row);
    value
}

/// Takes a row out of its envelope, with the version of its lay-out.
pub(super) fn unseal<'a>(
    store: StoreId,
    table: Table,
    key: &[u8],
    value: &'a [u8],
) -> Result<(u16, &'a [u8]), Reject> {
    let Ok((header, row)) = ValueHeader::read_from_prefix(value) else {
        return Err(Reject::Truncated {
            found: value.len() as u64,
            needed: size_of::<ValueHeader>() as u64,
        });
    };
    let version = header.version.get();
    if header.checksum.get() != checksum(store, table, key, version, row) {
        return Err(Reject::Checksum);
    }
    let supported = row_version(table);
    if !(1..=supported).contains(&version) {
        return Err(Reject::Version {
            found: version.into(),
            supported: supported.into(),
        });
    }
    if header.reserved != [0; 6] {
        return Err(Reject::Invalid("reserved bytes are not zero"));
    }
    Ok((version, row))
}

fn checksum(store: StoreId, table: Table, key: &[u8], version: u16, row: &[u8]) -> u64 {
    // Keys of a table have one length, so key and row cannot run into each other.
    Crc64::new()
        .update(b"bop manifest")
        .update(store.bytes())
        .update(&[table.number()])
        .update(key)
        .update(&version.to_le_bytes())
        .update(row)
        .finish()
}

/// The damage of one row.
pub(super) fn row_damage(table: Table, key: &[u8], reason: Reject) -> Damage {
    let place = Place::Manifest {
        table: table.name(),
        key: hex(key),
    };
    Damage::new(place, reason)
}

/// What a row is found by.
pub(super) trait Key: Copy + Ord {
    /// The key as it stands in the store.
    fn encode(self) -> Vec<u8>;

    /// The key behind bytes of the store; `None` for bytes that no key has.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number_key {
    ($($id:ty),*) => {$(
        impl Key for $id {
            fn encode(self) -> Vec<u8> {
                self.get().to_be_bytes().to_vec()
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                Some(Self::new(u64::from_be_bytes(bytes.try_into().ok()?)))
            }
        }
    )*};
}

number_key!(DbId, SegmentId, ChunkId, ChangeNo, CursorId, JobId);

/// The key of a table that has one row.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Single;

impl Key for Single {
    fn encode(self) -> Vec<u8> {
        vec![0; 8]
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes == [0; 8]).then_some(Self)
    }
}

/// What a row of the ranges is found by. Ordered by database, range, then *falling* generation, so
/// that the first row at or behind a generation's key is the one that this generation reads.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct RangeKey {
    /// The database; [`DbId::CATALOGUE`] for the sections of the catalogue.
    pub database: DbId,
    /// Which range of its pages, counted from 0.
    pub range: u32,
    /// The generation that published the row.
    pub generation: Generation,
}

impl RangeKey {
    fn order(&self) -> (DbId, u32, std::cmp::Reverse<Generation>) {
        (
            self.database,
            self.range,
            std::cmp::Reverse(self.generation),
        )
    }
}

impl PartialOrd for RangeKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RangeKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Key for RangeKey {
    fn encode(self) -> Vec<u8> {
        let mut key = self.database.get().to_be_bytes().to_vec();
        key.extend_from_slice(&self.range.to_be_bytes());
        key.extend_from_slice(&(!self.generation.get()).to_be_bytes());
        key
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (database, rest) = bytes.split_first_chunk::<8>()?;
        let (range, rest) = rest.split_first_chunk::<4>()?;
        let generation: [u8; 8] = rest.try_into().ok()?;
        Some(Self {
            database: DbId::new(u64::from_be_bytes(*database)),
            range: u32::from_be_bytes(*range),
            generation: Generation::new(!u64::from_be_bytes(generation)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId::new([7; 16]);

    #[test]
    fn a_value_is_believed_only_where_it_was_written() {
        let key = DbId::new(3).encode();
        let value = seal(STORE, Table::Chunks, &key, b"row");
        let read = |store, table, key: &[u8]| unseal(store, table, key, &value).err();
        assert_eq!(read(STORE, Table::Chunks, &key), None);
        let elsewhere = DbId::new(4).encode();
        assert_eq!(
            read(STORE, Table::Chunks, &elsewhere),
            Some(Reject::Checksum)
        );
        assert_eq!(read(STORE, Table::Segments, &key), Some(Reject::Checksum));
        let foreign = StoreId::new([8; 16]);
        assert_eq!(read(foreign, Table::Chunks, &key), Some(Reject::Checksum));
    }

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let key = DbId::new(3).encode();
        let value = seal(STORE, Table::Chunks, &key, b"a row of some length");
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                unseal(STORE, Table::Chunks, &key, &flipped).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn range_keys_are_ordered_by_their_bytes_newest_generation_first() {
        let key = |database, range, generation| RangeKey {
            database: DbId::new(database),
            range,
            generation: Generation::new(generation),
        };
        let ordered = [
            key(1, 0, 9),
            key(1, 0, 2),
            key(1, 300, 1),
            key(2, 0, 70_000),
            key(2, 0, 1),
        ];
        for pair in ordered.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].encode() < pair[1].encode());
        }
        for key in ordered {
            assert_eq!(RangeKey::decode(&key.encode()), Some(key));
        }
        assert_eq!(RangeKey::decode(b"short"), None);
    }
}
