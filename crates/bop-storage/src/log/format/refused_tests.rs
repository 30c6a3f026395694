//! What is sealed and cannot be: entries of the catalogue, record logs, directories of batches. Each is refused
//! for its own reason, and what is at the edge is believed.

use super::batch::{BatchHeader, BatchTrailer, DirectoryEntry, header_checksum};
use super::batch_decode::{decode_directory, decode_header, spare_parts_damage, verify_records};
use super::batch_encode::encode_batch;
use super::codec_tests::{IDENTITY, member, one_batch, page};
use super::contradictions_tests::{AT, FIRST, HEAD, LAST, change, told, why};
use super::decode::{RawRecord, Record};
use super::encode::*;
use super::record::{self, *};
use super::record_log::{EntryKind, EntrySpec, LogSpec, encode_logs, entry_hash};
use super::record_log_tests::log_records;
use super::{CatalogueEntry, CatalogueOp};
use crate::checksum::crc64;
use crate::error::{Reject, Rejection};
use crate::ids::*;
use crate::io::Block;
use crate::point::Point;
use zerocopy::{FromBytes, IntoBytes};

fn entry<'a>(parent: u64, op: CatalogueOp<'a>) -> CatalogueEntry<'a> {
    CatalogueEntry {
        database: DbId::new(5),
        parent: Lsn::new(parent),
        op,
    }
}

/// Why something is not made.
fn not_made<T>(made: Result<T, Rejection>) -> &'static str {
    match made {
        Err(Rejection::Invalid(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => "it is made",
    }
}

/// Why the record of one entry is refused whose fixed part was changed.
fn why_entry(op: CatalogueOp<'_>, edit: impl FnOnce(&mut record::Catalogue)) -> String {
    let record = encode_catalogue(&[entry(40, op)]).unwrap();
    why(&record, |bytes| change(bytes, HEAD, edit))
}

const RENAME: CatalogueOp<'_> = CatalogueOp::Rename { name: "three" };

#[test]
fn an_entry_of_the_catalogue_has_what_its_kind_has_and_no_more() {
    let create = CatalogueOp::Create {
        name: "three",
        kind: DbKind::Raw,
    };
    let more = "a catalogue record with more than its kind has";
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.reserved[1] = 1),
        "reserved bytes of a catalogue record"
    );
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.kind = 99.into()),
        "unknown kind of catalogue record"
    );
    assert_eq!(
        why_entry(create, |fixed| fixed.database_kind = 99.into()),
        "unknown kind of database"
    );
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.database_kind = 1.into()),
        more
    );
    assert_eq!(
        why_entry(create, |fixed| fixed.arguments[0] = 1.into()),
        more
    );
    let quota = CatalogueOp::Quota { bytes: 7 };
    assert_eq!(
        why_entry(quota, |fixed| fixed.arguments[1] = 1.into()),
        more
    );
    let drop = CatalogueKind::Drop as u16;
    assert_eq!(why_entry(RENAME, |fixed| fixed.kind = drop.into()), more);
}

#[test]
fn an_entry_of_the_catalogue_is_of_a_database_in_the_number_space() {
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.database = 0.into()),
        "a catalogue record about the catalogue"
    );
    let limit = Lsn::LIMIT.get();
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.parent_lsn = limit.into()),
        "parent beyond the number space"
    );
    encode_catalogue(&[entry(limit - 1, RENAME)]).unwrap();
    let adopt = CatalogueOp::Adopt { from: DbId::new(9) };
    assert_eq!(
        why_entry(adopt, |fixed| fixed.arguments[0] = 0.into()),
        "snapshots of the catalogue"
    );
    // And neither is ever written.
    let refused = |op| not_made(encode_catalogue(&[entry(40, op)]));
    let nobody = CatalogueOp::Adopt {
        from: DbId::CATALOGUE,
    };
    assert_eq!(refused(nobody), "snapshots of the catalogue");
    let point = Point {
        source: DbId::new(3),
        lsn: Lsn::LIMIT,
        time_us: 5,
        page_size: None,
        page_count: 0,
        rolling_checksum: crate::checksum::RollingChecksum::EMPTY,
    };
    let snapshot = CatalogueOp::Snapshot { name: "s", point };
    assert_eq!(refused(snapshot), "a point beyond the number space");
}

#[test]
fn a_name_has_1_to_255_bytes_of_utf_8_and_is_all_of_its_record() {
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.name_bytes = 0.into()),
        "a catalogue record without a name"
    );
    assert_eq!(
        why_entry(RENAME, |fixed| fixed.name_bytes = 4.into()),
        "bytes behind a catalogue record"
    );
    let record = encode_catalogue(&[entry(40, RENAME)]).unwrap();
    let name = HEAD + size_of::<record::Catalogue>();
    assert_eq!(
        why(&record, |bytes| bytes[name] = 0xff),
        "a name not in UTF-8"
    );
    let long = "n".repeat(256);
    let of = |name| encode_catalogue(&[entry(40, CatalogueOp::Rename { name })]);
    of(&long[..255]).unwrap();
    assert_eq!(not_made(of(&long)), "a name over 255 bytes");
}

#[test]
fn several_entries_of_the_catalogue_have_one_parent_and_zeros_between() {
    let record = encode_catalogue(&[entry(40, RENAME), entry(40, RENAME)]).unwrap();
    let first = size_of::<record::Catalogue>() + "three".len();
    let second = HEAD + first.next_multiple_of(8);
    let parent = |fixed: &mut record::Catalogue| fixed.parent_lsn = 41.into();
    assert_eq!(
        why(&record, |bytes| change(bytes, second, parent)),
        "catalogue entries of one record with several parents"
    );
    let between = "bytes between catalogue entries";
    assert_eq!(why(&record, |bytes| bytes[HEAD + first] = 1), between);
    assert_eq!(why(&record, |bytes| bytes[second - 1] = 1), between);
    let several = |header: &mut RecordHeader| header.flags = FLAG_SEVERAL.into();
    let padded = CatalogueOp::Rename { name: "eight by" };
    let one = encode_catalogue(&[entry(40, padded)]).unwrap();
    assert_eq!(
        why(&one, |bytes| change(bytes, 0, several)),
        "several catalogue entries that are one"
    );
    let refused = "catalogue entries of several parents";
    let two = encode_catalogue(&[entry(40, RENAME), entry(41, RENAME)]);
    assert_eq!(not_made(two), refused);
    assert_eq!(not_made(encode_catalogue(&[])), refused);
}

/// Where the parts of a record of one record log stand.
const LOG: usize = HEAD + size_of::<LogGroup>();
const ENTRY: usize = LOG + size_of::<record::LogRecord>();

#[test]
fn a_record_log_is_what_its_record_says() {
    let [append, truncate, _, vote, relocate] = log_records().try_into().unwrap();
    let group = |edit: fn(&mut LogGroup)| why(&append, |bytes| change(bytes, HEAD, edit));
    let log = |edit: fn(&mut record::LogRecord)| why(&truncate, |bytes| change(bytes, LOG, edit));
    assert_eq!(
        group(|group| group.reserved = 1.into()),
        "reserved bytes of a log group"
    );
    assert_eq!(
        log(|log| log.reserved = 1.into()),
        "reserved bytes of a record log"
    );
    let nowhere = "a record log without a number or beyond the number space";
    assert_eq!(log(|log| log.database = 0.into()), nowhere);
    let limit = |lsn: &mut zerocopy::little_endian::U64| *lsn = Lsn::LIMIT.get().into();
    let parent = |log: &mut record::LogRecord| limit(&mut log.parent_lsn);
    assert_eq!(why(&truncate, |bytes| change(bytes, LOG, parent)), nowhere);
    let voted = |log: &mut record::LogRecord| limit(&mut log.vote_lsn);
    assert_eq!(why(&truncate, |bytes| change(bytes, LOG, voted)), nowhere);
    assert_eq!(
        log(|log| log.first_index = 7.into()),
        "a record log that ends before it starts"
    );
    let fewer = |log: &mut record::LogRecord| log.entries = 1.into();
    assert_eq!(
        why(&append, |bytes| change(bytes, LOG, fewer)),
        "entries of no record log"
    );
    let old = |entry: &mut LogEntry| limit(&mut entry.old_lsn);
    // Two record logs stand in front of the entries.
    let moved = ENTRY + size_of::<record::LogRecord>();
    assert_eq!(
        why(&relocate, |bytes| change(bytes, moved, old)),
        "an old place where there is none"
    );
    let hard = |edit: fn(&mut LogEntry)| why(&vote, |bytes| change(bytes, ENTRY, edit));
    let indexed = "a hard state with an index";
    assert_eq!(hard(|entry| entry.index = 1.into()), indexed);
    assert_eq!(hard(|entry| entry.term = 1.into()), indexed);
    assert_eq!(hard(|entry| entry.kind = 2.into()), "kind of an entry");
    let other = "an entry that is not what its hash says";
    assert_eq!(hard(|entry| entry.hash += 1), other);
    let last = append.bytes.len() - 1;
    assert_eq!(
        why(&append, |bytes| bytes[last] = 1),
        "bytes behind the payloads"
    );
}

#[test]
fn a_record_log_that_contradicts_itself_is_told_why_it_is_not_written() {
    let spec = |kind, index, term, old| EntrySpec {
        kind,
        index,
        term,
        old: Lsn::new(old),
        hash: entry_hash(DbId::new(6), kind, index, term, b""),
        payload: b"",
    };
    let entry = |index, old| spec(EntryKind::Entry, index, 1, old);
    let vote = |old| spec(EntryKind::Vote, 0, 0, old);
    let log = |next, entries: &[EntrySpec<'static>]| LogSpec {
        database: DbId::new(6),
        parent: Lsn::ZERO,
        first: 1,
        first_term: 0,
        next,
        vote: Lsn::ZERO,
        entries: entries.to_vec(),
    };
    let (order, fit) = (
        "entries of a record log out of order",
        "entries that do not fit their record",
    );
    for (kind, logs, why) in [
        (RecordKind::Append, vec![], "a record of no record log"),
        (
            RecordKind::Append,
            vec![log(2, &[entry(1, 0)]), log(2, &[entry(1, 0)])],
            "a record of several record logs",
        ),
        (
            RecordKind::Relocate,
            vec![log(2, &[]), log(2, &[])],
            "record logs out of order",
        ),
        (
            RecordKind::Note,
            vec![log(2, &[])],
            "not a record of a record log",
        ),
        (
            RecordKind::Append,
            vec![log(2, &[entry(1, 0), vote(0)])],
            fit,
        ),
        (RecordKind::Vote, vec![log(2, &[entry(1, 0), vote(0)])], fit),
        (RecordKind::Vote, vec![log(2, &[])], fit),
        (
            RecordKind::Relocate,
            vec![log(2, &[vote(8), entry(1, 8)])],
            order,
        ),
        (
            RecordKind::Relocate,
            vec![log(2, &[entry(1, 8), entry(1, 8)])],
            order,
        ),
    ] {
        let made = not_made(encode_logs(kind, &logs));
        assert_eq!(made, why, "{kind:?} of {logs:?}");
    }
}

/// A batch of a group of two databases and a note, and where its first entry and its padding are.
fn group_and_note() -> Vec<Block> {
    let content = [1u8; 512];
    let pages = [page(2, &content)];
    let group = encode_pages(FragmentPart::Whole, &[member(1, &pages), member(4, &pages)]);
    let note = encode_note(NoteKind::Idle).unwrap();
    one_batch(&[group.unwrap(), note], AT).0
}

const ENTRY_BYTES: usize = size_of::<DirectoryEntry>();

/// Why the directory at the end is refused that was changed, and all that vouches for it sealed again.
fn why_directory(at: usize, edit: impl FnOnce(&mut DirectoryEntry)) -> String {
    let mut blocks = group_and_note();
    let bytes = blocks.as_mut_bytes();
    let listed = bytes.len() - size_of::<BatchTrailer>() - 3 * ENTRY_BYTES;
    change(bytes, listed + at * ENTRY_BYTES, edit);
    let sum = crc64(&bytes[listed..listed + 3 * ENTRY_BYTES]);
    let (header, _) = BatchHeader::mut_from_prefix(bytes).unwrap();
    header.directory_checksum = sum.into();
    header.checksum = header_checksum(&IDENTITY, header).into();
    let header = decode_header(bytes, &IDENTITY, AT, 1 << 20).unwrap();
    match decode_directory(&header, bytes) {
        Err(reject) => told::<()>(Err(reject)),
        Ok(directory) => {
            let records = verify_records(&header, &directory, bytes);
            told(records.map_err(|(_, reject)| reject))
        }
    }
}

#[test]
fn a_directory_describes_the_one_lay_out_that_its_records_have() {
    assert_eq!(why_directory(0, |_| ()), "");
    assert_eq!(
        why_directory(2, |entry| entry.flags = 1.into()),
        "Features { flags: 1 }"
    );
    assert_eq!(
        why_directory(2, |entry| entry.reserved = 1.into()),
        "reserved bytes of a directory"
    );
    assert_eq!(
        why_directory(2, |entry| entry.kind = 99.into()),
        "unknown kind of record"
    );
    let length = "length of a record in a directory";
    assert_eq!(
        why_directory(2, |entry| entry.record_bytes = 0.into()),
        length
    );
    assert_eq!(why_directory(2, |entry| entry.record_bytes += 4), length);
    assert_eq!(
        why_directory(2, |entry| entry.record_bytes += 4096),
        "a directory of another length than its batch"
    );
    let order = "records of a batch out of order";
    assert_eq!(why_directory(2, |entry| entry.offset_bytes += 8), order);
    // The two databases of the group: twice the same, and the later one first.
    assert_eq!(why_directory(1, |entry| entry.database = 1.into()), order);
    assert_eq!(why_directory(1, |entry| entry.database = 0.into()), order);
    assert_eq!(why_directory(1, |entry| entry.time_us += 1), order);
    assert_eq!(
        why_directory(2, |entry| entry.kind = RecordKind::Close.code().into()),
        "a record of another kind than its directory says"
    );
}

/// Each byte that replay can do without, flipped.
#[test]
fn every_spare_byte_of_a_batch_is_looked_at() {
    let sound = group_and_note();
    let bytes = sound.as_bytes();
    let header = decode_header(bytes, &IDENTITY, AT, 1 << 20).unwrap();
    let directory = decode_directory(&header, bytes).unwrap();
    let damage = |at: usize| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        match spare_parts_damage(&header, &directory, &flipped, &IDENTITY) {
            Some(Reject::Invalid(why)) => why,
            other => panic!("byte {at}: {other:?}"),
        }
    };
    let starts: Vec<usize> = directory
        .iter()
        .map(|item| item.offset_bytes as usize)
        .collect();
    let [group, _, note] = starts[..] else {
        panic!("{starts:?}");
    };
    let differs = "an entry of a batch differs from its copy";
    for at in (group - 2 * ENTRY_BYTES..group).chain(note - ENTRY_BYTES..note) {
        assert_eq!(damage(at), differs, "byte {at}");
    }
    let free = note + directory[2].record_bytes as usize;
    let second = bytes.len() - size_of::<BatchTrailer>() - 3 * ENTRY_BYTES;
    for at in free..second {
        assert_eq!(
            damage(at),
            "bytes behind the records of a batch",
            "byte {at}"
        );
    }
}

#[test]
fn a_batch_has_a_record() {
    let place = super::BatchPlace {
        lsn: AT,
        epoch: Epoch::new(2),
        durable: AT,
    };
    let made = encode_batch(&IDENTITY, &place, &[], &mut Vec::new());
    assert_eq!(not_made(made), "a batch of no records");
}

/// What a patch rests on is looked for before its commit: a part of a chain has none.
#[test]
fn a_patch_stands_in_a_whole_commit_alone() {
    let content = [1; 100];
    let of_one = |part, encoding| {
        let mut image = page(2, &content);
        image.encoding = encoding;
        encode_pages(part, &[member(1, &[image])])
    };
    let whole = of_one(FragmentPart::Whole, Encoding::Patch).unwrap();
    let believed = RawRecord(&whole.bytes).verify(crc64(&whole.bytes));
    assert!(matches!(believed.unwrap(), Record::Pages(_)));
    for part in [FIRST, LAST] {
        let why_not = not_made(of_one(part, Encoding::Patch));
        assert!(why_not.contains("patch"), "{why_not}");
        let compressed = of_one(part, Encoding::Lz4).unwrap();
        let entry = HEAD + size_of::<PageRecord>() + size_of::<Member>();
        let refused = why(&compressed, |bytes| {
            change(bytes, entry, |entry: &mut PageEntry| {
                entry.encoding = Encoding::Patch as u8;
            });
        });
        assert_eq!(refused, "a patch in a part of a chain");
    }
}

#[test]
fn a_change_ends_with_the_record_that_says_all_of_it() {
    let not_its_end = [
        // Parts of a commit, and that there is none.
        RecordKind::Fragment,
        RecordKind::Abort,
        // The log's own.
        RecordKind::Relocate,
        RecordKind::Note,
        RecordKind::Close,
        RecordKind::SealIndex,
    ];
    // Of the log's own, what is copied to its head is of databases.
    let of_nobody = &not_its_end[3..];
    for kind in RecordKind::ALL {
        assert_eq!(kind.ends_change(), !not_its_end.contains(kind), "{kind:?}");
        assert_eq!(
            kind.touches_databases(),
            !of_nobody.contains(kind),
            "{kind:?}"
        );
    }
}

/// The store of a provider with three million databases is closed: their heads are one record.
#[test]
fn a_record_has_a_gibibyte_at_most() {
    let heads: Vec<_> = (1..=3_000_000)
        .map(|database| (DbId::new(database), Lsn::new(database)))
        .collect();
    let record = encode_close(&heads).unwrap();
    assert_eq!(record.bytes.len(), 24 + 3_000_000 * 16);
    assert!(check_size(1 << 30).is_ok());
    assert!(matches!(
        check_size((1 << 30) + 1),
        Err(Rejection::TooLarge {
            bytes: 1_073_741_825,
            limit: 1_073_741_824
        })
    ));
}
