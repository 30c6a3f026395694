//! Random flips in the files of a real directory, `data.mdb` excepted, read by each backend in turn.

use crate::campaign::{labelled, untouched};
use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::look::{Fate, look, names, write};
use crate::damage_sample::{Sample, Script, WAIT, quiet};
use crate::reach::Map;
use bop_storage::Manager;
use bop_storage::io::IoBackend;
use bop_storage::testing::SplitMix64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const FLIPS: usize = 2_000;
const SEED: u64 = 0x0b0b_0001;

/// A store in a directory, closed or left by a kill.
struct Original {
    root: tempfile::TempDir,
    sample: Sample,
    files: Files,
}

impl Original {
    fn new(closed: bool) -> Self {
        let (live, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Manager::open(live.path(), quiet()).unwrap();
        let files = || Files::of_directory(live.path());
        let mut script = Script::new(&store, &files);
        script.first_part();
        script.commit("alpha", &[crate::damage_sample::content::Change::Write(1)]);
        let sample = if closed { script.close() } else { script.end() };
        copy(live.path(), root.path());
        let files = Files::of_directory(root.path());
        Self {
            root,
            sample,
            files,
        }
    }
}

#[test]
fn two_thousand_flips_in_real_files() {
    let originals = [true, false].map(Original::new);
    let backends = backends();
    let (next, damaged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let flip_some = || {
        let place = tempfile::tempdir().unwrap();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if FLIPS <= number {
                return;
            }
            let original = &originals[number % 2];
            let seed = SEED + number as u64;
            labelled(
                || format!("seed {seed:#x}"),
                || {
                    // Not in step with the originals.
                    let io = backends[number / 2 % backends.len()];
                    let root = place.path().join(number.to_string());
                    let suffered = flip(original, io, seed, &root);
                    damaged.fetch_add(usize::from(suffered), Ordering::Relaxed);
                },
            );
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(flip_some);
        }
    });
    let damaged = damaged.into_inner();
    // A flip in the head of a batch costs nothing where the segment has an index.
    assert!(
        FLIPS / 25 < damaged,
        "only {damaged} flips closed a database or a page"
    );
}

/// The backends that are to be had here.
fn backends() -> Vec<IoBackend> {
    let works = |io: &IoBackend| {
        let dir = tempfile::tempdir().unwrap();
        let opened = Manager::open(dir.path(), quiet().io(*io));
        if let Err(error) = &opened {
            eprintln!("SKIPPED: no flip is read by {io}: {error}");
        }
        opened.is_ok()
    };
    IoBackend::ALL.into_iter().filter(works).collect()
}

/// Whether somebody suffered.
fn flip(original: &Original, io: IoBackend, seed: u64, root: &Path) -> bool {
    let map = Map::new(&original.sample, &original.files);
    let mut random = SplitMix64::new(seed);
    let (path, byte) = draw(original, &map, &mut random);
    let mask = 1 << random.below(8);
    copy(original.root.path(), root);
    let mut content = std::fs::read(root.join(&path)).unwrap();
    content[usize::try_from(byte).unwrap()] ^= mask;
    std::fs::write(root.join(&path), content).unwrap();

    let reach = map.of(&path, byte);
    let label = || format!("byte {byte} of {}, mask {mask:#x}, by {io}", path.display());
    let mut suffered = false;
    labelled(label, || {
        let store = Manager::open(root, quiet().io(io)).unwrap();
        let fates = look(&store, &original.sample, &reach, &path);
        let findings = store.verify().findings;
        let found = findings.iter().any(|damage| names(damage, &path));
        assert!(found || reach.newest, "nobody noticed: {findings:?}");
        suffered = fates
            .values()
            .any(|fate| !matches!(fate, Fate::Right | Fate::Older));
        if let Some(name) = untouched(&reach, &fates).next() {
            write(&store, name, &mut original.sample.contents.clone());
        }
        store.close(WAIT).unwrap();
    });
    std::fs::remove_dir_all(root).unwrap();
    suffered
}

/// A used byte of any file.
fn draw(original: &Original, map: &Map<'_>, random: &mut SplitMix64) -> (PathBuf, u64) {
    let all: u64 = original
        .files
        .0
        .values()
        .map(|content| content.len() as u64)
        .sum();
    loop {
        let mut byte = random.below(all);
        for (path, content) in &original.files.0 {
            let bytes = content.len() as u64;
            if byte < bytes && map.is_used(path, byte / BLOCK, content) {
                return (path.clone(), byte);
            }
            if byte < bytes {
                break;
            }
            byte -= bytes;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            (entry, to)
        };
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}
