//! Takes what a power cut within a call could leave, in the middle of the call, while the store goes on.
//!
//! Invariant: an image comes with what is promised at that moment; under one promise it is taken once.

use crate::oracle::{Found, Promise, Standing, look};
use crate::rig::{Keep, ManifestFault, Rig};
use crate::world::World;
use bop_storage::Limits;
use bop_storage::io::IoOp;
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{SimDisk, SplitMix64};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// How many images of a call are taken, those that are alike among them.
pub(crate) fn images_of_a_call() -> u64 {
    std::env::var("BOP_CRASH_IMAGES").map_or(4, |count| count.parse().unwrap())
}

/// What a cut within a call could leave.
pub(crate) struct Image {
    pub(crate) rig: Rig,
    pub(crate) promise: Arc<Promise>,
    pub(crate) digest: u64,
    /// The call within which the power goes.
    call: u64,
    pub(crate) op: IoOp,
    keep: Keep,
}

impl Image {
    /// Opens and reads it: it must be what was promised. Of eight one is verified, and goes on, and two more are
    /// verified.
    ///
    /// # Errors
    /// The violation, in words.
    pub(crate) fn judge(self, limits: &Limits, random: &mut SplitMix64) -> Result<Found, String> {
        let Self {
            rig,
            promise,
            call,
            op,
            keep,
            ..
        } = self;
        let seed = random.next_u64();
        let judged =
            look(rig, limits, &promise.expected()).and_then(|judged| match random.below(16) {
                0 => judged.verified()?.goes_on(limits, seed),
                1..4 => Ok(judged.verified()?.found()),
                _ => Ok(judged.found()),
            });
        judged.map_err(|violation| format!("within call {call} ({op}), {keep:?}: {violation}"))
    }
}

/// Takes images while a session runs.
pub(crate) struct Camera {
    pub(crate) standing: Arc<Standing>,
    manifest: MemoryManifest,
    images_of_a_call: u64,
    roll: Mutex<Roll>,
}

struct Roll {
    random: SplitMix64,
    seen: HashSet<(u64, u64)>,
    taken: Vec<Image>,
    alike: u64,
}

impl Camera {
    /// Looks into every call of the disk of `rig` from now on, where `acknowledged` is promised.
    pub(crate) fn on(
        rig: &Rig,
        acknowledged: World,
        images_of_a_call: u64,
        seed: u64,
    ) -> Arc<Self> {
        let camera = Arc::new(Self {
            standing: Standing::new(acknowledged),
            manifest: rig.manifest.clone(),
            images_of_a_call,
            roll: Mutex::new(Roll {
                random: SplitMix64::new(seed),
                seen: HashSet::new(),
                taken: Vec::new(),
                alike: 0,
            }),
        });
        let tap = Arc::clone(&camera);
        rig.disk
            .set_tap(Some(Arc::new(move |disk, op| tap.take(disk, op))));
        camera
    }

    /// What was taken since it was last asked.
    pub(crate) fn taken(&self) -> Vec<Image> {
        std::mem::take(&mut self.roll.lock().unwrap().taken)
    }

    /// How many images were as one before, under the same promise.
    pub(crate) fn alike(&self) -> u64 {
        self.roll.lock().unwrap().alike
    }

    fn take(&self, disk: &SimDisk, op: IoOp) {
        let mut roll = self.roll.lock().unwrap();
        let promise = self.standing.now();
        let manifest = self.manifest.digest();
        for nth in 0..self.images_of_a_call {
            let (keep, image) = match nth {
                0 => (Keep::Nothing, disk.crash_image_keeping_nothing()),
                1 => (Keep::Everything, disk.crash_image_keeping_all()),
                _ => {
                    let seed = roll.random.next_u64();
                    (Keep::Some(seed), disk.crash_image(seed))
                }
            };
            let digest = image.digest() ^ manifest.rotate_left(1);
            if !roll.seen.insert((promise.number, digest)) {
                roll.alike += 1;
                continue;
            }
            let seed = roll.random.next_u64();
            let rig = Rig::with(image, self.manifest.snapshot(), seed, ManifestFault::Either);
            roll.taken.push(Image {
                rig,
                promise: Arc::clone(&promise),
                digest,
                call: disk.op_count(),
                op,
                keep,
            });
        }
    }
}
