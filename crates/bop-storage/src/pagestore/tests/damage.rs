//! Bytes that are not what was written: always noticed, always with the place.

use super::*;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::io::BLOCK_BYTES;
use crate::io::errno::EIO;
use crate::pagestore::checksums::{Owner, header_checksum};
use crate::pagestore::format::{CHUNK_FORMAT_VERSION, ChunkFooter, ChunkHeader, SectionEntry};
use crate::testing::Fault;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

fn reason(result: Result<ChunkReader, ReadError>) -> Reject {
    match result {
        Err(ReadError::Damaged(damage)) => damage.reason,
        other => panic!("damage expected: {other:?}"),
    }
}

/// Every page that can be read; a page that cannot be read is left out.
fn readable(reader: &ChunkReader) -> Vec<(u32, PageNo, StoredPage)> {
    let mut found = Vec::new();
    for section in [0, 1] {
        for raw in 1..=9 {
            if let Ok(Some(stored)) = reader.read_page(section, page(raw)) {
                found.push((section, page(raw), stored));
            }
        }
    }
    found
}

/// The whole promise in one test: no byte of a chunk can change without being noticed, and none
/// can make a page read wrong.
#[test]
fn a_flipped_bit_anywhere_is_found_and_never_served() {
    let sound = disk();
    let chunk = small_chunk(&sound);
    let expected = readable(&open(&sound).unwrap());
    assert_eq!(expected.len(), 7);
    for byte in 0..chunk.bytes {
        let disk = sound.snapshot();
        disk.flip(&file(), byte, 1 << (byte % 8));
        let Ok(reader) = open(&disk) else { continue };
        assert_ne!(reader.verify_all(), [], "byte {byte}");
        for page in readable(&reader) {
            assert!(expected.contains(&page), "byte {byte}: {page:?}");
        }
    }
}

#[test]
fn one_bad_page_leaves_its_neighbours_readable() {
    let disk = disk();
    small_chunk(&disk);
    let offset = 2 * BLOCK_BYTES as u64;
    disk.flip(&file(), offset + 77, 0x10);
    let reader = open(&disk).unwrap();
    let place = Place::Chunk {
        chunk: CHUNK,
        offset,
    };
    let damage = Damage::new(place, Reject::Checksum);
    match reader.read_page(0, page(2)) {
        Err(ReadError::Damaged(found)) => assert_eq!(found, damage),
        other => panic!("{other:?}"),
    }
    assert_eq!(readable(&reader).len(), 6);
    let whole = Damage::new(Place::File(file()), Reject::Checksum);
    assert_eq!(reader.verify_all(), [whole, damage]);
}

/// Two raw pages of one section change places, as a confused disk might do.
#[test]
fn a_body_in_the_place_of_another_is_noticed() {
    let disk = disk();
    small_chunk(&disk);
    let mut bytes = disk.read_raw(&file());
    let (first, second) = bytes.split_at_mut(3 * BLOCK_BYTES);
    first[2 * BLOCK_BYTES..].swap_with_slice(&mut second[..BLOCK_BYTES]);
    disk.write_raw(&file(), &bytes);
    let reader = open(&disk).unwrap();
    for raw in [2, 9] {
        assert!(reader.read_page(0, page(raw)).is_err(), "page {raw}");
    }
}

#[test]
fn a_chunk_cut_off_anywhere_is_refused() {
    let sound = disk();
    let chunk = small_chunk(&sound);
    let identity = ChunkIdentity {
        bytes: chunk.bytes,
        digest: chunk.digest,
    };
    for bytes in (0..chunk.bytes).step_by(512) {
        let disk = sound.snapshot();
        disk.truncate(&file(), bytes);
        assert!(open(&disk).is_err(), "{bytes} bytes");
        assert_eq!(
            reason(ChunkReader::open(&disk, STORE, CHUNK, Some(&identity))),
            Reject::Truncated {
                found: bytes,
                needed: chunk.bytes
            }
        );
    }
    sound.truncate(&file(), chunk.bytes + BLOCK_BYTES as u64);
    assert_eq!(reason(open(&sound)), Reject::Magic, "zeros at the end");
}

#[test]
fn a_file_that_is_missing_foreign_or_renamed_is_refused() {
    let disk = disk();
    assert_eq!(reason(open(&disk)), Reject::Missing);
    let chunk = small_chunk(&disk);
    let foreign = StoreId::new([1; 16]);
    assert_eq!(
        reason(ChunkReader::open(&disk, foreign, CHUNK, None)),
        Reject::ForeignStore
    );
    let other = ChunkId::new(8);
    disk.copy_raw(&file(), &layout::chunk(other));
    assert!(matches!(
        reason(ChunkReader::open(&disk, STORE, other, None)),
        Reject::Invalid(_)
    ));
    let identity = ChunkIdentity {
        bytes: chunk.bytes,
        digest: ChunkDigest::from_bytes([0; 16]),
    };
    assert!(matches!(
        reason(ChunkReader::open(&disk, STORE, CHUNK, Some(&identity))),
        Reject::Invalid(_)
    ));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let disk = disk();
    small_chunk(&disk);
    let mut bytes = disk.read_raw(&file());
    let (header, _) = ChunkHeader::mut_from_prefix(&mut bytes).unwrap();
    header.format_version = U32::new(CHUNK_FORMAT_VERSION + 1);
    header.checksum = U64::new(header_checksum(header));
    disk.write_raw(&file(), &bytes);
    assert_eq!(
        reason(open(&disk)),
        Reject::Version {
            found: CHUNK_FORMAT_VERSION + 1,
            supported: CHUNK_FORMAT_VERSION
        }
    );
}

/// A change of a directory entry, under a name for messages.
type Change = (&'static str, fn(&mut SectionEntry));

/// Changes the entry of section 0 and makes all checksums right again.
fn with_entry(disk: &SimDisk, change: impl FnOnce(&mut SectionEntry)) {
    let owner = Owner {
        store_id: STORE,
        chunk_id: CHUNK,
    };
    let mut bytes = disk.read_raw(&file());
    let at = bytes.len() - size_of::<ChunkFooter>();
    let mut footer = ChunkFooter::read_from_bytes(&bytes[at..]).unwrap();
    let start = usize::try_from(footer.directory_offset.get()).unwrap();
    let end = start + 3 * size_of::<SectionEntry>();
    let (entry, _) = SectionEntry::mut_from_prefix(&mut bytes[start..]).unwrap();
    change(entry);
    footer.directory_checksum = U64::new(owner.directory_checksum(&bytes[start..end]));
    footer.checksum = U64::new(owner.footer_checksum(&footer));
    bytes[at..].copy_from_slice(footer.as_bytes());
    disk.write_raw(&file(), &bytes);
}

/// Numbers that do not fit the file are refused before anything is allocated for them.
#[test]
fn impossible_numbers_with_right_checksums_are_refused() {
    let sound = disk();
    small_chunk(&sound);
    let changes: [Change; 14] = [
        ("slots", |e| e.slots = U32::new(u32::MAX)),
        ("slots above pages", |e| e.pages = U32::new(2)),
        ("index", |e| e.index_offset = U64::new(u64::MAX)),
        ("payload", |e| e.payload_bytes = U64::new(u64::MAX)),
        ("page size", |e| e.page_size = U32::new(1000)),
        ("kind", |e| e.kind = U16::new(99)),
        ("flags", |e| e.flags = U16::new(1)),
        ("first page", |e| e.first_page = U32::ZERO),
        ("more pages at the least", |e| {
            e.page_count_min = U32::new(101);
        }),
        ("inherited", |e| e.inherited = U32::new(61)),
        ("since", |e| e.since_lsn = U64::new(1001)),
        ("history of some pages", |e| e.kind = U16::new(3)),
        ("reserved", |e| e.reserved = U32::new(1)),
        ("last page", |e| e.first_page = U32::new(u32::MAX)),
    ];
    for (name, change) in changes {
        let disk = sound.snapshot();
        with_entry(&disk, change);
        let found = reason(open(&disk));
        assert!(matches!(found, Reject::Invalid(_)), "{name}: {found}");
    }
}

/// A section taken for one of another database, generation or range: its slots do not fit.
#[test]
fn a_section_under_another_identity_serves_nothing() {
    let sound = disk();
    small_chunk(&sound);
    let changes: [Change; 4] = [
        ("database", |e| e.database = U64::new(2)),
        ("generation", |e| e.generation = U64::new(4)),
        ("range", |e| e.first_page = U32::new(10)),
        ("cut", |e| e.cut_lsn = U64::new(9)),
    ];
    for (name, change) in changes {
        let disk = sound.snapshot();
        with_entry(&disk, change);
        let reader = open(&disk).unwrap();
        for raw in [1, 2, 9] {
            assert!(reader.read_page(0, page(raw)).is_err(), "{name}");
        }
    }
}

#[test]
fn a_failed_read_is_tried_once_more_and_never_remembered() {
    let disk = disk();
    small_chunk(&disk);
    let reader = open(&disk).unwrap();
    let next = disk.read_count();
    disk.fail_read_at(next, Fault::Error(EIO));
    assert!(reader.read_page(0, page(1)).is_ok(), "second try");
    reader.release_indexes();
    disk.fail_read_at(disk.read_count(), Fault::Sticky(EIO));
    match reader.read_page(0, page(1)) {
        Err(ReadError::Io(failure)) => assert_eq!(failure.errno, EIO),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        reader.verify_all().as_slice(),
        [
            Damage {
                reason: Reject::Unreadable(_),
                ..
            },
            ..
        ]
    ));
    disk.heal();
    assert_eq!(reader.verify_all(), []);
}

#[test]
fn a_section_that_is_not_there_is_an_error_and_not_a_hole() {
    let disk = disk();
    small_chunk(&disk);
    let reader = open(&disk).unwrap();
    assert!(reader.read_page(2, page(1)).is_err(), "the catalogue");
    assert!(reader.read_page(3, page(1)).is_err());
    assert!(reader.payload(3).is_err());
}
