//! Records of record logs: what is encoded reads back, what contradicts itself is refused.

use super::decode::{RawRecord, Record};
use super::encode::EncodedRecord;
use super::record::RecordKind;
use super::record_log::{EntryKind, EntrySpec, LogSpec, encode_logs, entry_hash};
use crate::error::{Reject, Rejection};
use crate::ids::{DbId, Lsn};

/// Records of record logs, each read back.
pub(super) fn log_records() -> Vec<EncodedRecord> {
    let entry = |kind, index, term, old| EntrySpec {
        kind,
        index,
        term,
        old: Lsn::new(old),
        hash: entry_hash(DbId::new(6), kind, index, term, b"hello"),
        payload: b"hello",
    };
    let log = |entries| LogSpec {
        database: DbId::new(6),
        parent: Lsn::new(70),
        first: 3,
        first_term: 1,
        next: 6,
        vote: Lsn::new(60),
        entries,
    };
    let (one, two) = (
        entry(EntryKind::Entry, 4, 2, 0),
        entry(EntryKind::Entry, 5, 2, 0),
    );
    let vote = entry(EntryKind::Vote, 0, 0, 0);
    let (moved, moved_vote) = (
        entry(EntryKind::Entry, 4, 2, 50),
        entry(EntryKind::Vote, 0, 0, 60),
    );
    let other = LogSpec {
        database: DbId::new(7),
        ..log(Vec::new())
    };
    let mut records = Vec::new();
    for (kind, logs) in [
        (RecordKind::Append, vec![log(vec![one, two])]),
        (RecordKind::Truncate, vec![log(Vec::new())]),
        (RecordKind::Purge, vec![log(Vec::new())]),
        (RecordKind::Vote, vec![log(vec![vote])]),
        (
            RecordKind::Relocate,
            vec![log(vec![moved, moved_vote]), other],
        ),
    ] {
        let record = encode_logs(kind, &logs).unwrap();
        let Record::Logs(read) = RawRecord(&record.bytes).verify(record.checksum).unwrap() else {
            panic!("another record");
        };
        assert_eq!(read.kind, kind);
        let (mut offsets, mut written) = (record.image_offsets.iter(), logs.iter());
        for member in &read.logs {
            let spec = written.next().unwrap();
            assert_eq!(member.database, spec.database);
            assert_eq!((member.parent, member.vote), (spec.parent, spec.vote));
            let bounds = (member.first, member.first_term, member.next);
            assert_eq!(bounds, (spec.first, spec.first_term, spec.next));
            assert_eq!(member.entries.len(), spec.entries.len());
            for (found, spec) in member.entries.iter().zip(&spec.entries) {
                let at = found.offset as usize;
                assert_eq!(offsets.next(), Some(&found.offset));
                assert_eq!(&record.bytes[at..at + found.bytes as usize], spec.payload);
                assert_eq!((found.index, found.term), (spec.index, spec.term));
                assert_eq!((found.old, found.hash), (spec.old, spec.hash));
            }
        }
        records.push(record);
    }
    records
}

fn entry_at(index: u64, term: u64, old: u64) -> EntrySpec<'static> {
    EntrySpec {
        kind: EntryKind::Entry,
        index,
        term,
        old: Lsn::new(old),
        hash: entry_hash(DbId::new(6), EntryKind::Entry, index, term, b""),
        payload: b"",
    }
}

fn log_of(first: u64, next: u64, entries: &[(u64, u64, u64)]) -> LogSpec<'static> {
    let entries = entries.iter();
    LogSpec {
        database: DbId::new(6),
        parent: Lsn::ZERO,
        first,
        first_term: 0,
        next,
        vote: Lsn::ZERO,
        entries: entries
            .map(|(index, term, old)| entry_at(*index, *term, *old))
            .collect(),
    }
}

#[test]
fn records_of_record_logs_that_contradict_themselves_are_refused() {
    use RecordKind::{Append, Note, Purge, Relocate, Truncate, Vote};
    let log = log_of;
    encode_logs(Append, &[log(1, 3, &[(1, 1, 0), (2, 1, 0)])]).unwrap();
    let refused = [
        ("no log", Append, vec![]),
        ("two logs", Append, vec![log(1, 1, &[]), log(1, 1, &[])]),
        ("no entry", Append, vec![log(1, 1, &[])]),
        ("a hole", Append, vec![log(1, 4, &[(1, 1, 0), (3, 1, 0)])]),
        ("a part", Append, vec![log(1, 4, &[(1, 1, 0), (2, 1, 0)])]),
        ("terms", Append, vec![log(1, 3, &[(1, 2, 0), (2, 1, 0)])]),
        ("an old place", Append, vec![log(1, 2, &[(1, 1, 8)])]),
        ("bounds", Truncate, vec![log(2, 1, &[])]),
        ("entries", Truncate, vec![log(1, 2, &[(1, 1, 0)])]),
        ("entries", Purge, vec![log(1, 2, &[(1, 1, 0)])]),
        ("no vote", Vote, vec![log(1, 2, &[(1, 1, 0)])]),
        ("no old place", Relocate, vec![log(1, 2, &[(1, 1, 0)])]),
        ("purged", Relocate, vec![log(2, 3, &[(1, 1, 8)])]),
        ("cut", Relocate, vec![log(1, 2, &[(2, 1, 8)])]),
        ("order", Relocate, vec![log(1, 3, &[(2, 1, 8), (1, 1, 8)])]),
        ("twice", Relocate, vec![log(1, 2, &[]), log(1, 2, &[])]),
        ("kind", Note, vec![log(1, 2, &[])]),
    ];
    for (what, kind, logs) in refused {
        let made = encode_logs(kind, &logs);
        let is_refused = matches!(made, Err(Rejection::Invalid(_)));
        assert!(is_refused, "{what} of {kind:?}: {made:?}");
    }
}

#[test]
fn an_entry_whose_hash_is_of_another_index_is_not_believed() {
    let mut log = log_of(1, 3, &[(1, 1, 0), (2, 1, 0)]);
    log.entries[1].hash = log.entries[0].hash;
    let record = encode_logs(RecordKind::Append, &[log]).unwrap();
    let read = RawRecord(&record.bytes).verify(record.checksum);
    assert!(matches!(read, Err(Reject::Invalid(_))), "{read:?}");
}
