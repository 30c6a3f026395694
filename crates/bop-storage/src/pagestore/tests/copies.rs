//! Sections that go from one chunk into another: whole, or not at all.

use super::*;
use crate::error::CheckpointError;
use std::cell::Cell;

/// Copies the sections of the small chunk into another one, until `cancelled`.
fn copy(disk: &SimDisk, cancelled: &dyn Fn() -> bool) -> Result<ChunkReader, CheckpointError> {
    let from = open(disk)?;
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
