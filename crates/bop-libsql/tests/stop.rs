//! Connections when their store stops: closed while they commit, closed around an open transaction,
//! dropped before them, dropped after them.
//!
//! One store lives through all cycles. After each one no thread and no descriptor is left, and the
//! next one finds every row that was acknowledged and no other. The only test of this binary: it
//! counts the threads and descriptors of the process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use bop_libsql::{Connection, Options, Store};
use bop_storage::{CloseError, ErrorCode};
use common::{Random, int};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const CYCLES: u32 = 120;
const LONG: Duration = Duration::from_secs(60);
const DATABASES: [&str; 3] = ["one", "two", "own"];
/// The database of each writer; two of them share one.
const WRITERS: [usize; 3] = [0, 0, 1];
/// The database of the connection that outlives the writers.
const OWN: usize = 2;
/// Commits of all cycles: far below what they do.
const COMMITS_MIN: i64 = 500;

/// How a store stops.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Closed while the writers commit.
    AtWork,
    /// Closed around a transaction that is not ended in time.
    InTransaction,
    /// The last handle of the store goes, a connection keeps it open.
    StoreFirst,
    /// The connections go, then the store.
    ConnectionsFirst,
}

const ENDS: [End; 4] = [
    End::AtWork,
    End::InTransaction,
    End::StoreFirst,
    End::ConnectionsFirst,
];

/// What the threads of a cycle share.
#[derive(Default)]
struct Cycle {
    stop: AtomicBool,
    done: Mutex<u64>,
    more: Condvar,
}

impl Cycle {
    fn commits(&self) {
        *self.done.lock().unwrap() += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, count: u64) {
        let mut done = self.done.lock().unwrap();
        while *done < count {
            done = self.more.wait(done).unwrap();
        }
    }
}

/// Rows that were acknowledged, of each database.
type Acknowledged = [AtomicI64; DATABASES.len()];

/// Inserts one row after the other until it is told to stop or the store is closed.
fn write(store: &Store, name: &str, cycle: &Cycle, acknowledged: &AtomicI64) {
    let connection = match store.connect(name) {
        Ok(connection) => connection,
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::Closed, "{error}");
            return;
        }
    };
    connection.busy_timeout(LONG).unwrap();
    while !cycle.stop.load(Ordering::Acquire) {
        if let Err(error) = connection.execute_batch("INSERT INTO t VALUES (1)") {
            assert_closed(&connection, &error);
            return;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        cycle.commits();
    }
}

#[track_caller]
fn assert_closed(connection: &Connection, error: &rusqlite::Error) {
    let engine = connection.last_engine_error();
    let code = engine.as_ref().map(bop_libsql::EngineError::code);
    assert_eq!(code, Some(ErrorCode::Closed), "{error}: {engine:?}");
}

/// Lets the writers work for a while, then ends the store.
fn run(store: Store, end: End, commits: u64, acknowledged: &Acknowledged) {
    let cycle = Cycle::default();
    let own = store.connect(DATABASES[OWN]).unwrap();
    std::thread::scope(|scope| {
        for at in WRITERS {
            let (store, cycle) = (&store, &cycle);
            scope.spawn(move || write(store, DATABASES[at], cycle, &acknowledged[at]));
        }
        cycle.wait_for(commits);
        match end {
            End::AtWork => store.manager().close(LONG).unwrap(),
            End::InTransaction => close_around(&store, &own),
            End::StoreFirst | End::ConnectionsFirst => {}
        }
        cycle.stop.store(true, Ordering::Release);
    });
    match end {
        End::StoreFirst => {
            drop(store);
            own.execute_batch("INSERT INTO t VALUES (1)").unwrap();
            acknowledged[OWN].fetch_add(1, Ordering::Relaxed);
        }
        End::ConnectionsFirst => {
            own.close().map_err(|(_, error)| error).unwrap();
            drop(store);
        }
        End::AtWork | End::InTransaction => {
            let error = own.execute_batch("SELECT count(*) FROM t").unwrap_err();
            assert_closed(&own, &error);
        }
    }
}

/// Closes the store while `own` is inside a transaction, which can then not be committed.
fn close_around(store: &Store, own: &Connection) {
    own.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
        .unwrap();
    let left = store.manager().close(Duration::ZERO).unwrap_err();
    assert!(matches!(left, CloseError::StillOpen { .. }), "{left}");
    let error = own.execute_batch("COMMIT").unwrap_err();
    assert_closed(own, &error);
}

/// Threads and descriptors of this process.
fn count(what: &str) -> usize {
    let entries = std::fs::read_dir(format!("/proc/self/{what}")).unwrap();
    entries.count()
}

/// A thread that was joined is in the list for a moment longer.
#[track_caller]
fn wait_for_count(what: &str, wanted: usize, end: End) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while count(what) != wanted {
        let found = count(what);
        assert!(
            Instant::now() < deadline,
            "after {end:?}: {found} entries of /proc/self/{what}, not {wanted}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn connections_end_with_their_store_and_lose_nothing() {
    let mut random = Random::new();
    println!("BOP_SEED={}", random.seed());
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = Acknowledged::default();
    let open = || Store::open(dir.path(), Options::new()).unwrap();
    let store = open();
    for name in DATABASES {
        let connection = store.connect(name).unwrap();
        connection.execute_batch("CREATE TABLE t(a)").unwrap();
    }
    drop(store);
    let before = ["task", "fd"].map(|what| (what, count(what)));
    for _ in 0..CYCLES {
        let end = ENDS[usize::try_from(random.below(ENDS.len() as u64)).unwrap()];
        run(open(), end, random.below(30), &acknowledged);
        for (what, wanted) in before {
            wait_for_count(what, wanted, end);
        }
        let store = open();
        for (name, acknowledged) in DATABASES.iter().zip(&acknowledged) {
            let connection = store.connect(name).unwrap();
            let rows = int(&connection, "SELECT count(*) FROM t");
            let expected = acknowledged.load(Ordering::Relaxed);
            assert_eq!(rows, expected, "rows of {name} after {end:?}");
            assert_eq!(int(&connection, "SELECT count(*) FROM t WHERE a <> 1"), 0);
        }
    }
    println!("{acknowledged:?}");
    let all: i64 = acknowledged.into_iter().map(AtomicI64::into_inner).sum();
    assert!(all >= COMMITS_MIN, "{all}");
}
