//! The writer slot of a database: one holder, the others wait in the order they came.
//!
//! ```text
//!            acquire                    release, queue empty
//!   Free ---------------> Held --------------------------------> Free
//!                          |  ^
//!       acquire: queued ---'  '--- release: handed to the oldest waiter
//!   any -- close --> Closed (waiters are told, nobody gets it any more)
//! ```
//! A guard can be shared: whoever holds the slot past the end of a transaction has one of his own.
//!
//! Invariants
//! - the slot is handed over, never thrown open: a newcomer cannot overtake a waiter;
//! - whoever waits in pieces keeps the place of its ticket: it stands before all that came later,
//!   whenever it is there;
//! - it is released with the last of its guards;
//! - a waiter whose deadline passes leaves the queue; if the slot reached it in that moment it
//!   keeps it.
//!
//! Never: knows what a transaction is.

use crate::runtime::after;
use crate::runtime::sync::{Condvar, Mutex, now};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Why the slot was not given.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum SlotRefusal {
    /// Somebody holds it and the deadline passed.
    Busy,
    /// The store or the database is closed.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    /// Guards that there are.
    guards: usize,
    closed: bool,
    /// By ticket, ascending.
    waiters: VecDeque<Arc<Waiter>>,
    tickets: u64,
}

impl State {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}

/// A place in the queue of one slot: smaller is earlier.
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug, Default)]
struct Waiter {
    ticket: Ticket,
    /// Set under the slot's lock, so that a handed slot is never lost.
    given: Mutex<Option<Result<(), SlotRefusal>>>,
    woken: Condvar,
}

/// The slot. Cheap when nobody else wants it.
#[derive(Debug, Default)]
pub(crate) struct WriterSlot {
    state: Mutex<State>,
}

/// Holds the slot until dropped, on whatever thread that is.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    slot: Arc<WriterSlot>,
}

impl WriterSlot {
    /// Waits at most `wait` for the slot; a zero wait answers at once.
    pub(crate) fn acquire(self: &Arc<Self>, wait: Duration) -> Result<SlotGuard, SlotRefusal> {
        self.acquire_at(None, wait)
    }

    /// A place behind all that have one.
    pub(super) fn ticket(&self) -> Ticket {
        self.state.lock().ticket()
    }

    /// The same at the place of a ticket, which may be used again and again.
    pub(super) fn acquire_at(
        self: &Arc<Self>,
        ticket: Option<Ticket>,
        wait: Duration,
    ) -> Result<SlotGuard, SlotRefusal> {
        let waiter = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(SlotRefusal::Closed);
            }
            if state.guards == 0 {
                state.guards = 1;
                return Ok(SlotGuard {
                    slot: Arc::clone(self),
                });
            }
            if wait.is_zero() {
                return Err(SlotRefusal::Busy);
            }
            let ticket = match ticket {
                Some(ticket) => ticket,
                None => state.ticket(),
            };
            let waiter = Arc::new(Waiter {
                ticket,
                ..Waiter::default()
            });
            let place = state
                .waiters
                .partition_point(|other| other.ticket <= ticket);
            state.waiters.insert(place, Arc::clone(&waiter));
            waiter
        };
        self.await_turn(&waiter, wait)
    }

    fn await_turn(
        self: &Arc<Self>,
        waiter: &Arc<Waiter>,
        wait: Duration,
    ) -> Result<SlotGuard, SlotRefusal> {
        let deadline = after(now(), wait);
        let mut given = waiter.given.lock();
        while given.is_none() {
            if waiter.woken.wait_until(&mut given, deadline).timed_out() {
                break;
            }
        }
        drop(given);
        let mut state = self.state.lock();
        let answer = *waiter.given.lock();
        match answer {
            Some(Ok(())) => Ok(SlotGuard {
                slot: Arc::clone(self),
            }),
            Some(Err(refusal)) => Err(refusal),
            None => {
                state.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                Err(SlotRefusal::Busy)
            }
        }
    }

    /// Refuses everybody from now on; the present holder keeps it until it lets go.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for waiter in state.waiters.drain(..) {
            *waiter.given.lock() = Some(Err(SlotRefusal::Closed));
            waiter.woken.notify_one();
        }
    }

    fn release(&self) {
        let mut state = self.state.lock();
        if state.guards > 1 {
            state.guards -= 1;
            return;
        }
        match state.waiters.pop_front() {
            Some(next) => {
                *next.given.lock() = Some(Ok(()));
                next.woken.notify_one();
            }
            None => state.guards = 0,
        }
    }
}

impl SlotGuard {
    /// A second guard of the same slot, which is held until both are gone.
    pub(crate) fn share(&self) -> Self {
        self.slot.state.lock().guards += 1;
        Self {
            slot: Arc::clone(&self.slot),
        }
    }

    /// Whether it holds this slot.
    pub(crate) fn holds(&self, slot: &Arc<WriterSlot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.slot.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(30);

    fn wait_for_waiters(slot: &WriterSlot, count: usize) {
        while slot.state.lock().waiters.len() != count {
            thread::yield_now();
        }
    }

    #[test]
    fn one_holder_and_busy_at_once_without_a_wait() {
        let slot = Arc::new(WriterSlot::default());
        let held = slot.acquire(Duration::ZERO).unwrap();
        assert_eq!(slot.acquire(Duration::ZERO).unwrap_err(), SlotRefusal::Busy);
        assert_eq!(
            slot.acquire(Duration::from_millis(1)).unwrap_err(),
            SlotRefusal::Busy
        );
        drop(held);
        slot.acquire(Duration::ZERO).unwrap();
    }

    #[test]
    fn waiters_are_served_in_the_order_they_came() {
        let slot = Arc::new(WriterSlot::default());
        let held = slot.acquire(Duration::ZERO).unwrap();
        let (served, order) = mpsc::channel();
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (slot_of_thread, served) = (Arc::clone(&slot), served.clone());
                let thread = thread::spawn(move || {
                    let guard = slot_of_thread.acquire(LONG).unwrap();
                    served.send(number).unwrap();
                    drop(guard);
                });
                wait_for_waiters(&slot, number + 1);
                thread
            })
            .collect();
        drop(held);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_ticket_keeps_its_place_while_its_owner_is_away() {
        let slot = Arc::new(WriterSlot::default());
        let held = slot.acquire(Duration::ZERO).unwrap();
        let early = slot.ticket();
        let away = slot.acquire_at(Some(early), Duration::from_millis(1));
        assert_eq!(away.unwrap_err(), SlotRefusal::Busy);
        let (served, order) = mpsc::channel();
        let threads: Vec<_> = [None, Some(early)]
            .into_iter()
            .enumerate()
            .map(|(nth, ticket)| {
                let (of_thread, served) = (Arc::clone(&slot), served.clone());
                let thread = thread::spawn(move || {
                    let guard = of_thread.acquire_at(ticket, LONG).unwrap();
                    served.send(ticket).unwrap();
                    drop(guard);
                });
                wait_for_waiters(&slot, nth + 1);
                thread
            })
            .collect();
        drop(held);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [Some(early), None]);
    }

    #[test]
    fn a_shared_slot_is_free_when_the_last_of_its_guards_is_gone() {
        let slot = Arc::new(WriterSlot::default());
        let other = Arc::new(WriterSlot::default());
        let held = slot.acquire(Duration::ZERO).unwrap();
        let shared = held.share();
        assert!(shared.holds(&slot) && !shared.holds(&other));
        let waiting = Arc::clone(&slot);
        let waiter = thread::spawn(move || waiting.acquire(LONG).map(drop));
        wait_for_waiters(&slot, 1);
        drop(held);
        assert_eq!(slot.state.lock().waiters.len(), 1);
        drop(shared);
        waiter.join().unwrap().unwrap();
        slot.acquire(Duration::ZERO).unwrap();
    }

    #[test]
    fn closing_answers_every_waiter_and_every_newcomer() {
        let slot = Arc::new(WriterSlot::default());
        let held = slot.acquire(Duration::ZERO).unwrap();
        let waiting = Arc::clone(&slot);
        let waiter = thread::spawn(move || waiting.acquire(LONG).map(drop));
        wait_for_waiters(&slot, 1);
        slot.close();
        assert_eq!(waiter.join().unwrap(), Err(SlotRefusal::Closed));
        assert_eq!(slot.acquire(LONG).unwrap_err(), SlotRefusal::Closed);
        drop(held);
        assert_eq!(slot.acquire(LONG).unwrap_err(), SlotRefusal::Closed);
    }
}
