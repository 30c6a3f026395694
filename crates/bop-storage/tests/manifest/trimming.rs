//! Trimming the changes feed in LMDB, when a cursor that held back as many changes as it may is gone: each
//! transaction deletes as many rows as it appends and a bounded number more, and takes its time and no
//! more. `BOP_FEED_CHANGES` says how many changes there are, 10,000 unless said; a million is what the figure in
//! `docs/bench.md` is of.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::rows::{STORE, database};
use bop_storage::ManifestError;
use bop_storage::ids::{ChangeNo, DbId, Epoch, Lsn};
use bop_storage::limits::{Limits, ValidLimits};
use bop_storage::manifest::{
    CHANGES_KEPT, CHANGES_MAX, CursorPlace, LmdbManifest, Manifest, ManifestStore, RawRow, RunRow,
    TRIM_ROWS_MAX, Table, Write,
};
use bop_storage::name::DbName;
use bop_storage::runtime::SystemSpawn;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DATABASES: u64 = 1_000;
const LONG: Duration = Duration::from_secs(50);
/// Longer than any run of this test.
const LEASE_US: u64 = 24 * 60 * 60 * 1_000_000;

/// What one transaction did to the feed, and how long its commit took.
#[derive(Copy, Clone, Debug)]
struct Trim {
    appended: u64,
    trimmed: u64,
    took: Duration,
}

/// LMDB, and what it was asked for.
#[derive(Debug)]
struct Watched {
    lmdb: LmdbManifest,
    trims: Mutex<Vec<Trim>>,
}

impl ManifestStore for Watched {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        self.lmdb.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        self.lmdb.scan(table, from, limit)
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        let begun = Instant::now();
        self.lmdb.commit(writes)?;
        let took = begun.elapsed();
        let of_feed = writes
            .iter()
            .filter(|write| write.table() == Table::Changes);
        let (puts, deletes): (Vec<&Write>, Vec<&Write>) =
            of_feed.partition(|write| matches!(write, Write::Put { .. }));
        self.trims.lock().unwrap().push(Trim {
            appended: puts.len() as u64,
            trimmed: deletes.len() as u64,
            took,
        });
        Ok(())
    }

    fn close(&self) {
        self.lmdb.close();
    }
}

impl Watched {
    /// What was done since the last time, which is never more than it may be.
    fn take(&self) -> Vec<Trim> {
        let trims = std::mem::take(&mut *self.trims.lock().unwrap());
        for trim in &trims {
            assert!(trim.trimmed <= trim.appended + TRIM_ROWS_MAX, "{trim:?}");
        }
        trims
    }
}

fn limits() -> ValidLimits {
    Limits::default().validated().unwrap()
}

fn make(dir: &Path) -> (Arc<Watched>, Manifest) {
    let initial = Manifest::initial_writes(STORE).unwrap();
    let watched = Arc::new(Watched {
        lmdb: LmdbManifest::create(dir, &limits(), &initial).unwrap(),
        trims: Mutex::default(),
    });
    let manifest = Manifest::open(Arc::clone(&watched) as _, STORE).unwrap();
    manifest.start(&SystemSpawn).unwrap();
    let run = RunRow {
        epoch: Epoch::new(1),
        boot: [0; 16],
        pid: 1,
        opened_us: 1,
        closed_us: None,
    };
    manifest.begin_run(run).unwrap();
    (watched, manifest)
}

/// A thousand changes in one transaction: each database has another name.
fn rename_all(manifest: &Manifest, round: u64) {
    let renamed = manifest.transact(move |edit| {
        (1..=DATABASES).try_for_each(|number| {
            let mut row = database(&format!("db-{number}-{round}"));
            row.catalogue_lsn = Lsn::new(10 + round);
            edit.put_database(DbId::new(number), row)
        })
    });
    renamed.unwrap();
}

/// One change.
fn happen(manifest: &Manifest, lsn: u64) -> Duration {
    let begun = Instant::now();
    let moved = manifest.transact(move |edit| {
        edit.set_checkpointed(Lsn::new(lsn));
        edit.set_truncated(Lsn::new(lsn));
        Ok(())
    });
    moved.unwrap();
    begun.elapsed()
}

fn longest(trims: &[Trim]) -> Duration {
    trims.iter().map(|trim| trim.took).max().unwrap_or_default()
}

#[test]
fn a_long_trim_takes_no_transaction_longer_than_its_rows_may() {
    let changes = std::env::var("BOP_FEED_CHANGES").map_or(10_000, |count| count.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (watched, manifest) = make(dir.path());
    let name = DbName::new("slow").unwrap();
    let now_us = bop_storage::runtime::Clock::wall_us(&bop_storage::runtime::SystemClock::new());
    let added = manifest.find_or_add_cursor(LONG, &name, (now_us, LEASE_US), |feed| {
        Ok(CursorPlace::Changes {
            feed: feed.feed,
            position: feed.first,
        })
    });
    added.unwrap();
    for round in 0..changes / DATABASES {
        rename_all(&manifest, round);
        let feed = manifest.feed().unwrap();
        assert!(feed.next.get() - feed.first.get() <= CHANGES_MAX);
    }
    let feed = manifest.feed().unwrap();
    let held = feed.next.get() - feed.first.get();
    assert_eq!(held, changes.min(CHANGES_MAX), "the slow one holds them");
    let appending = watched.take();
    let alone: Vec<Duration> = (1..=20).map(|lsn| happen(&manifest, lsn)).collect();
    watched.take();
    assert!(manifest.drop_cursor(LONG, &name).unwrap());
    let mut trimming = Vec::new();
    let mut lsn = 20;
    while CHANGES_KEPT < manifest.feed().unwrap().next.get() - manifest.feed().unwrap().first.get()
    {
        lsn += 1;
        trimming.push(happen(&manifest, lsn));
        assert!(lsn < 1_000, "the trim has an end");
    }
    let trims = watched.take();
    let whole = trims
        .iter()
        .filter(|trim| trim.trimmed == trim.appended + TRIM_ROWS_MAX);
    assert!(held / TRIM_ROWS_MAX - 3 < whole.count() as u64);
    // What is left is what the feed's row says.
    assert_eq!(manifest.verify().unwrap(), []);
    assert!(feed.first < manifest.feed().unwrap().first);
    let oldest: ChangeNo = manifest.feed().unwrap().first;
    assert_eq!(manifest.changes(oldest, 1).unwrap().changes.len(), 1);
    println!(
        "{changes} changes, {held} held: the longest transaction of one change {:?}, with a trim {:?} \
         (its commit {:?}), of {DATABASES} changes with their trim, its commit alone {:?}",
        alone.iter().max().unwrap(),
        trimming.iter().max().unwrap(),
        longest(&trims),
        longest(&appending),
    );
}
