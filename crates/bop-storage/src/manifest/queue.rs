//! Who waits for a transaction of the manifest: requests, in their order.
//!
//! ```text
//!   room --push--> waiting --take--> in the writer's batch --> answered
//!     |               |--withdrawn by the deadline of whoever asked--> never began
//!     |               '--given up, with all that come--> answered with the reason
//!     '--full--> waits for room until its deadline
//! ```
//! Invariants
//! - a request is answered once, or withdrawn before it began;
//! - at most [`REQUESTS_MAX`] wait; who finds no room waits for it, or is told.
//!
//! Never: runs a request.

use super::edit::Edit;
use crate::error::ManifestError;
use crate::runtime::sync::{Condvar, Mutex, elapsed, now};
use crate::runtime::{Pending, Promise, promise};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests that wait at most.
pub(super) const REQUESTS_MAX: usize = 4096;

/// A change of the rows, and whoever waits for it.
pub(super) trait Request: Send {
    /// Changes the rows; `Err` leaves nothing of what it changed.
    fn edit(&mut self, edit: &mut Edit<'_>) -> Result<(), ManifestError>;

    /// What was changed is durable, or nothing was to be changed.
    fn done(self: Box<Self>);

    /// Nothing was changed, or nobody knows.
    fn failed(self: Box<Self>, error: ManifestError);
}

/// A request that answers with a `T`.
struct Typed<T, F> {
    edit: Option<F>,
    answer: Option<T>,
    promise: Promise<Result<T, ManifestError>>,
}

impl<T, F> Request for Typed<T, F>
where
    T: Send,
    F: FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send,
{
    fn edit(&mut self, edit: &mut Edit<'_>) -> Result<(), ManifestError> {
        let work = self.edit.take().ok_or(ManifestError::Closed)?;
        self.answer = Some(work(edit)?);
        Ok(())
    }

    fn done(self: Box<Self>) {
        self.promise.give(self.answer.ok_or(ManifestError::Closed));
    }

    fn failed(self: Box<Self>, error: ManifestError) {
        self.promise.give(Err(error));
    }
}

/// The answer of a request, when it comes.
pub(super) type Answer<T> = Pending<Result<T, ManifestError>>;

/// A request for the queue, and where its answer comes.
pub(super) fn request<T, F>(edit: F) -> (Box<dyn Request>, Answer<T>)
where
    T: Send + 'static,
    F: FnOnce(&mut Edit<'_>) -> Result<T, ManifestError> + Send + 'static,
{
    let (promise, pending) = promise();
    let typed = Typed {
        edit: Some(edit),
        answer: None,
        promise,
    };
    (Box::new(typed), pending)
}

/// Names a request that waits.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestId(u64);

/// The requests that wait.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something waits, or nothing will any more.
    work: Condvar,
    room: Condvar,
}

struct Inner {
    waiting: VecDeque<(RequestId, Box<dyn Request>)>,
    next: u64,
    /// Why no more requests are taken, if so.
    closed: Option<ManifestError>,
}

impl Queue {
    pub(super) fn new() -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            next: 0,
            closed: None,
        };
        Self {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Lets a request wait. Without room it waits itself, until `deadline`, or as long as it takes.
    pub(super) fn push(
        &self,
        request: Box<dyn Request>,
        deadline: Option<Instant>,
    ) -> Result<RequestId, ManifestError> {
        let asked = now();
        let mut inner = self.inner.lock();
        while inner.closed.is_none() && REQUESTS_MAX <= inner.waiting.len() {
            let timed_out = match deadline {
                None => {
                    self.room.wait(&mut inner);
                    false
                }
                Some(deadline) => self.room.wait_until(&mut inner, deadline).timed_out(),
            };
            if timed_out && inner.closed.is_none() && REQUESTS_MAX <= inner.waiting.len() {
                let waited = elapsed(asked);
                return Err(ManifestError::Stalled { waited });
            }
        }
        if let Some(reason) = &inner.closed {
            return Err(reason.clone());
        }
        let id = RequestId(inner.next);
        inner.next += 1;
        inner.waiting.push_back((id, request));
        drop(inner);
        self.work.notify_one();
        Ok(id)
    }

    /// Takes a request back that has not begun; `false` when it has.
    pub(super) fn withdraw(&self, id: RequestId) -> bool {
        let mut inner = self.inner.lock();
        let before = inner.waiting.len();
        inner.waiting.retain(|(waiting, _)| *waiting != id);
        let withdrawn = inner.waiting.len() < before;
        drop(inner);
        if withdrawn {
            self.room.notify_one();
        }
        withdrawn
    }

    /// Whether a request has not begun.
    pub(super) fn is_waiting(&self, id: RequestId) -> bool {
        let inner = self.inner.lock();
        inner.waiting.iter().any(|(waiting, _)| *waiting == id)
    }

    /// The oldest request.
    pub(super) fn take(&self) -> Option<Box<dyn Request>> {
        let (_, request) = self.inner.lock().waiting.pop_front()?;
        self.room.notify_one();
        Some(request)
    }

    /// Waits for a request, for `patience` at most; `false` when none will come any more.
    pub(super) fn wait_for_work(&self, patience: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.waiting.is_empty() && inner.closed.is_none() {
            self.work.wait_for(&mut inner, patience);
        }
        !inner.waiting.is_empty() || inner.closed.is_none()
    }

    /// Takes no more requests; those that wait can still be taken.
    pub(super) fn close(&self) {
        let closed = ManifestError::Closed;
        self.inner.lock().closed.get_or_insert(closed);
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Takes no more requests, nor lets any of those that wait be written: they are handed out, to be
    /// answered.
    pub(super) fn give_up(&self, reason: &ManifestError) -> Vec<Box<dyn Request>> {
        let mut inner = self.inner.lock();
        inner.closed = Some(reason.clone());
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.room.notify_all();
        waiting.into_iter().map(|(_, request)| request).collect()
    }

    /// Why it was given up, if so.
    pub(super) fn failure(&self) -> Option<ManifestError> {
        let inner = self.inner.lock();
        let failed = |reason: &&ManifestError| !matches!(reason, ManifestError::Closed);
        inner.closed.as_ref().filter(failed).cloned()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} waiting)", self.inner.lock().waiting.len())
    }
}
