//! Many threads that write, checkpoint, snapshot, fork, restore, drop and read the past of the same
//! databases on real files: each state that anybody sees is one that a commit has made.

use crate::acts::{Told, seeds};
use bop_storage::testing::SplitMix64;
use bop_storage::{
    At, BeginError, CatalogueError, Db, DbKind, Housekeeping, Limits, Manager, Options, PageNo,
    PastError, ReadError, ReadTxn, Retention,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(50);
const PAGE_BYTES: usize = 1024;
const NAMES: [&str; 2] = ["first", "second"];

/// Pages that a database has after the commit with that number.
fn pages(number: u64) -> u32 {
    1 + (number * 7 % 23) as u32
}

/// Writes the number to each of its pages.
fn commit(db: &Db, number: u64) -> Result<(), BeginError> {
    let mut write = db.begin_write(LONG)?;
    write.truncate(pages(number));
    for page in (1..=pages(number)).filter_map(PageNo::new) {
        let mut content = [0; PAGE_BYTES];
        content[..8].copy_from_slice(&number.to_le_bytes());
        write.write_page(page, &content).unwrap();
    }
    match write.commit() {
        Ok(after) => {
            let found = number_unless_dropped(&after);
            assert!(found.is_none_or(|found| found == number));
        }
        Err(error) => panic!("{number}: {error}"),
    }
    Ok(())
}

/// The number that all pages carry, which are as many as it says.
fn number_of(read: &ReadTxn) -> u64 {
    number_unless_dropped(read).unwrap()
}

/// The same; `None` when a restore has put another database in the place of this one meanwhile.
fn number_unless_dropped(read: &ReadTxn) -> Option<u64> {
    let mut number = None;
    for page in (1..=read.page_count()).filter_map(PageNo::new) {
        let content = match read.read_page(page) {
            Err(ReadError::Dropped) => return None,
            content => content.unwrap(),
        };
        let found = u64::from_le_bytes(content[..8].try_into().unwrap());
        let first = *number.get_or_insert(found);
        assert_eq!(found, first, "page {page} at {}", read.lsn());
    }
    let number = number.unwrap_or(0);
    let expected = if number == 0 { 0 } else { pages(number) };
    assert_eq!(read.page_count(), expected, "{number} at {}", read.lsn());
    Some(number)
}

struct Crew<'a> {
    store: &'a Manager,
    numbers: &'a AtomicU64,
    random: SplitMix64,
}

impl Crew<'_> {
    fn name(&mut self) -> &'static str {
        NAMES[self.random.index(NAMES.len())]
    }

    /// A restore puts another database in its place at any time.
    fn read_at(&self, name: &str, at: &At) -> Option<ReadTxn> {
        let db = self.store.database(name).unwrap();
        match db.begin_read_at(at) {
            Ok(read) => Some(read),
            Err(
                PastError::BeforeWindow { .. }
                | PastError::Begin(BeginError::Dropped)
                | PastError::Catalogue(
                    CatalogueError::NotFound { .. } | CatalogueError::SnapshotNotFound { .. },
                ),
            ) => None,
            Err(error) => panic!("{name}@{at}: {error}"),
        }
    }

    fn write(self, name: &str, count: u64) {
        for _ in 0..count {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            while let Err(error) = commit(&self.store.database(name).unwrap(), number) {
                assert!(matches!(error, BeginError::Dropped), "{error}");
            }
        }
    }

    /// A state of the past, by its place or its time, or the newest.
    fn choose(&mut self, name: &str) -> At {
        let points = match self.store.restore_points(name) {
            Ok(points) => points,
            Err(error) => panic!("{name}: {error}"),
        };
        let point = points[self.random.index(points.len())];
        match self.random.below(3) {
            0 => At::Now,
            1 => At::Lsn(point.lsn),
            _ => At::Time(point.time_us),
        }
    }

    fn look_back(mut self, count: u64) -> u64 {
        let (mut seen, mut kept) = (0, Vec::new());
        for _ in 0..count {
            let name = self.name();
            let at = self.choose(name);
            if let Some(read) = self.read_at(name, &at) {
                let number = number_unless_dropped(&read);
                assert!(number.is_some() || name != NAMES[0]);
                // Readers of a database that is restored meanwhile end.
                if let Some(number) = number.filter(|_| name == NAMES[0]) {
                    kept.push((read, number));
                }
                seen += 1;
            }
            for (read, number) in &kept {
                assert_eq!(number_of(read), *number);
            }
            if kept.len() > 3 {
                kept.clear();
            }
        }
        seen
    }

    fn snapshot(mut self, count: u64) -> u64 {
        let mut made = 0;
        for nth in 0..count {
            let (name, snapshot) = (NAMES[0], format!("s{nth}"));
            let at = self.choose(name);
            match self.store.snapshot_database(name, &snapshot, &at) {
                Ok(_) => {}
                Err(PastError::BeforeWindow { .. }) => continue,
                Err(error) => panic!("{snapshot} at {at}: {error}"),
            }
            made += 1;
            let at = At::Snapshot(snapshot.clone());
            let number = number_of(&self.read_at(name, &at).unwrap());
            if self.random.chance(1, 2) {
                self.store.checkpoint().unwrap();
            }
            let read = self.read_at(name, &at).unwrap();
            assert_eq!(number_of(&read), number);
            self.store.drop_snapshot(name, &snapshot).unwrap();
            assert_eq!(number_of(&read), number);
        }
        made
    }

    fn fork(mut self, count: u64) -> u64 {
        let mut made = 0;
        for nth in 0..count {
            let (source, name) = (self.name(), format!("fork {nth}"));
            let at = self.choose(source);
            let fork = match self.store.fork_database(source, &name, &at) {
                Ok(fork) => fork,
                Err(
                    PastError::BeforeWindow { .. }
                    | PastError::Catalogue(
                        CatalogueError::NotFound { .. } | CatalogueError::PointGone { .. },
                    ),
                ) => continue,
                Err(error) => panic!("{name} of {source} at {at}: {error}"),
            };
            made += 1;
            let begun = fork.begin_read().unwrap();
            let number = number_of(&begun);
            let again = self.store.fork_database(&name, "again", &At::Now).unwrap();
            assert_eq!(number_of(&again.begin_read().unwrap()), number);
            let next = self.numbers.fetch_add(1, Ordering::Relaxed);
            commit(&fork, next).unwrap();
            assert_eq!(number_of(&begun), number);
            drop(begun);
            self.store.drop_database_now(&name).unwrap();
            assert_eq!(number_of(&again.begin_read().unwrap()), number);
            self.store.drop_database_now("again").unwrap();
        }
        made
    }

    fn restore(mut self, count: u64) -> u64 {
        let mut made = 0;
        for _ in 0..count {
            let name = NAMES[1];
            let at = self.choose(name);
            let kept = match self.store.restore_database(name, &at) {
                Ok(kept) => kept,
                Err(PastError::BeforeWindow { .. }) => continue,
                Err(error) => panic!("restore to {at}: {error}"),
            };
            made += 1;
            let read = self.read_at(name, &At::Snapshot(kept.name.clone()));
            let number = number_of(&read.unwrap());
            let read = self.read_at(name, &At::Snapshot(kept.name.clone()));
            let read = read.unwrap();
            self.store.drop_snapshot(name, &kept.name).unwrap();
            assert_eq!(number_of(&read), number);
        }
        made
    }
}

/// Lets those who go on until the others have ended end, also when they panic.
struct StopGuard<'a>(&'a AtomicBool);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn crowd(retention: Retention, seed: u64) {
    let _told = Told(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::tiny();
    // Whoever waits for a checkpoint waits for the disk: how long that takes is not the question.
    limits.writer_wait = LONG;
    let options = Options::new()
        .limits(limits)
        .housekeeping(Housekeeping::Background);
    let store = Manager::open(dir.path(), options.clone()).unwrap();
    for name in NAMES {
        store.create_database(name, DbKind::Raw).unwrap();
        store.set_retention(name, retention).unwrap();
    }
    let (numbers, stop) = (AtomicU64::new(1), AtomicBool::new(false));
    let mut random = SplitMix64::new(seed);
    let mut crew = || Crew {
        store: &store,
        numbers: &numbers,
        random: random.split(),
    };
    thread::scope(|scope| {
        let _stop = StopGuard(&stop);
        let writers = NAMES.map(|name| {
            let one = crew();
            scope.spawn(move || one.write(name, 200))
        });
        let (back, snapshots, forks, restores) = (crew(), crew(), crew(), crew());
        let others = [
            scope.spawn(move || back.look_back(150)),
            scope.spawn(move || snapshots.snapshot(40)),
            scope.spawn(move || forks.fork(40)),
            scope.spawn(move || restores.restore(20)),
        ];
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                store.checkpoint().unwrap();
                thread::yield_now();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        let counts = others.map(|other| other.join().unwrap());
        println!("states read, snapshots, forks, restores: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
    let verified = store.verify();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    let numbers = NAMES.map(|name| number_of(&store.database(name).unwrap().begin_read().unwrap()));
    store.close(LONG).unwrap();
    let store = Manager::open(dir.path(), options).unwrap();
    for (name, number) in NAMES.into_iter().zip(numbers) {
        let read = store.database(name).unwrap().begin_read().unwrap();
        assert_eq!(number_of(&read), number);
    }
    store.close(LONG).unwrap();
}

#[test]
fn a_crowd_with_a_window() {
    seeds(1..=1).for_each(|seed| crowd(Retention::DEFAULT, seed));
}

#[test]
fn a_crowd_without_a_window() {
    seeds(2..=2).for_each(|seed| crowd(Retention::NOTHING, seed));
}

/// A name is resolved while the database behind it is replaced: it means the one or the other.
#[test]
fn a_name_is_there_all_the_while_its_database_is_restored() {
    const NAME: &str = "tenant";
    let dir = tempfile::tempdir().unwrap();
    let store = Manager::open(dir.path(), Options::new()).unwrap();
    store.create_database(NAME, DbKind::Raw).unwrap();
    commit(&store.database(NAME).unwrap(), 1).unwrap();
    let (stop, lookups) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopGuard(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                let _stop = StopGuard(&stop);
                while !stop.load(Ordering::Acquire) {
                    store.database(NAME).unwrap();
                    store.info(NAME).unwrap();
                    store.restore_points(NAME).unwrap();
                    lookups.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut restores = 0;
        let enough = |restores| restores >= 300 && lookups.load(Ordering::Relaxed) >= 3000;
        while !enough(restores) && !stop.load(Ordering::Acquire) {
            let kept = store.restore_database(NAME, &At::Now).unwrap();
            store.drop_snapshot(NAME, &kept.name).unwrap();
            restores += 1;
        }
    });
    store.close(LONG).unwrap();
}
