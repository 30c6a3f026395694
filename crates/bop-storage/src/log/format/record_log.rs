//! Records of record logs: made and read.
//!
//! Each names, for each of its logs, the record before and the log's bounds after it: whatever of
//! a log was released, its newest record says what must still be there.
//!
//! Invariants
//! - what is encoded here passes [`LogsRecord::read`] and the other way round: one check serves both;
//! - the hash of an entry binds its log, its index and its term, so that no single read can take
//!   another entry for it.
//!
//! Never: knows what became of a log before or after the record.

use super::bytes::{ensure, index as usize_of, padded, split, split_many, take};
use super::decode::Parts;
use super::encode::{Draft, EncodedRecord, check_size, u32_len};
use super::record::{LogEntry, LogGroup, LogRecord, RecordHeader, RecordKind};
use crate::checksum::Xxh3;
use crate::error::{Reject, Rejection};
use crate::ids::{DbId, Lsn};
use zerocopy::IntoBytes;

/// What an entry of a list is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum EntryKind {
    /// An entry of the log.
    Entry = 0,
    /// Its hard state.
    Vote = 1,
}

impl EntryKind {
    const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Entry),
            1 => Some(Self::Vote),
            _ => None,
        }
    }
}

/// XXH3-64 of an entry and of what it is.
pub fn entry_hash(database: DbId, kind: EntryKind, index: u64, term: u64, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    for number in [database.get(), kind as u64, index, term] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(payload);
    hasher.digest()
}

/// An entry or a hard state, to be written.
#[derive(Copy, Clone, Debug)]
pub struct EntrySpec<'a> {
    /// Which of the two.
    pub kind: EntryKind,
    /// Its index; 0 for a hard state.
    pub index: u64,
    /// Its term; 0 for a hard state.
    pub term: u64,
    /// Where its payload stood, if it is relocated; else zero.
    pub old: Lsn,
    /// [`entry_hash`] of it.
    pub hash: u64,
    /// Its payload.
    pub payload: &'a [u8],
}

/// One log of a record, to be written. The bounds are those after the record.
#[derive(Clone, Debug)]
pub struct LogSpec<'a> {
    /// The log.
    pub database: DbId,
    /// Its record before.
    pub parent: Lsn,
    /// The index of its oldest entry.
    pub first: u64,
    /// The term of the entry before that one.
    pub first_term: u64,
    /// The index behind its newest entry.
    pub next: u64,
    /// Where the payload of its hard state stood before; zero without one.
    pub vote: Lsn,
    /// What the record carries, ascending by index, a hard state last.
    pub entries: Vec<EntrySpec<'a>>,
}

/// A record of record logs that was believed; the payloads stay where they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogsRecord {
    /// Append, truncate, purge, vote or relocate.
    pub kind: RecordKind,
    /// Its logs, ascending.
    pub logs: Vec<LogMember>,
}

/// One log of a record. The bounds are those after the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogMember {
    /// The log.
    pub database: DbId,
    /// Its record before; zero for its first.
    pub parent: Lsn,
    /// The index of its oldest entry.
    pub first: u64,
    /// The term of the entry before that one.
    pub first_term: u64,
    /// The index behind its newest entry.
    pub next: u64,
    /// Where the payload of its hard state stood before; zero without one.
    pub vote: Lsn,
    /// What the record carries, ascending by index, a hard state last.
    pub entries: Vec<EntryLocation>,
}

/// An entry or a hard state, and where its payload is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct EntryLocation {
    /// Which of the two.
    pub kind: EntryKind,
    /// Its index; 0 for a hard state.
    pub index: u64,
    /// Its term; 0 for a hard state.
    pub term: u64,
    /// Where its payload stood before; zero unless it is relocated.
    pub old: Lsn,
    /// [`entry_hash`] of it.
    pub hash: u64,
    /// Where its payload starts, in bytes from the start of the record.
    pub offset: u32,
    /// Bytes of its payload.
    pub bytes: u32,
}

/// Bytes of a record with so many logs and entries, whose payloads have `payload_bytes` in all.
pub const fn logs_record_bytes(logs: usize, entries: usize, payload_bytes: usize) -> usize {
    size_of::<RecordHeader>()
        + size_of::<LogGroup>()
        + logs * size_of::<LogRecord>()
        + entries * size_of::<LogEntry>()
        + padded(payload_bytes)
}

/// Makes a record of record logs; its `image_offsets` are those of the payloads.
///
/// # Errors
/// [`Rejection::Invalid`] for what no reader would believe, [`Rejection::TooLarge`].
pub fn encode_logs(kind: RecordKind, logs: &[LogSpec<'_>]) -> Result<EncodedRecord, Rejection> {
    let entries = || logs.iter().flat_map(|log| &log.entries);
    let payload_bytes = entries().map(|entry| entry.payload.len()).sum();
    let bytes = logs_record_bytes(logs.len(), entries().count(), payload_bytes);
    check_size(bytes)?;
    let mut offset = logs_record_bytes(logs.len(), entries().count(), 0);
    let members: Vec<LogMember> = logs.iter().map(|log| member(log, &mut offset)).collect();
    let record = LogsRecord {
        kind,
        logs: members,
    };
    record.check().map_err(|reject| match reject {
        Reject::Invalid(what) => Rejection::Invalid(what),
        _ => Rejection::Invalid("a record that could not be read back"),
    })?;
    let mut draft = Draft::new(kind, bytes, logs.len());
    let group = LogGroup {
        logs: u32_len(logs.len()).into(),
        reserved: 0.into(),
    };
    draft.push(group.as_bytes());
    for log in &record.logs {
        draft.push(log_struct(log).as_bytes());
    }
    for entry in record.logs.iter().flat_map(|log| &log.entries) {
        draft.push(entry_struct(entry).as_bytes());
    }
    draft.end_head();
    entries().for_each(|entry| draft.push(entry.payload));
    let mut encoded = draft.finish(logs.iter().map(|log| log.database).collect())?;
    let located = record.logs.iter().flat_map(|log| &log.entries);
    encoded.image_offsets = located.map(|entry| entry.offset).collect();
    Ok(encoded)
}

fn member(log: &LogSpec<'_>, offset: &mut usize) -> LogMember {
    let entries = log.entries.iter().map(|entry| {
        let start = *offset;
        *offset += entry.payload.len();
        EntryLocation {
            kind: entry.kind,
            index: entry.index,
            term: entry.term,
            old: entry.old,
            hash: entry.hash,
            offset: u32_len(start),
            bytes: u32_len(entry.payload.len()),
        }
    });
    LogMember {
        database: log.database,
        parent: log.parent,
        first: log.first,
        first_term: log.first_term,
        next: log.next,
        vote: log.vote,
        entries: entries.collect(),
    }
}

fn log_struct(log: &LogMember) -> LogRecord {
    LogRecord {
        database: log.database.get().into(),
        parent_lsn: log.parent.get().into(),
        first_index: log.first.into(),
        first_term: log.first_term.into(),
        next_index: log.next.into(),
        vote_lsn: log.vote.get().into(),
        entries: u32_len(log.entries.len()).into(),
        reserved: 0.into(),
    }
}

fn entry_struct(entry: &EntryLocation) -> LogEntry {
    LogEntry {
        index: entry.index.into(),
        term: entry.term.into(),
        old_lsn: entry.old.get().into(),
        hash: entry.hash.into(),
        payload_bytes: entry.bytes.into(),
        kind: (entry.kind as u32).into(),
    }
}

impl LogsRecord {
    /// Reads a record whose checksums are right. `body` stands between the record header and
    /// `tail`, the payloads, which start `tail_offset` bytes into the record.
    pub(super) fn read(parts: &Parts<'_>) -> Result<Self, Reject> {
        let (kind, tail_offset) = (parts.kind, parts.tail_offset);
        let (group, rest) = split::<LogGroup>(parts.body)?;
        ensure(group.reserved.get() == 0, "reserved bytes of a log group")?;
        let count = usize_of(u64::from(group.logs.get()))?;
        let (logs, mut lists) = split_many::<LogRecord>(rest, count)?;
        let (mut members, mut used) = (Vec::with_capacity(count), 0_usize);
        for log in logs {
            ensure(log.reserved.get() == 0, "reserved bytes of a record log")?;
            let count = usize_of(u64::from(log.entries.get()))?;
            let (list, behind) = split_many::<LogEntry>(lists, count)?;
            lists = behind;
            let database = DbId::new(log.database.get());
            let mut entries = Vec::with_capacity(count);
            for entry in list {
                let bytes = usize_of(entry.payload_bytes.get().into())?;
                let before = used;
                used = used.saturating_add(bytes);
                let payload = match parts.tail {
                    Some(tail) => Some(take(take(tail, before)?.1, bytes)?.0),
                    None => None,
                };
                let offset = tail_offset.saturating_add(before);
                entries.push(located(database, entry, payload, offset)?);
            }
            members.push(LogMember {
                database,
                parent: Lsn::new(log.parent_lsn.get()),
                first: log.first_index.get(),
                first_term: log.first_term.get(),
                next: log.next_index.get(),
                vote: Lsn::new(log.vote_lsn.get()),
                entries,
            });
        }
        ensure(lists.is_empty(), "entries of no record log")?;
        parts.used(used, "bytes behind the payloads")?;
        let record = Self {
            kind,
            logs: members,
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), Reject> {
        ensure(!self.logs.is_empty(), "a record of no record log")?;
        ensure(
            self.kind == RecordKind::Relocate || self.logs.len() == 1,
            "a record of several record logs",
        )?;
        ensure(
            self.logs.is_sorted_by(|a, b| a.database < b.database),
            "record logs out of order",
        )?;
        self.logs.iter().try_for_each(|log| log.check(self.kind))
    }
}

impl LogMember {
    fn check(&self, kind: RecordKind) -> Result<(), Reject> {
        ensure(
            self.database != DbId::CATALOGUE && self.parent < Lsn::LIMIT && self.vote < Lsn::LIMIT,
            "a record log without a number or beyond the number space",
        )?;
        ensure(
            self.first <= self.next,
            "a record log that ends before it starts",
        )?;
        let (entries, votes) = match self.entries.split_last() {
            Some((last, before)) if last.kind == EntryKind::Vote => (before, 1),
            _ => (&self.entries[..], 0),
        };
        let relocated = kind == RecordKind::Relocate;
        ensure(
            self.entries
                .iter()
                .all(|entry| (entry.old != Lsn::ZERO) == relocated && entry.old < Lsn::LIMIT),
            "an old place where there is none",
        )?;
        ensure(
            entries.iter().all(|entry| {
                entry.kind == EntryKind::Entry && (self.first..self.next).contains(&entry.index)
            }) && entries.is_sorted_by(|a, b| a.index < b.index && a.term <= b.term),
            "entries of a record log out of order",
        )?;
        let fits = match kind {
            RecordKind::Append => {
                let last = entries.last().map(|entry| entry.index + 1);
                let whole = entries.first().is_some_and(|first| {
                    Some(self.next - first.index) == u64::try_from(entries.len()).ok()
                });
                votes == 0 && whole && last == Some(self.next)
            }
            RecordKind::Truncate | RecordKind::Purge => self.entries.is_empty(),
            RecordKind::Vote => votes == 1 && entries.is_empty(),
            RecordKind::Relocate => true,
            _ => return Err(Reject::Invalid("not a record of a record log")),
        };
        ensure(fits, "entries that do not fit their record")
    }
}

fn located(
    database: DbId,
    entry: &LogEntry,
    payload: Option<&[u8]>,
    offset: usize,
) -> Result<EntryLocation, Reject> {
    let kind = EntryKind::from_code(entry.kind.get()).ok_or(Reject::Invalid("kind of an entry"))?;
    let (index, term, hash) = (entry.index.get(), entry.term.get(), entry.hash.get());
    ensure(
        kind == EntryKind::Entry || (index == 0 && term == 0),
        "a hard state with an index",
    )?;
    // Without its payload it is checked when it is read.
    ensure(
        payload.is_none_or(|payload| entry_hash(database, kind, index, term, payload) == hash),
        "an entry that is not what its hash says",
    )?;
    let offset = u32::try_from(offset);
    Ok(EntryLocation {
        kind,
        index,
        term,
        old: Lsn::new(entry.old_lsn.get()),
        hash,
        offset: offset.map_err(|_| Reject::Invalid("a payload beyond its record"))?,
        bytes: entry.payload_bytes.get(),
    })
}
