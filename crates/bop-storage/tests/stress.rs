//! A thousand databases and sixty-four threads on one log: every commit ends once, in order, and is
//! there.
//!
//! Each database has a counter on its first page. A thread takes the next of its databases and
//! counts it up, by a full, a relaxed or an asynchronous commit. What a store holds at the end, and
//! after a power cut, is compared with what the committers were told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::IoBackend;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{SimDisk, SplitMix64};
use bop_storage::{Db, DbKind, Durability, Limits, Lsn, Manager, Options, PageNo, WriteTxn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DATABASES: usize = 1_000;
const THREADS: usize = 64;
/// Commits of each thread.
const COMMITS: usize = 48;
/// And on a real device, where the queue takes one record.
const COMMITS_EACH_ALONE: usize = 8;
const WAIT: Duration = Duration::from_secs(60);

fn name(number: usize) -> String {
    format!("d{number}")
}

fn counted(write: &mut WriteTxn, to: u64) {
    let mut page = [0; 4096];
    page[..8].copy_from_slice(&to.to_le_bytes());
    write.write_page(PageNo::FIRST, &page).unwrap();
}

fn count(db: &Db) -> u64 {
    let read = db.begin_read().unwrap();
    if read.page_count() == 0 {
        return 0;
    }
    let page = read.read_page(PageNo::FIRST).unwrap();
    u64::from_le_bytes(page[..8].try_into().unwrap())
}

/// Counts a database up. Returns where the commit stands.
fn count_up(db: &Db, to: u64, random: &mut SplitMix64) -> Lsn {
    let mut write = db.begin_write(WAIT).unwrap();
    counted(&mut write, to);
    match random.index(8) {
        0..5 => write.commit().unwrap().lsn(),
        5..7 => write.commit_with(Durability::RELAXED).unwrap().lsn(),
        _ => loop {
            // The queue may be full: then nothing happened, and it is asked again.
            match write.commit_async() {
                Ok(pending) => break pending.wait().unwrap().lsn(),
                Err(error) => assert_eq!(error.code(), bop_storage::ErrorCode::Busy),
            }
            std::thread::yield_now();
            write = db.begin_write(WAIT).unwrap();
            counted(&mut write, to);
        },
    }
}

/// What the committers of one thread were told last of each of their databases.
type Told = Vec<(usize, u64)>;

fn work(store: &Manager, thread: usize, newest: &AtomicU64, commits: usize) -> Told {
    let mut random = SplitMix64::new(thread as u64);
    let mine: Vec<usize> = (thread..DATABASES).step_by(THREADS).collect();
    let handles: Vec<Db> = mine
        .iter()
        .map(|number| store.database(&name(*number)).unwrap())
        .collect();
    let mut counts: Vec<u64> = handles.iter().map(count).collect();
    for round in 0..commits {
        let at = round % mine.len();
        // A commit that is begun after another one returned stands behind it.
        let before = newest.load(Ordering::SeqCst);
        counts[at] += 1;
        let lsn = count_up(&handles[at], counts[at], &mut random);
        assert!(before < lsn.get(), "thread {thread}, round {round}");
        newest.fetch_max(lsn.get(), Ordering::SeqCst);
        assert_eq!(count(&handles[at]), counts[at]);
    }
    mine.into_iter().zip(counts).collect()
}

fn stress(store: &Manager) -> Told {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for number in (thread..DATABASES).step_by(THREADS) {
                    store.create_database(&name(number), DbKind::Raw).unwrap();
                }
            });
        }
    });
    rounds(store, COMMITS)
}

/// So many more commits of each thread.
fn rounds(store: &Manager, commits: usize) -> Told {
    let newest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let newest = &newest;
                scope.spawn(move || work(store, thread, newest, commits))
            })
            .collect();
        let told = threads.into_iter().map(|thread| thread.join().unwrap());
        told.flatten().collect()
    })
}

fn check(store: &Manager, told: &Told, each: usize) {
    let commits: u64 = told.iter().map(|(_, count)| count).sum();
    assert_eq!(commits as usize, THREADS * each);
    for (number, expected) in told {
        let found = count(&store.database(&name(*number)).unwrap());
        assert_eq!(found, *expected, "{}", name(*number));
    }
}

fn limits(queue_records_max: usize) -> Limits {
    let mut limits = Limits::default();
    limits.queue_records_max = queue_records_max;
    limits.writer_wait = WAIT;
    limits
}

#[test]
fn every_commit_is_accounted_for_whatever_the_queue_takes() {
    for queue in [1, Limits::default().queue_records_max] {
        let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
        let open = |disk: SimDisk, manifest: MemoryManifest| {
            let options = Options::new().limits(limits(queue));
            let options = options.disk(Arc::new(disk), Arc::new(manifest));
            Manager::open("simulated", options).unwrap()
        };
        let store = open(disk.clone(), manifest.clone());
        let told = stress(&store);
        check(&store, &told, COMMITS);
        store.sync().unwrap();
        let image = disk.crash_image_keeping_nothing();
        let after = open(image, manifest.snapshot());
        check(&after, &told, COMMITS);
        store.close(WAIT).unwrap();
    }
}

#[test]
fn every_backend_takes_them() {
    for backend in [IoBackend::Std, IoBackend::Direct, IoBackend::Uring] {
        let dir = tempfile::tempdir().unwrap();
        let options = |queue| Options::new().limits(limits(queue)).io(backend);
        let store = match Manager::open(dir.path(), options(64)) {
            Ok(store) => store,
            Err(error) if error.code() == bop_storage::ErrorCode::BackendUnavailable => {
                println!("SKIPPED: {backend:?} is not to be had here: {error}");
                continue;
            }
            Err(error) => panic!("{backend:?}: {error}"),
        };
        let told = stress(&store);
        check(&store, &told, COMMITS);
        store.close(WAIT).unwrap();
        // Each record a batch of its own.
        let again = Manager::open(dir.path(), options(1)).unwrap();
        check(&again, &told, COMMITS);
        let told = rounds(&again, COMMITS_EACH_ALONE);
        check(&again, &told, COMMITS + COMMITS_EACH_ALONE);
        assert!(again.verify().is_healthy());
        again.close(WAIT).unwrap();
        let last = Manager::open(dir.path(), options(1)).unwrap();
        check(&last, &told, COMMITS + COMMITS_EACH_ALONE);
    }
}
