//! A process killed at its N-th call of each kind that changes a file, in each way of doing I/O.
//!
//! What the kernel has taken from it is there, so this says less of a power cut than `images`, and more of
//! everything that a process leaves half done: files without their names, names without their files, LMDB between
//! two of its writes, a checkpoint between any two of its steps.

use crate::child::{CHILD_WIDTH, Shape, WIDTH};
use crate::common::process::announced;
use crate::images::{Said, judge};
use crate::pair::SIGKILL;
use crate::{injecting, made, strace_works, to_be_had};
use bop_storage::io::IoBackend;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use tempfile::TempDir;

/// Commits of a run, and how wide their rows are: a block, a page and more, several pages, several fragments. The
/// first alone where the environment does not say how many places there must be.
const WORKLOADS: [(u32, usize); 4] = [(60, WIDTH), (90, 60), (90, 300), (60, 1000)];

/// The calls that change files, or make that durable.
const CALLS: &[&str] = &[
    "openat",
    "mkdirat",
    "unlinkat",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "io_uring_enter",
];

/// Kills at so many places of each kind; all of them where the environment says how many there must be.
const PLACES_EACH: usize = 3;

#[test]
fn a_process_that_is_killed_at_any_call_leaves_a_whole_store() {
    if !strace_works() {
        return;
    }
    let wanted: Option<u64> = std::env::var("BOP_KILL_POINTS")
        .ok()
        .map(|it| it.parse().unwrap());
    let (stride, most) = match wanted {
        Some(_) => (1, usize::MAX),
        None => (7, PLACES_EACH),
    };
    let workloads = if wanted.is_some() { WORKLOADS.len() } else { 1 };
    // Each way of doing I/O by itself: a run waits for its devices.
    let killed: BTreeMap<String, usize> = std::thread::scope(|scope| {
        let ways: Vec<_> = shapes()
            .into_iter()
            .map(|shape| {
                scope.spawn(move || {
                    let of = WORKLOADS[..workloads].iter();
                    of.flat_map(|workload| kill_each(shape, *workload, stride, most))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let ended = ways.into_iter().map(|way| way.join());
        ended.flat_map(Result::unwrap).collect()
    });
    let all = killed.values().sum::<usize>() as u64;
    println!("proved: {all} kill points");
    assert!(all >= wanted.unwrap_or(40), "{all}: {killed:?}");
}

/// How many places of each kind of call there were, of those that are tried.
fn kill_each(
    shape: Shape,
    workload: (u32, usize),
    stride: usize,
    most: usize,
) -> Vec<(String, usize)> {
    let killed = CALLS.iter().map(|call| {
        let what = format!("{}, {workload:?}, {call}", shape.name());
        let places = (1..).step_by(stride).take_while(|nth| {
            let dir = killed_at(shape, workload, call, *nth);
            dir.is_some_and(|(dir, said)| {
                let judged = judge(dir.path(), shape, workload.1, &said);
                judged.unwrap_or_else(|why| {
                    panic!("{what} {nth}: {why}; see {}", dir.keep().display())
                });
                true
            })
        });
        let count = places.take(most).count();
        (what, count)
    });
    killed.collect()
}

fn shapes() -> Vec<Shape> {
    to_be_had([
        (IoBackend::Std, Shape::RollingBuffered),
        (IoBackend::Direct, Shape::RollingDirect),
        (IoBackend::Uring, Shape::Rolling),
    ])
}

/// The store of a child that was killed at its `nth` such call, and what it had said; `None` when it made
/// fewer.
fn killed_at(
    shape: Shape,
    (commits, width): (u32, usize),
    call: &str,
    nth: u64,
) -> Option<(TempDir, Said)> {
    let dir = made(shape);
    let how = format!("signal=KILL:when={nth}");
    let mut child = injecting(dir.path(), shape, ("child_commits", commits), call, &how);
    let output = child.env(CHILD_WIDTH, width.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = said.lines().filter_map(announced).collect();
    if output.status.signal() != Some(SIGKILL) {
        assert_eq!(said.last(), Some(&"end"), "{call} {nth}: {said:?}");
        return None;
    }
    let count = |what: &str| {
        let lines = said.iter().filter(|line| line.starts_with(what));
        i64::try_from(lines.count()).unwrap()
    };
    let said = Said {
        done: count("done "),
        begun: count("pending "),
    };
    Some((dir, said))
}
