//! Rows of the manifest that cannot be believed, as the store meets them.

use crate::damage_sample::content::Contents;
use crate::damage_sample::look::{Fate, Reach, look, write};
use crate::damage_sample::{Simulated, WAIT, open, simulated, with_one_segment};
use bop_storage::manifest::{ManifestStore, MemoryManifest, Table, Write, scan_all};
use bop_storage::testing::SimDisk;
use bop_storage::{DbKind, ErrorCode};
use std::path::{Path, PathBuf};

/// The keys of all rows that register a segment.
fn segments(sim: &Simulated) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    scan_all(&sim.manifest, Table::Segments, |key, _| keys.push(key)).unwrap();
    assert!(3 <= keys.len());
    keys
}

fn file_of(key: &[u8]) -> PathBuf {
    let id = u64::from_be_bytes(*key.first_chunk().unwrap());
    PathBuf::from(format!("log/{id:016x}.seg"))
}

#[test]
fn a_segment_whose_registration_is_damaged_is_read_all_the_same() {
    let makes: [&dyn Fn() -> Simulated; 4] = [
        &|| simulated(true),
        &|| simulated(false),
        &|| with_one_segment(true, false),
        &|| with_one_segment(false, true),
    ];
    for make in makes {
        for key in segments(&make()) {
            let sim = make();
            assert!(
                sim.manifest
                    .corrupt(Table::Segments, &key, |row| row[20] ^= 1)
            );
            for opening in 1..4 {
                let store = open(&sim.disk, &sim.manifest).unwrap();
                look(&store, &sim.sample, &Reach::default(), Path::new(""));
                let findings = store.verify().findings;
                let named = findings
                    .iter()
                    .all(|one| one.to_string().contains("segments"));
                // The row goes with its segment, when a checkpoint has released that.
                assert!(
                    named && (1 < opening || !findings.is_empty()),
                    "{findings:?}"
                );
                store.checkpoint().unwrap();
                store.close(WAIT).unwrap();
            }
        }
    }
}

#[test]
fn a_segment_that_is_gone_with_its_registration_is_missed() {
    let sim = with_one_segment(true, false);
    let key = segments(&sim).remove(0);
    let path = file_of(&key);
    assert!(
        sim.manifest
            .corrupt(Table::Segments, &key, |row| row[20] ^= 1)
    );
    sim.disk.remove_raw(&path);
    let reach = Reach {
        databases: ["alpha", "beta", "late"].into(),
        catalogue: true,
        newest: false,
    };
    for _ in 0..2 {
        let store = open(&sim.disk, &sim.manifest).unwrap();
        let fates = look(&store, &sim.sample, &reach, &path);
        assert!(fates.values().all(|fate| *fate != Fate::Right), "{fates:?}");
        store.close(WAIT).unwrap();
    }
}

#[test]
fn a_database_whose_chunk_has_lost_its_row_can_be_dropped_and_the_others_go_on() {
    for gone in [false, true] {
        let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
        let store = open(&disk, &manifest).unwrap();
        let mut contents = Contents::default();
        // Each checkpoint is one chunk; the newest has the catalogue.
        for name in ["alpha", "beta"] {
            store.create_database(name, DbKind::Raw).unwrap();
            contents.create(name, DbKind::Raw);
            write(&store, name, &mut contents);
            store.checkpoint().unwrap();
        }
        store.close(WAIT).unwrap();
        let key = 1_u64.to_be_bytes();
        if gone {
            let table = Table::Chunks;
            let key = key.to_vec();
            manifest.commit(&[Write::Delete { table, key }]).unwrap();
        } else {
            assert!(manifest.corrupt(Table::Chunks, &key, |row| row[20] ^= 1));
        }
        let store = open(&disk, &manifest).unwrap();
        let closed = store.database("alpha").unwrap_err();
        assert_eq!(closed.code(), ErrorCode::Corrupt, "{closed}");
        store.drop_database("alpha").unwrap();
        for _ in 0..2 {
            write(&store, "beta", &mut contents);
            store.checkpoint().unwrap();
        }
        store.close(WAIT).unwrap();
        let store = open(&disk, &manifest).unwrap();
        write(&store, "beta", &mut contents);
        assert!(store.checkpoint().unwrap().pages > 0);
        assert!(store.database("alpha").is_err());
    }
}
