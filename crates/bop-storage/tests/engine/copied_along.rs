//! Pages that nobody changed, copied along by a checkpoint that writes their range as a whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    At, Db, DbKind, Housekeeping, Limits, Manager, Options, PageNo, Place, ReadError,
};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
/// 2.5 MiB: three groups are read ahead.
const PAGES: u32 = 640;

fn open(disk: &SimDisk) -> Manager {
    let mut limits = Limits::default();
    (limits.range_bytes, limits.cache_bytes_max) = (4 << 20, 64 << 10);
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(MemoryManifest::new()));
    Manager::open("simulated", options).unwrap()
}

/// No page is like another one.
fn content(page: u32, version: u32) -> Vec<u8> {
    let words = (0..512).map(|nth| u64::from(page) << 40 | u64::from(version) << 20 | nth);
    words
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

fn write(db: &Db, version: u32, pages: impl Iterator<Item = u32>) {
    let mut write = db.begin_write(LONG).unwrap();
    for page in pages {
        let at = PageNo::new(page).unwrap();
        write.write_page(at, &content(page, version)).unwrap();
    }
    write.commit().unwrap();
}

/// Which version each page has: `changed` have the second one.
fn check(db: &Db, changed: impl Fn(u32) -> bool) {
    let read = db.begin_read().unwrap();
    for page in 1..=PAGES {
        let found = read.read_page(PageNo::new(page).unwrap()).unwrap();
        let version = if changed(page) { 2 } else { 1 };
        assert!(found[..] == content(page, version)[..], "page {page}");
    }
}

/// A database in chunks.
fn cold(disk: &SimDisk) -> (Manager, Db) {
    let store = open(disk);
    let db = store.create_database("cold", DbKind::Raw).unwrap();
    write(&db, 1, 1..=PAGES);
    store.checkpoint().unwrap();
    (store, db)
}

/// Two of three, so that the range is written as a whole, and the others are copied from the chunk.
fn is_changed(page: u32) -> bool {
    !page.is_multiple_of(3)
}

/// A third of 640 pages, one by one, would be 213 reads.
const READS_MAX: u64 = 40;

/// How many reads a checkpoint makes that copies so much.
fn reads_of_checkpoint(disk: &SimDisk, store: &Manager) -> u64 {
    let reads = disk.read_count();
    let report = store.checkpoint().unwrap();
    assert_eq!(report.pages, PAGES.into());
    disk.read_count() - reads
}

/// Those of one that copies all pages from the log.
fn reads_of_the_log() -> u64 {
    let disk = SimDisk::new(1);
    let (store, db) = cold(&disk);
    write(&db, 2, 1..=PAGES);
    reads_of_checkpoint(&disk, &store)
}

/// A checkpoint that copies pages along reads few times more than one that copies all from the log.
fn check_reads(disk: &SimDisk, store: &Manager) {
    let (reads, of_log) = (reads_of_checkpoint(disk, store), reads_of_the_log());
    assert!(
        reads < of_log + READS_MAX,
        "{reads} reads, {of_log} of them of the log"
    );
}

#[test]
fn they_are_read_many_at_a_time() {
    let disk = SimDisk::new(1);
    let (store, db) = cold(&disk);
    write(&db, 2, (1..=PAGES).filter(|page| is_changed(*page)));
    check_reads(&disk, &store);
    check(&db, is_changed);
    assert!(store.verify().findings.is_empty());
    store.close(LONG).unwrap();
}

#[test]
fn those_of_a_forks_origin_are_read_so_too() {
    let disk = SimDisk::new(1);
    let (store, parent) = cold(&disk);
    store.fork_database("cold", "fork", &At::Now).unwrap();
    let fork = store.database("fork").unwrap();
    write(&fork, 2, (1..=PAGES).filter(|page| is_changed(*page)));
    drop(parent);
    // What is nobody's any more but the fork's is folded into it.
    store.drop_database_now("cold").unwrap();
    check_reads(&disk, &store);
    check(&fork, is_changed);
    assert!(store.verify().findings.is_empty());
    store.close(LONG).unwrap();
}

/// Whichever read fails once: either it is made again, or the next checkpoint copies the database.
#[test]
fn a_read_that_fails_loses_nothing() {
    let disk = SimDisk::new(1);
    let (store, db) = cold(&disk);
    for nth in (0..120).step_by(3) {
        write(&db, 2, (1..=PAGES).filter(|page| is_changed(*page)));
        disk.fail_read_at(disk.read_count() + nth, Fault::Error(5));
        let report = store.checkpoint().unwrap();
        disk.heal();
        match report.databases_skipped {
            0 => assert_eq!(report.pages, PAGES.into(), "read {nth}"),
            _ => drop(reads_of_checkpoint(&disk, &store)),
        }
        check(&db, is_changed);
    }
    assert!(store.verify().findings.is_empty());
    store.close(LONG).unwrap();
}

/// Damage of one page of those that are read together leaves out its own database, and is told with its place.
#[test]
fn damage_among_them_leaves_out_their_database() {
    let disk = SimDisk::new(1);
    let (store, db) = cold(&disk);
    let damaged = 3 * 150;
    let needle = &content(damaged, 1)[..64];
    let chunks = disk.files().into_iter().map(|(path, _)| path);
    let found = chunks
        .filter(|path| path.starts_with("chunks"))
        .find_map(|path| {
            let bytes = disk.read_raw(&path);
            let at = bytes.windows(64).position(|window| window == needle)?;
            Some((path, at, bytes))
        });
    let (path, at, mut bytes) = found.unwrap();
    bytes[at] ^= 1;
    disk.write_raw(&path, &bytes);
    write(&db, 2, (1..=PAGES).filter(|page| is_changed(*page)));
    let report = store.checkpoint().unwrap();
    assert_eq!(report.databases_skipped, 1);
    let read = db.begin_read().unwrap();
    let told = read.read_page(PageNo::new(damaged).unwrap());
    let place = match told {
        Err(ReadError::Damaged(damage)) => damage.place,
        other => panic!("{other:?}"),
    };
    let is_there = matches!(place, Place::Chunk { offset, .. } if offset == at as u64);
    assert!(is_there, "{place:?}, not {at}");
    drop(read);
    store.close(LONG).unwrap();
}
