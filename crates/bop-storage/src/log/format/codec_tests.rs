//! What is encoded reads back; what was changed does not; no bytes make a decoder panic.

use super::batch::BatchPlace;
use super::batch_decode::*;
use super::batch_encode::*;
use super::catalogue::{CatalogueEntry, CatalogueOp};
use super::decode::{RawRecord, Record};
use super::encode::*;
use super::record::{Encoding, FLAG_SEVERAL, NoteKind};
use super::record_log::logs_record_bytes;
use super::record_log_tests::log_records;
use super::segment::*;
use crate::checksum::{PageHash, RollingChecksum, crc64};
use crate::error::{Reject, Rejection};
use crate::ids::*;
use crate::io::Block;
use crate::point::Point;
use proptest::prelude::*;
use zerocopy::IntoBytes;

pub(super) const IDENTITY: SegmentIdentity = SegmentIdentity {
    store: StoreId::new([7; 16]),
    segment: SegmentId::new(3),
    incarnation: Incarnation::new(99),
};

pub(super) fn page(number: u32, content: &[u8]) -> PageImage<'_> {
    let page = PageNo::new(number).unwrap();
    PageImage {
        page,
        hash: PageHash::of(page, content),
        encoding: Encoding::Raw,
        content,
    }
}

pub(super) fn member<'a>(database: u64, pages: &'a [PageImage<'a>]) -> MemberSpec<'a> {
    MemberSpec {
        database: DbId::new(database),
        parent: Lsn::new(40),
        rolling: RollingChecksum::new(5),
        page_count: 9,
        page_count_min: 2,
        page_size: PageSize::MIN,
        pages,
    }
}

/// One record of every shape.
fn every_record() -> Vec<EncodedRecord> {
    let content = [1u8; 512];
    let pages = [page(2, &content), page(9, &content)];
    let chain = CommitId::new(8);
    let first = FragmentPart::Fragment {
        commit: chain,
        index: 0,
        previous: 0,
    };
    let first = encode_pages(first, &[member(1, &pages)]).unwrap();
    let last = FragmentPart::Last {
        commit: chain,
        index: 1,
        previous: first.header_checksum,
    };
    let mut records = vec![
        encode_pages(FragmentPart::Whole, &[member(1, &pages), member(4, &[])]).unwrap(),
        encode_pages(last, &[member(1, &pages[..1])]).unwrap(),
        first,
        encode_abort(chain, DbId::new(1)).unwrap(),
        encode_note(NoteKind::Idle).unwrap(),
        encode_note(NoteKind::Open).unwrap(),
        encode_close(&[]).unwrap(),
        encode_close(&[(DbId::CATALOGUE, Lsn::new(3)), (DbId::new(1), Lsn::new(4))]).unwrap(),
    ];
    records.extend(catalogue_records());
    records.extend(log_records());
    records
}

/// Catalogue records of every kind, each read back.
fn catalogue_records() -> Vec<EncodedRecord> {
    let name = "caf\u{e9}";
    let point = Point {
        source: DbId::new(2),
        lsn: Lsn::new(4),
        time_us: 5,
        page_size: PageSize::new(65536),
        page_count: u32::MAX,
        rolling_checksum: RollingChecksum::new(u64::MAX),
    };
    let ops = [
        CatalogueOp::Create {
            name,
            kind: DbKind::Sqlite,
        },
        CatalogueOp::Rename { name },
        CatalogueOp::Drop { keep_us: 0 },
        CatalogueOp::Drop { keep_us: 9 },
        CatalogueOp::Undrop { name },
        CatalogueOp::Fork {
            name,
            kind: DbKind::Raw,
            point,
        },
        CatalogueOp::Snapshot { name, point },
        CatalogueOp::SnapshotDrop { name },
        CatalogueOp::Retention {
            window_us: 5,
            bytes: 6,
        },
        CatalogueOp::Quota { bytes: 7 },
        CatalogueOp::Adopt { from: DbId::new(2) },
    ];
    let mut records = Vec::new();
    for op in ops {
        let entry = CatalogueEntry {
            database: DbId::new(1),
            parent: Lsn::new(77),
            op,
        };
        let record = encode_catalogue(&[entry]).unwrap();
        let read = RawRecord(&record.bytes).verify(record.checksum).unwrap();
        assert_eq!(read, Record::Catalogue(vec![entry]));
        records.push(record);
    }
    records
}

pub(super) fn one_batch(records: &[EncodedRecord], lsn: Lsn) -> (Vec<Block>, EncodedBatch) {
    let entries: Vec<BatchEntry<'_>> = records
        .iter()
        .zip(100..)
        .map(|(record, time_us)| BatchEntry { record, time_us })
        .collect();
    let place = BatchPlace {
        lsn,
        epoch: Epoch::new(2),
        durable: lsn,
    };
    let mut blocks = vec![Block([0xff; 4096]); 1];
    let batch = encode_batch(&IDENTITY, &place, &entries, &mut blocks).unwrap();
    (blocks, batch)
}

/// The room that is counted for a record before it is made is what it takes.
#[test]
fn records_take_the_bytes_that_are_counted_for_them() {
    let content = [1u8; 512];
    let pages = [page(2, &content), page(5, &content), page(9, &content)];
    let members = [member(1, &pages), member(4, &pages[..2])];
    for (members, count) in [(&members[..1], 3), (&members[..], 5)] {
        let record = encode_pages(FragmentPart::Whole, members).unwrap();
        let counted = pages_record_bytes(members.len(), count, 512 * count);
        assert_eq!(record.bytes.len(), counted, "{count} pages");
    }
    let counts = [(1, 2, 10), (1, 0, 0), (1, 0, 0), (1, 1, 5), (2, 2, 10)];
    for (record, (logs, entries, payloads)) in log_records().iter().zip(counts) {
        let counted = logs_record_bytes(logs, entries, payloads);
        assert_eq!(record.bytes.len(), counted, "{:?}", record.kind);
    }
}

#[test]
fn a_commit_reads_back_page_by_page() {
    let contents = [[3u8; 512], [4u8; 512]];
    let pages = [page(2, &contents[0]), page(9, &contents[1])];
    let encoded = encode_pages(
        FragmentPart::Whole,
        &[member(1, &pages), member(4, &pages[..1])],
    )
    .unwrap();
    assert_eq!(encoded.databases[..], [DbId::new(1), DbId::new(4)]);
    let Record::Pages(read) = RawRecord(&encoded.bytes).verify(encoded.checksum).unwrap() else {
        panic!("not a commit");
    };
    assert_eq!(read.part, FragmentPart::Whole);
    let first = &read.members[0];
    assert_eq!((first.page_count, first.page_count_min), (9, 2));
    assert_eq!(first.parent, Lsn::new(40));
    let located: Vec<_> = read.members.iter().flat_map(|m| &m.pages).collect();
    let offsets: Vec<u32> = located.iter().map(|page| page.image_offset).collect();
    assert_eq!(offsets[..], encoded.image_offsets[..]);
    for (location, wanted) in located.iter().zip([&pages[0], &pages[1], &pages[0]]) {
        let start = location.image_offset as usize;
        let image = &encoded.bytes[start..start + location.form.bytes()];
        assert_eq!(image, wanted.content);
        assert_eq!(PageHash::of(location.page, image), location.hash);
    }
}

#[test]
fn a_commit_that_is_no_state_is_turned_away() {
    let content = [0u8; 512];
    let wrong = |change: &dyn Fn(&mut MemberSpec<'_>)| {
        let pages = [page(2, &content), page(9, &content)];
        let mut spec = member(1, &pages);
        change(&mut spec);
        let refused = encode_pages(FragmentPart::Whole, &[spec]).unwrap_err();
        assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
    };
    wrong(&|spec| spec.page_count = 8);
    wrong(&|spec| spec.page_count_min = 10);
    wrong(&|spec| spec.page_size = PageSize::DEFAULT);
    wrong(&|spec| spec.database = DbId::CATALOGUE);
    assert!(encode_pages(FragmentPart::Whole, &[]).is_err());
    assert!(encode_pages(FragmentPart::Whole, &[member(1, &[]), member(1, &[])]).is_err());
}

#[test]
fn a_batch_of_every_record_reads_back_in_its_place_and_nowhere_else() {
    let records = every_record();
    let lsn = Lsn::new(8192);
    let (blocks, batch) = one_batch(&records, lsn);
    let bytes = blocks.as_bytes();
    let header = decode_header(bytes, &IDENTITY, lsn, 1 << 20).unwrap();
    assert_eq!(header.end, batch.end);
    assert_eq!(header.checksum, batch.header_checksum);
    let directory = decode_directory(&header, bytes).unwrap();
    let read = verify_records(&header, &directory, bytes).unwrap();
    let lsns: Vec<Lsn> = read.iter().map(|record| record.lsn).collect();
    assert_eq!(lsns, batch.record_lsns);
    let damage = spare_parts_damage(&header, &directory, bytes, &IDENTITY);
    assert_eq!(damage, None);
    let trailer = decode_trailer(bytes, &IDENTITY, batch.end).unwrap();
    assert_eq!(trailer.directory, directory);

    let elsewhere = decode_header(bytes, &IDENTITY, Lsn::new(4096), 1 << 20);
    assert_eq!(
        elsewhere,
        Err(Reject::Invalid("a batch that belongs elsewhere"))
    );
    for other in [
        SegmentIdentity {
            store: StoreId::new([8; 16]),
            ..IDENTITY
        },
        SegmentIdentity {
            segment: SegmentId::new(4),
            ..IDENTITY
        },
        SegmentIdentity {
            incarnation: Incarnation::new(98),
            ..IDENTITY
        },
    ] {
        let stranger = decode_header(bytes, &other, lsn, 1 << 20);
        assert_eq!(stranger, Err(Reject::Checksum));
    }
}

#[test]
fn a_directory_longer_than_a_block_asks_for_more_bytes() {
    let records = vec![encode_note(NoteKind::Idle).unwrap(); 200];
    let (blocks, batch) = one_batch(&records, Lsn::ZERO);
    let bytes = blocks.as_bytes();
    assert!(decode_header(&bytes[..64], &IDENTITY, Lsn::ZERO, 1 << 20).is_ok());
    let tail = &bytes[bytes.len() - 4096..];
    let short = decode_trailer(tail, &IDENTITY, batch.end);
    assert!(matches!(short, Err(Reject::Truncated { needed: 8040, .. })));
}

#[test]
fn each_flipped_byte_of_a_batch_is_noticed_and_one_directory_still_reads() {
    let records = every_record();
    let (blocks, batch) = one_batch(&records, Lsn::ZERO);
    let good = decode_trailer(blocks.as_bytes(), &IDENTITY, batch.end).unwrap();
    let mut bytes = blocks.as_bytes().to_vec();
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        let header = decode_header(&bytes, &IDENTITY, Lsn::ZERO, 1 << 20);
        let trailer = decode_trailer(&bytes, &IDENTITY, batch.end);
        let directory = header.as_ref().ok().map(|h| decode_directory(h, &bytes));
        let noticed = match (&header, &directory) {
            (Ok(header), Some(Ok(directory))) => {
                verify_records(header, directory, &bytes).is_err()
                    || spare_parts_damage(header, directory, &bytes, &IDENTITY).is_some()
            }
            _ => true,
        };
        assert!(noticed, "byte {at}");
        let named = directory.unwrap_or(trailer.map(|t| t.directory));
        assert_eq!(named.as_ref(), Ok(&good.directory), "byte {at}");
        bytes[at] ^= 0x10;
    }
}

#[test]
fn an_activation_of_the_first_segment_says_nothing_of_a_predecessor() {
    let activated = Activated {
        epoch: Epoch::new(1),
        base_lsn: Lsn::new(1 << 30),
        last_time_us: 12,
        predecessor: None,
    };
    let (block, hash) = activated.encode(&IDENTITY);
    assert_eq!(Activated::decode(&block, &IDENTITY), Ok((activated, hash)));
    for (end, hash) in [(1 << 20, 0), (0, 6)] {
        let predecessor = Some(Predecessor {
            segment: SegmentId::new(0),
            end: Lsn::new(end),
            hash: ChainHash::new(hash),
        });
        let (block, _) = Activated {
            predecessor,
            ..activated
        }
        .encode(&IDENTITY);
        let refused = Activated::decode(&block, &IDENTITY).map(|_| ());
        assert_eq!(refused, Err(Reject::Invalid("an end of no predecessor")));
    }
}

#[test]
fn stamp_and_activation_read_back_and_refuse_what_they_must() {
    let stamped = Stamped {
        identity: IDENTITY,
        capacity_bytes: 1 << 20,
    };
    assert_eq!(Stamped::decode(&stamped.encode()), Ok(stamped));
    let mut foreign = stamped;
    foreign.identity.store = StoreId::new([1; 16]);
    let refused = Stamped::decode_as(&foreign.encode(), &stamped);
    assert_eq!(refused, Err(Reject::ForeignStore));

    let activated = Activated {
        epoch: Epoch::new(4),
        base_lsn: Lsn::new(1 << 30),
        last_time_us: 12,
        predecessor: Some(Predecessor {
            segment: SegmentId::new(2),
            end: Lsn::new(1 << 20),
            hash: ChainHash::new(6),
        }),
    };
    let (block, hash) = activated.encode(&IDENTITY);
    assert_eq!(Activated::decode(&block, &IDENTITY), Ok((activated, hash)));
    for at in 0..4096 {
        for (name, mut flipped) in [("stamp", stamped.encode()), ("activation", block)] {
            flipped.0[at] ^= 4;
            let read =
                Stamped::decode(&flipped).is_ok() || Activated::decode(&flipped, &IDENTITY).is_ok();
            assert!(!read, "byte {at} of a {name}");
        }
    }
}

proptest! {
    /// A hostile writer can make every checksum right: what is behind it is still checked.
    #[test]
    fn damaged_records_with_right_checksums_never_panic(
        which in 0usize..64, at in 0usize..2000, byte: u8, cut in 0usize..2000,
    ) {
        let records = every_record();
        let record = &records[which % records.len()];
        let mut bytes = record.bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - (cut % bytes.len()) * usize::from(byte & 1));
        reseal(&mut bytes);
        let _ = RawRecord(&bytes).verify(crate::checksum::crc64(&bytes));
    }

    /// Whatever stands in a block, reading it as the start or the end of a batch gives an answer.
    #[test]
    fn damaged_batches_never_panic(
        flips in proptest::collection::vec((0usize..100_000, any::<u8>()), 1..8),
        room in 0u64..10_000,
    ) {
        let (blocks, batch) = one_batch(&every_record(), Lsn::ZERO);
        let mut bytes = blocks.as_bytes().to_vec();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(header) = decode_header(&bytes, &IDENTITY, Lsn::ZERO, room)
            && let Ok(directory) = decode_directory(&header, &bytes)
        {
            let _ = verify_records(&header, &directory, &bytes);
            let _ = spare_parts_damage(&header, &directory, &bytes, &IDENTITY);
        }
        let _ = decode_trailer(&bytes, &IDENTITY, batch.end);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RawRecord(&bytes).verify(crate::checksum::crc64(&bytes));
        let _ = decode_header(&bytes, &IDENTITY, Lsn::ZERO, u64::MAX);
        let _ = decode_trailer(&bytes, &IDENTITY, Lsn::new(4096));
    }
}

/// Makes the header checksum right again, as a hostile writer would.
pub(super) fn reseal(bytes: &mut [u8]) {
    let Some(head) = bytes.get(4..8) else { return };
    let head = u32::from_le_bytes(head.try_into().unwrap()) as usize;
    if head < 24 || bytes.len() < head {
        return;
    }
    bytes[16..24].fill(0);
    let checksum = crate::checksum::crc64(&bytes[..head]);
    bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
}

/// Several databases in one record: an old reader is told that it does not know such a thing, and a
/// record that says so and is not so is refused.
#[test]
fn several_catalogue_entries_are_one_record() {
    let entry = |database, name| CatalogueEntry {
        database: DbId::new(database),
        parent: Lsn::new(77),
        op: CatalogueOp::Create {
            name,
            kind: DbKind::Raw,
        },
    };
    let entries = [
        entry(4, "eight by"),
        entry(3, "a"),
        entry(9, "sixteen bytes..."),
        entry(4, "again"),
    ];
    let record = encode_catalogue(&entries).unwrap();
    let three = [0, 3, 4, 9].map(DbId::new);
    assert_eq!(record.databases[..], three, "each once, ascending");
    assert_eq!(record.bytes[2..4], FLAG_SEVERAL.to_le_bytes());
    let read = RawRecord(&record.bytes).verify(record.checksum).unwrap();
    assert_eq!(read, Record::Catalogue(entries.to_vec()));

    let one = encode_catalogue(&entries[..1]).unwrap();
    assert_eq!(one.bytes[2..4], [0, 0], "as it always was");
    let elsewhere = CatalogueEntry {
        parent: Lsn::new(78),
        ..entries[1]
    };
    for wrong in [&[][..], &[entries[0], elsewhere]] {
        assert!(encode_catalogue(wrong).is_err(), "{wrong:?}");
    }
    // The flag on a record with one entry, and a record of two without it.
    for (record, flags) in [(&one, FLAG_SEVERAL), (&record, 0)] {
        let mut bytes = record.bytes.to_vec();
        bytes[2..4].copy_from_slice(&flags.to_le_bytes());
        bytes[16..24].fill(0);
        let head = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let checksum = crc64(&bytes[..head]);
        bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
        let refused = RawRecord(&bytes).verify(crc64(&bytes));
        assert!(refused.is_err(), "{refused:?}");
    }
}
