//! Models: the engine's real code, run in thousands of chosen schedules.
//!
//! A model's threads run one at a time, and at each lock, condition variable, park and call of the device
//! a scheduler decides who goes on: at random, and by priorities with few changes (PCT). A deadlock, a panic
//! and a broken assertion fail the model and print the schedule.
//!
//! - `BOP_MODEL_SCHEDULE='...'` with the schedule that a model printed runs that one again;
//! - `BOP_MODEL_ITERATIONS=...` and `BOP_MODEL_SEED=...` look further than CI does.
//!
//! What is not modelled stands in [`modelled`](crate::runtime::sync): the kernel's parking, weak memory.
//!
//! Invariant: nothing in a model depends on the clock or on chance that the scheduler does not have.
//!
//! Never: a copy of the engine's code.

use super::sync::time;
use super::{Clock, Joiner, Spawn};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};
use std::cell::Cell;

/// How often a model runs under each scheduler.
const ITERATIONS: usize = 2000;

/// The same of the whole engine.
const ENGINE_ITERATIONS: usize = 200;

/// Priorities change so often in a schedule of PCT: most bugs need fewer changes.
const PCT_DEPTH: usize = 3;

/// More steps than these are a loop that does not end.
const STEPS_MAX: usize = 200_000;

/// What the environment says, or `otherwise`.
fn number(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs a model in many schedules.
pub(crate) fn explore(body: fn()) {
    explore_in(ITERATIONS, "schedules", body);
}

/// Runs a model of the whole engine, whose schedules are a hundred times as long.
pub(crate) fn explore_engine(body: fn()) {
    explore_in(ENGINE_ITERATIONS, "engine schedules", body);
}

fn explore_in(iterations: usize, kind: &str, body: fn()) {
    if let Ok(schedule) = std::env::var("BOP_MODEL_SCHEDULE") {
        run(ReplayScheduler::new_from_encoded(&schedule), body);
        return;
    }
    let iterations = number("BOP_MODEL_ITERATIONS", iterations);
    let seed = number("BOP_MODEL_SEED", 1) as u64;
    let by_chance = RandomScheduler::new_from_seed(seed, iterations);
    let by_priority = PctScheduler::new_from_seed(seed, PCT_DEPTH, iterations);
    let count = run(by_chance, body) + run(by_priority, body);
    println!("proved: {count} {kind}");
}

/// Runs a model in so many schedules, twice: all that it tells [`trace`] must be the same.
pub(crate) fn run_twice(iterations: usize, body: fn()) {
    let seed = number("BOP_MODEL_SEED", 1) as u64;
    let [first, second] = [(); 2].map(|()| {
        TRACE.set(0);
        run(RandomScheduler::new_from_seed(seed, iterations), body);
        TRACE.get()
    });
    assert_ne!(first, 0, "nothing was told");
    assert_eq!(first, second, "seed {seed}");
}

thread_local! {
    /// Of what this thread's models told. A model's threads are all of one thread of the system.
    static TRACE: Cell<u64> = const { Cell::new(0) };
}

/// Tells what another run of the same schedule must come to.
pub(crate) fn trace(digest: u64) {
    TRACE.set(TRACE.get().rotate_left(9).wrapping_add(digest));
}

/// Answers in how many schedules it was run.
fn run(scheduler: impl Scheduler + 'static, body: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || {
        time::begin();
        body();
    })
}

/// Starts threads of the model.
#[derive(Debug)]
pub(crate) struct ModelSpawn;

struct ModelJoiner(shuttle::thread::JoinHandle<()>);

impl Joiner for ModelJoiner {
    fn join(self: Box<Self>) -> std::thread::Result<()> {
        self.0.join()
    }
}

impl Spawn for ModelSpawn {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send>,
    ) -> std::io::Result<Box<dyn Joiner>> {
        let named = shuttle::thread::Builder::new().name(name.to_owned());
        Ok(Box::new(ModelJoiner(named.spawn(body)?)))
    }
}

/// Tells the model's time.
#[derive(Debug)]
pub(crate) struct ModelClock;

impl ModelClock {
    /// When each model begins.
    const BEGINNING_US: u64 = 1_700_000_000_000_000;
}

impl Clock for ModelClock {
    fn wall_us(&self) -> u64 {
        Self::BEGINNING_US + self.monotonic_us()
    }

    fn monotonic_us(&self) -> u64 {
        time::passed().as_micros() as u64
    }
}
