//! Versions of a page in a history that are told as what they change.

use super::history::{history_meta, points};
use super::*;
use crate::error::{Damage, ReadError};
use crate::pagestore::format::{BodyEncoding, PATCHES_MAX, Slot};
use crate::pagestore::section_index;
use zerocopy::little_endian::{U32, U64};

/// A page and its versions: `PATCHES_MAX` patches rest on one, and three on the next.
const VERSIONS: u64 = PATCHES_MAX as u64 + 1 + 4;

/// The version `nth` of a page: noise, of which each version has changed a little.
fn version(raw: u32, nth: u64, size: PageSize) -> Vec<u8> {
    let mut content = noise(raw.into(), size);
    for change in 0..=nth as usize {
        let at = change * 37 % size.bytes();
        content[at] ^= 1 + change as u8;
    }
    content
}

/// A history with versions of pages 5 and 6, and one of page 7.
fn chunk(disk: &SimDisk, size: PageSize, compression: Compression) -> ChunkReader {
    let mut writer = writer_by(disk, compression);
    writer.begin_section(history_meta(size)).unwrap();
    for (raw, versions) in [(5, VERSIONS), (6, VERSIONS), (7, 1)] {
        for nth in 0..versions {
            push(&mut writer, raw, 200 + nth, &version(raw, nth, size));
        }
    }
    writer.end_history(&points()).unwrap();
    writer.finish().unwrap();
    open(disk).unwrap()
}

/// Reads and checks all versions; those that cannot be read.
fn unreadable(reader: &ChunkReader, size: PageSize) -> Vec<(u32, u64, Damage)> {
    let mut damaged = Vec::new();
    for (raw, versions) in [(5, VERSIONS), (6, VERSIONS), (7, 1)] {
        for nth in 0..versions {
            match reader.read_at(0, page(raw), Lsn::new(200 + nth)) {
                Ok(stored) => {
                    let stored = stored.unwrap();
                    assert_eq!(stored.version, Lsn::new(200 + nth));
                    assert!(*stored.content == *version(raw, nth, size), "{raw} {nth}");
                }
                Err(ReadError::Damaged(damage)) => damaged.push((raw, nth, damage)),
                Err(other) => panic!("{other}"),
            }
        }
    }
    damaged
}

/// The encodings of the versions of page 5.
fn encodings(reader: &ChunkReader) -> Vec<BodyEncoding> {
    let (_, index) = reader.index(0).unwrap();
    let slots = index.iter().take(VERSIONS as usize);
    slots
        .map(|(_, slot)| BodyEncoding::from_code(slot.encoding).unwrap())
        .collect()
}

#[test]
fn versions_of_a_page_are_patches_of_those_before_up_to_a_bound() {
    for size in [PageSize::MIN, PageSize::DEFAULT, PageSize::MAX] {
        let disk = disk();
        let reader = chunk(&disk, size, Compression::Lz4);
        let mut expected = vec![BodyEncoding::Patch; VERSIONS as usize];
        expected[0] = BodyEncoding::Raw;
        expected[PATCHES_MAX as usize + 1] = BodyEncoding::Raw;
        assert_eq!(encodings(&reader), expected);
        assert_eq!(unreadable(&reader, size), []);
        assert_eq!(reader.verify_all(), []);
        let before = disk.read_count();
        reader.read_at(0, page(6), Lsn::new(200 + 7)).unwrap();
        assert_eq!(disk.read_count() - before, 1, "one read for all of them");
    }
}

#[test]
fn whoever_wants_no_compression_has_no_patches_either() {
    let (disk, size) = (disk(), PageSize::DEFAULT);
    let reader = chunk(&disk, size, Compression::Off);
    assert_eq!(encodings(&reader), [BodyEncoding::Raw; VERSIONS as usize]);
    assert_eq!(unreadable(&reader, size), []);
}

#[test]
fn a_page_that_has_changed_by_half_is_whole() {
    let (disk, size) = (disk(), PageSize::DEFAULT);
    let mut writer = writer(&disk);
    writer.begin_section(history_meta(size)).unwrap();
    push(&mut writer, 5, 200, &noise(1, size));
    push(&mut writer, 5, 201, &noise(2, size));
    push(&mut writer, 5, 202, &noise(2, size));
    writer.end_history(&points()).unwrap();
    writer.finish().unwrap();
    let reader = open(&disk).unwrap();
    let (_, index) = reader.index(0).unwrap();
    let bodies: Vec<_> = index
        .iter()
        .map(|(_, slot)| slot.body_bytes.get())
        .collect();
    assert_eq!(
        bodies,
        [4096, 4096, 2],
        "one that changed nothing has no runs"
    );
    let same = reader.read_at(0, page(5), Lsn::new(202)).unwrap().unwrap();
    assert!(*same.content == *noise(2, size));
}

#[test]
fn versions_of_noise_are_compared_now_and_then_until_one_is_a_patch() {
    const NOISE: u64 = 20;
    let (disk, size) = (disk(), PageSize::DEFAULT);
    let mut writer = writer(&disk);
    writer.begin_section(history_meta(size)).unwrap();
    let content = |nth: u64| match nth.checked_sub(NOISE) {
        None => noise(100 + nth, size),
        Some(changes) => version(5, changes, size),
    };
    for nth in 0..NOISE + 20 {
        push(&mut writer, 5, 200 + nth, &content(nth));
    }
    writer.end_history(&points()).unwrap();
    writer.finish().unwrap();
    let reader = open(&disk).unwrap();
    let (_, index) = reader.index(0).unwrap();
    let is_patch = |slot: &Slot| slot.encoding == BodyEncoding::Patch as u8;
    let slots = index.iter().map(|(_, slot)| is_patch(slot));
    let slots: Vec<bool> = slots.collect();
    // The 25th that follows one is compared, and all from it on.
    let first = slots.iter().position(|is_patch| *is_patch);
    assert_eq!(first, Some(25));
    let patches = slots.iter().filter(|is_patch| **is_patch).count();
    assert_eq!(patches, 20 - 5 - 1, "one in eight is whole");
    for nth in 0..NOISE + 20 {
        let found = reader.read_at(0, page(5), Lsn::new(200 + nth)).unwrap();
        assert!(*found.unwrap().content == *content(nth), "{nth}");
    }
}

#[test]
fn behind_a_page_of_noise_the_next_one_is_compared_from_its_second_version_on() {
    let (disk, size) = (disk(), PageSize::DEFAULT);
    let mut writer = writer(&disk);
    writer.begin_section(history_meta(size)).unwrap();
    // Ten of them follow one: the next would not be compared.
    for nth in 0..11 {
        push(&mut writer, 5, 200 + nth, &noise(100 + nth, size));
    }
    for nth in 0..3 {
        push(&mut writer, 6, 200 + nth, &version(6, nth, size));
    }
    writer.end_history(&points()).unwrap();
    writer.finish().unwrap();
    let (_, index) = open(&disk).unwrap().index(0).unwrap();
    let encodings: Vec<_> = index.iter().map(|(_, slot)| slot.encoding).collect();
    let (raw, patch) = (BodyEncoding::Raw as u8, BodyEncoding::Patch as u8);
    assert_eq!(encodings[..12], [raw; 12]);
    assert_eq!(encodings[12..], [patch; 2]);
}

#[test]
fn a_copy_in_another_chunk_has_the_same_versions() {
    let (disk, size) = (disk(), PageSize::MIN);
    let from = Arc::new(chunk(&disk, size, Compression::Lz4));
    let to = ChunkId::new(8);
    let writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, to, Compression::Lz4);
    let mut writer = writer.unwrap();
    writer.copy_section(&from, 0, &|| false).unwrap();
    writer.finish().unwrap();
    let copied = ChunkReader::open(&disk, STORE, to, None).unwrap();
    assert_eq!(encodings(&copied), encodings(&from));
    assert_eq!(unreadable(&copied, size), []);
    assert_eq!(copied.verify_all(), []);
}

/// The bytes of a slot's body in the file.
fn body_of(reader: &ChunkReader, number: usize) -> std::ops::Range<usize> {
    let (_, index) = reader.index(0).unwrap();
    let (_, slot) = index.iter().nth(number).unwrap();
    let start = slot.body_offset.get() as usize;
    start..start + slot.body_bytes.get() as usize
}

#[test]
fn damage_is_that_of_the_version_and_of_those_that_rest_on_it() {
    let size = PageSize::MIN;
    for damaged in [0, 3, 7, 8, 10] {
        let disk = disk();
        let body = body_of(&chunk(&disk, size, Compression::Lz4), damaged);
        let mut bytes = disk.read_raw(&file());
        bytes[body.start + 2] ^= 1;
        disk.write_raw(&file(), &bytes);
        let reader = open(&disk).unwrap();
        let found = unreadable(&reader, size);
        let last = if damaged < 8 { 8 } else { VERSIONS };
        let versions: Vec<_> = found.iter().map(|(raw, nth, _)| (*raw, *nth)).collect();
        let expected: Vec<_> = (damaged as u64..last).map(|nth| (5, nth)).collect();
        assert_eq!(versions, expected);
        // Each says where the damage is, and a look at everything says it once.
        assert!(found.iter().all(|(_, _, damage)| *damage == found[0].2));
        let all = reader.verify_all();
        assert_eq!(all.iter().filter(|one| **one == found[0].2).count(), 1);
        assert_eq!(all.len(), 2, "the digest, and the body");
    }
}

/// What is said of an index with changed slots whose checksum is right.
fn check(change: impl FnOnce(&mut [Slot])) -> Result<(), &'static str> {
    let disk = disk();
    let reader = chunk(&disk, PageSize::MIN, Compression::Lz4);
    let section = reader.section(0).unwrap();
    let (meta, index) = reader.index(0).unwrap();
    let mut slots: Vec<Slot> = index.iter().map(|(_, slot)| slot.clone()).collect();
    change(&mut slots);
    let parts = section.parts;
    section_index::check(&slots, meta, parts.start_offset, parts.index_offset)
}

#[test]
fn a_patch_that_rests_on_nothing_or_on_too_many_is_refused() {
    let refused = Err("a patch that rests on no version");
    let patch = BodyEncoding::Patch as u8;
    assert_eq!(check(|_| {}), Ok(()));
    let first = |slots: &mut [Slot]| {
        slots[0].encoding = patch;
        slots[0].body_bytes = U32::new(500);
    };
    assert_eq!(check(first), refused);
    let one_more = |slots: &mut [Slot]| {
        slots[8].encoding = patch;
        slots[8].body_bytes = U32::new(500);
    };
    assert_eq!(check(one_more), refused);
    let of_another_page = |slots: &mut [Slot]| slots[0].page = U32::new(4);
    assert_eq!(check(of_another_page), refused);
    let elsewhere = |slots: &mut [Slot]| {
        let offset = slots[3].body_offset.get() + 8;
        slots[3].body_offset = U64::new(offset);
    };
    assert_eq!(check(elsewhere), refused);
}
