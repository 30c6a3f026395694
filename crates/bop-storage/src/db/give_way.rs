//! How a checkpoint gives way to commits.
//!
//! ```text
//! between two pages --the slice is not over--> on
//!                   --it is, and nobody committed meanwhile--> the next slice
//!                   --it is, and somebody did--> rest as long as it took --> the next slice
//! ```
//! While somebody commits errands are gentle, too: a commit waits for the device behind what is on its way there,
//! and mebibytes of a checkpoint are milliseconds.
//!
//! Invariants
//! - on a store where nobody commits a checkpoint never rests;
//! - nor does one when five eighths of the log are taken, or three quarters of the page index: commits are let
//!   in more slowly from a segment before three quarters of the log on, and must not wait for one that rests.
//!
//! Never: rests with a lock that a commit takes.

use super::engine::Engine;
use crate::ids::Lsn;
use crate::runtime::sync::now;
use crate::runtime::{Errands, after};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Work between two looks at what others do: no commit waits for a processor for much longer.
const SLICE: Duration = Duration::from_millis(1);
/// Of one slice, which a page that is slow to read can make long.
const REST_MAX: Duration = Duration::from_millis(10);

/// Where a checkpoint is in its slice.
struct Slice {
    began: Cell<Instant>,
    /// The end of the log then.
    published: Cell<Lsn>,
    errands: Arc<Errands>,
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.errands.be_gentle(false);
    }
}

impl Engine {
    /// What whoever copies pages calls between two of them; `true`: the store is being closed, and it is to stop.
    pub(super) fn between_pages(&self) -> impl Fn() -> bool + '_ {
        let slice = self.begin_slice();
        move || {
            self.keep_house_between_pages();
            self.give_way(&slice);
            self.signals.is_stopping()
        }
    }

    fn begin_slice(&self) -> Slice {
        Slice {
            began: Cell::new(now()),
            published: Cell::new(self.log.published()),
            errands: Arc::clone(&self.errands),
        }
    }

    fn give_way(&self, slice: &Slice) {
        let looked = now();
        let took = looked - slice.began.get();
        if took < SLICE {
            return;
        }
        let published = self.log.published();
        let before = slice.published.replace(published);
        let gives_way = before < published && !self.is_hurried();
        slice.errands.be_gentle(gives_way);
        if gives_way {
            self.meters.checkpoint_rests();
            self.signals.pause(after(looked, took.min(REST_MAX)));
        }
        slice.began.set(now());
    }

    /// Whether commits may soon wait for what a checkpoint frees, or somebody waits for its end.
    fn is_hurried(&self) -> bool {
        let log_bytes_most = self.limits.log_bytes_max / 8 * 5;
        self.signals.is_stopping()
            || self.log.ring().held_bytes() >= log_bytes_most
            || self.index_is_filling()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Db, Manager, simulated};
    use super::*;
    use crate::ids::{DbKind, PageNo};
    use crate::limits::Limits;
    use crate::testing::SimDisk;

    const MOST: usize = 2 << 20;

    fn open() -> (Manager, Db) {
        let store = simulated::new(&SimDisk::new(1), Limits::tiny());
        let db = store.create_database("a", DbKind::Raw).unwrap();
        (store, db)
    }

    fn commit(db: &Db) {
        let mut write = db.begin_write(Duration::from_secs(50)).unwrap();
        write.write_page(PageNo::FIRST, &[7; 4096]).unwrap();
        write.commit().unwrap();
    }

    /// The end of a slice; whether transfers are small from then on.
    fn end_slice(engine: &Engine, slice: &Slice) -> bool {
        slice.began.set(now() - 2 * SLICE);
        engine.give_way(slice);
        engine.errands.at_once(MOST) < MOST
    }

    #[test]
    fn transfers_are_small_while_somebody_commits_and_a_checkpoint_is_not_over() {
        let (_store, db) = open();
        let engine = db.engine();
        let slice = engine.begin_slice();
        assert!(!end_slice(engine, &slice), "nobody commits");
        for _ in 0..2 {
            commit(&db);
            assert!(end_slice(engine, &slice), "somebody did");
            // However late this thread is.
            slice.began.set(now() + 1000 * SLICE);
            engine.give_way(&slice);
            assert!(engine.errands.at_once(MOST) < MOST, "the slice is not over");
            assert!(!end_slice(engine, &slice), "nobody does any more");
        }
        commit(&db);
        assert!(end_slice(engine, &slice));
        drop(slice);
        assert_eq!(engine.errands.at_once(MOST), MOST, "it is over");
    }

    #[test]
    fn they_are_large_when_commits_would_soon_wait_for_the_checkpoint() {
        let (_store, db) = open();
        let engine = db.engine();
        let slice = engine.begin_slice();
        while engine.log.ring().held_bytes() < engine.limits.log_bytes_max / 8 * 5 {
            commit(&db);
        }
        assert!(!end_slice(engine, &slice));
    }
}
