//! Reading records: bytes that nobody vouches for become a [`Record`], or a reason why not.
//!
//! Invariants
//! - no bytes make it panic, and nothing is allocated before its length was compared with the bytes
//!   that are there;
//! - a right checksum is not enough: a record that contradicts itself is rejected too.

use super::batch_decode::DirectoryItem;
use super::bytes::{all_zero, ensure, index, padded, split, split_many, take};
use super::catalogue::CatalogueEntry;
use super::encode::FragmentPart;
use super::image::ImageForm;
use super::record::{
    Abort, CloseHead, Encoding, FLAG_SEVERAL, Member, Note, NoteKind, PageEntry, PageRecord,
    RecordHeader, RecordKind,
};
use super::record_log::LogsRecord;
use crate::checksum::{Crc64, PageHash, RollingChecksum, crc64};
use crate::error::Reject;
use crate::ids::{CommitId, DbId, Lsn, PageNo, PageSize};
use zerocopy::IntoBytes;

/// A record's bytes, as they were read.
#[derive(Copy, Clone, Debug)]
pub struct RawRecord<'a>(pub &'a [u8]);

/// A record that was believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A commit or a fragment.
    Pages(PagesRecord),
    /// A chain will not be committed.
    Abort {
        /// The chain.
        commit: CommitId,
        /// A database of the chain.
        database: DbId,
    },
    /// Something happens to a database's name or being.
    Catalogue(Vec<CatalogueEntry<'a>>),
    /// A record of record logs.
    Logs(LogsRecord),
    /// A note.
    Note(NoteKind),
    /// A clean end: databases and their newest commits, ascending by database.
    Close(Vec<(DbId, Lsn)>),
    /// The index at the end of a sealed segment, which this version passes over.
    SealIndex,
}

/// A commit or a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PagesRecord {
    /// Which part of its transaction it is.
    pub part: FragmentPart,
    /// Its header checksum: what the next part of a chain names as `previous`.
    pub header_checksum: u64,
    /// Its databases, ascending.
    pub members: Vec<MemberPages>,
}

/// One database of a commit or fragment. In a fragment only database, page size and pages count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberPages {
    /// The database.
    pub database: DbId,
    /// Its commit before this one.
    pub parent: Lsn,
    /// The xor of its page hashes after this commit.
    pub rolling: RollingChecksum,
    /// Its pages after this commit.
    pub page_count: u32,
    /// The fewest pages that it had since its parent.
    pub page_count_min: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// The pages, ascending.
    pub pages: Vec<PageLocation>,
}

/// One page of a commit or fragment, and where its image is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PageLocation {
    /// The page.
    pub page: PageNo,
    /// The hash of page number and content.
    pub hash: PageHash,
    /// Where the image starts, in bytes from the start of the record.
    pub image_offset: u32,
    /// How the image stands there.
    pub form: ImageForm,
}

/// The head of a record alone, as the index of a sealed segment has it: all but images or payload.
#[derive(Copy, Clone, Debug)]
pub struct RecordHead<'a>(pub &'a [u8]);

impl<'a> RecordHead<'a> {
    /// Believes the head of the record that a batch lists as `item`, or says why not.
    ///
    /// # Errors
    /// Why it was not believed.
    pub fn verify(self, item: &DirectoryItem) -> Result<Record<'a>, Reject> {
        let parts = parts(self.0, index(u64::from(item.record_bytes))?)?;
        ensure(
            parts.kind == item.kind,
            "a record of another kind than its directory says",
        )?;
        believe(&parts)
    }
}

/// The parts of a record whose checksums are right.
pub(super) struct Parts<'a> {
    pub(super) kind: RecordKind,
    /// It has [`FLAG_SEVERAL`].
    several: bool,
    header_checksum: u64,
    /// Between the record header and the end of the head.
    pub(super) body: &'a [u8],
    /// Behind the head: images or payload, and the zeros at the end. `None` when only the head was
    /// read.
    pub(super) tail: Option<&'a [u8]>,
    /// Bytes of the tail, read or not.
    tail_bytes: usize,
    /// Where the tail starts.
    pub(super) tail_offset: usize,
}

impl<'a> Parts<'a> {
    /// The first `used` bytes of the tail, if it was read; behind them there is nothing but the
    /// zeros that round the record up.
    pub(super) fn used(&self, used: usize, what: &'static str) -> Result<&'a [u8], Reject> {
        let zeros = self.tail_bytes.checked_sub(used).ok_or(Reject::Truncated {
            found: self.tail_bytes as u64,
            needed: used as u64,
        })?;
        ensure(zeros < super::RECORD_ALIGN, what)?;
        let Some(tail) = self.tail else {
            return Ok(&[]);
        };
        let (used, zeros) = take(tail, used)?;
        ensure(all_zero(zeros), what)?;
        Ok(used)
    }
}

impl<'a> RawRecord<'a> {
    /// Believes the record, or says why not. `checksum` is what its batch says of it.
    ///
    /// # Errors
    /// Why it was not believed.
    pub fn verify(self, checksum: u64) -> Result<Record<'a>, Reject> {
        if crc64(self.0) != checksum {
            return Err(Reject::Checksum);
        }
        believe(&parts(self.0, self.0.len())?)
    }
}

fn believe<'a>(parts: &Parts<'a>) -> Result<Record<'a>, Reject> {
    match parts.kind {
        RecordKind::Commit | RecordKind::Fragment => pages(parts).map(Record::Pages),
        RecordKind::Append
        | RecordKind::Truncate
        | RecordKind::Purge
        | RecordKind::Vote
        | RecordKind::Relocate => LogsRecord::read(parts).map(Record::Logs),
        RecordKind::SealIndex => Ok(Record::SealIndex),
        RecordKind::Abort | RecordKind::Catalogue | RecordKind::Note | RecordKind::Close => {
            parts.used(0, "bytes behind a record")?;
            small(parts)
        }
    }
}

/// Takes a record of `record_bytes` apart, of which `bytes` are all or at least the head.
fn parts(bytes: &[u8], record_bytes: usize) -> Result<Parts<'_>, Reject> {
    let (header, _) = split::<RecordHeader>(bytes)?;
    let flags = header.flags.get();
    if flags & !FLAG_SEVERAL != 0 {
        let flags = u32::from(flags);
        return Err(Reject::Features { flags });
    }
    let kind = RecordKind::from_code(header.kind.get())
        .ok_or(Reject::Invalid("unknown kind of record"))?;
    let several = flags & FLAG_SEVERAL != 0;
    ensure(
        !several || kind == RecordKind::Catalogue,
        "several entries in a record of another kind",
    )?;
    ensure(
        header.record_bytes.get() == record_bytes as u64,
        "a record that is not as long as it says",
    )?;
    ensure(
        record_bytes == padded(record_bytes),
        "a record whose length is not a multiple of 8",
    )?;
    let tail_offset = index(u64::from(header.header_bytes.get()))?;
    let (head, tail) = take(bytes, tail_offset)?;
    let (_, body) = take(head, size_of::<RecordHeader>())?;
    let header_checksum = header.header_checksum.get();
    let mut unsealed = header.clone();
    unsealed.header_checksum = 0.into();
    let found = Crc64::new()
        .update(unsealed.as_bytes())
        .update(body)
        .finish();
    if found != header_checksum {
        return Err(Reject::Checksum);
    }
    let tail_bytes = record_bytes.checked_sub(tail_offset);
    Ok(Parts {
        kind,
        several,
        header_checksum,
        body,
        tail: (bytes.len() == record_bytes).then_some(tail),
        tail_bytes: tail_bytes.ok_or(Reject::Invalid("a head longer than its record"))?,
        tail_offset,
    })
}

fn small<'a>(parts: &Parts<'a>) -> Result<Record<'a>, Reject> {
    match parts.kind {
        RecordKind::Abort => {
            let (abort, rest) = split::<Abort>(parts.body)?;
            ensure(rest.is_empty(), "bytes behind an abort")?;
            let commit = CommitId::new(abort.commit_id.get());
            let database = DbId::new(abort.database.get());
            ensure(
                commit != CommitId::new(0) && database != DbId::CATALOGUE,
                "an abort of no chain",
            )?;
            Ok(Record::Abort { commit, database })
        }
        RecordKind::Catalogue => {
            CatalogueEntry::parse_all(parts.body, parts.several).map(Record::Catalogue)
        }
        RecordKind::Note => {
            let (note, rest) = split::<Note>(parts.body)?;
            ensure(
                rest.is_empty() && note.reserved == [0; 6],
                "reserved bytes of a note",
            )?;
            NoteKind::from_code(note.kind.get())
                .map(Record::Note)
                .ok_or(Reject::Invalid("unknown kind of note"))
        }
        RecordKind::Close => close(parts.body).map(Record::Close),
        _ => Err(Reject::Invalid("a record that is not all head")),
    }
}

fn close(body: &[u8]) -> Result<Vec<(DbId, Lsn)>, Reject> {
    let (heads, rest) = split_many::<CloseHead>(body, body.len() / size_of::<CloseHead>())?;
    ensure(rest.is_empty(), "half a head in a close record")?;
    let heads: Vec<(DbId, Lsn)> = heads
        .iter()
        .map(|head| {
            (
                DbId::new(head.database.get()),
                Lsn::new(head.head_lsn.get()),
            )
        })
        .collect();
    ensure(
        heads.is_sorted_by(|a, b| a.0 < b.0) && heads.iter().all(|(_, lsn)| *lsn < Lsn::LIMIT),
        "heads of a close record out of order",
    )?;
    Ok(heads)
}

fn pages(parts: &Parts<'_>) -> Result<PagesRecord, Reject> {
    let (head, rest) = split::<PageRecord>(parts.body)?;
    ensure(head.reserved.get() == 0, "reserved bytes of a commit")?;
    let part = part_of(parts.kind, head)?;
    let (members, mut lists) = split_many::<Member>(rest, usize::from(head.members.get()))?;
    ensure(!members.is_empty(), "a commit of no database")?;
    ensure(
        members.is_sorted_by(|a, b| a.database.get() < b.database.get()),
        "databases of a commit out of order",
    )?;
    let mut image_offset = parts.tail_offset;
    let mut believed = Vec::with_capacity(members.len());
    for member in members {
        let count = index(u64::from(member.entries.get()))?;
        let (list, behind) = split_many::<PageEntry>(lists, count)?;
        lists = behind;
        let member = member_of(part, member, list, &mut image_offset)?;
        ensure(
            part == FragmentPart::Whole || !has_patches(&member),
            "a patch in a part of a chain",
        )?;
        believed.push(member);
    }
    ensure(lists.is_empty(), "page entries of no database")?;
    parts.used(image_offset - parts.tail_offset, "bytes behind the images")?;
    Ok(PagesRecord {
        part,
        header_checksum: parts.header_checksum,
        members: believed,
    })
}

/// Whether a page rests on another version of it.
fn has_patches(member: &MemberPages) -> bool {
    let mut pages = member.pages.iter();
    pages.any(|page| page.form.encoding() == Encoding::Patch)
}

fn part_of(kind: RecordKind, head: &PageRecord) -> Result<FragmentPart, Reject> {
    let commit = CommitId::new(head.commit_id.get());
    let index = head.fragment_index.get();
    let previous = head.running_checksum.get();
    let chained = commit != CommitId::new(0);
    match (kind, chained) {
        (RecordKind::Fragment, true) => {
            ensure(
                index != 0 || previous == 0,
                "a first fragment that names one before",
            )?;
            Ok(FragmentPart::Fragment {
                commit,
                index,
                previous,
            })
        }
        (RecordKind::Commit, true) => {
            ensure(index != 0, "the last of several parts, with none before")?;
            Ok(FragmentPart::Last {
                commit,
                index,
                previous,
            })
        }
        (RecordKind::Commit, false) => {
            ensure(
                index == 0 && previous == 0,
                "a whole commit that names a part before",
            )?;
            Ok(FragmentPart::Whole)
        }
        _ => Err(Reject::Invalid("a fragment of no chain")),
    }
}

fn member_of(
    part: FragmentPart,
    member: &Member,
    list: &[PageEntry],
    image_offset: &mut usize,
) -> Result<MemberPages, Reject> {
    let page_size = PageSize::new(member.page_size.get())
        .ok_or(Reject::Invalid("a page size that no database has"))?;
    let believed = MemberPages {
        database: DbId::new(member.database.get()),
        parent: Lsn::new(member.parent_lsn.get()),
        rolling: RollingChecksum::new(member.rolling_checksum.get()),
        page_count: member.page_count.get(),
        page_count_min: member.page_count_min.get(),
        page_size,
        pages: locations(list, page_size, image_offset)?,
    };
    ensure(
        believed.database != DbId::CATALOGUE && believed.parent < Lsn::LIMIT,
        "a commit without a database or beyond the number space",
    )?;
    if part.kind() == RecordKind::Fragment {
        ensure(
            believed.parent == Lsn::ZERO
                && believed.rolling == RollingChecksum::EMPTY
                && believed.page_count == 0
                && believed.page_count_min == 0,
            "a fragment that says what its commit must",
        )?;
        return Ok(believed);
    }
    ensure(
        believed.page_count_min <= believed.page_count,
        "a smallest page count above the page count",
    )?;
    let last = believed.pages.last().map_or(0, |page| page.page.get());
    ensure(
        last <= believed.page_count,
        "a page behind the end of the database",
    )?;
    Ok(believed)
}

fn locations(
    list: &[PageEntry],
    page_size: PageSize,
    image_offset: &mut usize,
) -> Result<Vec<PageLocation>, Reject> {
    let mut before = 0;
    let mut locations = Vec::with_capacity(list.len());
    for entry in list {
        ensure(entry.reserved == [0; 7], "reserved bytes of a page entry")?;
        let page = PageNo::new(entry.page.get()).ok_or(Reject::Invalid("page 0"))?;
        ensure(before < page.get(), "pages of a commit out of order")?;
        before = page.get();
        let encoding = Encoding::from_code(entry.encoding)
            .ok_or(Reject::Invalid("unknown encoding of a page"))?;
        let image_bytes = entry.image_bytes.get();
        let form = ImageForm::replayed(encoding, image_bytes, page_size)?;
        let offset = u32::try_from(*image_offset);
        locations.push(PageLocation {
            page,
            hash: PageHash::new(entry.hash.get()),
            image_offset: offset.map_err(|_| Reject::Invalid("an image beyond its record"))?,
            form,
        });
        // At most 2^32 entries of 64 KiB: far inside an index of this machine.
        *image_offset += index(u64::from(image_bytes))?;
    }
    Ok(locations)
}
