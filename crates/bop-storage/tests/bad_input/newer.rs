//! A store that a newer program wrote: told from a damaged one, and left alone.

use crate::damage_sample::files::Files;
use crate::damage_sample::{Simulated, open, simulated};
use bop_storage::checksum::{Crc64, crc64};
use bop_storage::manifest::{ManifestStore, SCHEMA_VERSION, Table, ValueHeader};
use bop_storage::pagestore::format::CHUNK_FORMAT_VERSION;
use bop_storage::testing::SimDisk;
use bop_storage::{ErrorCode, OpenError, Place, Reject};
use std::path::{Path, PathBuf};

/// Writes a version into a header of a file, whose checksum stands in its last 8 bytes.
fn set_version(disk: &SimDisk, path: &Path, header: std::ops::Range<usize>, version: u32) {
    let mut content = disk.read_raw(path);
    let (from, sum) = (header.start, header.end - 8);
    content[from + 8..from + 12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc64(&content[from..sum]);
    content[sum..header.end].copy_from_slice(&checksum.to_le_bytes());
    disk.write_raw(path, &content);
}

fn newer(found: u32) -> Reject {
    Reject::Version {
        found,
        supported: 1,
    }
}

fn assert_refused(sim: &Simulated, path: &Path) {
    let before = Files::of_disk(&sim.disk);
    let error = open(&sim.disk, &sim.manifest).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedFormat, "{error}");
    let OpenError::Damaged(damage) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(damage.place, Place::File(path.to_owned()));
    assert_eq!(damage.reason, newer(2));
    assert!(before == Files::of_disk(&sim.disk), "it was written to");
}

#[test]
fn a_newer_superblock() {
    let sim = simulated(true);
    let path = Path::new("store.bop");
    set_version(&sim.disk, path, 0..64, 2);
    // One newer slot is enough: the other one may be what an old program left.
    assert_refused(&sim, path);
    set_version(&sim.disk, path, 4096..4160, 2);
    assert_refused(&sim, path);
}

#[test]
fn a_newer_segment() {
    for segment in 1..=3 {
        for closed in [true, false] {
            let sim = simulated(closed);
            let path = PathBuf::from(format!("log/{segment:016x}.seg"));
            set_version(&sim.disk, &path, 0..64, 2);
            assert_refused(&sim, &path);
        }
    }
}

#[test]
fn a_newer_chunk_closes_what_is_in_it() {
    let sim = simulated(true);
    let path = Path::new("chunks/0000000000000001.chunk");
    let newer = CHUNK_FORMAT_VERSION + 1;
    set_version(&sim.disk, path, 0..48, newer);
    let before = sim.disk.read_raw(path);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let read = store.database("renamed").unwrap().begin_read().unwrap();
    let error = read.read_page(bop_storage::PageNo::FIRST).unwrap_err();
    let version = format!("format version {newer}");
    assert!(error.to_string().contains(&version), "{error}");
    assert!(error.to_string().contains("chunk 1"), "{error}");
    assert!(!store.verify().is_healthy());
    store
        .create_database("new", bop_storage::DbKind::Raw)
        .unwrap();
    assert_eq!(sim.disk.read_raw(path), before);
}

#[test]
fn a_newer_manifest() {
    let sim = simulated(true);
    let rows = sim.manifest.scan(Table::Meta, &[], 1).unwrap();
    let key = rows[0].0.clone();
    let store = sim.disk.read_raw(Path::new("store.bop"))[16..32].to_vec();
    assert!(sim.manifest.corrupt(Table::Meta, &key, |value| {
        let row = size_of::<ValueHeader>();
        value[row..row + 4].copy_from_slice(&(SCHEMA_VERSION + 1).to_le_bytes());
        // The checksum is over store, table, key, version and row.
        let checksum = Crc64::new()
            .update(b"bop manifest")
            .update(&store)
            .update(&[Table::Meta.number()])
            .update(&key)
            .update(&value[..2])
            .update(&value[row..]);
        value[8..16].copy_from_slice(&checksum.finish().to_le_bytes());
    }));
    let before = Files::of_disk(&sim.disk);
    let error = open(&sim.disk, &sim.manifest).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnsupportedFormat, "{error}");
    assert!(error.to_string().contains("manifest table meta"), "{error}");
    assert!(before == Files::of_disk(&sim.disk), "it was written to");
}
