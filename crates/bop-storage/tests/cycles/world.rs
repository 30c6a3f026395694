//! A store that lives for many cycles, and what is known of it.

use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{SimDisk, SplitMix64};
use bop_storage::{DbId, DbKind, Housekeeping, Limits, Manager, Options, PageNo, ReadTxn};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 1024;
/// Pages of every database; all of them carry the number of the newest commit.
pub(crate) const PAGES: u32 = 12;
/// The databases that are always there.
pub(crate) const LASTING: [&str; 2] = ["one", "two"];
/// Names that come and go.
pub(crate) const PASSING: [&str; 4] = ["t0", "t1", "t2", "t3"];

static COMMITS: AtomicU64 = AtomicU64::new(0);
static OPENED: AtomicU64 = AtomicU64::new(0);

/// What all cycles did together, for the output of the test.
pub(crate) fn totals() -> String {
    let (commits, opened) = (&COMMITS, &OPENED);
    format!(
        "{} commits, opened {} times",
        commits.load(Ordering::Relaxed),
        opened.load(Ordering::Relaxed)
    )
}

/// Commits that all cycles did together.
pub(crate) fn commits() -> u64 {
    COMMITS.load(Ordering::Relaxed)
}

/// What was acknowledged: the live databases with name and number of the newest commit.
#[derive(Default, Debug)]
pub(crate) struct Known {
    pub(crate) databases: BTreeMap<DbId, (String, u64)>,
    /// The number of the newest commit of those that were dropped.
    pub(crate) dropped: BTreeMap<DbId, u64>,
}

impl Known {
    /// A commit was acknowledged. Of a database that was dropped meanwhile it is of no interest.
    pub(crate) fn committed(&mut self, id: DbId, number: u64) {
        COMMITS.fetch_add(1, Ordering::Relaxed);
        if let Some((_, newest)) = self.databases.get_mut(&id) {
            *newest = number.max(*newest);
        }
    }
}

enum Place {
    Native(tempfile::TempDir),
    Simulated(SimDisk, MemoryManifest),
}

/// The store. A clone is the same one.
#[derive(Clone)]
pub(crate) struct World {
    place: Arc<Place>,
    pub(crate) known: Arc<Mutex<Known>>,
}

impl World {
    /// In a real directory, with LMDB.
    pub(crate) fn native(_seed: u64) -> Self {
        Self::at(Place::Native(tempfile::tempdir().unwrap()))
    }

    /// In memory.
    pub(crate) fn simulated(seed: u64) -> Self {
        Self::at(Place::Simulated(SimDisk::new(seed), MemoryManifest::new()))
    }

    fn at(place: Place) -> Self {
        Self {
            place: Arc::new(place),
            known: Arc::default(),
        }
    }

    /// Opens the store, which always works, and compares it with what is known.
    pub(crate) fn open(&self, random: &mut SplitMix64) -> Manager {
        let housekeeping = if random.chance(3, 4) {
            Housekeeping::Background
        } else {
            Housekeeping::Manual
        };
        let mut limits = Limits::tiny();
        // Where nobody makes room, nobody waits long for it.
        limits.writer_wait = Duration::from_millis(50);
        limits.idle_note_delay = Duration::from_millis(1 + random.below(20));
        let options = Options::new().limits(limits).housekeeping(housekeeping);
        let opened = match &*self.place {
            Place::Native(dir) => Manager::open(dir.path(), options),
            Place::Simulated(disk, manifest) => {
                let (disk, manifest) = (Arc::new(disk.clone()), Arc::new(manifest.clone()));
                Manager::open("simulated", options.disk(disk, manifest))
            }
        };
        let store = opened.unwrap_or_else(|error| panic!("a second open fails: {error}"));
        OPENED.fetch_add(1, Ordering::Relaxed);
        self.compare(&store, random);
        store
    }

    fn compare(&self, store: &Manager, random: &mut SplitMix64) {
        let mut known = self.known.lock().unwrap();
        let infos = store.databases();
        let found: BTreeMap<DbId, String> = infos
            .iter()
            .map(|info| (info.id, info.name.clone()))
            .collect();
        let names = known
            .databases
            .iter()
            .map(|(id, (name, _))| (*id, name.clone()));
        assert_eq!(found, names.collect(), "the names that were acknowledged");
        for (name, newest) in known.databases.values() {
            let read = store.database(name).unwrap().begin_read().unwrap();
            assert_eq!(number_of(&read), *newest, "the newest commit of {name}");
        }
        for name in LASTING {
            if known.databases.values().all(|(other, _)| other != name) {
                let db = store.create_database(name, DbKind::Raw).unwrap();
                known.databases.insert(db.id(), (name.to_owned(), 0));
            }
        }
        if random.chance(1, 10) {
            let report = store.verify();
            assert!(report.is_healthy(), "{report:?}");
        }
    }
}

/// The number of the newest commit that a snapshot shows. All its pages agree on it.
pub(crate) fn number_of(read: &ReadTxn) -> u64 {
    try_number_of(read).unwrap()
}

/// The same, for a store that may be closed below the reader.
pub(crate) fn try_number_of(read: &ReadTxn) -> Result<u64, bop_storage::ReadError> {
    let mut number = None;
    for page in (1..=read.page_count()).filter_map(PageNo::new) {
        let content = read.read_page(page)?;
        let found = u64::from_le_bytes(content[..8].try_into().unwrap());
        let expected = *number.get_or_insert(found);
        assert_eq!(
            found,
            expected,
            "page {page} of the snapshot at {}",
            read.lsn()
        );
    }
    Ok(number.unwrap_or(0))
}
