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
//! Transactions come and go too often for a lock that all databases share: they are counted in one word,
//! of which the highest bit says that none is let in. Who goes while that is set wakes whoever closes.
//!
//! Never: ends a transaction itself.

use super::before_close::BeforeClose;
use crate::runtime::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    work: usize,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum What {
    Transaction,
    Work,
}

/// Set in the count of transactions when no more are let in.
const SHUT: usize = 1 << (usize::BITS - 1);

/// The phase of a store.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: Mutex<State>,
    /// Transactions inside, and [`SHUT`].
    transactions: AtomicUsize,
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
            work: 0,
        });
        Arc::new(Self {
            state,
            transactions: AtomicUsize::new(0),
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
        self.count_in(what).then(|| Inside {
            lifecycle: Arc::clone(self),
            what,
            is_counted: true,
        })
    }

    fn count_in(&self, what: What) -> bool {
        match what {
            What::Transaction => {
                // Whoever is refused was never counted: somebody may be waiting for the count.
                let one_more = |count| (count & SHUT == 0).then_some(count + 1);
                let counted =
                    self.transactions
                        .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
                counted.is_ok()
            }
            What::Work => {
                let mut state = self.state.lock();
                let is_open = state.phase == Phase::Open;
                state.work += usize::from(is_open);
                is_open
            }
        }
    }

    fn count_out(&self, what: What) {
        match what {
            What::Transaction => {
                let before = self.transactions.fetch_sub(1, Ordering::AcqRel);
                if before & SHUT == 0 {
                    return;
                }
                // Whoever waits has looked at the count and sleeps, or will look.
                drop(self.state.lock());
            }
            What::Work => self.state.lock().work -= 1,
        }
        self.changed.notify_all();
    }

    fn count(&self, what: What, state: &State) -> usize {
        match what {
            What::Transaction => self.transactions.load(Ordering::Acquire) & !SHUT,
            What::Work => state.work,
        }
    }

    /// Whether every call is to be refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether nobody is let in any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.transactions.load(Ordering::Acquire) & SHUT != 0
    }

    /// Lets nobody in any more. The first caller has to close the store, and gets what tells the
    /// others when that is done.
    pub(crate) fn begin_close(self: &Arc<Self>) -> Option<Closing> {
        let mut state = self.state.lock();
        (state.phase == Phase::Open).then(|| {
            state.phase = Phase::Closing;
            self.transactions.fetch_or(SHUT, Ordering::AcqRel);
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
                return Err(self.count(What::Transaction, &state));
            }
        }
        Ok(())
    }

    fn wait_for(&self, what: What, until: Instant) -> usize {
        let mut state = self.state.lock();
        while self.count(what, &state) > 0 {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        self.count(what, &state)
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
    is_counted: bool,
}

impl Inside {
    /// Counts no more.
    pub(crate) fn leave(mut self) -> Outside {
        self.is_counted = false;
        self.lifecycle.count_out(self.what);
        Outside(self)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.is_counted {
            self.lifecycle.count_out(self.what);
        }
    }
}

/// Of somebody who was inside and may come in again.
#[derive(Debug)]
pub(crate) struct Outside(Inside);

impl Outside {
    /// Counts again; `None` when the store is closing.
    pub(crate) fn enter(self) -> Option<Inside> {
        let Self(mut inside) = self;
        inside.is_counted = inside.lifecycle.count_in(inside.what);
        inside.is_counted.then_some(inside)
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
    fn who_has_left_is_not_waited_for_and_comes_in_again_while_it_is_open() {
        let lifecycle = Lifecycle::new();
        let outside = lifecycle.enter().unwrap().leave();
        let inside = outside.enter().unwrap();
        let other = lifecycle.enter().unwrap().leave();
        let closing = lifecycle.begin_close().unwrap();
        assert!(other.enter().is_none());
        assert_eq!(closing.wait_for_transactions(soon()), 1);
        let outside = inside.leave();
        assert_eq!(closing.wait_for_transactions(late()), 0);
        assert!(outside.enter().is_none());
        assert_eq!(closing.wait_for_transactions(soon()), 0);
    }

    #[test]
    fn whoever_is_refused_is_never_waited_for() {
        let lifecycle = Lifecycle::new();
        let closing = lifecycle.begin_close().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(lifecycle.enter().is_none());
                }
            });
            let waited = (0..100_000).map(|_| closing.wait_for_transactions(soon()));
            let most = waited.max();
            over.store(true, Ordering::Relaxed);
            assert_eq!(most, Some(0));
        });
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
