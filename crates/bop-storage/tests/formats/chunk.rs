//! A chunk of each version of the format: all must be read for ever, and as long as
//! the format is version 3 the writer must write these very bytes.
//!
//! `BOP_GOLDEN_BUMP=1` writes the file of version 3 when it is not there; a file that is there is never changed.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use bop_storage::checksum::{PageHash, RollingChecksum};
use bop_storage::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use bop_storage::io::{Disk, layout};
use bop_storage::pagestore::format::{
    CHUNK_FORMAT_VERSION, CHUNK_MAGIC, ChunkFooter, ChunkHeader, FOOTER_MAGIC, SectionEntry,
};
use bop_storage::pagestore::{
    ChunkReader, ChunkWriter, Compression, FinishedChunk, HistoryPoint, SectionKind, SectionMeta,
    SectionRef,
};
use bop_storage::testing::SimDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::FromBytes;

const STORE: StoreId = StoreId::new(*b"golden store id.");
const CHUNK: ChunkId = ChunkId::new(0x2a);

fn golden(version: u32) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    directory.join(format!("v{version}/chunk.bin"))
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    for dir in [layout::SCRATCH_DIR, layout::CHUNK_DIR] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk
}

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

/// Compresses to almost nothing.
fn even(byte: u8, size: PageSize) -> Vec<u8> {
    vec![byte; size.bytes()]
}

/// Does not compress: no three bytes of it come twice.
fn uneven(size: PageSize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.bytes() / 8).flat_map(|_| next()).collect()
}

fn meta(kind: SectionKind, database: u64, page_size: PageSize) -> SectionMeta {
    SectionMeta {
        kind,
        database: DbId::new(database),
        generation: Generation::new(5),
        cut: Lsn::new(0x9000),
        since: Lsn::new(0x0fff),
        range: 2,
        first_page: page(33),
        pages: 16,
        page_size,
        page_count: 40,
        page_count_min: 38,
        inherited: 37,
        rolling_checksum: RollingChecksum::new(0x0123_4567_89ab_cdef),
    }
}

/// A history is of all pages.
fn history_meta() -> SectionMeta {
    SectionMeta {
        range: 0,
        first_page: PageNo::FIRST,
        pages: SectionMeta::ALL_PAGES,
        ..meta(SectionKind::History, 2, PageSize::MIN)
    }
}

/// What is known of a section of version 1.
fn first(meta: SectionMeta) -> SectionMeta {
    SectionMeta {
        since: Lsn::ZERO,
        page_count_min: meta.page_count,
        inherited: 0,
        ..meta
    }
}

fn commits() -> [HistoryPoint; 3] {
    let point = |lsn, time_us, page_count_min, readable| HistoryPoint {
        lsn: Lsn::new(lsn),
        time_us,
        page_count: 39,
        page_count_min,
        rolling_checksum: RollingChecksum::new(lsn * 3),
        readable,
        follows: readable,
    };
    let head = meta(SectionKind::History, 2, PageSize::MIN);
    let last = HistoryPoint {
        page_count: head.page_count,
        rolling_checksum: head.rolling_checksum,
        ..point(0x9000, 3_000_000, 39, true)
    };
    let cut = point(0x3000, 1_000_000, 38, false);
    [cut, point(0x4000, 2_000_000, 39, true), last]
}

/// Noise, of which a later version has changed a little.
fn changed(size: PageSize) -> Vec<u8> {
    let mut content = uneven(size);
    content[100..104].copy_from_slice(b"runs");
    content[511] ^= 0xff;
    content
}

/// The pages of each section in the newest version: page, version, content. Older ones had no patches.
fn pages() -> [Vec<(u32, u64, Vec<u8>)>; 3] {
    let (small, usual) = (PageSize::MIN, PageSize::DEFAULT);
    [
        vec![
            (33, 0x1000, even(0x11, usual)),
            (34, 0x2000, uneven(usual)),
            (40, 0x9000, even(0x40, usual)),
        ],
        vec![(35, 0x5000, uneven(small)), (36, 0x5000, even(0x36, small))],
        vec![
            (35, 0x3000, even(0x31, small)),
            (35, 0x4000, uneven(small)),
            (35, 0x5000, changed(small)),
        ],
    ]
}

fn write(disk: &SimDisk) -> FinishedChunk {
    let metas = [
        meta(SectionKind::Base, 1, PageSize::DEFAULT),
        meta(SectionKind::Delta, 2, PageSize::MIN),
        history_meta(),
    ];
    let mut writer =
        ChunkWriter::create(Arc::new(disk.clone()), STORE, CHUNK, Compression::Lz4).unwrap();
    for (meta, pages) in metas.into_iter().zip(pages()) {
        writer.begin_section(meta).unwrap();
        for (raw, version, content) in pages {
            let hash = PageHash::of(page(raw), &content);
            writer
                .push_page(page(raw), Lsn::new(version), hash, &content)
                .unwrap();
        }
        match meta.kind {
            SectionKind::History => writer.end_history(&commits()).unwrap(),
            _ => writer.end_section().unwrap(),
        };
    }
    writer
        .catalogue_section(Generation::new(5), Lsn::new(0x8000), b"the catalogue")
        .unwrap();
    writer.finish().unwrap()
}

fn stored(version: u32) -> Vec<u8> {
    let path = golden(version);
    if version == CHUNK_FORMAT_VERSION
        && !path.exists()
        && std::env::var_os("BOP_GOLDEN_BUMP").is_some()
    {
        let disk = disk();
        write(&disk);
        std::fs::write(&path, disk.read_raw(&layout::chunk(CHUNK))).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(version: u32) -> ChunkReader {
    let disk = disk();
    disk.write_raw(&layout::chunk(CHUNK), &stored(version));
    let reader = ChunkReader::open(&disk, STORE, CHUNK, None).unwrap();
    assert_eq!(reader.format_version(), version);
    assert_eq!(reader.verify_all(), []);
    reader
}

fn assert_pages(reader: &ChunkReader, metas: [SectionMeta; 3]) {
    let kinds: Vec<_> = reader.sections().iter().map(|s| s.section.kind()).collect();
    assert_eq!(
        kinds,
        [
            SectionKind::Base,
            SectionKind::Delta,
            SectionKind::History,
            SectionKind::Catalogue
        ]
    );
    let found = reader.sections().iter().filter_map(SectionRef::meta);
    let found: Vec<SectionMeta> = found.copied().collect();
    assert_eq!(found, metas);
    for (section, pages) in (0..2).zip(pages()) {
        for (raw, version, content) in pages {
            let found = reader.read_page(section, page(raw)).unwrap().unwrap();
            assert_eq!(found.version, Lsn::new(version));
            assert!(*found.content == *content, "page {raw}");
        }
    }
    assert_eq!(reader.read_page(0, page(35)).unwrap(), None);
    assert_eq!(reader.payload(3).unwrap(), b"the catalogue");
}

#[test]
fn a_chunk_of_version_1_is_read() {
    let metas = [
        meta(SectionKind::Base, 1, PageSize::DEFAULT),
        meta(SectionKind::Delta, 2, PageSize::MIN),
        meta(SectionKind::History, 2, PageSize::MIN),
    ];
    let reader = read(1);
    assert_pages(&reader, metas.map(first));
    // Two commits of 32 bytes, as no program ever wrote them.
    assert_eq!(reader.payload(2).unwrap().len(), 64);
    assert!(reader.history(2).is_err());
}

#[test]
fn a_chunk_of_version_2_is_read() {
    assert_chunk(&read(2), 2);
}

#[test]
fn a_chunk_of_version_3_is_read() {
    assert_chunk(&read(3), 3);
}

/// All that is in a chunk since version 2, with the first `versions` versions of page 35.
fn assert_chunk(reader: &ChunkReader, versions: usize) {
    let delta = meta(SectionKind::Delta, 2, PageSize::MIN);
    let base = meta(SectionKind::Base, 1, PageSize::DEFAULT);
    assert_pages(reader, [base, delta, history_meta()]);
    assert_eq!(*reader.history(2).unwrap(), commits());
    assert_history(reader, versions);
}

/// The first `count` versions of page 35 are there, and no other one.
fn assert_history(reader: &ChunkReader, count: usize) {
    let [_, _, versions] = pages();
    assert_eq!(reader.pages(2).unwrap().len(), count);
    for (raw, version, content) in versions.into_iter().take(count) {
        let at = Lsn::new(version + 0xfff);
        let found = reader.read_at(2, page(raw), at).unwrap().unwrap();
        assert_eq!(found.version, Lsn::new(version));
        assert!(*found.content == *content, "version {version:x}");
    }
}

#[test]
fn a_chunk_of_version_3_is_still_written_the_same() {
    let disk = disk();
    let chunk = write(&disk);
    let written = disk.read_raw(&layout::chunk(CHUNK));
    assert_eq!(chunk.bytes, written.len() as u64);
    assert!(
        written == stored(CHUNK_FORMAT_VERSION),
        "the format changed without a new version"
    );
}

/// The frame, field by field, without the reader.
#[test]
fn the_frame_of_a_chunk_is_where_it_was() {
    (1..=CHUNK_FORMAT_VERSION).for_each(frame_is_where_it_was);
}

fn frame_is_where_it_was(version: u32) {
    let bytes = stored(version);
    let (header, _) = ChunkHeader::ref_from_prefix(&bytes).unwrap();
    assert_eq!(header.magic, CHUNK_MAGIC);
    assert_eq!(header.format_version.get(), version);
    assert_eq!(header.store_id, *STORE.bytes());
    assert_eq!(header.chunk_id.get(), CHUNK.get());
    let (_, footer) = ChunkFooter::ref_from_suffix(&bytes).unwrap();
    assert_eq!(footer.magic, FOOTER_MAGIC);
    assert_eq!(footer.chunk_bytes.get(), bytes.len() as u64);
    assert_eq!(footer.sections.get(), 4);
    let directory = usize::try_from(footer.directory_offset.get()).unwrap();
    let (entries, _) =
        <[SectionEntry]>::ref_from_prefix_with_elems(&bytes[directory..], 4).unwrap();
    let codes: Vec<u16> = entries.iter().map(|entry| entry.kind.get()).collect();
    assert_eq!(codes, [1, 2, 3, 4]);
    assert_eq!(entries[0].first_page.get(), 33);
    assert_eq!(entries[0].cut_lsn.get(), 0x9000);
}
