//! What happens while a checkpoint writes its chunks: it publishes what it has frozen, and nobody who came
//! or went meanwhile loses a state by it.

use crate::acts::{ALL, Told, seeds};
use crate::world::World;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{At, Lsn, Retention};

/// Runs a checkpoint that waits for its first write until `meanwhile` is done.
fn checkpoint_around(world: &mut World, meanwhile: impl FnOnce(&mut World)) {
    let (disk, store) = (world.disk.clone(), world.store().clone());
    disk.fail_at(disk.op_count(), Fault::Hang);
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(move || store.checkpoint());
        disk.wait_until_hung(1);
        let release = Release(&disk);
        meanwhile(world);
        drop(release);
        checkpoint.join().unwrap().unwrap();
    });
}

/// Lets the call go on, also when what was done meanwhile has panicked.
struct Release<'a>(&'a SimDisk);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release_hung();
    }
}

/// One thing that needs no state of the past: whoever asks for that waits for the checkpoint.
fn act(world: &mut World) {
    let nth = world.random.index(world.live.len());
    let head = world.live[nth].head().clone();
    // Where a line of forks without commits is long, one more waits for the checkpoint, too.
    let is_written = head.lsn != Lsn::ZERO;
    match world.random.below(8) {
        0 | 1 => world.commit(nth),
        2 if is_written && world.live[nth].snapshots.len() < 6 => {
            drop(world.snapshot_at(nth, &At::Now, head).unwrap())
        }
        3 if is_written && world.live.len() < 6 => {
            world.fork_at(nth, &At::Now, head).map(|_| ()).unwrap()
        }
        4 if world.live.len() > 1 => {
            let model = world.live.remove(nth);
            world.end_readers(Some(&model.name));
            world.store().drop_database_now(&model.name).unwrap();
        }
        5 if is_written && world.live[nth].snapshots.len() < 6 => {
            world.restore_at(nth, &At::Now, head).unwrap();
        }
        6 | 7 => {
            let of = world.live[nth].name.clone();
            if let Some(name) = world.live[nth].snapshots.keys().next().cloned() {
                world.store().drop_snapshot(&of, &name).unwrap();
                world.live[nth].snapshots.remove(&name);
            }
        }
        _ => world.begin_reader(nth, &At::Now, head),
    }
}

fn run(seed: u64, retention: Retention) {
    let _told = Told(seed);
    let mut world = World::new(seed, retention);
    world.create();
    for round in 0..25 {
        for _ in 0..6 {
            let nth = world.random.index(world.live.len());
            world.commit(nth);
            act(&mut world);
        }
        // Nobody must have to wait for it.
        world.store().checkpoint().unwrap();
        let nth = world.random.index(world.live.len());
        world.commits(nth, 3);
        checkpoint_around(&mut world, |world| (0..5).for_each(|_| act(world)));
        (0..world.live.len()).for_each(|nth| world.look(nth));
        world.end_readers(None);
        world.scrub();
        if round % 3 == 0 {
            world.crash(seed);
            (0..world.live.len()).for_each(|nth| world.look(nth));
        }
    }
    let verified = world.store().verify();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    world.close();
}

#[test]
fn nobody_loses_a_state_to_a_checkpoint_that_was_under_way() {
    for seed in seeds(1..=12) {
        run(seed, Retention::NOTHING);
        run(seed, ALL);
    }
}
