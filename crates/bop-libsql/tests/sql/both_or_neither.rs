//! A transaction over two databases on a device that fails: after every call of the commit both
//! databases have it or neither, whether the power goes, the call fails, or the device is full.

use crate::common::{code_of, int, integrity};
use bop_libsql::{Connection, Options, Store};
use bop_storage::io::errno::{EIO, ENOSPC};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{Housekeeping, Limits, Manager};
use rusqlite::ffi;
use std::sync::Arc;

const NAMES: [&str; 2] = ["a", "b"];

/// A disk with two databases, each of which has a one in its only row.
struct Ground {
    disk: SimDisk,
    manifest: MemoryManifest,
}

impl Ground {
    fn new() -> Self {
        let ground = Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
        };
        let store = ground.open();
        for name in NAMES {
            let connection = store.connect(name).unwrap();
            connection
                .execute_batch(
                    "PRAGMA page_size = 1024; CREATE TABLE t(i INTEGER PRIMARY KEY, x);
                     INSERT INTO t VALUES (0, 1)",
                )
                .unwrap();
        }
        ground
    }

    fn open(&self) -> Store {
        let options = Options::new()
            .limits(Limits::tiny())
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        Store::new(Manager::open("simulated", options).unwrap()).unwrap()
    }

    fn on(&self, disk: SimDisk) -> Self {
        Self {
            disk,
            manifest: self.manifest.snapshot(),
        }
    }

    /// What both databases have after they were opened again; `true` for the transaction.
    fn look(&self, what: &str) -> bool {
        let store = self.open();
        let seen = NAMES.map(|name| {
            let connection = store.connect(name).unwrap();
            assert_eq!(integrity(&connection), "ok", "{what}, {name}");
            sum(&connection)
        });
        let both = seen == [AFTER; 2];
        assert!(both || seen == [1; 2], "{what}: {seen:?}");
        both
    }
}

/// The sum in each database once the transaction is there.
const AFTER: i64 = 7;

fn sum(connection: &Connection) -> i64 {
    int(connection, "SELECT sum(x) FROM t")
}

/// The transaction: in one record, and in many.
const CHANGES: [&str; 2] = [
    "INSERT INTO main.t VALUES (1, 6); INSERT INTO other.t VALUES (1, 6)",
    "INSERT INTO main.t VALUES (1, 6); INSERT INTO other.t VALUES (1, 6);
     CREATE TABLE main.long AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
         WHERE i < 30) SELECT i, hex(randomblob(400)) AS x FROM n;
     CREATE TABLE other.long AS SELECT * FROM main.long",
];

/// A connection to both, inside of the transaction.
fn begun(store: &Store, changes: &str) -> Connection {
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 10; ATTACH 'b' AS other; BEGIN")
        .unwrap();
    connection.execute_batch(changes).unwrap();
    connection
}

#[test]
fn a_power_cut_at_any_call_of_the_commit_leaves_both_or_neither() {
    let ground = Ground::new();
    let (mut cuts, mut appeared, mut vanished) = (0, 0, 0);
    for changes in CHANGES {
        for call in 0.. {
            let cut = ground.on(ground.disk.snapshot());
            let store = cut.open();
            let connection = begun(&store, changes);
            let at = cut.disk.fail_in(call, Fault::PowerCut);
            let ended = connection.execute_batch("COMMIT");
            let was_cut = cut.disk.op_count() > at;
            cut.disk.power_cut();
            let what = format!("call {call} of {changes}");
            let images = [
                cut.disk.crash_image_keeping_nothing(),
                cut.disk.crash_image_keeping_all(),
                cut.disk.crash_image(call),
                cut.disk.crash_image(call + 1000),
            ];
            for image in images {
                let both = cut.on(image).look(&what);
                assert!(both || ended.is_err(), "{what}: acknowledged and gone");
                appeared += i32::from(both && ended.is_err());
                vanished += i32::from(!both);
            }
            if !was_cut {
                ended.unwrap();
                break;
            }
            cuts += 1;
        }
    }
    assert!(
        cuts >= 10 && appeared > 0 && vanished > 0,
        "{cuts} {appeared} {vanished}"
    );
}

#[test]
fn a_call_of_the_commit_that_fails_reaches_the_user_and_leaves_nothing_half_done() {
    let ground = Ground::new();
    let mut failures = 0;
    for fault in [
        Fault::Error(EIO),
        Fault::Sticky(EIO),
        Fault::Error(ENOSPC),
        Fault::StickyShort(ENOSPC),
        Fault::Full,
    ] {
        for changes in CHANGES {
            for call in 0.. {
                let failing = ground.on(ground.disk.snapshot());
                let store = failing.open();
                let connection = begun(&store, changes);
                let at = failing.disk.fail_in(call, fault);
                let ended = connection.execute_batch("COMMIT");
                let was_met = failing.disk.op_count() > at;
                failing.disk.heal();
                let what = format!("{fault:?} at call {call} of {changes}");
                let expected = if ended.is_ok() { AFTER } else { 1 };
                if let Err(error) = &ended {
                    failures += 1;
                    let code = error.sqlite_error().unwrap().extended_code & 0xff;
                    assert!(
                        [ffi::SQLITE_IOERR, ffi::SQLITE_FULL].contains(&code),
                        "{what}"
                    );
                    assert!(connection.last_engine_error().is_some(), "{what}");
                }
                assert!(connection.is_autocommit(), "{what}");
                let seen = [
                    sum(&connection),
                    int(&connection, "SELECT sum(x) FROM other.t"),
                    sum(&store.connect("a").unwrap()),
                    sum(&store.connect("b").unwrap()),
                ];
                assert_eq!(seen, [expected; 4], "{what}");
                assert_eq!(integrity(&connection), "ok", "{what}");
                let usable = connection.execute_batch(
                    "BEGIN; UPDATE main.t SET x = x; UPDATE other.t SET x = x; COMMIT",
                );
                if let Err(error) = usable {
                    // The log has failed: only an opening makes it whole.
                    assert_eq!(
                        code_of::<()>(Err(error)) & 0xff,
                        ffi::SQLITE_IOERR,
                        "{what}"
                    );
                }
                let acknowledged = ended.is_ok();
                drop((connection, store));
                let both = failing
                    .on(failing.disk.crash_image_keeping_nothing())
                    .look(&what);
                assert!(both || !acknowledged, "{what}: acknowledged and gone");
                if !was_met {
                    break;
                }
            }
        }
    }
    assert!(failures >= 20, "{failures}");
}
