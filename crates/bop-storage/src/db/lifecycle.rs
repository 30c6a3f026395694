//! Whether the store is open, and how many transactions are inside.
//!
//! ```text
//!   Open --close--> Closing --(no transaction left, or deadline)--> Closed
//! ```
//! Open     transactions begin and end
//! Closing  none begins; those inside go on until the deadline
//! Closed   those still inside get `Closed` from every call
//!
//! Never: ends a transaction itself.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Closed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    inside: usize,
}

/// The phase of a store.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: Mutex<State>,
    changed: Condvar,
    /// The phase `Closed`, for the hot path.
    closed: AtomicBool,
}

/// Who was first to close, and so has to do the work.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Closing {
    /// The caller closes; so many transactions were still inside at the deadline.
    Mine {
        /// Transactions that did not end in time.
        still_inside: usize,
    },
    /// Somebody else closed it, and is done.
    Done,
}

impl Lifecycle {
    pub(crate) fn new() -> Arc<Self> {
        let state = Mutex::new(State {
            phase: Phase::Open,
            inside: 0,
        });
        Arc::new(Self {
            state,
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Counts a transaction in; `None` when the store is closing.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Inside> {
        let mut state = self.state.lock();
        (state.phase == Phase::Open).then(|| {
            state.inside += 1;
            Inside {
                lifecycle: Arc::clone(self),
            }
        })
    }

    /// Whether every call is to be refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets no more transactions in and waits for those inside, at most `deadline`.
    pub(crate) fn begin_close(&self, deadline: Duration) -> Closing {
        let until = Instant::now() + deadline;
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            while state.phase != Phase::Closed {
                self.changed.wait(&mut state);
            }
            return Closing::Done;
        }
        state.phase = Phase::Closing;
        while state.inside > 0 {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        Closing::Mine {
            still_inside: state.inside,
        }
    }

    /// The store is closed; whoever waited for that goes on.
    pub(crate) fn end_close(&self) {
        self.state.lock().phase = Phase::Closed;
        self.closed.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}

/// Counts a transaction until dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    lifecycle: Arc<Lifecycle>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.lifecycle.state.lock().inside -= 1;
        self.lifecycle.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_waits_for_those_inside_and_lets_nobody_in() {
        let lifecycle = Lifecycle::new();
        let inside = lifecycle.enter().unwrap();
        let closer = Arc::clone(&lifecycle);
        let closing = std::thread::spawn(move || closer.begin_close(Duration::from_secs(30)));
        while lifecycle.enter().is_some() {
            std::thread::yield_now();
        }
        assert!(!lifecycle.is_closed());
        drop(inside);
        assert_eq!(closing.join().unwrap(), Closing::Mine { still_inside: 0 });
        lifecycle.end_close();
        assert!(lifecycle.is_closed());
        assert_eq!(lifecycle.begin_close(Duration::ZERO), Closing::Done);
    }

    #[test]
    fn the_deadline_tells_how_many_are_still_inside() {
        let lifecycle = Lifecycle::new();
        let _inside = lifecycle.enter().unwrap();
        assert_eq!(
            lifecycle.begin_close(Duration::ZERO),
            Closing::Mine { still_inside: 1 }
        );
    }
}
