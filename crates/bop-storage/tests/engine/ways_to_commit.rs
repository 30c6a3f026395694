//! Relaxed and asynchronous commits, and groups: what each promises, and keeps over a power cut.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::io::IoOp;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk, SplitMix64};
use bop_storage::{
    DbKind, Durability, ErrorCode, Housekeeping, Limits, Lsn, Manager, Options, PageNo, ReadTxn,
    WriteTxn,
};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

pub(super) const WAIT: Duration = Duration::from_secs(30);
/// No timer ends it within a test.
pub(super) const LATER: Durability = Durability::Relaxed { max_delay: WAIT };

pub(super) struct Rig {
    pub(super) disk: SimDisk,
    manifest: MemoryManifest,
    housekeeping: Housekeeping,
    limits: Limits,
}

impl Rig {
    pub(super) fn new(housekeeping: Housekeeping) -> Self {
        let (disk, manifest) = (SimDisk::new(1), MemoryManifest::new());
        let limits = Limits::tiny();
        Self {
            disk,
            manifest,
            housekeeping,
            limits,
        }
    }

    fn open(&self) -> Manager {
        let (disk, manifest) = (Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        let options = Options::new()
            .limits(self.limits.clone())
            .housekeeping(self.housekeeping)
            .disk(disk, manifest);
        Manager::open("simulated", options).unwrap()
    }

    /// A store with these databases.
    pub(super) fn with(&self, names: &[&str]) -> Manager {
        let store = self.open();
        for name in names {
            store.create_database(name, DbKind::Raw).unwrap();
        }
        store
    }

    /// The store that a power cut leaves now.
    fn after_power_cut(&self, disk: SimDisk) -> Manager {
        let manifest = self.manifest.snapshot();
        let rig = Self {
            disk,
            manifest,
            housekeeping: Housekeeping::Manual,
            limits: self.limits.clone(),
        };
        rig.open()
    }
}

pub(super) fn written(store: &Manager, name: &str, byte: u8) -> WriteTxn {
    let mut write = store.database(name).unwrap().begin_write(WAIT).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write
}

pub(super) fn first(read: &ReadTxn) -> u8 {
    read.read_page(PageNo::FIRST).unwrap()[0]
}

pub(super) fn now(store: &Manager, name: &str) -> u8 {
    first(&store.database(name).unwrap().begin_read().unwrap())
}

#[test]
fn a_relaxed_commit_is_visible_at_once_and_durable_after_a_sync() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a"]);
    written(&store, "a", 1).commit().unwrap();
    let calls = rig.disk.op_count();
    for byte in 2..=9 {
        let read = written(&store, "a", byte).commit_with(LATER).unwrap();
        assert_eq!((first(&read), now(&store, "a")), (byte, byte));
    }
    assert_eq!(rig.disk.op_count(), calls, "nothing was written");
    let lost = rig.after_power_cut(rig.disk.crash_image_keeping_all());
    assert_eq!(now(&lost, "a"), 1);
    store.sync().unwrap();
    let kept = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!(now(&kept, "a"), 9);
    assert!(kept.verify().is_healthy());
}

/// What a reader was shown is lost with the power, and its place with it: to whoever has noted it, it never
/// means another commit.
#[test]
fn no_place_that_somebody_has_seen_is_given_out_again() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a"]);
    written(&store, "a", 1).commit().unwrap();
    // Pages that cannot be made small: they reach far behind the first batch of the next opening.
    let relaxed = |seed| {
        let mut random = SplitMix64::new(seed);
        let page: Vec<u8> = (0..4096).map(|_| random.below(256) as u8).collect();
        let mut write = store.database("a").unwrap().begin_write(WAIT).unwrap();
        write.write_page(PageNo::FIRST, &page).unwrap();
        write.commit_with(LATER).unwrap().lsn()
    };
    let seen: Vec<Lsn> = (2..=9).map(relaxed).collect();
    let after = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!(now(&after, "a"), 1);
    let next = written(&after, "a", 10).commit().unwrap().lsn();
    assert!(seen.iter().all(|seen| *seen < next), "{next}, {seen:?}");
}

#[test]
fn a_relaxed_commit_is_read_from_memory_when_the_cache_does_not_have_it() {
    let mut rig = Rig::new(Housekeeping::Manual);
    rig.limits.cache_bytes_max = 4096;
    let store = rig.open();
    for number in 0..20 {
        let name = format!("d{number}");
        store.create_database(&name, DbKind::Raw).unwrap();
        written(&store, &name, number).commit_with(LATER).unwrap();
    }
    for number in 0..20 {
        assert_eq!(now(&store, &format!("d{number}")), number);
    }
}

#[test]
fn a_full_commit_takes_the_relaxed_ones_before_it_along() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a", "b"]);
    written(&store, "a", 7).commit_with(LATER).unwrap();
    written(&store, "b", 8).commit().unwrap();
    let kept = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!((now(&kept, "a"), now(&kept, "b")), (7, 8));
}

#[test]
fn a_relaxed_commit_is_durable_when_its_time_has_come() {
    let rig = Rig::new(Housekeeping::Background);
    let store = rig.with(&["a"]);
    let max_delay = Duration::from_millis(1);
    let relaxed = Durability::Relaxed { max_delay };
    let read = written(&store, "a", 5).commit_with(relaxed).unwrap();
    while store.status().published <= read.lsn() {
        std::thread::yield_now();
    }
    let kept = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!(now(&kept, "a"), 5);
}

#[test]
fn no_chunk_has_what_the_log_could_lose() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a"]);
    written(&store, "a", 3).commit_with(LATER).unwrap();
    store.checkpoint().unwrap();
    let kept = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!(now(&kept, "a"), 3);
    assert!(kept.verify().is_healthy());
}

#[test]
fn a_close_makes_everything_durable() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a", "b"]);
    written(&store, "a", 3).commit_with(LATER).unwrap();
    drop(written(&store, "b", 4).commit_async().unwrap());
    store.close(WAIT).unwrap();
    let again = rig.open();
    assert_eq!((now(&again, "a"), now(&again, "b")), (3, 4));
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_asynchronous_commit_wakes_its_task_once_it_is_durable() {
    let rig = Rig::new(Housekeeping::Background);
    let store = rig.with(&["a"]);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    let mut commit = pin!(written(&store, "a", 6).commit_async().unwrap());
    rig.disk.wait_until_hung(1);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    assert!(commit.as_mut().poll(&mut context).is_pending());
    assert_eq!(now(&store, "a"), 0);
    rig.disk.release_hung();
    while bell.0.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let Poll::Ready(Ok(read)) = commit.as_mut().poll(&mut context) else {
        panic!("woken before it was done");
    };
    assert_eq!((first(&read), now(&store, "a")), (6, 6));
}

#[test]
fn an_asynchronous_commit_behind_a_relaxed_one_is_not_left_behind() {
    let mut rig = Rig::new(Housekeeping::Background);
    // The housekeeper's note would take it along.
    rig.limits.idle_note_delay = 4 * WAIT;
    let store = rig.with(&["a", "b", "c"]);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    let in_flight = written(&store, "a", 1).commit_async().unwrap();
    rig.disk.wait_until_hung(1);
    // Two batches: what is visible already never stands in one with what is not.
    written(&store, "b", 2).commit_with(LATER).unwrap();
    let mut behind = pin!(written(&store, "c", 3).commit_async().unwrap());
    rig.disk.release_hung();
    in_flight.wait().unwrap();
    let deadline = Instant::now() + WAIT / 2;
    let mut context = Context::from_waker(Waker::noop());
    let read = loop {
        if let Poll::Ready(read) = behind.as_mut().poll(&mut context) {
            break read.unwrap();
        }
        assert!(Instant::now() < deadline, "nobody writes it");
        std::thread::yield_now();
    };
    assert_eq!(first(&read), 3);
}

#[test]
fn an_asynchronous_commit_is_refused_when_the_queue_is_full() {
    let mut rig = Rig::new(Housekeeping::Background);
    rig.limits.queue_records_max = 1;
    // The housekeeper's note would be that one.
    rig.limits.idle_note_delay = 4 * WAIT;
    let store = rig.with(&["a", "b", "c"]);
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    let in_flight = written(&store, "a", 1).commit_async().unwrap();
    rig.disk.wait_until_hung(1);
    let waiting = written(&store, "b", 2).commit_async().unwrap();
    let refused = written(&store, "c", 3).commit_async().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Busy);
    rig.disk.release_hung();
    assert_eq!(first(&in_flight.wait().unwrap()), 1);
    assert_eq!(first(&waiting.wait().unwrap()), 2);
    assert_eq!(now(&store, "c"), 0);
    written(&store, "c", 4).commit().unwrap();
}

#[test]
fn a_group_is_there_as_a_whole_or_not_at_all_whenever_the_power_goes() {
    const NAMES: [&str; 3] = ["c", "a", "b"];
    let origin = Rig::new(Housekeeping::Manual);
    let store = origin.with(&NAMES);
    store.close(WAIT).unwrap();
    let mut seen = [0; 2];
    for call in 0.. {
        let rig = Rig {
            disk: origin.disk.snapshot(),
            manifest: origin.manifest.snapshot(),
            housekeeping: Housekeeping::Manual,
            limits: Limits::tiny(),
        };
        let store = rig.open();
        rig.disk
            .fail_at(rig.disk.op_count() + call, Fault::PowerCut);
        let group = NAMES.map(|name| written(&store, name, 9)).into();
        let committed = store.group_commit(group);
        let cut = rig.disk.is_cut();
        for seed in 0..8 {
            let after = rig.after_power_cut(rig.disk.crash_image(seed));
            let found = NAMES.map(|name| now(&after, name));
            assert!(found == [0; 3] || found == [9; 3], "{found:?}, call {call}");
            assert!(committed.is_err() || found == [9; 3], "call {call}");
            seen[usize::from(found[0] == 9)] += 1;
        }
        if !cut {
            let reads = committed.unwrap();
            assert!(reads.iter().all(|read| first(read) == 9));
            assert!(reads.windows(2).all(|two| two[0].lsn() == two[1].lsn()));
            break;
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_group_with_members_that_changed_nothing_or_much() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a", "b"]);
    let idle = store.database("a").unwrap().begin_write(WAIT).unwrap();
    let reads = store
        .group_commit(vec![idle, written(&store, "b", 2)])
        .unwrap();
    assert!(reads[0].page_count() == 0 && first(&reads[1]) == 2);

    let mut large = store.database("a").unwrap().begin_write(WAIT).unwrap();
    for number in 1..=40 {
        let content: Vec<u8> = (0..4096_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(number) >> 13) as u8)
            .collect();
        large
            .write_page(PageNo::new(number).unwrap(), &content)
            .unwrap();
    }
    let reads = store
        .group_commit(vec![large, written(&store, "b", 3)])
        .unwrap();
    assert_eq!(reads[0].lsn(), reads[1].lsn());
    assert_eq!((reads[0].page_count(), first(&reads[1])), (40, 3));
    assert_eq!(now(&store, "b"), 3);

    let other = Rig::new(Housekeeping::Manual).with(&["x"]);
    assert!(store.group_commit(vec![written(&other, "x", 1)]).is_err());
}

/// Commits to `a` in full until there is no room for more.
pub(super) fn fill(store: &Manager) -> u8 {
    for byte in 1..=u8::MAX {
        if let Err(error) = written(store, "a", byte).commit() {
            assert_eq!(error.code(), ErrorCode::OutOfSpace);
            return byte;
        }
    }
    panic!("the disk is never full");
}

#[test]
fn on_a_full_disk_what_is_visible_waits_for_room_and_nothing_else_is_taken() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a", "b"]);
    rig.disk.set_capacity(Some(0));
    fill(&store);
    // The reserve is for it: a checkpoint could not make room before it is durable.
    written(&store, "b", 1).commit_with(LATER).unwrap();
    store.sync().unwrap();
    // Now that is used up, too.
    let mut newest = 1;
    while store.sync().is_ok() {
        newest += 1;
        written(&store, "b", newest).commit_with(LATER).unwrap();
    }
    assert_eq!(now(&store, "b"), newest);
    let refused = written(&store, "a", 0).commit().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfSpace);
    rig.disk.set_capacity(None);
    store.sync().unwrap();
    let kept = rig.after_power_cut(rig.disk.crash_image_keeping_nothing());
    assert_eq!(now(&kept, "b"), newest);
    written(&store, "a", 7).commit().unwrap();
}

#[test]
fn without_threads_an_asynchronous_commit_is_written_by_whoever_leads() {
    let rig = Rig::new(Housekeeping::Manual);
    let store = rig.with(&["a", "b", "c"]);
    // A relaxed commit that is long due does not keep it from being written.
    let due = Durability::Relaxed {
        max_delay: Duration::ZERO,
    };
    written(&store, "a", 1).commit_with(due).unwrap();
    let commit = written(&store, "b", 2).commit_async().unwrap();
    assert_eq!(first(&commit.wait().unwrap()), 2);
    // One that comes while somebody else leads is that one's to write.
    rig.disk.fail_next(IoOp::WriteDurable, Fault::Hang);
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| written(&store, "a", 3).commit().unwrap());
        rig.disk.wait_until_hung(1);
        let commit = written(&store, "c", 4).commit_async().unwrap();
        rig.disk.release_hung();
        assert_eq!(first(&commit.wait().unwrap()), 4);
        leader.join().unwrap();
    });
}

#[test]
fn a_relaxed_commit_that_meets_a_failed_log_is_refused_or_unknown_and_never_lost_in_silence() {
    let mut rig = Rig::new(Housekeeping::Background);
    rig.limits.write_retries_max = 0;
    let store = rig.with(&["a", "b"]);
    let relaxed = Durability::Relaxed {
        max_delay: Duration::ZERO,
    };
    rig.disk.fail_at(
        rig.disk.op_count(),
        Fault::Sticky(bop_storage::io::errno::EIO),
    );
    let mut newest = 0;
    for byte in 1..=u8::MAX {
        let Ok(mut write) = store.database("a").unwrap().begin_write(WAIT) else {
            break;
        };
        write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
        match write.commit_with(relaxed) {
            Ok(read) => {
                assert_eq!((first(&read), now(&store, "a")), (byte, byte));
                newest = byte;
            }
            Err(_) => break,
        }
    }
    // What was said to be visible is, though the device will never have it.
    assert_eq!(now(&store, "a"), newest);
    assert!(store.sync().is_err());
}
