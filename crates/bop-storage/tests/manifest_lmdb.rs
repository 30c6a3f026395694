//! The LMDB manifest: the conformance suite of all stores, and what only a real file can do:
//! reopen, grow, be left half made, be truncated, be garbage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends by a panic, its helpers too"
)]

use bop_storage::error::{ErrorCode, ManifestError, Place, Reject};
use bop_storage::limits::{Limits, ValidLimits};
use bop_storage::manifest::suite::manifest_suite;
use bop_storage::manifest::{LmdbManifest, ManifestStore, MemoryManifest, Table, Write, scan_all};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::env;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

const KIB: u64 = 1 << 10;

fn limits() -> ValidLimits {
    Limits::tiny().validated().unwrap()
}

fn map_limits(min: u64, max: u64) -> ValidLimits {
    let mut limits = Limits::tiny();
    limits.manifest_map_bytes_min = min;
    limits.manifest_map_bytes_max = max;
    limits.validated().unwrap()
}

fn put(n: u64, value: &[u8]) -> Write {
    Write::Put {
        table: Table::Chunks,
        key: n.to_be_bytes().to_vec(),
        value: value.to_vec(),
    }
}

fn rows(store: &dyn ManifestStore) -> Vec<(u64, Vec<u8>)> {
    let mut rows = Vec::new();
    scan_all(store, Table::Chunks, |key, value| {
        rows.push((u64::from_be_bytes(key.try_into().unwrap()), value));
    })
    .unwrap();
    rows
}

fn data_file(store: &Path) -> PathBuf {
    store.join("manifest/data.mdb")
}

fn reason(result: Result<LmdbManifest, ManifestError>) -> Reject {
    match result.expect_err("the manifest must not open") {
        ManifestError::Damaged(damage) => {
            assert!(matches!(damage.place, Place::File(_)), "{damage}");
            damage.reason
        }
        error => panic!("{error}"),
    }
}

/// A directory of a store that removes itself, with the manifest in it.
#[derive(Debug)]
struct Owned {
    manifest: LmdbManifest,
    _dir: TempDir,
}

impl ManifestStore for Owned {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        self.manifest.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ManifestError> {
        self.manifest.scan(table, from, limit)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        self.manifest.commit(writes)
    }

    fn close(&self) {
        self.manifest.close();
    }
}

#[test]
fn lmdb_and_its_twin_do_what_every_store_must_do() {
    manifest_suite(&|| Arc::new(MemoryManifest::new()));
    manifest_suite(&|| {
        let dir = tempfile::tempdir().unwrap();
        let manifest = LmdbManifest::create(dir.path(), &limits(), &[]).unwrap();
        Arc::new(Owned {
            manifest,
            _dir: dir,
        })
    });
}

#[test]
fn what_was_committed_is_there_after_every_reopening() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!LmdbManifest::exists(dir.path()).unwrap());
    drop(LmdbManifest::create(dir.path(), &limits(), &[put(0, b"first")]).unwrap());
    assert!(LmdbManifest::exists(dir.path()).unwrap());
    for n in 1..5 {
        let manifest = LmdbManifest::open(dir.path(), &limits()).unwrap();
        assert_eq!(rows(&manifest).len() as u64, n);
        manifest.commit(&[put(n, b"later")]).unwrap();
        if n % 2 == 0 {
            manifest.close();
            manifest.close();
            let closed = manifest.get(Table::Chunks, b"key").unwrap_err();
            assert_eq!(closed.code(), ErrorCode::Closed);
            let closed = manifest.commit(&[put(99, b"")]).unwrap_err();
            assert_eq!(closed.code(), ErrorCode::Closed);
        }
    }
}

#[test]
fn an_empty_manifest_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default().validated().unwrap();
    let _manifest = LmdbManifest::create(dir.path(), &limits, &[put(0, b"first")]).unwrap();
    let bytes: u64 = fs::read_dir(dir.path().join("manifest"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 128 * KIB, "{bytes} bytes");
}

#[test]
fn the_map_doubles_until_its_limit_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let limits = map_limits(64 * KIB, 1024 * KIB);
    let manifest = LmdbManifest::create(dir.path(), &limits, &[]).unwrap();
    assert_eq!(manifest.map_bytes(), 64 * KIB);
    let value = vec![7; 3000];
    let mut committed = 0;
    let full = loop {
        match manifest.commit(&[put(committed, &value)]) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, ManifestError::Full { limit } if limit == 1024 * KIB));
    assert_eq!(full.code(), ErrorCode::LimitReached);
    assert_eq!(manifest.map_bytes(), 1024 * KIB);
    assert_eq!(rows(&manifest).len() as u64, committed);
    drop(manifest);
    let manifest = LmdbManifest::open(dir.path(), &limits).unwrap();
    assert_eq!(rows(&manifest).len() as u64, committed);
    manifest.close();
    // A larger limit is all it takes.
    let limits = map_limits(64 * KIB, 2048 * KIB);
    let manifest = LmdbManifest::open(dir.path(), &limits).unwrap();
    manifest.commit(&[put(committed, &value)]).unwrap();
    assert_eq!(rows(&manifest).len() as u64, committed + 1);
}

/// LMDB unmaps the file before it maps it anew: when the kernel refuses, nothing may be read. In a
/// child process, whose address space is limited.
#[test]
fn a_map_that_cannot_grow_ends_the_manifest_and_nothing_else() {
    const CHILD: &str = "BOP_TEST_MAP_CANNOT_GROW";
    let Some(dir) = env::var_os(CHILD) else {
        let dir = tempfile::tempdir().unwrap();
        let name = "a_map_that_cannot_grow_ends_the_manifest_and_nothing_else";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{}: {said}", child.status);
        return;
    };
    let dir = Path::new(&dir);
    let limits = map_limits(64 * KIB, 4096 * 1024 * KIB);
    let manifest = LmdbManifest::create(dir, &limits, &[]).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut words = status.split_whitespace();
    words.find(|word| *word == "VmSize:").unwrap();
    let used: u64 = words.next().unwrap().parse().unwrap();
    let before = getrlimit(Resource::As);
    let most = Rlimit {
        current: Some((used + 12 * 1024) * KIB),
        maximum: before.maximum,
    };
    setrlimit(Resource::As, most).unwrap();
    let mut committed = 0;
    let refused = loop {
        match manifest.commit(&[put(committed, &[1; 200_000])]) {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    let out_of_memory = |error: &ManifestError| {
        let nomem = Errno::NOMEM.raw_os_error();
        matches!(error, ManifestError::Io(failure) if failure.errno == nomem)
    };
    assert!(out_of_memory(&refused), "{refused}");
    assert_eq!(manifest.map_bytes(), 0);
    let read = manifest.get(Table::Chunks, &[0; 8]).unwrap_err();
    assert_eq!(read.code(), ErrorCode::Closed);
    let read = manifest.scan(Table::Chunks, &[], 10).unwrap_err();
    assert_eq!(read.code(), ErrorCode::Closed);
    assert!(out_of_memory(&manifest.commit(&[put(0, b"")]).unwrap_err()));
    manifest.close();
    // With memory again, the store opens with all that was committed.
    setrlimit(Resource::As, before).unwrap();
    let manifest = LmdbManifest::open(dir, &limits).unwrap();
    assert_eq!(rows(&manifest).len() as u64, committed);
}

/// One transaction that does not fit a map of any of the first sizes, with readers beside it.
#[test]
fn a_large_transaction_grows_the_map_while_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let limits = map_limits(64 * KIB, 16 * 1024 * KIB);
    let manifest = LmdbManifest::create(dir.path(), &limits, &[put(0, b"")]).unwrap();
    let writes: Vec<Write> = (1..1000).map(|n| put(n, &[1; 2000])).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            manifest.commit(&writes).unwrap();
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let seen = manifest.scan(Table::Chunks, &[], 1000).unwrap().len();
                    assert!(seen == 1 || seen == 1000, "{seen} rows");
                }
            });
        }
    });
    assert_eq!(rows(&manifest).len(), 1000);
    assert!(64 * KIB < manifest.map_bytes());
}

#[test]
fn a_half_made_environment_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    // What a kill leaves before the rename: garbage, or a whole environment with other rows.
    let new = dir.path().join("scratch/manifest.new");
    for step in 0..3 {
        let _ = fs::remove_dir_all(dir.path().join("manifest"));
        fs::create_dir_all(&new).unwrap();
        if 0 < step {
            fs::write(new.join("data.mdb"), b"half a page").unwrap();
        }
        if 1 < step {
            fs::remove_dir_all(&new).unwrap();
            drop(LmdbManifest::create(dir.path(), &limits(), &[put(7, b"old")]).unwrap());
            fs::rename(dir.path().join("manifest"), &new).unwrap();
        }
        assert!(!LmdbManifest::exists(dir.path()).unwrap());
        assert_eq!(
            reason(LmdbManifest::open(dir.path(), &limits())),
            Reject::Missing
        );
        let manifest = LmdbManifest::create(dir.path(), &limits(), &[put(1, b"new")]).unwrap();
        assert_eq!(rows(&manifest), [(1, b"new".to_vec())]);
        assert!(!new.exists());
    }
}

#[test]
fn creation_never_replaces_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    drop(LmdbManifest::create(dir.path(), &limits(), &[put(1, b"mine")]).unwrap());
    let again = LmdbManifest::create(dir.path(), &limits(), &[put(2, b"other")]);
    assert_eq!(again.unwrap_err().code(), ErrorCode::Io);
    let manifest = LmdbManifest::open(dir.path(), &limits()).unwrap();
    assert_eq!(rows(&manifest), [(1, b"mine".to_vec())]);
}

#[test]
fn strangers_in_place_of_the_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(LmdbManifest::create(dir.path(), &limits(), &[]).unwrap());
    let (file, aside) = (data_file(dir.path()), dir.path().join("aside"));
    fs::rename(&file, &aside).unwrap();
    let open = || reason(LmdbManifest::open(dir.path(), &limits()));
    assert_eq!(open(), Reject::Missing);
    std::os::unix::fs::symlink(&aside, &file).unwrap();
    assert!(matches!(open(), Reject::Invalid(_)));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(matches!(open(), Reject::Invalid(_)));
    fs::remove_dir(&file).unwrap();
    let garbage: Vec<u8> = (0..20_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    for bytes in [&b""[..], b"x", &[0; 4096], &[0; 20_000], &garbage] {
        fs::write(&file, bytes).unwrap();
        assert!(
            matches!(open(), Reject::Truncated { .. } | Reject::Magic),
            "{} bytes",
            bytes.len()
        );
        // Nothing was written over what was found.
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
}

/// LMDB follows a symbolic link to its table of readers, and writes there.
#[test]
fn strangers_in_place_of_the_reader_table_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(LmdbManifest::create(dir.path(), &limits(), &[]).unwrap());
    let open = || LmdbManifest::open(dir.path(), &limits());
    let (lock, aside) = (
        dir.path().join("manifest/lock.mdb"),
        dir.path().join("aside"),
    );
    fs::remove_file(&lock).unwrap();
    drop(open().unwrap());
    fs::remove_file(&lock).unwrap();
    fs::write(&aside, b"somebody else's").unwrap();
    let place = |error| match error {
        ManifestError::Damaged(damage) => damage.place,
        error => panic!("{error}"),
    };
    for target in [aside.clone(), dir.path().join("nowhere")] {
        std::os::unix::fs::symlink(&target, &lock).unwrap();
        let refused = open().expect_err("a link must be refused");
        assert_eq!(place(refused), Place::File("manifest/lock.mdb".into()));
        fs::remove_file(&lock).unwrap();
    }
    assert_eq!(fs::read(&aside).unwrap(), b"somebody else's");
    assert!(!dir.path().join("nowhere").exists());
    fs::create_dir(&lock).unwrap();
    assert!(matches!(reason(open()), Reject::Invalid(_)));
}

/// A manifest with a tree of several levels, large values and a list of free pages.
fn grown(dir: &Path) -> Vec<u8> {
    let manifest = LmdbManifest::create(dir, &limits(), &[]).unwrap();
    let writes: Vec<Write> = (0..400).map(|n| put(n, &[n as u8; 40])).collect();
    manifest.commit(&writes).unwrap();
    manifest.commit(&[put(1000, &[9; 10_000])]).unwrap();
    let gone: Vec<Write> = (100..200_u64)
        .map(|n| Write::Delete {
            table: Table::Chunks,
            key: n.to_be_bytes().to_vec(),
        })
        .collect();
    manifest.commit(&gone).unwrap();
    manifest.commit(&[put(5, b"again")]).unwrap();
    drop(manifest);
    fs::read(data_file(dir)).unwrap()
}

/// Opens, reads everything and writes: any answer will do, as long as it is one. Returns the rows.
fn use_all(dir: &Path) -> Option<Vec<(u64, Vec<u8>)>> {
    let manifest = LmdbManifest::open(dir, &limits()).ok()?;
    let found = raw_rows(&manifest).ok()?;
    let _ = manifest.commit(&[put(7, &[1; 5000]), put(8, b"x")]);
    Some(found)
}

/// The rows of all tables, which only the chunks have; a key that is no number counts as 0.
fn raw_rows(manifest: &LmdbManifest) -> Result<Vec<(u64, Vec<u8>)>, ManifestError> {
    let mut found = Vec::new();
    for table in Table::ALL {
        let row = |key: Vec<u8>, value| {
            let number = key.try_into().map_or(0, u64::from_be_bytes);
            found.push((number, value));
        };
        scan_all(manifest, table, row)?;
    }
    Ok(found)
}

/// One row at most differs, which its checksum would tell; none is lost or made up.
fn agree(found: &[(u64, Vec<u8>)], truth: &[(u64, Vec<u8>)]) -> bool {
    let differ = truth.iter().filter(|row| !found.contains(row)).count();
    found.len() == truth.len() && differ <= 1
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let whole = grown(dir.path());
    let mut refused = 0;
    for length in (0..whole.len()).step_by(512) {
        fs::write(data_file(dir.path()), &whole[..length]).unwrap();
        if use_all(dir.path()).is_none() {
            refused += 1;
            fs::write(data_file(dir.path()), &whole[..length]).unwrap();
            assert!(matches!(
                reason(LmdbManifest::open(dir.path(), &limits())),
                Reject::Truncated { .. }
            ));
        }
    }
    // Only free pages at the end are not missed.
    assert!(whole.len() / 512 / 2 < refused, "{refused}");
    fs::write(data_file(dir.path()), &whole).unwrap();
    assert!(use_all(dir.path()).is_some());
}

/// LMDB would end the process for many of these, or lose rows: the walker must stand before it.
#[test]
fn flipped_bytes_never_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let whole = grown(dir.path());
    let truth = use_all(dir.path()).unwrap();
    // Without the newest meta page, the commit before counts.
    let mut before = truth.clone();
    before[5].1 = vec![5; 40];
    let structure = (0..whole.len()).filter(|at| at % 4096 < 200);
    let elsewhere = (0..whole.len()).filter(|at| at % 97 == 0);
    let (mut tried, mut refused) = (0, 0);
    for at in structure.chain(elsewhere) {
        let mut bytes = whole.clone();
        bytes[at] ^= [0x01, 0x10, 0xff][at % 3];
        fs::write(data_file(dir.path()), &bytes).unwrap();
        tried += 1;
        match use_all(dir.path()) {
            None => refused += 1,
            Some(rows) if at < 2 * 4096 => assert!(rows == truth || rows == before, "byte {at}"),
            Some(rows) => assert!(agree(&rows, &truth), "byte {at}"),
        }
    }
    println!("{refused} of {tried} refused");
    assert!(100 < refused);
}

/// Where the keys of the rows stand in a file, in leaf and in branch pages, current and free ones.
fn key_bytes(file: &[u8]) -> Vec<usize> {
    let is_key = |bytes: &[u8]| {
        bytes[0] == Table::Chunks.number()
            && u64::from_be_bytes(bytes[1..].try_into().unwrap()) <= 1000
    };
    let keys = file.windows(9).enumerate().filter(|(_, key)| is_key(key));
    keys.flat_map(|(at, _)| at..at + 9).collect()
}

/// A key out of its order sends a search astray: rows are lost, or a scan never ends.
#[test]
fn a_flipped_bit_of_a_key_loses_no_row_and_hangs_no_scan() {
    let dir = tempfile::tempdir().unwrap();
    let small: Vec<Write> = (1..=3).map(|n| put(n, &[n as u8; 5])).collect();
    drop(LmdbManifest::create(dir.path(), &limits(), &small).unwrap());
    // Every bit.
    flip_keys(dir.path(), 3, 1);
    let dir = tempfile::tempdir().unwrap();
    grown(dir.path());
    // A sample of them, in which each bit of a key has its turn.
    flip_keys(dir.path(), 301, 13);
}

/// Flips each `step`-th bit of the keys.
fn flip_keys(dir: &Path, rows: usize, step: usize) {
    let whole = fs::read(data_file(dir)).unwrap();
    let open = || LmdbManifest::open(dir, &limits()).and_then(|manifest| raw_rows(&manifest));
    let truth = open().unwrap();
    assert_eq!(truth.len(), rows);
    let bits: Vec<usize> = key_bytes(&whole)
        .into_iter()
        .flat_map(|at| (8 * at)..(8 * at + 8))
        .step_by(step)
        .collect();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(data_file(dir))
        .unwrap();
    let mut refused = 0;
    for bit in &bits {
        let at = bit / 8;
        let flipped = whole[at] ^ 1 << (bit % 8);
        file.write_all_at(&[flipped], at as u64).unwrap();
        match open() {
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::Corrupt, "bit {bit}: {error}");
                refused += 1;
            }
            Ok(found) => assert!(agree(&found, &truth), "bit {bit}"),
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    println!("{refused} of {} refused", bits.len());
    assert!(0 < refused);
    assert_eq!(open().unwrap(), truth);
}
