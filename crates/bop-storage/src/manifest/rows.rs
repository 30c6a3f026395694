//! The rows of the small tables: as values, and as bytes.
//!
//! Invariant: [`Row::decode`] accepts exactly what [`Row::encode`] writes: lengths are exact,
//! reserved bytes are zero, and a row that contradicts itself is refused though its checksum is
//! right.
//!
//! Never: compares rows with each other (that is `invariants`).

use super::schema::{Key, Single};
use super::store::Table;
use crate::error::Reject;
use crate::ids::{ChunkId, DbId, Incarnation, Lsn, SegmentId, StoreId};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A row of one table.
pub(super) trait Row: Sized + Clone + PartialEq {
    type Key: Key;
    const TABLE: Table;

    /// The row's bytes, without the envelope.
    fn encode(&self) -> Vec<u8>;

    /// The row behind bytes whose checksum was right.
    fn decode(bytes: &[u8]) -> Result<Self, Reject>;

    /// The same in a lay-out that may be an older one, as [`row_version`](super::schema::row_version)
    /// counts them.
    fn decode_version((_version, bytes): (u16, &[u8])) -> Result<Self, Reject> {
        Self::decode(bytes)
    }
}

/// Reads a fixed lay-out that must fill the bytes.
pub(super) fn exactly<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Result<T, Reject> {
    T::read_from_bytes(bytes).map_err(|_| Reject::Truncated {
        found: bytes.len() as u64,
        needed: size_of::<T>() as u64,
    })
}

/// Refuses a row that contradicts itself.
pub(super) fn ensure(holds: bool, why: &'static str) -> Result<(), Reject> {
    if holds {
        Ok(())
    } else {
        Err(Reject::Invalid(why))
    }
}

/// Whose manifest it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MetaRow {
    /// The schema of all rows: a newer one is not touched.
    pub schema_version: u32,
    /// The store: a manifest of another one is noticed before any row of it is read.
    pub store: StoreId,
}

/// Whose manifest it is, and in which schema. Later schemas keep these fields where they are, and add behind them.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MetaBytes {
    /// The schema's version.
    pub schema_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store's id.
    pub store: [u8; 16],
}
const _: () = assert!(size_of::<MetaBytes>() == 24);

impl Row for MetaRow {
    type Key = Single;
    const TABLE: Table = Table::Meta;

    fn encode(&self) -> Vec<u8> {
        let bytes = MetaBytes {
            schema_version: U32::new(self.schema_version),
            reserved: U32::ZERO,
            store: *self.store.bytes(),
        };
        bytes.as_bytes().to_vec()
    }

    /// Reads the part that is the same in every schema, so that a newer one is recognised.
    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let (bytes, _) = MetaBytes::read_from_prefix(bytes).map_err(|_| Reject::Truncated {
            found: bytes.len() as u64,
            needed: size_of::<MetaBytes>() as u64,
        })?;
        Ok(Self {
            schema_version: bytes.schema_version.get(),
            store: StoreId::new(bytes.store),
        })
    }
}

/// A registered segment: recovery reads its file, and misses it when it is gone.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SegmentRow {
    /// The present life of the file's bytes.
    pub incarnation: Incarnation,
    /// Bytes of the file.
    pub capacity_bytes: u64,
}

/// The bytes of [`SegmentRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SegmentBytes {
    /// What the stamp must say: bytes of an earlier life are noticed, also when the stamp is lost.
    pub incarnation: U64,
    /// What the file must have: a shortened file is noticed.
    pub capacity_bytes: U64,
}
const _: () = assert!(size_of::<SegmentBytes>() == 16);

impl Row for SegmentRow {
    type Key = SegmentId;
    const TABLE: Table = Table::Segments;

    fn encode(&self) -> Vec<u8> {
        let bytes = SegmentBytes {
            incarnation: U64::new(self.incarnation.get()),
            capacity_bytes: U64::new(self.capacity_bytes),
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: SegmentBytes = exactly(bytes)?;
        Ok(Self {
            incarnation: Incarnation::new(bytes.incarnation.get()),
            capacity_bytes: bytes.capacity_bytes.get(),
        })
    }
}

/// A published chunk file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChunkRow {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// XXH3-128 of the whole file.
    pub digest: u128,
    /// Links of chains, and histories, that name the chunk. Kept by [`Edit`](super::Edit): at 0 the
    /// chunk is garbage as soon as no view reads it.
    pub references: u64,
}

/// The bytes of [`ChunkRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ChunkBytes {
    /// What the file must have: a shortened or exchanged file is noticed.
    pub file_bytes: U64,
    /// How many links and histories name it: a chunk deleted too early, or never, is noticed.
    pub references: U64,
    /// What its bytes must hash to, beside the checksums inside it.
    pub digest: U128,
}
const _: () = assert!(size_of::<ChunkBytes>() == 32);

impl Row for ChunkRow {
    type Key = ChunkId;
    const TABLE: Table = Table::Chunks;

    fn encode(&self) -> Vec<u8> {
        let bytes = ChunkBytes {
            file_bytes: U64::new(self.file_bytes),
            references: U64::new(self.references),
            digest: U128::new(self.digest),
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: ChunkBytes = exactly(bytes)?;
        Ok(Self {
            file_bytes: bytes.file_bytes.get(),
            digest: bytes.digest.get(),
            references: bytes.references.get(),
        })
    }
}

/// How far the store is, and the numbers that come next.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// Every commit below is in chunks.
    pub checkpointed: Lsn,
    /// Nothing below is expected in the log.
    pub truncated: Lsn,
    /// The newest catalogue record that the rows of the databases reflect.
    pub catalogue: Lsn,
    /// The smallest database id that was never given out, as far as the rows reflect the log.
    pub next_database: DbId,
    /// The smallest chunk id that was never given out.
    pub next_chunk: ChunkId,
    /// Segment ids from here on were never given out; ids below may be in use.
    pub next_segment: SegmentId,
}

impl Watermarks {
    /// Of a new store.
    pub const INITIAL: Self = Self {
        checkpointed: Lsn::ZERO,
        truncated: Lsn::ZERO,
        catalogue: Lsn::ZERO,
        next_database: DbId::new(1),
        next_chunk: ChunkId::new(1),
        next_segment: SegmentId::new(1),
    };
}

/// The bytes of [`Watermarks`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct WatermarkBytes {
    /// [`Watermarks::checkpointed`].
    pub checkpointed: U64,
    /// [`Watermarks::truncated`]: a log that starts later has lost records.
    pub truncated: U64,
    /// [`Watermarks::catalogue`]: a record is applied once.
    pub catalogue: U64,
    /// [`Watermarks::next_database`]: no id is given out twice.
    pub next_database: U64,
    /// [`Watermarks::next_chunk`].
    pub next_chunk: U64,
    /// [`Watermarks::next_segment`].
    pub next_segment: U64,
}
const _: () = assert!(size_of::<WatermarkBytes>() == 48);

impl Row for Watermarks {
    type Key = Single;
    const TABLE: Table = Table::Watermarks;

    fn encode(&self) -> Vec<u8> {
        let bytes = WatermarkBytes {
            checkpointed: U64::new(self.checkpointed.get()),
            truncated: U64::new(self.truncated.get()),
            catalogue: U64::new(self.catalogue.get()),
            next_database: U64::new(self.next_database.get()),
            next_chunk: U64::new(self.next_chunk.get()),
            next_segment: U64::new(self.next_segment.get()),
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: WatermarkBytes = exactly(bytes)?;
        let row = Self {
            checkpointed: Lsn::new(bytes.checkpointed.get()),
            truncated: Lsn::new(bytes.truncated.get()),
            catalogue: Lsn::new(bytes.catalogue.get()),
            next_database: DbId::new(bytes.next_database.get()),
            next_chunk: ChunkId::new(bytes.next_chunk.get()),
            next_segment: SegmentId::new(bytes.next_segment.get()),
        };
        ensure(
            row.truncated <= row.checkpointed,
            "the log is truncated past the checkpoint",
        )?;
        ensure(
            row.next_database != DbId::CATALOGUE,
            "the catalogue's id would be given out",
        )?;
        Ok(row)
    }
}
