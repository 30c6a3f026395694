//! Who holds a state of the past does not hold the log.

use crate::acts::ALL;
use crate::world::{LONG, Shape, World};
use bop_storage::{At, Retention};

/// Writes ten times the log's cap beside an open reader, a snapshot and a fork that nobody writes.
fn write_past(shape: Shape, retention: Retention, restored: bool) {
    let mut world = World::with(shape, 3, retention);
    world.create();
    world.commits(0, 20);
    let head = world.live[0].head().clone();
    world.snapshot_at(0, &At::Now, head.clone()).unwrap();
    world.commits(0, 2);
    if restored {
        // What the snapshots are of is another database then, whose newest commits are in the log.
        world
            .restore_at(0, &At::Now, world.live[0].head().clone())
            .unwrap();
    }
    let head = world.live[0].head().clone();
    let fork = world.fork_at(0, &At::Now, head.clone()).unwrap();
    world.begin_reader(0, &At::Now, head);
    for (name, saved) in world.live[0].snapshots.clone() {
        world.begin_reader(0, &At::Snapshot(name), saved);
    }
    let cap = shape.limits().log_bytes_max;
    let first = world.store().status().published;
    let (mut most, mut checkpoints) = (0, 0);
    while world.store().status().published.get() - first.get() < 10 * cap {
        let bytes = world.store().status().log_bytes;
        most = most.max(bytes);
        assert!(bytes <= cap, "{bytes} bytes of log");
        if bytes > cap / 2 {
            checkpoints += 1;
            world.store().checkpoint().unwrap();
            let left = world.store().status().log_bytes;
            assert!(left <= cap / 2, "{left} of {bytes} bytes of log are held");
        }
        world.commit(0);
    }
    println!("{most} bytes of log at most, {checkpoints} checkpoints");
    assert!(checkpoints > 10);
    world.end_readers(None);
    world.look(0);
    world.look(fork);
    world.store.take().unwrap().close(LONG).unwrap();
    world.open();
    world.look(0);
    world.look(fork);
    world.close();
}

#[test]
fn ten_times_the_cap_without_a_window() {
    write_past(Shape::DELTAS, Retention::NOTHING, false);
    write_past(Shape::BASES, Retention::NOTHING, false);
}

#[test]
fn ten_times_the_cap_with_a_window() {
    write_past(Shape::DELTAS, ALL, false);
}

#[test]
fn ten_times_the_cap_after_a_restore() {
    write_past(Shape::DELTAS, Retention::NOTHING, true);
}
