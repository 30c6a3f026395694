//! Calls that do not come back, and who else needs what they hold: a commit that must register a
//! segment behind a transaction of the manifest that hangs ends in time, and a housekeeper that
//! finds somebody making spares who hangs has failed, as far as its breaker goes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::error::SegmentError;
use bop_storage::io::IoOp;
use bop_storage::manifest::{Gate, MemoryManifest};
use bop_storage::runtime::BreakerStatus;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    CloseError, CommitError, Db, DbKind, ErrorCode, FeedStart, Housekeeping, Limits, Manager,
    ManifestError, Options, PageNo, Rejection,
};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const DEADLINE: Duration = Duration::from_millis(50);

fn open(disk: &SimDisk, manifest: &MemoryManifest) -> Manager {
    let mut limits = Limits::tiny();
    limits.io_deadline = DEADLINE;
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    Manager::open("simulated", options).unwrap()
}

fn commit(db: &Db, byte: u8) -> Result<(), CommitError> {
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write.commit().map(drop)
}

fn first(db: &Db) -> u8 {
    db.begin_read().unwrap().read_page(PageNo::FIRST).unwrap()[0]
}

fn segment_files(disk: &SimDisk) -> usize {
    let files = disk.files();
    let log = files.iter().filter(|(path, _)| path.starts_with("log"));
    log.count()
}

/// A commit of the manifest that does not return before it is let go.
#[derive(Default)]
struct Hung {
    /// Whether it is there, and whether it may go.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Hung {
    fn gate(self: &Arc<Self>) -> Gate {
        let hung = Arc::clone(self);
        Arc::new(move || {
            let mut state = hung.state.lock().unwrap();
            state.0 = true;
            hung.changed.notify_all();
            drop(hung.changed.wait_while(state, |state| !state.1).unwrap());
            Ok(())
        })
    }

    fn wait(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !state.0).unwrap());
    }

    fn let_go(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// Lets go what hangs, also when the test fails: its threads could not be joined else.
struct LetGo<F: Fn()>(F);

impl<F: Fn()> Drop for LetGo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_commit_behind_a_hung_manifest_ends_in_time_once_and_leaves_no_file() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    commit(&db, 1).unwrap();
    let hung = Arc::new(Hung::default());
    manifest.set_gate(Some(hung.gate()));
    thread::scope(|scope| {
        let _let_go = LetGo(|| hung.let_go());
        let checkpoint = scope.spawn(|| store.checkpoint());
        hung.wait();
        let mut acknowledged = 1;
        let rejected = loop {
            match commit(&db, acknowledged + 1) {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        let files = segment_files(&disk);
        assert!(
            matches!(
                rejected,
                CommitError::Rejected(Rejection::Segment(SegmentError::Manifest(
                    ManifestError::Stalled { waited: DEADLINE }
                )))
            ),
            "{rejected}"
        );
        assert_eq!(rejected.code(), ErrorCode::Stalled);
        // Nothing happened, and what was made for it is gone.
        assert_eq!(first(&db), acknowledged);
        commit(&db, 200).unwrap_err();
        assert_eq!((first(&db), segment_files(&disk)), (acknowledged, files));
        assert!(!checkpoint.is_finished());

        hung.let_go();
        checkpoint.join().unwrap().unwrap();
        assert_eq!(first(&db), acknowledged, "a late end changes nothing");
        commit(&db, 201).unwrap();
    });
    drop(db);
    store.close(LONG).unwrap();
    let store = open(&disk, &manifest);
    assert_eq!(first(&store.database("a").unwrap()), 201);
}

fn spares(store: &Manager) -> BreakerStatus {
    let breakers = store.status().breakers;
    let found = breakers.into_iter().find(|found| found.work == "spares");
    found.unwrap()
}

#[test]
fn a_maker_of_spares_that_hangs_is_a_failure_for_the_breaker() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let store = open(&disk, &manifest);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    assert_eq!(spares(&store).failures, 0);
    // The first commit that needs a segment which nobody has made makes it, and hangs.
    disk.fail_next(IoOp::Allocate, Fault::Hang);
    thread::scope(|scope| {
        let _let_go = LetGo(|| disk.release_hung());
        let committer = scope.spawn(|| (1..=40).try_for_each(|byte| commit(&db, byte)));
        disk.wait_until_hung(1);
        store.keep_house();
        assert_eq!(spares(&store).failures, 1);
        disk.release_hung();
        committer.join().unwrap().unwrap();
    });
    assert_eq!(first(&db), 40);
}

/// Who moves a cursor, and who closes a store, waits for its manifest no longer than for the disk.
#[test]
fn a_cursor_is_answered_and_a_store_closed_in_time_though_the_manifest_hangs() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    let mut limits = Limits::tiny();
    // Enough for a manifest that does not hang.
    let deadline = Duration::from_secs(1);
    limits.io_deadline = deadline;
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Background)
        .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()));
    let store = Manager::open("simulated", options).unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store.subscribe_changes("c", FeedStart::Newest).unwrap();
    let hung = Arc::new(Hung::default());
    manifest.set_gate(Some(hung.gate()));
    let _let_go = LetGo(|| hung.let_go());
    let late = cursor.flush().unwrap_err();
    assert_eq!(late.code(), ErrorCode::Stalled, "{late}");
    let closed = store.close(deadline);
    assert!(
        matches!(closed, Err(CloseError::StillStalled)),
        "{closed:?}"
    );
}
