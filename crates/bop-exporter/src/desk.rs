//! The asking, between threads that may wait and a runtime that may not.
//!
//! ```text
//!   an ask: idle --wanted, its answer is old--> queued --a thread takes it--> asked --answered--> idle
//!             '--wanted, its answer is fresh: given again   '-- wanted meanwhile: waits for the same answer
//!                                                           '-- wanted, asked for longer than the patience: no answer
//! ```
//! Invariants
//! - of each kind one ask at a time is on its way, however many want it;
//! - whoever wants an answer has one, good or bad, a little after the patience at the latest;
//! - those who wait are as many as there are connections: who left is forgotten.
//!
//! Never: asks with its lock held, or on the runtime's thread.

use bop_control::{Failure, Request};
use bop_storage::error::ErrorCode;
use hyper::body::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::options::Options;
use crate::source::Source;

/// What a source may take longer than it was told, so that what it says of it is heard.
const SLACK: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    Metrics,
    Status,
    Stats,
    List,
    Space,
}

impl Ask {
    const ALL: [Self; 5] = [
        Self::Metrics,
        Self::Status,
        Self::Stats,
        Self::List,
        Self::Space,
    ];

    fn request(self) -> Request {
        match self {
            Self::Metrics => Request::Metrics,
            Self::Status => Request::Status {
                every_ms: None,
                redraw: false,
            },
            Self::Stats => Request::Stats,
            Self::List => Request::List,
            Self::Space => Request::Space { database: None },
        }
    }

    const fn is_json(self) -> bool {
        !matches!(self, Self::Metrics)
    }
}

/// What came of an ask.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// When it was answered.
    pub(crate) at: Instant,
    /// What was.
    pub(crate) outcome: Result<Bytes, Failure>,
}

/// One kind of ask.
#[derive(Default)]
struct Slot {
    newest: Option<Arc<Answer>>,
    /// Since when it is on its way.
    asked: Option<Instant>,
    waiting: Vec<oneshot::Sender<Arc<Answer>>>,
}

#[derive(Default)]
struct Slots {
    all: [Slot; Ask::ALL.len()],
    queue: VecDeque<Ask>,
    is_closed: bool,
}

impl Slots {
    fn of(&mut self, ask: Ask) -> &mut Slot {
        // Each kind has its place, in the order in which they are declared.
        &mut self.all[ask as usize]
    }
}

/// Where answers are to be had.
pub(crate) struct Desk {
    source: Arc<dyn Source>,
    patience: Duration,
    fresh_for: Duration,
    slots: Mutex<Slots>,
    wanted: Condvar,
}

/// What whoever wants an answer gets.
enum Taken {
    Here(Arc<Answer>),
    Coming(oneshot::Receiver<Arc<Answer>>),
}

impl Desk {
    pub(crate) fn new(source: Arc<dyn Source>, options: &Options) -> Self {
        Self {
            source,
            patience: options.patience,
            fresh_for: options.fresh_for,
            slots: Mutex::default(),
            wanted: Condvar::new(),
        }
    }

    /// The answer, fresh enough or asked for now.
    pub(crate) async fn answer(&self, ask: Ask) -> Arc<Answer> {
        match self.take(ask) {
            Taken::Here(answer) => answer,
            Taken::Coming(coming) => {
                match tokio::time::timeout(self.patience + SLACK, coming).await {
                    Ok(Ok(answer)) => answer,
                    _ => self.no_answer(),
                }
            }
        }
    }

    fn take(&self, ask: Ask) -> Taken {
        let mut slots = self.slots.lock();
        let is_closed = slots.is_closed;
        let slot = slots.of(ask);
        if let Some(newest) = &slot.newest
            && newest.at.elapsed() < self.fresh_for
        {
            return Taken::Here(Arc::clone(newest));
        }
        let is_late = slot
            .asked
            .is_some_and(|since| self.patience + SLACK < since.elapsed());
        if is_closed || is_late {
            return Taken::Here(self.no_answer());
        }
        let (sender, coming) = oneshot::channel();
        slot.waiting.retain(|waiting| !waiting.is_closed());
        slot.waiting.push(sender);
        if slot.asked.is_none() {
            slot.asked = Some(Instant::now());
            slots.queue.push_back(ask);
            self.wanted.notify_one();
        }
        Taken::Coming(coming)
    }

    fn no_answer(&self) -> Arc<Answer> {
        let seconds = self.patience.as_secs_f32();
        let message = format!("the store did not answer within {seconds} s");
        Arc::new(Answer {
            at: Instant::now(),
            outcome: Err(Failure::new(ErrorCode::Control, message)),
        })
    }

    /// Asks what is wanted, until the desk is closed. For threads that may wait.
    pub(crate) fn work(&self) {
        while let Some(ask) = self.next() {
            let outcome = self.ask(ask);
            let answer = Arc::new(Answer {
                at: Instant::now(),
                outcome,
            });
            let waiting = {
                let mut slots = self.slots.lock();
                let slot = slots.of(ask);
                slot.asked = None;
                slot.newest = Some(Arc::clone(&answer));
                std::mem::take(&mut slot.waiting)
            };
            for one in waiting {
                // Who left needs none.
                let _ = one.send(Arc::clone(&answer));
            }
        }
    }

    fn next(&self) -> Option<Ask> {
        let mut slots = self.slots.lock();
        loop {
            if slots.is_closed {
                return None;
            }
            if let Some(ask) = slots.queue.pop_front() {
                return Some(ask);
            }
            self.wanted.wait(&mut slots);
        }
    }

    fn ask(&self, ask: Ask) -> Result<Bytes, Failure> {
        let until = Instant::now() + self.patience;
        let source = AssertUnwindSafe(&self.source);
        let answered = catch_unwind(|| source.answer(&ask.request(), ask.is_json(), until));
        let answered = answered.unwrap_or_else(|_| {
            let message = format!("the store panicked over {ask:?}");
            Err(Failure::new(ErrorCode::Control, message))
        });
        answered.map(Bytes::from)
    }

    /// Nothing is asked any more, and who waits has no answer.
    pub(crate) fn close(&self) {
        let mut slots = self.slots.lock();
        slots.is_closed = true;
        slots.queue.clear();
        for slot in &mut slots.all {
            slot.waiting.clear();
        }
        self.wanted.notify_all();
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("patience", &self.patience)
            .field("fresh_for", &self.fresh_for)
            .finish_non_exhaustive()
    }
}
