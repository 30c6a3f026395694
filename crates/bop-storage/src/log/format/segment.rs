//! A segment file: one stamp block, two activation blocks, then batches to the end.
//!
//! ```text
//! block 0      stamp: which store, which segment, which life of the file
//! block 1, 2   activation, twice: written when the segment becomes the active one
//! block 3 ...  batches; the place of an Lsn is DATA_START + (lsn - base_lsn)
//! ```
//!
//! Invariant: whatever proves a place (activation, batch header, batch trailer) has the
//! [`SegmentIdentity`] in the domain of its checksum, so bytes of another store, another segment or
//! an earlier life of the file never pass.

use super::FORMAT_VERSION;
use super::bytes::{all_zero, block_of, ensure, sealed, split};
use crate::canary::{Canary, is_planted};
use crate::checksum::Crc64;
use crate::error::Reject;
use crate::ids::{Epoch, Incarnation, Lsn, SegmentId, StoreId};
use crate::io::{BLOCK_BYTES, Block};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where the batches start, in bytes.
pub const DATA_START: u64 = 3 * BLOCK_BYTES as u64;

/// Starts a stamp. The high bit, CR LF and ^Z catch a transfer that treats the file as text.
pub const STAMP_MAGIC: [u8; 8] = *b"\x89BOPs\r\n\x1a";
/// Starts an activation.
pub const ACTIVATION_MAGIC: [u8; 8] = *b"\x89BOPa\r\n\x1a";

/// The first block of a segment file; the rest of the block is zero.
///
/// The lay-out of this struct stays in every later format, so that an old program can tell a newer
/// file from a damaged one.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Stamp {
    /// [`STAMP_MAGIC`].
    pub magic: [u8; 8],
    /// The format: a newer one is refused, never guessed at.
    pub format_version: U32,
    /// Zero.
    pub reserved: U32,
    /// The store: a segment copied from elsewhere is refused.
    pub store_id: [u8; 16],
    /// The segment: a file renamed or swapped is noticed.
    pub segment_id: U64,
    /// This life of the file: what an earlier life left in it fails its checksum.
    pub incarnation: U64,
    /// Bytes of the file: a shorter one is damage.
    pub capacity_bytes: U64,
    /// CRC-64 of all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<Stamp>() == 64);

/// The second and third block of a segment file; the rest of each block is zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Activation {
    /// [`ACTIVATION_MAGIC`].
    pub magic: [u8; 8],
    /// The epoch that activated the segment: bytes of an older run never come back.
    pub epoch: U64,
    /// The Lsn of the first byte behind the activation blocks.
    pub base_lsn: U64,
    /// The newest time stamp given out before: time stays monotone across segments and opens.
    pub last_time_us: U64,
    /// The segment before this one; 0 for the first of a store. A missing one is noticed.
    pub predecessor_id: U64,
    /// Where the predecessor ends: what lies behind is dead for ever.
    pub predecessor_end: U64,
    /// The fold of the predecessor's batch checksums up to that end: a shortened or exchanged
    /// predecessor is noticed.
    pub predecessor_hash: U64,
    /// CRC-64 of store id, segment id, incarnation, and all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<Activation>() == 64);

/// Which file of which store, in which of its lives. Part of every checksum that proves a place.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct SegmentIdentity {
    /// The store.
    pub store: StoreId,
    /// The segment.
    pub segment: SegmentId,
    /// The life of its file.
    pub incarnation: Incarnation,
}

impl SegmentIdentity {
    /// A checksum that has taken in the identity and nothing else.
    pub(crate) fn checksum(&self) -> Crc64 {
        let file = Crc64::new()
            .update(self.store.bytes())
            .update(&self.segment.get().to_le_bytes());
        if is_planted(Canary::NoIncarnation) {
            return file;
        }
        file.update(&self.incarnation.get().to_le_bytes())
    }
}

/// The fold of a segment's batches: equal folds mean equal batches in equal order.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ChainHash(u64);

impl ChainHash {
    /// Wraps a raw value, as read from disk.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw value, as written to disk.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The fold after one more batch, by the checksum of its header.
    #[must_use]
    pub fn extended(self, header_checksum: u64) -> Self {
        Self(
            Crc64::new()
                .update(&self.0.to_le_bytes())
                .update(&header_checksum.to_le_bytes())
                .finish(),
        )
    }
}

/// What a stamp that was believed says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Stamped {
    /// Whose file it is.
    pub identity: SegmentIdentity,
    /// Bytes of the file.
    pub capacity_bytes: u64,
}

impl Stamped {
    /// The stamp's block.
    pub fn encode(&self) -> Block {
        let mut stamp = Stamp {
            magic: STAMP_MAGIC,
            format_version: FORMAT_VERSION.into(),
            reserved: U32::ZERO,
            store_id: *self.identity.store.bytes(),
            segment_id: self.identity.segment.get().into(),
            incarnation: self.identity.incarnation.get().into(),
            capacity_bytes: self.capacity_bytes.into(),
            checksum: U64::ZERO,
        };
        stamp.checksum = sealed(Crc64::new(), stamp.as_bytes()).into();
        block_of(stamp.as_bytes())
    }

    /// Reads a stamp of whatever store and segment.
    ///
    /// # Errors
    /// [`Reject::Version`] only for a stamp that is sound but of a newer format.
    pub fn decode(block: &Block) -> Result<Self, Reject> {
        let (stamp, rest) = split::<Stamp>(&block.0)?;
        if stamp.magic != STAMP_MAGIC {
            return Err(Reject::Magic);
        }
        if stamp.checksum.get() != sealed(Crc64::new(), stamp.as_bytes()) {
            return Err(Reject::Checksum);
        }
        let found = stamp.format_version.get();
        if found > FORMAT_VERSION {
            return Err(Reject::Version {
                found,
                supported: FORMAT_VERSION,
            });
        }
        ensure(found == FORMAT_VERSION, "format version 0")?;
        ensure(stamp.reserved.get() == 0, "reserved bytes of a stamp")?;
        ensure(all_zero(rest), "bytes behind a stamp")?;
        let capacity_bytes = stamp.capacity_bytes.get();
        ensure(
            capacity_bytes > DATA_START && capacity_bytes.is_multiple_of(BLOCK_BYTES as u64),
            "capacity of a segment",
        )?;
        Ok(Self {
            identity: SegmentIdentity {
                store: StoreId::new(stamp.store_id),
                segment: SegmentId::new(stamp.segment_id.get()),
                incarnation: Incarnation::new(stamp.incarnation.get()),
            },
            capacity_bytes,
        })
    }

    /// Whether a stamp that is sound says that its file is not the registered one. Bytes behind the
    /// stamp do not matter here: it is the stamp's own checksum that vouches for its fields.
    pub fn is_of_another(block: &Block, registered: &Self) -> bool {
        let Ok((stamp, rest)) = split::<Stamp>(&block.0) else {
            return false;
        };
        let mut alone = Block::ZERO;
        alone.0[..block.0.len() - rest.len()].copy_from_slice(stamp.as_bytes());
        Self::decode(&alone).is_ok_and(|found| found != *registered)
    }

    /// Reads a stamp and compares it with what the manifest registered.
    ///
    /// # Errors
    /// Those of [`Stamped::decode`], [`Reject::ForeignStore`], or what differs.
    pub fn decode_as(block: &Block, registered: &Self) -> Result<(), Reject> {
        let found = Self::decode(block)?;
        if found.identity.store != registered.identity.store {
            return Err(Reject::ForeignStore);
        }
        ensure(
            found.identity.segment == registered.identity.segment,
            "the file is another segment",
        )?;
        ensure(
            found.identity.incarnation == registered.identity.incarnation,
            "the file is of another life of the segment",
        )?;
        ensure(
            found.capacity_bytes == registered.capacity_bytes,
            "the segment was registered with another capacity",
        )
    }
}

/// The segment that the log was in before.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Predecessor {
    /// Its id.
    pub segment: SegmentId,
    /// Where the log left it.
    pub end: Lsn,
    /// The fold of its batches up to there.
    pub hash: ChainHash,
}

/// What an activation that was believed says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Activated {
    /// The epoch that activated the segment.
    pub epoch: Epoch,
    /// The Lsn of the first byte behind the activation blocks.
    pub base_lsn: Lsn,
    /// The newest time stamp given out before.
    pub last_time_us: u64,
    /// The segment before; `None` for the first of a store.
    pub predecessor: Option<Predecessor>,
}

impl Activated {
    /// The activation's block, and the fold of a segment without batches.
    pub fn encode(&self, identity: &SegmentIdentity) -> (Block, ChainHash) {
        let (id, end, hash) = self.predecessor.map_or((0, 0, 0), |before| {
            (before.segment.get(), before.end.get(), before.hash.get())
        });
        let mut activation = Activation {
            magic: ACTIVATION_MAGIC,
            epoch: self.epoch.get().into(),
            base_lsn: self.base_lsn.get().into(),
            last_time_us: self.last_time_us.into(),
            predecessor_id: id.into(),
            predecessor_end: end.into(),
            predecessor_hash: hash.into(),
            checksum: U64::ZERO,
        };
        let checksum = sealed(identity.checksum(), activation.as_bytes());
        activation.checksum = checksum.into();
        (block_of(activation.as_bytes()), ChainHash::new(checksum))
    }

    /// Reads an activation of the segment `identity`.
    ///
    /// # Errors
    /// Why the block is none.
    pub fn decode(block: &Block, identity: &SegmentIdentity) -> Result<(Self, ChainHash), Reject> {
        let (activation, rest) = split::<Activation>(&block.0)?;
        if activation.magic != ACTIVATION_MAGIC {
            return Err(Reject::Magic);
        }
        let checksum = activation.checksum.get();
        if checksum != sealed(identity.checksum(), activation.as_bytes()) {
            return Err(Reject::Checksum);
        }
        ensure(all_zero(rest), "bytes behind an activation")?;
        let base_lsn = Lsn::new(activation.base_lsn.get());
        ensure(base_lsn < Lsn::LIMIT, "base lsn beyond the number space")?;
        ensure(
            base_lsn.get().is_multiple_of(BLOCK_BYTES as u64),
            "base lsn inside a block",
        )?;
        let (id, end) = (
            activation.predecessor_id.get(),
            activation.predecessor_end.get(),
        );
        ensure(
            end <= base_lsn.get(),
            "a predecessor that ends behind the base lsn",
        )?;
        ensure(
            id < identity.segment.get(),
            "a predecessor that comes later",
        )?;
        ensure(
            id != 0 || (end == 0 && activation.predecessor_hash.get() == 0),
            "an end of no predecessor",
        )?;
        let predecessor = (id != 0).then(|| Predecessor {
            segment: SegmentId::new(id),
            end: Lsn::new(end),
            hash: ChainHash::new(activation.predecessor_hash.get()),
        });
        let activated = Self {
            epoch: Epoch::new(activation.epoch.get()),
            base_lsn,
            last_time_us: activation.last_time_us.get(),
            predecessor,
        };
        Ok((activated, ChainHash::new(checksum)))
    }
}
