//! A small store with everything in it that a backup must have, and what is compared.

use bop_storage::checksum::{PageHash, RollingChecksum};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    At, BackupError, BackupOptions, BackupReport, DbKind, Durability, Limits, Manager, NewEntry,
    Options, PageNo, ReadTxn, RestoredStore, Retention, VerifiedBackup,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Directories of one test.
pub(crate) struct Ground {
    pub(crate) dir: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn backups(&self) -> PathBuf {
        self.path("backups")
    }

    pub(crate) fn backup(&self, store: &Manager) -> Result<BackupReport, BackupError> {
        store.backup(self.backups(), &BackupOptions::new(), &mut |_| ())
    }

    pub(crate) fn verify(&self) -> Result<VerifiedBackup, BackupError> {
        verify(&self.backups(), &BackupOptions::new())
    }

    /// A store of the newest backup.
    pub(crate) fn restore(&self, name: &str) -> Result<RestoredStore, BackupError> {
        let (new, backup) = (self.path(name), BackupOptions::new());
        Manager::restore_backup(self.backups(), new, &options(), &backup, &mut |_| ())
    }

    /// What the newest backup restores.
    pub(crate) fn restored_sums(&self, name: &str) -> Sums {
        self.restore(name).unwrap();
        let store = open(&self.path(name));
        let sums = sums(&store);
        let found = store.verify().findings;
        assert!(found.is_empty(), "{found:?}");
        store.close(LONG).unwrap();
        std::fs::remove_dir_all(self.path(name)).unwrap();
        sums
    }
}

pub(crate) fn verify(dir: &Path, backup: &BackupOptions) -> Result<VerifiedBackup, BackupError> {
    Manager::verify_backup(dir, None, &options(), backup, &mut |_| ())
}

pub(crate) fn options() -> Options {
    Options::new().limits(Limits::tiny())
}

pub(crate) fn open(path: &Path) -> Manager {
    Manager::open(path, options()).unwrap()
}

/// One page of a database gets a content that is its number.
pub(crate) fn write(store: &Manager, database: &str, page: u32, number: u64) {
    write_with(store, database, page, number, Durability::Full);
}

pub(crate) fn write_with(
    store: &Manager,
    database: &str,
    page: u32,
    number: u64,
    durability: Durability,
) {
    let mut content = vec![0; 4096];
    SplitMix64::new(number).fill(&mut content);
    let db = store.database(database).unwrap();
    let mut write = db.begin_write(LONG).unwrap();
    write
        .write_page(PageNo::new(page).unwrap(), &content)
        .unwrap();
    write.commit_with(durability).unwrap();
}

/// Databases of each kind, forks, snapshots in chunks and in the log, a restored one, a dropped one.
pub(crate) fn fill(store: &Manager) {
    for name in ["one", "two", "gone"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    store.create_database("sql", DbKind::Sqlite).unwrap();
    store.set_retention("one", Retention::NOTHING).unwrap();
    for number in 0..40 {
        write(
            store,
            ["one", "two", "gone"][number as usize % 3],
            1 + number % 17,
            number.into(),
        );
        if number == 20 {
            store.snapshot_database("one", "early", &At::Now).unwrap();
            store.fork_database("two", "fork", &At::Now).unwrap();
            store.checkpoint().unwrap();
        }
    }
    let log = store.create_record_log("raft").unwrap();
    for index in 1..30 {
        let payload = vec![index as u8; 300];
        let entry = NewEntry {
            index,
            term: 1 + index / 10,
            payload: &payload,
        };
        log.append(&[entry]).unwrap();
    }
    log.purge(5).unwrap();
    log.set_vote(b"voted").unwrap();
    store.checkpoint().unwrap();
    let early = At::Snapshot("early".to_owned());
    store.restore_database("one", &early).unwrap();
    write(store, "fork", 3, 1000);
    write(store, "one", 2, 1001);
    store.snapshot_database("two", "late", &At::Now).unwrap();
    write(store, "two", 1, 1002);
    store.drop_database("gone").unwrap();
    write_with(
        store,
        "two",
        9,
        1003,
        Durability::Relaxed { max_delay: LONG },
    );
}

/// What every database, fork and snapshot is: pages, and the sum of the hashes of what is read; of a record
/// log its bounds and what its entries say.
pub(crate) type Sums = BTreeMap<String, (u64, RollingChecksum)>;

pub(crate) fn sums(store: &Manager) -> Sums {
    let mut sums = Sums::new();
    for info in store.databases() {
        let name = info.name.clone();
        if info.kind == DbKind::Log {
            sums.insert(name.clone(), sum_of_log(store, &name));
            continue;
        }
        let db = store.database(&name).unwrap();
        sums.insert(name.clone(), sum_of(&db.begin_read().unwrap()));
        for snapshot in store.snapshots(&name).unwrap() {
            let at = At::Snapshot(snapshot.name.clone());
            let read = db.begin_read_at(&at).unwrap();
            sums.insert(format!("{name}@{}", snapshot.name), sum_of(&read));
        }
    }
    for dropped in store.dropped_databases() {
        sums.insert(
            format!("dropped {}", dropped.name),
            (0, RollingChecksum::EMPTY),
        );
    }
    sums
}

fn sum_of(read: &ReadTxn) -> (u64, RollingChecksum) {
    let pages = (1..=read.page_count()).filter_map(PageNo::new);
    let sum = pages.fold(RollingChecksum::EMPTY, |sum, page| {
        sum.toggled(PageHash::of(page, &read.read_page(page).unwrap()))
    });
    (read.page_count().into(), sum)
}

fn sum_of_log(store: &Manager, name: &str) -> (u64, RollingChecksum) {
    let log = store.record_log(name).unwrap();
    let bounds = log.bounds().unwrap();
    let entries = log.read(bounds.first..bounds.next, u64::MAX).unwrap();
    let mut sum = RollingChecksum::EMPTY;
    for entry in &entries {
        let number = PageNo::new(u32::try_from(entry.index).unwrap()).unwrap();
        sum = sum.toggled(PageHash::of(number, &entry.payload));
    }
    let vote = log.vote().unwrap().unwrap_or_default();
    sum = sum.toggled(PageHash::of(PageNo::FIRST, &vote));
    (bounds.next - bounds.first, sum)
}

/// Tells where it happened.
pub(crate) struct Told(pub(crate) String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}
