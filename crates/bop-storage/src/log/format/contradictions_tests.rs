//! Records whose checksums are right and whose contents cannot be: each is refused for its own reason, and
//! none is ever written.

use super::batch::{BatchHeader, BatchTrailer, header_checksum, trailer_checksum};
use super::batch_decode::{
    decode_directory, decode_header, decode_trailer, directory_by_records, spare_parts_damage,
    verify_records,
};
use super::codec_tests::{IDENTITY, member, one_batch, page, reseal};
use super::decode::{RawRecord, Record};
use super::encode::*;
use super::record::*;
use crate::checksum::{RollingChecksum, crc64};
use crate::error::{Reject, Rejection};
use crate::ids::*;
use crate::io::Block;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const CHAIN: CommitId = CommitId::new(8);
pub(super) const FIRST: FragmentPart = FragmentPart::Fragment {
    commit: CHAIN,
    index: 0,
    previous: 0,
};
pub(super) const LAST: FragmentPart = FragmentPart::Last {
    commit: CHAIN,
    index: 1,
    previous: 77,
};

/// Where the parts of a record of two databases stand, the first of which has two pages.
const HEADER: usize = 0;
pub(super) const HEAD: usize = size_of::<RecordHeader>();
const MEMBERS: [usize; 2] = [
    HEAD + size_of::<PageRecord>(),
    HEAD + size_of::<PageRecord>() + size_of::<Member>(),
];
const ENTRIES: [usize; 2] = [
    MEMBERS[1] + size_of::<Member>(),
    MEMBERS[1] + size_of::<Member>() + size_of::<PageEntry>(),
];

fn of_two(part: FragmentPart) -> EncodedRecord {
    let content = [1u8; 512];
    let pages = [page(2, &content), page(9, &content)];
    encode_pages(part, &[member(1, &pages), member(4, &[])]).unwrap()
}

/// Changes what stands at a place of a record.
pub(super) fn change<T>(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut T))
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    change(T::mut_from_prefix(&mut bytes[at..]).unwrap().0);
}

/// Why a record is refused that was changed and sealed again.
pub(super) fn why(record: &EncodedRecord, change: impl FnOnce(&mut [u8])) -> String {
    let mut bytes = record.bytes.to_vec();
    change(&mut bytes);
    reseal(&mut bytes);
    match RawRecord(&bytes).verify(crc64(&bytes)) {
        Err(Reject::Invalid(why)) => why.to_owned(),
        Err(other) => format!("{other:?}"),
        Ok(believed) => panic!("believed: {believed:?}"),
    }
}

/// The same of one part of the record of two databases.
fn why_pages<T>(part: FragmentPart, at: usize, edit: impl FnOnce(&mut T)) -> String
where
    T: FromBytes + IntoBytes + KnownLayout + Immutable,
{
    why(&of_two(part), |bytes| change(bytes, at, edit))
}

const WHOLE: FragmentPart = FragmentPart::Whole;

#[test]
fn a_record_is_what_its_header_says() {
    let header = |edit: fn(&mut RecordHeader)| why_pages(WHOLE, HEADER, edit);
    assert_eq!(
        header(|header| header.kind = 99.into()),
        "unknown kind of record"
    );
    assert_eq!(
        header(|header| header.flags = 2.into()),
        "Features { flags: 2 }"
    );
    assert_eq!(
        header(|header| header.flags = FLAG_SEVERAL.into()),
        "several entries in a record of another kind"
    );
    assert_eq!(
        header(|header| header.record_bytes += 8),
        "a record that is not as long as it says"
    );
    // Its head reaches into the images, or ends before what it holds.
    assert_eq!(
        header(|header| header.header_bytes += 24),
        "page entries of no database"
    );
    let short = header(|header| header.header_bytes -= 24);
    assert!(short.starts_with("Truncated"), "{short}");
    let sound = of_two(WHOLE);
    let mut bytes = sound.bytes.to_vec();
    bytes[HEAD] ^= 1;
    assert_eq!(
        RawRecord(&bytes).verify(crc64(&bytes)).unwrap_err(),
        Reject::Checksum,
        "of the head"
    );
}

#[test]
fn a_commit_has_its_place_in_a_chain_or_is_whole() {
    let part = |part, edit: fn(&mut PageRecord)| why_pages(part, HEAD, edit);
    assert_eq!(
        part(WHOLE, |head| head.reserved = 1.into()),
        "reserved bytes of a commit"
    );
    assert_eq!(
        part(WHOLE, |head| head.members = 0.into()),
        "a commit of no database"
    );
    let names_one = "a whole commit that names a part before";
    assert_eq!(
        part(WHOLE, |head| head.fragment_index = 1.into()),
        names_one
    );
    assert_eq!(
        part(WHOLE, |head| head.running_checksum = 1.into()),
        names_one
    );
    assert_eq!(
        part(LAST, |head| head.fragment_index = 0.into()),
        "the last of several parts, with none before"
    );
    assert_eq!(
        part(FIRST, |head| head.running_checksum = 1.into()),
        "a first fragment that names one before"
    );
    assert_eq!(
        part(FIRST, |head| head.commit_id = 0.into()),
        "a fragment of no chain"
    );
}

#[test]
fn the_databases_of_a_commit_are_states_that_can_be() {
    let first = |part, edit: fn(&mut Member)| why_pages(part, MEMBERS[0], edit);
    let second = |edit: fn(&mut Member)| why_pages(WHOLE, MEMBERS[1], edit);
    let order = "databases of a commit out of order";
    assert_eq!(first(WHOLE, |one| one.database = 5.into()), order);
    assert_eq!(second(|two| two.database = 1.into()), order, "twice");
    let nowhere = "a commit without a database or beyond the number space";
    assert_eq!(first(WHOLE, |one| one.database = 0.into()), nowhere);
    let limit = |one: &mut Member| one.parent_lsn = Lsn::LIMIT.get().into();
    assert_eq!(first(WHOLE, limit), nowhere);
    assert_eq!(
        first(WHOLE, |one| one.page_size = 1000.into()),
        "a page size that no database has"
    );
    assert_eq!(
        first(WHOLE, |one| one.page_count_min = 10.into()),
        "a smallest page count above the page count"
    );
    assert_eq!(
        first(WHOLE, |one| one.page_count = 8.into()),
        "a page behind the end of the database"
    );
    assert_eq!(
        first(WHOLE, |one| one.entries = 1.into()),
        "page entries of no database"
    );
    let says = "a fragment that says what its commit must";
    assert_eq!(first(FIRST, |one| one.parent_lsn = 1.into()), says);
    assert_eq!(first(FIRST, |one| one.rolling_checksum = 1.into()), says);
    assert_eq!(first(FIRST, |one| one.page_count = 1.into()), says);
    assert_eq!(first(FIRST, |one| one.page_count_min = 1.into()), says);
}

#[test]
fn the_pages_of_a_commit_ascend_and_have_images() {
    let entry = |part, at: usize, edit: fn(&mut PageEntry)| why_pages(part, ENTRIES[at], edit);
    assert_eq!(
        entry(WHOLE, 0, |entry| entry.reserved[6] = 1),
        "reserved bytes of a page entry"
    );
    assert_eq!(entry(WHOLE, 0, |entry| entry.page = 0.into()), "page 0");
    let order = "pages of a commit out of order";
    assert_eq!(
        entry(WHOLE, 0, |entry| entry.page = 9.into()),
        order,
        "twice"
    );
    assert_eq!(
        entry(WHOLE, 1, |entry| entry.encoding = 99),
        "unknown encoding of a page"
    );
    let patch = |entry: &mut PageEntry| entry.encoding = Encoding::Patch as u8;
    assert!(!entry(LAST, 1, patch).is_empty(), "a raw page is no patch");
    let record = of_two(WHOLE);
    let longer = |bytes: &mut Vec<u8>, more: usize| {
        bytes.resize(bytes.len() + more, 0);
        let record_bytes = bytes.len() as u64;
        change(bytes, HEADER, |header: &mut RecordHeader| {
            header.record_bytes = record_bytes.into();
        });
        reseal(bytes);
    };
    let mut bytes = record.bytes.to_vec();
    longer(&mut bytes, 8);
    let refused = RawRecord(&bytes).verify(crc64(&bytes)).unwrap_err();
    assert_eq!(refused, Reject::Invalid("bytes behind the images"));
}

#[test]
fn small_records_say_what_they_must_and_no_more() {
    let abort = encode_abort(CHAIN, DbId::new(1)).unwrap();
    let of_abort = |edit: fn(&mut Abort)| why(&abort, |bytes| change(bytes, HEAD, edit));
    assert_eq!(
        of_abort(|abort| abort.commit_id = 0.into()),
        "an abort of no chain"
    );
    assert_eq!(
        of_abort(|abort| abort.database = 0.into()),
        "an abort of no chain"
    );
    let note = encode_note(NoteKind::Idle).unwrap();
    let of_note = |edit: fn(&mut Note)| why(&note, |bytes| change(bytes, HEAD, edit));
    assert_eq!(
        of_note(|note| note.kind = 99.into()),
        "unknown kind of note"
    );
    assert_eq!(
        of_note(|note| note.reserved[5] = 1),
        "reserved bytes of a note"
    );
    let heads = [(DbId::new(1), Lsn::new(3)), (DbId::new(2), Lsn::new(4))];
    let close = encode_close(&heads).unwrap();
    let second = HEAD + size_of::<CloseHead>();
    let of_close = |edit: fn(&mut CloseHead)| why(&close, |bytes| change(bytes, second, edit));
    let order = "heads of a close record out of order";
    assert_eq!(of_close(|head| head.database = 1.into()), order, "twice");
    assert_eq!(of_close(|head| head.database = 0.into()), order);
    assert_eq!(
        of_close(|head| head.head_lsn = Lsn::LIMIT.get().into()),
        order
    );
    let read = RawRecord(&close.bytes).verify(close.checksum).unwrap();
    assert_eq!(read, Record::Close(heads.to_vec()));
}

#[test]
fn what_would_be_refused_is_not_written() {
    let content = [1u8; 512];
    let pages = [page(2, &content), page(9, &content)];
    let refused = |part, members: &[MemberSpec<'_>]| match encode_pages(part, members) {
        Err(Rejection::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    let fragment = |commit, index, previous| FragmentPart::Fragment {
        commit: CommitId::new(commit),
        index,
        previous,
    };
    let last = |commit, index| FragmentPart::Last {
        commit: CommitId::new(commit),
        index,
        previous: 1,
    };
    let placeless = "a fragment without its place in a chain";
    for part in [
        fragment(0, 0, 0),
        fragment(0, 1, 1),
        fragment(8, 0, 1),
        last(0, 1),
        last(8, 0),
    ] {
        assert_eq!(refused(part, &[member(1, &pages)]), placeless, "{part:?}");
    }
    for part in [
        fragment(8, 0, 0),
        fragment(8, 1, 0),
        fragment(8, 1, 1),
        last(8, 1),
    ] {
        encode_pages(part, &[member(1, &pages)]).unwrap();
    }
    let spec = |change: fn(&mut MemberSpec<'_>)| {
        let mut spec = member(1, &pages);
        change(&mut spec);
        refused(WHOLE, &[spec])
    };
    let nowhere = "a commit without a database or beyond the number space";
    assert_eq!(spec(|spec| spec.parent = Lsn::LIMIT), nowhere);
    let twice = [pages[0], pages[0]];
    assert_eq!(
        refused(WHOLE, &[member(1, &twice)]),
        "pages of a commit out of order"
    );
    // What a fragment does not say may be anything: its commit says it.
    let mut odd = member(1, &pages);
    (odd.page_count, odd.rolling) = (1, RollingChecksum::new(9));
    let record = encode_pages(FIRST, &[odd]).unwrap();
    RawRecord(&record.bytes).verify(record.checksum).unwrap();
    let why = |encoded: Result<EncodedRecord, Rejection>| match encoded {
        Err(Rejection::Invalid(why)) => why,
        other => panic!("{other:?}"),
    };
    let chainless = "an abort of no chain";
    assert_eq!(why(encode_abort(CommitId::new(0), DbId::new(1))), chainless);
    assert_eq!(why(encode_abort(CHAIN, DbId::CATALOGUE)), chainless);
    let head = |database, lsn| (DbId::new(database), Lsn::new(lsn));
    let order = "heads of a close record out of order";
    assert_eq!(why(encode_close(&[head(1, 3), head(1, 4)])), order);
    assert_eq!(why(encode_close(&[head(1, Lsn::LIMIT.get())])), order);
}

/// Where the batch stands.
pub(super) const AT: Lsn = Lsn::new(8192);

/// Why a header or a trailer was refused; nothing when it was believed.
pub(super) fn told<T>(read: Result<T, Reject>) -> String {
    match read {
        Ok(_) => String::new(),
        Err(Reject::Invalid(why)) => why.to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

/// What is said of a batch of one note in a block, whose header was changed and sealed again.
fn of_header(at: Lsn, edit: impl FnOnce(&mut BatchHeader)) -> String {
    let (mut blocks, _) = one_batch(&[encode_note(NoteKind::Idle).unwrap()], AT);
    let bytes = blocks.as_mut_bytes();
    let (header, _) = BatchHeader::mut_from_prefix(bytes).unwrap();
    edit(header);
    header.checksum = header_checksum(&IDENTITY, header).into();
    told(decode_header(bytes, &IDENTITY, at, 1 << 20))
}

#[test]
fn a_batch_has_room_for_what_its_header_says() {
    let header = |edit: fn(&mut BatchHeader)| of_header(AT, edit);
    assert_eq!(header(|_| ()), "");
    assert_eq!(
        header(|header| header.flags = 1.into()),
        "Features { flags: 1 }"
    );
    assert_eq!(
        header(|header| header.length_bytes = 0.into()),
        "length of a batch"
    );
    assert_eq!(
        header(|header| header.length_bytes += 8),
        "length of a batch"
    );
    assert_eq!(header(|header| header.length_bytes = (1 << 20).into()), "");
    assert_eq!(
        header(|header| header.length_bytes = ((1 << 20) + 4096).into()),
        "a batch that leaves its segment"
    );
    // Header, trailer and two directories: 104 + 2 * 49 * 40 bytes of 4096.
    assert_eq!(header(|header| header.entries = 49.into()), "");
    let count = "count of a batch's records";
    assert_eq!(header(|header| header.entries = 50.into()), count);
    assert_eq!(header(|header| header.entries = 0.into()), count);
    assert_eq!(
        header(|header| header.reserved[7] = 1),
        "reserved bytes of a batch header"
    );
    assert_eq!(header(|header| header.durable_lsn = AT.get().into()), "");
    assert_eq!(
        header(|header| header.durable_lsn = (AT.get() + 1).into()),
        "a batch that says it was durable before it was made"
    );
    assert_eq!(
        header(|header| header.lsn += 1),
        "a batch that belongs elsewhere"
    );
    let last = Lsn::new(Lsn::LIMIT.get() - 4096);
    assert_eq!(
        of_header(last, |header| header.lsn = last.get().into()),
        "a batch beyond the number space"
    );
}

/// A batch of one record whose trailer was changed and sealed again, and where the batch ends.
fn with_trailer(edit: fn(&mut BatchTrailer)) -> (Vec<Block>, Lsn) {
    let (mut blocks, batch) = one_batch(&[encode_note(NoteKind::Idle).unwrap()], AT);
    let (before, trailer) = BatchTrailer::mut_from_suffix(blocks.as_mut_bytes()).unwrap();
    edit(trailer);
    let directory = &before[before.len() - 40..];
    trailer.checksum = trailer_checksum(&IDENTITY, trailer, directory).into();
    (blocks, batch.end)
}

#[test]
fn a_trailer_stands_behind_its_batch() {
    let trailer = |edit: fn(&mut BatchTrailer)| {
        let (blocks, end) = with_trailer(edit);
        told(decode_trailer(blocks.as_bytes(), &IDENTITY, end))
    };
    assert_eq!(trailer(|_| ()), "");
    assert_eq!(trailer(|trailer| trailer.magic += 1), "Magic");
    let reserved = "reserved bytes of a batch trailer";
    assert_eq!(trailer(|trailer| trailer.reserved = 1.into()), reserved);
    let elsewhere = "a trailer that belongs elsewhere";
    assert_eq!(trailer(|trailer| trailer.lsn += 4096), elsewhere);
    let count = "count of a batch's records";
    assert_eq!(trailer(|trailer| trailer.entries = 50.into()), count);
    assert_eq!(trailer(|trailer| trailer.entries = 2.into()), "Checksum");
    assert_eq!(
        trailer(|trailer| trailer.length_bytes = (8192 + 8192).into()),
        "a batch that leaves its segment"
    );
}

/// Either half of a batch that is sound by itself, and of another batch.
#[test]
fn header_and_trailer_are_of_one_batch() {
    let damage = |edit: fn(&mut BatchTrailer)| {
        let (blocks, end) = with_trailer(edit);
        let bytes = blocks.as_bytes();
        let header = decode_header(bytes, &IDENTITY, AT, 1 << 20).unwrap();
        assert_eq!(header.end, end);
        let directory = decode_directory(&header, bytes).unwrap();
        spare_parts_damage(&header, &directory, bytes, &IDENTITY)
    };
    let differ = Some(Reject::Invalid("header and trailer of a batch differ"));
    assert_eq!(damage(|_| ()), None);
    assert_eq!(damage(|trailer| trailer.epoch += 1), differ);
    let longer = |trailer: &mut BatchTrailer| {
        trailer.length_bytes += 4096;
        trailer.lsn -= 4096;
    };
    let length = Some(Reject::Invalid(
        "a directory of another length than its batch",
    ));
    assert_eq!(damage(longer), length, "its directory says so, too");
}

/// Records of all lengths about a block, so that the directory at the end falls on either side of each
/// border of blocks.
#[test]
fn batches_of_every_length_read_back() {
    for count in 1..=600_u64 {
        let heads: Vec<_> = (1..=count)
            .map(|database| (DbId::new(database), Lsn::new(database)))
            .collect();
        let (blocks, batch) = one_batch(&[encode_close(&heads).unwrap()], AT);
        let bytes = blocks.as_bytes();
        assert_eq!(batch.end.get() - AT.get(), bytes.len() as u64, "{count}");
        let header = decode_header(bytes, &IDENTITY, AT, 1 << 20).unwrap();
        let directory = decode_directory(&header, bytes).unwrap();
        let in_front = directory_by_records(&header, |at| Ok(bytes[at..at + 40].to_vec()));
        assert_eq!(in_front.as_ref(), Ok(&directory), "{count}");
        let records = verify_records(&header, &directory, bytes).unwrap();
        assert_eq!(records[0].record, Record::Close(heads), "{count}");
        let damage = spare_parts_damage(&header, &directory, bytes, &IDENTITY);
        assert_eq!(damage, None, "{count}");
    }
}

#[test]
fn a_commit_may_leave_as_few_pages_as_there_ever_were() {
    let mut spec = member(1, &[]);
    spec.page_count_min = spec.page_count;
    let record = encode_pages(WHOLE, &[spec]).unwrap();
    RawRecord(&record.bytes).verify(record.checksum).unwrap();
}
