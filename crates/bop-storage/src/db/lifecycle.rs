//! Whether the store is open, and who is inside.
//!
//! ```text
//!   Open --close--> Closing --(nobody left inside, or deadline)--> Closed
//! ```
//! Open     transactions begin and end, work is done
//! Closing  none begins; those inside go on until the deadline
//! Closed   transactions that are still inside get `Closed` from every call; no work is inside
//!
//! A *transaction* belongs to a user, who may keep it for ever: closing does not depend on it.
//! *Work* is a call that changes files or the manifest (a checkpoint, a catalogue change): the
//! store's lock is not released while one is inside.
//!
//! Never: ends a transaction itself.

use super::before_close::BeforeClose;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    Closing,
    Closed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    transactions: usize,
    work: usize,
}

impl State {
    fn count(&mut self, what: What) -> &mut usize {
        match what {
            What::Transaction => &mut self.transactions,
            What::Work => &mut self.work,
        }
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum What {
    Transaction,
    Work,
}

/// The phase of a store.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: Mutex<State>,
    changed: Condvar,
    /// Every call is refused, for the hot path.
    closed: AtomicBool,
    /// Who is told before anybody inside is waited for.
    pub(super) before_close: BeforeClose,
}

impl Lifecycle {
    pub(crate) fn new() -> Arc<Self> {
        let state = Mutex::new(State {
            phase: Phase::Open,
            transactions: 0,
            work: 0,
        });
        Arc::new(Self {
            state,
            changed: Condvar::new(),
            closed: AtomicBool::new(false),
            before_close: BeforeClose::default(),
        })
    }

    /// Counts a transaction in; `None` when the store is closing.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Inside> {
        self.let_in(What::Transaction)
    }

    /// Counts a piece of work in; `None` when the store is closing.
    pub(crate) fn enter_work(self: &Arc<Self>) -> Option<Inside> {
        self.let_in(What::Work)
    }

    fn let_in(self: &Arc<Self>, what: What) -> Option<Inside> {
        let mut state = self.state.lock();
        (state.phase == Phase::Open).then(|| {
            *state.count(what) += 1;
            Inside {
                lifecycle: Arc::clone(self),
                what,
            }
        })
    }

    /// Whether every call is to be refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether nobody is let in any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().phase != Phase::Open
    }

    /// Lets nobody in any more. The first caller has to close the store, and gets what tells the
    /// others when that is done.
    pub(crate) fn begin_close(self: &Arc<Self>) -> Option<Closing> {
        let mut state = self.state.lock();
        (state.phase == Phase::Open).then(|| {
            state.phase = Phase::Closing;
            Closing(Arc::clone(self))
        })
    }

    /// Waits until whoever closes the store has done so; tells how many transactions are inside
    /// when `until` comes first.
    pub(crate) fn wait_until_closed(&self, until: Instant) -> Result<(), usize> {
        let mut state = self.state.lock();
        while state.phase != Phase::Closed {
            if self.changed.wait_until(&mut state, until).timed_out()
                && state.phase != Phase::Closed
            {
                return Err(state.transactions);
            }
        }
        Ok(())
    }

    fn wait_for(&self, what: What, until: Instant) -> usize {
        let mut state = self.state.lock();
        while *state.count(what) > 0 {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        *state.count(what)
    }
}

/// A close that is going on. When it is dropped the store is closed, and whoever waited for that
/// goes on.
#[derive(Debug)]
pub(crate) struct Closing(Arc<Lifecycle>);

impl Closing {
    /// Waits for the transactions inside; tells how many are left at `until`.
    pub(crate) fn wait_for_transactions(&self, until: Instant) -> usize {
        self.0.wait_for(What::Transaction, until)
    }

    /// Waits for the work inside; `false` when some is left at `until`.
    pub(crate) fn wait_for_work(&self, until: Instant) -> bool {
        self.0.wait_for(What::Work, until) == 0
    }

    /// Every call is refused from now on.
    pub(crate) fn refuse_all(&self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.refuse_all();
        self.0.state.lock().phase = Phase::Closed;
        self.0.changed.notify_all();
    }
}

/// Counts a transaction, or a piece of work, until dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    lifecycle: Arc<Lifecycle>,
    what: What,
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.lifecycle.state.lock().count(self.what) -= 1;
        self.lifecycle.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now()
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn closing_waits_for_those_inside_and_lets_nobody_in() {
        let lifecycle = Lifecycle::new();
        let (transaction, work) = (lifecycle.enter().unwrap(), lifecycle.enter_work().unwrap());
        let closer = Arc::clone(&lifecycle);
        let closing = std::thread::spawn(move || {
            let closing = closer.begin_close().unwrap();
            (
                closing.wait_for_transactions(late()),
                closing.wait_for_work(late()),
            )
        });
        while lifecycle.enter().is_some() {
            std::thread::yield_now();
        }
        assert!(lifecycle.enter_work().is_none());
        assert!(!lifecycle.is_closed());
        drop((transaction, work));
        assert_eq!(closing.join().unwrap(), (0, true));
        assert!(lifecycle.is_closed());
        assert!(lifecycle.begin_close().is_none());
        assert_eq!(lifecycle.wait_until_closed(soon()), Ok(()));
    }

    #[test]
    fn the_deadline_tells_how_many_are_still_inside() {
        let lifecycle = Lifecycle::new();
        let _inside = lifecycle.enter().unwrap();
        let closing = lifecycle.begin_close().unwrap();
        assert_eq!(closing.wait_for_transactions(soon()), 1);
        assert!(closing.wait_for_work(soon()));
        assert!(lifecycle.begin_close().is_none());
        assert_eq!(lifecycle.wait_until_closed(soon()), Err(1));
        drop(closing);
        assert_eq!(lifecycle.wait_until_closed(soon()), Ok(()));
    }

    #[test]
    fn a_close_that_panics_leaves_nobody_waiting() {
        let lifecycle = Lifecycle::new();
        let closer = Arc::clone(&lifecycle);
        let panicked = std::thread::spawn(move || {
            let _closing = closer.begin_close().unwrap();
            panic!("while it closes");
        });
        panicked.join().unwrap_err();
        assert_eq!(lifecycle.wait_until_closed(late()), Ok(()));
    }
}
