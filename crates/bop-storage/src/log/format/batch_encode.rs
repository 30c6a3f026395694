//! Making batches: header, records with their entries, the directory again, trailer.
//!
//! Invariant: a batch that was encoded reads back as it was given, in the one place it was made for.

use super::batch::{
    BATCH_MAGIC, BatchHeader, BatchLayout, BatchPlace, BatchTrailer, DirectoryEntry, HEADER_BYTES,
    TRAILER_BYTES, TRAILER_MAGIC, header_checksum, trailer_checksum,
};
use super::encode::EncodedRecord;
use super::segment::SegmentIdentity;
use crate::checksum::crc64;
use crate::error::Rejection;
use crate::ids::{DbId, Lsn};
use crate::io::{BLOCK_BYTES, Block, blocks_for};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// One record to be put into a batch.
#[derive(Copy, Clone, Debug)]
pub struct BatchEntry<'a> {
    /// The record.
    pub record: &'a EncodedRecord,
    /// When it was appended, in microseconds since the Unix epoch, never less than the one before.
    pub time_us: u64,
}

/// What the writer must know of a batch it has encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedBatch {
    /// Where the log goes on.
    pub end: Lsn,
    /// What the segment's [`ChainHash`](super::ChainHash) is extended by.
    pub header_checksum: u64,
    /// Each record's Lsn, in the order of the entries.
    pub record_lsns: Vec<Lsn>,
    /// Bytes from the header to the end of the last record.
    pub used_bytes: usize,
}

impl BatchLayout {
    /// The lay-out of a batch of these records.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a EncodedRecord>) -> Self {
        let mut layout = Self::default();
        for record in records {
            layout.add_record(record);
        }
        layout
    }

    /// Takes the next record. Returns where it starts, in bytes from the batch header.
    pub fn add_record(&mut self, record: &EncodedRecord) -> usize {
        self.add(record.bytes.len(), record.databases.len())
    }
}

/// Makes a batch in `out`, whose earlier content is forgotten.
///
/// # Errors
/// [`Rejection::TooLarge`] when it would pass 4 GiB or the end of the number space; the caller
/// bounds a batch by its segment, so that cannot happen to one that fits.
pub fn encode_batch(
    identity: &SegmentIdentity,
    place: &BatchPlace,
    entries: &[BatchEntry<'_>],
    out: &mut Vec<Block>,
) -> Result<EncodedBatch, Rejection> {
    if entries.is_empty() {
        return Err(Rejection::Invalid("a batch of no records"));
    }
    let layout = BatchLayout::of(entries.iter().map(|entry| entry.record));
    let sizes = Sizes::of(place, &layout)?;
    // What an earlier batch left is overwritten, or zeroed below.
    out.resize(blocks_for(sizes.length), Block::ZERO);
    let bytes = out.as_mut_slice().as_mut_bytes();

    let mut directory = Vec::with_capacity(layout.entries());
    let mut record_lsns = Vec::with_capacity(entries.len());
    let mut layout = BatchLayout::default();
    for entry in entries {
        let record = &entry.record.bytes;
        let at = layout.add_record(entry.record);
        record_lsns.push(sizes.lsn_at(place, at)?);
        let first = directory.len();
        list(&mut directory, entry, at);
        let listed = directory[first..].as_bytes();
        bytes[at - listed.len()..at].copy_from_slice(listed);
        bytes[at..at + record.len()].copy_from_slice(record);
    }

    let (header, trailer) = sizes.seals(identity, place, &directory);
    bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    end_batch(&mut bytes[layout.free()..], &directory, &trailer);
    Ok(EncodedBatch {
        end: sizes.end,
        header_checksum: header.checksum.get(),
        record_lsns,
        used_bytes: layout.free(),
    })
}

/// Makes the batch of a single record whose memory is laid out for that. Of its blocks the first comes into
/// `out`, behind it those that have more than bytes of the record at the end of the batch; in between stand
/// the record's [`RecordBytes::inner_blocks`](super::RecordBytes::inner_blocks). `None` for another record.
///
/// # Errors
/// As for [`encode_batch`].
pub fn frame_batch(
    identity: &SegmentIdentity,
    place: &BatchPlace,
    entry: &BatchEntry<'_>,
    out: &mut Vec<Block>,
) -> Result<Option<EncodedBatch>, Rejection> {
    let record = &entry.record.bytes;
    let mut layout = BatchLayout::default();
    let at = layout.add_record(entry.record);
    let Some(blocks) = record.blocks_at(at) else {
        return Ok(None);
    };
    let sizes = Sizes::of(place, &layout)?;
    let inner = record.inner_blocks().len();
    let last = 1 + inner..blocks_for(sizes.length);
    out.clear();
    out.push(blocks[0]);
    out.extend_from_slice(&blocks[last]);

    let mut directory = Vec::with_capacity(layout.entries());
    list(&mut directory, entry, at);
    let (header, trailer) = sizes.seals(identity, place, &directory);
    let bytes = out.as_mut_slice().as_mut_bytes();
    bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    bytes[HEADER_BYTES..at].copy_from_slice(directory.as_bytes());
    let free = layout.free() - inner * BLOCK_BYTES;
    end_batch(&mut bytes[free..], &directory, &trailer);
    Ok(Some(EncodedBatch {
        end: sizes.end,
        header_checksum: header.checksum.get(),
        record_lsns: vec![sizes.lsn_at(place, at)?],
        used_bytes: layout.free(),
    }))
}

/// What a batch says of its size.
struct Sizes {
    length: usize,
    length_u32: u32,
    entries_u32: u32,
    end: Lsn,
}

impl Sizes {
    fn of(place: &BatchPlace, layout: &BatchLayout) -> Result<Self, Rejection> {
        let length = layout.batch_bytes();
        let too_large = || too_large(length);
        Ok(Self {
            length,
            length_u32: u32::try_from(length).map_err(|_| too_large())?,
            entries_u32: u32::try_from(layout.entries()).map_err(|_| too_large())?,
            end: place.lsn.advance(length as u64).ok_or_else(too_large)?,
        })
    }

    /// The place of a record in the batch.
    fn lsn_at(&self, place: &BatchPlace, at: usize) -> Result<Lsn, Rejection> {
        let lsn = place.lsn.advance(at as u64);
        lsn.ok_or_else(|| too_large(self.length))
    }

    fn seals(
        &self,
        identity: &SegmentIdentity,
        place: &BatchPlace,
        directory: &[DirectoryEntry],
    ) -> (BatchHeader, BatchTrailer) {
        let listed = directory.as_bytes();
        let header = sealed_header(identity, place, self.entries_u32, self.length_u32, listed);
        let trailer = sealed_trailer(identity, &header, listed);
        (header, trailer)
    }
}

fn too_large(length: usize) -> Rejection {
    Rejection::TooLarge {
        bytes: length as u64,
        limit: u64::from(u32::MAX),
    }
}

/// What stands behind the last record, up to the end of the batch: zeros, the directory again, the trailer.
fn end_batch(behind: &mut [u8], directory: &[DirectoryEntry], trailer: &BatchTrailer) {
    let listed = directory.as_bytes();
    let (behind, trailer_bytes) = behind.split_at_mut(behind.len() - TRAILER_BYTES);
    let (zeros, second) = behind.split_at_mut(behind.len() - listed.len());
    zeros.fill(0);
    second.copy_from_slice(listed);
    trailer_bytes.copy_from_slice(trailer.as_bytes());
}

fn list(directory: &mut Vec<DirectoryEntry>, entry: &BatchEntry<'_>, offset: usize) {
    let record = entry.record;
    let none = [DbId::CATALOGUE];
    let databases = if record.databases.is_empty() {
        &none[..]
    } else {
        &record.databases
    };
    directory.extend(databases.iter().map(|database| DirectoryEntry {
        database: database.get().into(),
        // Inside a batch, whose length fits 32 bits.
        offset_bytes: u32::try_from(offset).unwrap_or(u32::MAX).into(),
        // A record has at most `RECORD_BYTES_MAX` bytes.
        record_bytes: u32::try_from(record.bytes.len()).unwrap_or(u32::MAX).into(),
        time_us: entry.time_us.into(),
        record_checksum: record.checksum.into(),
        kind: record.kind.code().into(),
        flags: U16::ZERO,
        reserved: U32::ZERO,
    }));
}

fn sealed_header(
    identity: &SegmentIdentity,
    place: &BatchPlace,
    entries: u32,
    length_bytes: u32,
    directory: &[u8],
) -> BatchHeader {
    let mut header = BatchHeader {
        magic: BATCH_MAGIC.into(),
        entries: entries.into(),
        length_bytes: length_bytes.into(),
        flags: U32::ZERO,
        lsn: place.lsn.get().into(),
        epoch: place.epoch.get().into(),
        durable_lsn: place.durable.get().into(),
        directory_checksum: crc64(directory).into(),
        reserved: [0; 8],
        checksum: U64::ZERO,
    };
    header.checksum = header_checksum(identity, &header).into();
    header
}

fn sealed_trailer(
    identity: &SegmentIdentity,
    header: &BatchHeader,
    directory: &[u8],
) -> BatchTrailer {
    let mut trailer = BatchTrailer {
        checksum: U64::ZERO,
        lsn: header.lsn,
        epoch: header.epoch,
        entries: header.entries,
        length_bytes: header.length_bytes,
        reserved: U32::ZERO,
        magic: TRAILER_MAGIC.into(),
    };
    trailer.checksum = trailer_checksum(identity, &trailer, directory).into();
    trailer
}
