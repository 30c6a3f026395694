//! Chunks on the simulated disk: what is written is read back, and nothing else ever is.

mod batches;
mod copies;
mod crash;
mod damage;
mod history;
mod patched;
mod roundtrip;
mod runs;

use super::*;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
use crate::io::{Disk, layout};
use crate::testing::{SimDisk, SplitMix64};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STORE: StoreId = StoreId::new([0xb0; 16]);
const CHUNK: ChunkId = ChunkId::new(7);

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

/// An empty disk with the directories that a chunk needs.
fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    for dir in [layout::SCRATCH_DIR, layout::CHUNK_DIR] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("")).unwrap();
    disk
}

fn writer(disk: &SimDisk) -> ChunkWriter {
    writer_by(disk, Compression::Lz4)
}

fn writer_by(disk: &SimDisk, compression: Compression) -> ChunkWriter {
    ChunkWriter::create(Arc::new(disk.clone()), STORE, CHUNK, compression).unwrap()
}

fn open(disk: &SimDisk) -> Result<ChunkReader, crate::error::ReadError> {
    ChunkReader::open(disk, STORE, CHUNK, None)
}

fn file() -> PathBuf {
    layout::chunk(CHUNK)
}

/// A base section of range 0, up to page 100 and Lsn 1000.
fn meta(database: u64, page_size: PageSize) -> SectionMeta {
    SectionMeta {
        kind: SectionKind::Base,
        database: DbId::new(database),
        generation: Generation::new(3),
        cut: Lsn::new(1000),
        since: Lsn::ZERO,
        range: 0,
        first_page: PageNo::FIRST,
        pages: 100,
        page_size,
        page_count: 100,
        page_count_min: 60,
        inherited: 0,
        rolling_checksum: RollingChecksum::new(0x5eed),
    }
}

/// A page that no compressor makes smaller.
fn noise(seed: u64, page_size: PageSize) -> Vec<u8> {
    let mut page = vec![0; page_size.bytes()];
    SplitMix64::new(seed).fill(&mut page);
    page
}

/// A page that every compressor makes small.
fn text(seed: u64, page_size: PageSize) -> Vec<u8> {
    let mut content = b"all work and no play ".repeat(page_size.bytes() / 21 + 1);
    content.truncate(page_size.bytes());
    content[..8].copy_from_slice(&seed.to_le_bytes());
    content
}

fn push(writer: &mut ChunkWriter, raw: u32, version: u64, content: &[u8]) {
    let hash = PageHash::of(page(raw), content);
    let pushed = writer.push_page(page(raw), Lsn::new(version), hash, content);
    pushed.unwrap_or_else(|error| panic!("page {raw}: {error}"));
}

/// Two databases and the catalogue: 5 pages that are packed, 2 in blocks of their own.
fn small_chunk(disk: &SimDisk) -> FinishedChunk {
    let mut writer = writer(disk);
    let size = PageSize::DEFAULT;
    writer.begin_section(meta(1, size)).unwrap();
    push(&mut writer, 1, 10, &text(1, size));
    push(&mut writer, 2, 20, &noise(2, size));
    push(&mut writer, 9, 30, &noise(9, size));
    writer.end_section().unwrap();
    let size = PageSize::MIN;
    writer.begin_section(meta(2, size)).unwrap();
    for raw in 1..=4 {
        push(&mut writer, raw, 5, &noise(raw.into(), size));
    }
    writer.end_section().unwrap();
    let generation = Generation::new(3);
    writer
        .catalogue_section(generation, Lsn::new(1000), b"names of databases")
        .unwrap();
    writer.finish().unwrap()
}
