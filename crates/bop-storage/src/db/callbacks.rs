//! Calls back those who appended to a record log and did not wait.
//!
//! ```text
//!   the log: record durable, or failed --> [waiting, in that order] --> thread `bop-callbacks`
//! ```
//! The log's threads and its committers only put calls here, so a callback that takes its time holds
//! up other callbacks and, once too many wait, other appends of this kind: never a write of the log.
//!
//! Invariants
//! - what was put here is called once, whatever the callbacks before it did; where the thread has
//!   ended, by whoever puts it here;
//! - nothing is called under a lock;
//! - the thread is started by the first append that needs it, and holds nothing of the store.
//!
//! Never: knows what became durable.

use crate::error::{RecordLogError, Rejection};
use crate::limits::ValidLimits;
use crate::runtime::sync::{Condvar, Mutex, ThreadId, elapsed, now, thread_id};
use crate::runtime::{Spawn, after, fence};
use std::collections::VecDeque;
use std::sync::Arc;

use std::time::{Duration, Instant};

/// Called once, when something is durable or has failed.
pub(super) type OnDurable = Box<dyn FnOnce(Result<(), RecordLogError>) + Send>;

type Call = Box<dyn FnOnce() + Send>;

/// The thread that calls back, and what waits for it.
pub(super) struct Callbacks {
    shared: Arc<Shared>,
    spawn: Arc<dyn Spawn>,
    waiting_max: usize,
    wait: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when something waits, and when something was called.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Call>,
    started: bool,
    /// The thread, while it runs.
    thread: Option<ThreadId>,
    /// It is in a callback.
    calling: bool,
    closed: bool,
}

impl std::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Callbacks({} wait)",
            self.shared.state.lock().waiting.len()
        )
    }
}

/// Puts calls where they wait.
#[derive(Clone)]
pub(super) struct Caller(Arc<Shared>);

impl Callbacks {
    pub(super) fn new(spawn: &Arc<dyn Spawn>, limits: &ValidLimits) -> Self {
        Self {
            shared: Arc::default(),
            spawn: Arc::clone(spawn),
            waiting_max: limits.queue_records_max,
            wait: limits.writer_wait,
        }
    }

    /// Waits until one more may wait, with a thread that calls it. A callback does not wait for
    /// those behind it.
    pub(super) fn caller(&self) -> Result<Caller, RecordLogError> {
        let started = now();
        let deadline = after(started, self.wait);
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(RecordLogError::Closed);
        }
        if !state.started {
            self.start().map_err(|source| RecordLogError::Thread {
                source: Arc::new(source),
            })?;
            state.started = true;
        }
        while self.waiting_max <= state.waiting.len() && !state.is_own_thread() {
            if state.closed {
                return Err(RecordLogError::Closed);
            }
            if deadline <= now() {
                let waited = elapsed(started);
                return Err(Rejection::Timeout { waited }.into());
            }
            self.shared.changed.wait_until(&mut state, deadline);
        }
        Ok(Caller(Arc::clone(&self.shared)))
    }

    fn start(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let body = move || shared.run();
        // It ends when all was called and nothing more comes: nobody has to wait for it.
        self.spawn.spawn("bop-callbacks", Box::new(body)).map(drop)
    }

    /// Lets the thread end, once all that waits was called. `false` when that is not so by `until`,
    /// since a callback takes longer.
    pub(super) fn close(&self, until: Instant) -> bool {
        let mut state = self.shared.state.lock();
        state.closed = true;
        self.shared.changed.notify_all();
        // The last handle may go away in a callback: that one is not waited for.
        while state.is_busy() && !state.is_own_thread() {
            if self
                .shared
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                return !state.is_busy();
            }
        }
        true
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl State {
    fn is_own_thread(&self) -> bool {
        self.thread == Some(thread_id())
    }

    fn is_busy(&self) -> bool {
        self.calling || !self.waiting.is_empty()
    }

    /// Whether something that is put here will be called.
    fn is_served(&self) -> bool {
        self.started && (!self.closed || self.is_busy())
    }
}

impl Caller {
    /// Has `on_durable` called with `outcome`.
    pub(super) fn call(&self, on_durable: OnDurable, outcome: Result<(), RecordLogError>) {
        let call: Call = Box::new(move || on_durable(outcome));
        let mut state = self.0.state.lock();
        if state.is_served() {
            state.waiting.push_back(call);
            self.0.changed.notify_all();
            return;
        }
        drop(state);
        run_fenced(call);
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        state.thread = Some(thread_id());
        loop {
            if let Some(call) = state.waiting.pop_front() {
                state.calling = true;
                drop(state);
                run_fenced(call);
                state = self.state.lock();
                state.calling = false;
                self.changed.notify_all();
            } else if state.closed {
                return;
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}

fn run_fenced(call: Call) {
    if let Err(panic) = fence("called back", call) {
        tracing::error!(%panic, "the callback of an append panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::runtime::SystemSpawn;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(30);

    fn callbacks(waiting_max: usize, wait: Duration) -> Callbacks {
        let mut limits = Limits::tiny();
        limits.queue_records_max = waiting_max;
        limits.writer_wait = wait;
        let spawn: Arc<dyn Spawn> = Arc::new(SystemSpawn);
        Callbacks::new(&spawn, &limits.validated().unwrap())
    }

    #[test]
    fn all_are_called_in_order_whatever_one_of_them_does() {
        let callbacks = callbacks(8, LONG);
        let (tell, told) = mpsc::channel();
        for nth in 0..20 {
            let tell = tell.clone();
            let call = move |_| {
                tell.send(nth).unwrap();
                assert_ne!(nth, 3, "on purpose");
            };
            callbacks.caller().unwrap().call(Box::new(call), Ok(()));
        }
        assert!(callbacks.close(after(Instant::now(), LONG)));
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
    }

    #[test]
    fn one_that_does_not_return_holds_up_appends_and_no_more() {
        let callbacks = callbacks(1, Duration::from_millis(1));
        let (go_on, goes_on) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let caller = callbacks.caller().unwrap();
        let began = tell.clone();
        let slow = move |_| {
            began.send(1).unwrap();
            goes_on.recv().unwrap();
        };
        caller.call(Box::new(slow), Ok(()));
        assert_eq!(told.recv_timeout(LONG), Ok(1));
        caller.call(Box::new(move |_| tell.send(2).unwrap()), Ok(()));
        let refused = callbacks.caller().err().unwrap();
        assert!(matches!(
            refused,
            RecordLogError::Commit(crate::error::CommitError::Rejected(
                Rejection::Timeout { .. }
            ))
        ));
        assert!(!callbacks.close(Instant::now()));
        go_on.send(()).unwrap();
        assert!(callbacks.close(after(Instant::now(), LONG)));
        assert_eq!(told.recv_timeout(LONG), Ok(2));
    }

    #[test]
    fn what_comes_when_the_thread_has_ended_is_called_all_the_same() {
        let callbacks = callbacks(8, LONG);
        let caller = callbacks.caller().unwrap();
        drop(callbacks);
        let (tell, told) = mpsc::channel();
        caller.call(
            Box::new(move |outcome| tell.send(outcome.is_ok()).unwrap()),
            Ok(()),
        );
        assert_eq!(told.recv_timeout(LONG), Ok(true));
    }
}
