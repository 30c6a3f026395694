//! The two threads of a log, however many committers it has.
//!
//! `bop-log` writes what no committer waits for: asynchronous commits at once, relaxed ones when
//! their time has come; and what a crowd waits for, so that none of them has to. `bop-log-retry`
//! rewrites what failed, watches the write in flight, and while one of `bop-log` does not return writes
//! what no committer waits for.
//!
//! Invariant: each ends when the log is stopped or dropped.
//!
//! Never: more threads than these.

use super::shared::Shared;
use super::state::{Background, State, Turn};
use crate::runtime::Joiner;
use crate::runtime::sync::{Mutex, MutexGuard, now};
use std::sync::Arc;
use std::time::Instant;

/// The threads, while they run.
#[derive(Default)]
pub(super) struct Threads {
    running: Mutex<Vec<Running>>,
    /// To be stopped when the log is dropped unstopped.
    shared: Option<Arc<Shared>>,
}

struct Running {
    joiner: Box<dyn Joiner>,
    ended: Arc<Mutex<bool>>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads({})", self.running.lock().len())
    }
}

/// What a thread does until the log is told to stop.
type Body = fn(&Shared);

/// Says that a thread has ended, however it did.
struct EndGuard {
    ended: Arc<Mutex<bool>>,
    shared: Arc<Shared>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let _state = self.shared.state.lock();
        *self.ended.lock() = true;
        self.shared.room.notify_all();
    }
}

impl Threads {
    /// Starts both threads, unless the log is to do without.
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let Some(spawn) = shared.parts.spawn.clone() else {
            return Ok(Self::default());
        };
        let threads = Self {
            running: Mutex::default(),
            shared: Some(Arc::clone(shared)),
        };
        let bodies: [(&str, Body); 2] = [
            ("bop-log", write_in_background),
            ("bop-log-retry", rewrite_in_background),
        ];
        for (name, body) in bodies {
            let ended = Arc::new(Mutex::new(false));
            let guard = EndGuard {
                ended: Arc::clone(&ended),
                shared: Arc::clone(shared),
            };
            let run = move || {
                body(&guard.shared);
                drop(guard);
            };
            let joiner = spawn.spawn(name, Box::new(run))?;
            threads.running.lock().push(Running { joiner, ended });
        }
        Ok(threads)
    }

    /// Ends them; `false` when one has not ended by `deadline`.
    pub(super) fn stop(&self, shared: &Shared, deadline: Instant) -> bool {
        let running = std::mem::take(&mut *self.running.lock());
        let mut state = shared.state.lock();
        state.stop = true;
        shared.work.notify_all();
        shared.failed.notify_all();
        while running.iter().any(|thread| !*thread.ended.lock()) {
            if shared.room.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        drop(state);
        let mut all = true;
        for thread in running {
            if *thread.ended.lock() {
                if thread.joiner.join().is_err() {
                    tracing::error!("a thread of the log panicked outside its work");
                }
            } else {
                all = false;
            }
        }
        all
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.state.lock().stop = true;
            shared.work.notify_all();
            shared.failed.notify_all();
        }
    }
}

/// Leads when it is called, or when records wait that no committer writes.
fn write_in_background(shared: &Shared) {
    let mut state = shared.state.lock();
    while !state.stop || state.turn == Turn::Called {
        if state.turn == Turn::Called {
            lead_in_background(shared, &mut state);
            continue;
        }
        match state.unattended_due() {
            Some(due) if due <= now() => {
                // What is due stays due until nothing waits: it may be the second batch.
                lead_in_background(shared, &mut state);
            }
            Some(due) => drop(shared.work.wait_until(&mut state, due)),
            None => shared.work.wait(&mut state),
        }
    }
}

/// Takes the turn, which is free or the caller's already.
fn lead_in_background(shared: &Shared, state: &mut MutexGuard<'_, State>) {
    state.turn = Turn::Led;
    state.background = Background::Leads;
    MutexGuard::unlocked(state, || shared.lead_on());
    state.background = Background::Waits;
}

/// Rewrites what failed, or does not come back; stands in for the background thread while that does not.
fn rewrite_in_background(shared: &Shared) {
    let look_again = shared.parts.limits.stall_limit / 4;
    let mut state = shared.state.lock();
    while !state.stop {
        let due = MutexGuard::unlocked(&mut state, || shared.take_stalled());
        if due {
            MutexGuard::unlocked(&mut state, || shared.rewrite());
            continue;
        }
        if state.stop || state.window_failed() {
            continue;
        }
        let unattended = match state.background {
            Background::Hangs => state.unattended_due(),
            Background::Waits | Background::Leads => None,
        };
        let look_again = crate::runtime::after(now(), look_again);
        match unattended {
            Some(due) if due <= now() => {
                // No more than it must: nobody watches what it writes.
                state.turn = Turn::Led;
                MutexGuard::unlocked(&mut state, || shared.lead_once());
            }
            due => {
                let wait = due.map_or(look_again, |due| due.min(look_again));
                shared.failed.wait_until(&mut state, wait);
            }
        }
    }
}
