//! Threads that read segments ahead of the walk.
//!
//! ```text
//! Waiting --(a helper, or the walk itself, takes it)--> Taken --> Done --(the walk)--> Given
//!                                                         '--(a helper panicked)--> Waiting
//! ```
//! Invariants
//! - the walk gets the segments in their order, and the same of each as if it had read it itself:
//!   how many threads there are changes nothing but the time;
//! - what was read ahead takes [`AHEAD_BYTES_MAX`] and one segment more: a helper that comes to it
//!   waits, unless the walk waits for that helper's segment;
//! - all threads have ended when the readers are dropped.
//!
//! Never: judges what it reads.

use super::reading::{Read, Reading, Refused};
use crate::runtime::sync::{Condvar, Mutex};
use crate::runtime::{Joiner, Spawn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes of what was read and the walk has not come to. With the buffers of the threads, 1 MiB or
/// the largest batch each, opening stays inside 64 MiB.
const AHEAD_BYTES_MAX: usize = 32 << 20;

/// Who reads beside the walk.
#[derive(Copy, Clone, Debug)]
pub struct Helpers<'a> {
    spawn: &'a dyn Spawn,
    threads_max: usize,
}

impl<'a> Helpers<'a> {
    /// No more threads than this, however many cores there are.
    const THREADS_MAX: usize = 4;

    /// As many threads as help: one for each core, up to four.
    pub fn new(spawn: &'a dyn Spawn) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::at_most(spawn, cores.min(Self::THREADS_MAX))
    }

    /// So many threads at most; with 0 the walk reads alone.
    pub fn at_most(spawn: &'a dyn Spawn, threads_max: usize) -> Self {
        Self { spawn, threads_max }
    }
}

enum Slot {
    Waiting,
    Taken,
    Done(Result<Read, Refused>),
    Given,
}

struct State {
    slots: Vec<Slot>,
    /// Bytes that each reading keeps, and all of them.
    kept: Vec<usize>,
    kept_in_all: usize,
    /// The one that the walk is at.
    current: usize,
    stopped: bool,
}

struct Shared {
    readings: Vec<Reading>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The segments, being read.
pub(super) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<Box<dyn Joiner>>,
}

impl Readers {
    pub(super) fn start(readings: Vec<Reading>, helpers: Helpers<'_>) -> Self {
        let count = readings.len();
        let state = State {
            slots: (0..count).map(|_| Slot::Waiting).collect(),
            kept: vec![0; count],
            kept_in_all: 0,
            current: 0,
            stopped: false,
        };
        let shared = Arc::new(Shared {
            readings,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        // A single segment needs no help.
        let wanted = helpers.threads_max.min(count.saturating_sub(1));
        let spawned = (0..wanted).map_while(|_| {
            let shared = Arc::clone(&shared);
            let spawned = helpers
                .spawn
                .spawn("bop-recovery", Box::new(move || shared.help()));
            // The walk reads what nobody else does.
            spawned.ok()
        });
        let threads = spawned.collect();
        Self { shared, threads }
    }

    /// What a segment says. They are asked for in their order, each once.
    pub(super) fn take(&self, index: usize) -> Result<Read, Refused> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if let Some(before) = index.checked_sub(1) {
            state.kept_in_all -= std::mem::take(&mut state.kept[before]);
        }
        state.current = index;
        shared.changed.notify_all();
        loop {
            match std::mem::replace(&mut state.slots[index], Slot::Given) {
                Slot::Done(read) => return read,
                Slot::Waiting => {
                    drop(state);
                    return shared.readings[index].run(&|bytes| shared.keep(index, bytes));
                }
                other => state.slots[index] = other,
            }
            shared.changed.wait(&mut state);
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of recovery panicked outside its work");
            }
        }
    }
}

impl Shared {
    fn help(&self) {
        while let Some(index) = self.next() {
            let read = || self.readings[index].run(&|bytes| self.keep(index, bytes));
            let read = catch_unwind(AssertUnwindSafe(read));
            // The walk meets the same panic, where it is seen.
            let slot = read.map_or(Slot::Waiting, Slot::Done);
            self.state.lock().slots[index] = slot;
            self.changed.notify_all();
        }
    }

    /// The next segment that nobody reads, when there is room for it.
    fn next(&self) -> Option<usize> {
        let mut state = self.state.lock();
        loop {
            let from = state.current;
            let mut ahead = state.slots[from..].iter();
            let at = from + ahead.position(|slot| matches!(slot, Slot::Waiting))?;
            if state.stopped {
                return None;
            }
            if state.kept_in_all < AHEAD_BYTES_MAX || at == state.current {
                state.slots[at] = Slot::Taken;
                return Some(at);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Counts bytes that the reading of a segment keeps, and waits while they are too many.
    fn keep(&self, index: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.kept[index] += bytes;
        state.kept_in_all += bytes;
        while AHEAD_BYTES_MAX < state.kept_in_all && index != state.current && !state.stopped {
            self.changed.wait(&mut state);
        }
    }
}
