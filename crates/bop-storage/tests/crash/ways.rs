//! Full, relaxed and asynchronous commits and groups beside each other, and the power goes at the
//! N-th call: what is left is what a prefix of the calls made, and never less than what was promised.
//!
//! One thread makes all of them, so they stand in the log in the order of its calls. A full commit, a
//! group, a sync and an asynchronous commit that was waited for promise that they and everything
//! before them is there; a relaxed and an asynchronous commit alone may be lost, from the end on.

use crate::fill::fill_with;
use crate::ground::Ground;
use crate::oracle::{open, verify};
use crate::replay::{Replay, is_replay, one_of, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::world::{Database, World, is_state, observe};
use bop_storage::testing::{Fault, SplitMix64};
use bop_storage::{
    CommitError, DbKind, Durability, Housekeeping, Limits, Manager, PendingCommit, WriteTxn,
};
use std::ops::Range;
use std::time::Duration;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: u32 = 24;
/// What fails fails for the power: nobody is told that he waited too long.
const WAIT: Duration = Duration::from_secs(60);
/// No timer writes it within a test.
const LATER: Duration = Duration::from_secs(1000);

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.idle_note_delay = Duration::from_millis(1);
    // Some groups are one record, some are several.
    limits.fragment_bytes_max = 12 << 10;
    // What is refused is refused for the power: the log is never full.
    limits.log_bytes_max = 8 << 20;
    // The power does not come back by waiting.
    limits.retry_delay_min = Duration::from_millis(1);
    limits.retry_delay_max = Duration::from_millis(1);
    limits.io_deadline = WAIT;
    limits.writer_wait = WAIT;
    limits
}

/// All that was asked for, in order, and how much of it was promised.
struct Script {
    rig: Rig,
    random: SplitMix64,
    relaxed: Durability,
    /// The state after each call, the first before any.
    states: Vec<World>,
    /// The first of them that may be found.
    promised: usize,
    pending: Vec<(usize, Vec<usize>, PendingCommit)>,
    /// A call ended unknown, or the power is gone.
    over: bool,
    made: [u64; 4],
}

impl Script {
    /// A store with its databases, closed over what `seed` says.
    fn new(ground: Ground, seed: u64) -> (Self, Manager) {
        let mut rig = Rig::on(ground, seed, ManifestFault::Either);
        let background = !seed.is_multiple_of(2);
        if background {
            rig.housekeeping = Housekeeping::Background;
        }
        let store = rig.open(&limits()).expect("opens");
        let mut world = World::new();
        for name in NAMES {
            store.create_database(name, DbKind::Raw).expect("created");
            world.insert(name.to_owned(), Database::new(DbKind::Raw));
        }
        let max_delay = if background {
            Duration::from_millis(1)
        } else {
            LATER
        };
        let script = Self {
            rig,
            random: SplitMix64::new(seed),
            relaxed: Durability::Relaxed { max_delay },
            states: vec![world],
            promised: 0,
            pending: Vec::new(),
            over: false,
            made: [0; 4],
        };
        (script, store)
    }

    fn newest(&self) -> &World {
        &self.states[self.states.len() - 1]
    }

    /// A transaction on the database with this number, and the state of it that it would make.
    fn written(&mut self, store: &Manager, number: usize) -> Option<(WriteTxn, Database)> {
        let db = store.database(NAMES[number]).ok()?;
        let mut write = db.begin_write(WAIT).ok()?;
        let before = self.newest()[NAMES[number]].clone();
        let mut after = before.clone();
        fill_with(&mut self.random, &mut write, &mut after).ok()?;
        let changed = after.pages != before.pages || !write.touched_pages().is_empty();
        after.head = None;
        changed.then_some((write, after))
    }

    /// A call was made: it stands in the log, or may.
    fn push(&mut self, changes: Vec<(usize, Database)>) {
        let mut world = self.newest().clone();
        for (number, database) in changes {
            world.insert(NAMES[number].to_owned(), database);
        }
        self.states.push(world);
    }

    fn failed(&mut self, error: &CommitError, changes: Vec<(usize, Database)>) {
        match error {
            CommitError::Unknown { .. } => self.push(changes),
            rejected => assert!(
                self.rig.disk.is_cut() || rejected.code().as_str() == "too_large",
                "{rejected}"
            ),
        }
        self.over = self.rig.disk.is_cut();
    }

    fn promise(&mut self) {
        self.promised = self.states.len() - 1;
    }

    fn step(&mut self, store: &Manager) {
        match self.random.below(16) {
            0..4 => self.plain(store, Durability::Full),
            4..9 => self.plain(store, self.relaxed),
            9..12 => self.asynchronous(store),
            12..14 => self.group(store),
            14 => self.wait_for_all(),
            _ => self.sync(store),
        }
        if self.random.chance(1, 8) && store.checkpoint().is_err() {
            self.over = self.rig.disk.is_cut();
        }
    }

    /// A database whose writer slot no commit on the way has.
    fn free(&mut self) -> Option<usize> {
        let number = self.random.index(NAMES.len());
        let taken = |(_, of, _): &(usize, Vec<usize>, PendingCommit)| of.contains(&number);
        (!self.pending.iter().any(taken)).then_some(number)
    }

    fn plain(&mut self, store: &Manager, durability: Durability) {
        let Some(number) = self.free() else { return };
        let Some((write, mut after)) = self.written(store, number) else {
            return;
        };
        match write.commit_with(durability) {
            Ok(read) => {
                after.head = Some(read.lsn());
                self.push(vec![(number, after)]);
                let full = durability == Durability::Full;
                self.made[usize::from(!full)] += 1;
                if full {
                    self.promise();
                }
            }
            Err(error) => self.failed(&error, vec![(number, after)]),
        }
    }

    fn asynchronous(&mut self, store: &Manager) {
        let Some(number) = self.free() else { return };
        let Some((write, after)) = self.written(store, number) else {
            return;
        };
        match write.commit_async() {
            Ok(pending) => {
                self.push(vec![(number, after)]);
                self.made[2] += 1;
                let place = self.states.len() - 1;
                self.pending.push((place, vec![number], pending));
            }
            Err(error) => self.failed(&error, vec![(number, after)]),
        }
    }

    /// Promises what is visible: an asynchronous commit is not, and may yet be refused.
    fn sync(&mut self, store: &Manager) {
        let all_visible = self.pending.is_empty();
        match store.sync() {
            Ok(()) if all_visible => self.promise(),
            Ok(()) => {}
            Err(_) => self.over = true,
        }
    }

    fn wait_for_all(&mut self) {
        for (place, _, pending) in std::mem::take(&mut self.pending) {
            match pending.wait() {
                Ok(_) => self.promised = self.promised.max(place),
                Err(error) => {
                    assert!(self.rig.disk.is_cut(), "{error}");
                    self.over = true;
                }
            }
        }
    }

    fn group(&mut self, store: &Manager) {
        self.wait_for_all();
        let first = self.random.index(NAMES.len() - 1);
        let (mut group, mut changes) = (Vec::new(), Vec::new());
        for number in first..first + 2 {
            if let Some((write, after)) = self.written(store, number) {
                group.push(write);
                changes.push((number, after));
            }
        }
        if self.over || group.is_empty() {
            return;
        }
        match store.group_commit(group) {
            Ok(reads) => {
                for ((_, after), read) in changes.iter_mut().zip(&reads) {
                    after.head = Some(read.lsn());
                }
                self.push(changes);
                self.promise();
                self.made[3] += 1;
            }
            Err(error) => self.failed(&error, changes),
        }
    }

    /// What `keep` leaves is a prefix. Returns how many calls of it are lost.
    fn look(&self, keep: Keep) -> usize {
        let image = self.rig.crashed(keep, 3);
        let store = open(&image, &limits(), "after the cut").unwrap();
        let found = observe(&store).expect("can be read");
        verify(&store, "after the cut").unwrap();
        let mut may_be = self.states.iter().enumerate().skip(self.promised).rev();
        let Some((place, _)) = may_be.find(|(_, state)| is_state(state, &found)) else {
            let before = self.states.iter().position(|state| is_state(state, &found));
            panic!(
                "{keep:?}: promised {} of {} calls, found {before:?}",
                self.promised,
                self.states.len() - 1
            );
        };
        self.states.len() - 1 - place
    }
}

/// Runs a script with a cut at a call; returns it and how many calls it made.
fn run(ground: Ground, seed: u64, cut: Option<u64>) -> (Script, u64) {
    let (mut script, store) = Script::new(ground, seed);
    let disk = script.rig.disk.clone();
    let first = disk.op_count();
    if let Some(cut) = cut {
        disk.fail_at(first + cut, Fault::PowerCut);
    }
    for _ in 0..STEPS {
        if !script.over {
            script.step(&store);
        }
    }
    let calls = disk.op_count() - first;
    disk.power_cut();
    // Their ends are of no interest any more.
    script.pending.clear();
    drop(store);
    (script, calls)
}

/// Cuts the script of each seed at every call, or at one of so many, from the first on.
fn cut_each(test: &'static str, ground: Ground, range: Range<u64>, stride: usize) {
    let (mut images, mut with_loss, mut made) = (0, 0, [0; 4]);
    let wanted = 24 * (range.end - range.start);
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        let (_, calls) = run(ground, seed, None);
        for cut in (0..=calls).step_by(one_of(stride)) {
            let (script, _) = run(ground, seed, Some(cut));
            (0..4).for_each(|way| made[way] += script.made[way]);
            for keep in [Keep::Nothing, Keep::Everything, Keep::Some(cut)] {
                with_loss += u64::from(0 < script.look(keep));
                images += 1;
            }
        }
    }
    println!(
        "{test}, {ground}: {images} images, {with_loss} with a loss that is allowed, made {made:?}"
    );
    if !is_replay() {
        assert!(images >= wanted, "{images}");
        assert!(with_loss >= wanted / 5, "{with_loss}");
        assert!(made.iter().all(|made| *made >= wanted / 2), "{made:?}");
    }
}

#[test]
fn of_all_ways_to_commit_a_prefix_is_left_and_never_less_than_was_promised() {
    const TEST: &str = "of_all_ways_to_commit_a_prefix_is_left_and_never_less_than_was_promised";
    cut_each(TEST, Ground::Simulated, 300..308, 3);
}

/// Every call of a script on real files.
#[test]
fn of_all_ways_to_commit_to_real_files_a_prefix_is_left() {
    const TEST: &str = "of_all_ways_to_commit_to_real_files_a_prefix_is_left";
    for ground in Ground::real() {
        let stride = if ground.is_slow() { 16 } else { 1 };
        cut_each(TEST, ground, 308..309, stride);
    }
}
