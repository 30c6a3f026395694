//! What threads of the engine wait for each other with, and the time that they wait by: the one place to
//! import locks, condition variables, gates and moments from.
//!
//! In a program these are parking_lot's and the standard library's types themselves. In unit tests
//! they are wrappers with the same methods that also work inside a *model*: a test whose threads are
//! run one at a time, in schedules that `shuttle` chooses and can repeat.
//!
//! Invariant: outside unit tests nothing is added and no type is changed.
//!
//! What lives longer than a store, as the idle buffers do, has locks of the system: models run beside each
//! other in one process. Nobody comes to a point of a schedule while he holds one of those.
//!
//! Never: decides anything.

#[cfg(test)]
mod modelled;

#[cfg(not(test))]
pub(crate) use super::gate::Gate;
pub(crate) use super::gate::Mark;
#[cfg(test)]
pub(crate) use modelled::time::{self, now};
#[cfg(test)]
pub(crate) use modelled::{
    AtomicU64, Condvar, Gate, Mutex, MutexGuard, RwLock, ThreadId, patience_outside, thread_id,
    yield_now,
};
#[cfg(not(test))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(test))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(test))]
pub(crate) use std::thread::{ThreadId, yield_now};

use std::time::{Duration, Instant};

/// What time it is.
#[cfg(not(test))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long ago it was.
pub(crate) fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}

/// Which thread it is.
#[cfg(not(test))]
pub(crate) fn thread_id() -> ThreadId {
    std::thread::current().id()
}

/// How long a library may block its callers until something happens: `None` without end. Who is told so of
/// no time lets the others go on by [`yield_now`], and asks again.
#[cfg(not(test))]
pub(crate) fn patience_outside() -> Option<Duration> {
    None
}
