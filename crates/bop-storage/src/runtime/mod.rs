//! The effects of the outside world that are not files: time, randomness, threads.
//!
//! Invariants
//! - the engine reads a clock, draws a random byte and starts a thread through these traits alone,
//!   so that a simulator can stand in for all of them;
//! - no order of events is ever derived from the wall clock: it only labels.
//!
//! Never: touches a file (that is [`Disk`](crate::io::Disk)).

mod answer;
mod backoff;
mod bell;
mod breaker;
mod errands;
mod gate;
#[cfg(test)]
pub(crate) mod models;
mod panics;
mod process;
pub(crate) mod sync;
mod system;

pub(crate) use answer::{Pending, Promise, Waited, promise};
pub(crate) use backoff::{Backoff, jitter};
pub(crate) use bell::{Bell, wake_task};
pub(crate) use breaker::Breaker;
pub use breaker::{BreakerState, BreakerStatus};
pub(crate) use errands::{Errands, Soon};
pub use panics::PanicReport;
pub(crate) use panics::fence;
pub(crate) use process::ProcessUsage;
use system::boot_id;
pub use system::{SystemClock, SystemEntropy, SystemSpawn};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since the Unix epoch. May jump; used as a label, made monotone by the log.
    fn wall_us(&self) -> u64;

    /// Microseconds since some fixed moment. Never goes backwards.
    fn monotonic_us(&self) -> u64;
}

/// Draws random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes` with random bytes.
    ///
    /// # Errors
    /// The operating system's error when it has none to give.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// Waits for a thread that [`Spawn`] started.
pub trait Joiner: Send {
    /// Returns when the thread has ended; `Err` carries the payload of its panic.
    ///
    /// # Errors
    /// The panic that ended the thread.
    fn join(self: Box<Self>) -> std::thread::Result<()>;
}

/// Starts threads.
pub trait Spawn: Send + Sync + fmt::Debug {
    /// Runs `body` on a thread of its own called `name` (at most 15 bytes show in `ps`).
    ///
    /// # Errors
    /// The operating system's error when it can start no more threads.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>)
    -> std::io::Result<Box<dyn Joiner>>;
}

/// Which process has the store open: written down, so that people can tell whose it was.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ProcessIdentity {
    /// The kernel's name for this boot of the machine; zeros where there is none to be had.
    pub boot: [u8; 16],
    /// The process's number.
    pub pid: u32,
}

/// The effects together, cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Starts threads.
    pub spawn: Arc<dyn Spawn>,
    /// Says who we are.
    pub process: ProcessIdentity,
}

impl Runtime {
    /// The operating system's clock, randomness and threads, and this process.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            spawn: Arc::new(SystemSpawn),
            process: ProcessIdentity {
                boot: boot_id(),
                pid: std::process::id(),
            },
        }
    }
}

/// The moment `wait` behind `start`; a wait without end ends in thirty years.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    start.checked_add(wait.min(LONG)).unwrap_or(start)
}
