//! Opening and closing in states that are hard to reach by chance.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::IoOp;
use bop_storage::manifest::{MemoryManifest, Table, scan_all};
use bop_storage::runtime::{Joiner, Runtime, Spawn};
use bop_storage::testing::{Fault, SimDisk, SplitMix64};
use bop_storage::{
    CatalogueError, CloseError, DbKind, ErrorCode, Housekeeping, Limits, Lsn, Manager, OpenError,
    Options, PageNo, Retention,
};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const EIO: i32 = 5;

fn simulated(disk: &SimDisk, manifest: &MemoryManifest) -> Options {
    Options::new()
        .limits(Limits::tiny())
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()))
}

fn manual(disk: &SimDisk, manifest: &MemoryManifest) -> Options {
    simulated(disk, manifest).housekeeping(Housekeeping::Manual)
}

fn open(options: Options) -> Manager {
    Manager::open("simulated", options).unwrap()
}

fn put(store: &Manager, name: &str, byte: u8) -> Lsn {
    let mut write = store.database(name).unwrap().begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write.commit().unwrap().lsn()
}

fn get(store: &Manager, name: &str) -> u8 {
    let read = store.database(name).unwrap().begin_read().unwrap();
    read.read_page(PageNo::FIRST).unwrap()[0]
}

#[test]
fn a_close_without_patience_tells_who_is_inside_and_unlocks_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = Manager::open(dir.path(), Options::new()).unwrap();
        if round == 0 {
            store.create_database("a", DbKind::Raw).unwrap();
        }
        put(&store, "a", round);
        let inside = store.database("a").unwrap().begin_read().unwrap();
        let error = store.close(Duration::ZERO).unwrap_err();
        assert!(
            matches!(error, CloseError::StillOpen { transactions: 1 }),
            "{error}"
        );
        let again = Manager::open(dir.path(), Options::new()).unwrap();
        assert_eq!(get(&again, "a"), round);
        let code = inside.read_page(PageNo::FIRST).unwrap_err().code();
        assert_eq!(code, ErrorCode::Closed);
    }
}

#[test]
fn a_wait_without_end_is_no_overflow() {
    let store = open(simulated(&SimDisk::new(1), &MemoryManifest::new()));
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let held = db.begin_write(Duration::MAX).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| db.begin_write(Duration::MAX).map(drop));
        drop(held);
        waiter.join().unwrap().unwrap();
    });
    store.close(Duration::MAX).unwrap();
}

#[test]
fn those_who_wait_for_a_writer_are_told_at_once_that_the_store_closes() {
    let store = open(simulated(&SimDisk::new(1), &MemoryManifest::new()));
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let held = db.begin_write(LONG).unwrap();
    thread::scope(|scope| {
        let (told, answers) = mpsc::channel();
        let of_waiter = told.clone();
        scope.spawn(|| {
            let waited = db.begin_write(LONG).map(drop);
            of_waiter.send(waited.unwrap_err().code()).unwrap();
            drop(of_waiter);
        });
        scope.spawn(|| {
            let dropped = store.drop_database("a");
            told.send(dropped.unwrap_err().code()).unwrap();
            drop(told);
        });
        let closing = scope.spawn(|| store.close(LONG));
        // The writer is still inside: it is not what they waited for.
        let answers: Vec<_> = answers.iter().take(2).collect();
        assert_eq!(answers, [ErrorCode::Closed; 2]);
        drop(held);
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn a_store_that_is_closed_while_it_is_verified_is_not_called_damaged() {
    let store = open(simulated(&SimDisk::new(1), &MemoryManifest::new()));
    let db = store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", 7);
    assert!(store.verify().is_healthy());
    let held = db.begin_read().unwrap();
    thread::scope(|scope| {
        let closing = scope.spawn(|| store.close(LONG));
        // The reader is still inside.
        let report = loop {
            let report = store.verify();
            if report.closed {
                break report;
            }
        };
        assert_eq!(
            (report.is_healthy(), &report.findings[..]),
            (false, &[][..])
        );
        drop(held);
        closing.join().unwrap().unwrap();
    });
    let report = store.verify();
    assert!(report.closed && report.findings.is_empty(), "{report:?}");
}

#[test]
fn a_write_that_hangs_keeps_the_store_locked() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let mut limits = Limits::tiny();
    limits.io_deadline = Duration::from_millis(50);
    let store = open(manual(&disk, &manifest).limits(limits));
    store.create_database("a", DbKind::Raw).unwrap();
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let writer = scope.spawn(|| put(&store, "a", 7));
        disk.wait_until_hung(1);
        let error = store.close(Duration::ZERO).unwrap_err();
        assert!(matches!(error, CloseError::StillStalled), "{error}");
        let second = Manager::open("simulated", manual(&disk, &manifest)).unwrap_err();
        assert_eq!(second.code(), ErrorCode::StoreLocked);
        disk.release_hung();
        writer.join().unwrap();
    });
    // The process has ended, as far as the lock knows.
    let after = open(manual(&disk.snapshot(), &manifest));
    assert_eq!(get(&after, "a"), 7);
}

/// The same where its batch is durable elsewhere meanwhile: the late write may still arrive, in a segment that whoever
/// opened the store next could be using again.
#[test]
fn a_write_that_was_overtaken_keeps_the_store_locked() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let mut limits = Limits::tiny();
    limits.io_deadline = Duration::from_millis(200);
    limits.stall_limit = Duration::from_millis(5);
    let store = open(simulated(&disk, &manifest).limits(limits));
    let db = store.create_database("a", DbKind::Raw).unwrap();
    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let writer = scope.spawn(|| put(&store, "a", 7));
        disk.wait_until_hung(1);
        while db.begin_read().unwrap().page_count() == 0 {
            thread::yield_now();
        }
        let error = store.close(Duration::ZERO).unwrap_err();
        assert!(matches!(error, CloseError::StillStalled), "{error}");
        let second = Manager::open("simulated", manual(&disk, &manifest)).unwrap_err();
        assert_eq!(second.code(), ErrorCode::StoreLocked);
        disk.release_hung();
        writer.join().unwrap();
    });
    let after = open(manual(&disk.snapshot(), &manifest));
    assert_eq!(get(&after, "a"), 7);
}

/// Starts no thread.
#[derive(Debug)]
struct NoThreads;

impl Spawn for NoThreads {
    fn spawn(
        &self,
        _name: &str,
        _body: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Box<dyn Joiner>> {
        Err(std::io::Error::from_raw_os_error(11))
    }
}

#[test]
fn an_open_that_fails_at_its_last_step_leaves_nothing_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    drop(store);
    let mut runtime = Runtime::system();
    runtime.spawn = Arc::new(NoThreads);
    for _ in 0..3 {
        let options = Options::new().runtime(runtime.clone());
        let error = Manager::open(dir.path(), options).unwrap_err();
        assert!(matches!(error, OpenError::System { .. }), "{error}");
    }
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    put(&store, "a", 1);
}

/// The N-th call of an open fails, for every N: a typed error, and the next open works.
#[test]
fn an_open_that_fails_anywhere_can_be_tried_again() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(manual(&disk, &manifest));
    store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", 7);
    drop(store);
    let mut failed = 0;
    for number in 0.. {
        let (disk, manifest) = (disk.snapshot(), manifest.snapshot());
        let call = disk.op_count() + number;
        disk.fail_at(call, Fault::Error(EIO));
        let first = Manager::open("simulated", manual(&disk, &manifest));
        let calls = disk.op_count();
        disk.heal();
        failed += u32::from(first.is_err());
        drop(first);
        let second = Manager::open("simulated", manual(&disk, &manifest))
            .unwrap_or_else(|error| panic!("after a failure of call {number}: {error}"));
        assert_eq!(get(&second, "a"), 7, "after a failure of call {number}");
        if calls < call {
            break;
        }
    }
    assert!(failed > 3, "{failed}");
}

/// A read that fails may close databases, but a device that reads again is believed again, and the
/// store always opens.
#[test]
fn a_device_that_fails_to_read_once_does_not_lose_the_store() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(manual(&disk, &manifest));
    store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", 7);
    drop(store);
    for number in 0.. {
        let (disk, manifest) = (disk.snapshot(), manifest.snapshot());
        let call = disk.read_count() + number;
        disk.fail_read_at(call, Fault::Error(EIO));
        let first = Manager::open("simulated", manual(&disk, &manifest));
        let calls = disk.read_count();
        disk.heal();
        drop(first);
        let second = Manager::open("simulated", manual(&disk, &manifest))
            .unwrap_or_else(|error| panic!("after a failure of read {number}: {error}"));
        match second.database("a") {
            Ok(_) => assert_eq!(get(&second, "a"), 7, "after a failure of read {number}"),
            Err(error) => {
                let corrupt = matches!(error, CatalogueError::Corrupt { .. });
                assert!(corrupt, "after a failure of read {number}: {error}");
            }
        }
        if calls < call {
            break;
        }
    }
}

/// The file of the newest segment of the log, spare or not.
fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("log")).collect()
}

#[test]
fn a_spare_that_must_be_stamped_again_is_forgotten_and_its_file_goes() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(manual(&disk, &manifest));
    store.create_database("a", DbKind::Raw).unwrap();
    put(&store, "a", 7);
    drop(store);
    let spare = segments(&disk).pop().unwrap();
    disk.flip(&spare, 20, 0xff);
    for round in 0..3 {
        let store = open(manual(&disk, &manifest));
        let present = segments(&disk);
        assert!(!present.contains(&spare), "{present:?}");
        // Every file that is there is part of the log, and a spare was made in its place.
        let status = store.status();
        assert_eq!(present.len(), status.log_segments + status.spare_segments);
        assert!(status.spare_segments >= 2);
        assert_eq!(get(&store, "a"), 7);
        // What was found is reported once.
        let findings = store.verify().findings.len();
        assert_eq!(findings, usize::from(round == 0));
    }
}

#[test]
fn damage_is_still_known_after_a_close() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(manual(&disk, &manifest));
    for name in ["a", "b"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    // Bytes that stand in the log as they are: what compresses is hard to find there.
    let mut content = [0; 4096];
    SplitMix64::new(1).fill(&mut content);
    let mut write = store.database("a").unwrap().begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &content).unwrap();
    write.commit().unwrap();
    put(&store, "b", 1);
    // The process is killed here.
    let (disk, manifest) = (disk.crash_image_keeping_all(), manifest.snapshot());
    drop(store);
    // The directory of the batch that has a's only commit: nobody can tell whose it was but by it.
    let log = segments(&disk).remove(0);
    let bytes = disk.read_raw(&log);
    let image = bytes
        .windows(64)
        .position(|window| window == &content[..64]);
    let block = image.unwrap() / 4096 * 4096;
    disk.flip(&log, block as u64 + 4000, 0xff);
    let damaged = |store: &Manager| -> Vec<String> {
        let infos = store.databases().into_iter();
        infos
            .filter(|info| info.damage.is_some())
            .map(|info| info.name)
            .collect()
    };
    let store = open(manual(&disk, &manifest));
    assert_eq!(damaged(&store), ["a"]);
    put(&store, "b", 2);
    store.close(LONG).unwrap();
    for _ in 0..2 {
        let store = open(manual(&disk, &manifest));
        assert_eq!(damaged(&store), ["a"], "the close must not vouch for it");
        assert_eq!(get(&store, "b"), 2);
        let error = store.database("a").unwrap_err();
        assert!(matches!(error, CatalogueError::Corrupt { .. }), "{error}");
        store.close(LONG).unwrap();
    }
    // Once it is dropped there is nothing to keep, and the log goes on being released.
    let store = open(manual(&disk, &manifest));
    store.drop_database("a").unwrap();
    store.close(LONG).unwrap();
    let store = open(manual(&disk, &manifest));
    assert_eq!(damaged(&store), [""; 0]);
    let before = store.status().truncated;
    for _ in 0..40 {
        put(&store, "b", 3);
    }
    store.checkpoint().unwrap();
    assert!(before < store.status().truncated);
}

fn rows_but_changes(manifest: &MemoryManifest) -> usize {
    let mut rows = 0;
    for table in Table::ALL
        .into_iter()
        .filter(|table| *table != Table::Changes)
    {
        scan_all(manifest, table, |_, _| rows += 1).unwrap();
    }
    rows
}

#[test]
fn tombstones_are_forgotten_once_nothing_names_them() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(simulated(&disk, &manifest));
    store.create_database("stays", DbKind::Raw).unwrap();
    // Each generation of its past would have rows.
    store.set_retention("stays", Retention::NOTHING).unwrap();
    let mut most = 0;
    for round in 0..5000 {
        let db = store.create_database("passes", DbKind::Raw).unwrap();
        if round % 50 == 0 {
            put(&store, "passes", 1);
            store.checkpoint().unwrap();
        }
        drop(db);
        store.drop_database("passes").unwrap();
        most = most.max(rows_but_changes(&manifest));
    }
    // What is remembered is what the log can still name, and the log is bounded.
    assert!(most < 300, "{most} rows");
    let last = store.create_database("passes", DbKind::Raw).unwrap().id();
    assert_eq!(last.get(), 5002, "an id is never given out again");
    store.drop_database("passes").unwrap();
    for _ in 0..40 {
        put(&store, "stays", 2);
        store.checkpoint().unwrap();
    }
    drop(store);
    let store = open(manual(&disk, &manifest));
    let names: Vec<_> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["stays"]);
    let next = store.create_database("passes", DbKind::Raw).unwrap().id();
    assert_eq!(next.get(), 5003);
    assert!(store.verify().is_healthy(), "{:?}", store.verify());
    assert!(rows_but_changes(&manifest) < 20, "{manifest:?}");
    assert!(
        manifest.len() < 1200,
        "the newest changes are kept, and no more"
    );
}

#[test]
fn a_database_is_found_when_it_is_finished_and_gone_when_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    let begin = || store.begin_database(DbKind::Raw).unwrap();

    let dropped = begin();
    let name = dropped.db().name();
    assert!(store.databases().is_empty());
    for name in [name.clone(), name.to_uppercase()] {
        let codes = [
            store.database(&name).unwrap_err().code(),
            store.info(&name).unwrap_err().code(),
            store.drop_database(&name).unwrap_err().code(),
            store
                .create_database(&name, DbKind::Raw)
                .unwrap_err()
                .code(),
        ];
        assert_eq!(codes, [ErrorCode::InvalidName; 4], "{name}");
    }
    drop(dropped);

    store.create_database("taken", DbKind::Raw).unwrap();
    let error = begin().finish("Taken").unwrap_err();
    assert_eq!(error.code(), ErrorCode::DatabaseExists);
    let done = begin().finish("done").unwrap();
    assert_eq!(done.name(), "done");

    // Whoever is killed leaves one behind. The next open drops it.
    let left = begin();
    let last = left.db().id();
    store.close(Duration::from_secs(5)).unwrap();
    drop((left, done, store));
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    let names: Vec<String> = store
        .databases()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["done", "taken"]);
    assert_eq!(store.status().databases, 2);
    let next = store.create_database("next", DbKind::Raw).unwrap();
    assert!(next.id() > last, "its id is not used again");
}
