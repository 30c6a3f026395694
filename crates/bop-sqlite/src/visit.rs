//! Visits: what a thread does for a client of the control socket, in the store of the program that loaded the extension.
//!
//! ```text
//!   a thread of the server --within(hub)--> visits: names mean databases of that store, files that it opens keep
//!                                                   nothing open --back--> like any other thread
//! ```
//! Invariants
//! - a visit opens no store and keeps none open: a store ends with the last connection of its program, whoever visits;
//! - a name that is opened on a visit, and the journal of one, is in the store that is visited, or in none: also while
//!   that is being closed.
//!
//! Never: takes a lock.

use crate::hub::Hub;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static VISITED: RefCell<Option<Arc<Hub>>> = const { RefCell::new(None) };
}

/// Runs `visit` in a store.
pub(crate) fn within<T>(hub: &Arc<Hub>, visit: impl FnOnce() -> T) -> T {
    let before = VISITED.replace(Some(Arc::clone(hub)));
    let _back = Back(before);
    visit()
}

/// The store that this thread visits.
pub(crate) fn visited() -> Option<Arc<Hub>> {
    // A file may be closed when the thread's own variables are gone already.
    let visited = VISITED.try_with(|visited| visited.borrow().clone());
    visited.ok().flatten()
}

/// Ends the visit, also by a panic.
struct Back(Option<Arc<Hub>>);

impl Drop for Back {
    fn drop(&mut self) {
        VISITED.set(self.0.take());
    }
}
