//! A checkpoint on a device that has no room.
//!
//! ```text
//! checkpoint --no room--> the reserve is lent: its file goes --> a frugal checkpoint --> log released
//!                                                                         --> the reserve is held again
//! no spare for want of room --> a checkpoint, if it can release anything
//! ```
//! Invariants
//! - the second attempt begins anew: chunks of the first are removed, none of their bytes is synced again;
//! - whatever becomes of it, a panic too, the reserve is given back.
//!
//! Never: tries a third time. Whoever frees space, or the next commit that finds none, begins the next.

use super::engine::Engine;
use crate::checkpoint::{CheckpointReport, Thrift};
use crate::error::{CheckpointError, ErrorCode};

impl Engine {
    /// A checkpoint; once more with the reserve, if there was no room for the first one.
    pub(super) fn checkpoint_in_any_room(&self) -> Result<CheckpointReport, CheckpointError> {
        let spares = self.log.spares();
        let ended = match self.checkpoint_alone(Thrift::Generous) {
            Err(error) if error.code() == ErrorCode::OutOfSpace => {
                let Some(lent) = spares.reserve().lend() else {
                    return Err(error);
                };
                tracing::warn!(%error, "a checkpoint has the room that is reserved for it");
                let ended = self.checkpoint_alone(Thrift::Frugal);
                drop(lent);
                ended
            }
            ended => ended,
        };
        spares.fit_reserve();
        ended
    }

    /// No segment could be added to the log. If there was no room for it, a checkpoint may make some.
    pub(super) fn make_room(&self, code: ErrorCode) {
        if code == ErrorCode::OutOfSpace && self.log.ring().sealed_count() > 0 {
            self.signals.want_checkpoint();
        }
    }
}
