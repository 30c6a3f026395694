//! A writer's seat: the writer slot of a database, held past the end of a transaction.
//!
//! A pager of SQLite with `locking_mode=EXCLUSIVE` commits again and again, and nobody else may write
//! between: it does not look whether somebody has.
//!
//! Invariant: the slot is free again when the last transaction in the seat and the seat are gone.
//!
//! Never: begins or ends a transaction, or keeps a store from closing.

use super::slot::{SlotGuard, WriterSlot};
use std::sync::Arc;

/// Keeps everybody else from writing to a database. See [`Db::begin_write_in`](super::Db::begin_write_in).
#[derive(Debug)]
pub struct WriterSeat(SlotGuard);

impl WriterSeat {
    pub(super) fn new(guard: SlotGuard) -> Self {
        Self(guard)
    }

    /// A guard of the slot for a transaction in the seat; `None` when it is another database's.
    pub(super) fn share(&self, slot: &Arc<WriterSlot>) -> Option<SlotGuard> {
        self.0.holds(slot).then(|| self.0.share())
    }
}
