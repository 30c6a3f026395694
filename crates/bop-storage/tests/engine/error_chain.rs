//! The chain of sources of an error: from what a user is told down to the call that failed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::errno::EIO;
use bop_storage::io::{IoFailure, IoOp};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{DbKind, ErrorCode, Housekeeping, Limits, Manager, Options, PageNo, WriteTxn};
use std::sync::Arc;
use std::time::Duration;

/// The failed call at the end of an error's chain of sources.
fn call_behind(error: &dyn std::error::Error) -> Option<&IoFailure> {
    let mut link = error.source();
    while let Some(cause) = link {
        if let Some(call) = cause.downcast_ref() {
            return Some(call);
        }
        link = cause.source();
    }
    None
}

#[test]
fn a_failed_commit_leads_to_the_call_that_failed() {
    let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
    // The first failure is the last.
    let mut limits = Limits::tiny();
    limits.write_retries_max = 0;
    let options = || {
        Options::new()
            .limits(limits.clone())
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(disk.clone()), Arc::new(manifest.clone()))
    };
    let store = Manager::open("simulated", options()).unwrap();
    let db = store.create_database("d", DbKind::Raw).unwrap();
    let begin = || db.begin_write(Duration::ZERO);
    let mut write = begin().unwrap();
    write.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
    let mut late = begin_on_another(&store);
    disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));

    let unknown = write.commit().unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::CommitUnknown);
    let call = call_behind(&unknown).unwrap().clone();
    assert_eq!((call.op, call.errno), (IoOp::WriteDurable, EIO));
    assert!(call.path.starts_with("log"), "{}", call.path.display());

    // Whoever comes later is told of the same call.
    late.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
    let rejected = late.commit().unwrap_err();
    let refused = begin().unwrap_err();
    assert_eq!(rejected.code(), ErrorCode::Poisoned);
    assert_eq!(refused.code(), ErrorCode::Poisoned);
    assert_eq!(call_behind(&rejected), Some(&call));
    assert_eq!(call_behind(&refused), Some(&call));
    drop((store, db));

    // The first write of an opening, too.
    disk.fail_next(IoOp::WriteDurable, Fault::Error(EIO));
    let unopened = Manager::open("simulated", options()).unwrap_err();
    assert_eq!(call_behind(&unopened).unwrap().op, IoOp::WriteDurable);
}

/// A transaction that was begun before the log failed.
fn begin_on_another(store: &Manager) -> WriteTxn {
    let db = store.create_database("late", DbKind::Raw).unwrap();
    db.begin_write(Duration::ZERO).unwrap()
}
