//! The run-time state of one record log: its index, its writer, what it keeps of the log.
//!
//! Invariants
//! - one writer at a time, from its plan to the publication of its record (also when nobody waits
//!   for it any more: the guard travels with the record); the publication of an append that is not
//!   waited for is before it is durable;
//! - the lock is held for looks at memory alone, never during I/O, so readers do not wait for a
//!   writer;
//! - an idle log costs less than 200 bytes: a test counts.
//!
//! Never: does I/O.

use super::index::LogIndex;
use crate::ids::{DbId, Lsn};
use crate::runtime::after;
use crate::runtime::sync::{Condvar, Mutex, MutexGuard, now};
use std::sync::Arc;
use std::time::Duration;

/// Why nobody may write to a record log.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum WriterRefusal {
    /// Somebody writes, and the deadline passed.
    Busy,
    /// It was dropped.
    Dropped,
}

/// What is behind the lock.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) index: LogIndex,
    /// The oldest position that it keeps, at or below what it needs; zero without one.
    pub(super) held: Lsn,
    busy: bool,
    dropped: bool,
    /// How a write ended is not known: none may follow it.
    doubtful: bool,
    /// A part of it was found damaged since the store was opened; the registry knows which.
    pub(super) damaged: bool,
    /// It needs nothing of the log any more: what it has there is kept elsewhere.
    pub(super) closed: bool,
}

impl Inner {
    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }
}

/// One record log of an open store.
#[derive(Debug)]
pub(crate) struct RecordState {
    id: DbId,
    inner: Mutex<Inner>,
    freed: Condvar,
}

impl RecordState {
    pub(super) fn new(id: DbId, index: LogIndex) -> Self {
        let inner = Inner {
            index,
            ..Inner::default()
        };
        Self {
            id,
            inner: Mutex::new(inner),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn id(&self) -> DbId {
        self.id
    }

    /// The state, for a short look.
    pub(crate) fn look(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Waits at most `wait` to be the only writer.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        wait: Duration,
    ) -> Result<Arc<RecordWriter>, WriterRefusal> {
        let deadline = after(now(), wait);
        let mut inner = self.inner.lock();
        loop {
            if inner.dropped {
                return Err(WriterRefusal::Dropped);
            }
            if !inner.busy {
                inner.busy = true;
                let state = Arc::clone(self);
                return Ok(Arc::new(RecordWriter { state }));
            }
            if self.freed.wait_until(&mut inner, deadline).timed_out() && inner.busy {
                return Err(WriterRefusal::Busy);
            }
        }
    }

    /// The log is gone: its handles answer `Dropped` from now on.
    pub(crate) fn mark_dropped(&self) {
        self.inner.lock().dropped = true;
        self.freed.notify_all();
    }

    /// How a write ended is not known: no write follows until the store is opened again.
    pub(crate) fn mark_doubtful(&self) {
        self.inner.lock().doubtful = true;
    }
}

/// The only writer of a record log until it is dropped, on whatever thread that is.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    state: Arc<RecordState>,
}

impl RecordWriter {
    pub(crate) fn state(&self) -> &Arc<RecordState> {
        &self.state
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        self.state.inner.lock().busy = false;
        self.state.freed.notify_one();
    }
}

/// An idle log costs less than 200 bytes: the allocation with its two counters, an entry in the map of the logs
/// and one in the set of holds, of whose nodes a third is empty. Locks that models look into are larger.
#[cfg(not(test))]
const _: () = {
    let state = size_of::<RecordState>() + 2 * size_of::<usize>();
    let in_map = (size_of::<DbId>() + size_of::<usize>()) * 3 / 2;
    let in_holds = (size_of::<Lsn>() + size_of::<DbId>()) * 3 / 2;
    assert!(state + in_map + in_holds < 200);
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn an_idle_log_keeps_nothing_of_what_it_held() {
        let mut index = LogIndex::default();
        let items = vec![
            super::super::Item {
                place: Lsn::new(1),
                term: 1,
                hash: 0,
                bytes: 1
            };
            999
        ];
        index.apply(
            &super::super::Change::Append { first: 1, items },
            Lsn::new(8),
        );
        index.apply(
            &super::super::Change::Purge {
                first: 1000,
                term: 1,
            },
            Lsn::new(9),
        );
        assert_eq!(index.items.capacity(), 0, "what it once held costs nothing");
    }

    #[test]
    fn one_writer_at_a_time_and_the_next_one_is_woken() {
        let state = Arc::new(RecordState::new(DbId::new(1), LogIndex::default()));
        let held = state.acquire(Duration::ZERO).unwrap();
        assert_eq!(
            state.acquire(Duration::ZERO).unwrap_err(),
            WriterRefusal::Busy
        );
        let waiting = Arc::clone(&state);
        let waiter = thread::spawn(move || waiting.acquire(LONG).map(drop));
        drop(held);
        waiter.join().unwrap().unwrap();
        let held = state.acquire(Duration::ZERO).unwrap();
        let waiting = Arc::clone(&state);
        let waiter = thread::spawn(move || waiting.acquire(LONG).map(drop));
        state.mark_dropped();
        assert_eq!(waiter.join().unwrap(), Err(WriterRefusal::Dropped));
        drop(held);
    }
}
