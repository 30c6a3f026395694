//! Who is told when the log becomes shorter, or could: committers that wait for room, and the housekeeper.

use super::{CommitsFrom, Db, Manager, simulated};
use crate::error::{CommitError, Damage, Place, Reject, Rejection};
use crate::ids::{DbId, DbKind, Lsn, PageNo};
use crate::limits::Limits;
use crate::log::{HoldReason, LogHold};
use crate::manifest::ClosedRow;
use crate::runtime::sync::{elapsed, now};
use crate::testing::SimDisk;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

const SEGMENT: u64 = 64 << 10;
const LONG: Duration = Duration::from_secs(10);
/// A commit that is to be refused waits so long.
const SHORT: Duration = Duration::from_secs(1);

/// A store with one database; eight segments are the log's cap, and four may be kept for cursors.
fn open(writer_wait: Duration) -> (Manager, Db) {
    let limits = Limits {
        log_bytes_max: 8 * SEGMENT,
        cursor_log_bytes_max: 4 * SEGMENT,
        writer_wait,
        ..Limits::tiny()
    };
    let store = simulated::new(&SimDisk::new(1), limits);
    let db = store.create_database("a", DbKind::Raw).unwrap();
    (store, db)
}

fn commit(db: &Db) -> Result<Lsn, CommitError> {
    let mut write = db.begin_write(LONG).unwrap();
    write.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
    Ok(write.commit()?.lsn())
}

/// Commits until so many segments count against the cap.
fn fill(db: &Db, segments: u64) {
    while db.engine().log().ring().held_bytes() < segments * SEGMENT {
        commit(db).unwrap();
    }
}

/// Keeps the log from a position on, as a large transaction does that is being written.
fn hold(db: &Db, from: Lsn) -> Arc<LogHold> {
    let reason = HoldReason::FragmentChain(DbId::new(1000));
    db.engine().log().holds().hold(from, reason)
}

/// Until whoever waits for room has asked for a checkpoint.
fn until_asked<T>(db: &Db, writer: &ScopedJoinHandle<'_, T>) {
    loop {
        let ended = writer.is_finished();
        if db.engine().signals.take().checkpoint {
            return;
        }
        assert!(!ended, "it asked for nothing");
        thread::yield_now();
    }
}

#[test]
fn a_checkpoint_is_asked_for_when_a_full_log_is_not_held_any_more_and_else_not() {
    for (segments, asked) in [(7, false), (8, true)] {
        let (_store, db) = open(SHORT);
        let held = hold(&db, commit(&db).unwrap());
        fill(&db, segments);
        let engine = db.engine();
        engine.checkpoint().unwrap();
        assert_eq!(engine.log().ring().held_bytes(), segments * SEGMENT);
        engine.signals.take();
        drop(held);
        assert_eq!(engine.signals.take().checkpoint, asked, "{segments}");
    }
}

/// The log is full of what is held. A checkpoint that gives no room tells nobody that it did: else whoever waits
/// would ask for the next one at once, and so on.
#[test]
fn a_checkpoint_that_releases_nothing_wakes_nobody() {
    let (_store, db) = open(SHORT);
    let _held = hold(&db, commit(&db).unwrap());
    fill(&db, 8);
    let engine = db.engine();
    engine.signals.take();
    thread::scope(|scope| {
        let writer = scope.spawn(|| commit(&db));
        until_asked(&db, &writer);
        engine.checkpoint().unwrap();
        while !writer.is_finished() {
            assert!(!engine.signals.take().checkpoint, "asked once more");
            thread::yield_now();
        }
        let refused = writer.join().unwrap().unwrap_err();
        let is_full = matches!(refused, CommitError::Rejected(Rejection::LogFull { .. }));
        assert!(is_full, "{refused}");
    });
}

/// All that the checkpoint lets go of is kept for a cursor: nothing is released, but it counts no more.
#[test]
fn room_that_comes_of_what_a_cursor_keeps_is_told_too() {
    let (store, db) = open(LONG);
    let cursor = store
        .subscribe_commits("c", CommitsFrom::Oldest, None)
        .unwrap();
    fill(&db, 4);
    let _held = hold(&db, commit(&db).unwrap());
    fill(&db, 8);
    let engine = db.engine();
    engine.signals.take();
    thread::scope(|scope| {
        let begun = now();
        let writer = scope.spawn(|| commit(&db));
        until_asked(&db, &writer);
        let report = engine.checkpoint().unwrap();
        assert_eq!(report.segments_released, 0);
        writer.join().unwrap().unwrap();
        assert!(
            elapsed(begun) < LONG - SHORT,
            "it looked when its time was over"
        );
    });
    assert_eq!(store.status().cursor_log_bytes, 3 * SEGMENT);
    assert!(!cursor.read(1).unwrap().commits.is_empty());
}

/// A damaged database that somebody is writing to is not closed yet: what is kept for it does not stop the others.
/// Once it is closed nothing is kept.
#[test]
fn what_is_kept_for_a_damaged_database_does_not_count_and_goes_when_it_is_closed() {
    let (_store, db) = open(SHORT);
    let engine = db.engine();
    let (damaged, begin) = (DbId::new(77), commit(&db).unwrap());
    let reason = HoldReason::Pages(damaged);
    let _held = engine.log().holds().hold(begin, reason);
    fill(&db, 8);
    engine.checkpoint().unwrap();
    let ring = engine.log().ring();
    assert_eq!(ring.held_bytes(), 8 * SEGMENT);
    let cut = engine.log().published();
    let released = engine.release_log(cut, &BTreeSet::from([damaged]));
    assert_eq!(released.unwrap(), 0);
    assert_eq!(ring.held_bytes(), SEGMENT);
    assert_eq!(ring.kept_bytes(), 8 * SEGMENT);
    commit(&db).unwrap();
    let place = Place::Database { database: damaged };
    let row = ClosedRow::new(&Damage::new(place, Reject::Missing), begin, cut);
    engine.closed.lock().insert(damaged, row);
    let released = engine.release_log(cut, &BTreeSet::new());
    assert_eq!(released.unwrap(), 7);
    assert_eq!(ring.kept_bytes(), SEGMENT);
}
