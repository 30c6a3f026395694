//! A store that is left alone frees its past, too: windows go on while nobody commits.
//!
//! ```text
//! checkpoint, opening, drop --something may go--> a look, minutes later
//!   catalogue all in chunks   -> what nobody reads goes, and half dead chunks are written again
//!   else, and the log stands still -> a checkpoint, which does both
//!   else                      -> another look
//! ```
//! Invariant: rows go for what the manifest's own rows of the catalogue no longer name: after a crash these
//! are what the store begins with.
//!
//! Never: writes a chunk for a database that is written to; the length of the log decides about that.

use super::checkpoint_rows::delete_dead_chunks;
use super::engine::Engine;
use super::garbage::{Published, delete_garbage, has_garbage, with_past};
use crate::error::CheckpointError;
use crate::runtime::after;
use crate::runtime::sync::now;
use std::iter;
use std::time::Duration;

/// Between two looks: windows are hours long.
const LOOK_EVERY: Duration = Duration::from_secs(180);

/// Until the next one while there is more to write again: what is copied at once is bounded, so that
/// commits get their turn.
const MORE_AFTER: Duration = Duration::from_secs(1);

impl Engine {
    /// Asks for a look if something can go without a checkpoint.
    pub(super) fn expect_past(&self, is_more: bool) {
        let wait = if is_more {
            MORE_AFTER
        } else if self.has_window() {
            LOOK_EVERY
        } else {
            return;
        };
        self.signals.free_past_at(after(now(), wait));
    }

    /// Asks for a look because something was dropped.
    pub(super) fn expect_dropped(&self) {
        self.signals.free_past_at(after(now(), LOOK_EVERY));
    }

    /// Whether any database has a past that its window will let go of.
    fn has_window(&self) -> bool {
        let (rows, told) = (self.manifest.state(), self.all_told());
        // Nothing goes while it is damaged.
        let is_sound = self.catalogue.lock().catalogue.damage().is_none();
        let mut databases = with_past(&rows);
        is_sound && databases.any(|id| self.keep(id, &rows, &told).window.is_some())
    }

    /// Frees what windows have let go of since the last checkpoint.
    pub(super) fn free_past_in_background(&self) {
        let published = self.log.published();
        let before = std::mem::replace(&mut *self.reclaim.looked.lock(), published);
        // What is not in the manifest yet may not be believed by whoever opens the store next.
        if self.catalogue.lock().hold.is_some() {
            if before == published {
                self.checkpoint_in_background();
            } else {
                self.expect_dropped();
            }
            return;
        }
        let _no_checkpoint = self.checkpointing.lock();
        if let Err(error) = self.delete_past() {
            tracing::warn!(%error, "what nobody reads any more stays until the next checkpoint");
            return;
        }
        let rewritten = self.rewrite_half_dead();
        self.expect_past(rewritten.is_more);
    }

    /// Deletes what nobody reads any more. Whoever asks holds back checkpoints.
    fn delete_past(&self) -> Result<(), CheckpointError> {
        if let Some(failure) = self.manifest.failure() {
            return Err(failure.into());
        }
        let rows = self.manifest.state();
        let published = Published::Until(rows.watermarks().catalogue);
        let keeps = self.keeps(iter::empty(), &published);
        if !keeps.iter().any(|(id, keep)| has_garbage(&rows, *id, keep)) {
            return Ok(());
        }
        let dead = self.manifest.transact(move |edit| {
            for (id, keep) in &keeps {
                delete_garbage(edit, *id, keep);
            }
            Ok(delete_dead_chunks(edit))
        })?;
        dead.iter().for_each(|(id, row)| self.chunks.doom(*id, row));
        Ok(())
    }
}
