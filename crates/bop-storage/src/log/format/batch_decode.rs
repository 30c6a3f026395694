//! Reading batches: bytes that nobody vouches for become headers, trailers and records.
//!
//! Invariants
//! - a directory that was believed describes the one lay-out that a batch of its records has, so
//!   records are cut out without further checks;
//! - a header and one of the two directories are enough to replay a batch;
//! - no bytes make it panic.

use super::batch::{
    BATCH_MAGIC, BatchHeader, BatchLayout, BatchPlace, BatchTrailer, DirectoryEntry, ENTRY_BYTES,
    HEADER_BYTES, TRAILER_BYTES, TRAILER_MAGIC, header_checksum, trailer_checksum,
};
use super::bytes::{RECORD_ALIGN, all_zero, ensure, index, split, split_many, take};
use super::decode::{RawRecord, Record};
use super::record::RecordKind;
use super::segment::SegmentIdentity;
use crate::checksum::crc64;
use crate::error::Reject;
use crate::ids::{DbId, Epoch, Lsn};
use crate::io::BLOCK_BYTES;
use zerocopy::IntoBytes;

/// One line of a batch's directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DirectoryItem {
    /// The database that the record touches; the catalogue's where it touches none.
    pub database: DbId,
    /// The record's kind.
    pub kind: RecordKind,
    /// Where the record starts, in bytes from the batch header.
    pub offset_bytes: u32,
    /// Bytes of the record.
    pub record_bytes: u32,
    /// When it was appended.
    pub time_us: u64,
    /// CRC-64 of the record.
    pub record_checksum: u64,
}

/// A batch header that was believed. It knows its directory when it sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct VerifiedHeader {
    /// What the batch says of itself.
    pub place: BatchPlace,
    /// Where the log goes on.
    pub end: Lsn,
    /// Bytes of the batch.
    pub length_bytes: u32,
    /// Entries of its directory.
    pub entries: usize,
    /// CRC-64 of the directory.
    pub directory_checksum: u64,
    /// Its checksum: what the segment's chain hash is extended by.
    pub checksum: u64,
}

/// A batch trailer that was believed, with its directory. It says less than a header: not how far
/// the log was durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedTrailer {
    /// Where the batch starts.
    pub lsn: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// The opening of the store that wrote it.
    pub epoch: Epoch,
    /// Its records.
    pub directory: Vec<DirectoryItem>,
}

/// One record of a batch, believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedRecord<'a> {
    /// Where it starts.
    pub lsn: Lsn,
    /// When it was appended.
    pub time_us: u64,
    /// What it is.
    pub record: Record<'a>,
}

/// The Lsn that the bytes would be at if they were the start of a batch; `None` when they are not.
/// Worth nothing before [`decode_header`] has believed it.
pub fn claimed_lsn(bytes: &[u8]) -> Option<Lsn> {
    let (header, _) = split::<BatchHeader>(bytes).ok()?;
    (header.magic.get() == BATCH_MAGIC).then(|| Lsn::new(header.lsn.get()))
}

/// Reads the header that must stand at `expected`, at the start of `bytes`. `room_bytes` is how far
/// the segment goes from there.
///
/// # Errors
/// Why there is no header.
pub fn decode_header(
    bytes: &[u8],
    identity: &SegmentIdentity,
    expected: Lsn,
    room_bytes: u64,
) -> Result<VerifiedHeader, Reject> {
    let (header, _) = split::<BatchHeader>(bytes)?;
    if header.magic.get() != BATCH_MAGIC {
        return Err(Reject::Magic);
    }
    let checksum = header.checksum.get();
    if checksum != header_checksum(identity, header) {
        return Err(Reject::Checksum);
    }
    let flags = header.flags.get();
    if flags != 0 {
        return Err(Reject::Features { flags });
    }
    let length_bytes = header.length_bytes.get();
    let entries = check_shape(header.entries.get(), length_bytes, room_bytes)?;
    ensure(
        header.reserved == [0; 8],
        "reserved bytes of a batch header",
    )?;
    let (lsn, durable) = (
        Lsn::new(header.lsn.get()),
        Lsn::new(header.durable_lsn.get()),
    );
    ensure(lsn == expected, "a batch that belongs elsewhere")?;
    ensure(
        durable <= lsn,
        "a batch that says it was durable before it was made",
    )?;
    let end = lsn
        .advance(u64::from(length_bytes))
        .ok_or(Reject::Invalid("a batch beyond the number space"))?;
    Ok(VerifiedHeader {
        place: BatchPlace {
            lsn,
            epoch: Epoch::new(header.epoch.get()),
            durable,
        },
        end,
        length_bytes,
        entries,
        directory_checksum: header.directory_checksum.get(),
        checksum,
    })
}

/// The directory of a batch: the one at its end, or, when that is bad, the entries in front of the
/// records. `bytes` is the batch.
///
/// # Errors
/// What is wrong with the second one.
pub fn decode_directory(
    header: &VerifiedHeader,
    bytes: &[u8],
) -> Result<Vec<DirectoryItem>, Reject> {
    let at_the_end = || {
        let listed = header.entries * ENTRY_BYTES;
        let start = bytes.len().checked_sub(TRAILER_BYTES + listed)?;
        directory_of(header, &bytes[start..]).ok()
    };
    match at_the_end() {
        Some(directory) => Ok(directory),
        None => directory_by_records(header, |at| {
            let (_, rest) = take(bytes, at)?;
            let (entry, _) = take(rest, ENTRY_BYTES)?;
            Ok(entry.to_vec())
        }),
    }
}

/// The directory that stands at the start of `bytes`, if it is that of `header`.
///
/// # Errors
/// What is wrong with it.
pub fn directory_of(header: &VerifiedHeader, bytes: &[u8]) -> Result<Vec<DirectoryItem>, Reject> {
    let (directory, _) = split_many::<DirectoryEntry>(bytes, header.entries)?;
    if crc64(directory.as_bytes()) != header.directory_checksum {
        return Err(Reject::Checksum);
    }
    items(directory, header.length_bytes)
}

/// The directory, from the entries in front of the records. `entry_at` reads the bytes of the entry
/// that starts so many bytes from the batch header.
///
/// # Errors
/// What is wrong with it, or what `entry_at` said.
pub fn directory_by_records(
    header: &VerifiedHeader,
    entry_at: impl FnMut(usize) -> Result<Vec<u8>, Reject>,
) -> Result<Vec<DirectoryItem>, Reject> {
    directory_of(header, &listed_by_records(header.entries, entry_at)?)
}

/// The bytes of that directory, which nobody vouches for.
pub(super) fn listed_by_records(
    entries: usize,
    mut entry_at: impl FnMut(usize) -> Result<Vec<u8>, Reject>,
) -> Result<Vec<u8>, Reject> {
    let mut listed = Vec::new();
    let mut at = HEADER_BYTES;
    while listed.len() < entries.saturating_mul(ENTRY_BYTES) {
        let bytes = entry_at(at)?;
        let (entry, _) = split::<DirectoryEntry>(&bytes)?;
        let (offset, length) = (entry.offset_bytes.get(), entry.record_bytes.get());
        listed.extend_from_slice(entry.as_bytes());
        at += ENTRY_BYTES;
        // The last entry in front of its record.
        if index(u64::from(offset))? == at {
            at = at.saturating_add(index(u64::from(length))?);
        }
    }
    Ok(listed)
}

/// Where the directory at the end of a batch starts, in bytes from the batch header, and how long
/// it is.
pub fn last_directory(header: &VerifiedHeader) -> (usize, usize) {
    let listed = header.entries * ENTRY_BYTES;
    // `check_shape` has compared the two.
    let start = header.length_bytes as usize - TRAILER_BYTES - listed;
    (start, listed)
}

/// Reads the trailer that must stand at the end of `bytes`, which ends where the log has `end`.
///
/// # Errors
/// [`Reject::Truncated`] when directory and trailer need more bytes than were given; else why there
/// is no trailer.
pub fn decode_trailer(
    bytes: &[u8],
    identity: &SegmentIdentity,
    end: Lsn,
) -> Result<VerifiedTrailer, Reject> {
    let at = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .ok_or(Reject::Magic)?;
    let (before, tail) = take(bytes, at)?;
    let (trailer, _) = split::<BatchTrailer>(tail)?;
    if trailer.magic.get() != TRAILER_MAGIC {
        return Err(Reject::Magic);
    }
    let length_bytes = trailer.length_bytes.get();
    let count = check_shape(trailer.entries.get(), length_bytes, end.get())?;
    let directory_bytes = count * ENTRY_BYTES;
    let start = before
        .len()
        .checked_sub(directory_bytes)
        .ok_or(Reject::Truncated {
            found: bytes.len() as u64,
            needed: (directory_bytes + TRAILER_BYTES) as u64,
        })?;
    let (directory, _) = split_many::<DirectoryEntry>(&before[start..], count)?;
    if trailer.checksum.get() != trailer_checksum(identity, trailer, directory.as_bytes()) {
        return Err(Reject::Checksum);
    }
    ensure(
        trailer.reserved.get() == 0,
        "reserved bytes of a batch trailer",
    )?;
    let lsn = Lsn::new(trailer.lsn.get());
    ensure(
        lsn.advance(u64::from(length_bytes)) == Some(end),
        "a trailer that belongs elsewhere",
    )?;
    Ok(VerifiedTrailer {
        lsn,
        end,
        epoch: Epoch::new(trailer.epoch.get()),
        directory: items(directory, length_bytes)?,
    })
}

/// Believes all records of a batch, or says which one it does not believe. `bytes` is the batch.
///
/// # Errors
/// The Lsn of the record and why it was not believed.
pub fn verify_records<'a>(
    header: &VerifiedHeader,
    directory: &[DirectoryItem],
    bytes: &'a [u8],
) -> Result<Vec<VerifiedRecord<'a>>, (Lsn, Reject)> {
    let mut records = Vec::with_capacity(directory.len());
    for item in each_record(directory) {
        let lsn = Lsn::new(header.place.lsn.get() + u64::from(item.offset_bytes));
        let record = verify_record(item, bytes).map_err(|reject| (lsn, reject))?;
        records.push(VerifiedRecord {
            lsn,
            time_us: item.time_us,
            record,
        });
    }
    Ok(records)
}

/// The entries of a directory, each record once: a group has one for each of its databases.
pub(super) fn each_record(directory: &[DirectoryItem]) -> impl Iterator<Item = &DirectoryItem> {
    let mut before = None;
    directory
        .iter()
        .filter(move |item| before.replace(item.offset_bytes) != Some(item.offset_bytes))
}

fn verify_record<'a>(item: &DirectoryItem, bytes: &'a [u8]) -> Result<Record<'a>, Reject> {
    let (_, rest) = take(bytes, index(u64::from(item.offset_bytes))?)?;
    let (record, _) = take(rest, index(u64::from(item.record_bytes))?)?;
    let believed = RawRecord(record).verify(item.record_checksum)?;
    let (header, _) = split::<super::record::RecordHeader>(record)?;
    ensure(
        header.kind.get() == item.kind.code(),
        "a record of another kind than its directory says",
    )?;
    Ok(believed)
}

/// What is wrong with those parts of a batch that replay can do without: one of its directories,
/// the zeros, the trailer. `bytes` is the batch, the rest was believed.
pub fn spare_parts_damage(
    header: &VerifiedHeader,
    directory: &[DirectoryItem],
    bytes: &[u8],
    identity: &SegmentIdentity,
) -> Option<Reject> {
    let trailer = match decode_trailer(bytes, identity, header.end) {
        Ok(trailer) => trailer,
        Err(reject) => return Some(reject),
    };
    let agrees = trailer.lsn == header.place.lsn
        && trailer.epoch == header.place.epoch
        && trailer.directory == directory;
    if !agrees {
        return Some(Reject::Invalid("header and trailer of a batch differ"));
    }
    let (second, listed) = last_directory(header);
    let mut again = bytes
        .get(second..second + listed)?
        .chunks_exact(ENTRY_BYTES);
    for record in directory.chunk_by(same_record) {
        let at = record.first()?.offset_bytes as usize;
        for before in (1..=record.len()).rev() {
            let entry = at.checked_sub(before * ENTRY_BYTES)?;
            if bytes.get(entry..entry + ENTRY_BYTES) != again.next() {
                return Some(Reject::Invalid("an entry of a batch differs from its copy"));
            }
        }
    }
    let last = directory.last()?;
    // Verified to lie inside the batch: both fit.
    let free = last.offset_bytes as usize + last.record_bytes as usize;
    let zeros = bytes.get(free..second).is_some_and(all_zero);
    (!zeros).then_some(Reject::Invalid("bytes behind the records of a batch"))
}

/// Bounds the two numbers that everything else is found by, and returns the count of entries.
fn check_shape(entries: u32, length_bytes: u32, room_bytes: u64) -> Result<usize, Reject> {
    let length = u64::from(length_bytes);
    ensure(
        length != 0 && length.is_multiple_of(BLOCK_BYTES as u64),
        "length of a batch",
    )?;
    ensure(length <= room_bytes, "a batch that leaves its segment")?;
    let least = (HEADER_BYTES + TRAILER_BYTES) as u64 + 2 * u64::from(entries) * ENTRY_BYTES as u64;
    ensure(
        entries != 0 && least <= length,
        "count of a batch's records",
    )?;
    index(u64::from(entries))
}

/// Believes the entries of a directory: they must describe the one lay-out that such records have.
fn items(directory: &[DirectoryEntry], length_bytes: u32) -> Result<Vec<DirectoryItem>, Reject> {
    let items = directory.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let mut layout = BatchLayout::default();
    for record in items.chunk_by(same_record) {
        let Some(first) = record.first() else {
            continue;
        };
        let bytes = index(u64::from(first.record_bytes))?;
        ensure(
            bytes != 0 && bytes.is_multiple_of(RECORD_ALIGN),
            "length of a record in a directory",
        )?;
        let at = layout.add(bytes, record.len());
        ensure(
            at == index(u64::from(first.offset_bytes))?,
            "records of a batch out of order",
        )?;
    }
    ensure(
        layout.batch_bytes() as u64 == u64::from(length_bytes),
        "a directory of another length than its batch",
    )?;
    Ok(items)
}

fn item(entry: &DirectoryEntry) -> Result<DirectoryItem, Reject> {
    let flags = u32::from(entry.flags.get());
    if flags != 0 {
        return Err(Reject::Features { flags });
    }
    ensure(entry.reserved.get() == 0, "reserved bytes of a directory")?;
    Ok(DirectoryItem {
        database: DbId::new(entry.database.get()),
        kind: RecordKind::from_code(entry.kind.get())
            .ok_or(Reject::Invalid("unknown kind of record"))?,
        offset_bytes: entry.offset_bytes.get(),
        record_bytes: entry.record_bytes.get(),
        time_us: entry.time_us.get(),
        record_checksum: entry.record_checksum.get(),
    })
}

/// Whether `item` is the next database of the record that `before` lists.
fn same_record(before: &DirectoryItem, item: &DirectoryItem) -> bool {
    let as_before = DirectoryItem {
        database: before.database,
        ..*item
    };
    as_before == *before && before.database < item.database
}
