//! Flipped bytes of a `data.mdb`: each used byte of a small one, and thousands of a large one, with so many
//! databases that the tree has branch pages, and a list of free pages. Each flip is an error or a sound manifest, never a signal:
//! were it one, this process would be gone. Of some the whole store is opened or repaired.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::IoBackend;
use bop_storage::limits::{Limits, ValidLimits};
use bop_storage::manifest::{
    DatabaseState, LmdbManifest, Manifest, ManifestState, Table, scan_all,
};
use bop_storage::testing::SplitMix64;
use bop_storage::{DbKind, ErrorCode, Housekeeping, Manager, Options, RepairMode, StoreId};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DATABASES: usize = 2500;
/// Those that were not dropped.
const LIVE: usize = DATABASES - DATABASES / 50;
const FLIPS: u64 = 2000;
/// One flip in so many is given to the whole store.
const OPENED: u64 = 200;
const WAIT: Duration = Duration::from_secs(60);

fn limits() -> ValidLimits {
    Limits::default().validated().unwrap()
}

fn options() -> Options {
    Options::new()
        .io(IoBackend::Std)
        .housekeeping(Housekeeping::Manual)
}

/// A store of many databases with long names, some renamed and dropped.
fn make(dir: &Path) -> StoreId {
    let store = Manager::open(dir, options()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let store = &store;
            scope.spawn(move || {
                for nth in (thread..DATABASES).step_by(32) {
                    let name = format!("database number {nth} {}", "x".repeat(nth % 180));
                    store.create_database(&name, DbKind::Raw).unwrap();
                    match nth % 50 {
                        7 => store
                            .rename_database(&name, &format!("renamed {nth}"))
                            .unwrap(),
                        9 => store.drop_database(&name).unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    // A few in chunks, and the rows of all names. What the transactions before used is free then.
    for nth in 0..20 {
        let db = store.database(&format!(
            "database number {} {}",
            nth * 50,
            "x".repeat(nth * 50 % 180)
        ));
        let mut write = db.unwrap().begin_write(WAIT).unwrap();
        write
            .write_page(bop_storage::PageNo::FIRST, &[nth as u8; 4096])
            .unwrap();
        write.commit().unwrap();
        store.checkpoint().unwrap();
    }
    store.close(WAIT).unwrap();
    Manager::inspect_manifest(dir, &options()).unwrap().store()
}

type Rows = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// All rows that the walker and LMDB give.
fn rows(lmdb: &LmdbManifest) -> Result<Rows, ErrorCode> {
    let mut rows = Rows::new();
    for table in Table::ALL {
        let scanned = scan_all(lmdb, table, |key, value| rows.push((table, key, value)));
        scanned.map_err(|error| error.code())?;
    }
    Ok(rows)
}

/// What a store makes of the rows, unless it says that they are damaged.
fn state(lmdb: LmdbManifest, store: StoreId) -> Option<ManifestState> {
    match Manifest::open(Arc::new(lmdb), store) {
        Ok(manifest) => {
            // Rows of the feed are not looked at before they are read.
            let sound = manifest.verify().unwrap().is_empty();
            let state = manifest.state();
            manifest.close(Instant::now());
            sound.then_some(state)
        }
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
            None
        }
    }
}

/// What became of a flip.
enum Outcome {
    /// The walker or LMDB's own checks.
    Refused,
    /// Rows that are not believed.
    Told,
    Harmless,
}

fn look(dir: &Path, store: StoreId, at: usize, (truth, known): (&Rows, &[String])) -> Outcome {
    let opened = LmdbManifest::open(dir, &limits()).map_err(|error| error.code());
    let found = opened.and_then(|lmdb| Ok((rows(&lmdb)?, lmdb)));
    match found {
        Err(code) => {
            // LMDB's own version stands in its meta pages.
            let newer = code == ErrorCode::UnsupportedFormat && at < 2 * 4096;
            assert!(newer || code == ErrorCode::Corrupt, "byte {at}: {code:?}");
            Outcome::Refused
        }
        Ok((found, _)) if found == *truth => Outcome::Harmless,
        Ok((found, lmdb)) => match state(lmdb, store) {
            None => Outcome::Told,
            // Without the newest meta page the transaction before counts: by the store's end, the same names.
            Some(state) => {
                assert!(
                    at < 2 * 4096,
                    "byte {at}: rows changed, and nobody said so: {:?}",
                    changed(truth, &found)
                );
                assert_eq!(names(&state), known, "byte {at}");
                Outcome::Harmless
            }
        },
    }
}

/// The rows that only one side has.
fn changed(truth: &Rows, found: &Rows) -> (Rows, Rows) {
    let only = |rows: &Rows, others: &Rows| {
        let only = rows.iter().filter(|row| !others.contains(row));
        only.cloned().collect()
    };
    (only(truth, found), only(found, truth))
}

/// The names of those that are live: tombstones are forgotten in time.
fn names(state: &ManifestState) -> Vec<String> {
    let rows = state.databases().map(|(_, row)| row);
    let live = rows.filter(|row| row.state == DatabaseState::Live);
    live.map(|row| row.name.to_string()).collect()
}

/// What a page of LMDB is, by its flags.
fn kinds(file: &[u8]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for page in file.chunks_exact(4096) {
        let kind = match u16::from_ne_bytes([page[10], page[11]]) & 0xf {
            1 => "branch",
            2 => "leaf",
            4 => "overflow",
            8 => "meta",
            _ => "other",
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    kinds
}

/// A place of the file: anywhere, or (as often) in a header or among the pointers of a page, or in a page
/// of a rare kind, where a flip misleads LMDB most.
fn place(file: &[u8], rare: &[usize], random: &mut SplitMix64) -> usize {
    let pages = (file.len() / 4096) as u64;
    let page = match random.below(4) {
        0 => rare[random.below(rare.len() as u64) as usize],
        _ => random.below(pages) as usize,
    };
    let within = match random.below(2) {
        0 => random.below(4096),
        _ => random.below(96),
    };
    page * 4096 + within as usize
}

fn data_file(dir: &Path) -> PathBuf {
    dir.join("manifest/data.mdb")
}

#[test]
fn two_thousand_flips_of_a_large_manifest_are_errors_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let store = make(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    let kinds = kinds(&whole);
    assert!(2 < kinds["branch"] && kinds["meta"] == 2, "{kinds:?}");
    let flags = |page: &usize| whole[page * 4096 + 10] & 0xd != 0;
    let rare: Vec<usize> = (0..whole.len() / 4096).filter(flags).collect();
    let lmdb = LmdbManifest::open(dir.path(), &limits()).unwrap();
    let truth = rows(&lmdb).unwrap();
    let known = names(&state(lmdb, store).unwrap());
    assert_eq!(known.len(), LIVE);
    let mut writing = fs::OpenOptions::new();
    let file = writing.write(true).open(data_file(dir.path())).unwrap();
    let seed = 11;
    let mut random = SplitMix64::new(seed);
    let (mut refused, mut told, mut harmless, mut opened) = (0, 0, 0, 0);
    for nth in 0..FLIPS {
        let at = place(&whole, &rare, &mut random);
        let flipped = whole[at] ^ (1 << random.below(8)) as u8;
        file.write_all_at(&[flipped], at as u64).unwrap();
        match look(dir.path(), store, at, (&truth, &known)) {
            Outcome::Refused => refused += 1,
            Outcome::Told => told += 1,
            Outcome::Harmless => harmless += 1,
        }
        if nth % OPENED == 0 {
            let what = format!("seed {seed}, flip {nth}, byte {at}");
            opened += open_whole(dir.path(), &whole, &known, &what);
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    println!("{kinds:?}: {refused} refused, {told} told, {harmless} harmless; {opened} rebuilt");
    assert!(FLIPS / 20 < refused && 10 < told && 10 < harmless && 0 < opened);
    assert!(
        fs::read(data_file(dir.path())).unwrap() == whole,
        "nothing was written"
    );
}

/// A copy of the store is opened as it is, or repaired if that is refused: all databases are there then.
/// Answers how many were rebuilt.
fn open_whole(dir: &Path, whole: &[u8], names: &[String], what: &str) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    copy_all(dir, copy.path());
    assert_eq!(fs::read(data_file(copy.path())).unwrap().len(), whole.len());
    let rebuilt = match Manager::repair(copy.path(), &options(), RepairMode::default()) {
        Ok(report) => {
            assert!(report.done, "{what}");
            1
        }
        // It is sound, then.
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::TargetExists, "{what}: {error}");
            0
        }
    };
    let store = Manager::open(copy.path(), options()).unwrap();
    let found: Vec<String> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(found.len(), names.len(), "{what}");
    assert!(found.iter().all(|name| names.contains(name)), "{what}");
    store.close(WAIT).unwrap();
    rebuilt
}

/// A few databases, two of them in chunks, one renamed and one dropped.
fn make_small(dir: &Path) -> StoreId {
    let store = Manager::open(dir, options()).unwrap();
    for name in ["one", "two", "three", "four"] {
        let db = store.create_database(name, DbKind::Raw).unwrap();
        let mut write = db.begin_write(WAIT).unwrap();
        write
            .write_page(bop_storage::PageNo::FIRST, &[9; 4096])
            .unwrap();
        write.commit().unwrap();
        store.checkpoint().unwrap();
    }
    store.rename_database("two", "zwei").unwrap();
    store.drop_database("three").unwrap();
    store
        .snapshot_database("one", "before", &bop_storage::At::Now)
        .unwrap();
    store.checkpoint().unwrap();
    store.close(WAIT).unwrap();
    Manager::inspect_manifest(dir, &options()).unwrap().store()
}

/// The bytes of a page that LMDB has written something to: all but the room between the pointers and the
/// nodes, and what lies behind the fields of a meta page.
fn is_used(page: &[u8], at: usize) -> bool {
    let number = |at: usize| usize::from(u16::from_ne_bytes([page[at], page[at + 1]]));
    match number(10) & 0xf {
        1 | 2 => !(number(12) + 16..number(14)).contains(&at),
        8 => at < 192,
        _ => true,
    }
}

/// Each used byte by CI's share, or each with `BOP_MANIFEST_EVERY_BYTE=1`: an error or a sound manifest,
/// never a signal. Of some the whole store is opened or repaired.
#[test]
fn used_bytes_of_a_small_manifest_flipped_are_errors_or_harmless() {
    let every = std::env::var_os("BOP_MANIFEST_EVERY_BYTE").is_some();
    let step = if every { 1 } else { 3 };
    let dir = tempfile::tempdir().unwrap();
    let store = make_small(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    let lmdb = LmdbManifest::open(dir.path(), &limits()).unwrap();
    let truth = rows(&lmdb).unwrap();
    let known = names(&state(lmdb, store).unwrap());
    assert_eq!(known.len(), 3);
    let used = |at: &usize| is_used(&whole[at / 4096 * 4096..][..4096], at % 4096);
    let used: Vec<usize> = (0..whole.len()).filter(used).step_by(step).collect();
    let mut writing = fs::OpenOptions::new();
    let file = writing.write(true).open(data_file(dir.path())).unwrap();
    let (mut refused, mut told, mut harmless, mut opened) = (0, 0, 0, 0);
    for (nth, &at) in used.iter().enumerate() {
        let flipped = whole[at] ^ [0x01, 0x10, 0xff][nth % 3];
        file.write_all_at(&[flipped], at as u64).unwrap();
        match look(dir.path(), store, at, (&truth, &known)) {
            Outcome::Refused => refused += 1,
            Outcome::Told => told += 1,
            Outcome::Harmless => harmless += 1,
        }
        if nth % 97 == 0 {
            opened += open_whole(dir.path(), &whole, &known, &format!("byte {at}"));
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    let flips = used.len();
    println!(
        "{flips} flips: {refused} refused, {told} told, {harmless} harmless; {opened} rebuilt"
    );
    assert!(10 < refused && 10 < told && 0 < opened);
    assert!(
        fs::read(data_file(dir.path())).unwrap() == whole,
        "nothing was written"
    );
}

/// Bits that LMDB has for pages in memory, and flags of a tree that it never gives the one of free pages. It would believe them:
/// write to a page in the map, leave one out of a transaction, or look for a table of another kind. A page that it accepts is a
/// free one, and the next transaction is all there.
#[test]
fn flags_that_lmdb_never_writes_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    make_small(dir.path());
    let whole = fs::read(data_file(dir.path())).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut refused = 0;
    // Of meta pages the other one would count.
    let pages = (2..whole.len() / 4096).map(|page| vec![page * 4096 + 10]);
    let metas = vec![44, 4096 + 44];
    let flips = pages.flat_map(|at| [0x10, 0x4000, 0x8000].map(|bit| (at.clone(), bit)));
    for (places, bit) in flips.chain([0x04, 0x10, 0x20].map(|bit| (metas.clone(), bit))) {
        let mut flipped = whole.clone();
        for at in places.iter().copied() {
            let flags = u16::from_ne_bytes([flipped[at], flipped[at + 1]]) ^ bit;
            flipped[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
        let what = format!("bit {bit:#x} at {places:?}");
        copy_all(dir.path(), copy.path());
        fs::write(data_file(copy.path()), &flipped).unwrap();
        match Manager::open(copy.path(), options()) {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corrupt, "{what}: {error}");
                refused += 1;
            }
            Ok(store) => {
                assert_ne!(places, metas, "{what}");
                store.create_database("new", DbKind::Raw).unwrap();
                store.checkpoint().unwrap();
                store.close(WAIT).unwrap();
                let store = Manager::open(copy.path(), options()).unwrap();
                assert_eq!(store.databases().len(), 4, "{what}");
                store.close(WAIT).unwrap();
            }
        }
        fs::remove_dir_all(copy.path()).unwrap();
    }
    // Of two pages of trees at least, and of the meta pages.
    assert!(3 * 3 <= refused, "{refused}");
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
