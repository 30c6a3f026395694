//! The store's lock: `flock` on the file `lock`, which holds the number of the process that has it.
//!
//! Invariants
//! - `flock`, never `fcntl` record locks: those are lost when any descriptor of the file is closed;
//! - the lock belongs to the file that the name stands for at that moment, not to one that was
//!   removed between open and lock;
//! - the number in the file is a hint for people: the lock alone decides.

use super::dir::Directory;
use super::failure;
use crate::io::errno::{EAGAIN, EDQUOT, EIO, ENOENT, ENOSPC};
use crate::io::{IoOp, LockFailure, StoreLock, layout};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, OFlags, Stat};
use std::path::Path;

/// How often the file may be replaced between open and lock.
const REPLACED_MAX: u32 = 16;

/// Unlocks when dropped.
#[derive(Debug)]
struct NativeLock {
    file: OwnedFd,
    /// Who took it: a forked child has the lock too, and must not give it back for its parent.
    pid: u32,
}

impl StoreLock for NativeLock {}

impl Drop for NativeLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread of this process has just forked keeps
        // the descriptor, and with it the lock, until it executes its program.
        if self.pid == std::process::id()
            && let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock)
        {
            tracing::warn!(%error, "the store's lock is given back with its descriptor");
        }
    }
}

/// Takes the lock without waiting.
pub(super) fn take(dir: &Directory) -> Result<Box<dyn StoreLock>, LockFailure> {
    let path = Path::new(layout::LOCK);
    let failed = |errno| LockFailure::Io(failure(IoOp::Lock, path, errno));
    for _ in 0..REPLACED_MAX {
        let file = dir
            .open_regular(path, OFlags::RDWR | OFlags::CREATE)
            .map_err(failed)?;
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        match locked.map_err(|e| e.raw_os_error()) {
            Ok(()) => {}
            Err(EAGAIN) => {
                let holder_pid = read_pid(&file);
                return Err(LockFailure::Held { holder_pid });
            }
            Err(errno) => return Err(failed(errno)),
        }
        if is_named(dir, path, &file).map_err(failed)? {
            write_pid(&file).map_err(failed)?;
            let pid = std::process::id();
            return Ok(Box::new(NativeLock { file, pid }));
        }
    }
    Err(failed(EIO))
}

/// Whether the locked file is the one that the name stands for.
fn is_named(dir: &Directory, path: &Path, file: &OwnedFd) -> Result<bool, i32> {
    let ours = rustix::fs::fstat(file).map_err(|e| e.raw_os_error())?;
    let same = |there: Stat| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino);
    dir.at(path, |parent, name| {
        let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        match there.map_err(|e| e.raw_os_error()) {
            Ok(stat) => Ok(same(stat)),
            Err(ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    })
}

fn write_pid(file: &OwnedFd) -> Result<(), i32> {
    rustix::fs::ftruncate(file, 0).map_err(|e| e.raw_os_error())?;
    let text = format!("{}\n", std::process::id());
    match rustix::io::pwrite(file, text.as_bytes(), 0).map_err(|e| e.raw_os_error()) {
        // A store opens on a full disk; the holder is then unknown to others.
        Ok(_) | Err(ENOSPC | EDQUOT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn read_pid(file: &OwnedFd) -> Option<u32> {
    let mut text = [0; 16];
    let count = rustix::io::pread(file, &mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..count]).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}
