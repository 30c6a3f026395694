//! A directory for a new store: beside its place, under a name of its own, until the store is whole.
//!
//! ```text
//! NEW is not there, or empty --> NEW.unfinished, filled --> closed --> NEW
//!                                   '-- fails --> removed     (killed: it stays, and is named next time)
//! ```
//! Never: replaces anything but an empty directory.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is added to a store's name until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Why no store can be made there.
#[derive(Debug)]
pub(super) enum NotFresh {
    /// Something is there.
    NotEmpty(PathBuf),
    /// An earlier attempt was killed.
    Leftover(PathBuf),
    /// It cannot be looked at.
    File(PathBuf, io::Error),
}

/// A place for a new store.
#[derive(Debug)]
pub(super) struct FreshDir {
    /// Where it is made.
    pub(super) at: PathBuf,
    to: PathBuf,
}

impl FreshDir {
    /// Refuses a place where something is.
    ///
    /// # Errors
    /// What is there.
    pub(super) fn find(new: &Path) -> Result<Self, NotFresh> {
        match new.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(NotFresh::NotEmpty(new.into()));
            }
            Err(error) => return Err(NotFresh::File(new.into(), error)),
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(NotFresh::NotEmpty(new.into()));
                }
            }
        }
        let Some(name) = new.file_name() else {
            return Err(NotFresh::NotEmpty(new.into()));
        };
        let mut unfinished = OsString::from(name);
        unfinished.push(UNFINISHED);
        let at = new.with_file_name(unfinished);
        match at.symlink_metadata() {
            Ok(_) => Err(NotFresh::Leftover(at)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                at,
                to: new.to_owned(),
            }),
            Err(error) => Err(NotFresh::File(at, error)),
        }
    }

    /// The store is whole: it gets its name, durably.
    ///
    /// # Errors
    /// The operating system's, and for which path.
    pub(super) fn settle(&self) -> Result<(), (PathBuf, io::Error)> {
        std::fs::rename(&self.at, &self.to).map_err(|error| (self.to.clone(), error))?;
        let parent = parent_of(&self.to);
        let synced = File::open(parent).and_then(|dir| dir.sync_all());
        synced.map_err(|error| (parent.to_owned(), error))
    }
}

/// Whether a path is, or would be, in a directory that is there.
pub(super) fn is_inside(path: &Path, dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else {
        return false;
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut there = absolute
        .ancestors()
        .filter_map(|one| one.canonicalize().ok());
    there.next().is_some_and(|there| there.starts_with(&dir))
}

/// The directory that a path is in.
pub(super) fn parent_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}
