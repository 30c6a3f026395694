//! The device is full, at each step of a checkpoint: commits go on until the log's space is gone, the reserve
//! lets a checkpoint finish, and all heals when there is room.

use crate::acts::{ALL, Told};
use crate::faults::judge;
use crate::world::{Shape, World};
use bop_storage::io::Disk;
use bop_storage::{ErrorCode, Retention};

/// A store with something in chunks and something in the log, closed.
fn scene(seed: u64, retention: Retention) -> World {
    let mut world = World::new(seed, retention);
    for nth in 0..2 {
        world.create();
        world.commits(nth, 12);
    }
    world.store().checkpoint().unwrap();
    world.commits(0, 4);
    world.fork(0);
    world.snapshot(0);
    world.close();
    world
}

fn used(world: &World) -> u64 {
    world.disk.files().iter().map(|(_, bytes)| bytes).sum()
}

/// Commits to one database after the other until there is no room, but not more than `most`; returns how many
/// were made.
fn commit_until_full(world: &mut World, most: usize) -> usize {
    for made in 0..most {
        let nth = made % world.live.len();
        if let Err(error) = world.try_commit(nth) {
            assert_eq!(error.code(), ErrorCode::OutOfSpace, "{error}");
            return made;
        }
    }
    most
}

#[derive(Default, Debug)]
struct Seen {
    full: usize,
    lent: usize,
    again: usize,
}

/// `left` bytes are left when the store is open.
fn fill(mut world: World, left: u64, seen: &mut Seen) {
    world.open();
    world.disk.set_capacity(Some(used(&world) + left));
    let most = 150;
    let made = commit_until_full(&mut world, most);
    seen.full += usize::from(made < most);
    for nth in 0..world.live.len() {
        let model = world.live[nth].clone();
        world.check_head(&model);
    }
    let free = world.disk.free_bytes().unwrap();
    let report = world.store().checkpoint().unwrap();
    seen.lent += usize::from(free < report.chunk_bytes);
    judge(&mut world);
    let again = commit_until_full(&mut world, most);
    seen.again += usize::from(again > 0);
    // Somebody who opens the store again finds no more room than before.
    world.close();
    world.open();
    judge(&mut world);
    world.store().checkpoint().unwrap();
    judge(&mut world);
    world.disk.set_capacity(None);
    for nth in 0..world.live.len() {
        world.commits(nth, 30);
    }
    world.checkpoint();
    judge(&mut world);
    world.close();
}

fn campaign(retention: Retention) {
    let mut seen = Seen::default();
    for seed in 1..=3 {
        let told = Told(seed);
        let origin = scene(seed, retention);
        let segment = Shape::of(seed).limits().segment_bytes_max;
        for left in (0..12 * segment).step_by(12 << 10) {
            fill(origin.copied(), left, &mut seen);
        }
        drop(told);
    }
    println!("{seen:?}");
    assert!(
        seen.full > 100 && seen.lent > 20 && seen.again > 100,
        "{seen:?}"
    );
}

#[test]
fn a_checkpoint_has_room_wherever_the_space_ends() {
    campaign(Retention::NOTHING);
}

#[test]
fn a_checkpoint_has_room_for_histories_too() {
    campaign(ALL);
}
