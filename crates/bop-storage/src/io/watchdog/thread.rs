//! The one thread of a watchdog.
//!
//! Invariant: it sleeps until the next call can be late, or one that was late returns; it holds the
//! watchdog, and nothing that holds a store.

use super::Watchdog;
use crate::runtime::sync::now;
use crate::runtime::{Joiner, Spawn, after};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The shortest sleep, for deadlines that are as good as none.
const SLEEP_MIN_US: u64 = 1_000;

impl Watchdog {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's when it can start no more.
    pub fn start(self: &Arc<Self>, spawn: &dyn Spawn) -> std::io::Result<WatchThread> {
        let watchdog = Arc::clone(self);
        let body = move || {
            watchdog.late.lock().thread = Some(thread::current().id());
            while watchdog.sleep(watchdog.look()) {}
        };
        let joiner = spawn.spawn("bop-watchdog", Box::new(body))?;
        Ok(WatchThread {
            watchdog: Arc::clone(self),
            joiner: Some(joiner),
        })
    }

    /// Sleeps until a moment of the monotonic clock, or something to tell; `false` at the end.
    fn sleep(&self, until_us: u64) -> bool {
        let wait_us = until_us.saturating_sub(self.clock.monotonic_us());
        let wait = Duration::from_micros(wait_us.max(SLEEP_MIN_US));
        let until = after(now(), wait);
        let mut late = self.late.lock();
        while !late.stopping && late.returned.is_empty() {
            if self.changed.wait_until(&mut late, until).timed_out() {
                break;
            }
        }
        !late.stopping
    }

    /// Whether the calling thread is the watchdog's.
    fn is_current(&self, thread: ThreadId) -> bool {
        self.late.lock().thread == Some(thread)
    }
}

/// The running thread; dropping it ends it.
pub struct WatchThread {
    watchdog: Arc<Watchdog>,
    joiner: Option<Box<dyn Joiner>>,
}

impl std::fmt::Debug for WatchThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WatchThread({:?})", self.watchdog)
    }
}

impl Drop for WatchThread {
    fn drop(&mut self) {
        self.watchdog.late.lock().stopping = true;
        self.watchdog.changed.notify_all();
        // A sink may be the last that has what has this.
        if self.watchdog.is_current(thread::current().id()) {
            return;
        }
        if let Some(joiner) = self.joiner.take()
            && joiner.join().is_err()
        {
            tracing::error!("the watchdog panicked");
        }
    }
}
