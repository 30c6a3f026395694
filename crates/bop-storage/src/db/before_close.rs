//! What else belongs to an open store, and ends before it: a server on its socket, for one.
//!
//! Invariant: each is told once, while the store's lock is still held.
//!
//! Never: calls anybody with its own lock held.

use super::manager::Manager;
use crate::runtime::sync::Mutex;
use std::fmt;

/// Whoever is to be told that the store is about to be closed.
#[derive(Default)]
pub(super) struct BeforeClose(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl BeforeClose {
    fn add(&self, told: Box<dyn FnOnce() + Send>) {
        self.0.lock().push(told);
    }

    /// Tells all of them.
    pub(super) fn tell(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        for told in all {
            told();
        }
    }
}

impl fmt::Debug for BeforeClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.lock().len();
        f.debug_tuple("BeforeClose").field(&count).finish()
    }
}

impl Manager {
    /// Has `told` called once when the store is about to be closed, by whoever closes it: before transactions
    /// inside are waited for, and while the store's lock is held. It must not wait for anything, nor hold a
    /// handle of the store: the store would never be closed by being dropped.
    pub fn before_close(&self, told: impl FnOnce() + Send + 'static) {
        self.engine.lifecycle().before_close.add(Box::new(told));
    }
}
