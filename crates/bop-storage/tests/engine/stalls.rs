//! A store tells of the I/O calls that do not come back, and of the work that it leaves alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::{IoBackend, IoOp};
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::{BreakerState, Runtime};
use bop_storage::testing::{Fault, ManualClock, SimDisk};
use bop_storage::{DbKind, Housekeeping, Limits, Lsn, Manager, Options, PageNo};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn the_status_names_a_hung_write_until_it_returns() {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000_000));
    let mut runtime = Runtime::system();
    runtime.clock = Arc::clone(&clock) as _;
    let disk = SimDisk::new(1);
    let options = Options::new()
        .limits(Limits::tiny())
        .housekeeping(Housekeeping::Manual)
        .runtime(runtime)
        .disk(Arc::new(disk.clone()), Arc::new(MemoryManifest::new()));
    let store = Manager::open("simulated", options).unwrap();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    assert_eq!(store.status().stalled_calls, []);

    disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    thread::scope(|scope| {
        let commit = scope.spawn(|| {
            let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
            write.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
            write.commit()
        });
        disk.wait_until_hung(1);
        clock.advance(29_999_999);
        assert_eq!(store.status().stalled_calls, [], "not yet");
        clock.advance(1);
        let stalled = store.status().stalled_calls;
        assert_eq!(stalled.len(), 1, "{stalled:?}");
        assert_eq!(stalled[0].op, IoOp::WriteDurable);
        assert!(stalled[0].path.starts_with("log") && stalled[0].offset.is_some());
        disk.release_hung();
        commit.join().unwrap().unwrap();
    });
    assert_eq!(store.status().stalled_calls, []);
    store.close(Duration::from_secs(50)).unwrap();
}

/// Every backend is told by the status, and a store that one wrote is read by all.
#[test]
fn the_status_says_what_the_backend_became_and_each_reads_what_another_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0_u8;
    for io in IoBackend::ALL.into_iter().cycle().take(8) {
        let store = match Manager::open(dir.path(), Options::new().io(io)) {
            Ok(store) => store,
            Err(error) => {
                eprintln!("SKIPPED: {error}");
                assert_eq!(error.code().as_str(), "backend_unavailable");
                continue;
            }
        };
        let says = store.status().backend;
        let name = if io == IoBackend::Auto {
            ""
        } else {
            io.as_str()
        };
        assert!(says.starts_with(name) && !says.is_empty(), "{io}: {says}");
        let db = match written {
            0 => store.create_database("a", DbKind::Raw).unwrap(),
            _ => store.database("a").unwrap(),
        };
        let read = db.begin_read().unwrap();
        for before in 1..=written {
            let found = read.read_page(PageNo::new(before.into()).unwrap()).unwrap();
            assert!(found.iter().all(|byte| *byte == before), "{io}");
        }
        drop(read);
        written += 1;
        let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
        let page = PageNo::new(written.into()).unwrap();
        write.write_page(page, &[written; 4096]).unwrap();
        write.commit().unwrap();
        if written.is_multiple_of(2) {
            store.checkpoint().unwrap();
        }
        assert_eq!(store.verify().findings, [], "{io}");
        drop(db);
        store.close(Duration::from_secs(50)).unwrap();
    }
    assert!(written >= 4);
}

/// What the breaker of checkpoints says, and how often they failed.
fn checkpoints(store: &Manager) -> (BreakerState, u32) {
    let breakers = store.status().breakers;
    let found = breakers.iter().find(|breaker| breaker.work == "checkpoint");
    found.map(|found| (found.state, found.failures)).unwrap()
}

/// A disk without room: checkpoints are left alone after three failures and tried again by
/// themselves, with waits between, until there is room.
#[test]
fn checkpoints_that_fail_are_left_alone_for_a_while_and_heal_by_themselves() {
    let disk = SimDisk::new(1);
    let options = Options::new()
        .limits(Limits::tiny())
        .disk(Arc::new(disk.clone()), Arc::new(MemoryManifest::new()));
    let store = Manager::open("simulated", options).unwrap();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    disk.set_capacity(Some(0));
    let mut committed = 0_u32;
    let give_up = Instant::now() + Duration::from_secs(60);
    while checkpoints(&store).0 == BreakerState::Closed {
        assert!(Instant::now() < give_up, "{:?}", store.status());
        let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
        let page = PageNo::new(committed % 64 + 1).unwrap();
        write.write_page(page, &[7; 4096]).unwrap();
        committed += u32::from(write.commit().is_ok());
    }
    assert!(3 <= checkpoints(&store).1);
    assert_eq!(store.status().checkpointed, Lsn::ZERO);

    // A probe comes without anybody asking, and fails.
    let failures = checkpoints(&store).1;
    while checkpoints(&store).1 == failures {
        assert!(Instant::now() < give_up, "{:?}", store.status());
        thread::yield_now();
    }
    disk.set_capacity(None);
    while checkpoints(&store) != (BreakerState::Closed, 0) {
        assert!(Instant::now() < give_up, "{:?}", store.status());
        thread::yield_now();
    }
    assert!(Lsn::ZERO < store.status().checkpointed);
    store.close(Duration::from_secs(50)).unwrap();
}
