//! A place for the store that a verification makes and nobody keeps.
//!
//! ```text
//! SCRATCH/<name of the backups>.verifying[-2, -3, ...]/lock      whoever verifies there has it
//!                                                     /restored  the store that is made
//! taken: the first that nobody has; what is in it was left by one that was killed, and goes
//!    -> filled, read -> restored removed -> lock removed -> the place removed -> the lock given back
//! ```
//! Invariants
//! - a place is that of whoever has its lock, which goes with its process however that ends. So any number can
//!   verify at a time: one directory that can only be read, or several of one name in one scratch;
//! - nothing is removed in a place behind its lock's name: that may be the next one's by then.
//!
//! Never: waits for a place, follows a link, removes anything but what a verification makes.

use super::super::fresh_dir::parent_of;
use super::restore::of_file;
use crate::error::{BackupError, OpenError};
use crate::io::errno::{EACCES, EPERM};
use crate::io::{
    BufferPool, Disk, IoBackend, LockFailure, NativeDisk, OpenDiskError, StoreLock, layout,
};
use std::io;
use std::path::{Path, PathBuf};

/// So many places are looked at.
const PLACES_MAX: u32 = 64;

/// A place that is this one's; it is gone when this is dropped.
pub(super) struct ScratchPlace {
    /// Where the store is made.
    pub(super) at: PathBuf,
    place: PathBuf,
    _lock: Box<dyn StoreLock>,
}

impl ScratchPlace {
    /// A place for a store of `dir`'s backups, in `scratch` or beside `dir`.
    ///
    /// # Errors
    /// That there is none.
    pub(super) fn take(dir: &Path, scratch: Option<&Path>) -> Result<Self, BackupError> {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let scratch = scratch.unwrap_or_else(|| parent_of(&dir));
        let mut nth = 1;
        loop {
            let mut name = dir.file_name().unwrap_or_default().to_owned();
            name.push(".verifying");
            if nth > 1 {
                name.push(format!("-{nth}"));
            }
            let place = scratch.join(name);
            match locked(&place)? {
                Ok(lock) => return Self::cleared(place, lock),
                Err(refusal) if nth == PLACES_MAX => {
                    return Err(BackupError::locked(&place, refusal));
                }
                Err(_) => nth += 1,
            }
        }
    }

    fn cleared(place: PathBuf, lock: Box<dyn StoreLock>) -> Result<Self, BackupError> {
        let taken = Self {
            at: place.join("restored"),
            place,
            _lock: lock,
        };
        let cleared = removed(std::fs::remove_dir_all(&taken.at));
        cleared.map_err(|error| of_file(taken.at.clone(), error))?;
        Ok(taken)
    }

    fn remove(&self) -> io::Result<()> {
        removed(std::fs::remove_dir_all(&self.at))?;
        // The last that is here for sure: who comes now makes the place, or its lock, anew.
        removed(std::fs::remove_file(self.place.join(layout::LOCK)))?;
        match removed(std::fs::remove_dir(&self.place)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    }
}

impl Drop for ScratchPlace {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let at = self.place.display();
            tracing::warn!(%error, %at, "what a verification made stays, for the next to remove");
        }
    }
}

/// The lock of a place, which is made when it is missing; or why it is somebody else's.
fn locked(place: &Path) -> Result<Result<Box<dyn StoreLock>, LockFailure>, BackupError> {
    let there = place.symlink_metadata();
    if there.is_ok_and(|there| !there.is_dir()) {
        return Ok(Err(LockFailure::Held { holder_pid: None }));
    }
    let lock = match NativeDisk::open(place, true, IoBackend::Std, &BufferPool::new(0)) {
        Ok(disk) => disk.lock(),
        Err(OpenDiskError::Io(failure)) => Err(LockFailure::Io(failure)),
        Err(OpenDiskError::Unavailable(why)) => {
            return Err(BackupError::Open(Box::new(OpenError::from(why))));
        }
    };
    match lock {
        // It went while it was looked at; or it is another user's.
        Err(LockFailure::Io(failure))
            if !failure.is_not_found() && ![EACCES, EPERM].contains(&failure.errno) =>
        {
            Err(BackupError::target(place)(failure))
        }
        other => Ok(other),
    }
}

/// That something is not there is as well as that it was removed.
fn removed(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
