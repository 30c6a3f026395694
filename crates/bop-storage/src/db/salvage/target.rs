//! The new store, while it is being filled: beside its place, under a name of its own.
//!
//! Invariant: NEW has all that was saved, or it is not there.
//!
//! Never: replaces anything but an empty directory.

use super::super::fresh_dir::{FreshDir, NotFresh, is_inside, parent_of};
use super::super::housekeeper::Housekeeping;
use super::super::manager::Manager;
use super::super::options::Options;
use crate::error::SalvageError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the new store may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(600);

/// The new store.
pub(super) struct Target {
    pub(super) store: Manager,
    place: FreshDir,
    finished: bool,
}

/// Refuses a place where something is, or that is the damaged store's.
///
/// # Errors
/// [`SalvageError::NotEmpty`], [`SalvageError::Leftover`], or that it cannot be looked at.
pub(super) fn check_target(new: &Path, store: &Path) -> Result<FreshDir, SalvageError> {
    if is_inside(parent_of(new), store) {
        let store = store.canonicalize().unwrap_or_else(|_| store.into());
        let path = new.into();
        return Err(SalvageError::InsideStore { path, store });
    }
    FreshDir::find(new).map_err(|error| match error {
        NotFresh::NotEmpty(path) => SalvageError::NotEmpty { path },
        NotFresh::Leftover(path) => SalvageError::Leftover { path },
        NotFresh::File(path, error) => file(path, error),
    })
}

impl Target {
    /// Makes it, as its options say, but on files of its own.
    pub(super) fn begin(place: FreshDir, options: &Options) -> Result<Self, SalvageError> {
        let options = Options {
            create: true,
            disk: None,
            manifest: None,
            // It takes more than its log holds.
            housekeeping: Housekeeping::Background,
            ..options.clone()
        };
        let store = Manager::open(&place.at, options)
            .map_err(|error| SalvageError::New(Box::new(error)))?;
        Ok(Self {
            store,
            place,
            finished: false,
        })
    }

    /// It is whole: it gets its name.
    pub(super) fn finish(mut self) -> Result<(), SalvageError> {
        self.store.sync()?;
        self.store.close(CLOSE_WAIT)?;
        let settled = self.place.settle();
        // What has its name stays, also when that may not be durable.
        self.finished = !self.place.at.exists();
        settled.map_err(|(path, error)| file(path, error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let at = &self.place.at;
        if let Err(error) = self.store.close(CLOSE_WAIT) {
            tracing::warn!(%error, "a store that was not finished stays");
        } else if let Err(error) = std::fs::remove_dir_all(at) {
            tracing::warn!(%error, at = %at.display(), "a store that was not finished stays");
        }
    }
}

fn file(path: PathBuf, source: io::Error) -> SalvageError {
    SalvageError::File {
        path,
        source: Arc::new(source),
    }
}
