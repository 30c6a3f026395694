//! A store on a simulated disk with a clock of its own, for the tests of both feeds.

#![allow(clippy::unwrap_used, reason = "helpers of tests, not tests themselves")]

use bop_storage::manifest::{ManifestState, ManifestStore, MemoryManifest, Table, scan_all};
use bop_storage::runtime::Runtime;
use bop_storage::testing::{ManualClock, SimDisk};
use bop_storage::{Housekeeping, Limits, Lsn, Manager, Options, PageNo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(50);
pub(crate) const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) manifest: MemoryManifest,
    pub(crate) clock: Arc<ManualClock>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            clock: Arc::new(ManualClock::new(1_000_000)),
        }
    }

    pub(crate) fn open(&self) -> Manager {
        self.open_with(Limits::tiny())
    }

    pub(crate) fn open_with(&self, limits: Limits) -> Manager {
        Manager::open("simulated", self.options(limits)).unwrap()
    }

    /// All rows, of a store that nobody has open.
    pub(crate) fn rows(&self) -> ManifestState {
        let options = self.options(Limits::tiny());
        let inspection = Manager::inspect_manifest("simulated", &options).unwrap();
        inspection.state()
    }

    fn options(&self, limits: Limits) -> Options {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock) as _,
            ..Runtime::system()
        };
        Options::new()
            .limits(limits)
            .runtime(runtime)
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()))
    }

    /// What a kill at this moment leaves.
    pub(crate) fn killed(&self) -> Self {
        Self {
            disk: self.disk.crash_image_keeping_nothing(),
            manifest: self.manifest.snapshot(),
            clock: Arc::clone(&self.clock),
        }
    }

    pub(crate) fn changes_kept(&self) -> u64 {
        let mut rows = 0;
        scan_all(
            &self.manifest as &dyn ManifestStore,
            Table::Changes,
            |_, _| rows += 1,
        )
        .unwrap();
        rows
    }
}

/// Commits one page, and tells where.
pub(crate) fn write(store: &Manager, name: &str, byte: u8) -> Lsn {
    let db = store.database(name).unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[byte; 4096]).unwrap();
    write.commit().unwrap().lsn()
}

/// Is set when its task is woken.
pub(crate) struct Flag(pub(crate) AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
