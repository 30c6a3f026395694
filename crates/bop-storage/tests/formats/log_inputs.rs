//! The inputs of the golden files. Fixed: a change here is a change of what the files mean.
#![expect(clippy::unwrap_used, reason = "helpers of tests, not tests themselves")]

use bop_storage::checksum::{PageHash, RollingChecksum};
use bop_storage::ids::{
    CommitId, DbId, DbKind, Epoch, Incarnation, Lsn, PageNo, PageSize, SegmentId, StoreId,
};
use bop_storage::log::format::record::{Encoding, NoteKind, RecordKind};
use bop_storage::log::format::{
    Activated, BatchEntry, BatchPlace, CatalogueEntry, CatalogueOp, ChainHash, EncodedRecord,
    EntryKind, EntrySpec, FragmentPart, ImageForm, ImageMaker, LogSpec, MemberSpec, PageImage,
    PatchBase, Predecessor, SegmentIdentity, Stamped, encode_abort, encode_batch, encode_catalogue,
    encode_close, encode_logs, encode_note, encode_pages, entry_hash,
};
use bop_storage::point::Point;
use bop_storage::superblock::Superblock;
use zerocopy::IntoBytes;

const STORE: StoreId = StoreId::new(*b"golden store id!");

pub(crate) const IDENTITY: SegmentIdentity = SegmentIdentity {
    store: STORE,
    segment: SegmentId::new(4),
    incarnation: Incarnation::new(0x0123_4567_89ab_cdef),
};
const CAPACITY: u64 = 9 * 4096;
const NAME: &str = "caf\u{e9}";

/// Every golden file: its name and its bytes.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("superblock.bin".to_owned(), superblock()),
        ("segment.bin".to_owned(), segment()),
    ];
    let named = records()
        .into_iter()
        .chain([
            ("lz4", lz4()),
            ("patch", patch()),
            ("patch_on_chunk", patch_on_chunk()),
        ])
        .map(|(name, record)| (format!("record_{name}.bin"), record.bytes.to_vec()));
    files.extend(named);
    files
}

fn superblock() -> Vec<u8> {
    let first = Superblock::new(STORE, 1_700_000_000_000_000, 64 << 20);
    let second = Superblock {
        sequence: 2,
        ..first
    };
    [first.encode(), second.encode()].as_bytes().to_vec()
}

/// A page whose content tells its number.
fn content(page: u32) -> Vec<u8> {
    let pattern = |index: u32| (index.wrapping_mul(page).wrapping_add(index >> 8) & 0xff) as u8;
    (0..512).map(pattern).collect()
}

fn pages(part: FragmentPart, lists: &[(u64, &[u32])]) -> EncodedRecord {
    let contents: Vec<Vec<(PageNo, Vec<u8>)>> = lists
        .iter()
        .map(|(_, pages)| {
            let page = |number: &u32| (PageNo::new(*number).unwrap(), content(*number));
            pages.iter().map(page).collect()
        })
        .collect();
    let images: Vec<Vec<PageImage<'_>>> = contents
        .iter()
        .map(|pages| {
            let image = |(page, content): &'_ (PageNo, Vec<u8>)| PageHash::of(*page, content);
            pages
                .iter()
                .map(|one| PageImage {
                    page: one.0,
                    hash: image(one),
                    encoding: Encoding::Raw,
                    content: &one.1,
                })
                .collect()
        })
        .collect();
    let members: Vec<MemberSpec<'_>> = lists
        .iter()
        .zip(&images)
        .map(|((database, _), pages)| MemberSpec {
            database: DbId::new(*database),
            parent: Lsn::new(0x1000 + database),
            rolling: RollingChecksum::new(0xfeed_0000 + database),
            page_count: 40,
            page_count_min: 3,
            page_size: PageSize::MIN,
            pages,
        })
        .collect();
    encode_pages(part, &members).unwrap()
}

fn one_page(page: u32, hash: PageHash, encoding: Encoding, image: &[u8]) -> EncodedRecord {
    let image = PageImage {
        page: PageNo::new(page).unwrap(),
        hash,
        encoding,
        content: image,
    };
    let member = MemberSpec {
        database: DbId::new(7),
        parent: Lsn::new(0x1007),
        rolling: RollingChecksum::new(0xfeed_0007),
        page_count: 40,
        page_count_min: 3,
        page_size: PageSize::MIN,
        pages: &[image],
    };
    encode_pages(FragmentPart::Whole, &[member]).unwrap()
}

/// A page of 512 equal bytes in a block made by hand: one literal, a match of 506, five literals.
fn lz4() -> EncodedRecord {
    let block = b"\x1fk\x01\x00\xff\xe8\x50kkkkk";
    let hash = PageHash::of(PageNo::FIRST, &[b'k'; 512]);
    one_page(1, hash, Encoding::Lz4, block)
}

/// What the golden patches rest on: page 2.
pub(crate) fn patch_base() -> Vec<u8> {
    content(2)
}

fn patch_of(image: Option<(Lsn, ImageForm)>) -> EncodedRecord {
    let (page, old) = (PageNo::new(2).unwrap(), patch_base());
    let mut content = old.clone();
    content[3..9].copy_from_slice(b"change");
    content[100] ^= 0xff;
    content[500..].fill(0x77);
    let base = PatchBase {
        version: Lsn::new(0x1007),
        hash: PageHash::of(page, &old),
        image,
    };
    let mut maker = ImageMaker::new(PageSize::MIN);
    let made = maker.make(&content, Some((&base, &old)));
    let image = maker.bytes(&made, &content);
    one_page(2, PageHash::of(page, &content), Encoding::Patch, image)
}

fn patch() -> EncodedRecord {
    let below = ImageForm::believed(Encoding::Patch, 99, 2, PageSize::MIN).unwrap();
    patch_of(Some((Lsn::new(0x1080), below)))
}

fn patch_on_chunk() -> EncodedRecord {
    patch_of(None)
}

fn records() -> Vec<(&'static str, EncodedRecord)> {
    let mut records = vec![
        ("commit", pages(FragmentPart::Whole, &[(7, &[1, 40])])),
        ("commit_empty", pages(FragmentPart::Whole, &[(7, &[])])),
        (
            "group",
            pages(FragmentPart::Whole, &[(7, &[2]), (9, &[3, 4])]),
        ),
    ];
    let commit = CommitId::new(0xc0de);
    let mut previous = 0;
    for (index, name) in [(0, "fragment_0"), (1, "fragment_1")] {
        let part = FragmentPart::Fragment {
            commit,
            index,
            previous,
        };
        let fragment = pages(part, &[(7, &[5 + index])]);
        previous = fragment.header_checksum;
        records.push((name, fragment));
    }
    let last = FragmentPart::Last {
        commit,
        index: 2,
        previous,
    };
    records.push(("fragment_last", pages(last, &[(7, &[7])])));
    records.push(("abort", encode_abort(commit, DbId::new(7)).unwrap()));
    records.extend(catalogue());
    records.extend(log_records());
    records.push(("note_idle", encode_note(NoteKind::Idle).unwrap()));
    records.push(("note_open", encode_note(NoteKind::Open).unwrap()));
    let heads = [
        (DbId::CATALOGUE, Lsn::new(0x2000)),
        (DbId::new(7), Lsn::new(0x3000)),
    ];
    records.push(("close", encode_close(&heads).unwrap()));
    records.push(("close_empty", encode_close(&[]).unwrap()));
    records
}

fn catalogue() -> Vec<(&'static str, EncodedRecord)> {
    let point = Point {
        source: DbId::new(3),
        lsn: Lsn::new(0x4000),
        time_us: 0x5555_6666,
        page_size: PageSize::new(4096),
        page_count: 0x7777,
        rolling_checksum: RollingChecksum::new(0x0123_4567_89ab_cdef),
    };
    let sqlite = CatalogueOp::Create {
        name: NAME,
        kind: DbKind::Sqlite,
    };
    let raw = CatalogueOp::Create {
        name: NAME,
        kind: DbKind::Raw,
    };
    let fork = CatalogueOp::Fork {
        name: NAME,
        kind: DbKind::Raw,
        point,
    };
    let snapshot = CatalogueOp::Snapshot { name: NAME, point };
    let retention = CatalogueOp::Retention {
        window_us: 86_400_000_000,
        bytes: 1 << 30,
    };
    let ops = [
        ("create_sqlite", sqlite),
        ("create_raw", raw),
        ("rename", CatalogueOp::Rename { name: NAME }),
        ("drop", CatalogueOp::Drop { keep_us: 0 }),
        ("undrop", CatalogueOp::Undrop { name: NAME }),
        ("fork", fork),
        ("snapshot", snapshot),
        ("snapshot_drop", CatalogueOp::SnapshotDrop { name: NAME }),
        ("retention", retention),
        ("quota", CatalogueOp::Quota { bytes: 1 << 40 }),
        ("adopt", CatalogueOp::Adopt { from: DbId::new(3) }),
    ];
    let entry = |op| CatalogueEntry {
        database: DbId::new(7),
        parent: Lsn::new(0x1008),
        op,
    };
    ops.into_iter()
        .map(|(name, op)| (name, encode_catalogue(&[entry(op)]).unwrap()))
        .collect()
}

fn log_records() -> Vec<(&'static str, EncodedRecord)> {
    let database = DbId::new(12);
    let entry = |kind, index, term, old, payload| EntrySpec {
        kind,
        index,
        term,
        old: Lsn::new(old),
        hash: entry_hash(database, kind, index, term, payload),
        payload,
    };
    let log = |database, entries| LogSpec {
        database,
        parent: Lsn::new(0x4008),
        first: 90,
        first_term: 4,
        next: 102,
        vote: Lsn::new(0x2088),
        entries,
    };
    let one = |index, payload: &'static [u8]| entry(EntryKind::Entry, index, 5, 0, payload);
    let appended = vec![one(100, b"payload"), one(101, b"")];
    let voted = vec![entry(EntryKind::Vote, 0, 0, 0, b"node 1")];
    let moved = vec![
        entry(EntryKind::Entry, 100, 5, 0x4090, b"payload"),
        entry(EntryKind::Vote, 0, 0, 0x2088, b"node 1"),
    ];
    let relocated = [log(database, moved), log(DbId::new(13), Vec::new())];
    let made = [
        ("append", RecordKind::Append, &[log(database, appended)][..]),
        (
            "truncate",
            RecordKind::Truncate,
            &[log(database, Vec::new())],
        ),
        ("purge", RecordKind::Purge, &[log(database, Vec::new())]),
        ("vote", RecordKind::Vote, &[log(database, voted)]),
        ("relocate", RecordKind::Relocate, &relocated),
    ];
    let encode = |(name, kind, logs)| (name, encode_logs(kind, logs).unwrap());
    made.into_iter().map(encode).collect()
}

/// A segment of three batches: an open note, all records but the last two, a close record.
fn segment() -> Vec<u8> {
    let stamped = Stamped {
        identity: IDENTITY,
        capacity_bytes: CAPACITY,
    };
    let activated = Activated {
        epoch: Epoch::new(6),
        base_lsn: Lsn::new(0x10_0000),
        last_time_us: 1_700_000_000_000_000,
        predecessor: Some(Predecessor {
            segment: SegmentId::new(3),
            end: Lsn::new(0xf_f000),
            hash: ChainHash::new(0xabcd),
        }),
    };
    let (activation, _) = activated.encode(&IDENTITY);
    let mut blocks = vec![stamped.encode(), activation, activation];
    let records: Vec<EncodedRecord> = records().into_iter().map(|(_, record)| record).collect();
    let note = encode_note(NoteKind::Open).unwrap();
    let (close, others) = (&records[records.len() - 2], &records[..records.len() - 2]);
    let batches = [vec![&note], others.iter().collect::<Vec<_>>(), vec![close]];
    let (mut lsn, mut time_us) = (activated.base_lsn, activated.last_time_us);
    for batch in batches {
        let entry = |record| {
            time_us += 1;
            BatchEntry { record, time_us }
        };
        let entries: Vec<BatchEntry<'_>> = batch.into_iter().map(entry).collect();
        let place = BatchPlace {
            lsn,
            epoch: Epoch::new(6),
            durable: lsn,
        };
        let mut out = Vec::new();
        lsn = encode_batch(&IDENTITY, &place, &entries, &mut out)
            .unwrap()
            .end;
        blocks.extend(out);
    }
    let mut bytes = blocks.as_bytes().to_vec();
    assert!(bytes.len() < CAPACITY as usize, "{}", bytes.len());
    bytes.resize(CAPACITY as usize, 0);
    bytes
}
