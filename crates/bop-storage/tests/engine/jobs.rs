//! The runner of jobs: what may heal is tried again, a bounded number of times; crashes, panics and closes
//! in the middle of a job; jobs that are cancelled, asked for again, or whose database is gone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too, and a clock does"
)]

use crate::scrub::{Rig, content, job, scrub};
use bop_storage::ids::DbId;
use bop_storage::io::{IoFailure, IoOp};
use bop_storage::manifest::{Gate, JOB_ATTEMPTS_MAX};
use bop_storage::runtime::{Clock, Runtime, SystemClock};
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{
    DbKind, ErrorCode, Housekeeping, JobState, Limits, Manager, MetricValue, PageNo,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const EIO: i32 = 5;
/// Longer than any wait between two attempts.
const LATER_US: u64 = 3_000_000_000;

/// Panics once when it is asked after so many reads of the disk: in the work of a job.
#[derive(Debug)]
struct Falling {
    clock: Arc<dyn Clock>,
    disk: SimDisk,
    at: AtomicU64,
}

impl Falling {
    fn new(clock: Arc<dyn Clock>, disk: &SimDisk) -> Arc<Self> {
        Arc::new(Self {
            clock,
            disk: disk.clone(),
            at: AtomicU64::new(u64::MAX),
        })
    }

    /// At the next database that is proved, after another read.
    fn arm(&self) {
        self.at.store(self.disk.read_count() + 1, Ordering::SeqCst);
    }
}

impl Clock for Falling {
    fn wall_us(&self) -> u64 {
        if self.at.load(Ordering::SeqCst) <= self.disk.read_count() {
            self.at.store(u64::MAX, Ordering::SeqCst);
            panic!("the clock fell");
        }
        self.clock.wall_us()
    }

    fn monotonic_us(&self) -> u64 {
        self.clock.monotonic_us()
    }
}

#[test]
fn a_device_that_cannot_be_read_is_tried_a_bounded_number_of_times() {
    let rig = Rig::filled();
    let store = rig.open();
    let id = store.scrub(Some("large")).unwrap();
    rig.fail_reads(0, Fault::Sticky(EIO));
    for attempt in 1..=JOB_ATTEMPTS_MAX {
        store.keep_house();
        let info = job(&store, id);
        assert_eq!(info.attempts, attempt);
        let failure = info.failure.unwrap();
        assert_eq!(failure.code, ErrorCode::Io, "{failure}");
        assert!(failure.place.contains("chunk"), "{failure}");
        assert_eq!(info.state.is_over(), attempt == JOB_ATTEMPTS_MAX);
        if let JobState::Pending { from_us } = info.state {
            // Not before its time.
            assert!(bop_storage::runtime::Clock::wall_us(rig.clock.as_ref()) < from_us);
            store.keep_house();
            assert_eq!(job(&store, id).attempts, attempt);
        }
        rig.clock.advance(LATER_US);
    }
    store.keep_house();
    let given_up = store.wait_for_job(id, LONG).unwrap();
    assert_eq!(
        (given_up.state, given_up.attempts),
        (JobState::Failed, JOB_ATTEMPTS_MAX)
    );

    // One that heals in time.
    rig.disk.heal();
    rig.fail_reads(20, Fault::Sticky(EIO));
    let id = store.scrub(Some("large")).unwrap();
    store.keep_house();
    assert_eq!(job(&store, id).failure.unwrap().code, ErrorCode::Io);
    rig.disk.heal();
    let timeout = store.wait_for_job(id, Duration::ZERO).unwrap_err();
    assert_eq!(timeout.code(), ErrorCode::Timeout);
    rig.clock.advance(LATER_US);
    let healed = store.wait_for_job(id, LONG).unwrap();
    assert_eq!(
        (healed.state, healed.attempts, healed.failure),
        (JobState::Done, 2, None)
    );
}

#[test]
fn a_panic_in_a_job_is_an_attempt_and_loses_no_waiter() {
    let rig = Rig::filled();
    let clock = Falling::new(Arc::clone(&rig.clock) as _, &rig.disk);
    let mut runtime = Runtime::system();
    runtime.clock = Arc::clone(&clock) as _;
    let options = rig.options().runtime(runtime);
    let options = options.housekeeping(Housekeeping::Manual);
    let store = Manager::open("simulated", options).unwrap();
    let id = store.scrub(Some("large")).unwrap();
    for attempt in 1..JOB_ATTEMPTS_MAX {
        clock.arm();
        store.keep_house();
        let info = job(&store, id);
        assert!(!info.state.is_over());
        assert_eq!(info.attempts, attempt);
        assert_eq!(info.failure.unwrap().code, ErrorCode::Panic);
        rig.clock.advance(LATER_US);
    }
    clock.arm();
    let info = store.wait_for_job(id, LONG).unwrap();
    assert_eq!(
        (info.state, info.attempts),
        (JobState::Failed, JOB_ATTEMPTS_MAX)
    );
    let failure = info.failure.unwrap();
    assert!(failure.place.contains("engine/jobs.rs:"), "{failure}");
    assert_eq!(failure.reason, "the clock fell");
    assert_eq!(scrub(&store, None).state, JobState::Done);
}

/// The housekeeper's thread outlives it, and whoever waits is told by the next attempt.
#[test]
fn the_housekeeper_does_jobs_and_outlives_their_panics() {
    let rig = Rig::filled();
    let clock = Falling::new(Arc::new(SystemClock::new()), &rig.disk);
    let mut runtime = Runtime::system();
    runtime.clock = Arc::clone(&clock) as _;
    let mut limits = Limits::tiny();
    // Nobody but the job asks for the time.
    limits.idle_note_delay = LONG;
    limits.scrub_interval = Duration::ZERO;
    let options = rig.options().limits(limits).runtime(runtime);
    let store = Manager::open("simulated", options).unwrap();
    let first = scrub(&store, Some("small"));
    assert_eq!((first.state, first.attempts), (JobState::Done, 1));
    // Armed before it is asked for: whoever asks reads nothing.
    clock.arm();
    let second = scrub(&store, Some("large"));
    assert_eq!((second.state, second.attempts), (JobState::Done, 2));
    store.close(LONG).unwrap();
}

/// A transaction that fails before or behind its rows: that which takes the job, or that of its end. Nothing
/// is lost: it is taken when the manifest answers again, or when the lease is over.
#[test]
fn a_manifest_that_refuses_once_loses_no_job() {
    for (nth, applied) in [(1, false), (1, true), (2, false), (2, true)] {
        let rig = Rig::filled();
        let store = rig.open();
        let id = store.scrub(Some("large")).unwrap();
        let commits = AtomicU64::new(0);
        let gate: Gate = Arc::new(move || {
            if commits.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                return Err(refusal());
            }
            Ok(())
        });
        if applied {
            rig.manifest.set_gate_after(Some(gate));
        } else {
            rig.manifest.set_gate(Some(gate));
        }
        store.keep_house();
        rig.manifest.set_gate(None);
        rig.manifest.set_gate_after(None);
        rig.clock.advance(LATER_US);
        let done = store.wait_for_job(id, LONG).unwrap();
        assert_eq!(done.state, JobState::Done);
        // An attempt that nobody knows of counts; one that was not written down does not.
        let begun_twice = (nth, applied) == (1, true) || (nth, applied) == (2, false);
        assert_eq!(
            done.attempts,
            if begun_twice { 2 } else { 1 },
            "{nth} {applied}"
        );
    }
}

fn refusal() -> IoFailure {
    IoFailure {
        op: IoOp::ManifestCommit,
        path: "manifest".into(),
        offset: None,
        errno: EIO,
    }
}

/// The process ends at a read in the middle of a job: the next one does it again, and it ends once.
#[test]
fn a_job_is_resumed_after_a_crash_and_ends_once() {
    let reads = Rig::scrub_reads(None);
    assert!(10 < reads, "{reads}");
    for read in [0, 3, reads / 3, reads / 2, reads - 1] {
        let rig = Rig::filled();
        let store = rig.open();
        let id = store.scrub(None).unwrap();
        rig.fail_reads(read, Fault::Hang);
        let image = thread::scope(|scope| {
            let working = scope.spawn(|| store.keep_house());
            rig.disk.wait_until_hung(1);
            assert!(matches!(job(&store, id).state, JobState::Leased { .. }));
            let image = rig.crashed();
            rig.disk.release_hung();
            working.join().unwrap();
            image
        });
        assert_eq!(job(&store, id).state, JobState::Done);
        let store = image.open();
        let left = job(&store, id);
        assert!(matches!(left.state, JobState::Leased { .. }), "{left:?}");
        store.keep_house();
        let done = job(&store, id);
        assert_eq!(
            (done.state, done.attempts),
            (JobState::Done, 2),
            "read {read}"
        );
        let metric = |name| store.metrics().family(name).unwrap().samples[0].value;
        let one = MetricValue::Number(1);
        assert_eq!(metric("bop_jobs_done_total"), one);
        store.keep_house();
        assert_eq!(metric("bop_jobs_done_total"), one);
        assert_eq!(job(&store, id), done);
    }
}

/// What was proved is not read again, and the attempt does not count.
#[test]
fn a_store_that_is_closed_hands_the_job_back_with_what_is_done() {
    let rig = Rig::filled();
    let store = rig.open();
    let id = store.scrub(None).unwrap();
    // In the middle of the largest database, which is the last one.
    let middle = Rig::scrub_reads(None) - Rig::scrub_reads(Some("large")) / 2;
    rig.fail_reads(middle, Fault::Hang);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| store.wait_for_job(id, LONG));
        rig.disk.wait_until_hung(1);
        let closing = scope.spawn(|| store.close(LONG));
        // Until nobody is let in any more.
        while store.database("small").unwrap().begin_read().is_ok() {
            thread::yield_now();
        }
        rig.disk.release_hung();
        closing.join().unwrap().unwrap();
        let told = waiter.join().unwrap().unwrap_err();
        assert_eq!(told.code(), ErrorCode::Closed);
    });
    let store = rig.open();
    let left = job(&store, id);
    assert_eq!(
        (left.state, left.attempts),
        (JobState::Pending { from_us: 0 }, 0)
    );
    let before = store.info("small").unwrap().last_scrub.unwrap();
    assert_eq!(before.job, id);
    assert_eq!(store.info("large").unwrap().last_scrub, None);
    rig.clock.advance(1_000);
    store.keep_house();
    let done = job(&store, id);
    assert_eq!((done.state, done.attempts), (JobState::Done, 1));
    assert_eq!(store.info("small").unwrap().last_scrub, Some(before));
    assert_eq!(store.info("large").unwrap().last_scrub.unwrap().job, id);
}

/// Four MiB in one transaction.
fn put(store: &Manager, name: &str, nth: u32) {
    let db = store.database_or_create(name, DbKind::Raw).unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    for page in nth * 1024 + 1..=(nth + 1) * 1024 {
        let content = content(name, page);
        write
            .write_page(PageNo::new(page).unwrap(), &content)
            .unwrap();
    }
    write.commit().unwrap();
}

/// A scrub that has a minute to go holds up neither the housekeeper's checkpoints nor the close.
#[test]
fn a_slow_scrub_lets_others_go_first_and_is_broken_off_by_the_close() {
    let rig = Rig::new();
    let mut limits = Limits::default();
    limits.scrub_bytes_per_second_max = 1 << 20;
    limits.segment_bytes_max = 16 << 20;
    limits.log_bytes_max = 192 << 20;
    let options = || {
        let runtime = Runtime::system();
        rig.options().limits(limits.clone()).runtime(runtime)
    };
    let store = Manager::open("simulated", options()).unwrap();
    (0..15).for_each(|nth| put(&store, "large", nth));
    store.checkpoint().unwrap();
    let id = store.scrub(Some("large")).unwrap();
    let is_leased = || matches!(job(&store, id).state, JobState::Leased { .. });
    while !is_leased() {
        thread::yield_now();
    }
    let before = store.status().checkpointed;
    let mut commits = 0;
    while store.status().checkpointed == before {
        // A log that nobody takes anything from would be full long before.
        assert!(commits < 100, "nobody makes a checkpoint");
        put(&store, "other", commits % 4);
        commits += 1;
    }
    assert!(is_leased());
    store.close(LONG).unwrap();
    let options = options().housekeeping(Housekeeping::Manual);
    let store = Manager::open("simulated", options).unwrap();
    let left = job(&store, id);
    assert_eq!(
        (left.state, left.attempts),
        (JobState::Pending { from_us: 0 }, 0)
    );
}

#[test]
fn a_job_is_cancelled_while_it_waits_and_while_it_is_done() {
    let rig = Rig::filled();
    let store = rig.open();
    let waits = store.scrub(Some("small")).unwrap();
    assert_eq!(
        store.scrub(Some("small")).unwrap(),
        waits,
        "pending already"
    );
    assert!(store.cancel_job(waits).unwrap());
    assert!(!store.cancel_job(waits).unwrap());
    let ended = store.wait_for_job(waits, LONG).unwrap();
    assert_eq!((ended.state, ended.attempts), (JobState::Failed, 0));
    assert_eq!(ended.failure.unwrap().code, ErrorCode::Cancelled);

    let id = store.scrub(Some("large")).unwrap();
    rig.fail_reads(Rig::scrub_reads(Some("large")) / 2, Fault::Hang);
    thread::scope(|scope| {
        let working = scope.spawn(|| store.keep_house());
        rig.disk.wait_until_hung(1);
        // One that was begun may have passed by what one is asking for now.
        let another = store.scrub(Some("large")).unwrap();
        assert_ne!(another, id);
        assert!(store.cancel_job(id).unwrap());
        rig.disk.release_hung();
        working.join().unwrap();
        assert_eq!(job(&store, id).failure.unwrap().code, ErrorCode::Cancelled);
        let another = store.wait_for_job(another, LONG).unwrap();
        assert_eq!(another.state, JobState::Done);
    });
    let last = store.info("large").unwrap().last_scrub.unwrap();
    assert_ne!(last.job, id, "what was cancelled proves nothing");
}

#[test]
fn the_job_of_a_database_that_was_dropped_ends() {
    let rig = Rig::filled();
    let store = rig.open();
    rig.fail_reads(0, Fault::Sticky(EIO));
    let waits = store.scrub(Some("other")).unwrap();
    store.keep_house();
    rig.disk.heal();
    let next = store.scrub(Some("small")).unwrap();
    store.drop_database_now("small").unwrap();
    store.keep_house();
    let ended = job(&store, next);
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.failure.unwrap().code, ErrorCode::DatabaseDropped);
    assert_eq!(
        ended.name.as_deref(),
        Some("small"),
        "while it is remembered"
    );
    // One that waits for its next attempt ends with the rows' transaction.
    store.drop_database_now("other").unwrap();
    assert!(!job(&store, waits).state.is_over());
    store.checkpoint().unwrap();
    let ended = job(&store, waits);
    assert_eq!(ended.failure.unwrap().code, ErrorCode::DatabaseDropped);
    assert_eq!(scrub(&store, None).state, JobState::Done);
}

#[test]
fn who_asks_again_under_the_same_name_gets_the_same_job() {
    let rig = Rig::filled();
    let store = rig.open();
    let id = store.scrub_once(Some("small"), [9; 16]).unwrap();
    assert_eq!(store.wait_for_job(id, LONG).unwrap().state, JobState::Done);
    assert_eq!(store.scrub_once(Some("small"), [9; 16]).unwrap(), id);
    let all = store.scrub_once(None, [8; 16]).unwrap();
    assert_ne!(all, id);
    drop(store);
    let store = rig.open();
    assert_eq!(store.scrub_once(None, [8; 16]).unwrap(), all);
    assert_eq!(job(&store, all).database, None::<DbId>);
}
