//! One damaged batch among a hundred databases: those that it can touch are closed and stay closed,
//! the others live on, the log is truncated, and what a salvage needs is kept beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::layout;
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{Fault, ManualClock, SeededEntropy, SimDisk};
use bop_storage::{
    BeginError, CatalogueError, Damage, DbKind, Health, Housekeeping, Limits, Manager, Options,
    PageNo, Place, ReadError,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(20);
const DATABASES: usize = 100;
/// The one whose batch is damaged.
const HIT: usize = 42;
const LOG_BYTES_MAX: u64 = 6 << 20;

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_bytes_max = LOG_BYTES_MAX;
    // Keeping house makes no checkpoint before half of that.
    limits.checkpoint_log_bytes_min = LOG_BYTES_MAX / 2;
    limits.log_sealed_segments_max = 1000;
    limits
}

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    let runtime = Runtime {
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(7)),
        ..Runtime::system()
    };
    let options = Options::new()
        .limits(limits())
        .housekeeping(Housekeeping::Manual)
        .runtime(runtime)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

fn name(database: usize) -> String {
    format!("database-{database}")
}

/// What page 1 of a database holds after a round; no two are alike in any piece.
fn content(database: usize, round: usize) -> Vec<u8> {
    let mut state = ((database * 1000 + round + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
}

fn commit(store: &Manager, database: usize, round: usize) {
    let db = store.database(&name(database)).unwrap();
    let mut write = db.begin_write(WAIT).unwrap();
    write
        .write_page(PageNo::FIRST, &content(database, round))
        .unwrap();
    write.commit().unwrap();
}

/// A store that is killed after two rounds of commits, and the segment and byte of the first
/// round's page of the database that is to be hit. With `indexed` its segment has an index.
fn killed(indexed: bool) -> (SimDisk, MemoryManifest, PathBuf, u64) {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    for database in 0..DATABASES {
        store.create_database(&name(database), DbKind::Raw).unwrap();
    }
    store.checkpoint().unwrap();
    for database in 0..DATABASES {
        commit(&store, database, 0);
    }
    // The hit one has no second commit: its newest page is what is damaged.
    for database in (0..DATABASES).filter(|database| *database != HIT) {
        commit(&store, database, 1);
    }
    if indexed {
        // The checkpoint that is due as well would leave nothing in the log.
        let before = disk.files();
        store.keep_house();
        assert!(before != disk.files(), "indexes were written");
    }
    let (path, at) = find(&disk, &content(HIT, 0)[..64]);
    (
        disk.crash_image_keeping_all(),
        manifest.snapshot(),
        path,
        at,
    )
}

/// The segment that has these bytes, and where.
fn find(disk: &SimDisk, needle: &[u8]) -> (PathBuf, u64) {
    let mut files = disk.files().into_iter().map(|(path, _)| path);
    let found = files.find_map(|path| {
        let bytes = disk.read_raw(&path);
        let at = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        at.filter(|_| path.starts_with("log"))
            .map(|at| (path, at as u64))
    });
    found.unwrap()
}

fn corrupt(store: &Manager) -> Damage {
    match store.database(&name(HIT)).unwrap_err() {
        CatalogueError::Corrupt {
            damage,
            name: named,
        } => {
            assert_eq!(named, name(HIT));
            damage
        }
        other => panic!("{other:?}"),
    }
}

fn assert_names(damage: &Damage, path: &Path) {
    let Place::Log { segment, .. } = damage.place else {
        panic!("{damage:?}");
    };
    assert_eq!(layout::segment(segment), path, "{damage}");
}

/// All others have what was committed last.
fn assert_others(store: &Manager, round: impl Fn(usize) -> usize) {
    for database in (0..DATABASES).filter(|database| *database != HIT) {
        let db = store.database(&name(database)).unwrap();
        let page = db.begin_read().unwrap().read_page(PageNo::FIRST).unwrap();
        assert!(page[..] == content(database, round(database)), "{database}");
    }
}

/// Commits many times what the log may hold, with checkpoints; the log stays inside its cap.
fn go_on(store: &Manager, rounds: std::ops::Range<usize>) -> usize {
    let mut written = 0;
    for round in rounds.clone() {
        for database in (0..DATABASES).filter(|database| *database != HIT) {
            commit(store, database, round);
            written += 8192;
        }
        if round % 2 == 0 {
            store.checkpoint().unwrap();
        }
        let status = store.status();
        assert!(status.log_bytes <= LOG_BYTES_MAX, "{status:?}");
    }
    assert!(4 * LOG_BYTES_MAX < written, "only {written} bytes");
    rounds.end - 1
}

fn damaged_file(path: &Path) -> PathBuf {
    Path::new(layout::DAMAGED_DIR).join(path.file_name().unwrap())
}

fn has(disk: &SimDisk, path: &Path) -> bool {
    disk.files().iter().any(|(there, _)| there == path)
}

#[test]
fn one_damaged_batch_among_a_hundred_databases_closes_one_and_the_log_goes_on() {
    let (disk, manifest, path, at) = killed(false);
    disk.flip(&path, at, 1);
    let harmed = disk.read_raw(&path);
    let store = open(&disk, &manifest);
    let damage = corrupt(&store);
    assert_names(&damage, &path);
    assert_others(&store, |_| 1);
    let before = store.status().truncated;
    let last = go_on(&store, 2..36);
    assert!(before < store.status().truncated);
    assert!(!has(&disk, &path) && has(&disk, &damaged_file(&path)));
    assert!(disk.read_raw(&damaged_file(&path)) == harmed);
    let kept = store.status().damaged_bytes;
    assert!(0 < kept && kept <= LOG_BYTES_MAX);
    store.close(WAIT).unwrap();

    // Closed, killed, closed: the same damage, for the same database.
    for round in 1..4 {
        let store = open(&disk, &manifest);
        assert_eq!(corrupt(&store), damage);
        assert_eq!(store.info(&name(HIT)).unwrap().damage, Some(damage.clone()));
        assert_others(&store, |_| last);
        assert_eq!(store.status().damaged_bytes, kept);
        let findings = store.verify().findings;
        assert!(findings.contains(&damage), "{findings:?}");
        if round % 2 == 1 {
            store.close(WAIT).unwrap();
        }
    }

    let store = open(&disk, &manifest);
    store.drop_database(&name(HIT)).unwrap();
    store.close(WAIT).unwrap();
    let store = open(&disk, &manifest);
    let status = store.status();
    assert!(matches!(status.health, Health::Ok), "{status:?}");
    assert_eq!(status.damaged_bytes, 0);
    assert!(!has(&disk, &damaged_file(&path)));
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    assert_others(&store, |_| last);
}

#[test]
fn damage_that_only_a_read_can_see_closes_its_database_too() {
    let (disk, manifest, path, at) = killed(true);
    disk.flip(&path, at, 1);
    let store = open(&disk, &manifest);
    // The index says what the log holds: nobody has looked at the pages yet.
    let db = store.database(&name(HIT)).unwrap();
    let read = db.begin_read().unwrap().read_page(PageNo::FIRST);
    let Err(ReadError::Damaged(damage)) = read else {
        panic!("{read:?}");
    };
    assert_names(&damage, &path);
    let findings = store.verify().findings;
    let in_segment = |found: &&Damage| matches!(&found.place, Place::Log { segment, .. } if layout::segment(*segment) == path);
    assert!(
        findings.iter().any(|found| in_segment(&found)),
        "{findings:?}"
    );
    assert_others(&store, |_| 1);
    store.checkpoint().unwrap();
    let refused = db.begin_write(WAIT).unwrap_err();
    assert!(matches!(refused, BeginError::Damaged(_)), "{refused}");
    let last = go_on(&store, 2..36);
    assert!(has(&disk, &damaged_file(&path)));
    // Whoever has it open still reads what can be read, and is told what cannot.
    let again = db.begin_read().unwrap().read_page(PageNo::FIRST);
    assert!(matches!(again, Err(ReadError::Damaged(_))), "{again:?}");
    drop(db);
    store.close(WAIT).unwrap();
    let store = open(&disk, &manifest);
    assert_names(&corrupt(&store), &path);
    assert_others(&store, |_| last);
}

/// The record of a name is damaged. That is told as long as the store has lost it, though nothing of the log is
/// there any more in which it was found.
#[test]
fn damage_of_the_catalogue_is_told_when_the_log_is_gone_that_had_it() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    store.create_database(&name(0), DbKind::Raw).unwrap();
    store.checkpoint().unwrap();
    store
        .create_database("lost with its record", DbKind::Raw)
        .unwrap();
    commit(&store, 0, 0);
    let (disk, manifest) = (disk.crash_image_keeping_all(), manifest.snapshot());
    drop(store);
    let (path, at) = find(&disk, b"lost with its record");
    disk.flip(&path, at, 1);
    let store = open(&disk, &manifest);
    let [damage] = &store.verify().findings[..] else {
        panic!("{:?}", store.verify());
    };
    let damage = damage.clone();
    assert_names(&damage, &path);
    for round in 1..40 {
        commit(&store, 0, round);
    }
    store.checkpoint().unwrap();
    assert!(!has(&disk, &path));
    store.close(WAIT).unwrap();
    let store = open(&disk, &manifest);
    assert_eq!(store.verify().findings, [damage]);
}

/// A cut at any call of the checkpoint that sets segments aside, and of the opening behind it.
#[test]
fn a_crash_while_segments_are_set_aside_loses_none_of_them() {
    let (disk, manifest, path, at) = killed(false);
    disk.flip(&path, at, 1);
    let harmed = disk.read_raw(&path);
    let store = open(&disk, &manifest);
    let damage = corrupt(&store);
    drop(store);
    let (disk, manifest) = (disk.crash_image_keeping_all(), manifest.snapshot());
    let mut cuts = 0;
    for cut in 0.. {
        let (disk, manifest) = (disk.snapshot(), manifest.snapshot());
        let store = open(&disk, &manifest);
        disk.fail_at(disk.op_count() + cut, Fault::PowerCut);
        let done = store.checkpoint().is_ok();
        drop(store);
        for seed in 0..4 {
            let (image, rows) = (disk.crash_image(seed), manifest.snapshot());
            let store = open(&image, &rows);
            assert_eq!(corrupt(&store), damage, "cut {cut}, seed {seed}");
            assert_others(&store, |_| 1);
            store.checkpoint().unwrap();
            store.close(WAIT).unwrap();
            let there = [path.clone(), damaged_file(&path)];
            let kept = there.iter().filter(|path| has(&image, path));
            let kept: Vec<_> = kept.map(|path| image.read_raw(path)).collect();
            assert!(kept == [harmed.clone()], "cut {cut}, seed {seed}");
        }
        cuts += 1;
        if done {
            break;
        }
    }
    assert!(10 < cuts, "{cuts}");
}
