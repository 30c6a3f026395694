//! A generation of a database that something reads: as a value and as bytes.
//!
//! Never: compares rows with each other.

use super::database_row::CheckpointedHead;
use super::rows::{Row, ensure, exactly};
use super::schema::Key;
use super::store::Table;
use crate::checksum::RollingChecksum;
use crate::error::Reject;
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageSize};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a generation is found by, ascending.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GenerationKey {
    /// The database.
    pub database: DbId,
    /// Its generation.
    pub generation: Generation,
}

impl Key for GenerationKey {
    fn encode(self) -> Vec<u8> {
        let mut key = self.database.get().to_be_bytes().to_vec();
        key.extend_from_slice(&self.generation.get().to_be_bytes());
        key
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (database, generation) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            database: DbId::new(u64::from_be_bytes(*database)),
            generation: Generation::new(u64::from_be_bytes(generation.try_into().ok()?)),
        })
    }
}

/// The history section of the interval that a generation ends.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HistoryLink {
    /// The chunk.
    pub chunk: ChunkId,
    /// The section's number inside the chunk.
    pub section: u32,
    /// Bytes of the section in the file.
    pub bytes: u64,
}

/// A generation: the newest, and each older one that something still reads.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct GenerationRow {
    /// The commit that it shows.
    pub lsn: Lsn,
    /// When that was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Bytes in a page; `None` while the database has none.
    pub page_size: Option<PageSize>,
    /// Pages of the database after that commit.
    pub page_count: u32,
    /// The fewest pages since the generation before. Where a store of schema 1 does not say it,
    /// `page_count`.
    pub page_count_min: u32,
    /// The xor of all page hashes after that commit.
    pub rolling_checksum: RollingChecksum,
    /// Pages that a fork still reads from its origin where its own chunks have none; else 0.
    pub inherited: u32,
    /// The versions that were superseded since the generation before, if anybody needs them.
    pub history: Option<HistoryLink>,
}

impl GenerationRow {
    /// The newest generation of a database, as far as its row tells: one that never had fewer pages, whose
    /// history nobody needs, and that is no fork.
    pub fn of_head(head: &CheckpointedHead, page_size: Option<PageSize>) -> Self {
        Self {
            lsn: head.lsn,
            time_us: head.time_us,
            page_size,
            page_count: head.page_count,
            page_count_min: head.page_count,
            rolling_checksum: head.rolling_checksum,
            inherited: 0,
            history: None,
        }
    }

    /// Whether it shows what a database's row says of its newest generation.
    pub(super) fn shows(&self, head: &CheckpointedHead, page_size: Option<PageSize>) -> bool {
        let Self {
            lsn,
            time_us,
            page_count,
            rolling_checksum,
            ..
        } = *self;
        let own = CheckpointedHead {
            generation: head.generation,
            lsn,
            time_us,
            page_count,
            rolling_checksum,
        };
        own == *head && self.page_size == page_size
    }
}

/// The bytes of [`GenerationRow`].
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GenerationBytes {
    /// [`GenerationRow::lsn`].
    pub lsn: U64,
    /// [`GenerationRow::time_us`].
    pub time_us: U64,
    /// [`GenerationRow::rolling_checksum`]: proves what a reader of the generation finds.
    pub rolling_checksum: U64,
    /// The chunk of the history; 0 without one.
    pub history_chunk: U64,
    /// Bytes of the history's section; 0 without one.
    pub history_bytes: U64,
    /// The history's section; 0 without one.
    pub history_section: U32,
    /// [`GenerationRow::page_size`]; 0 for none.
    pub page_size: U32,
    /// [`GenerationRow::page_count`].
    pub page_count: U32,
    /// [`GenerationRow::page_count_min`].
    pub page_count_min: U32,
    /// [`GenerationRow::inherited`].
    pub inherited: U32,
    /// Zero.
    pub reserved: U32,
}
const _: () = assert!(size_of::<GenerationBytes>() == 64);

impl Row for GenerationRow {
    type Key = GenerationKey;
    const TABLE: Table = Table::Generations;

    fn encode(&self) -> Vec<u8> {
        let (chunk, section, bytes) = self.history.map_or((0, 0, 0), |history| {
            (history.chunk.get(), history.section, history.bytes)
        });
        let bytes = GenerationBytes {
            lsn: U64::new(self.lsn.get()),
            time_us: U64::new(self.time_us),
            rolling_checksum: U64::new(self.rolling_checksum.get()),
            history_chunk: U64::new(chunk),
            history_bytes: U64::new(bytes),
            history_section: U32::new(section),
            page_size: U32::new(self.page_size.map_or(0, PageSize::get)),
            page_count: U32::new(self.page_count),
            page_count_min: U32::new(self.page_count_min),
            inherited: U32::new(self.inherited),
            reserved: U32::ZERO,
        };
        bytes.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes: GenerationBytes = exactly(bytes)?;
        ensure(bytes.reserved == U32::ZERO, "reserved bytes are not zero")?;
        let page_size = match bytes.page_size.get() {
            0 => None,
            size => Some(PageSize::new(size).ok_or(Reject::Invalid("page size"))?),
        };
        let history = HistoryLink {
            chunk: ChunkId::new(bytes.history_chunk.get()),
            section: bytes.history_section.get(),
            bytes: bytes.history_bytes.get(),
        };
        let none = bytes.history_chunk == U64::ZERO;
        ensure(
            !none || (history.section, history.bytes) == (0, 0),
            "a history in no chunk",
        )?;
        let row = Self {
            lsn: Lsn::new(bytes.lsn.get()),
            time_us: bytes.time_us.get(),
            page_size,
            page_count: bytes.page_count.get(),
            page_count_min: bytes.page_count_min.get(),
            rolling_checksum: RollingChecksum::new(bytes.rolling_checksum.get()),
            inherited: bytes.inherited.get(),
            history: (!none).then_some(history),
        };
        ensure(
            row.page_count_min <= row.page_count,
            "the fewest pages are more than there are",
        )?;
        ensure(
            row.inherited <= row.page_count_min,
            "more pages inherited than there are",
        )?;
        ensure(
            row.page_size.is_some() || row.page_count == 0,
            "pages without a size",
        )?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> GenerationRow {
        GenerationRow {
            lsn: Lsn::new(0x1000),
            time_us: 5,
            page_size: PageSize::new(4096),
            page_count: 9,
            page_count_min: 4,
            rolling_checksum: RollingChecksum::new(77),
            inherited: 3,
            history: Some(HistoryLink {
                chunk: ChunkId::new(2),
                section: 1,
                bytes: 8192,
            }),
        }
    }

    #[test]
    fn a_row_reads_back_and_one_that_contradicts_itself_does_not() {
        let none = GenerationRow {
            history: None,
            ..row()
        };
        for row in [row(), none] {
            assert_eq!(GenerationRow::decode(&row.encode()), Ok(row));
        }
        let bad = [
            GenerationRow {
                page_count_min: 10,
                ..row()
            },
            GenerationRow {
                inherited: 5,
                ..row()
            },
            GenerationRow {
                page_size: None,
                ..row()
            },
        ];
        for bad in bad {
            assert!(GenerationRow::decode(&bad.encode()).is_err(), "{bad:?}");
        }
        let mut bytes = none.encode();
        bytes[40] = 1;
        assert!(
            GenerationRow::decode(&bytes).is_err(),
            "section of no chunk"
        );
        assert!(GenerationRow::decode(&bytes[..63]).is_err(), "cut");
    }

    #[test]
    fn keys_lie_in_the_order_of_their_bytes() {
        let key = |database, generation| GenerationKey {
            database: DbId::new(database),
            generation: Generation::new(generation),
        };
        let ordered = [key(1, 2), key(1, 300), key(2, 1), key(256, 0)];
        for pair in ordered.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].encode() < pair[1].encode());
        }
        for key in ordered {
            assert_eq!(GenerationKey::decode(&key.encode()), Some(key));
        }
        assert_eq!(GenerationKey::decode(b"short"), None);
    }
}
