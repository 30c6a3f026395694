//! A disk and a manifest that lose their power together.

use bop_storage::io::{Disk, IoOp};
use bop_storage::manifest::MemoryManifest;
use bop_storage::runtime::{ProcessIdentity, Runtime, SystemSpawn};
use bop_storage::testing::{ManualClock, SeededEntropy, SimDisk, SplitMix64};
use bop_storage::{Housekeeping, Limits, Manager, OpenError, Options};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tempfile::TempDir;

/// What a failing manifest commit leaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum ManifestFault {
    /// Nothing, as when the disk is full.
    NotApplied,
    /// Nothing, or all of it: the seed decides.
    Either,
}

/// Which version of everything in doubt a crash keeps.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Keep {
    Nothing,
    Everything,
    Some(u64),
}

/// Makes real files that hold what a simulated disk does, and have it for their shadow; with the
/// directory that they are in.
pub(crate) type MakeFiles = Arc<dyn Fn(&SimDisk) -> (Arc<dyn Disk>, TempDir) + Send + Sync>;

/// What a store stands on.
pub(crate) struct Rig {
    /// Where the store is, or the shadow of the files where it is.
    pub(crate) disk: SimDisk,
    pub(crate) make_files: Option<MakeFiles>,
    /// Made when the store is first opened.
    pub(crate) files: OnceLock<(Arc<dyn Disk>, TempDir)>,
    pub(crate) manifest: MemoryManifest,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    pub(crate) housekeeping: Housekeeping,
}

impl Rig {
    pub(crate) fn new(seed: u64, fault: ManifestFault) -> Self {
        Self::with(SimDisk::new(seed), MemoryManifest::new(), seed, fault)
    }

    /// On a disk and a manifest that there are.
    pub(crate) fn with(
        disk: SimDisk,
        manifest: MemoryManifest,
        seed: u64,
        fault: ManifestFault,
    ) -> Self {
        connect(&disk, &manifest, seed, fault);
        Self {
            disk,
            make_files: None,
            files: OnceLock::new(),
            manifest,
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
            housekeeping: Housekeeping::Manual,
        }
    }

    /// What a crash at this moment leaves.
    pub(crate) fn crashed(&self, keep: Keep, seed: u64) -> Self {
        let disk = match keep {
            Keep::Nothing => self.disk.crash_image_keeping_nothing(),
            Keep::Everything => self.disk.crash_image_keeping_all(),
            Keep::Some(seed) => self.disk.crash_image(seed),
        };
        self.alike(disk, seed, ManifestFault::Either)
    }

    /// An independent copy of what a reader sees, all of it durable.
    pub(crate) fn copied(&self, seed: u64, fault: ManifestFault) -> Self {
        self.alike(self.disk.snapshot(), seed, fault)
    }

    /// Another one on the same ground.
    fn alike(&self, disk: SimDisk, seed: u64, fault: ManifestFault) -> Self {
        Self {
            make_files: self.make_files.clone(),
            ..Self::with(disk, self.manifest.snapshot(), seed, fault)
        }
    }

    /// What the store is opened on.
    fn opened_on(&self) -> Arc<dyn Disk> {
        match &self.make_files {
            None => Arc::new(self.disk.clone()),
            Some(make) => Arc::clone(&self.files.get_or_init(|| make(&self.disk)).0),
        }
    }

    pub(crate) fn open(&self, limits: &Limits) -> Result<Manager, OpenError> {
        self.clock.advance(1_000);
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&self.entropy) as _,
            spawn: Arc::new(SystemSpawn),
            // Two runs of a seed write the same rows.
            process: ProcessIdentity {
                boot: [7; 16],
                pid: 7,
            },
        };
        let options = Options::new()
            .limits(limits.clone())
            .housekeeping(self.housekeeping)
            .runtime(runtime)
            .disk(self.opened_on(), Arc::new(self.manifest.clone()));
        Manager::open("crash-test", options)
    }
}

/// Makes each commit of the manifest one call of the disk, that meets its faults: before the
/// transaction is applied or after it.
fn connect(disk: &SimDisk, manifest: &MemoryManifest, seed: u64, fault: ManifestFault) {
    let random = Mutex::new(SplitMix64::new(seed ^ 0x6d61_6e69));
    let applied_first = Arc::new(AtomicBool::new(false));
    let (disk, after_disk) = (disk.clone(), disk.clone());
    let (before_flag, after_flag) = (Arc::clone(&applied_first), applied_first);
    let tick = |disk: &SimDisk| disk.tick(IoOp::ManifestCommit, Path::new("manifest"));
    manifest.set_gate(Some(Arc::new(move || {
        let late = fault == ManifestFault::Either && random.lock().unwrap().chance(1, 2);
        before_flag.store(late, Ordering::Relaxed);
        if late { Ok(()) } else { tick(&disk) }
    })));
    manifest.set_gate_after(Some(Arc::new(move || {
        if after_flag.load(Ordering::Relaxed) {
            tick(&after_disk)
        } else {
            Ok(())
        }
    })));
}
