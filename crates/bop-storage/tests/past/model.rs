//! Whatever happens to the databases of a store, each state of them that can be had is what it was.

use crate::acts::{ALL, Told, seeds};
use crate::world::{Saved, World};
use bop_storage::runtime::{Entropy, SystemEntropy};
use bop_storage::{At, Retention};
use std::time::{Duration, Instant};

/// What may be done next, as often as it says.
const WEIGHTS: [(Op, u64); 16] = [
    (Op::Create, 2),
    (Op::Commit, 50),
    (Op::Commits, 6),
    (Op::BeginReader, 5),
    (Op::EndReader, 4),
    (Op::Checkpoint, 8),
    (Op::Snapshot, 4),
    (Op::DropSnapshot, 3),
    (Op::Fork, 4),
    (Op::Restore, 2),
    (Op::Drop, 2),
    (Op::DropAndUndrop, 1),
    (Op::Reopen, 1),
    (Op::PowerCut, 1),
    (Op::Pass, 3),
    (Op::Look, 9),
];

#[derive(Copy, Clone, Debug)]
enum Op {
    Create,
    Commit,
    /// Several in a row.
    Commits,
    BeginReader,
    EndReader,
    Checkpoint,
    Snapshot,
    DropSnapshot,
    Fork,
    Restore,
    Drop,
    DropAndUndrop,
    Reopen,
    PowerCut,
    /// Time passes.
    Pass,
    Look,
}

const LIVE_MAX: usize = 7;
const SNAPSHOTS_MAX: usize = 6;
const READERS_MAX: usize = 5;

impl World {
    pub(crate) fn step(&mut self) {
        let total = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.below(total);
        let op = WEIGHTS.iter().find(|(_, weight)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        let op = op.map_or(Op::Look, |(op, _)| *op);
        if self.live.is_empty() {
            self.create();
        }
        let nth = self.random.index(self.live.len());
        match op {
            Op::Create if self.live.len() < LIVE_MAX => self.create(),
            Op::Commit | Op::Create => self.commit(nth),
            Op::Commits => {
                let count = 2 + self.random.below(8);
                self.commits(nth, count);
            }
            Op::BeginReader if self.readers.len() < READERS_MAX => {
                let (at, saved) = self.choose(nth);
                self.begin_reader(nth, &at, saved);
            }
            Op::EndReader | Op::BeginReader if self.readers.is_empty() => {}
            Op::EndReader | Op::BeginReader => {
                let chosen = self.random.index(self.readers.len());
                let reader = self.readers.swap_remove(chosen);
                self.check_reader(&reader);
            }
            Op::Checkpoint => self.checkpoint(),
            Op::Snapshot => self.snapshot(nth),
            Op::DropSnapshot => self.drop_snapshot(nth),
            Op::Fork if self.live.len() < LIVE_MAX => self.fork(nth),
            Op::Restore => self.restore(nth),
            Op::Drop => {
                let model = self.live.remove(nth);
                self.end_readers(Some(&model.name));
                self.store().drop_database_now(&model.name).unwrap();
            }
            Op::DropAndUndrop if self.retention != Retention::NOTHING => {
                let name = self.live[nth].name.clone();
                self.end_readers(Some(&name));
                self.store().drop_database(&name).unwrap();
                if self.random.chance(1, 2) {
                    self.store().checkpoint().unwrap();
                }
                self.store().undrop_database(&name, None).unwrap();
            }
            Op::Reopen => {
                self.close();
                self.open();
            }
            Op::PowerCut => {
                self.end_readers(None);
                let seed = self.random.below(u64::MAX);
                self.crash(seed);
            }
            Op::Pass => self.clock.advance(1 + self.random.below(2_000_000)),
            Op::Look | Op::DropAndUndrop | Op::Fork => self.look(nth),
        }
    }

    /// A state that can be had, chosen at random, and a name for it.
    fn choose(&mut self, nth: usize) -> (At, Saved) {
        let model = self.live[nth].clone();
        let of_snapshot = self.random.index(model.snapshots.len().max(1));
        match self.random.below(4) {
            0 => {
                if let Some((name, saved)) = model.snapshots.iter().nth(of_snapshot) {
                    return (At::Snapshot(name.clone()), saved.clone());
                }
            }
            1 | 2 => {
                let points = self.store().restore_points(&model.name).unwrap();
                let point = points[self.random.index(points.len())];
                let saved = model
                    .states
                    .iter()
                    .rfind(|saved| saved.lsn <= point.lsn)
                    .unwrap();
                assert_eq!(saved.rolling, point.rolling_checksum);
                return (At::Lsn(point.lsn), saved.clone());
            }
            _ => {}
        }
        (At::Now, model.head().clone())
    }

    pub(crate) fn snapshot(&mut self, nth: usize) {
        if self.live[nth].snapshots.len() < SNAPSHOTS_MAX {
            let (at, saved) = self.choose(nth);
            self.snapshot_at(nth, &at, saved).unwrap();
        }
    }

    fn drop_snapshot(&mut self, nth: usize) {
        let model = &self.live[nth];
        let of_snapshot = self.random.index(model.snapshots.len().max(1));
        if let Some(name) = model.snapshots.keys().nth(of_snapshot).cloned() {
            self.store().drop_snapshot(&model.name, &name).unwrap();
            self.live[nth].snapshots.remove(&name);
        }
    }

    pub(crate) fn fork(&mut self, nth: usize) {
        let (at, saved) = self.choose(nth);
        let fork = self.fork_at(nth, &at, saved).unwrap();
        self.check_head(&self.live[fork]);
    }

    fn restore(&mut self, nth: usize) {
        if self.live[nth].snapshots.len() < SNAPSHOTS_MAX {
            let (at, saved) = self.choose(nth);
            self.restore_at(nth, &at, saved).unwrap();
            self.check_head(&self.live[nth]);
        }
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
        self.store().checkpoint().unwrap();
        for nth in 0..self.live.len() {
            self.look(nth);
            let model = self.live[nth].clone();
            let points = self.store().restore_points(&model.name).unwrap();
            for saved in model.states.iter().rev().take(points.len()) {
                self.check_at(&model, &At::Lsn(saved.lsn), saved);
            }
        }
        self.end_readers(None);
        let verified = self.store().verify();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        self.scrub();
        let models = std::mem::take(&mut self.live);
        for model in models {
            self.store().drop_database_now(&model.name).unwrap();
        }
        for _ in 0..2 {
            self.store().checkpoint().unwrap();
        }
        assert!(
            self.chunks().0 <= 1,
            "nothing but the catalogue is left: {:?}",
            self.disk.files()
        );
        self.close();
    }
}

/// Runs of so many steps each. `BOP_SEED` chooses one, `BOP_PAST_RUNS` more than those of every day;
/// `BOP_PAST_SECONDS` has them go on for so long, with seeds that nobody had.
fn run(retention: Retention, steps: u64, runs: u64) {
    if let Some(seconds) = asked("BOP_PAST_SECONDS") {
        return soak(retention, steps, Duration::from_secs(seconds));
    }
    let runs = asked("BOP_PAST_RUNS").unwrap_or(runs);
    let mut rewritten = 0;
    for seed in seeds(1..=runs) {
        rewritten += run_one(seed, retention, steps);
    }
    assert!(runs == 1 || rewritten > 0, "no chunk was half dead");
}

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run_one(seed: u64, retention: Retention, steps: u64) -> usize {
    let _told = Told(seed);
    let mut world = World::new(seed, retention);
    world.run(steps);
    world.rewritten
}

/// Tells each minute, and at the end, how many operations there were, and of which seeds.
fn soak(retention: Retention, steps: u64, length: Duration) {
    const LINE: Duration = Duration::from_secs(60);
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random).unwrap();
    let first = u64::from(u32::from_le_bytes(random)) << 16;
    let (began, mut line_at) = (Instant::now(), LINE);
    let window = retention.window_us;
    for seed in first.. {
        run_one(seed, retention, steps);
        let (operations, since) = ((seed - first + 1) * steps, began.elapsed());
        if line_at <= since || length <= since {
            line_at += LINE;
            println!(
                "the past, window {window} us: {operations} operations, seeds {first}..={seed}"
            );
        }
        if length <= since {
            return;
        }
    }
}

#[test]
fn with_a_window_of_everything_each_state_can_be_had() {
    run(ALL, 700, 30);
}

#[test]
fn without_a_window_snapshots_and_forks_keep_what_they_name() {
    run(Retention::NOTHING, 1000, 30);
}

#[test]
fn a_bounded_window_has_the_newest_states() {
    run(Retention::DEFAULT, 1000, 25);
}

#[test]
fn a_short_window_has_the_newest_states() {
    let short = Retention {
        window_us: 3_000_000,
        bytes: 1 << 20,
    };
    run(short, 1000, 25);
}
