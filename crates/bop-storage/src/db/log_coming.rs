//! The images that a copy asks for next, read while it asks for those before them.
//!
//! ```text
//!   told --begin--> here --read_behind--> an errand reads a piece --over--> here ... --take--> shown
//!                     '--read_here: a piece on this thread--'
//! ```
//! Invariant: one piece at a time is read, and the next one only when somebody asks again: for who rests nothing is
//! read meanwhile.
//!
//! Never: waits for an errand but where what it reads is wanted now.

use super::log_expected::Expected;
use crate::runtime::sync::Mutex;
use crate::runtime::{Errands, Pending};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Coming {
    partly: Arc<Mutex<Partly>>,
    /// The errand that reads a piece.
    sent: Option<Pending<()>>,
    is_begun: bool,
}

/// What was read so far.
#[derive(Default)]
struct Partly {
    images: Expected,
    is_more: bool,
}

impl Partly {
    fn read(&mut self, at_once: usize) {
        self.is_more = self.is_more && self.images.read_some(at_once as u64);
    }
}

impl Coming {
    /// Whether what was begun was taken, or nothing was begun.
    pub(super) fn is_over(&self) -> bool {
        !self.is_begun
    }

    /// These are to be read.
    pub(super) fn begin(&mut self, images: Expected) {
        self.is_begun = true;
        *self.partly.lock() = Partly {
            images,
            is_more: true,
        };
    }

    /// Reads a piece on this thread; `false` when nothing is left.
    pub(super) fn read_here(&mut self, at_once: usize) -> bool {
        self.come_back();
        let mut partly = self.partly.lock();
        partly.read(at_once);
        partly.is_more
    }

    /// Has a piece read on another thread, unless one is being read, nothing is left, or nobody is free.
    pub(super) fn read_behind(&mut self, errands: &Errands) {
        if self.sent.as_ref().is_some_and(|sent| !sent.is_over()) {
            return;
        }
        self.sent = None;
        if self.partly.lock().is_more {
            let (partly, at_once) = (Arc::clone(&self.partly), errands.at_once(usize::MAX));
            let errand = move || partly.lock().read(at_once);
            self.sent = errands.send(errand).ok();
        }
    }

    /// What was read.
    pub(super) fn take(&mut self) -> Expected {
        self.come_back();
        self.is_begun = false;
        std::mem::take(&mut *self.partly.lock()).images
    }

    /// Waits for the errand. One that panicked has read less, which is no reason to do anything.
    pub(super) fn come_back(&mut self) {
        if let Some(sent) = self.sent.take() {
            let _ended = sent.wait(None);
        }
    }
}
