//! Models of the log: its real code, run in thousands of chosen schedules.
//!
//! A model's threads run one at a time, and at each lock, condition variable, atomic, park and device
//! write a scheduler decides who goes on: at random, and by priorities with few changes (PCT). A
//! deadlock, a panic and a broken assertion fail the model and print the schedule.
//!
//! - `BOP_MODEL_SCHEDULE='...'` with the schedule that a model printed runs that one again;
//! - `BOP_MODEL_ITERATIONS=...` and `BOP_MODEL_SEED=...` look further than CI does.
//!
//! What is not modelled stands in [`modelled`](crate::runtime::sync): time, the kernel's parking, weak
//! memory.
//!
//! Invariant: nothing in a model depends on the clock or on chance that the scheduler does not have.
//!
//! Never: a copy of the log's code.

mod disk;
mod exposed;
mod hand_off;
mod panics;
mod publication;
mod rig;
mod shutdown;
mod swap;

pub(crate) use disk::moment;
pub(crate) use rig::{record, start_log};

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// How often a model runs under each scheduler.
const ITERATIONS: usize = 2000;

/// Priorities change so often in a schedule of PCT: most bugs need fewer changes.
const PCT_DEPTH: usize = 3;

/// More steps than these are a loop that does not end.
const STEPS_MAX: usize = 200_000;

fn number(name: &str, otherwise: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs a model in many schedules.
pub(crate) fn explore(body: fn()) {
    if let Ok(schedule) = std::env::var("BOP_MODEL_SCHEDULE") {
        return run(ReplayScheduler::new_from_encoded(&schedule), body);
    }
    let iterations = number("BOP_MODEL_ITERATIONS", ITERATIONS);
    let seed = number("BOP_MODEL_SEED", 1) as u64;
    run(RandomScheduler::new_from_seed(seed, iterations), body);
    run(
        PctScheduler::new_from_seed(seed, PCT_DEPTH, iterations),
        body,
    );
}

fn run(scheduler: impl Scheduler + 'static, body: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(body);
}
