//! Commits that are not made, because their committers give up or there is no room: beside others of the same database,
//! which may come to stand in the same place.
//!
//! What is refused was never there, for whoever looks and whenever the power is cut.

use super::super::{Db, Housekeeping, Manager};
use super::ground::{Ground, LONG, Promised, Stopped, count, counter, join, look, look_for};
use crate::error::CommitError;
use crate::ids::PageNo;
use crate::runtime::models::explore_engine;
use crate::testing::{Fault, SplitMix64};
use shuttle::thread::{JoinHandle, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the commits of some writers ended.
#[derive(Copy, Clone, Default, Debug)]
struct Ends {
    made: u64,
    unknown: u64,
    refused: u64,
}

impl Ends {
    fn add(&mut self, end: &Result<u64, Stopped>) {
        match end {
            Ok(_) => self.made += 1,
            Err(Stopped::Commit(CommitError::Unknown { .. })) => self.unknown += 1,
            Err(Stopped::Commit(CommitError::Rejected(_))) => self.refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            unknown: self.unknown + other.unknown,
            refused: self.refused + other.refused,
        }
    }
}

/// Counts three times, however that ends.
fn counts_thrice(db: &Db, promised: &Promised) -> JoinHandle<Ends> {
    let (db, promised) = (db.clone(), promised.clone());
    spawn(move || {
        let mut ends = Ends::default();
        for _ in 0..3 {
            let counted = count(&db);
            if let Ok(counted) = counted {
                promised.at_least(counted);
            }
            ends.add(&counted);
        }
        ends
    })
}

/// Looks at a database that counts, which never counts down.
fn looks(db: &Db, promised: &Promised) -> JoinHandle<()> {
    let (db, promised) = (db.clone(), promised.clone());
    spawn(move || {
        let mut last = 0;
        for _ in 0..4 {
            let (before, seen) = (promised.now(), look(&db));
            assert!(last.max(before) <= seen, "{last} {before} {seen}");
            last = seen;
        }
    })
}

/// The power is cut; what "a" was promised is there.
fn power_cuts(ground: &Arc<Ground>, promised: &Promised) -> JoinHandle<()> {
    let promised = promised.clone();
    ground.power_cuts(
        move || promised.now(),
        |store, promised| assert!(promised <= look_for(store, "a")),
    )
}

/// Waits for two writers of "a"; what they made is there when the store is opened again, and nothing else but what they do not
/// know.
fn end(ground: &Ground, store: Manager, writers: [JoinHandle<Ends>; 2]) -> (Ends, Manager) {
    let [one, two] = writers.map(|writer| writer.join().unwrap());
    let ends = one.and(two);
    let store = ground.reopened(store);
    let counted = look_for(&store, "a");
    let (least, most) = (ends.made, ends.made + ends.unknown);
    assert!((least..=most).contains(&counted), "{counted} {ends:?}");
    (ends, store)
}

/// Committers give up while the device writes what stands before their commits, or these.
fn impatient_committers() -> Ends {
    let ground = Ground::impatient();
    let store = ground.open(Housekeeping::Background);
    let [a, b] = ["a", "b"].map(|name| counter(&store, name));
    let promised = Promised::new();
    let writers = [(); 2].map(|()| counts_thrice(&a, &promised));
    let beside = counts_thrice(&b, &Promised::new());
    join([looks(&a, &promised), power_cuts(&ground, &promised)]);
    beside.join().unwrap();
    drop((a, b));
    end(&ground, store, writers).0
}

#[test]
fn a_commit_that_is_given_up_was_never_there() {
    static SUM: Sum = Sum::new();
    explore_engine(|| SUM.add(impatient_committers()));
    SUM.assert_refused();
}

/// Pages of noise, so many that the commit is a chain, and no more than a transaction has in memory. Each begins with the
/// number of the commit.
const BULK_PAGES: u32 = 3;
const BULK_PAGE_BYTES: usize = 4096;

fn write_bulk(db: &Db, tag: u64) -> Result<u64, Stopped> {
    let mut write = db.begin_write(LONG).map_err(Stopped::Begin)?;
    let mut noise = SplitMix64::new(tag);
    for page in (1..=BULK_PAGES).filter_map(PageNo::new) {
        let mut content = vec![0; BULK_PAGE_BYTES];
        noise.fill(&mut content);
        content[..8].copy_from_slice(&tag.to_le_bytes());
        write.write_page(page, &content).unwrap();
    }
    write.commit().map(|_| tag).map_err(Stopped::Commit)
}

/// The commit that all pages are of.
fn look_at_bulk(db: &Db) -> u64 {
    let read = db.begin_read().unwrap();
    let pages = (1..=BULK_PAGES).filter_map(PageNo::new);
    let tags: Vec<u64> = pages
        .map(|page| {
            let content = read.read_page(page).unwrap();
            u64::from_le_bytes(*content.first_chunk().unwrap())
        })
        .collect();
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    tags[0]
}

/// There is no room for more segments until three chains have ended, which take what was made before.
fn a_full_disk() -> Ends {
    let ground = Ground::new();
    let store = ground.open(Housekeeping::Background);
    let (a, bulk) = (counter(&store, "a"), counter(&store, "bulk"));
    write_bulk(&bulk, 1).unwrap();
    ground.disk.fail_in(0, Fault::Full);
    let promised = Promised::new();
    let writers = [(); 2].map(|()| counts_thrice(&a, &promised));
    let chains = {
        let (bulk, disk) = (bulk.clone(), ground.disk.clone());
        spawn(move || {
            let (mut ends, mut last) = (Ends::default(), 1);
            for tag in 2..7 {
                if tag == 5 {
                    disk.heal();
                }
                let written = write_bulk(&bulk, tag);
                last = *written.as_ref().unwrap_or(&last);
                assert_eq!(look_at_bulk(&bulk), last);
                ends.add(&written);
            }
            (ends, last)
        })
    };
    join([looks(&a, &promised), power_cuts(&ground, &promised)]);
    let (of_chains, last) = chains.join().unwrap();
    drop((a, bulk));
    let (ends, store) = end(&ground, store, writers);
    assert_eq!(look_at_bulk(&store.database("bulk").unwrap()), last);
    let ends = ends.and(of_chains);
    assert_eq!(ends.unknown, 0, "a write was not done for want of room");
    ends
}

#[test]
fn a_commit_that_is_refused_for_room_was_never_there() {
    static SUM: Sum = Sum::new();
    explore_engine(|| SUM.add(a_full_disk()));
    SUM.assert_refused();
}

/// Of all schedules of a model.
struct Sum {
    made: AtomicU64,
    refused: AtomicU64,
}

impl Sum {
    const fn new() -> Self {
        Self {
            made: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn add(&self, ends: Ends) {
        self.made.fetch_add(ends.made, Ordering::Relaxed);
        self.refused.fetch_add(ends.refused, Ordering::Relaxed);
    }

    /// One for a hundred that were made, at least: else the model says little. One schedule that is run again may have none.
    fn assert_refused(&self) {
        let [made, refused] = [&self.made, &self.refused].map(|sum| sum.load(Ordering::Relaxed));
        println!("{made} made, {refused} refused");
        assert!(
            made < 100 || made / 100 < refused,
            "{made} made, {refused} refused"
        );
    }
}
