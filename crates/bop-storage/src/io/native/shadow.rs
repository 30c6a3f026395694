//! The shadow of a disk: a second [`Disk`](crate::io::Disk) that repeats every effect on the first,
//! so that a test of real files can ask what a power cut would have left of them.
//!
//! The kernel shows what was written, never what is durable; a simulated disk knows, if it is told
//! of the calls that the kernel was really asked for. Built for tests only, as what a backend makes
//! of a call (a write with `RWF_DSYNC`, or a write and `fdatasync`) shows nowhere above it.
//!
//! ```text
//!   write, sync        engine --call--> kernel --done--> shadow --answer--> engine
//!   names, allocation  engine --call--> shadow --agrees--> kernel --answer--> engine
//! ```
//! A write or a sync that fails may have been done all the same, so the shadow hears of it when it
//! has been. Any other call that fails has done nothing, so the shadow is asked before.
//!
//! Invariants
//! - the shadow hears what the kernel is asked for, not what the engine asked for: a plain write and
//!   a sync where those are how a durable write is made;
//! - it hears of it before the engine is answered, so whatever the engine was told of is there;
//! - where the shadow refuses, the engine is told so: after a power cut there nothing succeeds any
//!   more, and a call that hangs there does not return;
//! - effects of threads that overlap in time are repeated in any order, as the kernel may do them.
//!
//! Never: changes what the kernel is asked for; hears of reads; looks into a ring (that this hands a
//! part's flags on to the kernel it takes for granted).

use crate::io::IoFailure;
use std::sync::Arc;

/// Who hears of the effects on a disk (`dyn Disk`) or on one of its open files (`dyn DiskFile`), if
/// anybody does.
#[derive(Debug)]
pub(super) struct Shadow<T: ?Sized>(Option<Arc<T>>);

impl<T: ?Sized> Shadow<T> {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(shadow: Arc<T>) -> Self {
        Self(Some(shadow))
    }

    /// Repeats an effect; the errno is what the engine is to be told.
    pub(super) fn hears(
        &self,
        effect: impl FnOnce(&T) -> Result<(), IoFailure>,
    ) -> Result<(), i32> {
        let Some(shadow) = &self.0 else {
            return Ok(());
        };
        effect(shadow).map_err(|failure| failure.errno)
    }

    /// The shadow of what is opened.
    pub(super) fn opens<F: ?Sized>(
        &self,
        open: impl FnOnce(&T) -> Result<Arc<F>, IoFailure>,
    ) -> Result<Shadow<F>, i32> {
        let Some(shadow) = &self.0 else {
            return Ok(Shadow::none());
        };
        let opened = open(shadow).map_err(|failure| failure.errno)?;
        Ok(Shadow::of(opened))
    }
}
