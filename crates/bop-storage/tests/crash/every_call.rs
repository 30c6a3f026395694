//! One run of a seeded workload, and what a power cut within each of its calls would leave, judged; from some
//! of that a second and a third life, looked at in the same way from its recovery on.
//!
//! ```text
//! session --call--> the tap takes what a cut could leave now, with what is promised now
//!    |                                                |  alike under one promise: once
//!    '--the step is over--> each is opened and read, and must be what was promised; a quarter is
//!                           verified, a sixteenth goes on, a few are another life
//! ```
//! The store itself never loses its power here, so a run of some hundred calls gives some thousand images. What
//! it answers when it does is for `images`.

use crate::camera::{Camera, Image, images_of_a_call};
use crate::ground::Ground;
use crate::images::limits_of;
use crate::replay::{Replay, is_replay, seeds};
use crate::rig::{ManifestFault, Rig};
use crate::session::{Session, Weather};
use crate::world::{Which, World};
use bop_storage::Limits;
use bop_storage::io::IoOp;
use bop_storage::testing::SplitMix64;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Lives of a store in one test: the first, and those after a crash.
const LIVES: usize = 3;
/// Of so many images one begins another life.
const NEXT_LIFE: u64 = 300;
/// Steps of a life that begins with a recovery.
const STEPS_AFTER: u32 = 6;

/// What was tried.
#[derive(Default, Debug)]
struct Tally {
    images: [u64; LIVES],
    /// Images that were taken, and had been seen under the same promise.
    alike: u64,
    within: BTreeMap<IoOp, u64>,
    appeared: u64,
    vanished: u64,
    /// Of all calls and images: two runs of a seed come to the same.
    digest: u64,
}

impl Tally {
    fn trace(&mut self, digest: u64) {
        self.digest = self.digest.rotate_left(9).wrapping_add(digest);
    }
}

struct Explorer {
    limits: Limits,
    images_of_a_call: u64,
    random: SplitMix64,
    tally: Tally,
}

impl Explorer {
    fn live(&mut self, life: usize, rig: Rig, world: World, steps: u32) {
        let seed = self.random.next_u64();
        let camera = Camera::on(&rig, world.clone(), self.images_of_a_call, seed);
        let mut session = Session::new(rig, &self.limits, world, Weather::Fair, seed);
        session.watch = Some(Arc::clone(&camera.standing));
        session.open();
        self.judge(life, &camera);
        for _ in 0..steps {
            session.step();
            self.judge(life, &camera);
        }
        session.leave(self.random.chance(1, 2));
        self.judge(life, &camera);
        self.tally.trace(session.rig.disk.trace());
        self.tally.alike += camera.alike();
        session.rig.disk.set_tap(None);
    }

    fn judge(&mut self, life: usize, camera: &Camera) {
        for image in camera.taken() {
            self.judge_one(life, image);
        }
    }

    fn judge_one(&mut self, life: usize, image: Image) {
        let (digest, op) = (image.digest, image.op);
        let in_flight = image.promise.expected().in_flight.is_some();
        let begins = life + 1 < LIVES && self.random.chance(1, NEXT_LIFE);
        let seed = self.random.next_u64();
        let next = begins.then(|| image.rig.copied(seed, ManifestFault::Either));
        let judged = image.judge(&self.limits, &mut self.random);
        let found = judged.unwrap_or_else(|violation| panic!("life {life}, {violation}"));
        self.tally.trace(digest);
        self.tally.images[life] += 1;
        *self.tally.within.entry(op).or_default() += 1;
        match found.which {
            Which::InFlight => self.tally.appeared += 1,
            Which::Acknowledged => {
                self.tally.vanished += u64::from(in_flight);
            }
        }
        if let Some(next) = next {
            self.live(life + 1, next, found.world, STEPS_AFTER);
        }
    }
}

fn explore(test: &'static str, range: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds(range) {
        let _replay = Replay::new(test, Ground::Simulated, seed);
        let mut random = SplitMix64::new(seed);
        let limits = limits_of(&mut random);
        let steps = [6, 20, 60][random.index(3)];
        let mut explorer = Explorer {
            limits,
            images_of_a_call: images_of_a_call(),
            random,
            tally,
        };
        let rig = Rig::new(seed, ManifestFault::Either);
        explorer.live(0, rig, World::new(), steps);
        tally = explorer.tally;
    }
    println!("{test}: {tally:?}");
    println!("proved: {} crash images", tally.images.iter().sum::<u64>());
    tally
}

/// Two shares, so that they run side by side; of as many seeds as `BOP_CRASH_SEEDS` says.
fn share(test: &'static str, first: u64) {
    let count = std::env::var("BOP_CRASH_SEEDS").map_or(3, |count| count.parse().unwrap());
    let tally = explore(test, first..first + count);
    if is_replay() {
        return;
    }
    let images: u64 = tally.images.iter().sum();
    assert!(images >= 800 * count, "{images} images");
    assert!(tally.images.iter().all(|images| *images >= 50), "{tally:?}");
    for op in [
        IoOp::Open,
        IoOp::Write,
        IoOp::WriteDurable,
        IoOp::Sync,
        IoOp::Allocate,
        IoOp::SyncDirectory,
        IoOp::Remove,
        IoOp::ManifestCommit,
    ] {
        let within = tally.within.get(&op).copied().unwrap_or(0);
        assert!(within >= 5, "{within} images within {op}");
    }
    let counts = [tally.appeared, tally.vanished];
    assert!(counts.iter().all(|count| *count >= 50), "{tally:?}");
}

#[test]
fn a_seed_is_replayed_bit_for_bit() {
    let test = "a_seed_is_replayed_bit_for_bit";
    let [first, second] = [(); 2].map(|()| explore(test, 12_000_000..12_000_001).digest);
    assert_eq!(first, second, "calls or images differ");
}

#[test]
fn every_call_first_share() {
    share("every_call_first_share", 10_000_000);
}

#[test]
fn every_call_second_share() {
    share("every_call_second_share", 11_000_000);
}
