//! What a modelled store stands on, and databases that say how far they are.

use super::super::{Db, Housekeeping, Manager, Options};
use crate::error::{BeginError, CommitError};
use crate::ids::{DbKind, PageNo};
use crate::limits::Limits;
use crate::manifest::MemoryManifest;
use crate::runtime::models::{ModelClock, ModelSpawn, trace};
use crate::runtime::{ProcessIdentity, Runtime};
use crate::testing::{SeededEntropy, SimDisk};
use shuttle::thread::{JoinHandle, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than any model: who waits so long waits for somebody.
pub(super) const LONG: Duration = Duration::from_secs(1_000_000);

const PAGE_BYTES: usize = 512;

/// A wait that ends by chance.
const SHORT: Duration = Duration::from_secs(1);

/// A disk and a manifest, and how long a committer waits.
pub(super) struct Ground {
    pub(super) disk: SimDisk,
    manifest: MemoryManifest,
    patience: Duration,
}

impl Ground {
    pub(super) fn new() -> Arc<Self> {
        Self::with_patience(LONG)
    }

    /// One on which committers give up by chance.
    pub(super) fn impatient() -> Arc<Self> {
        Self::with_patience(SHORT)
    }

    fn with_patience(patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
            patience,
        })
    }

    /// What a power cut may leave at this moment.
    fn image(&self, seed: u64) -> Self {
        let cut = || self.disk.crash_image(seed);
        let (manifest, disk) = self.manifest.snapshot_beside(cut);
        let patience = LONG;
        Self {
            disk,
            manifest,
            patience,
        }
    }

    pub(super) fn open(&self, housekeeping: Housekeeping) -> Manager {
        let limits = Limits {
            writer_wait: LONG,
            io_deadline: self.patience,
            ..Limits::tiny()
        };
        let runtime = Runtime {
            clock: Arc::new(ModelClock),
            entropy: Arc::new(SeededEntropy::new(1)),
            spawn: Arc::new(ModelSpawn),
            process: ProcessIdentity {
                boot: [7; 16],
                pid: 7,
            },
        };
        let manifest = Arc::new(self.manifest.clone());
        let options = Options::new()
            .limits(limits)
            .housekeeping(housekeeping)
            .runtime(runtime)
            .disk(Arc::new(self.disk.clone()), manifest);
        Manager::open("modelled", options).unwrap()
    }

    /// The power is cut three times, at moments of the schedule. `judge` is given the store that was left, and
    /// what was promised before.
    pub(super) fn power_cuts<P: Send + 'static>(
        self: &Arc<Self>,
        promised: impl Fn() -> P + Send + 'static,
        judge: impl Fn(&Manager, P) + Send + 'static,
    ) -> JoinHandle<()> {
        let ground = Arc::clone(self);
        spawn(move || {
            let images = [1, 2, 3].map(|seed| {
                shuttle::thread::yield_now();
                let promised = promised();
                (ground.image(seed), promised)
            });
            for (image, promised) in images {
                let store = image.open(Housekeeping::Manual);
                judge(&store, promised);
                assert!(store.verify().is_healthy());
            }
        })
    }

    /// Closes the store, and answers it as it is when it is opened again.
    pub(super) fn reopened(&self, store: Manager) -> Manager {
        store.close(LONG).unwrap();
        drop(store);
        trace(self.disk.trace());
        trace(self.manifest.digest());
        let store = self.open(Housekeeping::Manual);
        assert!(store.verify().is_healthy());
        store
    }
}

/// Waits for all of them.
pub(super) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// A database that counts its commits: its first two pages say the same number, always.
pub(super) fn counter(store: &Manager, name: &str) -> Db {
    store.create_database(name, DbKind::Raw).unwrap()
}

fn number(page: &[u8]) -> u64 {
    let (bytes, _) = page.split_first_chunk().unwrap();
    u64::from_le_bytes(*bytes)
}

/// What both pages say.
pub(super) fn look(db: &Db) -> u64 {
    let read = db.begin_read().unwrap();
    if read.page_count() == 0 {
        return 0;
    }
    let pages = [1, 2].map(|page| PageNo::new(page).unwrap());
    let [one, two] = pages.map(|page| number(&read.read_page(page).unwrap()));
    assert_eq!(one, two);
    one
}

/// The same of a database by its name; 0 when it is not there.
pub(super) fn look_for(store: &Manager, name: &str) -> u64 {
    store.database(name).map_or(0, |db| look(&db))
}

/// Why a count was not made, or may not be.
#[derive(Debug)]
pub(super) enum Stopped {
    Begin(#[expect(dead_code, reason = "told when a model fails")] BeginError),
    Commit(CommitError),
}

/// Counts one more, and answers the number.
pub(super) fn count(db: &Db) -> Result<u64, Stopped> {
    let mut write = db.begin_write(LONG).map_err(Stopped::Begin)?;
    let next = match write.page_count() {
        0 => 1,
        _ => number(&write.read_page(PageNo::FIRST).unwrap()) + 1,
    };
    for page in [1, 2].map(|page| PageNo::new(page).unwrap()) {
        let mut content = vec![0; PAGE_BYTES];
        content[..8].copy_from_slice(&next.to_le_bytes());
        write.write_page(page, &content).unwrap();
    }
    write.commit().map(|_| next).map_err(Stopped::Commit)
}

/// How far a database is, at least.
#[derive(Clone)]
pub(super) struct Promised(Arc<AtomicU64>);

impl Promised {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn at_least(&self, number: u64) {
        self.0.fetch_max(number, Ordering::SeqCst);
    }

    /// `db` counts one more.
    pub(super) fn count(&self, db: &Db) {
        self.at_least(count(db).unwrap());
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A thread that counts so often.
pub(super) fn counts(times: u32, db: &Db, promised: &Promised) -> JoinHandle<()> {
    let (db, promised) = (db.clone(), promised.clone());
    spawn(move || (0..times).for_each(|_| promised.count(&db)))
}
