//! The catalogue as bytes: the payload of a catalogue section in a chunk, from which the manifest
//! can be rebuilt once the records are truncated.
//!
//! ```text
//! SectionHeader | (SectionEntry | name) x entries | (SectionSnapshot | name) x snapshots
//!   | id (8) x forgotten | (id (8) | CursorBytes | name) x cursors
//! ```
//! A *base* has all databases; a *delta* those with records behind the section before it, and the ids
//! that were forgotten since. Of each database in a section all snapshots are in it. The cursors are all
//! in every section.
//!
//! Invariant: a section that decodes is a possible catalogue: ids rise and are below the next one,
//! live names differ, as do those of an owner's snapshots, no record is newer than the last. What origins
//! and snapshots point at is there: in a base, or when a delta is put on one.
//!
//! Never: trusts a count before the bytes behind it are there.

use super::section_snapshots::{decode_snapshots, encode_snapshots};
use super::{Catalogue, Entry};
use crate::checksum::Crc64;
use crate::error::Reject;
use crate::ids::{CursorId, DbId, DbKind, Lsn};
use crate::manifest::{
    CursorRow, Policy, PolicyBytes, decode_cursor, decode_name, decode_state, encode_cursor,
    encode_state,
};
use crate::point::PointBytes;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of the section that this program writes. It reads version 1 too, whose header ends before
/// [`SectionHeader::since_lsn`] and whose entries end before [`SectionEntry::until_us`].
pub const SECTION_VERSION: u16 = 2;

const MAGIC: [u8; 8] = *b"bop\0ctlg";

/// The head of a catalogue section.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SectionHeader {
    /// `bop`, a zero byte, `ctlg`: other bytes are not a catalogue.
    pub magic: [u8; 8],
    /// [`SECTION_VERSION`].
    pub version: U16,
    /// Zero.
    pub reserved: [u8; 2],
    /// Cursors of both feeds, behind the databases; zero in version 1.
    pub cursors: U32,
    /// Bytes of the section, this header included: a cut section is noticed.
    pub section_bytes: U64,
    /// Databases, those that were dropped included.
    pub entries: U64,
    /// The id of the next database: no id is given out twice, also when its tombstone is gone.
    pub next_id: U64,
    /// The newest catalogue record that the section reflects: replay goes on behind it.
    pub last_lsn: U64,
    /// CRC-64 over the whole section, this field as zero.
    pub checksum: U64,
    /// Of a delta, the newest catalogue record that the section before it reflects: it stands on that
    /// one alone. 0 of a base.
    pub since_lsn: U64,
    /// Ids of databases that the section before has and that are forgotten.
    pub forgotten: U64,
    /// Snapshots, behind the databases.
    pub snapshots: U64,
}
const _: () = assert!(size_of::<SectionHeader>() == 80);

/// Bytes of a header of version 1.
const VERSION_1_HEADER_BYTES: usize = std::mem::offset_of!(SectionHeader, since_lsn);

/// A database in a catalogue section; its name (UTF-8) stands behind it.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SectionEntry {
    /// The database's id.
    pub id: U64,
    /// When it was created.
    pub created_us: U64,
    /// When it was dropped; 0 when live.
    pub dropped_us: U64,
    /// The newest catalogue record about it.
    pub lsn: U64,
    /// A [`DbKind`].
    pub kind: U16,
    /// 1 live, 2 tombstone, 3 dropped with its pages kept.
    pub state: u8,
    /// Bytes of the name.
    pub name_bytes: u8,
    /// Zero.
    pub reserved: [u8; 4],
    /// Until when the drop can be taken back; 0 when live, and of a tombstone.
    pub until_us: U64,
    /// What its owner has set for it.
    pub policy: PolicyBytes,
    /// What it started from; zeros of one that started empty.
    pub origin: PointBytes,
}
const _: () = assert!(size_of::<SectionEntry>() == 112);

/// Bytes of an entry of version 1, without its name.
const VERSION_1_BYTES: usize = std::mem::offset_of!(SectionEntry, until_us);

/// Where the checksum stands in the header.
const CHECKSUM_AT: usize = std::mem::offset_of!(SectionHeader, checksum);

/// What a section holds.
#[derive(Clone, PartialEq, Debug)]
pub struct CatalogueSection {
    /// The catalogue; of a delta, the databases in it and no more.
    pub catalogue: Catalogue,
    /// Of a delta, the position of the section that it stands on; [`Lsn::ZERO`] of a base.
    pub since: Lsn,
    /// What that one has and is forgotten, ascending.
    pub forgotten: Vec<DbId>,
    /// The cursors of both feeds, at places that they had acknowledged, ascending.
    pub cursors: Vec<(CursorId, CursorRow)>,
}

/// A base as bytes. Whether the catalogue is damaged is not part of them: one that may lack a name must not be
/// written.
pub fn encode_section(catalogue: &Catalogue, cursors: &[(CursorId, CursorRow)]) -> Vec<u8> {
    encode_delta(catalogue, Lsn::ZERO, &[], cursors)
}

/// A delta as bytes: what is newer than the section at `since`, and the ids that are `forgotten`,
/// ascending.
pub fn encode_delta(
    catalogue: &Catalogue,
    since: Lsn,
    forgotten: &[DbId],
    cursors: &[(CursorId, CursorRow)],
) -> Vec<u8> {
    let (mut body, mut entries) = (Vec::new(), 0_u64);
    let (mut named, mut snapshots) = (Vec::new(), 0_u64);
    for (id, entry) in catalogue.entries().filter(|(_, entry)| since < entry.lsn) {
        entries += 1;
        let (state, dropped_us, until_us) = encode_state(entry.state);
        let name = entry.name.as_str().as_bytes();
        let bytes = SectionEntry {
            id: U64::new(id.get()),
            created_us: U64::new(entry.created_us),
            dropped_us: U64::new(dropped_us),
            lsn: U64::new(entry.lsn.get()),
            kind: U16::new(entry.kind.code()),
            state,
            // A name has at most 255 bytes.
            name_bytes: u8::try_from(name.len()).unwrap_or(u8::MAX),
            reserved: [0; 4],
            until_us: U64::new(until_us),
            policy: entry.policy.into(),
            origin: PointBytes::of(entry.origin.as_deref().copied()),
        };
        body.extend_from_slice(bytes.as_bytes());
        body.extend_from_slice(name);
        snapshots += encode_snapshots(catalogue, id, &mut named);
    }
    body.append(&mut named);
    for id in forgotten {
        body.extend_from_slice(&id.get().to_le_bytes());
    }
    for (id, cursor) in cursors {
        body.extend_from_slice(&id.get().to_le_bytes());
        body.extend_from_slice(&encode_cursor(cursor));
    }
    let mut header = SectionHeader {
        magic: MAGIC,
        version: U16::new(SECTION_VERSION),
        reserved: [0; 2],
        // There are a thousand at most.
        cursors: U32::new(u32::try_from(cursors.len()).unwrap_or(u32::MAX)),
        section_bytes: U64::new((size_of::<SectionHeader>() + body.len()) as u64),
        entries: U64::new(entries),
        next_id: U64::new(catalogue.next_id().get()),
        last_lsn: U64::new(catalogue.last_lsn().get()),
        checksum: U64::ZERO,
        since_lsn: U64::new(since.get()),
        forgotten: U64::new(forgotten.len() as u64),
        snapshots: U64::new(snapshots),
    };
    header.checksum = U64::new(checksum(header.as_bytes(), &body));
    [header.as_bytes(), &body].concat()
}

/// What is behind the bytes of a section.
///
/// # Errors
/// Why the bytes are not believed.
pub fn decode_section(bytes: &[u8]) -> Result<CatalogueSection, Reject> {
    let (header, body) = decode_header(bytes)?;
    let mut catalogue = Catalogue {
        next_id: DbId::new(header.next_id.get()),
        last_lsn: Lsn::new(header.last_lsn.get()),
        ..Catalogue::new()
    };
    let since = Lsn::new(header.since_lsn.get());
    let (mut rest, mut last) = (body, DbId::CATALOGUE);
    for _ in 0..header.entries.get() {
        let (id, entry, behind) = decode_entry(rest, header.version.get())?;
        let in_order = last < id && id < catalogue.next_id;
        // One of no record is of none that a section has.
        let in_time = since < entry.lsn && entry.lsn <= catalogue.last_lsn;
        if !in_order || !in_time {
            return Err(Reject::Invalid("a database out of order"));
        }
        catalogue.insert(id, entry)?;
        (rest, last) = (behind, id);
    }
    let rest = decode_snapshots(rest, header.snapshots.get(), &mut catalogue)?;
    if since == Lsn::ZERO {
        catalogue.check_lineage()?;
    }
    let (forgotten, rest) = decode_forgotten(rest, header.forgotten.get())?;
    let (cursors, rest) = decode_cursors(rest, header.cursors.get())?;
    let possible = since <= catalogue.last_lsn && (since != Lsn::ZERO || forgotten.is_empty());
    if !rest.is_empty() || catalogue.next_id == DbId::CATALOGUE || !possible {
        return Err(Reject::Invalid("counts of the section"));
    }
    Ok(CatalogueSection {
        catalogue,
        since,
        forgotten,
        cursors,
    })
}

/// The header, when it and the checksum of all are believed, and what stands behind it.
fn decode_header(bytes: &[u8]) -> Result<(SectionHeader, &[u8]), Reject> {
    let truncated = |needed: u64| Reject::Truncated {
        found: bytes.len() as u64,
        needed,
    };
    let Some((start, behind)) = bytes.split_at_checked(VERSION_1_HEADER_BYTES) else {
        return Err(truncated(VERSION_1_HEADER_BYTES as u64));
    };
    let mut whole = [0; size_of::<SectionHeader>()];
    whole[..VERSION_1_HEADER_BYTES].copy_from_slice(start);
    let (first, _) = SectionHeader::read_from_prefix(&whole).map_err(|_| Reject::Magic)?;
    if first.magic != MAGIC {
        return Err(Reject::Magic);
    }
    let version = first.version.get();
    let (header, body) = match version {
        1 => (first, behind),
        SECTION_VERSION => SectionHeader::read_from_prefix(bytes)
            .map_err(|_| truncated(size_of::<SectionHeader>() as u64))?,
        _ => {
            return Err(Reject::Version {
                found: version.into(),
                supported: SECTION_VERSION.into(),
            });
        }
    };
    if header.section_bytes.get() != bytes.len() as u64 {
        return Err(truncated(header.section_bytes.get()));
    }
    if header.checksum.get() != checksum(&bytes[..bytes.len() - body.len()], body) {
        return Err(Reject::Checksum);
    }
    if header.reserved != [0; 2] || (version == 1 && header.cursors != U32::ZERO) {
        return Err(RESERVED);
    }
    Ok((header, body))
}

fn decode_forgotten(mut bytes: &[u8], count: u64) -> Result<(Vec<DbId>, &[u8]), Reject> {
    let mut forgotten: Vec<DbId> = Vec::new();
    for _ in 0..count {
        let (id, behind) = bytes
            .split_first_chunk()
            .ok_or(Reject::Invalid("the section ends inside a forgotten id"))?;
        let id = DbId::new(u64::from_le_bytes(*id));
        if forgotten.last().is_some_and(|last| id <= *last) {
            return Err(Reject::Invalid("a forgotten id out of order"));
        }
        forgotten.push(id);
        bytes = behind;
    }
    Ok((forgotten, bytes))
}

/// Cursors, and what stands behind them.
type Cursors<'a> = (Vec<(CursorId, CursorRow)>, &'a [u8]);

fn decode_cursors(mut bytes: &[u8], count: u32) -> Result<Cursors<'_>, Reject> {
    let mut cursors: Vec<(CursorId, CursorRow)> = Vec::new();
    for _ in 0..count {
        let (id, row) = bytes
            .split_first_chunk()
            .ok_or(Reject::Invalid("the section ends inside a cursor"))?;
        let id = CursorId::new(u64::from_le_bytes(*id));
        let (cursor, behind) = decode_cursor(row)?;
        if cursors.last().is_some_and(|(last, _)| id <= *last) {
            return Err(Reject::Invalid("a cursor out of order"));
        }
        cursors.push((id, cursor));
        bytes = behind;
    }
    Ok((cursors, bytes))
}

const RESERVED: Reject = Reject::Invalid("reserved bytes are not zero");

fn decode_entry(bytes: &[u8], version: u16) -> Result<(DbId, Entry, &[u8]), Reject> {
    let cut = || Reject::Invalid("the section ends inside a database");
    let (head, rest) = match version {
        1 => {
            let (head, rest) = bytes.split_at_checked(VERSION_1_BYTES).ok_or_else(cut)?;
            let (until_us, policy) = (U64::ZERO, PolicyBytes::from(Policy::default()));
            let origin = PointBytes::NONE;
            let behind = [until_us.as_bytes(), policy.as_bytes(), origin.as_bytes()];
            let whole = [head, &behind.concat()].concat();
            let head = SectionEntry::read_from_bytes(&whole).map_err(|_| cut())?;
            (head, rest)
        }
        _ => SectionEntry::read_from_prefix(bytes).map_err(|_| cut())?,
    };
    let (name, rest) = rest
        .split_at_checked(head.name_bytes.into())
        .ok_or_else(cut)?;
    if head.reserved != [0; 4] {
        return Err(RESERVED);
    }
    let entry = Entry {
        name: decode_name(name)?,
        kind: DbKind::from_code(head.kind.get()).ok_or(Reject::Invalid("kind"))?,
        state: decode_state(head.state, head.dropped_us.get(), head.until_us.get())?,
        created_us: head.created_us.get(),
        lsn: Lsn::new(head.lsn.get()),
        policy: head.policy.into(),
        origin: head.origin.read_optional()?.map(Box::new),
    };
    Ok((DbId::new(head.id.get()), entry, rest))
}

/// Of a section in two parts; the header's own checksum counts as zero.
fn checksum(header: &[u8], body: &[u8]) -> u64 {
    Crc64::new()
        .update(&header[..CHECKSUM_AT])
        .update(&[0; size_of::<U64>()])
        .update(&header[CHECKSUM_AT + size_of::<U64>()..])
        .update(body)
        .finish()
}
