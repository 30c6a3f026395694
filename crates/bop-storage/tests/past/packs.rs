//! What is dead in packs comes back, and what is read there reads as before.

use crate::acts::ALL;
use crate::world::{LONG, Shape, World};
use bop_storage::error::Reject;
use bop_storage::io::IoOp;
use bop_storage::testing::Fault;
use bop_storage::{At, DbKind, PageNo, Retention};
use std::path::Path;
use std::sync::Arc;

const DATABASES: usize = 30;
const EIO: i32 = 5;

/// Many databases in a few packs, each with a past; of these `kept` stay, with snapshots and forks.
fn many(seed: u64, retention: Retention, kept: usize) -> World {
    many_of(World::closed(Shape::BASES, seed, retention), kept)
}

/// The same, of a store that is not there yet.
pub(crate) fn many_of(mut world: World, kept: usize) -> World {
    world.open();
    for _ in 0..3 {
        while world.live.len() < DATABASES {
            world.create();
        }
        for nth in 0..DATABASES {
            world.commit(nth);
            world.commit(nth);
        }
        world.checkpoint();
    }
    world.snapshot(0);
    world.fork(1);
    for nth in [0, DATABASES] {
        world.commit(nth);
    }
    world.checkpoint();
    // The last one is a fork, of one that stays.
    let fork = world.live.remove(DATABASES);
    for gone in world.live.split_off(kept) {
        world.store().drop_database_now(&gone.name).unwrap();
    }
    world.live.push(fork);
    world
}

fn look_at_all(world: &mut World) {
    for nth in 0..world.live.len() {
        world.look(nth);
        let model = &world.live[nth];
        for saved in model.states.iter().rev().take(1) {
            world.check_at(model, &At::Lsn(saved.lsn), saved);
        }
    }
    let verified = world.store().verify();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

/// Nothing is on disk that no row names.
fn no_orphans(world: &mut World) {
    // What is left over goes with the first write.
    world.commit(0);
    world.store().keep_house();
    let verified = world.store().verify();
    assert_eq!(world.chunks().0 as u64, verified.chunks as u64);
}

#[test]
fn the_space_of_dropped_databases_in_packs_comes_back() {
    for (seed, retention) in [(1, ALL), (2, Retention::NOTHING)] {
        let mut world = many(seed, retention, 4);
        let (_, before) = world.chunks();
        let reader = world.db(&world.live[2].name).begin_read().unwrap();
        let saved = world.live[2].head().clone();
        // A few at a time.
        for _ in 0..8 {
            world.checkpoint();
        }
        assert!(world.rewritten > 1, "{}", world.rewritten);
        let (count, after) = world.chunks();
        let live = world.store().space().live_bytes;
        assert!(
            after <= 2 * live + 8192 * count as u64,
            "{after} for {live}"
        );
        assert!(3 * after < before, "{after} of {before}");
        world.check(&reader, &saved, "a reader from before");
        drop(reader);
        look_at_all(&mut world);
        no_orphans(&mut world);
        world.close();
        world.open();
        look_at_all(&mut world);
        let report = world.store().checkpoint().unwrap();
        assert_eq!(report.chunks_rewritten, 0, "once is enough");
    }
}

/// A closed store whose next checkpoint rewrites.
fn about_to_rewrite() -> World {
    let mut world = many(3, ALL, 3);
    world.close();
    let mut probe = world.copied();
    probe.open();
    probe.checkpoint();
    assert!(probe.rewritten > 0);
    probe.close();
    world
}

fn gated(world: &World, after: bool) {
    let disk = world.disk.clone();
    let tick = move || disk.tick(IoOp::ManifestCommit, Path::new("manifest"));
    if after {
        world.manifest.set_gate_after(Some(Arc::new(tick)));
    } else {
        world.manifest.set_gate(Some(Arc::new(tick)));
    }
}

/// The next checkpoint with its `call`th change failing so; whether there was that many.
fn interrupted(from: &World, call: u64, fault: Fault, after: bool) -> bool {
    let mut world = from.copied();
    world.open();
    gated(&world, after);
    let planned = world.disk.op_count() + call;
    world.disk.fail_at(planned, fault);
    let _ended = world.store().checkpoint();
    let met = planned < world.disk.op_count();
    if fault == Fault::PowerCut {
        world.crash(call);
    } else {
        world.disk.heal();
        let _ended = world.store.take().unwrap().close(LONG);
        world.manifest.set_gate(None);
        world.manifest.set_gate_after(None);
        world.open();
    }
    look_at_all(&mut world);
    for _ in 0..8 {
        world.checkpoint();
    }
    look_at_all(&mut world);
    no_orphans(&mut world);
    world.close();
    met
}

#[test]
fn a_rewrite_that_is_cut_off_anywhere_leaves_what_was_there() {
    let world = about_to_rewrite();
    for after in [false, true] {
        let mut call = 0;
        while interrupted(&world, call, Fault::PowerCut, after) {
            call += 1;
        }
        assert!(call > 20, "{call}");
    }
}

#[test]
fn a_rewrite_of_which_any_call_fails_leaves_what_was_there() {
    let world = about_to_rewrite();
    for after in [false, true] {
        let mut call = 0;
        while interrupted(&world, call, Fault::Error(EIO), after) {
            call += 1;
        }
        assert!(call > 20, "{call}");
    }
}

#[test]
fn a_damaged_chunk_is_left_alone_and_the_others_go() {
    let mut world = about_to_rewrite();
    let largest = world.disk.files().into_iter();
    let largest = largest.filter(|(path, _)| path.starts_with("chunks"));
    let damaged: Vec<_> = largest.take(1).collect();
    let (path, bytes) = &damaged[0];
    for byte in (4096..bytes - 4096).step_by(64) {
        world.disk.flip(path, byte, 1);
    }
    world.open();
    for _ in 0..8 {
        world.checkpoint();
    }
    assert!(world.rewritten > 0);
    assert!(world.disk.files().iter().any(|(left, _)| left == path));
    let found = world.store().verify().findings;
    assert!(found.iter().any(|one| one.reason == Reject::Checksum));
    world.close();
}

/// Neither a commit nor a checkpoint comes, and the past is over.
#[test]
fn an_idle_store_frees_what_its_windows_let_go_of() {
    let window = Retention {
        window_us: 60_000_000,
        bytes: u64::MAX - 1,
    };
    let mut world = World::new(4, window);
    world.create();
    for _ in 0..20 {
        for _ in 0..4 {
            world.commit(0);
            world.clock.advance(1000);
        }
        world.checkpoint();
    }
    world.store().keep_house();
    let (_, before) = world.chunks();
    let points = world.store().restore_points(&world.live[0].name).unwrap();
    assert!(points.len() > 50, "{}", points.len());
    world.clock.advance(120_000_000);
    world.store().keep_house();
    let points = world.store().restore_points(&world.live[0].name).unwrap();
    assert_eq!(points.len(), 1);
    let (_, after) = world.chunks();
    assert!(4 * after < before, "{after} of {before}");
    look_at_all(&mut world);
    world.close();
}

#[test]
fn pages_of_a_new_database_beside_a_rewrite_are_its_own() {
    let mut world = many(5, Retention::NOTHING, 4);
    let db = world.store().create_database("new", DbKind::Raw).unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[9; 4096]).unwrap();
    drop(write.commit().unwrap());
    for _ in 0..4 {
        world.checkpoint();
        let read = db.begin_read().unwrap();
        assert!(read.read_page(PageNo::FIRST).unwrap()[..] == [9; 4096]);
    }
    look_at_all(&mut world);
    world.close();
}
