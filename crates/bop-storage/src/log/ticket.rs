//! What a committer waits on, and what it is told.
//!
//! ```text
//!   Waiting --(made leader)--> Lead --(leads until its own record is done)--> Done --> Taken
//!   Waiting --(its batch is durable, failed or refused)---------------------> Done
//! ```
//!
//! Invariants
//! - a ticket is answered exactly once, whatever becomes of the batch: see
//!   [`Member`](super::member::Member);
//! - each waiter is woken by itself: a thread by its own parker, a task by its waker; one that is
//!   to be told is told by whoever answers, outside the ticket's locks.
//!
//! Never: calls anybody under a lock of its own, but what it publishes.

use super::member::{OnEnd, Placed, Publish};
use crate::error::CommitError;
use crate::runtime::fence;
use crate::runtime::sync::{self, AtomicBool, Mutex, Thread};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Instant;

/// How a record ended.
pub(crate) type Outcome = Result<Placed, CommitError>;

/// How often a waiter lets others run before it parks: a batch is often durable by then, and
/// parking and waking cost more than the write's rest.
const YIELDS: u32 = 2;

/// What a ticket says.
#[derive(Debug)]
enum Turn {
    Waiting,
    Lead,
    Done(Outcome),
    Taken,
}

/// Who is to be woken, or told.
enum Waiter {
    Nobody,
    Thread(Thread),
    Task(Waker),
    Told(Box<dyn OnEnd>),
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Thread(_) => "Thread",
            Self::Task(_) => "Task",
            Self::Told(_) => "Told",
        })
    }
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Nobody | Self::Told(_) => {}
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// What a wait ended with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Lead: write batches until this ticket is done.
    Lead,
    /// The record's end.
    Done(Outcome),
    /// The deadline passed.
    TimedOut,
}

/// A committer's place to wait.
pub(crate) struct Ticket {
    inner: Mutex<(Turn, Waiter)>,
    /// Set when there is something to say: to be looked at without the lock.
    spoken: AtomicBool,
    /// Taken by whoever makes the record visible. Its committer may make it ready before.
    publish: Mutex<Option<Box<dyn Publish>>>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.inner).finish()
    }
}

impl Ticket {
    pub(crate) fn new(publish: Box<dyn Publish>) -> Arc<Self> {
        Self::with(publish, Waiter::Nobody)
    }

    /// One that nobody waits on: its end is told.
    pub(crate) fn told(publish: Box<dyn Publish>, on_end: Box<dyn OnEnd>) -> Arc<Self> {
        Self::with(publish, Waiter::Told(on_end))
    }

    fn with(publish: Box<dyn Publish>, waiter: Waiter) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new((Turn::Waiting, waiter)),
            spoken: AtomicBool::new(false),
            publish: Mutex::new(Some(publish)),
        })
    }

    /// Makes what will be published ready, while the device writes.
    pub(crate) fn prepare(&self, at: Placed) {
        if let Some(publish) = self.publish.lock().as_mut() {
            publish.prepare(at);
        }
    }

    /// Makes a record visible that is exposed, unless that was done. Its committer and whoever writes
    /// it both come here, and each waits for the other. `false` when somebody was here before, or the
    /// record has failed: its outcome tells.
    pub(crate) fn publish_now(&self, at: Placed) -> bool {
        let mut publish = self.publish.lock();
        let taken = publish.take();
        let here = taken.is_some();
        if let Some(publish) = taken {
            publish.publish(at);
        }
        here
    }

    /// What makes the record visible, once.
    pub(crate) fn take_publish(&self) -> Option<Box<dyn Publish>> {
        self.publish.lock().take()
    }

    /// Waits until this ticket leads, is done, or `deadline` has passed.
    pub(crate) fn wait(&self, deadline: Instant) -> Answer {
        let mut yields = 0;
        while yields < YIELDS && !self.spoken.load(Ordering::Acquire) {
            sync::yield_now();
            yields += 1;
        }
        loop {
            if let Some(answer) = self.take(|| Waiter::Thread(sync::current_thread())) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::TimedOut;
            }
            sync::park_timeout(left);
        }
    }

    /// The same for a task, which never leads.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        match self.take(|| Waiter::Task(waker.clone())) {
            Some(Answer::Done(outcome)) => Poll::Ready(outcome),
            _ => Poll::Pending,
        }
    }

    /// What there is to say; else remembers who waits.
    fn take(&self, waiter: impl FnOnce() -> Waiter) -> Option<Answer> {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.0, Turn::Taken) {
            Turn::Lead => {
                inner.0 = Turn::Waiting;
                self.spoken.store(false, Ordering::Release);
                Some(Answer::Lead)
            }
            Turn::Done(outcome) => Some(Answer::Done(outcome)),
            other => {
                inner.0 = other;
                inner.1 = waiter();
                None
            }
        }
    }

    /// The outcome, if it is there already.
    pub(crate) fn take_outcome(&self) -> Option<Outcome> {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.0, Turn::Taken) {
            Turn::Done(outcome) => Some(outcome),
            other => {
                inner.0 = other;
                None
            }
        }
    }

    /// Whether it was made leader and does not know yet.
    pub(crate) fn is_to_lead(&self) -> bool {
        matches!(self.inner.lock().0, Turn::Lead)
    }

    /// Called under the queue's lock alone, see [`Ticket::is_to_lead`].
    pub(crate) fn make_leader(&self) {
        self.speak(Turn::Lead);
    }

    /// The record has ended.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.speak(Turn::Done(outcome));
    }

    fn speak(&self, turn: Turn) {
        let mut inner = self.inner.lock();
        let waiter = std::mem::replace(&mut inner.1, Waiter::Nobody);
        let (turn, told) = match (turn, waiter) {
            (Turn::Done(outcome), Waiter::Told(on_end)) => (Turn::Taken, Ok((on_end, outcome))),
            (turn, waiter) => (turn, Err(waiter)),
        };
        inner.0 = turn;
        self.spoken.store(true, Ordering::Release);
        drop(inner);
        match told {
            Err(waiter) => waiter.wake(),
            // A panic in it must not keep those behind from their answers.
            Ok((on_end, outcome)) => {
                if let Err(panic) = fence("told of a record's end", || on_end.ended(outcome)) {
                    tracing::error!(%panic, "whoever is told of a record's end panicked");
                }
            }
        }
    }
}
