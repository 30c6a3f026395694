//! A snapshot whose outcome nobody knows when it is asked for, and that is there in the end: what it is of has
//! stayed.

use crate::world::LONG;
use bop_storage::io::IoOp;
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{Fault, ManualClock, SimDisk};
use bop_storage::{
    At, DbKind, ErrorCode, Housekeeping, Limits, Manager, Options, PageNo, Retention,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// So long a caller waits for the log: others come into its queue meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

fn write(store: &Manager, name: &str, byte: u8) {
    let db = store.database(name).unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write.commit().unwrap();
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// Lets calls go on, also when a test panics.
struct Release<'a>(&'a SimDisk);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release_hung();
    }
}

/// A snapshot of the first of two commits, asked for within the window. Its record is in a write that hangs, a
/// checkpoint comes when the window is over, and then the write is done.
fn kept_by_a_late_record(is_in_chunks: bool) {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000));
    let mut runtime = Runtime::system();
    runtime.clock = Arc::clone(&clock) as _;
    let (disk, mut limits) = (SimDisk::new(1), Limits::tiny());
    limits.io_deadline = PATIENCE;
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Manual)
        .runtime(runtime)
        .disk(Arc::new(disk.clone()), Arc::new(MemoryManifest::new()));
    let store = Manager::open("simulated", options).unwrap();
    for name in ["one", "first", "second"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    let window = Retention::window(HOUR);
    store.set_retention("one", window).unwrap();
    write(&store, "one", 1);
    let past = At::Lsn(store.info("one").unwrap().head);
    clock.advance(1_000_000);
    write(&store, "one", 2);
    if is_in_chunks {
        store.checkpoint().unwrap();
    }

    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let release = Release(&disk);
        let (store, past) = (&store, &past);
        scope.spawn(|| write(store, "first", 1));
        disk.wait_until_hung(1);
        let queued = store.status().queued_records;
        // It leads the next write, in which the snapshot's record is.
        scope.spawn(|| write(store, "second", 1));
        wait_until(|| store.status().queued_records == queued + 1);
        let snapshot = scope.spawn(|| store.snapshot_database("one", "kept", past));
        wait_until(|| store.status().queued_records == queued + 2);
        disk.fail_next(IoOp::WriteDurable, Fault::Hang);
        disk.release_hung();
        disk.wait_until_hung(1);
        let answer = snapshot.join().unwrap();
        let code = answer.map(drop).unwrap_err().code();
        assert_eq!(code, ErrorCode::CommitUnknown);
        clock.advance(2 * u64::try_from(HOUR.as_micros()).unwrap());
        store.checkpoint().unwrap();
        drop(release);
    });

    let kept = At::Snapshot("kept".to_owned());
    for _ in 0..2 {
        let read = store.database("one").unwrap().begin_read_at(&kept).unwrap();
        assert_eq!(read.read_page(PageNo::FIRST).unwrap()[0], 1);
        drop(read);
        write(&store, "one", 3);
        store.checkpoint().unwrap();
    }
    let found = store.verify().findings;
    assert!(found.is_empty(), "{found:?}");
    store.close(LONG).unwrap();
}

#[test]
fn a_late_snapshot_of_a_state_in_the_log_has_it() {
    kept_by_a_late_record(false);
}

#[test]
fn a_late_snapshot_of_a_state_in_chunks_has_it() {
    kept_by_a_late_record(true);
}
