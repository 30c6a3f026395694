//! How a backup is made, and what is told meanwhile.

use crate::io::{Disk, IoBackend};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Options of [`Manager::backup`](crate::Manager::backup) and of what is done with backups.
///
/// # Example
/// ```
/// use bop_storage::BackupOptions;
/// use std::num::NonZeroUsize;
/// let options = BackupOptions::new().keep(NonZeroUsize::MIN).copy(true);
/// ```
#[derive(Clone, Debug)]
pub struct BackupOptions {
    pub(super) keep: NonZeroUsize,
    pub(super) copy: bool,
    pub(super) number: Option<u64>,
    pub(super) io: IoBackend,
    pub(super) disk: Option<Arc<dyn Disk>>,
    cancelled: Option<Arc<AtomicBool>>,
}

impl BackupOptions {
    /// Two finished backups are kept, chunks are linked where that is possible, and the newest backup is
    /// restored or verified.
    pub fn new() -> Self {
        Self {
            keep: NonZeroUsize::MIN.saturating_add(1),
            copy: false,
            number: None,
            io: IoBackend::Auto,
            disk: None,
            cancelled: None,
        }
    }

    /// How many finished backups stay, the new one among them.
    #[must_use]
    pub fn keep(self, keep: NonZeroUsize) -> Self {
        Self { keep, ..self }
    }

    /// Chunks are copied also where a link would do: a link is no second copy of the bytes.
    #[must_use]
    pub fn copy(self, copy: bool) -> Self {
        Self { copy, ..self }
    }

    /// The backup of this number, in place of the newest, is restored or verified.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    /// How the files of the backups are read and written.
    #[must_use]
    pub fn io(self, io: IoBackend) -> Self {
        Self { io, ..self }
    }

    /// The files of the backups, in place of the directory's. Nothing is linked then.
    #[must_use]
    pub fn disk(self, disk: Arc<dyn Disk>) -> Self {
        Self {
            disk: Some(disk),
            ..self
        }
    }

    /// A backup that is being made is broken off when that becomes true: with
    /// [`BackupError::Cancelled`](crate::BackupError::Cancelled), before its next piece. What was copied stays for the next.
    #[must_use]
    pub fn cancelled_by(self, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            cancelled: Some(cancelled),
            ..self
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        let cancelled = self.cancelled.as_ref();
        cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Acquire))
    }
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What is being done.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BackupStage {
    /// The log is copied.
    Log,
    /// Chunks are linked or copied.
    Chunks,
    /// What was copied is read again, and compared.
    Compare,
}

/// How far it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BackupProgress {
    /// What is being done.
    pub stage: BackupStage,
    /// Bytes that are done, linked ones and those that were there among them.
    pub done_bytes: u64,
    /// Bytes of the backup.
    pub total_bytes: u64,
}

/// Counts, and tells.
pub(super) struct Told<'a> {
    now: BackupProgress,
    to: &'a mut dyn FnMut(BackupProgress),
}

impl<'a> Told<'a> {
    pub(super) fn new(total_bytes: u64, to: &'a mut dyn FnMut(BackupProgress)) -> Self {
        let now = BackupProgress {
            stage: BackupStage::Log,
            done_bytes: 0,
            total_bytes,
        };
        Self { now, to }
    }

    /// So many bytes more are done.
    pub(super) fn done(&mut self, stage: BackupStage, bytes: u64) {
        self.now.stage = stage;
        self.now.done_bytes += bytes;
        (self.to)(self.now);
    }
}
