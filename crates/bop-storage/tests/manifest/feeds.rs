//! The changes feed: what is told, to whom, and what becomes of subscribers that are dead, slow,
//! killed, or come back to a feed that began anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use crate::feed_rig::{DAY_US, Flag, LONG, Rig, write};
use bop_storage::error::{Damage, FeedError, Place, Reject};
use bop_storage::ids::{ChangeNo, Epoch};
use bop_storage::manifest::{
    CHANGES_KEPT, CHANGES_MAX, CURSORS_MAX, ChangeKind, ChangePage, ManifestStore, RunRow,
    TRIM_ROWS_MAX, Table, Write,
};
use bop_storage::{ChangesCursor, DbKind, ErrorCode, FeedStart, Limits, Manager, ManifestError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(20);

/// What is read from a cursor, to the end, as words.
fn told(cursor: &ChangesCursor) -> Vec<String> {
    let page = cursor.read(usize::MAX).unwrap();
    let word = |kind: ChangeKind, name: Option<&str>| match name {
        Some(name) => format!("{} {name}", kind.name()),
        None => kind.name().to_owned(),
    };
    let changes = page.changes.iter();
    changes
        .map(|(_, change)| word(change.kind, change.name.as_ref().map(|name| name.as_str())))
        .collect()
}

/// A change that costs no page: the log begins a little later each time.
fn happen(store: &Manager, times: u64) {
    for _ in 0..times {
        write(store, "a", 1);
        store.checkpoint().unwrap();
    }
}

#[test]
fn a_subscriber_hears_of_everything_in_order_and_goes_on_after_a_kill_where_it_was() {
    let rig = Rig::new();
    let store = rig.open();
    let cursor = store
        .subscribe_changes("backup", FeedStart::Oldest)
        .unwrap();
    store.create_database("a", DbKind::Raw).unwrap();
    write(&store, "a", 1);
    store.checkpoint().unwrap();
    assert_eq!(told(&cursor), ["created a", "published", "chunk_added"]);
    assert_eq!(told(&cursor), [] as [&str; 0]);
    // Nothing was acknowledged: after a kill it is told again.
    let rig = rig.killed();
    drop((cursor, store));
    let store = rig.open();
    let cursor = store
        .subscribe_changes("BACKUP", FeedStart::Newest)
        .unwrap();
    let page = cursor.read(2).unwrap();
    assert_eq!(page.changes.len(), 2);
    cursor.acknowledge(page.next).unwrap();
    cursor.flush().unwrap();
    let rig = rig.killed();
    drop((cursor, store));
    let store = rig.open();
    let cursor = store
        .subscribe_changes("backup", FeedStart::Oldest)
        .unwrap();
    assert_eq!(told(&cursor), ["chunk_added"]);
    store.rename_database("a", "b").unwrap();
    store.drop_database("b").unwrap();
    store.checkpoint().unwrap();
    let last = told(&cursor);
    assert!(last.contains(&"dropped b".to_owned()), "{last:?}");
    let id = store.dropped_databases()[0].id;
    store.purge_database(id).unwrap();
    store.checkpoint().unwrap();
    let last = told(&cursor);
    assert!(last.contains(&"purged b".to_owned()), "{last:?}");
    assert!(last.contains(&"chunk_removed".to_owned()), "{last:?}");
}

#[test]
fn a_dead_cursor_stops_counting_a_slow_one_is_told_and_nothing_grows() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let dead = store.subscribe_changes("dead", FeedStart::Oldest).unwrap();
    let live = store.subscribe_changes("live", FeedStart::Oldest).unwrap();
    happen(&store, 700);
    let held = rig.changes_kept();
    assert!(CHANGES_KEPT + 500 < held, "{held} are held back");
    let follow = || {
        while let page = live.read(usize::MAX).unwrap()
            && !page.changes.is_empty()
        {
            live.acknowledge(page.next).unwrap();
        }
        live.flush().unwrap();
    };
    follow();
    assert!(held <= rig.changes_kept(), "the dead one is not dead yet");
    rig.clock.advance(DAY_US + 1);
    follow();
    happen(&store, 3);
    let kept = rig.changes_kept();
    assert!(kept < CHANGES_KEPT + 10, "{kept} are kept");
    let lost = dead.read(1).unwrap_err();
    assert_eq!(lost.code(), ErrorCode::CursorLost);
    let info = store.cursors();
    let info = info.iter().find(|info| info.name == "dead").unwrap();
    assert!(info.lost && !info.alive, "{info:?}");
    let oldest = dead.reset().unwrap();
    assert_eq!(dead.read(1).unwrap().changes[0].0, oldest);
}

/// A long trim is spread over transactions, each of which deletes a bounded number of rows.
#[test]
fn a_long_trim_is_spread_over_many_transactions() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let dead = store.subscribe_changes("dead", FeedStart::Oldest).unwrap();
    happen(&store, 1500);
    let held = rig.changes_kept();
    assert!(CHANGES_KEPT + 2 * TRIM_ROWS_MAX < held && held < CHANGES_MAX);
    drop(dead);
    store.drop_cursor("dead").unwrap();
    let mut before = rig.changes_kept();
    assert_eq!(
        before,
        held - TRIM_ROWS_MAX,
        "the first transaction that may"
    );
    while CHANGES_KEPT + 100 < before {
        happen(&store, 1);
        let now = rig.changes_kept();
        assert!(now < before && before - now <= 3 * TRIM_ROWS_MAX);
        before = now;
    }
}

/// A checkpoint tells of each dirty database in one transaction. More of them than one transaction trims
/// beside what it appends do not make the feed longer.
#[test]
fn a_checkpoint_of_two_thousand_databases_trims_as_much_as_it_tells() {
    const DATABASES: u64 = 2 * TRIM_ROWS_MAX;
    let rig = Rig::new();
    let mut limits = Limits::tiny();
    limits.databases_max = u32::try_from(DATABASES).unwrap();
    limits.log_bytes_max = 64 << 20;
    let store = rig.open_with(limits);
    let names: Vec<String> = (0..DATABASES)
        .map(|number| format!("db-{number}"))
        .collect();
    for name in &names {
        store.create_database(name, DbKind::Raw).unwrap();
    }
    for round in 1..=3 {
        for name in &names {
            write(&store, name, round);
        }
        store.checkpoint().unwrap();
        let kept = rig.changes_kept();
        assert_eq!(kept, CHANGES_KEPT, "after checkpoint {round}");
    }
}

/// A row that LMDB lost: whoever reads up to it is told so, and so is whoever verifies. What lies before
/// and behind it is read, and no database needs it.
#[test]
fn a_change_that_is_missing_is_told_to_whoever_comes_to_it() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    happen(&store, 4);
    let cursor = store.subscribe_changes("c", FeedStart::Oldest).unwrap();
    let all = store.changes(ChangeNo::new(1), usize::MAX).unwrap();
    let (lost, behind) = (all.changes[3].0, all.changes[4].0);
    let (table, key) = (Table::Changes, lost.get().to_be_bytes().to_vec());
    rig.manifest
        .commit(&[Write::Delete { table, key }])
        .unwrap();
    let is_it = |damage: &Damage| {
        damage.reason == Reject::Missing
            && matches!(&damage.place, Place::Manifest { table, key }
                if *table == "changes" && *key == format!("{:016x}", lost.get()))
    };
    let told = |refused: Result<ChangePage, FeedError>| match refused.unwrap_err() {
        FeedError::Manifest(ManifestError::Damaged(damage)) => assert!(is_it(&damage), "{damage}"),
        error => panic!("{error}"),
    };
    told(cursor.read(usize::MAX));
    told(store.changes(lost, 1));
    assert_eq!(
        store.changes(behind, 1).unwrap().changes,
        all.changes[4..=4]
    );
    let before = cursor.read(3).unwrap();
    assert_eq!(before.changes, all.changes[..3]);
    let findings = store.verify().findings;
    assert!(findings.len() == 1 && is_it(&findings[0]), "{findings:?}");
    // Also at the next opening, and where the last one is lost.
    drop(cursor);
    store.close(LONG).unwrap();
    let store = rig.open();
    assert_eq!(store.verify().findings, findings);
    write(&store, "a", 9);
    store.checkpoint().unwrap();
    let last = store.changes(behind, usize::MAX).unwrap().changes.pop();
    let (table, key) = (Table::Changes, last.unwrap().0.get().to_be_bytes().to_vec());
    rig.manifest
        .commit(&[Write::Delete { table, key }])
        .unwrap();
    assert_eq!(store.verify().findings.len(), 2);
    store.changes(behind, usize::MAX).unwrap_err();
}

/// Who has the store open, or had it last: a kill leaves no time of closing.
#[test]
fn the_run_says_who_has_the_store_open_and_whether_it_was_closed() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let rig = rig.killed();
    drop(store);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap();
    let killed = *rig.rows().run().unwrap();
    let expected = RunRow {
        epoch: Epoch::new(1),
        boot: boot.to_be_bytes(),
        pid: std::process::id(),
        opened_us: 1_000_000,
        closed_us: None,
    };
    assert_eq!(killed, expected);
    rig.clock.advance(50);
    let store = rig.open();
    rig.clock.advance(7);
    store.close(LONG).unwrap();
    drop(store);
    let closed = *rig.rows().run().unwrap();
    assert!(killed.epoch < closed.epoch);
    let expected = RunRow {
        epoch: closed.epoch,
        opened_us: 1_000_050,
        closed_us: Some(1_000_057),
        ..expected
    };
    assert_eq!(closed, expected);
}

#[test]
fn a_feed_that_is_lost_begins_anew_and_its_subscribers_are_told() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    let cursor = store.subscribe_changes("c", FeedStart::Oldest).unwrap();
    write(&store, "a", 1);
    store.checkpoint().unwrap();
    let before = cursor.read(usize::MAX).unwrap();
    cursor.acknowledge(before.next).unwrap();
    drop(cursor);
    store.close(LONG).unwrap();
    drop(store);
    assert!(
        rig.manifest
            .corrupt(Table::Feed, &[0; 8], |value| value[20] ^= 1)
    );
    let store = rig.open();
    let cursor = store.subscribe_changes("c", FeedStart::Oldest).unwrap();
    let lost = cursor.read(1).unwrap_err();
    assert!(matches!(lost, FeedError::CursorLost { .. }), "{lost}");
    let from = cursor.reset().unwrap();
    assert!(before.next <= from, "no number is given out twice");
    write(&store, "a", 2);
    store.checkpoint().unwrap();
    assert!(told(&cursor).contains(&"published".to_owned()));
}

#[test]
fn names_owners_and_acknowledgements_that_cannot_be_are_refused() {
    let rig = Rig::new();
    let store = rig.open();
    let code = |refused: Result<ChangesCursor, FeedError>| refused.unwrap_err().code();
    let open = |name| store.subscribe_changes(name, FeedStart::Newest);
    assert_eq!(code(open("")), ErrorCode::InvalidName);
    assert_eq!(code(open("a/b")), ErrorCode::InvalidName);
    let cursor = open("one").unwrap();
    assert_eq!(code(open("One")), ErrorCode::Busy);
    let ahead = cursor.acknowledge(ChangeNo::new(100)).unwrap_err();
    assert!(matches!(ahead, FeedError::NotYet { .. }), "{ahead}");
    assert!(!cursor.wait(SOON).unwrap());
    store.drop_cursor("one").unwrap();
    assert_eq!(
        store.drop_cursor("one").unwrap_err().code(),
        ErrorCode::CursorNotFound
    );
    assert_eq!(
        cursor.flush().unwrap_err().code(),
        ErrorCode::CursorNotFound
    );
    let gone = store.changes(ChangeNo::new(0), 1).unwrap_err();
    assert_eq!(gone.code(), ErrorCode::CursorLost);
    drop(cursor);
    assert_eq!(store.cursors(), []);
    for number in 0..CURSORS_MAX {
        let name = format!("cursor-{number}");
        drop(store.subscribe_changes(&name, FeedStart::Newest).unwrap());
    }
    assert_eq!(code(open("one more")), ErrorCode::LimitReached);
}

#[test]
fn a_thread_and_a_task_that_wait_are_woken_by_the_next_change() {
    let rig = Rig::new();
    let store = rig.open();
    store.create_database("a", DbKind::Raw).unwrap();
    store.checkpoint().unwrap();
    let waits = store
        .subscribe_changes("thread", FeedStart::Newest)
        .unwrap();
    let polls = store.subscribe_changes("task", FeedStart::Newest).unwrap();
    let waits = std::thread::spawn(move || waits.wait(LONG).unwrap());
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut more = std::pin::pin!(polls.more());
    assert!(more.as_mut().poll(&mut context).is_pending());
    write(&store, "a", 2);
    store.checkpoint().unwrap();
    assert!(waits.join().unwrap());
    assert!(flag.0.load(Ordering::SeqCst));
    assert!(matches!(
        more.as_mut().poll(&mut context),
        Poll::Ready(Ok(()))
    ));
}

#[test]
fn a_thread_and_a_task_that_wait_for_a_change_are_told_that_the_store_is_closed() {
    let rig = Rig::new();
    let store = rig.open();
    let open = |name| store.subscribe_changes(name, FeedStart::Newest).unwrap();
    let (waits, polls) = (open("thread"), open("task"));
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut more = std::pin::pin!(polls.more());
    assert!(more.as_mut().poll(&mut context).is_pending());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| waits.wait(LONG));
        store.close(LONG).unwrap();
        let told = waits.join().unwrap().unwrap_err();
        assert!(matches!(told, FeedError::Closed), "{told}");
    });
    assert!(flag.0.load(Ordering::SeqCst));
    let told = more.as_mut().poll(&mut context);
    assert!(matches!(told, Poll::Ready(Err(FeedError::Closed))));
}

/// Segments come and go without a word: what they hold is the log's own business.
#[test]
fn what_nobody_can_use_is_not_told() {
    let rig = Rig::new();
    let store = rig.open();
    let cursor = store.subscribe_changes("c", FeedStart::Oldest).unwrap();
    assert_eq!(told(&cursor), [] as [&str; 0]);
}
