//! A chunk written by the first version of the format: it must be read for ever, and as long as
//! the format is version 1 the writer must write these very bytes.
//!
//! `BOP_GOLDEN_BUMP=1` writes the file when it is not there; a file that is there is never changed.

#![allow(clippy::unwrap_used, reason = "a test: a panic is its failure")]

use bop_storage::checksum::{PageHash, RollingChecksum};
use bop_storage::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use bop_storage::io::{Disk, layout};
use bop_storage::pagestore::format::{
    CHUNK_FORMAT_VERSION, CHUNK_MAGIC, ChunkFooter, ChunkHeader, CommitPoint, FOOTER_MAGIC,
    SectionEntry,
};
use bop_storage::pagestore::{
    ChunkReader, ChunkWriter, FinishedChunk, SectionKind, SectionMeta, SectionRef,
};
use bop_storage::testing::SimDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

const STORE: StoreId = StoreId::new(*b"golden store id.");
const CHUNK: ChunkId = ChunkId::new(0x2a);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/chunk.bin")
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
        range: 2,
        first_page: page(33),
        pages: 16,
        page_size,
        page_count: 40,
        rolling_checksum: RollingChecksum::new(0x0123_4567_89ab_cdef),
    }
}

fn commits() -> [CommitPoint; 2] {
    [(0x3000, 1_000_000), (0x4000, 2_000_000)].map(|(lsn, time_us)| CommitPoint {
        lsn: U64::new(lsn),
        time_us: U64::new(time_us),
        rolling_checksum: U64::new(lsn * 3),
        page_count: U32::new(39),
        reserved: U32::ZERO,
    })
}

/// The pages of each section: page, version, content.
fn pages() -> [Vec<(u32, u64, Vec<u8>)>; 3] {
    let (small, usual) = (PageSize::MIN, PageSize::DEFAULT);
    [
        vec![
            (33, 0x1000, even(0x11, usual)),
            (34, 0x2000, uneven(usual)),
            (40, 0x9000, even(0x40, usual)),
        ],
        vec![(35, 0x5000, uneven(small)), (36, 0x5000, even(0x36, small))],
        vec![(35, 0x3000, even(0x31, small)), (35, 0x4000, uneven(small))],
    ]
}

fn write(disk: &SimDisk) -> FinishedChunk {
    let metas = [
        meta(SectionKind::Base, 1, PageSize::DEFAULT),
        meta(SectionKind::Delta, 2, PageSize::MIN),
        meta(SectionKind::History, 2, PageSize::MIN),
    ];
    let commits = commits();
    let payloads: [&[u8]; 3] = [&[], b"bitmap of 35, 36", commits.as_bytes()];
    let mut writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, CHUNK).unwrap();
    for ((meta, payload), pages) in metas.into_iter().zip(payloads).zip(pages()) {
        writer.begin_section(meta).unwrap();
        for (raw, version, content) in pages {
            let hash = PageHash::of(page(raw), &content);
            writer
                .push_page(page(raw), Lsn::new(version), hash, &content)
                .unwrap();
        }
        writer.end_section_with(payload).unwrap();
    }
    writer
        .catalogue_section(Generation::new(5), Lsn::new(0x8000), b"the catalogue")
        .unwrap();
    writer.finish().unwrap()
}

fn stored() -> Vec<u8> {
    let path = golden();
    if !path.exists() && std::env::var_os("BOP_GOLDEN_BUMP").is_some() {
        let disk = disk();
        write(&disk);
        std::fs::write(&path, disk.read_raw(&layout::chunk(CHUNK))).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_chunk_of_version_1_is_read() {
    let disk = disk();
    disk.write_raw(&layout::chunk(CHUNK), &stored());
    let reader = ChunkReader::open(&disk, STORE, CHUNK, None).unwrap();
    assert_eq!(reader.verify_all(), []);
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
    let metas: Vec<_> = reader
        .sections()
        .iter()
        .filter_map(SectionRef::meta)
        .collect();
    assert_eq!(*metas[0], meta(SectionKind::Base, 1, PageSize::DEFAULT));
    assert_eq!(*metas[1], meta(SectionKind::Delta, 2, PageSize::MIN));
    assert_eq!(*metas[2], meta(SectionKind::History, 2, PageSize::MIN));
    for (section, pages) in (0..2).zip(pages()) {
        for (raw, version, content) in pages {
            let found = reader.read_page(section, page(raw)).unwrap().unwrap();
            assert_eq!(found.version, Lsn::new(version));
            assert!(*found.content == *content, "page {raw}");
        }
    }
    assert_eq!(reader.read_page(0, page(35)).unwrap(), None);
    assert_eq!(reader.payload(2).unwrap(), commits().as_bytes());
    assert_eq!(reader.payload(3).unwrap(), b"the catalogue");
}

#[test]
fn a_chunk_of_version_1_is_still_written_the_same() {
    let disk = disk();
    let chunk = write(&disk);
    let written = disk.read_raw(&layout::chunk(CHUNK));
    assert_eq!(chunk.bytes, written.len() as u64);
    assert!(
        written == stored(),
        "the format changed without a new version"
    );
}

/// The frame, field by field, without the reader.
#[test]
fn the_frame_of_a_chunk_of_version_1_is_where_it_was() {
    let bytes = stored();
    let (header, _) = ChunkHeader::ref_from_prefix(&bytes).unwrap();
    assert_eq!(header.magic, CHUNK_MAGIC);
    assert_eq!(header.format_version.get(), 1);
    assert_eq!(CHUNK_FORMAT_VERSION, 1);
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
