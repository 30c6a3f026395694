//! The new store, while it is being filled: beside its place, under a name of its own.
//!
//! ```text
//! NEW is not there, or empty --> NEW.unfinished, filled --> closed --> NEW
//!                                   '-- fails --> removed     (killed: it stays, and is named next time)
//! ```
//! Invariant: NEW has all that was saved, or it is not there.
//!
//! Never: replaces anything but an empty directory.

use super::super::housekeeper::Housekeeping;
use super::super::manager::Manager;
use super::super::options::Options;
use crate::error::SalvageError;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the new store may take to close.
const CLOSE_WAIT: Duration = Duration::from_secs(600);

/// What is added to a store's name until it is whole.
const UNFINISHED: &str = ".unfinished";

/// The new store.
pub(super) struct Target {
    pub(super) store: Manager,
    at: PathBuf,
    to: PathBuf,
    finished: bool,
}

/// Refuses a place where something is, or that is the damaged store's.
///
/// # Errors
/// [`SalvageError::NotEmpty`], [`SalvageError::Leftover`], or that it cannot be looked at.
pub(super) fn check_target(new: &Path, store: &Path) -> Result<(), SalvageError> {
    let parent = parent_of(new).canonicalize();
    if let (Ok(parent), Ok(store)) = (parent, store.canonicalize())
        && parent.starts_with(&store)
    {
        let path = new.into();
        return Err(SalvageError::InsideStore { path, store });
    }
    match new.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(SalvageError::NotEmpty { path: new.into() });
        }
        Err(error) => return Err(file(new, error)),
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(SalvageError::NotEmpty { path: new.into() });
            }
        }
    }
    let at = unfinished(new)?;
    match at.symlink_metadata() {
        Ok(_) => Err(SalvageError::Leftover { path: at }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file(&at, error)),
    }
}

impl Target {
    /// Makes it, as its options say, but on files of its own.
    pub(super) fn begin(new: &Path, options: &Options) -> Result<Self, SalvageError> {
        let at = unfinished(new)?;
        let options = Options {
            create: true,
            disk: None,
            manifest: None,
            // It takes more than its log holds.
            housekeeping: Housekeeping::Background,
            ..options.clone()
        };
        let store =
            Manager::open(&at, options).map_err(|error| SalvageError::New(Box::new(error)))?;
        Ok(Self {
            store,
            at,
            to: new.to_owned(),
            finished: false,
        })
    }

    /// It is whole: it gets its name.
    pub(super) fn finish(mut self) -> Result<(), SalvageError> {
        self.store.sync()?;
        self.store.close(CLOSE_WAIT)?;
        std::fs::rename(&self.at, &self.to).map_err(|error| file(&self.to, error))?;
        self.finished = true;
        let parent = parent_of(&self.to);
        let synced = File::open(parent).and_then(|dir| dir.sync_all());
        synced.map_err(|error| file(parent, error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = self.store.close(CLOSE_WAIT) {
            tracing::warn!(%error, "a store that was not finished stays");
        } else if let Err(error) = std::fs::remove_dir_all(&self.at) {
            tracing::warn!(%error, at = %self.at.display(), "a store that was not finished stays");
        }
    }
}

fn parent_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

fn unfinished(new: &Path) -> Result<PathBuf, SalvageError> {
    let Some(name) = new.file_name() else {
        return Err(SalvageError::NotEmpty { path: new.into() });
    };
    let mut named = OsString::from(name);
    named.push(UNFINISHED);
    Ok(new.with_file_name(named))
}

fn file(path: &Path, source: io::Error) -> SalvageError {
    SalvageError::File {
        path: path.into(),
        source: Arc::new(source),
    }
}
