//! The index of a sealed segment: a copy of all that its batches say but their images and payloads.
//!
//! ```text
//! file   | stamp, activations, batches ... capacity_bytes | SealHeader, zeros | body | zeros |
//! body   for each batch: BatchHeader | DirectoryEntry x n | the head of each record
//! ```
//! It stands behind the segment's own bytes, so it takes no room from batches, and what ends the log
//! never depends on it. It proves itself: batch headers and record heads keep the checksums that they
//! have in the segment, and the fold of the headers is the chain hash by which the next segment's
//! activation names this one.
//!
//! Invariant: an index that was believed says exactly what a scan of the sound segment would say.
//!
//! Never: needed. A segment without a good one is scanned.

use super::batch::{BATCH_MAGIC, BatchHeader, DirectoryEntry, ENTRY_BYTES, HEADER_BYTES};
use super::batch_decode::{
    DirectoryItem, VerifiedHeader, VerifiedRecord, decode_header, directory_of, each_record, listed,
};
use super::bytes::{all_zero, block_of, ensure, index, sealed, split, split_many, take};
use super::decode::RecordHead;
use super::record::RecordHeader;
use super::segment::{ChainHash, SegmentIdentity};
use crate::error::Reject;
use crate::ids::Lsn;
use crate::io::Block;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Starts an index.
pub const SEAL_MAGIC: [u8; 8] = *b"\x89BOPi\r\n\x1a";

/// No index is larger: what opening and writing one takes is bounded by it.
const SEAL_BYTES_MAX: u64 = 8 << 20;

/// The block behind the segment's own bytes; the rest of the block is zero.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SealHeader {
    /// [`SEAL_MAGIC`].
    pub magic: [u8; 8],
    /// Where the segment starts: an index of another segment is noticed.
    pub base_lsn: U64,
    /// Where the log left it: an index that was made too early is noticed.
    pub end_lsn: U64,
    /// The segment's chain hash there: one of other batches is noticed.
    pub chain_hash: U64,
    /// Bytes of the body.
    pub body_bytes: U64,
    /// Batches in it.
    pub batches: U32,
    /// Zero.
    pub reserved: U32,
    /// CRC-64 of store id, segment id, incarnation, and the body.
    pub body_checksum: U64,
    /// CRC-64 of store id, segment id, incarnation, and all fields before it.
    pub checksum: U64,
}
const _: () = assert!(size_of::<SealHeader>() == 64);

/// Bytes of the largest body that a segment of `capacity_bytes` gets. A segment whose records are
/// so small that more would be needed is as well scanned.
pub fn seal_bytes_max(capacity_bytes: u64) -> u64 {
    (capacity_bytes / 8).min(SEAL_BYTES_MAX)
}

/// What an index is of.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Where the segment starts.
    pub base: Lsn,
    /// Where the log left it.
    pub end: Lsn,
    /// The fold of its batches.
    pub chain: ChainHash,
}

/// A header of an index that was believed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SealedHeader {
    /// What it is of.
    pub sealed: Sealed,
    /// Bytes of the body.
    pub body_bytes: u64,
    batches: u32,
    body_checksum: u64,
}

impl SealedHeader {
    /// The header of the index with this body.
    pub fn new(sealed: Sealed, identity: &SegmentIdentity, batches: u32, body: &[u8]) -> Self {
        Self {
            sealed,
            body_bytes: body.len() as u64,
            batches,
            body_checksum: identity.checksum().update(body).finish(),
        }
    }

    /// Its block.
    pub fn encode(&self, identity: &SegmentIdentity) -> Block {
        let mut header = SealHeader {
            magic: SEAL_MAGIC,
            base_lsn: self.sealed.base.get().into(),
            end_lsn: self.sealed.end.get().into(),
            chain_hash: self.sealed.chain.get().into(),
            body_bytes: self.body_bytes.into(),
            batches: self.batches.into(),
            reserved: U32::ZERO,
            body_checksum: self.body_checksum.into(),
            checksum: U64::ZERO,
        };
        header.checksum = sealed(identity.checksum(), header.as_bytes()).into();
        block_of(header.as_bytes())
    }

    /// Reads the block behind a segment of `capacity_bytes`.
    ///
    /// # Errors
    /// Why it is no header.
    pub fn decode(
        block: &Block,
        identity: &SegmentIdentity,
        capacity_bytes: u64,
    ) -> Result<Self, Reject> {
        let (header, rest) = split::<SealHeader>(&block.0)?;
        if header.magic != SEAL_MAGIC {
            return Err(Reject::Magic);
        }
        if header.checksum.get() != sealed(identity.checksum(), header.as_bytes()) {
            return Err(Reject::Checksum);
        }
        ensure(header.reserved.get() == 0, "reserved bytes of an index")?;
        ensure(all_zero(rest), "bytes behind the header of an index")?;
        let body_bytes = header.body_bytes.get();
        ensure(
            body_bytes <= seal_bytes_max(capacity_bytes),
            "an index that is too large",
        )?;
        Ok(Self {
            sealed: Sealed {
                base: Lsn::new(header.base_lsn.get()),
                end: Lsn::new(header.end_lsn.get()),
                chain: ChainHash::new(header.chain_hash.get()),
            },
            body_bytes,
            batches: header.batches.get(),
            body_checksum: header.body_checksum.get(),
        })
    }

    /// Reads the body: `each` gets the batches in their order. `start` is the chain hash of the
    /// segment without batches. `bytes` may go on behind the body, with zeros.
    ///
    /// # Errors
    /// Why it is not to be believed; what `each` got until then is void.
    pub fn read_body<'a>(
        &self,
        identity: &SegmentIdentity,
        start: ChainHash,
        bytes: &'a [u8],
        mut each: impl FnMut(VerifiedHeader, Vec<VerifiedRecord<'a>>),
    ) -> Result<(), Reject> {
        let (body, padding) = take(bytes, index(self.body_bytes)?)?;
        if identity.checksum().update(body).finish() != self.body_checksum {
            return Err(Reject::Checksum);
        }
        ensure(all_zero(padding), "bytes behind an index")?;
        let (mut rest, mut at, mut chain) = (body, self.sealed.base, start);
        for _ in 0..self.batches {
            let room = self.sealed.end.get().saturating_sub(at.get());
            let header = decode_header(rest, identity, at, room)?;
            (_, rest) = take(rest, HEADER_BYTES)?;
            let directory = directory_of(&header, rest)?;
            (_, rest) = take(rest, header.entries * ENTRY_BYTES)?;
            let records = heads(&header, &directory, &mut rest)?;
            at = header.end;
            chain = chain.extended(header.checksum);
            each(header, records);
        }
        ensure(rest.is_empty(), "bytes behind the last batch of an index")?;
        ensure(
            at == self.sealed.end && chain == self.sealed.chain,
            "an index of other batches",
        )
    }
}

fn heads<'a>(
    header: &VerifiedHeader,
    directory: &[DirectoryItem],
    rest: &mut &'a [u8],
) -> Result<Vec<VerifiedRecord<'a>>, Reject> {
    let mut records = Vec::with_capacity(directory.len());
    for item in each_record(directory) {
        let (fixed, _) = split::<RecordHeader>(rest)?;
        let (head, behind) = take(rest, index(u64::from(fixed.header_bytes.get()))?)?;
        *rest = behind;
        let lsn = Lsn::new(header.place.lsn.get() + u64::from(item.offset_bytes));
        records.push(VerifiedRecord {
            lsn,
            time_us: item.time_us,
            record: RecordHead(head).verify(item)?,
        });
    }
    Ok(records)
}

/// Adds a batch, which `batch` starts with, to the body of an index.
///
/// # Errors
/// What is no batch; nothing is added then.
pub fn add_batch(body: &mut Vec<u8>, batch: &[u8]) -> Result<(), Reject> {
    let (header, _) = split::<BatchHeader>(batch)?;
    ensure(header.magic.get() == BATCH_MAGIC, "not a batch")?;
    let count = index(u64::from(header.entries.get()))?;
    let (batch, _) = take(batch, index(u64::from(header.length_bytes.get()))?)?;
    let listed = listed(batch, count, header.directory_checksum.get())?;
    let (directory, _) = split_many::<DirectoryEntry>(&listed, count)?;
    let before = body.len();
    body.extend_from_slice(header.as_bytes());
    body.extend_from_slice(&listed);
    let mut last = None;
    for entry in directory {
        let offset = entry.offset_bytes.get();
        // A group has one line for each of its databases.
        if last.replace(offset) == Some(offset) {
            continue;
        }
        let copied = head_at(batch, offset).map(|head| body.extend_from_slice(head));
        if let Err(reject) = copied {
            body.truncate(before);
            return Err(reject);
        }
    }
    Ok(())
}

/// The same for a batch of one record that starts with the block `first`.
///
/// # Errors
/// What is no such batch; nothing is added then.
pub fn add_framed(body: &mut Vec<u8>, first: &Block, record: &[u8]) -> Result<(), Reject> {
    let (header, rest) = split::<BatchHeader>(first.as_bytes())?;
    ensure(header.magic.get() == BATCH_MAGIC, "not a batch")?;
    let count = index(u64::from(header.entries.get()))?;
    let (directory, _) = split_many::<DirectoryEntry>(rest, count)?;
    let head = head_of(record)?;
    body.extend_from_slice(header.as_bytes());
    body.extend_from_slice(directory.as_bytes());
    body.extend_from_slice(head);
    Ok(())
}

fn head_at(batch: &[u8], offset: u32) -> Result<&[u8], Reject> {
    let (_, record) = take(batch, index(u64::from(offset))?)?;
    head_of(record)
}

fn head_of(record: &[u8]) -> Result<&[u8], Reject> {
    let (fixed, _) = split::<RecordHeader>(record)?;
    let (head, _) = take(record, index(u64::from(fixed.header_bytes.get()))?)?;
    Ok(head)
}
