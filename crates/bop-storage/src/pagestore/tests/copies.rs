//! Sections that go from one chunk into another: whole, or not at all.

use super::*;
use crate::error::CheckpointError;
use crate::runtime::{Errands, SystemSpawn};
use crate::testing::Fault;
use std::cell::Cell;

/// Copies the sections of the small chunk into another one, until `cancelled`.
fn copy(disk: &SimDisk, cancelled: &dyn Fn() -> bool) -> Result<ChunkReader, CheckpointError> {
    let from = Arc::new(open(disk)?);
    let to = ChunkId::new(8);
    let mut writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, to, Compression::Lz4)?;
    for section in 0..3 {
        writer.copy_section(&from, section, cancelled)?;
    }
    writer.finish()?;
    Ok(ChunkReader::open(disk, STORE, to, None)?)
}

#[test]
fn a_copy_has_the_pages_and_the_payload_of_its_sections() {
    let disk = disk();
    small_chunk(&disk);
    let (from, to) = (open(&disk).unwrap(), copy(&disk, &|| false).unwrap());
    for (section, pages) in [(0, vec![1, 2, 9]), (1, vec![1, 2, 3, 4])] {
        assert_eq!(to.pages(section).unwrap(), from.pages(section).unwrap());
        for raw in pages {
            let copied = to.read_page(section, page(raw)).unwrap();
            assert!(copied.is_some());
            assert_eq!(copied, from.read_page(section, page(raw)).unwrap());
        }
    }
    assert_eq!(to.payload(2).unwrap(), b"names of databases");
}

/// Before each of three sections, and before each of their seven pages.
#[test]
fn a_copy_ends_between_any_two_pages_when_it_is_cancelled() {
    for nth in 0..=10 {
        let disk = disk();
        small_chunk(&disk);
        let asked = Cell::new(0);
        let cancelled = || asked.replace(asked.get() + 1) == nth;
        match copy(&disk, &cancelled) {
            Err(CheckpointError::Closed) => assert_eq!(asked.get(), nth + 1),
            Err(other) => panic!("{other}"),
            Ok(_) => assert_eq!((nth, asked.get()), (10, 10)),
        }
    }
}

/// Pages of noise, which are copied as they are: several buffers of them.
const LONG: u32 = 300;

/// Copies a section of so many pages with the help of so many threads. The read with number `failing` fails once;
/// how many there were.
fn copy_long(threads: usize, failing: Option<u64>) -> u64 {
    let (disk, size) = (disk(), PageSize::DEFAULT);
    let mut writer = writer(&disk);
    let long = SectionMeta {
        pages: LONG,
        page_count: LONG,
        ..meta(1, size)
    };
    writer.begin_section(long).unwrap();
    for raw in 1..=LONG {
        push(&mut writer, raw, 10, &noise(raw.into(), size));
    }
    writer.end_section().unwrap();
    writer.finish().unwrap();
    let from = Arc::new(open(&disk).unwrap());
    from.pages(0).unwrap();
    let errands = Errands::new(Arc::new(SystemSpawn), threads);
    let to = ChunkId::new(8);
    let writer = ChunkWriter::create(Arc::new(disk.clone()), STORE, to, Compression::Lz4);
    let mut writer = writer.unwrap().write_behind(&errands);
    let before = disk.read_count();
    if let Some(nth) = failing {
        disk.fail_read_at(before + nth, Fault::Error(5));
    }
    writer.copy_section(&from, 0, &|| false).unwrap();
    let reads = disk.read_count() - before;
    writer.finish().unwrap();
    let copied = ChunkReader::open(&disk, STORE, to, None).unwrap();
    for raw in 1..=LONG {
        let stored = copied.read_page(0, page(raw)).unwrap().unwrap();
        assert!(*stored.content == *noise(raw.into(), size), "page {raw}");
    }
    reads
}

#[test]
fn bodies_are_read_a_buffer_at_a_time_whether_somebody_is_free_for_that_or_not() {
    // 64 pages of 4 KiB fit a buffer.
    for threads in 0..3 {
        assert_eq!(copy_long(threads, None), 5, "{threads} threads");
    }
}

#[test]
fn what_could_not_be_read_together_is_read_alone() {
    for threads in 0..2 {
        for nth in 0..4 {
            assert_eq!(copy_long(threads, Some(nth)), 5 + 64, "read {nth}");
        }
    }
}
