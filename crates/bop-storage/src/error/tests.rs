//! What the errors of a full disk are called, at every boundary that can meet one.

use super::*;
use crate::io::errno::{EIO, ENOSPC};
use crate::io::{IoFailure, IoOp};

fn failure(op: IoOp, errno: i32) -> IoFailure {
    IoFailure {
        op,
        path: "chunks/7".into(),
        offset: Some(4096),
        errno,
    }
}

#[test]
fn a_full_disk_is_out_of_space_wherever_it_is_met() {
    let codes = |op, errno| {
        let io = || failure(op, errno);
        [
            CheckpointError::Io(io()).code(),
            CheckpointError::Segment(SegmentError::Io(io())).code(),
            CheckpointError::Manifest(ManifestError::Io(io())).code(),
            OpenError::Io(io()).code(),
            OpenError::Manifest(ManifestError::Io(io())).code(),
            OpenError::Locked {
                path: "store".into(),
                failure: crate::io::LockFailure::Io(io()),
            }
            .code(),
            OpenError::Start(Box::new(Rejection::Segment(SegmentError::Io(io())).into())).code(),
            Rejection::Spill(io()).code(),
            CommitError::Rejected(Rejection::Spill(io())).code(),
        ]
    };
    for op in [IoOp::Open, IoOp::Write, IoOp::Allocate, IoOp::SyncDirectory] {
        assert_eq!(codes(op, ENOSPC), [ErrorCode::OutOfSpace; 9], "{op}");
        assert_eq!(codes(op, EIO), [ErrorCode::Io; 9], "{op}");
    }
}

#[test]
fn a_manifest_that_may_not_grow_has_reached_a_limit() {
    let full = ManifestError::Engine {
        operation: "begin",
        detail: std::sync::Arc::new(heed::Error::Mdb(heed::MdbError::MapFull)),
    };
    assert_eq!(full.code(), ErrorCode::LimitReached);
}

#[test]
fn what_a_newer_program_wrote_is_not_called_damaged() {
    let said = |reason| Damage::new(Place::File("store.bop".into()), reason).to_string();
    let newer = Reject::Version {
        found: 2,
        supported: 1,
    };
    assert_eq!(
        said(newer),
        "file store.bop was written by a newer version of bop: format version 2, this program \
         reads up to 1"
    );
    assert!(said(Reject::Features { flags: 4 }).contains("newer version"));
    // No program ever wrote version 0.
    let none = Reject::Version {
        found: 0,
        supported: 1,
    };
    assert!(said(none).contains("is damaged"));
    assert_eq!(
        said(Reject::Checksum),
        "file store.bop is damaged: checksum mismatch"
    );
}
