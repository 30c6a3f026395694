//! Forks of forks of forks: their pages are all there, whoever of their line is gone.

use crate::acts::ALL;
use crate::world::{Saved, Shape, World};
use bop_storage::{At, Retention};

fn commit_all(world: &mut World, nth: usize) {
    for _ in 0..12 {
        world.commit(nth);
    }
}

/// The newest of the line becomes the parent of one more.
fn grow(world: &mut World) {
    let newest = world.live.len() - 1;
    let head: Saved = world.live[newest].head().clone();
    world.fork_at(newest, &At::Now, head).unwrap();
}

fn check_all(world: &World) {
    world.live.iter().for_each(|model| world.check_head(model));
    let verified = world.store().verify();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    world.scrub();
}

/// A line of forks, each with a commit of its own, and a checkpoint after each or after all.
fn line(shape: Shape, retention: Retention, each: bool) {
    let mut world = World::with(shape, 5, retention);
    world.create();
    commit_all(&mut world, 0);
    for _ in 0..24 {
        grow(&mut world);
        let newest = world.live.len() - 1;
        world.commit(newest);
        if each {
            world.store().checkpoint().unwrap();
        }
    }
    check_all(&world);
    world.store().checkpoint().unwrap();
    check_all(&world);
    world.close();
    world.open();
    check_all(&world);
    // Whoever comes after them reads on.
    while world.live.len() > 1 {
        let middle = (world.live.len() - 1) / 2;
        let gone = world.live.remove(middle);
        world.store().drop_database_now(&gone.name).unwrap();
        if world.live.len().is_multiple_of(3) {
            world.store().checkpoint().unwrap();
            check_all(&world);
        }
    }
    world.crash(1);
    check_all(&world);
    world.commits(0, 3);
    world.store().checkpoint().unwrap();
    check_all(&world);
    world.close();
}

#[test]
fn a_long_line_of_forks() {
    for shape in [Shape::BASES, Shape::DELTAS] {
        for retention in [ALL, Retention::NOTHING] {
            line(shape, retention, true);
            line(shape, retention, false);
        }
    }
}

/// Nobody pays for how many forks that were never written lie between a database and its pages.
#[test]
fn a_line_of_forks_without_a_commit() {
    let mut world = World::with(Shape::BASES, 5, Retention::NOTHING);
    world.create();
    commit_all(&mut world, 0);
    world.store().checkpoint().unwrap();
    for _ in 0..600 {
        grow(&mut world);
    }
    let newest = world.live.len() - 1;
    let small = std::thread::Builder::new().stack_size(256 << 10);
    std::thread::scope(|scope| {
        let (world, model) = (&world, &world.live[newest]);
        let read = move || world.check_head(model);
        small.spawn_scoped(scope, read).unwrap().join().unwrap();
    });
    while world.live.len() > 2 {
        let gone = world.live.remove(1);
        world.store().drop_database_now(&gone.name).unwrap();
    }
    world.store().checkpoint().unwrap();
    world.close();
    world.open();
    check_all(&world);
    world.close();
}
