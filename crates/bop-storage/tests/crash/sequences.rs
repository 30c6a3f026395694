//! All sequences of a few operations out of twelve, on a small store, and what a power cut within each call of
//! the last of them would leave; the calls before are those of shorter sequences.
//!
//! Most defects of crash consistency need no more than three operations on a new file system (Mohan et al.,
//! "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018): small is tried first,
//! and all of it.

use crate::camera::{Camera, images_of_a_call};
use crate::replay::one_of;
use crate::rig::{ManifestFault, Rig};
use crate::session::{Op, Session, Weather};
use crate::world::World;
use bop_storage::Limits;
use bop_storage::testing::SplitMix64;
use std::sync::Arc;
use std::time::Duration;

const DATABASES: usize = 2;

fn limits() -> Limits {
    let mut limits = Limits::tiny();
    limits.log_sealed_segments_max = 1;
    limits.writer_wait = Duration::from_millis(20);
    limits
}

/// A closed store with a few databases, a commit in each.
fn origin() -> (Rig, World) {
    let rig = Rig::new(1, ManifestFault::Either);
    let mut session = Session::new(rig, &limits(), World::new(), Weather::Fair, 1);
    session.open();
    while session.acknowledged.len() < DATABASES {
        session.perform(Op::Create);
    }
    (0..4).for_each(|_| session.perform(Op::Commit));
    session.leave(true);
    (session.rig, session.acknowledged)
}

/// The sequence with this number, of `length` operations.
fn sequence(mut number: usize, length: u32) -> Vec<Op> {
    let mut ops = Vec::new();
    for _ in 0..length {
        ops.push(Op::ALL[number % Op::ALL.len()]);
        number /= Op::ALL.len();
    }
    ops
}

/// How many images the last operation of a sequence gave.
fn try_one(origin: &(Rig, World), ops: &[Op], seed: u64) -> u64 {
    let (rig, world) = (origin.0.copied(seed, ManifestFault::Either), &origin.1);
    let limits = limits();
    let mut session = Session::new(rig, &limits, world.clone(), Weather::Fair, seed);
    session.open();
    let (last, before) = ops.split_last().unwrap();
    before.iter().for_each(|op| session.perform(*op));
    let acknowledged = session.acknowledged.clone();
    let camera = Camera::on(&session.rig, acknowledged, images_of_a_call(), seed);
    session.watch = Some(Arc::clone(&camera.standing));
    session.ended();
    session.perform(*last);
    session.rig.disk.set_tap(None);
    let taken = camera.taken();
    let images = taken.len() as u64;
    let mut random = SplitMix64::new(seed);
    for image in taken {
        let judged = image.judge(&limits, &mut random);
        judged.unwrap_or_else(|violation| panic!("{ops:?}, {violation}"));
    }
    session.leave(false);
    images
}

/// Every `stride`th of the sequences of this length; their number, and that of the images.
fn try_all(length: u32, stride: usize) -> (u64, u64) {
    let origin = origin();
    let (mut sequences, mut images) = (0, 0);
    for number in (0..Op::ALL.len().pow(length)).step_by(one_of(stride)) {
        images += try_one(&origin, &sequence(number, length), number as u64);
        sequences += 1;
    }
    println!("{sequences} sequences of {length}");
    println!("proved: {images} crash images");
    (sequences, images)
}

#[test]
fn all_of_one_and_two_operations() {
    assert!(try_all(1, 1).1 >= 20);
    let (sequences, images) = try_all(2, 1);
    assert_eq!(sequences, 144);
    assert!(images >= 500, "{images}");
}

#[test]
fn of_three_operations() {
    assert!(try_all(3, 59).1 >= 100);
}

#[test]
fn of_four_operations() {
    assert!(try_all(4, 691).1 >= 100);
}
