//! Answer: one value from a thread to a task.
//!
//! ```text
//!   open --send--> answered --poll--> taken
//!    |  '--sender dropped--> answered: closed
//!    '--asker dropped--> unwanted: the sender is told, and need not begin
//! ```
//!
//! Invariant: an asker that waits is woken by whatever ends the sender.

use super::PoolError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

struct State<T> {
    value: Option<Result<T, PoolError>>,
    waker: Option<Waker>,
    wanted: bool,
    /// A value was sent; it may have been taken.
    sent: bool,
}

/// Who answers.
pub(super) struct Answerer<T>(Arc<Mutex<State<T>>>);

/// Who waits for the answer.
pub(super) struct Asker<T>(Arc<Mutex<State<T>>>);

/// A question and its answer.
pub(super) fn new<T>() -> (Answerer<T>, Asker<T>) {
    let state = Arc::new(Mutex::new(State {
        value: None,
        waker: None,
        wanted: true,
        sent: false,
    }));
    (Answerer(Arc::clone(&state)), Asker(state))
}

impl<T> Answerer<T> {
    /// Whether anybody waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.lock().wanted
    }

    /// Answers.
    pub(super) fn send(self, value: Result<T, PoolError>) {
        self.set(value);
    }

    fn set(&self, value: Result<T, PoolError>) {
        let waker = {
            let mut state = self.0.lock();
            if state.sent {
                return;
            }
            state.sent = true;
            state.value = Some(value);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Answerer<T> {
    fn drop(&mut self) {
        self.set(Err(PoolError::Closed));
    }
}

impl<T> Asker<T> {
    /// The answer, once; pending for ever after that.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<T, PoolError>> {
        let mut state = self.0.lock();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Asker<T> {
    fn drop(&mut self) {
        self.0.lock().wanted = false;
    }
}
