//! What threads of the log wait for each other with: the one place to import locks, condition
//! variables, atomics and gates from.
//!
//! In a program these are parking_lot's and the standard library's types themselves. In unit tests
//! they are wrappers with the same methods that also work inside a *model*: a test whose threads are
//! run one at a time, in schedules that `shuttle` chooses and can repeat.
//!
//! Invariant: outside unit tests nothing is added and no type is changed.
//!
//! Never: decides anything.

#[cfg(test)]
mod modelled;

#[cfg(not(test))]
pub(crate) use super::gate::Gate;
pub(crate) use super::gate::Mark;
#[cfg(test)]
pub(crate) use modelled::{AtomicU64, Condvar, Gate, Mutex, MutexGuard, yield_now};
#[cfg(not(test))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(test))]
pub(crate) use std::thread::yield_now;
