//! The loads: each a thread's work on databases of its own.
//!
//! Invariants
//! - a load's data has a bound;
//! - what it was told is durable at the next opening, where it looks.

mod house;
mod names;
mod pages;
mod records;
mod sql;

use crate::Result;
use crate::stop::Stop;
use bop_libsql::Store;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long anybody waits for a writer's slot.
const WAIT: Duration = Duration::from_secs(30);

/// A thread's work.
pub(crate) trait Load: Send {
    /// What it is called.
    fn name(&self) -> String;

    /// Looks whether everything is there, and works until the end of the round.
    ///
    /// # Errors
    /// A call that fails, or a wrong answer.
    fn run(&mut self, store: &Store, stop: &Stop, commits: &AtomicU64) -> Result<()>;
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Load>> {
    let mut all: Vec<Box<dyn Load>> = Vec::new();
    for number in 0..4 {
        all.push(Box::new(sql::Sql::new(number)));
    }
    for number in 0..3 {
        all.push(Box::new(pages::Pages::new(number)));
        all.push(Box::new(records::Records::new(number)));
    }
    all.push(Box::new(names::Names::new()));
    all.push(Box::new(house::House));
    all
}

/// An error when two things differ.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}").into())
}
