//! Power cuts: a seeded workload, cut at any call, what the store answers from then on, and what a crash may
//! leave, judged; from there a second and a third life, cut too, often inside recovery.

use crate::ground::Ground;
use crate::oracle::check;
use crate::replay::{Replay, is_replay, seeds};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::session::{Done, Session, Weather};
use crate::world::{Which, World};
use bop_storage::Limits;
use bop_storage::io::IoOp;
use bop_storage::testing::{Fault, SplitMix64};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lives of a store in one test: the first, and those after a crash.
const LIVES: usize = 3;

/// What was tried.
#[derive(Default, Debug)]
struct Tally {
    images: [u64; LIVES],
    cut_during: BTreeMap<IoOp, u64>,
    cut_in_recovery: u64,
    appeared: u64,
    vanished: u64,
    done: Done,
}

/// Skewed limits: each seed meets other bounds first.
pub(crate) fn limits_of(random: &mut SplitMix64) -> Limits {
    let mut limits = Limits::tiny();
    let fragments = [4 << 10, 8 << 10, 8 << 10, 16 << 10, 1 << 20];
    limits.fragment_bytes_max = fragments[random.index(fragments.len())];
    let memory = [4 << 10, 16 << 10, 1 << 20];
    limits.transaction_memory_bytes_max = memory[random.index(memory.len())];
    limits.log_sealed_segments_max = [1, 2, 8][random.index(3)];
    limits.segment_bytes_max = [64 << 10, 64 << 10, 128 << 10][random.index(3)];
    limits.pack_bytes_max = [16 << 10, 256 << 10][random.index(2)];
    limits.cache_bytes_max = [0, 64 << 10][random.index(2)];
    limits.writer_wait = Duration::from_millis(20);
    limits
}

struct Explorer {
    limits: Limits,
    random: SplitMix64,
    tally: Tally,
}

/// Where a life starts.
struct Origin {
    rig: Rig,
    world: World,
}

impl Explorer {
    /// The life that starts at `origin`, as it would go on without a cut: how many calls that is,
    /// and how many of them the opening makes.
    fn rehearse(&mut self, origin: &Origin, seed: u64, steps: u32) -> (u64, u64) {
        let mut session = self.session(origin, seed, Weather::Fair);
        session.run(0);
        let opening = session.rig.disk.op_count();
        (0..steps).for_each(|_| session.step());
        let calls = session.rig.disk.op_count();
        session.leave(true);
        session.rig.assert_shadow_is_whole();
        self.tally.done.add(&session.done);
        (opening, calls)
    }

    fn session(&self, origin: &Origin, seed: u64, weather: Weather) -> Session {
        let rig = origin.rig.copied(seed, ManifestFault::Either);
        Session::new(rig, &self.limits, origin.world.clone(), weather, seed)
    }

    /// Cuts the life that starts at `origin` at `cuts` places, and looks at what is left.
    fn live(&mut self, life: usize, origin: &Origin, steps: u32, cuts: u64, images: u64) {
        let seed = self.random.next_u64();
        let (opening, calls) = self.rehearse(origin, seed, steps);
        for nth in 0..cuts {
            // Later lives are cut in their recovery half of the time.
            let bound = if life > 0 && nth % 2 == 0 {
                opening
            } else {
                calls + 2
            };
            let cut = self.random.below(bound);
            let mut session = self.session(origin, seed, Weather::Foul);
            session.rig.disk.fail_at(cut, Fault::PowerCut);
            session.run(steps);
            if let Some(op) = session.rig.disk.cut_during() {
                *self.tally.cut_during.entry(op).or_default() += 1;
            }
            self.tally.cut_in_recovery += u64::from(life > 0 && cut < opening);
            session.rig.disk.power_cut();
            self.look(life, &session, images, cut);
            session.leave(false);
        }
    }

    fn look(&mut self, life: usize, session: &Session, images: u64, cut: u64) {
        for nth in 0..images {
            let keep = match nth {
                0 => Keep::Nothing,
                1 => Keep::Everything,
                _ => Keep::Some(self.random.next_u64()),
            };
            let (image_seed, check_seed) = (self.random.next_u64(), self.random.next_u64());
            let image = session.rig.crashed(keep, image_seed);
            let next = image.copied(image_seed, ManifestFault::Either);
            let expected = session.expected();
            let judged = check(image, &self.limits, &expected, check_seed);
            let found = judged.unwrap_or_else(|violation| {
                panic!("life {life}, cut at call {cut}, image {nth} ({keep:?}): {violation}")
            });
            self.tally.images[life] += 1;
            match found.which {
                Which::InFlight => self.tally.appeared += 1,
                Which::Acknowledged => {
                    self.tally.vanished += u64::from(expected.in_flight.is_some());
                }
            }
            if life + 1 < LIVES && self.random.chance(1, 7) {
                let origin = Origin {
                    rig: next,
                    world: found.world,
                };
                self.live(life + 1, &origin, 8, 2, 3);
            }
        }
    }
}

fn explore(test: &'static str, ground: Ground, range: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds(range) {
        let _replay = Replay::new(test, ground, seed);
        let mut random = SplitMix64::new(seed);
        let limits = limits_of(&mut random);
        let steps = [6, 20, 60][random.index(3)];
        let origin = Origin {
            rig: Rig::on(ground, seed, ManifestFault::Either),
            world: World::new(),
        };
        let mut explorer = Explorer {
            limits,
            random,
            tally,
        };
        let (cuts, images) = if ground.is_slow() { (1, 3) } else { (8, 6) };
        explorer.live(0, &origin, steps, cuts, images);
        tally = explorer.tally;
    }
    println!("{test}, {ground}: {tally:?}");
    println!("proved: {} crash images", tally.images.iter().sum::<u64>());
    tally
}

/// Each share of the images has met everything.
fn assert_budgets(tally: &Tally, ground: Ground) {
    if is_replay() {
        return;
    }
    let less = ground.less() as u64;
    let images: u64 = tally.images.iter().sum();
    assert!(images >= 2_500 / less, "{images} images");
    let lives = tally.images.iter();
    assert!(lives.min() >= Some(&(200 / less)), "{tally:?}");
    for op in [
        IoOp::Open,
        IoOp::Write,
        ground.durable_op(),
        IoOp::Sync,
        IoOp::Allocate,
        IoOp::SyncDirectory,
        IoOp::Remove,
        IoOp::ManifestCommit,
    ] {
        let cuts = tally.cut_during.get(&op).copied().unwrap_or(0);
        assert!(cuts >= (2 / less).max(1), "{cuts} cuts during {op}");
    }
    let Tally {
        cut_in_recovery,
        appeared,
        vanished,
        done,
        ..
    } = tally;
    assert!(*cut_in_recovery >= 100 / less, "{tally:?}");
    assert!(*appeared >= 15 / less, "{tally:?}");
    assert!(*vanished >= 50 / less, "{tally:?}");
    let counts = [
        done.commits,
        done.chains,
        done.catalogue,
        done.truncations,
        done.checkpoints,
        done.segments_released,
        done.reopened,
    ];
    assert!(counts.iter().all(|count| *count >= 50 / less), "{tally:?}");
    assert!(done.patches >= 20 / less, "{tally:?}");
    assert!(done.undropped >= 8 / less, "{tally:?}");
}

/// Two shares of 2,500 images and more, so that they run side by side; of as many seeds as
/// `BOP_CRASH_SEEDS` says.
fn share(test: &'static str, first: u64) {
    let ground = Ground::Simulated;
    let count = std::env::var("BOP_CRASH_SEEDS").map_or(24, |count| count.parse().unwrap());
    assert_budgets(&explore(test, ground, first..first + count), ground);
}

#[test]
fn power_cuts_first_share() {
    share("power_cuts_first_share", 0);
}

#[test]
fn power_cuts_second_share() {
    share("power_cuts_second_share", 1_000_000);
}

#[test]
fn power_cuts_of_real_files() {
    for ground in Ground::real() {
        let tally = explore("power_cuts_of_real_files", ground, 4_000..4_003);
        if !ground.is_slow() {
            assert_budgets(&tally, ground);
        }
    }
}

#[test]
fn power_cuts_of_files_of_a_device() {
    for ground in Ground::device() {
        let tally = explore("power_cuts_of_files_of_a_device", ground, 4_003..4_004);
        assert!(is_replay() || tally.images[0] >= 3, "{tally:?}");
    }
}
