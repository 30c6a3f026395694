//! Files that are missing, empty or cut short.

use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::look::{Fate, Fates, Reach, look, names, write};
use crate::damage_sample::{Simulated, WAIT, open, simulated, with_one_segment};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::SimDisk;
use bop_storage::{DbKind, ErrorCode, OpenError, Place, Reject};
use std::path::{Path, PathBuf};

const ALL: [&str; 4] = ["alpha", "beta", "lite", "renamed"];

fn segment(id: u64) -> PathBuf {
    PathBuf::from(format!("log/{id:016x}.seg"))
}

fn reach(databases: &[&'static str], catalogue: bool) -> Reach {
    Reach {
        databases: databases.iter().copied().collect(),
        catalogue,
        newest: false,
    }
}

type Harm<'a> = (String, Box<dyn Fn(&SimDisk) + 'a>);

/// Missing, empty, without its last block, without all but its first.
fn harms(path: &Path, bytes: u64) -> Vec<Harm<'_>> {
    let cut = |to: u64| -> Harm<'_> {
        let harm = move |disk: &SimDisk| disk.truncate(path, to);
        (format!("cut to {to} bytes"), Box::new(harm))
    };
    let gone = |disk: &SimDisk| disk.remove_raw(path);
    let lengths = [0, 1, BLOCK, 3 * BLOCK, bytes / 2, bytes - BLOCK];
    let shorter = lengths.into_iter().filter(|to| *to < bytes);
    let mut all: Vec<_> = shorter.map(cut).collect();
    all.push(("missing".to_owned(), Box::new(gone)));
    all
}

/// Harms a file of the sample in every way.
fn harm_each_way(closed: bool, path: &Path, reach: &Reach, noticed: bool) {
    harm_each_way_of(&|| simulated(closed), path, reach, noticed);
}

/// Harms a file of a store in every way; the store opens, nobody outside `reach` suffers, and what
/// was noticed at the first opening is not forgotten at a later one.
fn harm_each_way_of(make: &dyn Fn() -> Simulated, path: &Path, reach: &Reach, noticed: bool) {
    let bytes = make().disk.read_raw(path).len() as u64;
    for (label, harm) in harms(path, bytes) {
        let sim = make();
        harm(&sim.disk);
        let others = everything_but(&sim.disk, path);
        let store = open(&sim.disk, &sim.manifest)
            .unwrap_or_else(|error| panic!("{label}, {}: {error}", path.display()));
        let fates = look(&store, &sim.sample, reach, path);
        let findings = store.verify().findings;
        let found = findings.iter().any(|damage| names(damage, path));
        assert!(found || !noticed, "{label}: {findings:?}");
        go_on(&store, &sim, reach);
        assert_kept(&sim.disk, &others, &fates);
        store.close(WAIT).unwrap();
        for opening in 2..4 {
            let store = open(&sim.disk, &sim.manifest).unwrap();
            let after = fates_only_of(&look_again(&store, &sim, reach, path), reach);
            let first = fates_only_of(&fates, reach);
            assert_eq!(after, first, "{label}, opening {opening}");
            let findings = store.verify().findings;
            let found = findings.iter().any(|damage| names(damage, path));
            let lasting = fates.values().any(|fate| *fate != Fate::Right);
            assert!(
                found || !lasting,
                "{label}, opening {opening}: {findings:?}"
            );
            store.close(WAIT).unwrap();
        }
    }
}

fn everything_but(disk: &SimDisk, path: &Path) -> Files {
    let mut files = Files::of_disk(disk);
    files.0.remove(path);
    files
}

fn fates_only_of(fates: &Fates, reach: &Reach) -> Fates {
    let of = fates
        .iter()
        .filter(|(name, _)| reach.databases.contains(*name));
    of.map(|(name, fate)| (*name, fate.clone())).collect()
}

/// Commits and a checkpoint, with whatever is untouched.
fn go_on(store: &bop_storage::Manager, sim: &Simulated, reach: &Reach) {
    let mut contents = sim.sample.contents.clone();
    for name in untouched(sim, reach) {
        write(store, name, &mut contents);
    }
    if !reach.catalogue {
        store.create_database("new", DbKind::Raw).unwrap();
    }
    store.checkpoint().unwrap();
}

fn untouched(sim: &Simulated, reach: &Reach) -> Vec<&'static str> {
    let names = sim.sample.contents.databases.keys();
    let untouched = names.filter(|name| !reach.databases.contains(**name));
    untouched.copied().collect()
}

/// As [`look`], when the untouched databases went on.
fn look_again(store: &bop_storage::Manager, sim: &Simulated, reach: &Reach, path: &Path) -> Fates {
    let mut contents = sim.sample.contents.clone();
    for name in untouched(sim, reach) {
        use crate::damage_sample::content::Change;
        contents.apply(name, &[Change::Write(2)]);
    }
    let sample = crate::damage_sample::Sample {
        steps: Vec::new(),
        before_newest: contents.clone(),
        contents,
    };
    look(store, &sample, reach, path)
}

/// When somebody suffers, everything that was there before is there still, but for what goes on in
/// the log behind its end.
fn assert_kept(disk: &SimDisk, before: &Files, fates: &Fates) {
    if fates.values().all(|fate| *fate == Fate::Right) {
        return;
    }
    let now = Files::of_disk(disk);
    for (path, then) in &before.0 {
        // A segment that the log has left is kept beside it.
        let name = path.file_name().unwrap();
        let aside = Path::new(bop_storage::io::layout::DAMAGED_DIR).join(name);
        let now = now.0.get(path).or_else(|| now.0.get(&aside));
        let now = now.unwrap_or_else(|| panic!("{} is gone", path.display()));
        let kept = then
            .iter()
            .zip(now)
            .all(|(then, now)| *then == 0 || then == now);
        assert!(kept, "{} was overwritten", path.display());
    }
}

#[test]
fn the_older_segment() {
    // It holds the drop and the rename; of everybody else the close record accounts.
    harm_each_way(
        true,
        &segment(1),
        &reach(&["gone", "old", "renamed"], true),
        true,
    );
    // Without one, a database is proved by its next commit.
    harm_each_way(
        false,
        &segment(1),
        &reach(&["gone", "old", "renamed"], true),
        true,
    );
}

#[test]
fn the_newest_segment() {
    for closed in [true, false] {
        harm_each_way(closed, &segment(2), &reach(&ALL, true), true);
    }
}

#[test]
fn the_only_segment() {
    for (closed, recycled) in [(true, false), (false, false), (true, true), (false, true)] {
        let make = || with_one_segment(closed, recycled);
        let path = newest_segment(&make().disk);
        assert_eq!(path == segment(1), !recycled);
        let all = reach(&["alpha", "beta", "late"], true);
        harm_each_way_of(&make, &path, &all, true);
    }
}

#[test]
fn all_that_says_that_the_only_segment_was_activated() {
    let sim = with_one_segment(true, false);
    // Activation twice, and the first batch, which is the only one before the checkpoint.
    let mut content = sim.disk.read_raw(&segment(1));
    let (from, to) = (BLOCK as usize, 4 * BLOCK as usize);
    content[from..to].fill(0);
    sim.disk.write_raw(&segment(1), &content);
    for _ in 0..3 {
        let store = open(&sim.disk, &sim.manifest).unwrap();
        let reach = reach(&["alpha", "beta", "late"], true);
        look(&store, &sim.sample, &reach, &segment(1));
        assert!(!store.verify().is_healthy());
        store.close(WAIT).unwrap();
    }
}

/// The segment with the largest id that has been written to.
fn newest_segment(disk: &SimDisk) -> PathBuf {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    let written = |path: &PathBuf| {
        path.starts_with("log")
            && disk.read_raw(path)[BLOCK as usize..]
                .iter()
                .any(|b| *b != 0)
    };
    paths.filter(written).max().unwrap()
}

#[test]
fn the_next_spare() {
    // The close record stands before it, with room behind: nothing went on in the spare.
    harm_each_way(true, &segment(3), &Reach::default(), true);
    // After a kill it may have been the newest segment.
    harm_each_way(false, &segment(3), &reach(&ALL, true), true);
}

#[test]
fn a_later_spare() {
    for closed in [true, false] {
        harm_each_way(closed, &segment(4), &Reach::default(), true);
    }
}

#[test]
fn a_spare_that_was_missing_when_the_log_passed_it() {
    let sim = simulated(true);
    sim.disk.remove_raw(&segment(4));
    let store = open(&sim.disk, &sim.manifest).unwrap();
    assert!(!store.verify().is_healthy());
    let mut contents = sim.sample.contents.clone();
    while store.status().log_segments < 4 {
        write(&store, "alpha", &mut contents);
    }
    // A kill: nobody but alpha has a commit behind the place where the spare was.
    let (disk, manifest) = (sim.disk.crash_image_keeping_all(), sim.manifest.snapshot());
    let store = open(&disk, &manifest).unwrap();
    for name in ALL {
        let db = store.database(name).unwrap();
        assert_eq!(db.head(), store.info(name).unwrap().head);
    }
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
}

#[test]
fn a_chunk() {
    for closed in [true, false] {
        let path = Path::new("chunks/0000000000000001.chunk");
        harm_each_way(closed, path, &reach(&ALL, false), true);
    }
}

#[test]
fn the_superblock() {
    let path = Path::new("store.bop");
    for closed in [true, false] {
        for (label, harm) in harms(path, 2 * BLOCK) {
            let sim = simulated(closed);
            harm(&sim.disk);
            let before = Files::of_disk(&sim.disk);
            match open(&sim.disk, &sim.manifest) {
                // The second slot is cut off, the first one is enough.
                Ok(store) => {
                    look(&store, &sim.sample, &Reach::default(), path);
                    assert!(!store.verify().is_healthy(), "{label}");
                }
                Err(error) => {
                    let OpenError::Damaged(damage) = &error else {
                        panic!("{label}: {error:?}");
                    };
                    assert_eq!(damage.place, Place::File(path.to_owned()));
                    assert!(
                        before == Files::of_disk(&sim.disk),
                        "{label}: it was written to"
                    );
                }
            }
        }
    }
}

#[test]
fn the_manifest() {
    for closed in [true, false] {
        let sim = simulated(closed);
        let before = Files::of_disk(&sim.disk);
        let error = open(&sim.disk, &MemoryManifest::new()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
        assert!(error.to_string().contains("manifest"), "{error}");
        assert!(before == Files::of_disk(&sim.disk), "it was written to");
        // Nor does a store begin anew when its log is gone, too.
        for (path, _) in sim.disk.files() {
            if path.starts_with("log") {
                sim.disk.remove_raw(&path);
            }
        }
        let before = Files::of_disk(&sim.disk);
        let error = open(&sim.disk, &MemoryManifest::new()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
        assert!(before == Files::of_disk(&sim.disk), "it was written to");
    }
}

#[test]
fn all_segments() {
    let sim = simulated(true);
    for (path, _) in sim.disk.files() {
        if path.starts_with("log") {
            sim.disk.remove_raw(&path);
        }
    }
    for opening in 1..4 {
        let store = open(&sim.disk, &sim.manifest).unwrap();
        for name in ALL {
            let error = store.database(name).unwrap_err().to_string();
            let missing = error.contains(".seg is damaged: it is missing");
            assert!(missing, "opening {opening}: {error}");
        }
        store.create_database("new", DbKind::Raw).unwrap_err();
        let missing = |damage: &bop_storage::Damage| damage.reason == Reject::Missing;
        assert!(3 <= store.verify().findings.into_iter().filter(missing).count());
        store.checkpoint().unwrap();
        store.close(WAIT).unwrap();
    }
}
