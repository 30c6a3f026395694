//! Closing a store.
//!
//! ```text
//! no new transactions -> wait for those inside -> log takes housekeeping only
//!   -> housekeeper ends -> close record -> manifest closed -> lock released
//! ```
//! Invariants
//! - it is done once, whoever asks and however often;
//! - the lock is released last, and not while the kernel may still write for us.
//!
//! Never: waits past the deadline for a user's transaction.

use super::engine::Engine;
use super::lifecycle::Closing;
use crate::error::{CloseError, CommitError};
use crate::ids::{DbId, Lsn};
use crate::log::format::encode_close;
use crate::log::{Priority, Silent};
use std::time::{Duration, Instant};

impl Engine {
    /// Closes the store; see the module.
    pub(super) fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        let until = Instant::now() + deadline;
        let Closing::Mine { still_inside } = self.lifecycle.begin_close(deadline) else {
            return Ok(());
        };
        let _span = tracing::debug_span!("close", path = %self.path.display()).entered();
        for state in self.states() {
            state.slot().close();
        }
        self.log.close();
        // A checkpoint that runs gives up at the next section.
        let quiet = self.housekeeper.stop(&self.signals, until) && self.log.wait_until_quiet(until);
        if !quiet {
            // The kernel still has a buffer of ours: nobody else may open the store until this
            // process ends.
            std::mem::forget(self.lock.lock().take());
            self.lifecycle.end_close();
            return Err(CloseError::StillStalled);
        }
        let closed = self.write_close_record();
        self.manifest.close();
        self.lifecycle.end_close();
        *self.lock.lock() = None;
        closed?;
        if still_inside > 0 {
            return Err(CloseError::StillOpen {
                transactions: still_inside,
            });
        }
        Ok(())
    }

    /// The heads of all databases with records that no checkpoint covers.
    fn write_close_record(&self) -> Result<(), CommitError> {
        let mut heads: Vec<(DbId, Lsn)> = self
            .states()
            .iter()
            .map(|state| state.view())
            .filter(|view| view.layer_count() > 0)
            .map(|view| (view.database(), view.head().lsn))
            .collect();
        let catalogue = self.catalogue.lock();
        if catalogue.hold.is_some() {
            heads.push((DbId::CATALOGUE, catalogue.catalogue.last_lsn()));
        }
        drop(catalogue);
        heads.sort_unstable();
        let record = encode_close(&heads)?;
        self.log
            .append(record, Priority::Housekeeping, Box::new(Silent))?;
        Ok(())
    }
}
