//! With a clock that stands still until it is moved, over the simulated disk.

use super::*;
use crate::io::{Block, Disk, IoFailure, LockFailure, OpenMode, WatchedDisk, WritePart};
use crate::runtime::SystemSpawn;
use crate::testing::{Fault, ManualClock, SimDisk};
use std::sync::mpsc::{Receiver, Sender, channel};

const DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE_US: u64 = 30_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Passes on what it hears.
struct Ear(Sender<(&'static str, InFlight)>);

impl StallSink for Ear {
    fn stalled(&self, call: &InFlight) {
        self.0.send(("stalled", call.clone())).unwrap();
    }

    fn resumed(&self, call: &InFlight) {
        self.0.send(("resumed", call.clone())).unwrap();
    }
}

struct Rig {
    clock: Arc<ManualClock>,
    sim: SimDisk,
    watchdog: Arc<Watchdog>,
    disk: WatchedDisk,
    heard: Receiver<(&'static str, InFlight)>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_000));
        let watchdog = Watchdog::new(Arc::clone(&clock) as _, DEADLINE);
        let sim = SimDisk::new(1);
        let (ear, heard) = channel();
        watchdog.subscribe(Arc::new(Ear(ear)));
        Self {
            disk: WatchedDisk::new(Arc::new(sim.clone()), Arc::clone(&watchdog)),
            clock,
            sim,
            watchdog,
            heard,
        }
    }

    fn heard(&self) -> Vec<(&'static str, IoOp, String, Option<u64>)> {
        let all = self.heard.try_iter();
        all.map(|(what, call)| (what, call.op, call.path.display().to_string(), call.offset))
            .collect()
    }
}

#[test]
fn a_call_is_told_of_when_it_is_late_and_when_it_returns_and_once_each() {
    let rig = Rig::new();
    let file = rig.disk.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    rig.clock.advance(7);
    rig.sim.fail_next(IoOp::WriteDurable, Fault::Hang);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| file.write_durable_at(8192, &[Block::ZERO]));
        rig.sim.wait_until_hung(1);
        rig.clock.advance(DEADLINE_US - 1);
        assert_eq!(rig.watchdog.look(), 7 + DEADLINE_US, "when it will be late");
        assert_eq!((rig.heard(), rig.watchdog.stalled()), (vec![], vec![]));

        rig.clock.advance(1);
        assert_eq!(
            rig.watchdog.look(),
            7 + 2 * DEADLINE_US,
            "nothing else is in flight"
        );
        let place = |what| (what, IoOp::WriteDurable, "f".to_owned(), Some(8192));
        assert_eq!(rig.heard(), [place("stalled")]);
        rig.clock.advance(5);
        rig.watchdog.look();
        let stalled = rig.watchdog.stalled();
        assert_eq!((rig.heard(), stalled.len()), (vec![], 1));
        assert_eq!(
            (stalled[0].start_us, stalled[0].op),
            (7, IoOp::WriteDurable)
        );
        assert_eq!(stalled[0].to_string(), "durable write of f at byte 8192");

        rig.sim.release_hung();
        call.join().unwrap().unwrap();
        assert_eq!(rig.watchdog.stalled(), []);
        rig.watchdog.look();
        assert_eq!(rig.heard(), [place("resumed")]);
        rig.watchdog.look();
        assert_eq!(rig.heard(), []);
    });
}

#[test]
fn a_call_that_fails_after_all_has_returned() {
    let rig = Rig::new();
    let file = rig.disk.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    rig.sim.fail_next(IoOp::Write, Fault::Hang);
    let parts = [WritePart {
        offset: 4096,
        blocks: &[Block::ZERO],
    }];
    std::thread::scope(|scope| {
        let call = scope.spawn(|| file.write_many(&parts));
        rig.sim.wait_until_hung(1);
        rig.clock.advance(DEADLINE_US);
        rig.watchdog.look();
        rig.sim.power_cut();
        call.join().unwrap().unwrap_err();
        rig.watchdog.look();
        let heard = rig.heard();
        let whats: Vec<_> = heard.iter().map(|(what, ..)| *what).collect();
        assert_eq!(whats, ["stalled", "resumed"]);
        assert_eq!(heard[0].3, Some(4096));
    });
}

#[test]
fn directories_are_watched_too() {
    let rig = Rig::new();
    rig.disk.create_dir(Path::new("log")).unwrap();
    rig.sim.fail_next(IoOp::SyncDirectory, Fault::Hang);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| rig.disk.sync_dir(Path::new("log")));
        rig.sim.wait_until_hung(1);
        assert_eq!(rig.watchdog.look(), DEADLINE_US);
        rig.clock.advance(DEADLINE_US + 3);
        assert_eq!(
            rig.watchdog.stalled().len(),
            1,
            "whether anybody looked or not"
        );
        rig.watchdog.look();
        rig.watchdog.look();
        rig.sim.release_hung();
        call.join().unwrap().unwrap();
        rig.watchdog.look();
        let place = |what| (what, IoOp::SyncDirectory, "log".to_owned(), None);
        assert_eq!(rig.heard(), [place("stalled"), place("resumed")]);
    });
}

#[test]
fn more_calls_than_slots_are_all_watched() {
    let rig = Rig::new();
    let key = rig.watchdog.add_file(Path::new("many"));
    let calls: Vec<Watched<'_>> = (0..400)
        .map(|at| rig.watchdog.transfer(IoOp::Read, key, Some(at)))
        .collect();
    rig.clock.advance(DEADLINE_US);
    rig.watchdog.look();
    let mut offsets: Vec<_> = rig.heard().into_iter().map(|(.., offset)| offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..400).map(Some).collect::<Vec<_>>());
    drop(calls);
    rig.watchdog.look();
    assert_eq!(rig.heard().len(), 400);
    assert_eq!(rig.watchdog.stalled(), []);
}

/// The same moment, the same slot, another call: the clock stands still between them.
#[test]
fn calls_of_one_moment_are_told_apart() {
    let rig = Rig::new();
    let key = rig.watchdog.add_file(Path::new("f"));
    rig.clock.advance(1);
    let mut ids = Vec::new();
    for turn in 0..3 {
        for at in 0..100 {
            drop(rig.watchdog.transfer(IoOp::Read, key, Some(at)));
        }
        let call = rig.watchdog.transfer(IoOp::Sync, key, None);
        rig.clock.advance(DEADLINE_US);
        rig.watchdog.look();
        ids.push(rig.heard.try_recv().unwrap().1.id);
        drop(call);
        rig.watchdog.look();
        assert_eq!(rig.heard.try_recv().unwrap().0, "resumed", "turn {turn}");
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn the_thread_tells_by_itself_and_ends_with_its_handle() {
    let clock = Arc::new(ManualClock::new(0));
    let watchdog = Watchdog::new(Arc::clone(&clock) as _, Duration::from_micros(1));
    let (ear, heard) = channel();
    watchdog.subscribe(Arc::new(Panics));
    watchdog.subscribe(Arc::new(Ear(ear)));
    let thread = watchdog.start(&SystemSpawn).unwrap();
    let call = watchdog.name_call(IoOp::Remove, Path::new("x"));
    clock.advance(1);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().0, "stalled");
    drop(call);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().0, "resumed");
    drop(thread);
    assert_eq!(Arc::strong_count(&watchdog), 1, "nobody else has it");
}

/// One bad sink keeps nobody else from hearing.
struct Panics;

impl StallSink for Panics {
    fn stalled(&self, _call: &InFlight) {
        panic!("as the test wants");
    }

    fn resumed(&self, _call: &InFlight) {
        panic!("as the test wants");
    }
}

#[test]
fn a_call_that_panics_has_failed_and_is_watched_no_longer() {
    let rig = Rig::new();
    let file = rig.disk.open(Path::new("f"), OpenMode::CreateNew).unwrap();
    let block = [Block([7; 4096])];
    rig.sim.fail_next(IoOp::Write, Fault::Panic);
    let failed = file.write_at(4096, &block).unwrap_err();
    let expected = IoFailure {
        op: IoOp::Write,
        path: "f".into(),
        offset: Some(4096),
        errno: crate::io::errno::EIO,
    };
    assert_eq!(failed, expected);
    rig.sim.fail_next(IoOp::Lock, Fault::Panic);
    assert!(matches!(rig.disk.lock(), Err(LockFailure::Io(failed)) if failed.op == IoOp::Lock));
    rig.clock.advance(DEADLINE_US);
    assert_eq!(rig.watchdog.stalled(), []);
    file.write_at(4096, &block).unwrap();
}
