//! What is written is read back.

use super::*;
use crate::buffer::Buffer;
use crate::error::CheckpointError;
use crate::io::BLOCK_BYTES;
use crate::lz4;
use crate::view::Packing;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn a_pack_of_two_databases_and_the_catalogue_reads_back() {
    let disk = disk();
    let chunk = small_chunk(&disk);
    let identity = ChunkIdentity {
        bytes: chunk.bytes,
        digest: chunk.digest,
    };
    let reader = ChunkReader::open(&disk, STORE, CHUNK, Some(&identity)).unwrap();
    assert_eq!(reader.id(), CHUNK);
    assert_eq!(reader.identity(), identity);
    assert_eq!(reader.sections(), chunk.sections);
    assert_eq!(
        reader.sections()[0].meta(),
        Some(&meta(1, PageSize::DEFAULT))
    );

    let found = reader.read_page(0, page(9)).unwrap().unwrap();
    assert_eq!(*found.content, *noise(9, PageSize::DEFAULT));
    assert_eq!(found.version, Lsn::new(30));
    let hash = reader.page_hash(0, page(9)).unwrap();
    assert_eq!(hash, Some((found.hash, found.version)));
    assert_eq!(reader.read_page(0, page(3)).unwrap(), None, "never written");
    let found = reader.read_page(1, page(4)).unwrap().unwrap();
    assert_eq!(*found.content, *noise(4, PageSize::MIN));
    assert_eq!(reader.payload(2).unwrap(), b"names of databases");
    assert_eq!(reader.verify_all(), []);
}

#[test]
fn an_index_is_read_at_the_first_page_and_can_be_let_go() {
    let disk = disk();
    small_chunk(&disk);
    let reader = open(&disk).unwrap();
    assert_eq!(reader.resident_bytes(), 0);
    reader.read_page(0, page(1)).unwrap();
    assert_eq!(reader.resident_bytes(), 3 * 48);
    let reads = disk.read_count();
    reader.page_hash(0, page(2)).unwrap();
    assert_eq!(disk.read_count(), reads, "the index is in memory");
    reader.release_indexes();
    assert_eq!(reader.resident_bytes(), 0);
    assert_eq!(reader.pages(0).unwrap().len(), 3);
}

/// Which way it was compressed each body says itself; one that gains nothing by it is the page.
#[test]
fn each_page_is_read_whichever_way_it_was_compressed() {
    let size = PageSize::DEFAULT;
    for compression in [
        Compression::Off,
        Compression::Lz4,
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: 255 },
    ] {
        let disk = disk();
        let mut writer = writer_by(&disk, compression);
        writer.begin_section(meta(1, size)).unwrap();
        push(&mut writer, 1, 1, &text(1, size));
        push(&mut writer, 2, 1, &noise(2, size));
        let (second, content) = (page(3), text(3, size));
        let block = lz4::Compressor::new(size.bytes())
            .compress(&content)
            .map(Buffer::copy_of);
        let hash = PageHash::of(second, &content);
        let packing = Packing::Lz4(block.unwrap());
        writer
            .push_packed(second, Lsn::new(1), hash, &content, &packing)
            .unwrap();
        writer.end_section().unwrap();
        writer.finish().unwrap();
        let reader = open(&disk).unwrap();
        for (raw, content) in [(1, text(1, size)), (2, noise(2, size)), (3, text(3, size))] {
            let found = reader.read_page(0, page(raw)).unwrap().unwrap();
            assert_eq!(*found.content, *content, "page {raw}, {compression}");
        }
        assert_eq!(reader.verify_all(), []);
    }
}

/// A page of whole blocks is one aligned read; a compressed one costs what it has.
#[test]
fn raw_pages_start_at_blocks_and_small_ones_are_packed() {
    let disk = disk();
    let size = PageSize::new(8192).unwrap();
    let mut writer = writer(&disk);
    writer.begin_section(meta(1, size)).unwrap();
    push(&mut writer, 1, 1, &text(1, size));
    push(&mut writer, 2, 1, &text(2, size));
    let packed = writer.bytes();
    assert!(packed < (2 * BLOCK_BYTES) as u64, "{packed}");
    push(&mut writer, 3, 1, &noise(3, size));
    assert_eq!(writer.bytes(), (4 * BLOCK_BYTES) as u64);
    writer.end_section().unwrap();
    writer.finish().unwrap();
    let reader = open(&disk).unwrap();
    let reads = disk.read_count();
    reader.read_page(0, page(3)).unwrap();
    assert_eq!(disk.read_count() - reads, 2, "the index and the page");
    assert_eq!(reader.verify_all(), []);
}

/// The writer refuses what would make the chunk lie, and what it has so far stays good.
#[test]
fn what_contradicts_the_section_is_refused() {
    let disk = disk();
    let size = PageSize::DEFAULT;
    let content = text(1, size);
    let mut writer = writer(&disk);
    let mut refused = |raw: u32, version: u64, hash_of: u32, content: &[u8], begin: bool| {
        if begin {
            writer.begin_section(meta(1, size)).unwrap();
            push(&mut writer, 50, 1, &text(50, size));
        }
        let hash = PageHash::of(page(hash_of), content);
        match writer.push_page(page(raw), Lsn::new(version), hash, content) {
            Err(CheckpointError::Invalid(reason)) => reason,
            other => panic!("page {raw} at {version}: {other:?}"),
        }
    };
    let reasons = [
        refused(1, 1, 1, &content, false),
        refused(49, 1, 49, &content, true),
        refused(50, 2, 50, &content, false),
        refused(101, 1, 101, &content, false),
        refused(60, 1001, 60, &content, false),
        refused(60, 1, 61, &content, false),
        refused(60, 1, 60, &content[1..], false),
    ];
    assert_eq!(
        reasons,
        [
            "a page outside of any section",
            "pages do not ascend",
            "pages do not ascend",
            "a page outside of its range",
            "a page newer than its section",
            "a page does not have its hash",
            "a page of another size",
        ]
    );
    assert!(writer.begin_section(meta(2, size)).is_err(), "one is open");
    writer.end_section().unwrap();
    assert!(writer.end_section().is_err(), "none is open");
    writer.finish().unwrap();
    let reader = open(&disk).unwrap();
    assert_eq!(reader.pages(0).unwrap().len(), 1);
    assert_eq!(reader.verify_all(), []);
}

#[test]
fn a_chunk_without_pages_is_sound() {
    let disk = disk();
    let mut writer = writer(&disk);
    writer.begin_section(meta(1, PageSize::DEFAULT)).unwrap();
    writer.end_section().unwrap();
    writer.finish().unwrap();
    let reader = open(&disk).unwrap();
    assert_eq!(reader.read_page(0, page(1)).unwrap(), None);
    assert_eq!(reader.verify_all(), []);
}

/// One page of a generated section.
#[derive(Clone, Debug)]
struct Page {
    version: u64,
    seed: u64,
    compressible: bool,
}

fn sections() -> impl Strategy<Value = Vec<(u32, BTreeMap<u32, Page>)>> {
    let page =
        (1..1000_u64, any::<u64>(), any::<bool>()).prop_map(|(version, seed, compressible)| Page {
            version,
            seed,
            compressible,
        });
    let pages = prop::collection::btree_map(1..=100_u32, page, 0..40);
    prop::collection::vec((9..=16_u32, pages), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any mix of page sizes, holes and compressible pages comes back, whatever the buffer's and
    /// the blocks' borders cut through.
    #[test]
    fn whatever_is_written_comes_back(sections in sections()) {
        let disk = disk();
        let mut writer = writer(&disk);
        let content = |page: &Page, size| match page.compressible {
            true => text(page.seed, size),
            false => noise(page.seed, size),
        };
        for (nth, (shift, pages)) in (0..).zip(&sections) {
            let size = PageSize::new(1 << shift).unwrap();
            writer.begin_section(meta(nth, size)).unwrap();
            for (raw, page) in pages {
                push(&mut writer, *raw, page.version, &content(page, size));
            }
            writer.end_section().unwrap();
        }
        let chunk = writer.finish().unwrap();
        let reader = open(&disk).unwrap();
        prop_assert_eq!(reader.sections(), &chunk.sections[..]);
        for (nth, (shift, pages)) in (0..).zip(&sections) {
            let size = PageSize::new(1 << shift).unwrap();
            for raw in 1..=100 {
                let found = reader.read_page(nth, page(raw)).unwrap();
                let found = found.map(|found| (found.version.get(), found.content.to_vec()));
                let written = pages.get(&raw).map(|p| (p.version, content(p, size)));
                prop_assert!(found == written, "section {} page {}", nth, raw);
            }
        }
        prop_assert_eq!(reader.verify_all(), []);
    }
}
