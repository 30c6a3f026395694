//! A device that fails for ever below a crowd of committers: the attempts on it, the time until all
//! are answered and the threads of the process are bounded, each commit has one outcome, reads go
//! on, and what the next opening finds is what the outcomes allow.
//!
//! The only test of this binary: it counts the threads of the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::errno::{EIO, ENOSPC};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    BeginError, CommitError, Db, DbKind, Health, Housekeeping, Limits, Manager, Options, PageNo,
    Rejection,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const COMMITTERS: usize = 48;
const ATTEMPTS: u32 = 4;
/// Of each committer, most of them when the log takes nothing any more.
const COMMITS: u8 = 40;
/// Threads of a store: the log's two, the manifest's writer, the housekeeper, the watchdog.
const STORE_THREADS: usize = 5;
/// Far more than the waits between the attempts, far less than a wait without end.
const LONG: Duration = Duration::from_secs(30);

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.write_retries_max = ATTEMPTS;
    limits.retry_delay_min = Duration::from_millis(1);
    limits.retry_delay_max = Duration::from_millis(8);
    limits.idle_note_delay = Duration::from_millis(1);
    limits
}

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    let options = Options::new()
        .limits(limits())
        .housekeeping(Housekeeping::Background)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// A thread that was joined is in the list for a moment longer.
fn wait_for_threads(wanted: usize) {
    let deadline = Instant::now() + LONG;
    while threads() != wanted {
        assert!(Instant::now() < deadline, "{} threads", threads());
        std::thread::yield_now();
    }
}

/// What a committer was told of its database.
#[derive(Default, Debug)]
struct Told {
    committed: u8,
    unknown: Option<u8>,
    /// For want of a segment, or of an answer.
    rejected: usize,
    /// Because the log is poisoned.
    refused: usize,
}

fn work(db: &Db) -> Told {
    let mut told = Told::default();
    for byte in 1..=COMMITS {
        let mut write = match db.begin_write(LONG) {
            Ok(write) => write,
            Err(BeginError::Poisoned(_)) => {
                told.refused += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
        match write.commit() {
            Ok(_) => {
                assert_eq!(told.unknown, None, "a commit after one of unknown end");
                told.committed = byte;
            }
            Err(CommitError::Unknown { .. }) => {
                assert_eq!(told.unknown.replace(byte), None, "two of unknown end");
            }
            Err(CommitError::Rejected(Rejection::Poisoned(_))) => told.refused += 1,
            Err(_) => told.rejected += 1,
        }
        let seen = first(db);
        assert_eq!(seen, told.committed, "reads go on");
    }
    told
}

fn first(db: &Db) -> u8 {
    let read = db.begin_read().unwrap();
    if read.page_count() == 0 {
        return 0;
    }
    read.read_page(PageNo::FIRST).unwrap()[0]
}

fn name(number: usize) -> String {
    format!("d{number}")
}

/// Runs the crowd; returns what each was told, and the most threads that were seen.
fn crowd(dbs: &[Db]) -> (Vec<Told>, usize) {
    let (done, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    let told = std::thread::scope(|scope| {
        let workers: Vec<_> = dbs.iter().map(|db| scope.spawn(|| work(db))).collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(threads(), Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let told: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        told
    });
    let told = told.into_iter().map(Result::unwrap).collect();
    (told, most.into_inner())
}

/// Calls first fail at the one that is `later` behind the start. Returns whether the log was
/// poisoned, and how many commits ended unknown: none where it was a note that failed.
fn fails_for_ever(fault: Fault, later: u64) -> (bool, usize) {
    let before = threads();
    let (disk, manifest) = (SimDisk::new(later), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let create = |number| store.create_database(&name(number), DbKind::Raw).unwrap();
    let dbs: Vec<Db> = (0..COMMITTERS).map(create).collect();
    wait_for_threads(before + STORE_THREADS);
    let first_bad = disk.fail_in(later, fault);
    let started = Instant::now();
    let (told, most) = crowd(&dbs);
    let case = format!("{fault:?} from call {later} on");
    assert!(started.elapsed() < LONG, "{case}: {:?}", started.elapsed());
    // The committers, and the one who counts.
    assert!(
        most <= before + STORE_THREADS + COMMITTERS + 1,
        "{case}: {most} threads"
    );
    let poisoned = matches!(store.status().health, Health::Poisoned(_));
    let refused: usize = told.iter().map(|told| told.refused + told.rejected).sum();
    let most_are_refused = COMMITTERS * usize::from(COMMITS) / 2 < refused;
    assert!(most_are_refused, "{case}: {told:?}");
    // An attempt to write fails with its first call. Beside the log the housekeeper tries for spare
    // segments and a checkpoint when it is told to; neither is told to by commits that are refused.
    // A log that only lacks a segment is not poisoned yet: each batch asks the device for one, and
    // for the removal of what may be left of it.
    let calls = disk.op_count() - first_bad;
    let rejected: usize = told.iter().map(|told| told.rejected).sum();
    println!("{case}: {calls} calls, {rejected} rejected, poisoned: {poisoned}");
    let bound = 8 * u64::from(ATTEMPTS + 1) + 3 * rejected as u64;
    assert!(
        calls <= bound,
        "{case}: {calls} calls of a device that fails, {rejected} rejected"
    );
    let refuses = |db: &Db| matches!(db.begin_write(LONG), Err(BeginError::Poisoned(_)));
    assert!(dbs.iter().all(|db| refuses(db) == poisoned), "{case}");
    drop(dbs);
    disk.heal();
    // A poisoned store is left all the same.
    let _poisoned = store.close(LONG);
    drop(store);
    wait_for_threads(before);
    let again = open(&disk, &manifest);
    for (number, told) in told.iter().enumerate() {
        let found = first(&again.database(&name(number)).unwrap());
        let allowed = found == told.committed || Some(found) == told.unknown;
        assert!(allowed, "{case}: {found} of {told:?}");
    }
    assert!(again.verify().is_healthy(), "{case}");
    again.close(LONG).unwrap();
    wait_for_threads(before);
    let unknown = told.iter().filter(|told| told.unknown.is_some()).count();
    (poisoned, unknown)
}

#[test]
fn a_device_that_fails_for_ever_costs_a_bounded_number_of_attempts_threads_and_moments() {
    let mut ends = Vec::new();
    for fault in [
        Fault::Sticky(EIO),
        Fault::StickyShort(ENOSPC),
        Fault::StickyPanic,
    ] {
        for later in [0, 1, 5, 20] {
            ends.push(fails_for_ever(fault, later));
        }
    }
    let poisoned = ends.iter().filter(|(poisoned, _)| *poisoned).count();
    let unknown: usize = ends.iter().map(|(_, unknown)| unknown).sum();
    println!("{ends:?}");
    assert!(poisoned >= 4 && unknown > 0, "{ends:?}");
}
