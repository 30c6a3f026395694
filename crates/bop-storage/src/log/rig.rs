//! A log over a simulated disk, for the tests of this module.

use super::format::record::NoteKind;
use super::format::{ChainHash, EncodedRecord, encode_note};
use super::group::Log;
use super::holds::LogHolds;
use super::kept::KeptBatches;
use super::member::{Placed, Priority, Silent};
use super::parts::LogParts;
use super::ring::Ring;
use super::spares::{SegmentRegistry, SpareMaker};
use super::state::Turn;
use super::writer::LogStart;
use super::{LogEnd, LogEvents, RegisteredSegment};
use crate::error::{CommitError, ManifestError};
use crate::ids::{Epoch, Lsn, SegmentId, StoreId};
use crate::io::{Disk, layout};
use crate::limits::Limits;
use crate::runtime::{Runtime, Spawn};
use crate::testing::{ManualClock, SimDisk};
use std::sync::Arc;
use std::time::Duration;

pub(super) const LONG: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Nobody;

impl LogEvents for Nobody {
    fn batch_written(&self) {}
    fn segment_sealed(&self, _: usize) {}
    fn room_wanted(&self) {}
}

impl SegmentRegistry for Nobody {
    fn register(&self, _segments: &[RegisteredSegment]) -> Result<(), ManifestError> {
        Ok(())
    }

    fn unregister(
        &self,
        _segments: &[SegmentId],
        _truncated: Option<Lsn>,
    ) -> Result<(), ManifestError> {
        Ok(())
    }

    fn failure(&self) -> Option<ManifestError> {
        None
    }

    fn is_registered(&self, _segment: SegmentId) -> Option<bool> {
        None
    }
}

pub(super) fn log(disk: &SimDisk, io_deadline: Duration) -> Arc<Log> {
    let limits = Limits {
        io_deadline,
        ..Limits::tiny()
    };
    log_within(disk, limits)
}

/// A log without threads.
pub(super) fn log_within(disk: &SimDisk, limits: Limits) -> Arc<Log> {
    start(disk, limits, None)
}

/// A log with its two threads.
pub(super) fn threaded(disk: &SimDisk, limits: Limits) -> Arc<Log> {
    start(disk, limits, Some(Runtime::system().spawn))
}

pub(super) fn start(disk: &SimDisk, limits: Limits, spawn: Option<Arc<dyn Spawn>>) -> Arc<Log> {
    start_on(Arc::new(disk.clone()), limits, spawn, Arc::new(Nobody))
}

pub(super) fn start_on(
    disk: Arc<dyn Disk>,
    limits: Limits,
    spawn: Option<Arc<dyn Spawn>>,
    events: Arc<dyn LogEvents>,
) -> Arc<Log> {
    disk.create_dir(std::path::Path::new(layout::LOG_DIR))
        .unwrap();
    let limits = limits.validated().unwrap();
    let runtime = Runtime::system();
    let store = StoreId::new([1; 16]);
    let ring = Arc::new(Ring::new(
        Vec::new(),
        None,
        Vec::new(),
        SegmentId::default(),
    ));
    let spares = Arc::new(SpareMaker::new(
        disk,
        store,
        runtime.entropy,
        Arc::new(Nobody),
        Arc::clone(&ring),
        limits.clone(),
    ));
    spares.ensure(3).unwrap();
    let parts = LogParts {
        store,
        ring,
        spares,
        holds: LogHolds::new(Arc::new(Nobody)),
        unwritten: Arc::default(),
        kept: Arc::new(KeptBatches::new(limits.log_kept_bytes_max)),
        // It stands still: what a leader does must not depend on how fast the machine is.
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        spawn,
        limits,
        events,
        meters: Arc::new(crate::meters::StoreMeters::new(store)),
    };
    let position = LogEnd {
        end: Lsn::ZERO,
        segment: None,
        chain_hash: ChainHash::default(),
        last_time_us: 0,
        epoch: Epoch::new(1),
    };
    let start = LogStart {
        position,
        base: Lsn::ZERO,
        goes_on: false,
    };
    Arc::new(Log::start(parts, start).unwrap())
}

pub(super) fn note() -> EncodedRecord {
    encode_note(NoteKind::Idle).unwrap()
}

pub(super) fn append(log: &Log) -> Result<Placed, CommitError> {
    log.append(note(), Priority::User, Box::new(Silent))
}

/// Until nobody has the turn, whoever may still be in the kernel.
pub(super) fn until_nobody_leads(log: &Log) {
    while log.shared().state.lock().turn != Turn::Free {
        std::thread::yield_now();
    }
}
