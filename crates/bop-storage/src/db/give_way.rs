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
//! - nor does one when three quarters of the log or of the page index are taken: commits would soon wait
//!   for it.
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
pub(super) struct Slice {
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
    pub(super) fn begin_slice(&self) -> Slice {
        Slice {
            began: Cell::new(now()),
            published: Cell::new(self.log.published()),
            errands: Arc::clone(&self.errands),
        }
    }

    /// To be called between two pages.
    pub(super) fn give_way(&self, slice: &Slice) {
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
        let log_bytes_most = self.limits.log_bytes_max / 4 * 3;
        self.signals.is_stopping()
            || self.log.ring().held_bytes() >= log_bytes_most
            || self.index_is_filling()
    }
}
