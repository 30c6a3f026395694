//! The power goes, or a call fails, at every call that changes the disk: of a checkpoint that writes deltas
//! and histories, of forks, snapshots and restores, and of a checkpoint that frees chunks.
//!
//! A commit of the manifest is one of these calls: its answer gets lost before it is done, or behind.

use crate::acts::{ALL, begun};
use crate::world::{LONG, Model, Saved, Shape, World};
use bop_storage::io::IoOp;
use bop_storage::io::errno::EIO;
use bop_storage::manifest::Gate;
use bop_storage::testing::Fault;
use bop_storage::{At, PastError, Retention};
use std::sync::Arc;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Checkpoint,
    Fork,
    ForkOfPast,
    Snapshot,
    SnapshotOfPast,
    SnapshotDrop,
    Restore,
    RestoreToPast,
}

/// A database with deltas and histories in chunks and commits in the log, with a fork, and snapshots of
/// either part of both.
fn scene(seed: u64, retention: Retention) -> World {
    scene_of(World::closed(Shape::of(seed), seed, retention))
}

/// The same, of a store that is not there yet.
pub(crate) fn scene_of(mut world: World) -> World {
    world.open();
    world.create();
    world.commits(0, 6);
    keep(&mut world, 0);
    world.commits(0, 3);
    world.store().checkpoint().unwrap();
    world.commits(0, 3);
    let head = world.live[0].head().clone();
    world.fork_at(0, &At::Now, head).unwrap();
    world.commits(1, 3);
    keep(&mut world, 1);
    world.commits(1, 1);
    world.commits(0, 3);
    world.store().checkpoint().unwrap();
    world.commits(0, 2);
    world.close();
    world
}

/// What the act begins with: commits that no checkpoint has, and states among them that are kept.
pub(crate) fn warm(world: &mut World) {
    world.open();
    world.commits(0, 2);
    keep(world, 0);
    world.commits(0, 2);
    world.commits(1, 2);
}

/// Of each database the oldest snapshot goes.
pub(crate) fn drop_oldest(world: &mut World) {
    for nth in 0..2 {
        let name = world.live[nth].snapshots.keys().next().unwrap().clone();
        let of = world.live[nth].name.clone();
        world.store().drop_snapshot(&of, &name).unwrap();
        world.live[nth].snapshots.remove(&name);
    }
}

fn keep(world: &mut World, nth: usize) {
    let head = world.live[nth].head().clone();
    world.snapshot_at(nth, &At::Now, head).unwrap();
}

/// The oldest snapshot: its state is in a history.
fn old(world: &World) -> (At, Saved) {
    let (name, saved) = world.live[0].snapshots.iter().next().unwrap();
    (At::Snapshot(name.clone()), saved.clone())
}

pub(crate) fn attempt(world: &mut World, act: Act) -> Result<(), PastError> {
    let now = (At::Now, world.live[0].head().clone());
    let past = old(world);
    let (at, saved) = match act {
        Act::ForkOfPast | Act::SnapshotOfPast | Act::RestoreToPast => past,
        _ => now,
    };
    match act {
        Act::Checkpoint => {
            let _failed = world.store().checkpoint();
        }
        Act::Fork | Act::ForkOfPast => world.fork_at(0, &at, saved).map(|_| ())?,
        Act::Snapshot | Act::SnapshotOfPast => drop(world.snapshot_at(0, &at, saved)?),
        Act::Restore | Act::RestoreToPast => world.restore_at(0, &at, saved)?,
        Act::SnapshotDrop => {
            let (At::Snapshot(name), _) = old(world) else {
                return Ok(());
            };
            world.store().drop_snapshot(&world.live[0].name, &name)?;
            world.live[0].snapshots.remove(&name);
        }
    }
    Ok(())
}

/// After an act whose answer is unknown: believes what the store says that it has done, all or nothing.
pub(crate) fn settle(world: &mut World, act: Act, before: &[Model]) {
    let of_store = world.store().databases();
    let mut models = before.to_vec();
    let (_, saved) = match act {
        Act::ForkOfPast | Act::SnapshotOfPast | Act::RestoreToPast => {
            let (name, saved) = models[0].snapshots.iter().next().unwrap();
            (At::Snapshot(name.clone()), saved.clone())
        }
        _ => (At::Now, models[0].head().clone()),
    };
    let listed: Vec<String> = world
        .store()
        .snapshots(&models[0].name)
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    let known: Vec<String> = models[0].snapshots.keys().cloned().collect();
    let new = listed.iter().find(|name| !known.contains(name)).cloned();
    match act {
        Act::Checkpoint => {}
        Act::Fork | Act::ForkOfPast => {
            let known: Vec<&String> = before.iter().map(|model| &model.name).collect();
            let fork = of_store.iter().find(|info| !known.contains(&&info.name));
            if let Some(fork) = fork {
                let mut model = models[0].clone();
                model.name = fork.name.clone();
                model.states = vec![begun(saved)];
                model.snapshots.clear();
                model.is_fork = true;
                models.push(model);
            }
        }
        Act::Snapshot | Act::SnapshotOfPast => {
            models[0].snapshots.extend(new.map(|name| (name, saved)));
        }
        Act::SnapshotDrop => models[0].snapshots.retain(|name, _| listed.contains(name)),
        Act::Restore | Act::RestoreToPast => {
            if let Some(kept) = new {
                let head = models[0].head().clone();
                models[0].snapshots.insert(kept, head);
                models[0].states = vec![begun(saved)];
                models[0].is_fork = true;
            }
        }
    }
    world.live = models;
}

/// All that is believed is so, every byte is right, and no file is there that nobody names.
pub(crate) fn judge(world: &mut World) {
    for nth in 0..world.live.len() {
        world.look(nth);
    }
    let verified = world.store().verify();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(world.chunks().0, verified.chunks, "files of chunks");
}

/// Whether a commit of the manifest that fails is done.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Answer {
    Before,
    Behind,
}

fn gate(world: &World, answer: Answer) {
    let disk = world.disk.clone();
    let gate: Gate = Arc::new(move || disk.tick(IoOp::ManifestCommit, "manifest".as_ref()));
    match answer {
        Answer::Before => world.manifest.set_gate(Some(gate)),
        Answer::Behind => world.manifest.set_gate_after(Some(gate)),
    }
}

/// Fails one call after the other until none is met any more; returns how many there were.
fn fail_each(origin: &World, act: Act, fault: Fault, answer: Answer) -> u64 {
    for call in 0.. {
        let mut world = origin.copied();
        warm(&mut world);
        if act == Act::Checkpoint && world.retention == Retention::NOTHING {
            // So that it has something to free.
            drop_oldest(&mut world);
        }
        let before = world.live.clone();
        gate(&world, answer);
        let from = world.disk.op_count();
        world.disk.fail_at(from + call, fault);
        let done = attempt(&mut world, act);
        let is_met = from + call < world.disk.op_count();
        if fault != Fault::PowerCut {
            // Reads go on.
            for model in &before {
                if act != Act::Restore && act != Act::RestoreToPast {
                    world.check_head(model);
                }
            }
        }
        world.manifest.set_gate(None);
        world.manifest.set_gate_after(None);
        if fault == Fault::PowerCut {
            world.crash(call);
        } else {
            world.disk.heal();
            let _poisoned = world.store.take().unwrap().close(LONG);
            world.open();
        }
        let believed = std::mem::take(&mut world.live);
        settle(&mut world, act, &before);
        if done.is_ok() {
            let names = |models: &[Model]| -> Vec<_> {
                let one = |model: &Model| (model.name.clone(), model.snapshots.len());
                models.iter().map(one).collect()
            };
            assert_eq!(names(&world.live), names(&believed), "acknowledged");
        }
        judge(&mut world);
        world.store().checkpoint().unwrap();
        judge(&mut world);
        world.close();
        if !is_met {
            assert!(done.is_ok(), "{done:?}");
            return call;
        }
    }
    unreachable!("calls are counted in 64 bits")
}

/// Tells where it happened.
struct Case<'a>(&'a str);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it was {}", self.0);
        }
    }
}

/// Of each shape one scene; the second has deltas.
const SEEDS: std::ops::RangeInclusive<u64> = 12..=14;

fn campaign(retention: Retention, acts: &[Act]) {
    for seed in SEEDS {
        let origin = scene(seed, retention);
        for act in acts {
            for fault in [Fault::PowerCut, Fault::Error(EIO)] {
                for answer in [Answer::Before, Answer::Behind] {
                    let what = format!("seed {seed}, {act:?}, {fault:?}, {answer:?} is lost");
                    let _case = Case(&what);
                    let calls = fail_each(&origin, *act, fault, answer);
                    println!("proved: {calls} error loops of {what}");
                    assert!(calls > 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_checkpoint_that_writes_deltas_and_histories() {
    campaign(ALL, &[Act::Checkpoint]);
}

#[test]
fn a_checkpoint_that_frees_chunks_and_a_snapshot_that_goes() {
    campaign(Retention::NOTHING, &[Act::Checkpoint, Act::SnapshotDrop]);
}

#[test]
fn forks() {
    campaign(ALL, &[Act::Fork, Act::ForkOfPast]);
}

#[test]
fn snapshots() {
    campaign(ALL, &[Act::Snapshot, Act::SnapshotOfPast]);
}

#[test]
fn restores() {
    campaign(ALL, &[Act::Restore, Act::RestoreToPast]);
}
