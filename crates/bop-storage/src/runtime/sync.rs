//! What threads of the log wait for each other with: the one place to import locks, condition
//! variables, atomics and parking from.
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

#[cfg(test)]
pub(crate) use modelled::{
    AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Thread, current_thread, park_timeout,
    yield_now,
};
#[cfg(not(test))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(test))]
pub(crate) use std::thread::{Thread, current as current_thread, park_timeout, yield_now};
