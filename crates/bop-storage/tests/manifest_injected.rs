//! LMDB commits of a real process whose calls the kernel refuses, or that is killed at them, one call
//! after the other: `strace` stands in for the device. Whatever happens, what was acknowledged is
//! there afterwards, of what was not at most one transaction, and the manifest verifies.
//!
//! In a binary of its own, since it starts itself again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bop_storage::Limits;
use bop_storage::ids::{Incarnation, SegmentId, StoreId};
use bop_storage::manifest::{LmdbManifest, Manifest, SegmentRow};
use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const STORE: StoreId = StoreId::new([9; 16]);
const CHILD_DIR: &str = "BOP_TEST_INJECTED_DIR";

/// Transactions of the child. The later ones are large, so that one has several writes.
const TRANSACTIONS: u64 = 40;

/// The calls by which LMDB reaches its file. It never truncates or grows it by a call of its own.
const CALLS: [&str; 4] = ["pwrite64", "pwritev", "writev", "fdatasync"];

fn open(dir: &Path) -> Manifest {
    let limits = Limits::default().validated().unwrap();
    let lmdb = LmdbManifest::open(dir, &limits).unwrap();
    Manifest::open(Arc::new(lmdb), STORE).unwrap()
}

fn create(dir: &Path) {
    let limits = Limits::default().validated().unwrap();
    let rows = Manifest::initial_writes(STORE).unwrap();
    drop(LmdbManifest::create(dir, &limits, &rows).unwrap());
}

/// Segments that the transaction `number` registers: each has its number as incarnation.
fn segments(number: u64) -> impl Iterator<Item = SegmentId> {
    let count = if number.is_multiple_of(8) { 200 } else { 1 };
    (0..count).map(move |at| SegmentId::new(number * 1000 + at))
}

/// Commits, and says in `acknowledged` which transactions succeeded, until one is refused.
#[test]
fn child_commits() {
    let Some(dir) = env::var_os(CHILD_DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let manifest = open(dir);
    let mut said = OpenOptions::new()
        .append(true)
        .open(dir.join("acknowledged"))
        .unwrap();
    let mut refused = false;
    for number in 1..=TRANSACTIONS {
        let done = manifest.transact(move |edit| {
            segments(number).try_for_each(|id| {
                let row = SegmentRow {
                    incarnation: Incarnation::new(number),
                    capacity_bytes: 4096,
                };
                edit.put_segment(id, row)
            })
        });
        match done {
            Ok(()) => {
                writeln!(said, "{number}").unwrap();
                // After a refusal for want of space the next one may succeed, after another not.
                assert!(!refused || env::var_os("BOP_TEST_MAY_HEAL").is_some());
            }
            Err(_) => refused = true,
        }
    }
}

/// What became of a child.
struct Ended {
    status: ExitStatus,
    /// Whether the call that was to be refused was made at all.
    injected: bool,
}

fn run(dir: &Path, call: &str, what: &str, when: u64) -> Ended {
    let trace = dir.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:{what}:when={when}")])
        .arg("-P")
        .arg(dir.join("manifest/data.mdb"))
        .arg(env::current_exe().unwrap())
        .args(["child_commits", "--exact", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .envs((what == "error=ENOSPC").then_some(("BOP_TEST_MAY_HEAL", "1")))
        .output()
        .unwrap()
        .status;
    let lines = fs::read_to_string(&trace).unwrap();
    let calls = lines.lines().filter(|line| line.contains(call)).count() as u64;
    Ended {
        status,
        injected: when <= calls,
    }
}

/// One transaction may be there that was not acknowledged: the one whose call was refused or whose
/// process was killed. Each is wholly there or not at all.
fn check(dir: &Path, context: &str) {
    let said = fs::read_to_string(dir.join("acknowledged")).unwrap();
    let acknowledged: Vec<u64> = said.lines().map(|line| line.parse().unwrap()).collect();
    let manifest = open(dir);
    assert_eq!(manifest.verify().unwrap(), [], "{context}");
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, row) in manifest.state().segments() {
        *found.entry(row.incarnation.get()).or_default() += 1;
    }
    for (number, rows) in &found {
        assert_eq!(
            *rows,
            segments(*number).count(),
            "{context}: half of {number}"
        );
    }
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|number| !found.contains_key(number))
        .collect();
    assert!(lost.is_empty(), "{context}: lost {lost:?}");
    let more = found.len() - acknowledged.len();
    assert!(more <= 1, "{context}: {more} more than were acknowledged");
}

#[test]
fn a_call_that_is_refused_or_deadly_loses_nothing_acknowledged() {
    if !strace_works() {
        return;
    }
    let points = AtomicUsize::new(0);
    thread::scope(|scope| {
        for what in ["error=EIO", "error=ENOSPC", "signal=SIGKILL"] {
            let points = &points;
            scope.spawn(move || {
                for call in CALLS {
                    for when in 1.. {
                        let dir = tempfile::tempdir().unwrap();
                        create(dir.path());
                        fs::write(dir.path().join("acknowledged"), "").unwrap();
                        let ended = run(dir.path(), call, what, when);
                        let context = format!("{call} {when} {what}");
                        let killed = ended.injected && what == "signal=SIGKILL";
                        let as_meant = match killed {
                            // strace ends as the traced process did.
                            true => ended.status.signal() == Some(9),
                            false => ended.status.success(),
                        };
                        assert!(as_meant, "{context}: {}", ended.status);
                        check(dir.path(), &context);
                        if !ended.injected {
                            break;
                        }
                        points.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let points = points.load(Ordering::Relaxed);
    println!("proved: {points} error loops, calls that were refused or deadly");
    assert!(300 <= points, "{points} calls");
}

fn strace_works() -> bool {
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    if probe.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let set = |name, to| env::var(name).is_ok_and(|value| value == to);
    assert!(
        !set("BOP_REQUIRE_SHARED", "1") && !set("CI", "true"),
        "strace is missing, or may not trace"
    );
    eprintln!("SKIPPED: strace is missing, or may not trace");
    false
}
