//! Two generations of a database with a chain, read page by page.

use super::*;
use crate::checksum::RollingChecksum;
use crate::db::page_hashes::PageHashes;
use crate::ids::PageSize;
use crate::ids::{DbKind, StoreId};
use crate::io::{Disk, layout};
use crate::manifest::{
    CheckpointedHead, DatabaseRow, DatabaseState, GenerationRow, Manifest, MemoryManifest, Policy,
    RangeKey,
};
use crate::name::DbName;
use crate::pagestore::{ChunkWriter, Compression, FinishedChunk, SectionKind, SectionMeta};
use crate::testing::SimDisk;
use std::path::Path;

const STORE: StoreId = StoreId::new([3; 16]);
const ID: DbId = DbId::new(4);
const SIZE: PageSize = PageSize::MIN;
/// Four pages a range.
const RANGE_BYTES: u64 = 4 * SIZE.get() as u64;

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

fn content(raw: u32, version: u64) -> Vec<u8> {
    let mut content = vec![u8::try_from(raw).unwrap(); SIZE.bytes()];
    content[..8].copy_from_slice(&version.to_le_bytes());
    content
}

fn hash(raw: u32, version: u64) -> PageHash {
    PageHash::of(page(raw), &content(raw, version))
}

/// A chunk of one generation; each section: kind, range, pages that it has.
fn chunk(disk: &SimDisk, nth: u64, sections: &[(SectionKind, u32, &[u32])]) -> FinishedChunk {
    let mut writer = ChunkWriter::create(
        Arc::new(disk.clone()),
        STORE,
        ChunkId::new(nth),
        Compression::Lz4,
    )
    .unwrap();
    for (kind, range, pages) in sections {
        let meta = SectionMeta {
            kind: *kind,
            database: ID,
            generation: Generation::new(nth),
            cut: Lsn::new(10 * nth),
            since: Lsn::new(10 * (nth - 1)),
            range: *range,
            first_page: page(range * 4 + 1),
            pages: 4,
            page_size: SIZE,
            page_count: 8,
            page_count_min: 3,
            inherited: 0,
            rolling_checksum: RollingChecksum::EMPTY,
        };
        writer.begin_section(meta).unwrap();
        for raw in *pages {
            let (hash, content) = (hash(*raw, 10 * nth), content(*raw, 10 * nth));
            writer
                .push_page(page(*raw), Lsn::new(10 * nth), hash, &content)
                .unwrap();
        }
        writer.end_section().unwrap();
    }
    writer.finish().unwrap()
}

fn link(chunk: &FinishedChunk, section: u32, pages: u32, kind: LinkKind) -> RangeLink {
    RangeLink {
        chunk: chunk.id,
        section,
        pages,
        bytes: chunk.sections[section as usize].file_bytes(),
        kind,
    }
}

/// Generation 1 has a base of pages 1 and 2; generation 2 a delta of page 2 on what is left of it, three
/// pages, and a delta of page 5 on nothing.
fn world() -> (SimDisk, Manifest) {
    let disk = SimDisk::new(1);
    for dir in [layout::SCRATCH_DIR, layout::CHUNK_DIR] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    let old = chunk(&disk, 1, &[(SectionKind::Base, 0, &[1, 2])]);
    let new = chunk(
        &disk,
        2,
        &[(SectionKind::Delta, 0, &[2]), (SectionKind::Delta, 1, &[5])],
    );
    let manifest = Manifest::initialize(Arc::new(MemoryManifest::new()), STORE).unwrap();
    let filled = manifest.transact(move |edit| {
        for chunk in [&old, &new] {
            let digest = u128::from_le_bytes(chunk.digest.to_bytes());
            edit.insert_chunk(chunk.id, chunk.bytes, digest)?;
        }
        let head = |nth| CheckpointedHead {
            generation: Generation::new(nth),
            lsn: Lsn::new(10 * nth),
            time_us: nth,
            page_count: 8,
            rolling_checksum: RollingChecksum::EMPTY,
        };
        let row = DatabaseRow {
            name: DbName::new("chained").unwrap(),
            kind: DbKind::Raw,
            state: DatabaseState::Live,
            page_size: Some(SIZE),
            created_us: 1,
            catalogue_lsn: Lsn::new(1),
            checkpointed: head(2),
            policy: Policy::default(),
            origin: None,
        };
        edit.put_database(ID, row)?;
        for nth in [1, 2] {
            let own = GenerationRow::of_head(&head(nth), Some(SIZE));
            edit.put_generation(ID, Generation::new(nth), own);
        }
        let key = |range, generation| RangeKey {
            database: ID,
            range,
            generation: Generation::new(generation),
        };
        let base = RangeRow::of(link(&old, 0, 4, LinkKind::Base));
        let chain = base.cut_to(3).with(link(&new, 0, 4, LinkKind::Delta));
        edit.put_range(key(0, 1), base);
        edit.put_range(key(0, 2), chain);
        edit.put_range(key(1, 2), RangeRow::of(link(&new, 1, 4, LinkKind::Delta)));
        Ok(())
    });
    filled.unwrap();
    (disk, manifest)
}

fn base(disk: &SimDisk, manifest: &Manifest, generation: u64) -> ChunkBase {
    let chunks = ChunkSet::new(Arc::new(disk.clone()), STORE, 8);
    let (rows, cache) = (manifest.state(), Arc::new(PageCache::new(1 << 20)));
    let ranges = Ranges::new(RANGE_BYTES, SIZE);
    ChunkBase::at(
        ID,
        Generation::new(generation),
        ranges,
        &rows,
        &chunks,
        cache,
    )
}

#[test]
fn the_newest_link_that_has_a_page_answers() {
    let (disk, manifest) = world();
    let wanted = |generation| -> [Lookup<u64>; 9] {
        let (found, never, not) = (Lookup::Found, Lookup::NeverWritten, Lookup::NotHere);
        match generation {
            1 => [found(10), found(10), never, never, not, not, not, not, not],
            _ => [
                found(10),
                found(20),
                never,
                not,
                found(20),
                not,
                not,
                not,
                not,
            ],
        }
    };
    for generation in [1, 2] {
        let base = base(&disk, &manifest, generation);
        for (raw, wanted) in (1..).zip(wanted(generation)) {
            let version = base.look_up_version(page(raw)).unwrap();
            let stored = base.look_up_stored(page(raw)).unwrap();
            let read = base.look_up(page(raw)).unwrap();
            let what = format!("page {raw} of generation {generation}");
            match wanted {
                Lookup::Found(lsn) => {
                    let hash = hash(raw, lsn);
                    assert_eq!(version, Lookup::Found((hash, Lsn::new(lsn))), "{what}");
                    let (stored, read) = (stored.found().unwrap(), read.found().unwrap());
                    assert_eq!(
                        (stored.hash, stored.version),
                        (hash, Lsn::new(lsn)),
                        "{what}"
                    );
                    assert!(*stored.content == *content(raw, lsn), "{what}");
                    assert!(*read == *content(raw, lsn), "{what}");
                }
                Lookup::NeverWritten => {
                    assert_eq!(version, Lookup::NeverWritten, "{what}");
                    assert!(matches!(stored, Lookup::NeverWritten), "{what}");
                    assert!(matches!(read, Lookup::NeverWritten), "{what}");
                    assert!(base.read(page(raw)).unwrap().is_none(), "{what}");
                }
                Lookup::NotHere => {
                    assert_eq!(version, Lookup::NotHere, "{what}");
                    assert!(matches!(stored, Lookup::NotHere), "{what}");
                    assert!(matches!(read, Lookup::NotHere), "{what}");
                    assert!(base.load(page(raw)).unwrap().is_none(), "{what}");
                }
            }
        }
    }
}

#[test]
fn what_is_in_memory_is_told_without_a_read() {
    let (disk, manifest) = world();
    let base = base(&disk, &manifest, 2);
    let before = disk.read_count();
    assert!(base.look_up_in_memory(page(2)).is_none(), "nothing is open");
    assert!(matches!(
        base.look_up_in_memory(page(9)),
        Some(Lookup::NotHere)
    ));
    assert_eq!(disk.read_count(), before);
    // Both indexes of the range.
    base.look_up(page(3)).unwrap();
    base.look_up(page(2)).unwrap();
    let before = disk.read_count();
    let found = base.look_up_in_memory(page(2)).and_then(Lookup::found);
    assert!(*found.unwrap() == *content(2, 20));
    assert!(base.look_up_in_memory(page(1)).is_none(), "on the device");
    let never = base.look_up_in_memory(page(3));
    assert!(matches!(never, Some(Lookup::NeverWritten)));
    assert!(matches!(
        base.look_up_in_memory(page(4)),
        Some(Lookup::NotHere)
    ));
    assert_eq!(disk.read_count(), before);
}

/// Sections are read in the order of their chunks, which is not that of the chain.
#[test]
fn the_hashes_of_a_chain_add_up_in_any_order() {
    let (disk, manifest) = world();
    let rows = manifest.state();
    let newest = rows
        .newest_ranges(ID)
        .map(|(range, row)| (range, row.clone()));
    let newest: Vec<(u32, RangeRow)> = newest.collect();
    let sections = [(1, 0), (2, 0), (2, 1)];
    let wanted = [hash(1, 10), hash(2, 20), hash(5, 20)];
    let wanted = wanted
        .into_iter()
        .fold(RollingChecksum::EMPTY, RollingChecksum::toggled);
    for order in [[0, 1, 2], [2, 1, 0]] {
        let mut hashes = PageHashes::of(rows.database(ID), &newest, RANGE_BYTES);
        for (chunk, section) in order.map(|nth: usize| sections[nth]) {
            let chunk = ChunkId::new(chunk);
            let reader = crate::pagestore::ChunkReader::open(&disk, STORE, chunk, None).unwrap();
            hashes.add(chunk, section, &reader);
        }
        assert_eq!(hashes.rolling(), wanted, "{order:?}");
    }
}
