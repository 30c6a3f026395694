//! A look at the disk in the middle of each state-changing call.
//!
//! ```text
//!   call -> what it changes is there, in doubt -> the tap looks -> what it makes durable is durable -> answer
//! ```
//! Invariant: what the tap sees is all that a power cut within the call could leave: with nothing of it, with
//! all of it, and with any part.
//!
//! Never: sees a call that a planned fault meets; holds the disk's lock while the tap looks.

use super::act::{Act, State};
use super::disk::SimDisk;
use crate::io::IoOp;
use crate::runtime::sync::MutexGuard;
use std::fmt;
use std::sync::Arc;

/// Looks at the disk while a call of this kind is on its way. Must not change it.
pub type Tap = Arc<dyn Fn(&SimDisk, IoOp) + Send + Sync>;

/// Whether somebody looks.
#[derive(Clone, Default)]
pub(super) struct Tapped(Option<Tap>);

impl fmt::Debug for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tapped").field(&self.0.is_some()).finish()
    }
}

impl SimDisk {
    /// Has `tap` look at each state-changing call from now on; `None` ends that.
    pub fn set_tap(&self, tap: Option<Tap>) {
        self.state(|state| state.tap = Tapped(tap));
    }

    /// Does a call, with a look at it on the way.
    pub(super) fn perform_seen(
        &self,
        state: &mut MutexGuard<'_, State>,
        op: IoOp,
        act: Act<'_>,
    ) -> Result<(), i32> {
        let Tapped(Some(tap)) = state.tap.clone() else {
            return state.perform(act);
        };
        let (doubtful, certain) = match act {
            Act::WriteDurable(inode, first, blocks) => {
                (Some(Act::Write(inode, first, blocks)), Some(act))
            }
            Act::Sync(_) | Act::SyncDir(_) | Act::Tick => (None, Some(act)),
            other => (Some(other), None),
        };
        doubtful.map_or(Ok(()), |act| state.perform(act))?;
        MutexGuard::unlocked(state, || tap(self, op));
        certain.map_or(Ok(()), |act| state.perform(act))
    }
}
