//! The answer to one request: given once by a worker, waited for by whoever asked, on its thread or
//! as a future.
//!
//! ```text
//!   open --give--> given --taken by the asker--> gone
//!     '--the worker's side is dropped--> lost
//! ```
//! Invariants
//! - an answer that was given is not lost, and is taken once;
//! - whoever waits is woken when the worker's side goes without an answer, too.
//!
//! Never: runs anything of the asker under its lock.

use crate::runtime::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    answer: Option<T>,
    /// Nothing comes any more.
    over: bool,
    waker: Option<Waker>,
}

/// The worker's side.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

/// The asker's side.
pub(crate) struct Pending<T>(Arc<Shared<T>>);

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited<T> {
    Answer(T),
    /// The worker's side is gone, or the answer was taken before.
    Lost,
    TimedOut,
}

/// Both sides of a new request.
pub(crate) fn promise<T>() -> (Promise<T>, Pending<T>) {
    let state = State {
        answer: None,
        over: false,
        waker: None,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (Promise(Arc::clone(&shared)), Pending(shared))
}

impl<T> Promise<T> {
    /// Answers.
    pub(crate) fn give(self, answer: T) {
        self.0.state.lock().answer = Some(answer);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.over = true;
        let waker = state.waker.take();
        drop(state);
        self.0.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Pending<T> {
    /// Waits on this thread; without a deadline as long as it takes.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Waited<T> {
        let mut state = self.0.state.lock();
        while !state.over {
            match deadline {
                None => self.0.changed.wait(&mut state),
                Some(deadline) => {
                    let waited = self.0.changed.wait_until(&mut state, deadline);
                    if waited.timed_out() && !state.over {
                        return Waited::TimedOut;
                    }
                }
            }
        }
        state.answer.take().map_or(Waited::Lost, Waited::Answer)
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_over(&self) -> bool {
        self.0.state.lock().over
    }

    /// The same for a task; `None`: [`Waited::Lost`].
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state.lock();
        if state.over {
            return Poll::Ready(state.answer.take());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn an_answer_is_taken_once_and_a_dropped_promise_ends_the_wait() {
        let (give, take) = promise();
        let worker = thread::spawn(move || give.give(7));
        assert_eq!(take.wait(None), Waited::Answer(7));
        assert_eq!(take.wait(None), Waited::Lost);
        worker.join().unwrap();

        let (give, take) = promise::<u8>();
        assert_eq!(take.wait(Some(Instant::now())), Waited::TimedOut);
        assert!(!take.is_over());
        drop(give);
        assert!(take.is_over());
        assert_eq!(take.wait(None), Waited::Lost);
    }

    #[test]
    fn a_task_is_woken_by_the_answer() {
        let (give, take) = promise();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(take.poll(&mut context), Poll::Pending);
        give.give("done");
        assert_eq!(take.poll(&mut context), Poll::Ready(Some("done")));
    }
}
