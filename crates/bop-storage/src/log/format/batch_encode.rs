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
use crate::io::{Block, blocks_for};
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
    let length = layout.batch_bytes();
    let too_large = || Rejection::TooLarge {
        bytes: length as u64,
        limit: u64::from(u32::MAX),
    };
    let length_u32 = u32::try_from(length).map_err(|_| too_large())?;
    let entries_u32 = u32::try_from(layout.entries()).map_err(|_| too_large())?;
    let end = place.lsn.advance(length as u64).ok_or_else(too_large)?;
    // What an earlier batch left is overwritten, or zeroed below.
    out.resize(blocks_for(length), Block::ZERO);
    let bytes = out.as_mut_slice().as_mut_bytes();

    let mut directory = Vec::with_capacity(layout.entries());
    let mut record_lsns = Vec::with_capacity(entries.len());
    let mut layout = BatchLayout::default();
    for entry in entries {
        let record = &entry.record.bytes;
        let at = layout.add_record(entry.record);
        // Inside the batch, whose length fits 32 bits and whose end is below the limit.
        let at_u32 = u32::try_from(at).map_err(|_| too_large())?;
        record_lsns.push(place.lsn.advance(at as u64).ok_or_else(too_large)?);
        let first = directory.len();
        list(&mut directory, entry, at_u32);
        let listed = directory[first..].as_bytes();
        bytes[at - listed.len()..at].copy_from_slice(listed);
        bytes[at..at + record.len()].copy_from_slice(record);
    }

    let listed = directory.as_bytes();
    let header = sealed_header(identity, place, entries_u32, length_u32, listed);
    let trailer = sealed_trailer(identity, &header, listed);
    bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    let second = length - TRAILER_BYTES - listed.len();
    bytes[layout.free()..second].fill(0);
    bytes[second..length - TRAILER_BYTES].copy_from_slice(listed);
    bytes[length - TRAILER_BYTES..].copy_from_slice(trailer.as_bytes());
    Ok(EncodedBatch {
        end,
        header_checksum: header.checksum.get(),
        record_lsns,
    })
}

fn list(directory: &mut Vec<DirectoryEntry>, entry: &BatchEntry<'_>, offset_bytes: u32) {
    let record = entry.record;
    let none = [DbId::CATALOGUE];
    let databases = if record.databases.is_empty() {
        &none[..]
    } else {
        &record.databases
    };
    directory.extend(databases.iter().map(|database| DirectoryEntry {
        database: database.get().into(),
        offset_bytes: offset_bytes.into(),
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
