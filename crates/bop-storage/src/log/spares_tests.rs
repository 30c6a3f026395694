//! A spare that could not be discarded, and who takes the next one.

use super::super::rig::{LONG, append, log};
use super::*;
use crate::io::IoOp;
use crate::io::errno::EIO;
use crate::limits::Limits;
use crate::runtime::Runtime;
use crate::testing::{Fault, SimDisk};
use std::path::PathBuf;
use std::sync::OnceLock;

/// A manifest that refuses to forget a segment.
#[derive(Debug)]
struct Refusing {
    ring: Arc<Ring>,
    /// How.
    error: fn() -> ManifestError,
    /// What it says afterwards.
    is_registered: Option<bool>,
    /// Somebody else takes a spare while it is asked.
    takes_another: bool,
    taken: OnceLock<SpareSegment>,
}

impl SegmentRegistry for Refusing {
    fn register(&self, _segments: &[RegisteredSegment]) -> Result<(), ManifestError> {
        Ok(())
    }

    fn unregister(
        &self,
        _segments: &[SegmentId],
        _truncated: Option<Lsn>,
    ) -> Result<(), ManifestError> {
        if self.takes_another {
            self.taken.set(self.ring.take_spare(0).unwrap()).unwrap();
        }
        Err((self.error)())
    }

    fn failure(&self) -> Option<ManifestError> {
        None
    }

    fn is_registered(&self, _segment: SegmentId) -> Option<bool> {
        self.is_registered
    }
}

fn stalled() -> ManifestError {
    ManifestError::Stalled { waited: LONG }
}

fn failed() -> ManifestError {
    ManifestError::Closed
}

/// The spares that are left when the first of two could not be discarded.
fn left(
    error: fn() -> ManifestError,
    is_registered: Option<bool>,
    takes_another: bool,
) -> Vec<u64> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    disk.create_dir(Path::new(layout::LOG_DIR)).unwrap();
    let none = SegmentId::default();
    let ring = Arc::new(Ring::new(Vec::new(), None, Vec::new(), none));
    let registry = Arc::new(Refusing {
        ring: Arc::clone(&ring),
        error,
        is_registered,
        takes_another,
        taken: OnceLock::new(),
    });
    let spares = SpareMaker::new(
        disk,
        StoreId::new([1; 16]),
        Runtime::system().entropy,
        registry,
        Arc::clone(&ring),
        Limits::tiny().validated().unwrap(),
    );
    spares.ensure(2).unwrap();
    let small = ring.take_spare(0).unwrap();
    assert_eq!(small.id, SegmentId::new(1));
    spares.discard(small, 1 << 15).unwrap_err();
    ring.spares().iter().map(|spare| spare.id.get()).collect()
}

#[test]
fn a_spare_that_was_not_discarded_is_the_next_again() {
    assert_eq!(left(stalled, None, false), [1, 2]);
    assert_eq!(left(failed, Some(true), false), [1, 2]);
}

/// What is written to it would be lost with the next crash: recovery reads what is registered.
#[test]
fn one_that_may_be_forgotten_is_left_alone() {
    assert_eq!(left(failed, None, false), [2]);
    assert_eq!(left(failed, Some(false), false), [2]);
}

/// The log has gone on in the second one: with the first behind it, it could not be opened again.
#[test]
fn one_behind_which_another_was_taken_is_left_alone() {
    assert_eq!(left(stalled, None, true), [0; 0]);
    assert_eq!(left(failed, Some(true), true), [0; 0]);
}

#[test]
fn a_segment_that_cannot_be_removed_keeps_no_other_one() {
    let disk = SimDisk::new(1);
    let log = log(&disk, LONG);
    let kept = Limits::tiny().segments_spare_min as usize;
    while log.ring().sealed_count() < kept + 3 {
        append(&log).unwrap();
        log.spares().ensure(2).unwrap();
    }
    let released = log.ring().releasable(log.published());
    let files: Vec<_> = released
        .iter()
        .map(|sealed| layout::segment(sealed.segment.id))
        .collect();
    let left = || {
        let is_there = |path: &&PathBuf| disk.open(path, OpenMode::Read).is_ok();
        files.iter().filter(is_there).count()
    };
    assert_eq!(left(), released.len());
    disk.fail_next(IoOp::Remove, Fault::Error(EIO));
    assert!(log.spares().release(released).is_err());
    // Those that are used again, and the one.
    assert_eq!(left(), kept + 1);
}
