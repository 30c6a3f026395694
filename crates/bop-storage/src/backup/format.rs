//! The bytes of a backup's index and of the small files beside it. `docs/format-backup.md` has the tables.
//!
//! Never: does I/O.

use crate::checksum::{Crc64, crc64};
use crate::error::Reject;
use crate::ids::{Lsn, StoreId};
use crate::io::{BLOCK_BYTES, Block};
use crate::log::format::all_zero;
use crate::log::format::bytes::{block_of, ensure, index, sealed, split, take};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of backups that this program writes and reads.
pub const BACKUP_VERSION: u32 = 1;
/// Starts an index.
pub const INDEX_MAGIC: [u8; 8] = *b"\x89BOPk\r\n\x1a";
/// Starts a file of rows.
pub const ROWS_MAGIC: [u8; 8] = *b"\x89BOPr\r\n\x1a";
/// Starts the record of a verification.
pub const VERIFIED_MAGIC: [u8; 8] = *b"\x89BOPv\r\n\x1a";
/// Starts a store's note of where its backups are.
pub const TARGET_MAGIC: [u8; 8] = *b"\x89BOPt\r\n\x1a";

/// Starts the index of a backup. Behind it: [`BackupSegment`] x `segments`, [`BackupChunk`] x `chunks`,
/// ([`BackupState`] | name) x `states`, zeros up to a whole block.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupHeader {
    /// [`INDEX_MAGIC`].
    pub magic: [u8; 8],
    /// [`BACKUP_VERSION`]: a newer backup is refused, never guessed at.
    pub format_version: U32,
    /// Segments of the log.
    pub segments: U32,
    /// The store.
    pub store_id: [u8; 16],
    /// The backup's number, which its name says too: a file renamed.
    pub number: U64,
    /// The log ends here: everything before is in the backup, and nothing behind.
    pub lsn: U64,
    /// The time of the newest record, in microseconds since the Unix epoch.
    pub state_us: U64,
    /// When the backup was finished.
    pub made_us: U64,
    /// Bytes of this index, this header included, without the zeros at its end: a cut one.
    pub index_bytes: U64,
    /// Bytes of the file of rows.
    pub rows_bytes: U64,
    /// XXH3-128 of it.
    pub rows_digest: [u8; 16],
    /// When the store was made.
    pub created_us: U64,
    /// Bytes of pages in one section of a chunk, as the superblock has it.
    pub range_bytes: U64,
    /// Chunks.
    pub chunks: U64,
    /// States of databases, and of snapshots.
    pub states: U64,
    /// CRC-64 of the index, this field as zero.
    pub checksum: U64,
}
const _: () = assert!(size_of::<BackupHeader>() == 136);

/// A segment of the log, ascending by `base_lsn`.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupSegment {
    /// Its number.
    pub segment_id: U64,
    /// This life of its file.
    pub incarnation: U64,
    /// Bytes of the store's file; the backup's ends at `end_lsn`, the rest is zeros.
    pub capacity_bytes: U64,
    /// The Lsn of byte 12288.
    pub base_lsn: U64,
    /// Where the backup's part of it ends.
    pub end_lsn: U64,
    /// XXH3-128 of the backup's file.
    pub digest: [u8; 16],
}
const _: () = assert!(size_of::<BackupSegment>() == 56);

/// A chunk, ascending by id.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupChunk {
    /// Its number.
    pub chunk_id: U64,
    /// Bytes of the file.
    pub file_bytes: U64,
    /// XXH3-128 of the chunk, as in its footer.
    pub digest: [u8; 16],
}
const _: () = assert!(size_of::<BackupChunk>() == 32);

/// A state that the backup has: what a restore is compared with.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupState {
    /// The database, or the owner of the snapshot.
    pub database: U64,
    /// The commit; 0 before the first.
    pub lsn: U64,
    /// Pages, or entries of a record log.
    pub size: U64,
    /// The xor of the hashes of its pages, or of its entries and its hard state.
    pub rolling_checksum: U64,
    /// Bytes in a page; 0 when there never was one.
    pub page_size: U32,
    /// The kind of the database.
    pub kind: U16,
    /// 1 what a database is at `lsn` of the index, 2 a snapshot, 3 a dropped database that can be brought back.
    pub what: u8,
    /// Bytes of the name behind this.
    pub name_bytes: u8,
}
const _: () = assert!(size_of::<BackupState>() == 40);

/// Starts the file of rows. Behind it: ([`BackupRow`] | key | value) x `rows`, zeros up to a whole block.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupRows {
    /// [`ROWS_MAGIC`].
    pub magic: [u8; 8],
    /// [`BACKUP_VERSION`].
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// Rows.
    pub rows: U64,
}
const _: () = assert!(size_of::<BackupRows>() == 24);

/// A row of the manifest.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackupRow {
    /// The number of its table.
    pub table: u8,
    /// Bytes of its key.
    pub key_bytes: u8,
    /// Zero.
    pub reserved: U16,
    /// Bytes of its value, envelope included.
    pub value_bytes: U32,
}
const _: () = assert!(size_of::<BackupRow>() == 8);

/// Says that a backup was restored and compared.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct VerifiedBytes {
    /// [`VERIFIED_MAGIC`].
    pub magic: [u8; 8],
    /// [`BACKUP_VERSION`].
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store.
    pub store_id: [u8; 16],
    /// The backup.
    pub number: U64,
    /// Where its log ends.
    pub lsn: U64,
    /// When it was verified, in microseconds since the Unix epoch.
    pub verified_us: U64,
    /// `checksum` of the index that was verified: another backup of this number.
    pub index_checksum: U64,
    /// CRC-64 of all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<VerifiedBytes>() == 72);

/// A verification that was recorded.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verified {
    pub(crate) store: StoreId,
    pub(crate) number: u64,
    pub(crate) lsn: Lsn,
    pub(crate) verified_us: u64,
    pub(crate) index_checksum: u64,
}

impl Verified {
    pub(crate) fn encode(&self) -> Block {
        let mut bytes = VerifiedBytes {
            magic: VERIFIED_MAGIC,
            format_version: BACKUP_VERSION.into(),
            reserved: U32::ZERO,
            store_id: *self.store.bytes(),
            number: self.number.into(),
            lsn: self.lsn.get().into(),
            verified_us: self.verified_us.into(),
            index_checksum: self.index_checksum.into(),
            checksum: U64::ZERO,
        };
        bytes.checksum = sealed(Crc64::new(), bytes.as_bytes()).into();
        block_of(bytes.as_bytes())
    }

    pub(crate) fn decode(block: &Block) -> Result<Self, Reject> {
        let (bytes, rest) = split::<VerifiedBytes>(&block.0)?;
        ensure_magic(bytes.magic == VERIFIED_MAGIC)?;
        if bytes.checksum.get() != sealed(Crc64::new(), bytes.as_bytes()) {
            return Err(Reject::Checksum);
        }
        check_version(bytes.format_version.get())?;
        ensure(
            bytes.reserved.get() == 0 && all_zero(rest),
            "reserved bytes of a verification",
        )?;
        Ok(Self {
            store: StoreId::new(bytes.store_id),
            number: bytes.number.get(),
            lsn: Lsn::new(bytes.lsn.get()),
            verified_us: bytes.verified_us.get(),
            index_checksum: bytes.index_checksum.get(),
        })
    }
}

/// Where a store's last backup went: its path stands behind this.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct TargetBytes {
    /// [`TARGET_MAGIC`].
    pub magic: [u8; 8],
    /// [`BACKUP_VERSION`].
    pub format_version: U32,
    /// Bytes of the path.
    pub path_bytes: U32,
    /// CRC-64 of all of the block, this field as zero.
    pub checksum: U64,
}
const _: () = assert!(size_of::<TargetBytes>() == 24);

/// The block that says that backups are in `dir`; `None` for a path that is too long for it.
pub(crate) fn encode_target(dir: &Path) -> Option<Block> {
    let path = dir.as_os_str().as_bytes();
    let room = BLOCK_BYTES - size_of::<TargetBytes>();
    if room < path.len() {
        return None;
    }
    let mut header = TargetBytes {
        magic: TARGET_MAGIC,
        format_version: BACKUP_VERSION.into(),
        path_bytes: u32::try_from(path.len()).ok()?.into(),
        checksum: U64::ZERO,
    };
    let mut block = block_of(header.as_bytes());
    block.0[size_of::<TargetBytes>()..][..path.len()].copy_from_slice(path);
    header.checksum = crc64(&block.0).into();
    block.0[..size_of::<TargetBytes>()].copy_from_slice(header.as_bytes());
    Some(block)
}

/// The directory that such a block names.
pub(crate) fn decode_target(block: &Block) -> Result<PathBuf, Reject> {
    let (header, rest) = split::<TargetBytes>(&block.0)?;
    ensure_magic(header.magic == TARGET_MAGIC)?;
    let mut zeroed = *block;
    let unsealed = TargetBytes {
        checksum: U64::ZERO,
        ..header.clone()
    };
    zeroed.0[..size_of::<TargetBytes>()].copy_from_slice(unsealed.as_bytes());
    if header.checksum.get() != crc64(&zeroed.0) {
        return Err(Reject::Checksum);
    }
    check_version(header.format_version.get())?;
    let (path, _zeros) = take(rest, index(header.path_bytes.get().into())?)?;
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

pub(super) fn ensure_magic(holds: bool) -> Result<(), Reject> {
    if holds { Ok(()) } else { Err(Reject::Magic) }
}

pub(super) fn check_version(found: u32) -> Result<(), Reject> {
    if found > BACKUP_VERSION {
        return Err(Reject::Version {
            found,
            supported: BACKUP_VERSION,
        });
    }
    ensure(found == BACKUP_VERSION, "version 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_files_come_back_and_a_flipped_byte_does_not() {
        let verified = Verified {
            store: StoreId::new([3; 16]),
            number: 7,
            lsn: Lsn::new(4096),
            verified_us: 5,
            index_checksum: 9,
        };
        let target = Path::new("/where/backups are");
        let blocks = [verified.encode(), encode_target(target).unwrap()];
        assert_eq!(Verified::decode(&blocks[0]), Ok(verified));
        assert_eq!(decode_target(&blocks[1]), Ok(target.to_owned()));
        for at in 0..BLOCK_BYTES {
            let flipped = blocks.map(|mut block| {
                block.0[at] ^= 1;
                block
            });
            assert!(Verified::decode(&flipped[0]).is_err(), "byte {at}");
            assert!(decode_target(&flipped[1]).is_err(), "byte {at}");
        }
        assert!(encode_target(Path::new(&"x".repeat(4096))).is_none());
    }
}
