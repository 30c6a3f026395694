//! The store for the length of one command.
//!
//! Invariant: a store that was opened is closed, so that its last state is durable and the next
//! open need not recover; where both the command and the close fail, the command's error counts.

use crate::errors::Failure;
use bop_storage::io::IoBackend;
use bop_storage::{Manager, Options};
use std::path::PathBuf;
use std::time::Duration;

/// How long a command's end waits for the store.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// Whether a command may make a store where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhenMissing {
    /// Make it.
    Create,
    /// Report it.
    Fail,
}

impl WhenMissing {
    /// Make it, unless that is refused.
    pub(crate) const fn create_unless(refused: bool) -> Self {
        match refused {
            true => Self::Fail,
            false => Self::Create,
        }
    }
}

/// Which store, and how its files are read and written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// How.
    pub(crate) io: IoBackend,
}

/// Opens the store that `target` names, runs `command` on it and closes it.
///
/// # Errors
/// What the open, the command or the close answers.
pub(crate) fn with_store<T>(
    target: &Target,
    when_missing: WhenMissing,
    command: impl FnOnce(&Manager) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let options = Options::new()
        .create(when_missing == WhenMissing::Create)
        .io(target.io);
    let manager = Manager::open(&target.path, options)?;
    let outcome = command(&manager);
    let closed = manager.close(CLOSE_DEADLINE);
    let value = outcome?;
    closed?;
    Ok(value)
}
