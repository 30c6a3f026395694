//! Making records. Outside every lock: a record's bytes do not depend on where it will be written.
//!
//! Invariants
//! - what is encoded here passes [`RawRecord::verify`](super::RawRecord::verify); what would not is
//!   turned away, and nothing happened;
//! - a record starts with its header, and its zeros at the end are part of it.

use super::bytes::padded;
use super::catalogue::CatalogueEntry;
use super::image::ImageForm;
use super::record::{
    Abort, CloseHead, Encoding, FLAG_SEVERAL, Member, Note, NoteKind, PageEntry, PageRecord,
    RecordHeader, RecordKind,
};
use super::record_bytes::RecordBytes;
use crate::checksum::{Crc64, PageHash, RollingChecksum, crc64};
use crate::error::{Reject, Rejection};
use crate::ids::{CommitId, DbId, Lsn, PageNo, PageSize};
use smallvec::{SmallVec, smallvec};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

/// No record is larger: what the largest segment could hold.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;

/// The databases of a record: mostly one, which takes no memory of its own.
pub type RecordDatabases = SmallVec<[DbId; 2]>;

/// Where a record's images start: of a few pages, without memory of their own.
pub type ImageOffsets = SmallVec<[u32; 4]>;

/// A record, ready to be put into a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedRecord {
    /// The whole record, its length a multiple of 8.
    pub bytes: RecordBytes,
    /// What it is.
    pub kind: RecordKind,
    /// The databases it touches, ascending; none for a note and a close record.
    pub databases: RecordDatabases,
    /// CRC-64 of `bytes`.
    pub checksum: u64,
    /// CRC-64 of the head: what the next fragment of a chain names.
    pub header_checksum: u64,
    /// Where each page's image, or each entry's payload, starts, in bytes from the start of the
    /// record: those of the first member, then those of the second, and so on.
    pub image_offsets: ImageOffsets,
}

/// One page and its image.
#[derive(Copy, Clone, Debug)]
pub struct PageImage<'a> {
    /// The page.
    pub page: PageNo,
    /// The hash of page number and page.
    pub hash: PageHash,
    /// How the page is stored.
    pub encoding: Encoding,
    /// The page as it is stored.
    pub content: &'a [u8],
}

/// One database of a commit or fragment.
#[derive(Copy, Clone, Debug)]
pub struct MemberSpec<'a> {
    /// The database.
    pub database: DbId,
    /// Its commit before this one.
    pub parent: Lsn,
    /// The xor of its page hashes after this commit.
    pub rolling: RollingChecksum,
    /// Its pages after this commit.
    pub page_count: u32,
    /// The fewest pages that it had since its parent, this commit included.
    pub page_count_min: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// The pages, ascending.
    pub pages: &'a [PageImage<'a>],
}

/// Which part of its transaction a record is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FragmentPart {
    /// All of it: a commit.
    Whole,
    /// A part with more to come: a fragment. Of its members' fields only database, page size and
    /// pages are written.
    Fragment {
        /// Names the transaction; never 0.
        commit: CommitId,
        /// Counts from 0.
        index: u32,
        /// Header checksum of the part before; 0 for the first.
        previous: u64,
    },
    /// The last part of several: the commit.
    Last {
        /// Names the transaction; never 0.
        commit: CommitId,
        /// How many fragments stand before it; at least 1.
        index: u32,
        /// Header checksum of the part before.
        previous: u64,
    },
}

impl FragmentPart {
    /// The record kind that carries it.
    pub const fn kind(self) -> RecordKind {
        match self {
            Self::Whole | Self::Last { .. } => RecordKind::Commit,
            Self::Fragment { .. } => RecordKind::Fragment,
        }
    }

    const fn numbers(self) -> (CommitId, u32, u64) {
        match self {
            Self::Whole => (CommitId::new(0), 0, 0),
            Self::Fragment {
                commit,
                index,
                previous,
            }
            | Self::Last {
                commit,
                index,
                previous,
            } => (commit, index, previous),
        }
    }
}

/// Bytes of a commit or fragment with so many members and pages, whose images have `image_bytes`
/// bytes in all.
pub const fn pages_record_bytes(members: usize, pages: usize, image_bytes: usize) -> usize {
    size_of::<RecordHeader>()
        + size_of::<PageRecord>()
        + members * size_of::<Member>()
        + pages * size_of::<PageEntry>()
        + padded(image_bytes)
}

/// Makes a commit or a fragment. Their images stand in it as they are given.
///
/// # Errors
/// [`Rejection::Invalid`] for members or pages out of order or of the wrong size,
/// [`Rejection::TooLarge`] past [`RECORD_BYTES_MAX`].
pub fn encode_pages(
    part: FragmentPart,
    members: &[MemberSpec<'_>],
) -> Result<EncodedRecord, Rejection> {
    check_part(part)?;
    check_members(part, members)?;
    let pages: usize = members.iter().map(|member| member.pages.len()).sum();
    let image_bytes = members
        .iter()
        .flat_map(|member| member.pages)
        .map(|page| page.content.len())
        .sum();
    let bytes = pages_record_bytes(members.len(), pages, image_bytes);
    check_size(bytes)?;
    let (commit, index, previous) = part.numbers();
    let head = PageRecord {
        commit_id: commit.get().into(),
        fragment_index: index.into(),
        members: u16::try_from(members.len())
            .map_err(|_| Rejection::Invalid("too many databases in one commit"))?
            .into(),
        reserved: U16::ZERO,
        running_checksum: previous.into(),
    };
    let mut record = Draft::new(part.kind(), bytes, members.len());
    record.push(head.as_bytes());
    for member in members {
        record.push(member_struct(part, member).as_bytes());
    }
    for page in members.iter().flat_map(|member| member.pages) {
        record.push(page_struct(page).as_bytes());
    }
    record.end_head();
    let mut image_offsets = ImageOffsets::with_capacity(pages);
    for page in members.iter().flat_map(|member| member.pages) {
        image_offsets.push(u32_len(record.bytes.len()));
        record.push(page.content);
    }
    let databases = members.iter().map(|member| member.database).collect();
    let mut record = record.finish(databases)?;
    record.image_offsets = image_offsets;
    Ok(record)
}

fn member_struct(part: FragmentPart, spec: &MemberSpec<'_>) -> Member {
    let commits = part.kind() == RecordKind::Commit;
    let if_commit = |value: u64| U64::new(if commits { value } else { 0 });
    let if_commit_u32 = |value: u32| U32::new(if commits { value } else { 0 });
    Member {
        database: spec.database.get().into(),
        parent_lsn: if_commit(spec.parent.get()),
        rolling_checksum: if_commit(spec.rolling.get()),
        page_count: if_commit_u32(spec.page_count),
        page_count_min: if_commit_u32(spec.page_count_min),
        page_size: spec.page_size.get().into(),
        entries: u32_len(spec.pages.len()).into(),
    }
}

fn page_struct(page: &PageImage<'_>) -> PageEntry {
    PageEntry {
        page: page.page.get().into(),
        image_bytes: u32_len(page.content.len()).into(),
        hash: page.hash.get().into(),
        encoding: page.encoding as u8,
        reserved: [0; 7],
    }
}

fn check_part(part: FragmentPart) -> Result<(), Rejection> {
    let (commit, index, previous) = part.numbers();
    let placed = match part {
        FragmentPart::Whole => true,
        FragmentPart::Fragment { .. } => {
            commit != CommitId::new(0) && (index != 0 || previous == 0)
        }
        FragmentPart::Last { .. } => commit != CommitId::new(0) && index != 0,
    };
    if placed {
        Ok(())
    } else {
        Err(Rejection::Invalid(
            "a fragment without its place in a chain",
        ))
    }
}

fn check_members(part: FragmentPart, members: &[MemberSpec<'_>]) -> Result<(), Rejection> {
    let fail = |what| Err(Rejection::Invalid(what));
    if members.is_empty() {
        return fail("a commit of no database");
    }
    if !members.is_sorted_by(|a, b| a.database < b.database) {
        return fail("databases of a commit out of order");
    }
    let commits = part.kind() == RecordKind::Commit;
    for member in members {
        if member.database == DbId::CATALOGUE || member.parent >= Lsn::LIMIT {
            return fail("a commit without a database or beyond the number space");
        }
        if !member.pages.is_sorted_by(|a, b| a.page < b.page) {
            return fail("pages of a commit out of order");
        }
        for page in member.pages {
            let bytes = page.content.len();
            ImageForm::believed(page.encoding, bytes, 0, member.page_size).map_err(rejection)?;
            if part != FragmentPart::Whole && page.encoding == Encoding::Patch {
                return fail("a patch in a part of a chain");
            }
        }
        if !commits {
            continue;
        }
        if member.page_count < member.page_count_min {
            return fail("a smallest page count above the page count");
        }
        let last = member.pages.last().map_or(0, |page| page.page.get());
        if member.page_count < last {
            return fail("a page behind the end of the database");
        }
    }
    Ok(())
}

/// Makes the record that ends a chain which will not be committed.
///
/// # Errors
/// None for a chain that exists; see [`encode_pages`].
pub fn encode_abort(commit: CommitId, database: DbId) -> Result<EncodedRecord, Rejection> {
    if commit == CommitId::new(0) || database == DbId::CATALOGUE {
        return Err(Rejection::Invalid("an abort of no chain"));
    }
    let abort = Abort {
        commit_id: commit.get().into(),
        database: database.get().into(),
    };
    encode_small(RecordKind::Abort, abort.as_bytes(), smallvec![database])
}

/// Makes a catalogue record of entries in the order in which they happen. It touches the catalogue and the
/// databases it names, each once, ascending.
///
/// # Errors
/// [`Rejection::Invalid`] for a name that is empty or too long, no entry, an entry without a database, a
/// point that none can be, or entries with several parents; [`Rejection::TooLarge`].
pub fn encode_catalogue(entries: &[CatalogueEntry<'_>]) -> Result<EncodedRecord, Rejection> {
    let one_parent = entries.is_sorted_by(|a, b| a.parent == b.parent);
    if entries.is_empty() || !one_parent {
        return Err(Rejection::Invalid("catalogue entries of several parents"));
    }
    let several = 1 < entries.len();
    let mut databases = vec![DbId::CATALOGUE];
    let mut body = Vec::new();
    for entry in entries {
        entry.check().map_err(rejection)?;
        let (fixed, name) = entry.to_parts();
        body.extend_from_slice(fixed.as_bytes());
        body.extend_from_slice(name.as_bytes());
        if several {
            body.resize(padded(body.len()), 0);
        }
        databases.push(entry.database);
    }
    databases.sort_unstable();
    databases.dedup();
    let flags = if several { FLAG_SEVERAL } else { 0 };
    encode_head(RecordKind::Catalogue, flags, &body, databases.into())
}

/// Makes a note.
///
/// # Errors
/// None; see [`encode_pages`].
pub fn encode_note(kind: NoteKind) -> Result<EncodedRecord, Rejection> {
    let note = Note {
        kind: (kind as u16).into(),
        reserved: [0; 6],
    };
    encode_small(RecordKind::Note, note.as_bytes(), RecordDatabases::new())
}

/// Makes a close record: (database, newest commit), ascending by database.
///
/// # Errors
/// [`Rejection::Invalid`] for heads out of order, [`Rejection::TooLarge`].
pub fn encode_close(heads: &[(DbId, Lsn)]) -> Result<EncodedRecord, Rejection> {
    if !heads.is_sorted_by(|a, b| a.0 < b.0) || heads.iter().any(|(_, lsn)| *lsn >= Lsn::LIMIT) {
        return Err(Rejection::Invalid("heads of a close record out of order"));
    }
    let heads: Vec<CloseHead> = heads
        .iter()
        .map(|(database, head)| CloseHead {
            database: database.get().into(),
            head_lsn: head.get().into(),
        })
        .collect();
    encode_small(RecordKind::Close, heads.as_bytes(), RecordDatabases::new())
}

/// A record that is all head.
fn encode_small(
    kind: RecordKind,
    body: &[u8],
    databases: RecordDatabases,
) -> Result<EncodedRecord, Rejection> {
    encode_head(kind, 0, body, databases)
}

fn encode_head(
    kind: RecordKind,
    flags: u16,
    body: &[u8],
    databases: RecordDatabases,
) -> Result<EncodedRecord, Rejection> {
    let bytes = size_of::<RecordHeader>() + padded(body.len());
    check_size(bytes)?;
    let mut record = Draft::new(kind, bytes, databases.len());
    record.flags = flags;
    record.push(body);
    record.end_head();
    record.finish(databases)
}

pub(super) fn check_size(bytes: usize) -> Result<(), Rejection> {
    let bytes = bytes as u64;
    if RECORD_BYTES_MAX < bytes {
        return Err(Rejection::TooLarge {
            bytes,
            limit: RECORD_BYTES_MAX,
        });
    }
    Ok(())
}

/// A length that [`check_size`] has bounded far below `u32::MAX`.
pub(super) fn u32_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn rejection(reject: Reject) -> Rejection {
    match reject {
        Reject::Invalid(what) => Rejection::Invalid(what),
        _ => Rejection::Invalid("a record that could not be read back"),
    }
}

/// A record that is being made.
pub(super) struct Draft {
    kind: RecordKind,
    flags: u16,
    bytes: RecordBytes,
    header_bytes: usize,
}

impl Draft {
    /// One of so many bytes, that touches so many databases.
    pub(super) fn new(kind: RecordKind, bytes: usize, databases: usize) -> Self {
        let mut memory = RecordBytes::with_room(bytes, databases);
        memory.pad(size_of::<RecordHeader>());
        Self {
            kind,
            flags: 0,
            bytes: memory,
            header_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.push(bytes);
    }

    /// Everything so far is covered by the header checksum.
    pub(super) fn end_head(&mut self) {
        self.header_bytes = self.bytes.len();
    }

    pub(super) fn finish(mut self, databases: RecordDatabases) -> Result<EncodedRecord, Rejection> {
        let bytes = padded(self.bytes.len());
        self.bytes.pad(bytes);
        check_size(self.bytes.len())?;
        let mut header = RecordHeader {
            kind: self.kind.code().into(),
            flags: self.flags.into(),
            header_bytes: u32_len(self.header_bytes).into(),
            record_bytes: (self.bytes.len() as u64).into(),
            header_checksum: U64::ZERO,
        };
        let behind = &self.bytes[size_of::<RecordHeader>()..self.header_bytes];
        let header_checksum = Crc64::new()
            .update(header.as_bytes())
            .update(behind)
            .finish();
        header.header_checksum = header_checksum.into();
        self.bytes[..size_of::<RecordHeader>()].copy_from_slice(header.as_bytes());
        Ok(EncodedRecord {
            checksum: crc64(&self.bytes),
            bytes: self.bytes,
            kind: self.kind,
            databases,
            header_checksum,
            image_offsets: ImageOffsets::new(),
        })
    }
}
