//! Policies of page caches on the same accesses: how many hits, how many operations a second.
//!
//! An entry stands for a page of 4 KiB: all caches have room for `CAPACITY` of them. On a miss the entry
//! is put in, as a page that was read is. The accesses are the same in every run.

mod mixes;
mod policies;

use bench_work::Result;
use mixes::{Mix, mixes};
use policies::{Policy, policies};
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

/// Entries that fit: 64 MiB of pages.
const CAPACITY: usize = 16_384;
/// Operations of each thread while speed is measured.
const OPERATIONS: usize = 2_000_000;

fn main() -> Result<()> {
    let mixes = mixes(CAPACITY);
    let names: Vec<&str> = mixes.iter().map(|mix| mix.name).collect();
    println!(
        "| policy | {} | get, 1 thread | get, 2 threads | get or insert, 1 thread | 2 threads |",
        names.join(" | ")
    );
    println!("|---|{}", "---|".repeat(mixes.len() + 4));
    for (name, make) in policies() {
        let mut cells: Vec<String> = mixes
            .iter()
            .map(|mix| format!("{:.3}", hit_ratio(make(CAPACITY).as_ref(), mix)))
            .collect();
        for span in [CAPACITY / 2, 4 * CAPACITY] {
            for threads in [1, 2] {
                let speed = operations_per_second(make(CAPACITY).as_ref(), span, threads)?;
                cells.push(format!("{:.1} M/s", speed / 1e6));
            }
        }
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// The share of hits among the accesses that count.
fn hit_ratio(policy: &dyn Policy, mix: &Mix) -> f64 {
    let (mut hits, mut asked) = (0_u64, 0_u64);
    for access in &mix.accesses {
        let hit = policy.get(access.key);
        if !hit {
            policy.insert(access.key);
        }
        if access.counts {
            asked += 1;
            hits += u64::from(hit);
        }
    }
    hits as f64 / asked as f64
}

/// Of `threads` threads, each at random among `span` keys; what is missing is put in.
fn operations_per_second(policy: &dyn Policy, span: usize, threads: u64) -> Result<f64> {
    (0..span as u64).for_each(|key| policy.insert(key));
    let together = Barrier::new(threads as usize);
    let spans = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let together = &together;
                scope.spawn(move || {
                    let mut keys = mixes::Uniform::new(thread);
                    together.wait();
                    let began = Instant::now();
                    for _ in 0..OPERATIONS {
                        let key = keys.below(span as u64);
                        if !black_box(policy.get(key)) {
                            policy.insert(key);
                        }
                    }
                    (began, Instant::now())
                })
            })
            .collect();
        let spans = workers.into_iter().map(|worker| worker.join());
        spans.collect::<std::result::Result<Vec<_>, _>>()
    });
    let spans = spans.map_err(|_| "a thread panicked")?;
    let began = spans.iter().map(|(began, _)| *began).min();
    let ended = spans.iter().map(|(_, ended)| *ended).max();
    let (began, ended) = began.zip(ended).ok_or("no threads")?;
    Ok(OPERATIONS as f64 * threads as f64 / (ended - began).as_secs_f64())
}
