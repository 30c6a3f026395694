//! Reading batches: bytes that nobody vouches for become headers, trailers and records.
//!
//! Invariants
//! - a header that was believed has a directory whose ranges lie inside the batch, in order and
//!   without overlap, so records are cut out without further checks;
//! - no bytes make it panic.

use super::batch::{
    BATCH_MAGIC, BatchHeader, BatchPlace, BatchTrailer, DirectoryEntry, ENTRY_BYTES, HEADER_BYTES,
    TRAILER_BYTES, TRAILER_MAGIC, header_checksum, trailer_checksum,
};
use super::bytes::{RECORD_ALIGN, all_zero, ensure, index, split, split_many, take};
use super::decode::{RawRecord, Record};
use super::record::RecordKind;
use super::segment::SegmentIdentity;
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

/// A batch header that was believed, with its directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedHeader {
    /// What the batch says of itself.
    pub place: BatchPlace,
    /// Where the log goes on.
    pub end: Lsn,
    /// Bytes of the batch.
    pub length_bytes: u32,
    /// Its checksum: what the segment's chain hash is extended by.
    pub checksum: u64,
    /// Its records.
    pub directory: Vec<DirectoryItem>,
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
/// [`Reject::Truncated`] when header and directory need more bytes than were given, `needed` being
/// at most `room_bytes`; else why there is no header.
pub fn decode_header(
    bytes: &[u8],
    identity: &SegmentIdentity,
    expected: Lsn,
    room_bytes: u64,
) -> Result<VerifiedHeader, Reject> {
    let (header, rest) = split::<BatchHeader>(bytes)?;
    if header.magic.get() != BATCH_MAGIC {
        return Err(Reject::Magic);
    }
    let length_bytes = header.length_bytes.get();
    let count = check_shape(header.entries.get(), length_bytes, room_bytes)?;
    let (directory, _) =
        split_many::<DirectoryEntry>(rest, count).map_err(|_| needs(bytes, count))?;
    let checksum = header.checksum.get();
    if checksum != header_checksum(identity, header, directory.as_bytes()) {
        return Err(Reject::Checksum);
    }
    let flags = header.flags.get();
    if flags != 0 {
        return Err(Reject::Features { flags });
    }
    ensure(
        header.reserved == [0; 16],
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
        checksum,
        directory: items(directory, count, length_bytes)?,
    })
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
        directory: items(directory, count, length_bytes)?,
    })
}

/// Believes all records of a batch, or says which one it does not believe. `bytes` is the batch.
///
/// # Errors
/// The Lsn of the record and why it was not believed.
pub fn verify_records<'a>(
    header: &VerifiedHeader,
    bytes: &'a [u8],
) -> Result<Vec<VerifiedRecord<'a>>, (Lsn, Reject)> {
    let mut records = Vec::with_capacity(header.directory.len());
    for item in header.records() {
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

/// What is wrong with those parts of a batch that replay can do without: the bytes between its
/// parts, the second directory, the trailer. `bytes` is the batch, `header` its believed header.
pub fn spare_parts_damage(
    header: &VerifiedHeader,
    bytes: &[u8],
    identity: &SegmentIdentity,
) -> Option<Reject> {
    let trailer = match decode_trailer(bytes, identity, header.end) {
        Ok(trailer) => trailer,
        Err(reject) => return Some(reject),
    };
    let agrees = trailer.lsn == header.place.lsn
        && trailer.epoch == header.place.epoch
        && trailer.directory == header.directory;
    if !agrees {
        return Some(Reject::Invalid("header and trailer of a batch differ"));
    }
    let listed = header.directory.len() * ENTRY_BYTES;
    let mut at = HEADER_BYTES + listed;
    let ends = (bytes.len().saturating_sub(TRAILER_BYTES + listed), 0);
    let ranges = header.directory.iter().map(|item| {
        // Verified to lie inside the batch: both fit.
        (item.offset_bytes as usize, item.record_bytes as usize)
    });
    for (start, len) in ranges.chain([ends]) {
        // Another line of the record before starts in front of its end and has no gap.
        if bytes.get(at..start).is_some_and(|gap| !all_zero(gap)) {
            return Some(Reject::Invalid("bytes between the records of a batch"));
        }
        at = at.max(start + len);
    }
    None
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

fn needs(bytes: &[u8], count: usize) -> Reject {
    Reject::Truncated {
        found: bytes.len() as u64,
        needed: (HEADER_BYTES + count * ENTRY_BYTES) as u64,
    }
}

fn items(
    directory: &[DirectoryEntry],
    count: usize,
    length_bytes: u32,
) -> Result<Vec<DirectoryItem>, Reject> {
    let first = HEADER_BYTES + count * ENTRY_BYTES;
    let last = index(u64::from(length_bytes))? - TRAILER_BYTES - count * ENTRY_BYTES;
    let mut free = first;
    let mut items: Vec<DirectoryItem> = Vec::with_capacity(count);
    for entry in directory {
        let flags = u32::from(entry.flags.get());
        if flags != 0 {
            return Err(Reject::Features { flags });
        }
        ensure(entry.reserved.get() == 0, "reserved bytes of a directory")?;
        let item = DirectoryItem {
            database: DbId::new(entry.database.get()),
            kind: RecordKind::from_code(entry.kind.get())
                .ok_or(Reject::Invalid("unknown kind of record"))?,
            offset_bytes: entry.offset_bytes.get(),
            record_bytes: entry.record_bytes.get(),
            time_us: entry.time_us.get(),
            record_checksum: entry.record_checksum.get(),
        };
        let start = index(u64::from(item.offset_bytes))?;
        let end = start + index(u64::from(item.record_bytes))?;
        let same = items
            .last()
            .is_some_and(|before| same_record(before, &item));
        ensure(
            same || (free <= start
                && end <= last
                && start < end
                && start.is_multiple_of(RECORD_ALIGN)),
            "records of a batch out of order",
        )?;
        free = free.max(end);
        items.push(item);
    }
    Ok(items)
}

/// Whether `item` is the next database of the record that `before` lists.
fn same_record(before: &DirectoryItem, item: &DirectoryItem) -> bool {
    let as_before = DirectoryItem {
        database: before.database,
        ..*item
    };
    as_before == *before && before.database < item.database
}
