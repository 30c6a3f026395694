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
//! - threads park at the gate of the batch that their record joined first: those whose records end
//!   together are woken together, a new leader by itself; a task is woken by its waker;
//! - one that is to be told is told by whoever answers, outside the ticket's locks.
//!
//! Never: calls anybody under a lock of its own, but what it publishes.

use super::member::{OnEnd, Placed, Publish, Remains};
use crate::error::CommitError;
use crate::runtime::sync::{Gate, Mark, Mutex, now, yield_now};
use crate::runtime::{fence, wake_task};
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Instant;

/// How a record ended.
pub(crate) type Outcome = Result<Placed, CommitError>;

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
    Thread,
    Task(Waker),
    Told(Box<dyn OnEnd>),
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Thread => "Thread",
            Self::Task(_) => "Task",
            Self::Told(_) => "Told",
        })
    }
}

/// Where a ticket's thread parks.
#[derive(Debug)]
struct Seat {
    gate: Arc<Gate>,
    mark: Mark,
}

/// The gates of threads that have an answer: opened when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Crowd(SmallVec<[Arc<Gate>; 2]>);

impl Crowd {
    fn add(&mut self, gate: &Arc<Gate>) {
        // Mostly the last one's: they come in the order in which they joined their batches.
        if !self.0.last().is_some_and(|last| Arc::ptr_eq(last, gate)) {
            self.0.push(Arc::clone(gate));
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(|gate| gate.wake_all());
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

/// What makes the record visible.
struct Publisher {
    /// Until somebody takes it; its committer may make it ready before.
    publish: Option<Box<dyn Publish>>,
    /// What it left.
    remains: Remains,
}

/// A committer's place to wait.
pub(crate) struct Ticket {
    inner: Mutex<(Turn, Waiter)>,
    publisher: Mutex<Publisher>,
    seat: OnceLock<Seat>,
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
            publisher: Mutex::new(Publisher {
                publish: Some(publish),
                remains: None,
            }),
            seat: OnceLock::new(),
        })
    }

    /// Its record is the `nth` of a batch whose committers park at `gate`. Told before anybody waits;
    /// when the record moves to another batch, its thread stays where it is.
    pub(crate) fn sit(&self, gate: &Arc<Gate>, nth: usize) {
        self.seat.get_or_init(|| Seat {
            gate: Arc::clone(gate),
            mark: Mark::nth(nth),
        });
    }

    fn seat(&self) -> &Seat {
        self.seat.get_or_init(|| Seat {
            gate: Arc::default(),
            mark: Mark::nth(0),
        })
    }

    /// Makes what will be published ready, while the device writes.
    pub(crate) fn prepare(&self, at: Placed) {
        if let Some(publish) = &mut self.publisher.lock().publish
            && let Err(panic) = fence("prepared a commit", || publish.prepare(at))
        {
            // Whoever publishes it does that, too, and answers everybody if he cannot.
            tracing::error!(%panic, "a commit was not made ready");
        }
    }

    /// Makes a record visible that is exposed, unless that was done. Its committer and whoever writes
    /// it both come here, and each waits for the other. `false` when somebody was here before, or the
    /// record has failed: its outcome tells.
    pub(crate) fn publish_now(&self, at: Placed) -> bool {
        let mut publisher = self.publisher.lock();
        let remains = publisher.publish.take().map(|publish| publish.publish(at));
        drop(publisher);
        remains.is_some()
    }

    /// What makes the record visible, once.
    pub(crate) fn take_publish(&self) -> Option<Box<dyn Publish>> {
        self.publisher.lock().publish.take()
    }

    /// What it leaves goes with the last who has the ticket: a committer who waits for it.
    pub(crate) fn leave(&self, remains: Remains) {
        self.publisher.lock().remains = remains;
    }

    /// Lets others run, so often at most, until this ticket leads or is done.
    pub(crate) fn linger(&self, yields: u32) -> Option<Answer> {
        for _ in 0..yields {
            yield_now();
            // Nobody has to be woken meanwhile.
            if let Some(answer) = self.take(|| Waiter::Nobody) {
                return Some(answer);
            }
        }
        None
    }

    /// Waits until this ticket leads, is done, or `deadline` has passed.
    pub(crate) fn wait(&self, deadline: Instant) -> Answer {
        let seat = self.seat();
        loop {
            let seen = seat.gate.look();
            if let Some(answer) = self.take(|| Waiter::Thread) {
                return answer;
            }
            if deadline <= now() {
                return Answer::TimedOut;
            }
            seat.gate.wait(seen, seat.mark, deadline);
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
        if self.speak(Turn::Lead) {
            let Seat { gate, mark } = self.seat();
            gate.wake(*mark);
        }
    }

    /// The record has ended. A thread that waits for that joins the crowd, to be woken with it.
    pub(crate) fn finish(&self, outcome: Outcome, crowd: &mut Crowd) {
        if self.speak(Turn::Done(outcome)) {
            crowd.add(&self.seat().gate);
        }
    }

    /// Wakes a task, tells who is to be told; answers whether a thread is to be woken.
    fn speak(&self, turn: Turn) -> bool {
        let mut inner = self.inner.lock();
        let waiter = std::mem::replace(&mut inner.1, Waiter::Nobody);
        let (turn, waiter) = match (turn, waiter) {
            (Turn::Done(outcome), Waiter::Told(on_end)) => {
                inner.0 = Turn::Taken;
                drop(inner);
                tell(on_end, outcome);
                return false;
            }
            other => other,
        };
        inner.0 = turn;
        drop(inner);
        match waiter {
            Waiter::Nobody | Waiter::Told(_) => false,
            Waiter::Thread => true,
            Waiter::Task(waker) => {
                wake_task(waker);
                false
            }
        }
    }
}

/// A panic in it must not keep those behind from their answers.
fn tell(on_end: Box<dyn OnEnd>, outcome: Outcome) {
    if let Err(panic) = fence("told of a record's end", || on_end.ended(outcome)) {
        tracing::error!(%panic, "whoever is told of a record's end panicked");
    }
}
