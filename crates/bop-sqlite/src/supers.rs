//! Super-journals: the files by which SQLite makes a transaction over several databases one.
//!
//! ```text
//!   created, members named --phase one of each member--> staged --deleted--> all of them are committed
//!        |                          |                                           '--fails--> broken
//!        '--a member rolls back-----'--> broken --deleted--> nothing happens
//! ```
//! SQLite asks whether the file is there when it rolls a member back, and believes the member committed if
//! it is not: so a broken one stays until all of its members are rolled back. The first one that is deletes
//! it, since it finds no journals of the others.
//!
//! Invariant: a group is committed as a whole or not at all: once a member has been rolled back, nothing
//! that is left of it counts.
//!
//! Never: names a file of another VFS. A transaction over databases of a store and plain files could not
//! be atomic, so it is refused when SQLite names its members, before anything is written.

use crate::scratch::Scratch;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One super-journal.
#[derive(Debug, Default)]
pub(crate) struct Super {
    /// The names of the members' journals, each with a NUL behind it.
    pub(crate) content: Mutex<Scratch>,
    broken: AtomicBool,
}

impl Super {
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// Those of one store, by their full names.
#[derive(Debug, Default)]
pub(crate) struct Supers(Mutex<HashMap<String, Arc<Super>>>);

impl Supers {
    /// Opens one; creates it when it is not there.
    pub(crate) fn open_or_create(&self, name: &str) -> Arc<Super> {
        Arc::clone(self.0.lock().entry(name.to_owned()).or_default())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Super>> {
        self.0.lock().get(name).map(Arc::clone)
    }

    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// A member was rolled back.
    pub(crate) fn break_up(&self, name: &str) {
        if let Some(found) = self.find(name) {
            found.broken.store(true, Ordering::Release);
        }
    }

    /// The connection whose main database that is was closed.
    pub(crate) fn forget_of(&self, main: &str) {
        let mut all = self.0.lock();
        all.retain(|name, _| {
            name.strip_prefix(main)
                .is_none_or(|rest| !rest.starts_with("-mj"))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_broken_stays_until_it_is_removed() {
        let supers = Supers::default();
        assert!(supers.find("/s/a-mj1").is_none());
        let made = supers.open_or_create("/s/a-mj1");
        made.content.lock().write(b"x", 0).unwrap();
        assert!(!made.is_broken());
        supers.break_up("/s/a-mj1");
        let found = supers.find("/s/a-mj1").unwrap();
        assert!(found.is_broken());
        assert_eq!(found.content.lock().bytes(), 1);
        supers.remove("/s/a-mj1");
        assert!(supers.find("/s/a-mj1").is_none());
    }

    #[test]
    fn those_of_a_closed_connection_are_forgotten() {
        let supers = Supers::default();
        for name in ["/s/a-mj1", "/s/a-b-mj1", "/s/b-mj1"] {
            supers.open_or_create(name);
        }
        supers.forget_of("/s/a");
        assert!(supers.find("/s/a-mj1").is_none());
        assert!(supers.find("/s/a-b-mj1").is_some());
        assert!(supers.find("/s/b-mj1").is_some());
    }
}
