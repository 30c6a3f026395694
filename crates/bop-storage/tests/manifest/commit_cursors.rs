//! Cursors over commits: what is kept for them, for how long, and what they are told when it is not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::feed_rig::{DAY_US, Flag, LONG, Rig, write};
use bop_storage::error::FeedError;
use bop_storage::testing::Fault;
use bop_storage::{
    CommitsCursor, CommitsFrom, CursorInfo, CursorPosition, DbKind, ErrorCode, FeedStart, Limits,
    Lsn, Manager, PageNo,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const EIO: i32 = 5;
const KIB: u64 = 1 << 10;
const SOON: Duration = Duration::from_millis(20);

/// Many small commits, each of which takes a block of 4 KiB. The housekeeper, who writes a note, comes now
/// and then; the log is checkpointed when it is long.
fn work(store: &Manager, name: &str, count: u32) -> Vec<Lsn> {
    let one = |turn: u32| {
        let lsn = write(store, name, u8::try_from(turn % 251).unwrap());
        if turn.is_multiple_of(4) {
            store.keep_house();
        }
        lsn
    };
    (0..count).map(one).collect()
}

/// What is left to read, by its positions.
pub(crate) fn rest(cursor: &CommitsCursor) -> Vec<Lsn> {
    let mut lsns = Vec::new();
    loop {
        let page = cursor.read(7).unwrap();
        if page.commits.is_empty() {
            return lsns;
        }
        lsns.extend(page.commits.iter().map(|commit| commit.lsn));
    }
}

pub(crate) fn info(store: &Manager, name: &str) -> CursorInfo {
    let all = store.cursors();
    all.into_iter().find(|info| info.name == name).unwrap()
}

/// Where the log begins, as whoever has lost its place is told.
pub(crate) fn lost(cursor: &CommitsCursor) -> Lsn {
    let error = cursor.read(1).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CursorLost);
    match error {
        FeedError::LogReleased { oldest } => oldest,
        other => panic!("{other}"),
    }
}

#[test]
fn the_log_is_kept_from_the_durable_position_on_also_by_the_next_opening() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store
        .subscribe_commits("replica", CommitsFrom::Oldest, None)
        .unwrap();
    let lsns = work(&store, "a", 40);
    store.checkpoint().unwrap();
    let first = cursor.read(10).unwrap();
    let seen = first.commits.len();
    assert!((10..40).contains(&seen));
    cursor.acknowledge(first.next).unwrap();
    cursor.flush().unwrap();
    // Read, and not acknowledged.
    assert_eq!(cursor.read(5).unwrap().commits[0].lsn, lsns[seen]);
    let more = work(&store, "a", 5);
    let lsns = [lsns, more].concat();
    let rig = rig.killed();
    drop((cursor, store));
    let store = rig.open();
    // Nothing but the cursor needs what is before, and nobody has it open.
    store.checkpoint().unwrap();
    let status = store.status();
    assert!(status.cursor_log_bytes > 0);
    assert_eq!(status.slowest_cursor.as_deref(), Some("replica"));
    let cursor = store
        .subscribe_commits("REPLICA", CommitsFrom::Newest, None)
        .unwrap();
    assert_eq!(cursor.position(), first.next);
    assert_eq!(rest(&cursor), lsns[seen..]);
    let after = info(&store, "replica");
    assert!(after.alive && !after.lost && after.behind > 40 * 4 * KIB / 2);
    // Once all is acknowledged nothing is kept for it.
    cursor.acknowledge(cursor.position()).unwrap();
    cursor.flush().unwrap();
    assert_eq!(info(&store, "replica").behind, 0);
    store.checkpoint().unwrap();
    assert_eq!(store.status().cursor_log_bytes, 0);
    // Also when the segment that its position ends is gone, and a kill left a gap behind it.
    let rig = rig.killed();
    drop((cursor, store));
    let store = rig.open();
    store.checkpoint().unwrap();
    let cursor = store
        .subscribe_commits("replica", CommitsFrom::Oldest, None)
        .unwrap();
    let next = write(&store, "a", 1);
    assert_eq!(rest(&cursor), [next]);
}

#[test]
fn beyond_the_cap_the_hold_is_given_up_and_the_next_slowest_keeps_its_own() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.cursor_log_bytes_max = 256 * KIB;
    let store = rig.open_with(limits);
    store.create_database("a", DbKind::Raw).unwrap();
    let slow = store
        .subscribe_commits("slow", CommitsFrom::Oldest, None)
        .unwrap();
    work(&store, "a", 25);
    let fast = store
        .subscribe_commits("fast", CommitsFrom::Newest, None)
        .unwrap();
    let wanted = work(&store, "a", 15);
    store.checkpoint().unwrap();
    assert!(!info(&store, "slow").lost, "within the cap");
    assert!(store.status().cursor_log_bytes > 128 * KIB);
    let wanted = [wanted, work(&store, "a", 20)].concat();
    store.checkpoint().unwrap();
    let oldest = lost(&slow);
    assert_eq!(oldest, store.status().truncated);
    let told = info(&store, "slow");
    assert!(told.lost && !told.alive, "{told:?}");
    assert!(store.status().cursor_log_bytes <= 256 * KIB);
    assert_eq!(store.status().slowest_cursor.as_deref(), Some("fast"));
    assert_eq!(rest(&fast), wanted, "the other one lost nothing");
    // It stays lost, also for the next process, until it is told to go on.
    let rig = rig.killed();
    drop((slow, fast, store));
    let store = rig.open();
    let slow = store
        .subscribe_commits("slow", CommitsFrom::Newest, None)
        .unwrap();
    assert_eq!(lost(&slow), store.status().truncated);
    assert_eq!(slow.reset().unwrap(), store.status().truncated);
    let found = rest(&slow);
    assert!(found.ends_with(&wanted) && wanted.len() <= found.len());
    assert_eq!(slow.reset().unwrap(), store.status().truncated, "not back");
}

#[test]
fn a_dead_cursor_holds_nothing_and_lives_again_when_it_is_heard_of() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let open = || store.subscribe_commits("c", CommitsFrom::Oldest, None);
    drop(open().unwrap());
    let lsns = work(&store, "a", 20);
    rig.clock.advance(DAY_US - 1);
    store.checkpoint().unwrap();
    assert!(store.status().cursor_log_bytes > 0, "a moment to live");
    rig.clock.advance(1);
    assert!(!info(&store, "c").alive && !info(&store, "c").lost);
    assert_eq!(store.status().cursor_log_bytes, 0, "nothing is for it");
    // Nothing was released since, so it has lost nothing, and keeps it again.
    let cursor = open().unwrap();
    store.checkpoint().unwrap();
    assert_eq!(rest(&cursor), lsns);
    drop(cursor);
    rig.clock.advance(DAY_US);
    store.checkpoint().unwrap();
    lost(&open().unwrap());
    store.drop_cursor("C").unwrap();
    assert_eq!(store.cursors(), []);
}

/// What is kept for cursors is no reason for a checkpoint, and no commit waits for it: when the log needs
/// the room it gets it.
#[test]
fn what_is_kept_for_cursors_does_not_count_against_the_log() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.cursor_log_bytes_max = limits.log_bytes_max / 2;
    limits.writer_wait = SOON;
    let store = rig.open_with(limits.clone());
    store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store
        .subscribe_commits("c", CommitsFrom::Oldest, None)
        .unwrap();
    work(&store, "a", 75);
    store.checkpoint().unwrap();
    let status = store.status();
    assert!(status.cursor_log_bytes > limits.checkpoint_log_bytes_min);
    work(&store, "a", 20);
    assert_eq!(
        store.status().checkpointed,
        status.checkpointed,
        "no checkpoint is due"
    );
    // Nobody keeps house but for spares: the log grows to its cap, and commits go on until that is full
    // of what no checkpoint has.
    let mut written = 0;
    let db = store.database("a").unwrap();
    loop {
        let mut txn = db.begin_write(LONG).unwrap();
        txn.write_page(PageNo::FIRST, &[written as u8; 4096])
            .unwrap();
        if txn.commit().is_err() {
            break;
        }
        written += 1;
    }
    let room = limits.log_bytes_max - status.cursor_log_bytes;
    assert!(written * 4 * KIB > room, "{written}");
    assert!(store.status().log_bytes <= limits.log_bytes_max + limits.cursor_log_bytes_max);
    store.keep_house();
    write(&store, "a", 1);
    assert!(store.status().log_bytes <= limits.log_bytes_max);
    lost(&cursor);
}

/// What is kept for a reader counts; together with it no more is kept for cursors than the log may have.
#[test]
fn where_the_log_comes_near_its_cap_less_is_kept_for_cursors() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.cursor_log_bytes_max = limits.log_bytes_max / 2;
    let store = rig.open_with(limits.clone());
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store
        .subscribe_commits("c", CommitsFrom::Oldest, None)
        .unwrap();
    work(&store, "a", 75);
    store.checkpoint().unwrap();
    let kept = store.status().cursor_log_bytes;
    write(&store, "a", 1);
    let reader = db.begin_read().unwrap();
    let mut most = 0;
    for _ in 0..30 {
        work(&store, "a", 4);
        store.keep_house();
        most = store.status().log_bytes.max(most);
        assert!(most <= limits.log_bytes_max, "{:?}", store.status());
    }
    assert!(limits.log_bytes_max - kept < most, "it came near: {most}");
    lost(&cursor);
    drop(reader);
}

#[test]
fn a_full_device_takes_from_cursors_before_it_refuses_commits() {
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.cursor_log_bytes_max = limits.log_bytes_max / 2;
    let store = rig.open_with(limits);
    store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store
        .subscribe_commits("c", CommitsFrom::Oldest, None)
        .unwrap();
    work(&store, "a", 60);
    store.checkpoint().unwrap();
    assert!(store.status().cursor_log_bytes > 128 * KIB);
    let used: u64 = rig.disk.files().iter().map(|(_, bytes)| bytes).sum();
    // Room for a chunk and no segment.
    rig.disk.set_capacity(Some(used + 32 * KIB));
    work(&store, "a", 60);
    lost(&cursor);
}

#[test]
fn a_cursor_of_one_database_sees_it_to_its_end_and_the_other_holds_nothing() {
    let rig = Rig::new();
    let store = rig.open();
    for name in ["a", "b", "idle"] {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    let subscribe = |name, of| store.subscribe_commits(name, CommitsFrom::Oldest, of);
    let of_a = subscribe("of a", Some("A")).unwrap();
    let of_idle = subscribe("of idle", Some("idle")).unwrap();
    assert_eq!(of_a.database(), Some(store.info("a").unwrap().id));
    let mut of_a_wanted = Vec::new();
    for turn in 0..20 {
        of_a_wanted.push(write(&store, "a", turn));
        write(&store, "b", turn);
    }
    // It has acknowledged nothing, since there was nothing: what it passed by is not kept for it.
    assert!(of_idle.read(1).unwrap().commits.is_empty());
    of_idle.flush().unwrap();
    assert_eq!(info(&store, "of idle").behind, 0);
    store.drop_database("a").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.status().slowest_cursor.as_deref(), Some("of a"));
    assert_eq!(rest(&of_a), of_a_wanted);
    drop(of_a);
    // Nothing was acknowledged. The name is nobody's, then another one's.
    let of_a = subscribe("of a", Some("a")).unwrap();
    assert_eq!(rest(&of_a), of_a_wanted);
    drop(of_a);
    let refused = |opened: Result<CommitsCursor, FeedError>| opened.unwrap_err();
    store.create_database("a", DbKind::Raw).unwrap();
    for other in [Some("a"), Some("b"), None] {
        let error = refused(subscribe("of a", other));
        assert!(matches!(error, FeedError::OtherDatabase { .. }), "{error}");
    }
    let missing = refused(subscribe("new", Some("nowhere")));
    assert_eq!(missing.code(), ErrorCode::DatabaseNotFound);
    assert_eq!(store.cursors().len(), 2, "none is made for it");
}

#[test]
fn names_are_of_one_feed_and_one_owner_and_no_more_is_acknowledged_than_there_is() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let commits = store
        .subscribe_commits("one", CommitsFrom::Newest, None)
        .unwrap();
    let changes = store.subscribe_changes("two", FeedStart::Newest).unwrap();
    let again = store.subscribe_commits("ONE", CommitsFrom::Oldest, None);
    assert_eq!(again.unwrap_err().code(), ErrorCode::Busy);
    let other = store.subscribe_changes("one", FeedStart::Oldest);
    let other = other.unwrap_err();
    assert!(matches!(&other, FeedError::OtherFeed { feed, .. } if *feed == "commits"));
    let other = store.subscribe_commits("two", CommitsFrom::Oldest, None);
    assert!(matches!(other, Err(FeedError::OtherFeed { feed, .. }) if feed == "changes"));
    drop(changes);
    let end = store.status().published;
    assert_eq!(commits.position(), end);
    let ahead = Lsn::new(end.get() + 1);
    let error = commits.acknowledge(ahead).unwrap_err();
    assert!(matches!(error, FeedError::NotCommitted { .. }), "{error}");
    commits.acknowledge(end).unwrap();
    assert!(!commits.wait(SOON).unwrap());
    // What is asked for is there, or the nearest that is.
    let far = store.subscribe_commits("far", CommitsFrom::At(Lsn::new(1 << 60)), None);
    assert_eq!(far.unwrap().position(), end);
    let placed = info(&store, "one").position;
    let wanted = CursorPosition::Commits {
        lsn: end,
        database: None,
    };
    assert_eq!(placed, wanted);
    store.drop_cursor("one").unwrap();
    let gone = commits.flush().unwrap_err();
    assert_eq!(gone.code(), ErrorCode::CursorNotFound);
}

#[test]
fn a_thread_and_a_task_are_woken_by_the_next_commit_and_by_the_end() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let open = |name| store.subscribe_commits(name, CommitsFrom::Newest, None);
    let (waits, polls) = (open("thread").unwrap(), open("task").unwrap());
    let waits = std::thread::spawn(move || waits.wait(LONG).unwrap());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    {
        let mut more = std::pin::pin!(polls.more());
        assert!(more.as_mut().poll(&mut context).is_pending());
        write(&store, "a", 2);
        assert!(waits.join().unwrap());
        assert!(flag.0.load(Ordering::SeqCst));
        let ready = more.as_mut().poll(&mut context);
        assert!(matches!(ready, Poll::Ready(Ok(()))));
    }
    assert_eq!(rest(&polls).len(), 1);
    flag.0.store(false, Ordering::SeqCst);
    let mut more = std::pin::pin!(polls.more());
    assert!(more.as_mut().poll(&mut context).is_pending());
    store.close(LONG).unwrap();
    assert!(flag.0.load(Ordering::SeqCst));
    let ready = more.as_mut().poll(&mut context);
    assert!(matches!(ready, Poll::Ready(Err(FeedError::Closed))));
}

#[test]
fn a_task_is_told_when_a_log_that_failed_is_closed() {
    let rig = Rig::new();
    let store = rig.open();
    let db = store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store
        .subscribe_commits("task", CommitsFrom::Newest, None)
        .unwrap();
    rig.disk.fail_in(0, Fault::Sticky(EIO));
    let mut txn = db.begin_write(LONG).unwrap();
    txn.write_page(PageNo::FIRST, &[1; 4096]).unwrap();
    txn.commit().unwrap_err();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut more = std::pin::pin!(cursor.more());
    assert!(more.as_mut().poll(&mut context).is_pending());
    // No close record tells of it.
    store.close(LONG).unwrap_err();
    assert!(flag.0.load(Ordering::SeqCst));
    let ready = more.as_mut().poll(&mut context);
    assert!(matches!(ready, Poll::Ready(Err(FeedError::Closed))));
}
