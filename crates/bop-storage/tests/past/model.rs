//! Whatever happens to the databases of a store, each state of them that can be had is what it was.

use crate::world::{Saved, World};
use bop_storage::{At, Lsn, Retention};
use std::sync::Arc;

/// Everything for ever.
pub(crate) const ALL: Retention = Retention {
    window_us: 1 << 60,
    bytes: u64::MAX - 1,
};

/// What may be done next, as often as it says.
const WEIGHTS: [(Op, u64); 13] = [
    (Op::Create, 2),
    (Op::Commit, 60),
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

impl World {
    fn step(&mut self) {
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
            Op::Checkpoint => self.checkpoint(),
            Op::Snapshot => self.snapshot(nth),
            Op::DropSnapshot => self.drop_snapshot(nth),
            Op::Fork if self.live.len() < LIVE_MAX => self.fork(nth),
            Op::Restore => self.restore(nth),
            Op::Drop => {
                let model = self.live.remove(nth);
                self.store().drop_database_now(&model.name).unwrap();
            }
            Op::DropAndUndrop if self.retention != Retention::NOTHING => {
                let name = &self.live[nth].name;
                self.store().drop_database(name).unwrap();
                if self.random.chance(1, 2) {
                    self.store().checkpoint().unwrap();
                }
                let name = &self.live[nth].name;
                self.store().undrop_database(name, None).unwrap();
            }
            Op::Reopen => {
                self.close();
                self.open();
            }
            Op::PowerCut => {
                let seed = self.random.below(u64::MAX);
                self.cut(seed);
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
        if self.live[nth].snapshots.len() >= SNAPSHOTS_MAX {
            return;
        }
        let (at, saved) = self.choose(nth);
        let name = format!("s{}", self.new_name());
        let model = &self.live[nth];
        let made = self
            .store()
            .snapshot_database(&model.name, &name, &at)
            .unwrap();
        assert_eq!(made.page_count, saved.state.page_count);
        self.live[nth].snapshots.insert(name, saved);
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
        let name = self.new_name();
        let source = &self.live[nth].name;
        self.store().fork_database(source, &name, &at).unwrap();
        self.store().set_retention(&name, self.retention).unwrap();
        let mut model = self.live[nth].clone();
        model.name = name;
        model.states = vec![Saved {
            lsn: Lsn::ZERO,
            ..saved
        }];
        model.snapshots.clear();
        model.is_fork = true;
        self.check_head(&model);
        self.live.push(model);
    }

    fn restore(&mut self, nth: usize) {
        if self.live[nth].snapshots.len() >= SNAPSHOTS_MAX {
            return;
        }
        let (at, saved) = self.choose(nth);
        // Each is named by its moment.
        self.clock.advance(1);
        let before = self.live[nth].head().clone();
        let made = self
            .store()
            .restore_database(&self.live[nth].name, &at)
            .unwrap();
        let model = &mut self.live[nth];
        model.snapshots.insert(made.name, before);
        model.states = vec![Saved {
            lsn: Lsn::ZERO,
            ..saved
        }];
        model.is_fork = true;
        self.check_head(&self.live[nth]);
    }

    /// Everything about one database.
    pub(crate) fn look(&mut self, nth: usize) {
        let model = self.live[nth].clone();
        self.check_head(&model);
        for (name, saved) in &model.snapshots {
            self.check_at(&model, &At::Snapshot(name.clone()), saved);
        }
        let listed = self.store().snapshots(&model.name).unwrap();
        let names: Vec<&String> = listed.iter().map(|one| &one.name).collect();
        assert_eq!(names, model.snapshots.keys().collect::<Vec<_>>());
        self.look_back(nth);
    }

    /// What the window has: the newest states, without a gap.
    fn look_back(&mut self, nth: usize) {
        let model = self.live[nth].clone();
        let points = self.store().restore_points(&model.name).unwrap();
        let first = if model.is_fork { 0 } else { 1 };
        let expected: Vec<Lsn> = model
            .states
            .iter()
            .skip(first)
            .map(|saved| saved.lsn)
            .collect();
        let found: Vec<Lsn> = points.iter().map(|point| point.lsn).collect();
        if expected.is_empty() {
            assert_eq!(found, [Lsn::ZERO]);
            return;
        }
        let newest = &expected[expected.len().saturating_sub(found.len())..];
        assert_eq!(found, newest, "{}", model.name);
        if self.retention == ALL {
            assert_eq!(found, expected, "{}", model.name);
        } else if self.retention == Retention::NOTHING {
            assert_eq!(found.len(), 1);
        }
        for _ in 0..3 {
            let chosen = model.states.len() - 1 - self.random.index(found.len());
            let saved = &model.states[chosen];
            self.check_at(&model, &At::Lsn(saved.lsn), saved);
            let same_time = model
                .states
                .iter()
                .rfind(|one| one.time_us == saved.time_us);
            self.check_at(&model, &At::Time(saved.time_us), same_time.unwrap());
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
        let verified = self.store().verify();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
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

fn run(retention: Retention, steps: u64) {
    let seed = std::env::var("BOP_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let runs = if seed.is_some() { 1 } else { 12 };
    let first: u64 = seed.unwrap_or(1);
    let mut rewritten = 0;
    for seed in first..first + runs {
        let told = Arc::new(Told(seed));
        let mut world = World::new(seed, retention);
        world.run(steps);
        rewritten += world.rewritten;
        drop(told);
    }
    assert!(runs == 1 || rewritten > 0, "no chunk was half dead");
}

/// Tells the seed of a run that fails.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}: BOP_SEED={} runs it again", self.0, self.0);
        }
    }
}

#[test]
fn with_a_window_of_everything_each_state_can_be_had() {
    run(ALL, 500);
}

#[test]
fn without_a_window_snapshots_and_forks_keep_what_they_name() {
    run(Retention::NOTHING, 1000);
}

#[test]
fn a_bounded_window_has_the_newest_states() {
    run(Retention::DEFAULT, 1000);
    run(
        Retention {
            window_us: 3_000_000,
            bytes: 1 << 20,
        },
        1000,
    );
}
