//! The superblock: what never changes about a store, twice in one small file.
//!
//! ```text
//! block 0, 1   slot, twice, each with its own checksum; the one with the larger sequence counts
//! ```
//!
//! Invariants
//! - the file gets its name only when it is complete and durable, so a store whose creation was
//!   cut off has none;
//! - it holds constants: whether a store was closed cleanly, its epoch and what is still needed of
//!   the log stand in log and manifest.
//!
//! Never: is written again by this version.

use crate::checksum::Crc64;
use crate::error::{Damage, OpenError, Place, Reject};
use crate::ids::StoreId;
use crate::io::layout::{SCRATCH_DIR, SUPERBLOCK, scratch};
use crate::io::{BLOCK_BYTES, Block, Disk, IoFailure, OpenMode};
use crate::limits::is_range;
use crate::log::format::all_zero;
use crate::log::format::bytes::{block_of, ensure, sealed, split};
use std::path::{Path, PathBuf};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The newest version of a store's lay-out that this program writes and reads.
pub const STORE_VERSION: u32 = 1;
/// Starts a slot. The high bit, CR LF and ^Z catch a transfer that treats the file as text.
pub const SUPERBLOCK_MAGIC: [u8; 8] = *b"\x89BOPm\r\n\x1a";

/// One slot; the rest of its block is zero.
///
/// The lay-out of this struct stays in every later format, so that an old program can tell a newer
/// store from a damaged one.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SuperblockSlot {
    /// [`SUPERBLOCK_MAGIC`].
    pub magic: [u8; 8],
    /// The store's version: a newer one is refused, never guessed at.
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store: part of every checksum that places a byte.
    pub store_id: [u8; 16],
    /// The newer of two sound slots has the larger one: a lost write of one is survived.
    pub sequence: U64,
    /// When the store was created, in microseconds since the Unix epoch. A label.
    pub created_us: U64,
    /// Bytes of pages in one section of a chunk: read with another number, pages would be looked for
    /// where they are not.
    pub range_bytes: U64,
    /// CRC-64 of all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<SuperblockSlot>() == 64);

/// What never changes about a store.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// The store.
    pub store: StoreId,
    /// Which writing of the superblock it is; the first is 1.
    pub sequence: u64,
    /// When the store was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// Bytes of pages in one section of a chunk.
    pub range_bytes: u64,
}

/// A superblock that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its content.
    pub superblock: Superblock,
    /// The slot that could not be read beside the one that could.
    pub damaged_slot: Option<Damage>,
}

impl Superblock {
    /// The superblock of a new store.
    pub const fn new(store: StoreId, created_us: u64, range_bytes: u64) -> Self {
        Self {
            store,
            sequence: 1,
            created_us,
            range_bytes,
        }
    }

    /// A slot's block.
    pub fn encode(&self) -> Block {
        let mut slot = SuperblockSlot {
            magic: SUPERBLOCK_MAGIC,
            format_version: STORE_VERSION.into(),
            reserved: U32::ZERO,
            store_id: *self.store.bytes(),
            sequence: self.sequence.into(),
            created_us: self.created_us.into(),
            range_bytes: self.range_bytes.into(),
            checksum: U64::ZERO,
        };
        slot.checksum = sealed(Crc64::new(), slot.as_bytes()).into();
        block_of(slot.as_bytes())
    }

    /// Reads a slot.
    ///
    /// # Errors
    /// [`Reject::Version`] only for a slot that is sound but of a newer version.
    pub fn decode(block: &Block) -> Result<Self, Reject> {
        let (slot, rest) = split::<SuperblockSlot>(&block.0)?;
        if slot.magic != SUPERBLOCK_MAGIC {
            return Err(Reject::Magic);
        }
        if slot.checksum.get() != sealed(Crc64::new(), slot.as_bytes()) {
            return Err(Reject::Checksum);
        }
        let found = slot.format_version.get();
        if found > STORE_VERSION {
            return Err(Reject::Version {
                found,
                supported: STORE_VERSION,
            });
        }
        ensure(found == STORE_VERSION, "store version 0")?;
        ensure(
            slot.reserved.get() == 0 && all_zero(rest),
            "reserved bytes of a superblock",
        )?;
        let range_bytes = slot.range_bytes.get();
        ensure(is_range(range_bytes), "bytes of a range")?;
        Ok(Self {
            store: StoreId::new(slot.store_id),
            sequence: slot.sequence.get(),
            created_us: slot.created_us.get(),
            range_bytes,
        })
    }

    /// Writes the superblock of a new store: under a scratch name, then under its own.
    ///
    /// # Errors
    /// `EEXIST` when the store has one, or whatever the kernel says. A crash or an error leaves no
    /// superblock, or this one whole.
    pub fn create(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        let draft = scratch(SUPERBLOCK);
        disk.create_dir(Path::new(SCRATCH_DIR))?;
        let left_over = disk.list(Path::new(SCRATCH_DIR))?;
        if left_over.iter().any(|entry| entry.name == SUPERBLOCK) {
            disk.remove(&draft)?;
        }
        let file = disk.open(&draft, OpenMode::CreateNew)?;
        file.allocate(2 * BLOCK_BYTES as u64)?;
        file.write_at(0, &[self.encode(); 2])?;
        file.sync()?;
        disk.rename(&draft, Path::new(SUPERBLOCK))?;
        disk.sync_dir(Path::new(""))
    }

    /// Reads the superblock of a store; `None` when there is none.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when no slot can be believed, or one is of a newer version.
    pub fn read(disk: &dyn Disk) -> Result<Option<Found>, OpenError> {
        let names = disk.list(Path::new(""))?;
        if names.iter().all(|entry| entry.name != SUPERBLOCK) {
            return Ok(None);
        }
        let file = disk.open(Path::new(SUPERBLOCK), OpenMode::Read)?;
        let mut blocks = [Block::ZERO; 2];
        let found_bytes = file.read_at(0, &mut blocks)?;
        let slot = |index: usize| {
            let needed = (index + 1) * BLOCK_BYTES;
            if found_bytes < needed {
                return Err(Reject::Truncated {
                    found: found_bytes as u64,
                    needed: needed as u64,
                });
            }
            Self::decode(&blocks[index])
        };
        choose(slot(0), slot(1))
            .map(Some)
            .map_err(|reject| OpenError::Damaged(damage(reject)))
    }
}

/// Which of two slots counts.
fn choose(
    first: Result<Superblock, Reject>,
    second: Result<Superblock, Reject>,
) -> Result<Found, Reject> {
    let of = |superblock, damaged: Option<Reject>| Found {
        superblock,
        damaged_slot: damaged.map(damage),
    };
    match (first, second) {
        (Err(newer @ Reject::Version { .. }), _) | (_, Err(newer @ Reject::Version { .. })) => {
            Err(newer)
        }
        (Ok(one), Ok(two)) if one.store != two.store || one.range_bytes != two.range_bytes => {
            Err(Reject::Invalid("two slots of different stores"))
        }
        (Ok(one), Ok(two)) if one.sequence < two.sequence => Ok(of(two, None)),
        (Ok(one), Ok(_)) => Ok(of(one, None)),
        (Ok(sound), Err(reject)) | (Err(reject), Ok(sound)) => Ok(of(sound, Some(reject))),
        (Err(reject), Err(_)) => Err(reject),
    }
}

fn damage(reject: Reject) -> Damage {
    Damage::new(Place::File(PathBuf::from(SUPERBLOCK)), reject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimDisk;

    const STORE: StoreId = StoreId::new([9; 16]);
    const RANGE: u64 = 1 << 20;

    fn created() -> SimDisk {
        let disk = SimDisk::new(1);
        Superblock::new(STORE, 77, RANGE).create(&disk).unwrap();
        disk
    }

    fn file() -> &'static Path {
        Path::new(SUPERBLOCK)
    }

    #[test]
    fn a_superblock_reads_back_and_survives_a_power_cut() {
        let found = Superblock::read(&created().crash_image_keeping_nothing());
        let found = found.unwrap().unwrap();
        assert_eq!(found.superblock, Superblock::new(STORE, 77, RANGE));
        assert_eq!(found.damaged_slot, None);
    }

    #[test]
    fn a_directory_without_one_has_none() {
        assert_eq!(Superblock::read(&SimDisk::new(1)).unwrap(), None);
    }

    #[test]
    fn a_creation_that_was_cut_off_leaves_none_or_a_whole_one() {
        for op in 0..20 {
            let disk = SimDisk::new(op);
            disk.fail_at(op, crate::testing::Fault::PowerCut);
            let outcome = Superblock::new(STORE, 77, RANGE).create(&disk);
            for seed in 0..50 {
                let image = disk.crash_image(seed);
                let found = Superblock::read(&image).unwrap();
                assert!(found.is_some() || outcome.is_err(), "op {op}, seed {seed}");
                assert!(found.iter().all(|found| found.damaged_slot.is_none()));
                let again = Superblock::new(STORE, 78, RANGE).create(&image);
                assert_eq!(again.is_err(), found.is_some(), "op {op}, seed {seed}");
            }
        }
    }

    #[test]
    fn each_flipped_byte_is_reported_and_the_other_slot_is_used() {
        for byte in 0..8192 {
            let disk = created().snapshot();
            disk.flip(file(), byte, 0x20);
            let found = Superblock::read(&disk).unwrap().unwrap();
            assert_eq!(found.superblock.store, STORE, "byte {byte}");
            assert!(found.damaged_slot.is_some(), "byte {byte}");
        }
    }

    #[test]
    fn two_damaged_slots_a_short_file_and_a_newer_version_are_told_apart() {
        let reason = |disk: &SimDisk| match Superblock::read(disk) {
            Err(OpenError::Damaged(damage)) => damage.reason,
            other => panic!("{other:?}"),
        };
        let disk = created().snapshot();
        disk.flip(file(), 20, 1);
        disk.flip(file(), 4096 + 20, 1);
        assert_eq!(reason(&disk), Reject::Checksum);

        let disk = created().snapshot();
        disk.truncate(file(), 100);
        assert!(matches!(
            reason(&disk),
            Reject::Truncated { found: 100, .. }
        ));

        let disk = created().snapshot();
        let mut slot = disk.read_raw(file())[..4096].to_vec();
        slot[8] = 2;
        let checksum = sealed(Crc64::new(), &slot[..64]);
        slot[56..64].copy_from_slice(&checksum.to_le_bytes());
        disk.write_raw(file(), &slot.repeat(2));
        let newer = Reject::Version {
            found: 2,
            supported: 1,
        };
        assert_eq!(reason(&disk), newer);
    }

    #[test]
    fn the_newer_of_two_slots_counts_and_two_stores_are_none() {
        let old = Superblock::new(STORE, 1, RANGE);
        let new = Superblock { sequence: 2, ..old };
        assert_eq!(choose(Ok(old), Ok(new)).unwrap().superblock, new);
        assert_eq!(choose(Ok(new), Ok(old)).unwrap().superblock, new);
        let stranger = Superblock::new(StoreId::new([1; 16]), 1, RANGE);
        assert!(choose(Ok(old), Ok(stranger)).is_err());
    }
}
