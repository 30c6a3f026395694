//! The time of a model: it passes with each look at it, and jumps to the end of a wait that nobody ended.
//!
//! Invariants
//! - it never goes back;
//! - two runs of one schedule see the same times.
//!
//! Never: is that of the machine, inside a model.

use super::in_model;
use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// When each model begins.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Between two looks.
const TICK: Duration = Duration::from_micros(1);

thread_local! {
    /// Since the beginning. A model's threads are all of one thread of the system.
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A model begins.
pub(crate) fn begin() {
    PASSED.set(Duration::ZERO);
}

/// Since the model began.
pub(crate) fn passed() -> Duration {
    PASSED.set(PASSED.get() + TICK);
    PASSED.get()
}

/// `Instant::now`.
pub(crate) fn now() -> Instant {
    if in_model() {
        *BEGINNING + passed()
    } else {
        Instant::now()
    }
}

/// So late it is by now, at least.
pub(super) fn it_is(moment: Instant) {
    let passed = moment.saturating_duration_since(*BEGINNING);
    PASSED.set(PASSED.get().max(passed));
}
