//! Something happened: threads and tasks that wait for the next time are woken by it.
//!
//! Invariant: whoever looked at the count before it looked at what it waits for misses nothing.
//!
//! Never: says what happened; panics since a task's waker does.

use super::panics::fence;
use crate::runtime::sync::{Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Counts what happens, and wakes who waits for more.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<(u64, Vec<Waker>)>,
    rung: Condvar,
}

/// Wakes a task. That its waker panics is no business of whoever wakes it, nor of those who are woken behind it.
pub(crate) fn wake_task(waker: Waker) {
    if let Err(panic) = fence("woke a task", || waker.wake()) {
        tracing::error!(%panic, "a task's waker panicked");
    }
}

impl Bell {
    /// It happened again.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        state.0 += 1;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.rung.notify_all();
        wakers.into_iter().for_each(wake_task);
    }

    /// How often it happened.
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().0
    }

    /// Waits until it has happened more than `seen` times; `false` when it has not by `deadline`.
    pub(crate) fn wait_past(&self, seen: u64, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.0 <= seen {
            if self.rung.wait_until(&mut state, deadline).timed_out() && state.0 <= seen {
                return false;
            }
        }
        true
    }

    /// The same for a task.
    pub(crate) fn poll_past(&self, seen: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if seen < state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|one| one.will_wake(context.waker())) {
            state.1.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;
    use std::thread;
    use std::time::Duration;

    struct Bad;

    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    #[derive(Default)]
    struct Good(AtomicBool);

    impl Wake for Good {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_is_nobody_elses_trouble() {
        let bell = Bell::default();
        let good = Arc::new(Good::default());
        for waker in [Waker::from(Arc::new(Bad)), Waker::from(Arc::clone(&good))] {
            let mut context = Context::from_waker(&waker);
            assert_eq!(bell.poll_past(0, &mut context), Poll::Pending);
        }
        bell.ring();
        assert!(good.0.load(Ordering::Relaxed));
        assert_eq!(bell.count(), 1);
    }

    #[test]
    fn who_waits_is_woken_and_who_looked_before_misses_nothing() {
        let bell = Arc::new(Bell::default());
        let seen = bell.count();
        assert!(!bell.wait_past(seen, Instant::now()));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(bell.poll_past(seen, &mut context), Poll::Pending);
        let waits = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.wait_past(seen, Instant::now() + Duration::from_secs(50)))
        };
        bell.ring();
        assert!(waits.join().unwrap());
        assert_eq!(bell.poll_past(seen, &mut context), Poll::Ready(()));
    }
}
