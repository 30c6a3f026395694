//! Seeds: which ones run, and what is printed when one fails.

use crate::ground::Ground;

/// The seeds of a test: those it asks for, or the one that the environment names.
pub(crate) fn seeds(wanted: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("BOP_CRASH_SEED") {
        Ok(seed) => vec![seed.parse().expect("BOP_CRASH_SEED is a number")],
        Err(_) => wanted.collect(),
    }
}

/// Whether one seed is run again: budgets of a whole run are not asked then.
pub(crate) fn is_replay() -> bool {
    std::env::var_os("BOP_CRASH_SEED").is_some()
}

/// Prints how to run a seed again when the test panics while this lives.
pub(crate) struct Replay {
    test: &'static str,
    ground: Ground,
    seed: u64,
}

impl Replay {
    pub(crate) fn new(test: &'static str, ground: Ground, seed: u64) -> Self {
        Self { test, ground, seed }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, ground, seed } = self;
            eprintln!(
                "seed {seed} failed on {ground}; again: \
                 BOP_CRASH_SEED={seed} cargo test -p bop-storage --test crash {test}"
            );
        }
    }
}

/// Of how many calls one is tried: `stride`, or every single one where the environment asks for all.
pub(crate) fn one_of(stride: usize) -> usize {
    if std::env::var_os("BOP_CRASH_ALL").is_some() {
        1
    } else {
        stride
    }
}
