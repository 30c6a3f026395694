//! Sound files in the wrong place: of another store, of another id, of an older life.

use crate::damage_sample::files::Files;
use crate::damage_sample::look::{Fate, Reach, look, names, write};
use crate::damage_sample::{Simulated, WAIT, open, simulated, simulated_as, with_one_segment};
use bop_storage::Reject;
use bop_storage::manifest::MemoryManifest;
use std::path::{Path, PathBuf};

const ALL: [&str; 4] = ["alpha", "beta", "lite", "renamed"];
const CHUNK: &str = "chunks/0000000000000001.chunk";

fn segment(id: u64) -> PathBuf {
    PathBuf::from(format!("log/{id:016x}.seg"))
}

/// A store of the same making, but another one.
fn stranger() -> Simulated {
    simulated_as(true, 99)
}

fn open_with(path: &Path, content: &[u8], databases: &[&'static str], catalogue: bool) -> Reject {
    open_store_with(&simulated(true), path, content, databases, catalogue)
}

fn open_store_with(
    sim: &Simulated,
    path: &Path,
    content: &[u8],
    databases: &[&'static str],
    catalogue: bool,
) -> Reject {
    sim.disk.write_raw(path, content);
    let before = Files::of_disk(&sim.disk);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let reach = Reach {
        databases: databases.iter().copied().collect(),
        catalogue,
        newest: false,
    };
    let fates = look(&store, &sim.sample, &reach, path);
    assert!(fates.values().any(|fate| *fate != Fate::Right));
    let findings = store.verify().findings;
    let finding = findings.into_iter().find(|damage| names(damage, path));
    store.checkpoint().unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(&sim.disk, &sim.manifest).unwrap();
        assert_eq!(look(&store, &sim.sample, &reach, path), fates);
    }
    let now = Files::of_disk(&sim.disk);
    assert!(now.0[path] == before.0[path], "it was written to");
    finding.unwrap().reason
}

#[test]
fn a_segment_of_another_store() {
    let other = stranger().disk.read_raw(&segment(1));
    let reject = open_with(&segment(1), &other, &["gone", "old", "renamed"], true);
    assert_eq!(reject, Reject::ForeignStore);
    let other = stranger().disk.read_raw(&segment(2));
    let reject = open_with(&segment(2), &other, &ALL, true);
    assert_eq!(reject, Reject::ForeignStore);
    // In place of the only segment of a log.
    let sim = with_one_segment(true, false);
    let reject = open_store_with(&sim, &segment(1), &other, &["alpha", "beta", "late"], true);
    assert_eq!(reject, Reject::ForeignStore);
}

#[test]
fn a_chunk_of_another_store() {
    let path = Path::new(CHUNK);
    let other = stranger().disk.read_raw(path);
    assert_eq!(open_with(path, &other, &ALL, false), Reject::ForeignStore);
}

#[test]
fn a_segment_under_the_name_of_another_one() {
    let own = simulated(true).disk.read_raw(&segment(2));
    let reject = open_with(&segment(1), &own, &["gone", "old", "renamed"], true);
    assert!(matches!(reject, Reject::Invalid(_)), "{reject}");
}

#[test]
fn files_that_nobody_registered_are_not_read_and_strangers_not_removed() {
    let (sim, other) = (simulated(true), stranger());
    let far = segment(0x77);
    let far_chunk = Path::new("chunks/0000000000000077.chunk");
    sim.disk.write_raw(&far, &other.disk.read_raw(&segment(1)));
    sim.disk
        .write_raw(far_chunk, &other.disk.read_raw(Path::new(CHUNK)));
    sim.disk.write_raw(Path::new("log/notes.txt"), b"mine");
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let fates = look(&store, &sim.sample, &Reach::default(), &far);
    assert!(fates.values().all(|fate| *fate == Fate::Right));
    let now = Files::of_disk(&sim.disk);
    for path in [&far, far_chunk, Path::new("log/notes.txt")] {
        assert!(now.0.contains_key(path), "{} was removed", path.display());
    }
}

#[test]
fn a_segment_of_another_store_keeps_its_name_when_its_number_comes_up() {
    let (sim, other) = (simulated(true), stranger());
    let next = Files::of_disk(&sim.disk);
    let next = next.0.keys().filter(|path| path.starts_with("log")).count() as u64 + 1;
    let theirs = other.disk.read_raw(&segment(1));
    sim.disk.write_raw(&segment(next), &theirs);
    let store = open(&sim.disk, &sim.manifest).unwrap();
    let mut contents = sim.sample.contents.clone();
    for _ in 0..60 {
        write(&store, "alpha", &mut contents);
        store.keep_house();
    }
    let paths = sim.disk.files().into_iter().map(|(path, _)| path);
    assert!(segment(next) < paths.filter(|path| path.starts_with("log")).max().unwrap());
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    store.close(WAIT).unwrap();
    open(&sim.disk, &sim.manifest).unwrap();
    assert!(sim.disk.read_raw(&segment(next)) == theirs);
}

#[test]
fn a_copy_of_an_own_file_under_another_name_is_a_leftover() {
    let sim = simulated(true);
    sim.disk
        .write_raw(&segment(0x77), &sim.disk.read_raw(&segment(1)));
    let store = open(&sim.disk, &sim.manifest).unwrap();
    assert!(store.verify().is_healthy());
    let there = sim
        .disk
        .files()
        .into_iter()
        .any(|(path, _)| path == segment(0x77));
    assert!(
        !there,
        "a file whose recycling was interrupted looks like this"
    );
}

#[test]
fn a_manifest_that_is_older_than_the_log_is_not_believed() {
    let young = MemoryManifest::new();
    let disk = bop_storage::testing::SimDisk::new(1);
    let store = open(&disk, &young).unwrap();
    let old = young.snapshot();
    let db = store
        .create_database("a", bop_storage::DbKind::Raw)
        .unwrap();
    for round in 0..60 {
        let mut write = db.begin_write(crate::damage_sample::WAIT).unwrap();
        write
            .write_page(bop_storage::PageNo::FIRST, &[round; 4096])
            .unwrap();
        write.commit().unwrap();
    }
    drop((db, store));
    let before = Files::of_disk(&disk);
    let error = open(&disk, &old).unwrap_err();
    assert!(
        error.to_string().contains("the manifest does not know it"),
        "{error}"
    );
    assert!(before == Files::of_disk(&disk), "it was written to");
    open(&disk, &young).unwrap();
}

#[test]
fn a_manifest_of_another_store() {
    let (sim, other) = (simulated(true), stranger());
    let before = Files::of_disk(&sim.disk);
    let error = open(&sim.disk, &other.manifest).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
    assert!(error.to_string().contains("manifest"), "{error}");
    assert!(before == Files::of_disk(&sim.disk), "it was written to");
}
