//! What the models have in common: a log on a model's disk, records that can be told apart, and a
//! witness of when each became visible.
//!
//! Invariant: what a publisher finds wrong is remembered and fails the model, since a panic in it is
//! caught by the log.

use super::super::format::record::Encoding;
use super::super::format::{EncodedRecord, FragmentPart, MemberSpec, PageImage, encode_pages};
use super::super::group::Log;
use super::super::member::{OnEnd, Placed, Priority, Publish, Remains, Silent};
use super::super::rig::{LONG, Nobody, start_on};
use super::super::scan::{Content, Manner, ScannedBody, SegmentSpace, scan_segment};
use super::super::state::Turn;
use super::super::{CommitFuture, LogEvents, LogSegment};
use super::disk::{ModelDisk, moment};
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::CommitError;
use crate::ids::{DbId, Epoch, Lsn, PageNo, PageSize, StoreId};
use crate::io::layout;
use crate::limits::Limits;
use crate::log::format::SegmentIdentity;
use crate::runtime::Spawn;
use crate::runtime::models::ModelSpawn;
use crate::runtime::sync::now;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Stands in records that are there to take room.
const FILLING: u64 = 1000;

/// Whether the log has its two threads.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Threads {
    None,
    Both,
}

/// A record that became visible.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) tag: u64,
    pub(super) lsn: Lsn,
    /// Whether it had to be durable by then.
    strict: bool,
}

/// Records that became visible, in that order, and what was wrong with that.
#[derive(Debug, Default)]
struct Witness {
    visible: Mutex<Vec<Seen>>,
    wrong: Mutex<Vec<String>>,
}

/// A log, its disk and its witness.
pub(super) struct Rig {
    pub(super) disk: ModelDisk,
    pub(super) log: Arc<Log>,
    witness: Arc<Witness>,
}

/// Limits whose waits end by a notification alone.
pub(super) fn limits() -> Limits {
    Limits {
        writer_wait: LONG,
        io_deadline: LONG,
        retry_delay_min: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(2),
        ..Limits::tiny()
    }
}

/// A log with its two threads, for models of what stands above it.
pub(crate) fn start_log() -> Arc<Log> {
    Arc::clone(&Rig::new(limits(), Threads::Both).log)
}

impl Rig {
    pub(super) fn new(limits: Limits, threads: Threads) -> Arc<Self> {
        Self::told(limits, threads, Arc::new(Nobody))
    }

    /// A rig whose log tells `events` what happens.
    pub(super) fn told(limits: Limits, threads: Threads, events: Arc<dyn LogEvents>) -> Arc<Self> {
        let disk = ModelDisk::new();
        let spawn = (threads == Threads::Both).then(|| Arc::new(ModelSpawn) as Arc<dyn Spawn>);
        let log = start_on(Arc::new(disk.clone()), limits, spawn, events);
        let witness = Arc::default();
        Arc::new(Self { disk, log, witness })
    }

    /// Fills the log up to its cap with records of housekeeping.
    pub(super) fn fill(&self) {
        while self.log.ring().held_bytes() < limits().log_bytes_max {
            let silent = Box::new(Silent);
            let filled = self
                .log
                .append(large_record(), Priority::Housekeeping, silent);
            filled.unwrap();
        }
    }

    /// Runs `body` as a thread of the model.
    pub(super) fn thread<T: Send + 'static>(
        self: &Arc<Self>,
        body: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> shuttle::thread::JoinHandle<T> {
        let rig = Arc::clone(self);
        shuttle::thread::spawn(move || body(&rig))
    }

    fn publisher(&self, tag: u64, durable: bool) -> Box<dyn Publish> {
        Box::new(Watched {
            tag,
            disk: durable.then(|| (self.disk.clone(), Arc::clone(self.log.ring()))),
            witness: Arc::clone(&self.witness),
        })
    }

    /// Appends a record and waits for its end, which must agree with what was seen of it.
    pub(super) fn append(&self, tag: u64) -> Result<Placed, CommitError> {
        let publish = self.publisher(tag, true);
        let outcome = self.log.append(record(tag), Priority::User, publish);
        self.check(tag, &outcome);
        outcome
    }

    /// Appends a record that must succeed.
    pub(super) fn commit(&self, tag: u64) {
        self.append(tag).unwrap();
    }

    pub(super) fn append_async(&self, tag: u64) -> Result<CommitFuture, CommitError> {
        let publish = self.publisher(tag, true);
        self.log.append_async(record(tag), Priority::User, publish)
    }

    /// Appends a record that is visible at once, and due as soon.
    pub(super) fn append_relaxed(&self, tag: u64) -> Result<Placed, CommitError> {
        let publish = self.publisher(tag, false);
        let delay = Duration::ZERO;
        self.log
            .append_relaxed(record(tag), Priority::User, delay, publish)
    }

    /// Appends a record that is visible at once, and tells `ended` how it ended.
    pub(super) fn append_exposed(
        &self,
        tag: u64,
        ended: impl FnOnce(Result<Placed, CommitError>) + Send + 'static,
    ) -> Result<(), CommitError> {
        let publish = self.publisher(tag, false);
        let on_end = Box::new(Told(ended));
        self.log
            .append_exposed(record(tag), Priority::Queued, publish, on_end)
    }

    /// An outcome must agree with what was seen.
    pub(super) fn check(&self, tag: u64, outcome: &Result<Placed, CommitError>) {
        let seen = self.seen(tag);
        match outcome {
            Ok(at) => {
                assert_eq!(seen, [at.lsn], "record {tag} is acknowledged");
                assert!(at.lsn < self.log.published(), "record {tag}");
            }
            Err(CommitError::Rejected(rejection)) => {
                assert!(seen.is_empty(), "record {tag} was refused: {rejection}");
            }
            Err(_) => assert!(seen.len() <= 1, "record {tag}: {seen:?}"),
        }
    }

    /// Where a record was when it became visible.
    pub(super) fn seen(&self, tag: u64) -> Vec<Lsn> {
        let visible = self.witness.visible.lock();
        let of = visible.iter().filter(|seen| seen.tag == tag);
        of.map(|seen| seen.lsn).collect()
    }

    /// The records that are visible now, in the order in which they became so.
    pub(super) fn visible(&self) -> Vec<Seen> {
        self.witness.visible.lock().clone()
    }

    /// Whether the device has the first byte of a record.
    pub(super) fn is_durable(&self, lsn: Lsn) -> bool {
        Self::holds(&self.disk, self.log.ring(), lsn)
    }

    /// The same, for somebody who must not keep the log.
    pub(super) fn holds(disk: &ModelDisk, ring: &super::super::Ring, lsn: Lsn) -> bool {
        let place = ring.locate(lsn);
        place.is_some_and(|(segment, offset)| disk.is_durable(&layout::segment(segment.id), offset))
    }

    /// All is said and done: nobody has the turn, nothing waits, and the device has exactly the
    /// records that were visible, each once and in the same order.
    pub(super) fn finish(&self) {
        let deadline = now() + LONG;
        assert!(self.log.wait_until_quiet(deadline));
        let state = self.log.shared().state.lock();
        assert_eq!(state.turn, Turn::Free);
        assert_eq!((state.queue.records(), state.queue.bytes()), (0, 0));
        assert!(state.window.is_none());
        drop(state);
        assert!(self.log.stop(deadline));
        let wrong = self.witness.wrong.lock();
        assert!(wrong.is_empty(), "{wrong:?}");
        drop(wrong);
        if self.log.failure().is_none() {
            let visible = self.visible();
            let mut visible: Vec<_> = visible.iter().map(|seen| (seen.tag, seen.lsn)).collect();
            // What is visible before it is durable may become so out of order.
            visible.sort_by_key(|(_, lsn)| *lsn);
            assert_eq!(self.written(), visible);
        }
    }

    /// The records that the log's segments hold.
    fn written(&self) -> Vec<(u64, Lsn)> {
        let ring = self.log.ring();
        let sealed = ring.sealed().into_iter();
        let mut parts: Vec<_> = sealed.map(|sealed| (sealed.segment, sealed.end)).collect();
        parts.extend(ring.active().map(|active| (active, self.log.published())));
        let mut found = Vec::new();
        for (segment, end) in parts {
            found.extend(records_of(&segment, end));
        }
        found
    }
}

fn records_of(segment: &LogSegment, end: Lsn) -> Vec<(u64, Lsn)> {
    let space = SegmentSpace {
        identity: SegmentIdentity {
            store: StoreId::new([1; 16]),
            segment: segment.id,
            incarnation: segment.incarnation,
        },
        base: segment.base,
        capacity_bytes: segment.capacity_bytes,
        epoch: Epoch::new(1),
    };
    let manner = Manner {
        keep: &|_| {},
        images: true,
    };
    let scanned = scan_segment(Arc::clone(&segment.file), &space, end, manner).unwrap();
    let mut found = Vec::new();
    for span in scanned.spans {
        let Content::Batch(batch) = span.content else {
            panic!("{} is no batch: {:?}", span.lsn, span.content);
        };
        for record in batch.records {
            if let ScannedBody::Pages(pages) = record.body {
                let tag = pages.members[0].database.get();
                if tag != FILLING {
                    found.push((tag, record.lsn));
                }
            }
        }
    }
    found
}

/// A record that leaves no room for another one in its segment.
fn large_record() -> EncodedRecord {
    let content = [7; 4096];
    let image = |number| {
        let page = PageNo::new(number)?;
        Some(PageImage {
            page,
            hash: PageHash::of(page, &content),
            encoding: Encoding::Raw,
            content: &content,
        })
    };
    let images: Vec<_> = (1..=12).filter_map(image).collect();
    record_of(FILLING, &images)
}

/// Hands on how a record ended.
struct Told<F>(F);

impl<F: FnOnce(Result<Placed, CommitError>) + Send> OnEnd for Told<F> {
    fn ended(self: Box<Self>, outcome: Result<Placed, CommitError>) {
        moment();
        (self.0)(outcome);
    }
}

/// Tells the witness.
struct Watched {
    tag: u64,
    /// Where it must be durable by then.
    disk: Option<(ModelDisk, Arc<super::super::Ring>)>,
    witness: Arc<Witness>,
}

impl Publish for Watched {
    fn publish(self: Box<Self>, at: Placed) -> Remains {
        moment();
        let mut wrong = Vec::new();
        if let Some((disk, ring)) = &self.disk
            && !Rig::holds(disk, ring, at.lsn)
        {
            wrong.push(format!("record {} is visible and not durable", self.tag));
        }
        let mut visible = self.witness.visible.lock();
        let strict = self.disk.is_some();
        // What is exposed may be seen before what stands in front of it.
        let last = visible.iter().rfind(|seen| seen.strict);
        if strict && last.is_some_and(|last| at.lsn <= last.lsn) {
            wrong.push(format!("record {} after {visible:?}", self.tag));
        }
        let (tag, lsn) = (self.tag, at.lsn);
        visible.push(Seen { tag, lsn, strict });
        drop(visible);
        self.witness.wrong.lock().extend(wrong);
        None
    }
}

/// A record that can be told from others.
pub(crate) fn record(tag: u64) -> EncodedRecord {
    record_of(tag, &[])
}

fn record_of(tag: u64, pages: &[PageImage<'_>]) -> EncodedRecord {
    let member = MemberSpec {
        database: DbId::new(tag),
        parent: Lsn::ZERO,
        rolling: RollingChecksum::EMPTY,
        page_count: pages.len().max(1) as u32,
        page_count_min: 1,
        page_size: PageSize::DEFAULT,
        pages,
    };
    encode_pages(FragmentPart::Whole, &[member]).unwrap()
}
