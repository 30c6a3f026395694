//! Closing a store.
//!
//! ```text
//! nobody gets in -> what belongs to the store is told, writers that wait are -> wait for the transactions inside
//!   -> log takes housekeeping only -> housekeeper ends, work inside ends, log is quiet
//!   -> close record, the log has ended -> manifest closed -> lock released
//! ```
//! Invariants
//! - it is done once, whoever asks and however often;
//! - the lock is released last, and not while a thread of ours, or the kernel for us, may still
//!   write;
//! - the close record is written only if it can vouch for every database.
//!
//! Never: waits past the deadline for a user's transaction. Threads of ours get `io_deadline` on
//! top: they wait for nothing but the disk.

use super::engine::Engine;
use super::lifecycle::Closing;
use crate::error::{CloseError, CommitError};
use crate::ids::{DbId, Lsn};
use crate::log::format::encode_close;
use crate::runtime::after;
use crate::runtime::sync::now;
use std::time::{Duration, Instant};

impl Engine {
    /// Closes the store; see the module.
    pub(super) fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        let until = after(now(), deadline);
        let Some(closing) = self.lifecycle.begin_close() else {
            let closed = self.lifecycle.wait_until_closed(until);
            return closed.map_err(|transactions| CloseError::StillOpen { transactions });
        };
        let ended = self.close_once(closing, until);
        // What they wait for does not come any more.
        self.log.wake_readers();
        ended
    }

    fn close_once(&self, closing: Closing, until: Instant) -> Result<(), CloseError> {
        let _span = tracing::debug_span!("close", path = %self.path.display()).entered();
        self.lifecycle.before_close.tell();
        for state in self.states() {
            state.slot().close();
        }
        self.records.close();
        let still_inside = closing.wait_for_transactions(until);
        self.log.close();
        let until = until.max(after(now(), self.limits.io_deadline));
        // A checkpoint that runs gives up at the next page.
        let quiet = self.housekeeper.stop(&self.signals, until)
            && closing.wait_for_work(until)
            && self.log.wait_until_quiet(until);
        if !quiet {
            // The kernel still has a buffer of ours: nobody else may open the store until this
            // process ends.
            std::mem::forget(self.lock.lock().take());
            return Err(CloseError::StillStalled);
        }
        // Commits that nobody waits for are published before the close record vouches for heads.
        let closed = self.log.sync().inspect_err(|_| self.log.end());
        let closed = closed.and_then(|()| self.end_log());
        if !self.log.stop(until) {
            std::mem::forget(self.lock.lock().take());
            return Err(CloseError::StillStalled);
        }
        self.log.refuse_rest();
        if !self.callbacks.close(until) {
            tracing::warn!("a callback of an append still runs, others are behind it");
        }
        closing.refuse_all();
        self.end_run(until.saturating_duration_since(now()));
        self.manifest.wake_waiters();
        if !self.manifest.close(until) {
            std::mem::forget(self.lock.lock().take());
            return Err(CloseError::StillStalled);
        }
        *self.lock.lock() = None;
        *self.watch_thread.lock() = None;
        drop(closing);
        closed?;
        if still_inside > 0 {
            return Err(CloseError::StillOpen {
                transactions: still_inside,
            });
        }
        Ok(())
    }

    /// Writes the close record: the heads of all databases with records that no checkpoint covers,
    /// and of all record logs.
    /// It says of every other database that its chunks have it all, which nobody knows of one that
    /// is closed for damage: then there is none, and the next open looks at the log again.
    fn end_log(&self) -> Result<(), CommitError> {
        let mut heads: Vec<(DbId, Lsn)> = self
            .states()
            .iter()
            .map(|state| state.view())
            .filter(|view| view.layer_count() > 0)
            .map(|view| (view.database(), view.head().lsn))
            .collect();
        let logs = self.records.all();
        let logs = logs
            .iter()
            .map(|state| (state.id(), state.look().index.head()));
        heads.extend(logs.filter(|(_, head)| *head != Lsn::ZERO));
        let cell = self.catalogue.lock();
        let has_pages = |id: &DbId| cell.catalogue.has_pages(*id);
        if cell.catalogue.damage().is_some() || self.damaged.keys().any(has_pages) {
            drop(cell);
            self.log.end();
            return Ok(());
        }
        if cell.hold.is_some() {
            heads.push((DbId::CATALOGUE, cell.catalogue.last_lsn()));
        }
        drop(cell);
        heads.sort_unstable();
        let record = encode_close(&heads).inspect_err(|_| self.log.end())?;
        self.log.append_last(record)?;
        Ok(())
    }
}
