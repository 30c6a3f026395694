//! The end of a round, for those who look and those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether the round is over.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        let _lock = self.lock();
        self.asked.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits so long, or until the end.
    pub(crate) fn wait(&self, length: Duration) {
        let until = Instant::now() + length;
        let mut lock = self.lock();
        while !self.is_set() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            lock = match self.changed.wait_timeout(lock, left) {
                Ok((lock, _)) => lock,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the round when its holder does, however that is.
pub(crate) struct StopsAtEnd<'a>(pub(crate) &'a Stop);

impl Drop for StopsAtEnd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set();
        }
    }
}
