//! Stop in every state: a thousand random cycles of open, work by many threads, and some end.
//!
//! A store lives for many cycles. In each one threads read, write, wait for the writer slot, run
//! checkpoints, create, rename and drop databases, until the store is closed or dropped below them.
//! After each cycle: nobody hangs (a watchdog waits for the cycle with a deadline), no thread and no
//! descriptor is left, the store opens again, and it shows what was acknowledged and nothing else.
//!
//! The only test of this binary: it counts the threads and descriptors of the process. The seed of
//! a cycle that fails is printed; `BOP_CYCLE_SEED` runs the cycles that start with it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crew;
mod ends;
mod world;

use bop_storage::testing::SplitMix64;
use ends::End;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use world::World;

const CYCLES: usize = 1000;
/// Commits of all cycles: far below what they do.
const COMMITS_MIN: u64 = 2_000;
/// Cycles of one store.
const LIFE: usize = 20;
/// Of so many stores one is in a real directory.
const NATIVE: usize = 5;
/// No cycle takes longer, on the slowest machine: one that does hangs.
const HANG: Duration = Duration::from_secs(60);

/// Threads and descriptors of this process.
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

/// A thread that was joined is in the list for a moment longer.
fn wait_for(what: &str, wanted: usize) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = count(what);
        if found == wanted {
            return Ok(());
        }
        if deadline < Instant::now() {
            return Err(format!(
                "{found} entries of /proc/self/{what}, not {wanted}"
            ));
        }
        std::thread::yield_now();
    }
}

/// Runs `body` on a thread of its own and fails when that does not end.
fn watched<T: Send + 'static>(seed: u64, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || done.send(body()));
    let ended = wait.recv_timeout(HANG);
    match ended {
        Ok(result) => {
            thread.join().unwrap().unwrap();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the cycle of seed {seed} hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_err();
            panic!("the cycle of seed {seed} failed, see above; BOP_CYCLE_SEED={seed} repeats it");
        }
    }
}

#[test]
fn a_store_stops_in_every_state_and_comes_back() {
    let first = std::env::var("BOP_CYCLE_SEED");
    let first: u64 = first.map_or(1, |seed| seed.parse().unwrap());
    let mut reached: BTreeMap<End, usize> = BTreeMap::new();
    let before = ["task", "fd"].map(|what| (what, count(what)));
    let mut world = World::native(first);
    for cycle in 0..CYCLES {
        let seed = first + cycle as u64;
        if cycle % LIFE == 0 {
            // The old one goes first: a native store has a directory.
            world = if (cycle / LIFE).is_multiple_of(NATIVE) {
                World::native(seed)
            } else {
                World::simulated(seed)
            };
        }
        let of_cycle = world.clone();
        let end = watched(seed, move || {
            let mut random = SplitMix64::new(seed);
            ends::run(&of_cycle, &mut random)
        });
        *reached.entry(end).or_default() += 1;
        for (what, wanted) in before {
            if let Err(leak) = wait_for(what, wanted) {
                panic!("after the cycle of seed {seed}, which ended with {end:?}: {leak}");
            }
        }
    }
    println!("{reached:?}, {}", world::totals());
    // Threads that only meet errors stop nothing.
    assert!(world::commits() >= COMMITS_MIN, "{}", world::totals());
    assert!(reached.len() == End::ALL.len() && reached.values().all(|count| *count > CYCLES / 40));
}
