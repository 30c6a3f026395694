//! The index of a backup: everything that it is made of, and the states that it restores.
//!
//! Invariants
//! - what is decoded is what [`BackupIndex::encode`] encodes: one checksum is over all of it;
//! - segments ascend and none begins before the one before it ends; chunks ascend by id.
//!
//! Never: does I/O, believes a number of entries before it has looked whether they are there.

use super::format::{
    BACKUP_VERSION, BackupChunk, BackupHeader, BackupSegment, BackupState, INDEX_MAGIC,
    check_version, ensure_magic,
};
use crate::checksum::{Crc64, RollingChecksum};
use crate::error::Reject;
use crate::ids::{ChunkId, DbId, DbKind, Incarnation, Lsn, PageSize, SegmentId, StoreId};
use crate::io::BLOCK_BYTES;
use crate::log::format::all_zero;
use crate::log::format::bytes::{ensure, index, split, split_many, take};
use crate::log::format::segment::DATA_START;
use crate::manifest::ChunkRow;
use crate::pagestore::{ChunkDigest, ChunkIdentity};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

/// What proves a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct FileProof {
    /// Bytes of it.
    pub bytes: u64,
    /// XXH3-128 of all of them.
    pub digest: u128,
}

/// A part of the log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BackedSegment {
    /// The segment.
    pub id: SegmentId,
    /// This life of its file.
    pub incarnation: Incarnation,
    /// Bytes of the store's file.
    pub capacity_bytes: u64,
    /// Its first Lsn.
    pub base: Lsn,
    /// Where the backup's part of it ends.
    pub end: Lsn,
    /// XXH3-128 of the backup's file.
    pub digest: u128,
}

impl BackedSegment {
    /// Bytes of the backup's file.
    pub fn file_bytes(&self) -> u64 {
        DATA_START + self.end.bytes_since(self.base).unwrap_or_default()
    }

    /// What proves it.
    pub(crate) fn proof(&self) -> FileProof {
        FileProof {
            bytes: self.file_bytes(),
            digest: self.digest,
        }
    }
}

/// A chunk.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BackedChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Bytes of its file.
    pub bytes: u64,
    /// Its digest, as its footer has it.
    pub digest: u128,
}

impl BackedChunk {
    pub(crate) fn of(id: ChunkId, row: &ChunkRow) -> Self {
        Self {
            id,
            bytes: row.file_bytes,
            digest: row.digest,
        }
    }

    /// What its file must be.
    pub(crate) fn identity(&self) -> ChunkIdentity {
        ChunkIdentity {
            bytes: self.bytes,
            digest: ChunkDigest::from_bytes(self.digest.to_le_bytes()),
        }
    }
}

/// What a state is of.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StateOf {
    /// A database, a fork or not, as it is where the backup's log ends.
    Database,
    /// A snapshot.
    Snapshot,
    /// A database that was dropped and whose pages are kept.
    Dropped,
}

/// A state that the backup restores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackedState {
    /// The database, or the owner of the snapshot.
    pub database: DbId,
    /// What it is of.
    pub of: StateOf,
    /// The name of the database, or of the snapshot.
    pub name: String,
    /// The kind of the database.
    pub kind: DbKind,
    /// The commit.
    pub lsn: Lsn,
    /// Bytes in a page.
    pub page_size: Option<PageSize>,
    /// Pages, or entries.
    pub size: u64,
    /// The xor of the hashes of its pages, or of its entries and its hard state.
    pub rolling_checksum: RollingChecksum,
}

/// The index of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupIndex {
    /// The store.
    pub store: StoreId,
    /// The backup's number.
    pub number: u64,
    /// Where the log ends.
    pub lsn: Lsn,
    /// The time of the newest record.
    pub state_us: u64,
    /// When the backup was finished.
    pub made_us: u64,
    /// When the store was made.
    pub created_us: u64,
    /// Bytes of pages in one section of a chunk.
    pub range_bytes: u64,
    /// The file of rows.
    pub rows: FileProof,
    /// The log.
    pub segments: Vec<BackedSegment>,
    /// The chunks.
    pub chunks: Vec<BackedChunk>,
    /// What it restores.
    pub states: Vec<BackedState>,
}

impl BackupIndex {
    /// Bytes of all files that the backup is made of, but for the index.
    pub fn file_bytes(&self) -> u64 {
        let log: u64 = self.segments.iter().map(BackedSegment::file_bytes).sum();
        let chunks: u64 = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        self.rows.bytes + log + chunks
    }

    /// The bytes, in whole blocks, and their checksum.
    pub fn encode(&self) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(self.header(0).as_bytes());
        for segment in &self.segments {
            bytes.extend_from_slice(segment_bytes(segment).as_bytes());
        }
        for chunk in &self.chunks {
            let encoded = BackupChunk {
                chunk_id: chunk.id.get().into(),
                file_bytes: chunk.bytes.into(),
                digest: chunk.digest.to_le_bytes(),
            };
            bytes.extend_from_slice(encoded.as_bytes());
        }
        for state in &self.states {
            bytes.extend_from_slice(state_bytes(state).as_bytes());
            bytes.extend_from_slice(state.name.as_bytes());
        }
        let mut header = self.header(bytes.len() as u64);
        bytes[..size_of::<BackupHeader>()].copy_from_slice(header.as_bytes());
        let checksum = Crc64::new().update(&bytes).finish();
        header.checksum = checksum.into();
        bytes[..size_of::<BackupHeader>()].copy_from_slice(header.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        (bytes, checksum)
    }

    fn header(&self, index_bytes: u64) -> BackupHeader {
        BackupHeader {
            magic: INDEX_MAGIC,
            format_version: BACKUP_VERSION.into(),
            segments: u32::try_from(self.segments.len())
                .unwrap_or(u32::MAX)
                .into(),
            store_id: *self.store.bytes(),
            number: self.number.into(),
            lsn: self.lsn.get().into(),
            state_us: self.state_us.into(),
            made_us: self.made_us.into(),
            index_bytes: index_bytes.into(),
            rows_bytes: self.rows.bytes.into(),
            rows_digest: self.rows.digest.to_le_bytes(),
            created_us: self.created_us.into(),
            range_bytes: self.range_bytes.into(),
            chunks: (self.chunks.len() as u64).into(),
            states: (self.states.len() as u64).into(),
            checksum: U64::ZERO,
        }
    }

    /// The index behind the bytes of a file, and its checksum.
    ///
    /// # Errors
    /// Why it is none.
    pub fn decode(file: &[u8]) -> Result<(Self, u64), Reject> {
        let (header, _) = split::<BackupHeader>(file)?;
        ensure_magic(header.magic == INDEX_MAGIC)?;
        let (bytes, zeros) = take(file, index(header.index_bytes.get())?)?;
        ensure(
            size_of::<BackupHeader>() <= bytes.len(),
            "an index shorter than its header",
        )?;
        let unsealed = BackupHeader {
            checksum: U64::ZERO,
            ..header.clone()
        };
        let behind = &bytes[size_of::<BackupHeader>()..];
        let found = Crc64::new().update(unsealed.as_bytes()).update(behind);
        let checksum = header.checksum.get();
        if found.finish() != checksum {
            return Err(Reject::Checksum);
        }
        check_version(header.format_version.get())?;
        ensure(
            file.len() == bytes.len().next_multiple_of(BLOCK_BYTES) && all_zero(zeros),
            "bytes behind an index, or too few",
        )?;
        let count = index(header.segments.get().into())?;
        let (segments, rest) = split_many::<BackupSegment>(behind, count)?;
        let (chunks, mut rest) = split_many::<BackupChunk>(rest, index(header.chunks.get())?)?;
        let mut states = Vec::new();
        for _ in 0..header.states.get() {
            let (state, behind) = state_of(rest)?;
            states.push(state);
            rest = behind;
        }
        ensure(rest.is_empty(), "bytes behind the states of an index")?;
        let decoded = Self {
            store: StoreId::new(header.store_id),
            number: header.number.get(),
            lsn: Lsn::new(header.lsn.get()),
            state_us: header.state_us.get(),
            made_us: header.made_us.get(),
            created_us: header.created_us.get(),
            range_bytes: header.range_bytes.get(),
            rows: FileProof {
                bytes: header.rows_bytes.get(),
                digest: u128::from_le_bytes(header.rows_digest),
            },
            segments: segments.iter().map(segment_of).collect(),
            chunks: chunks.iter().map(chunk_of).collect(),
            states,
        };
        decoded.check()?;
        Ok((decoded, checksum))
    }

    /// What holds of every index before it is written, and after it was read.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Reject> {
        let log = self
            .segments
            .windows(2)
            .all(|two| two[0].end <= two[1].base && two[0].id < two[1].id);
        let whole = self.segments.iter().all(|segment| {
            segment.base <= segment.end && segment.file_bytes() <= segment.capacity_bytes
        });
        ensure(log && whole, "segments that do not follow each other")?;
        let last = self.segments.last().map_or(self.lsn, |last| last.end);
        ensure(last <= self.lsn, "a log that ends behind its end")?;
        let chunks = self.chunks.windows(2).all(|two| two[0].id < two[1].id);
        ensure(chunks, "chunks that do not ascend")
    }
}

fn segment_bytes(segment: &BackedSegment) -> BackupSegment {
    BackupSegment {
        segment_id: segment.id.get().into(),
        incarnation: segment.incarnation.get().into(),
        capacity_bytes: segment.capacity_bytes.into(),
        base_lsn: segment.base.get().into(),
        end_lsn: segment.end.get().into(),
        digest: segment.digest.to_le_bytes(),
    }
}

fn segment_of(bytes: &BackupSegment) -> BackedSegment {
    BackedSegment {
        id: SegmentId::new(bytes.segment_id.get()),
        incarnation: Incarnation::new(bytes.incarnation.get()),
        capacity_bytes: bytes.capacity_bytes.get(),
        base: Lsn::new(bytes.base_lsn.get()),
        end: Lsn::new(bytes.end_lsn.get()),
        digest: u128::from_le_bytes(bytes.digest),
    }
}

fn chunk_of(bytes: &BackupChunk) -> BackedChunk {
    BackedChunk {
        id: ChunkId::new(bytes.chunk_id.get()),
        bytes: bytes.file_bytes.get(),
        digest: u128::from_le_bytes(bytes.digest),
    }
}

fn state_bytes(state: &BackedState) -> BackupState {
    BackupState {
        database: state.database.get().into(),
        lsn: state.lsn.get().into(),
        size: state.size.into(),
        rolling_checksum: state.rolling_checksum.get().into(),
        page_size: state.page_size.map_or(0, PageSize::get).into(),
        kind: state.kind.code().into(),
        what: match state.of {
            StateOf::Database => 1,
            StateOf::Snapshot => 2,
            StateOf::Dropped => 3,
        },
        // Names have 255 bytes at most.
        name_bytes: u8::try_from(state.name.len()).unwrap_or(u8::MAX),
    }
}

fn state_of(bytes: &[u8]) -> Result<(BackedState, &[u8]), Reject> {
    let (state, rest) = split::<BackupState>(bytes)?;
    let (name, rest) = take(rest, state.name_bytes.into())?;
    let name = std::str::from_utf8(name).map_err(|_| Reject::Invalid("a name"))?;
    let of = match state.what {
        1 => StateOf::Database,
        2 => StateOf::Snapshot,
        3 => StateOf::Dropped,
        _ => return Err(Reject::Invalid("what a state is of")),
    };
    let page_size = match state.page_size.get() {
        0 => None,
        bytes => Some(PageSize::new(bytes).ok_or(Reject::Invalid("page size"))?),
    };
    let decoded = BackedState {
        database: DbId::new(state.database.get()),
        of,
        name: name.to_owned(),
        kind: DbKind::from_code(state.kind.get()).ok_or(Reject::Invalid("kind of a database"))?,
        lsn: Lsn::new(state.lsn.get()),
        page_size,
        size: state.size.get(),
        rolling_checksum: RollingChecksum::new(state.rolling_checksum.get()),
    };
    Ok((decoded, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> BackupIndex {
        let segment = |id, base, end| BackedSegment {
            id: SegmentId::new(id),
            incarnation: Incarnation::new(77),
            capacity_bytes: 1 << 20,
            base: Lsn::new(base),
            end: Lsn::new(end),
            digest: 5,
        };
        let state = |of, name: &str| BackedState {
            database: DbId::new(3),
            of,
            name: name.to_owned(),
            kind: DbKind::Raw,
            lsn: Lsn::new(4096),
            page_size: PageSize::new(4096),
            size: 12,
            rolling_checksum: RollingChecksum::new(0xabc),
        };
        BackupIndex {
            store: StoreId::new([1; 16]),
            number: 2,
            lsn: Lsn::new(20480),
            state_us: 3,
            made_us: 4,
            created_us: 5,
            range_bytes: 1 << 20,
            rows: FileProof {
                bytes: 4096,
                digest: 1 << 100,
            },
            segments: vec![segment(1, 0, 8192), segment(2, 12288, 20480)],
            chunks: [1, 9]
                .map(|id| BackedChunk {
                    id: ChunkId::new(id),
                    bytes: 4096,
                    digest: 8,
                })
                .to_vec(),
            states: vec![
                state(StateOf::Database, "orders"),
                state(StateOf::Snapshot, "s"),
            ],
        }
    }

    #[test]
    fn an_index_comes_back() {
        let (bytes, checksum) = full().encode();
        assert_eq!(bytes.len(), BLOCK_BYTES);
        assert_eq!(BackupIndex::decode(&bytes), Ok((full(), checksum)));
        assert_eq!(full().file_bytes(), 4096 + 2 * 12288 + 16384 + 8192);
    }

    #[test]
    fn no_byte_of_an_index_can_be_flipped_or_missing() {
        let (bytes, _) = full().encode();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(BackupIndex::decode(&flipped).is_err(), "byte {at}");
        }
        let header = size_of::<BackupHeader>();
        for length in [0, 8, header - 1, header, header + 60, bytes.len() - 1] {
            assert!(BackupIndex::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [bytes, vec![0; BLOCK_BYTES]].concat();
        assert!(BackupIndex::decode(&longer).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let wrong: [fn(&mut BackupIndex); 4] = [
            |index| index.segments.reverse(),
            |index| index.chunks.reverse(),
            |index| index.lsn = Lsn::new(4096),
            |index| index.segments[0].capacity_bytes = 4096,
        ];
        for spoil in wrong {
            let mut index = full();
            spoil(&mut index);
            assert!(index.check().is_err());
            assert!(BackupIndex::decode(&index.encode().0).is_err());
        }
    }
}
