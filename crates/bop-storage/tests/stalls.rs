//! A store tells of the I/O calls that do not come back.

use bop_storage::io::{IoBackend, IoOp};
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::Runtime;
use bop_storage::testing::{Fault, ManualClock, SimDisk};
use bop_storage::{DbKind, Housekeeping, Limits, Manager, Options, PageNo};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

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
