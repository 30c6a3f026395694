//! What the pieces of a commit cost, without a device: a commit on a disk in memory, making its
//! record, making its batch, its checksums, and reading the log's tail back.
//!
//! `cargo bench -p bop-storage`. What a commit costs on a device: `cargo xtask bench`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nobody to tell"
)]

use bop_storage::checksum::{PageHash, RollingChecksum, crc64};
use bop_storage::ids::{DbId, Epoch, Incarnation, Lsn, PageNo, PageSize, SegmentId, StoreId};
use bop_storage::io::{Block, Disk, OpenMode};
use bop_storage::log::format::record::Encoding;
use bop_storage::log::format::{
    BatchEntry, BatchPlace, DATA_START, EncodedRecord, FragmentPart, MemberSpec, PageImage,
    SegmentIdentity, encode_batch, encode_pages,
};
use bop_storage::log::scan::{Manner, SegmentSpace, scan_segment};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{SimDisk, SplitMix64};
use bop_storage::{DbKind, Limits, Manager, Options};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PAGE: usize = 4096;
/// Records of one batch: as many as there are writers at once.
const RECORDS: usize = 64;
/// Bytes of the segment that is scanned.
const SEGMENT_BYTES: u64 = 4 << 20;
const EPOCH: Epoch = Epoch::new(1);
const IDENTITY: SegmentIdentity = SegmentIdentity {
    store: StoreId::new([7; 16]),
    segment: SegmentId::new(1),
    incarnation: Incarnation::new(1),
};

fn random_page(random: &mut SplitMix64) -> Vec<u8> {
    let numbers = (0..PAGE / 8).flat_map(|_| random.next_u64().to_le_bytes());
    numbers.collect()
}

/// One commit of one page.
fn record(database: u64, content: &[u8]) -> EncodedRecord {
    let page = PageNo::new(2).unwrap();
    let pages = [PageImage {
        page,
        hash: PageHash::of(page, content),
        encoding: Encoding::Raw,
        content,
    }];
    let member = MemberSpec {
        database: DbId::new(database),
        parent: Lsn::new(40),
        rolling: RollingChecksum::new(5),
        page_count: 9,
        page_count_min: 9,
        page_size: PageSize::DEFAULT,
        pages: &pages,
    };
    encode_pages(FragmentPart::Whole, &[member]).unwrap()
}

fn records() -> Vec<EncodedRecord> {
    let mut random = SplitMix64::new(1);
    (1..=RECORDS as u64)
        .map(|database| record(database, &random_page(&mut random)))
        .collect()
}

/// Makes a batch of all `records` at `lsn`; its end.
fn batch(records: &[EncodedRecord], lsn: Lsn, out: &mut Vec<Block>) -> Lsn {
    let entries: Vec<_> = records
        .iter()
        .map(|record| BatchEntry { record, time_us: 1 })
        .collect();
    let place = BatchPlace {
        lsn,
        epoch: EPOCH,
        durable: lsn,
    };
    encode_batch(&IDENTITY, &place, &entries, out).unwrap().end
}

/// A whole commit of one page, from `begin_write` to the published view.
fn append(c: &mut Criterion) {
    let mut limits = Limits::default();
    limits.segment_bytes_max = 4 << 20;
    limits.log_bytes_max = 64 << 20;
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let options = Options::new()
        .limits(limits)
        .disk(Arc::new(disk), Arc::new(manifest));
    let store = Manager::open("memory", options).unwrap();
    let database = store.create_database("bench", DbKind::Raw).unwrap();
    let mut random = SplitMix64::new(1);
    let pages: Vec<Vec<u8>> = (0..RECORDS).map(|_| random_page(&mut random)).collect();
    let mut turn = 0;
    c.bench_function("append: a commit of one page, disk in memory", |b| {
        b.iter(|| {
            let mut txn = database.begin_write(Duration::from_secs(30)).unwrap();
            let number = u32::try_from(turn % 256 + 1).unwrap();
            let content = &pages[turn % pages.len()];
            txn.write_page(PageNo::new(number).unwrap(), content)
                .unwrap();
            txn.commit().unwrap();
            turn += 1;
        });
    });
    store.close(Duration::from_secs(30)).unwrap();
}

fn encode(c: &mut Criterion) {
    let content = random_page(&mut SplitMix64::new(1));
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(PAGE as u64));
    group.bench_function("the record of one page", |b| {
        b.iter(|| record(1, black_box(&content)));
    });
    let (records, mut out) = (records(), Vec::new());
    group.throughput(Throughput::Bytes((RECORDS * PAGE) as u64));
    group.bench_function("a batch of 64 records", |b| {
        b.iter(|| batch(black_box(&records), Lsn::new(4096), &mut out));
    });
    group.finish();
}

fn checksum(c: &mut Criterion) {
    let content = random_page(&mut SplitMix64::new(1));
    let page = PageNo::new(2).unwrap();
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(PAGE as u64));
    group.bench_function("the hash of a page", |b| {
        b.iter(|| PageHash::of(page, black_box(&content)));
    });
    group.bench_function("CRC-64 of a page", |b| {
        b.iter(|| crc64(black_box(&content)));
    });
    group.finish();
}

/// Reads back a segment that is full of batches, as an open after a crash does.
fn tail_scan(c: &mut Criterion) {
    let disk = SimDisk::new(1);
    let file = disk
        .open(Path::new("segment"), OpenMode::CreateNew)
        .unwrap();
    file.allocate(SEGMENT_BYTES).unwrap();
    let base = Lsn::new(4096);
    let space = SegmentSpace {
        identity: IDENTITY,
        base,
        capacity_bytes: SEGMENT_BYTES,
        epoch: EPOCH,
    };
    let (records, mut out, mut at, mut batches) = (records(), Vec::new(), base, 0);
    loop {
        let end = batch(&records, at, &mut out);
        if space.limit() < end {
            break;
        }
        file.write_durable_at(space.offset(at), &out).unwrap();
        (at, batches) = (end, batches + 1);
    }
    assert!(DATA_START < space.offset(at));
    let mut group = c.benchmark_group("tail scan");
    group.throughput(Throughput::Bytes(space.offset(at) - DATA_START));
    group.bench_function("a segment of 4 MiB, one page a record", |b| {
        b.iter(|| {
            let manner = Manner {
                keep: &|_| (),
                images: false,
            };
            let scanned = scan_segment(Arc::clone(&file), &space, at, manner).unwrap();
            assert_eq!(scanned.spans.len(), batches);
        });
    });
    group.finish();
}

criterion_group!(benches, append, encode, checksum, tail_scan);
criterion_main!(benches);
