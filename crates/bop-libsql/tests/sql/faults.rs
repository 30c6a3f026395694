//! A device that fails at each of its calls in turn, under ordinary work: the error reaches the user,
//! nothing is half done, the connection goes on, and what was acknowledged is there afterwards.

use crate::common::{Random, integrity};
use bop_libsql::{Connection, Options, Store};
use bop_storage::io::errno::{EIO, ENOSPC};
use bop_storage::manifest::MemoryManifest;
use bop_storage::testing::{Fault, SimDisk};
use bop_storage::{Housekeeping, Limits, Manager};
use rusqlite::ffi;
use std::sync::Arc;

/// Ordinary work; each line is one transaction, or changes nothing.
const WORK: [&str; 10] = [
    "CREATE TABLE t(i INTEGER PRIMARY KEY, x); CREATE INDEX by_x ON t(x)",
    "BEGIN; INSERT INTO t VALUES (1, 'one'), (2, 'two'); COMMIT",
    // Spills, and is a chain of records.
    "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
         INSERT INTO t SELECT i, hex(zeroblob(150)) || i FROM n",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "BEGIN; UPDATE t SET x = x || '!' WHERE i < 30; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
    "CREATE TABLE u AS SELECT i, x FROM t WHERE i % 2 = 0",
    "DELETE FROM t WHERE i BETWEEN 20 AND 50",
    "VACUUM",
    "PRAGMA wal_checkpoint(FULL)",
    "INSERT INTO t SELECT i + 100, x FROM u WHERE i > 40",
];

/// A store without a cache, on a simulated disk.
pub(crate) struct Ground {
    pub(crate) disk: SimDisk,
    manifest: MemoryManifest,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self {
            disk: SimDisk::new(1),
            manifest: MemoryManifest::new(),
        }
    }

    pub(crate) fn open(&self) -> Store {
        let mut limits = Limits::tiny();
        limits.cache_bytes_max = 0;
        let options = Options::new()
            .limits(limits)
            .housekeeping(Housekeeping::Manual)
            .disk(Arc::new(self.disk.clone()), Arc::new(self.manifest.clone()));
        Store::new(Manager::open("simulated", options).unwrap()).unwrap()
    }

    /// After the power went.
    fn crashed(&self) -> Self {
        Self {
            disk: self.disk.crash_image_keeping_nothing(),
            manifest: self.manifest.snapshot(),
        }
    }
}

fn connect(store: &Store) -> Connection {
    let connection = store.connect("a").unwrap();
    connection
        .execute_batch("PRAGMA page_size = 512; PRAGMA cache_size = 10; PRAGMA busy_timeout = 0")
        .unwrap();
    connection
}

/// All that the database has, or why it cannot be read.
fn content(connection: &rusqlite::Connection) -> rusqlite::Result<String> {
    let mut all = String::new();
    for table in ["sqlite_schema", "t", "u"] {
        let known = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 OR ?1 = 'sqlite_schema'";
        let known: i64 = connection.query_row(known, [table], |row| row.get(0))?;
        if known > 0 {
            let rows = match table {
                "sqlite_schema" => "SELECT group_concat(name || sql, ';') FROM sqlite_schema",
                "t" => "SELECT group_concat(i || x, ';') FROM (SELECT * FROM t ORDER BY i)",
                _ => "SELECT group_concat(i || x, ';') FROM (SELECT * FROM u ORDER BY i)",
            };
            let rows: Option<String> = connection.query_row(rows, [], |row| row.get(0))?;
            all += &format!("{table}: {rows:?}\n");
        }
    }
    Ok(all)
}

/// The contents after each line, by a database in memory.
fn contents() -> Vec<String> {
    let memory = rusqlite::Connection::open_in_memory().unwrap();
    let mut contents = vec![content(&memory).unwrap()];
    for line in WORK {
        memory.execute_batch(line).unwrap();
        contents.push(content(&memory).unwrap());
    }
    contents
}

/// One run of the work; `true` when the fault was met.
fn run(fault: Fault, reads: bool, call: u64, contents: &[String]) -> bool {
    let ground = Ground::new();
    let store = ground.open();
    let connection = connect(&store);
    let disk = &ground.disk;
    let count = || {
        if reads {
            disk.read_count()
        } else {
            disk.op_count()
        }
    };
    let at = count() + call;
    match reads {
        true => disk.fail_read_at(at, fault),
        false => disk.fail_at(at, fault),
    }
    let (mut done, mut failed) = (0, false);
    for (nth, line) in WORK.iter().enumerate() {
        let what = || format!("{fault:?} at call {call}, {line}");
        let Err(error) = connection.execute_batch(line) else {
            done = nth + 1;
            continue;
        };
        let code = error.sqlite_error().unwrap().extended_code & 0xff;
        let legal = [ffi::SQLITE_IOERR, ffi::SQLITE_FULL];
        assert!(legal.contains(&code), "{}: {error}", what());
        assert!(connection.last_engine_error().is_some(), "{}", what());
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").unwrap();
        }
        failed = true;
        disk.heal();
        let mine = content(&connection).unwrap_or_else(|error| panic!("{}: {error}", what()));
        // Two statements of one line are two transactions.
        assert!(mine == contents[done] || nth == 0, "{}", what());
        assert_eq!(integrity(&connection), "ok", "{}", what());
        assert_eq!(
            content(&store.connect("a").unwrap()).unwrap(),
            mine,
            "{}",
            what()
        );
        if nth == 0 {
            break;
        }
        match connection.execute_batch(line) {
            Ok(()) => done = nth + 1,
            // The log has failed: only an opening makes it whole.
            Err(_) => break,
        }
    }
    let was_met = count() > at;
    drop((connection, store));
    let after = content(&ground.crashed().open().connect("a").unwrap()).unwrap();
    // A commit whose end was not known may be there.
    let legal =
        after == contents[done] || failed && done < WORK.len() && after == contents[done + 1];
    assert!(
        legal || failed && done == 0,
        "{fault:?} at call {call}: {done} lines\n{after}"
    );
    was_met
}

/// Every so-manieth call is tried, from one on that the seed chooses; `BOP_FAULTS_ALL=1` tries all.
#[test]
fn a_call_that_fails_at_any_place_of_ordinary_work_is_an_error_and_no_more() {
    let contents = contents();
    let mut random = Random::new();
    let all = std::env::var("BOP_FAULTS_ALL").is_ok_and(|value| value == "1");
    for (fault, reads, stride) in [
        (Fault::Error(EIO), false, 4),
        (Fault::Sticky(EIO), false, 4),
        (Fault::Error(ENOSPC), false, 4),
        (Fault::Sticky(ENOSPC), false, 4),
        (Fault::Error(EIO), true, 20),
        (Fault::Sticky(EIO), true, 20),
    ] {
        let stride = if all { 1 } else { stride };
        let calls = (random.below(stride)..).step_by(stride as usize);
        let met = calls.take_while(|call| run(fault, reads, *call, &contents));
        let tried = met.count() as u64;
        let met = tried * stride;
        println!("proved: {tried} error loops of {fault:?}, reads: {reads}, {met} calls or so");
        assert!(met >= 100, "{fault:?}, reads: {reads}: {met} calls");
    }
}
