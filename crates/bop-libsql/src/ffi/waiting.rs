//! SQLite's pauses between two attempts to write, which are waits for a turn.
//!
//! The pause (`xSleep`) names neither connection nor database. It comes on the thread, and right after,
//! the busy answer of `xBeginWriteTransaction`, which leaves a note here.
//!
//! Invariants
//! - a note is used once, and only within [`NOTE_LIFE`]: after a busy answer that nobody waits for,
//!   another pause is no wait for that turn; it keeps nothing open;
//! - a connection is asked for its interrupt only as long as it is open: its WAL forgets it first.

use crate::turns::Place;
use libsql_ffi as ffi;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

const NOTE_LIFE: Duration = Duration::from_millis(5);

/// A pager that may have to wait.
pub(super) struct Waiter {
    place: Arc<Place>,
    connection: Mutex<Connection>,
}

/// Null once it is closed.
struct Connection(*mut ffi::sqlite3);

// SAFETY: used for `sqlite3_is_interrupted` alone, which any thread may call while it is open.
unsafe impl Send for Connection {}

thread_local! {
    static NOTE: RefCell<Option<(Weak<Waiter>, Instant)>> = const { RefCell::new(None) };
}

impl Waiter {
    /// Of a connection that is open until [`Waiter::forget`].
    pub(super) fn new(place: Arc<Place>, connection: *mut ffi::sqlite3) -> Arc<Self> {
        Arc::new(Self {
            place,
            connection: Mutex::new(Connection(connection)),
        })
    }

    /// The connection is about to be closed.
    pub(super) fn forget(&self) {
        self.connection.lock().0 = std::ptr::null_mut();
    }

    /// Somebody called `sqlite3_interrupt`.
    pub(super) fn is_interrupted(&self) -> bool {
        let connection = self.connection.lock();
        // SAFETY: not null, so it is open, and stays so while the lock is held.
        !connection.0.is_null() && unsafe { ffi::sqlite3_is_interrupted(connection.0) != 0 }
    }

    /// The next pause on this thread is a wait for its turn.
    pub(super) fn note(self: &Arc<Self>) {
        NOTE.set(Some((Arc::downgrade(self), Instant::now())));
    }
}

/// Waits for a turn instead of the pause; `false` when the pause is none after a busy answer.
pub(super) fn wait(pause: Duration) -> bool {
    let fresh = NOTE.take().filter(|(_, since)| since.elapsed() < NOTE_LIFE);
    match fresh.and_then(|(waiter, _)| waiter.upgrade()) {
        Some(waiter) => {
            waiter.place.await_turn(pause, || waiter.is_interrupted());
            true
        }
        _ => false,
    }
}
