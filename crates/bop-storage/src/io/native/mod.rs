//! The kernel's files: the backend that stores are kept on.
//!
//! Owns: the descriptor of the store's directory; every path is walked from it. The backends differ
//! in how an open file moves bytes (`file`), nowhere else.
//!
//! Reading order: `choose` (which backend, by `probe`) -> `dir`, `lock` (names) -> `file`, with the
//! loops of `transfer` and the rings of `uring`. Builds for tests have `shadow` beside all of them.
//!
//! Invariants
//! - no symbolic link inside the store is followed, no file that is not a regular one is opened;
//! - with direct I/O, reads bypass the page cache too, so what recovery reads is what the device
//!   has, not what a failed write left in memory; scratch files, which no recovery reads, go through it;
//! - a sync that failed is not called again for the same bytes.
//!
//! Never: retries a failed write or sync (only interrupted and short ones go on).

mod choose;
mod dir;
mod file;
mod lock;
mod probe;
#[cfg(any(test, feature = "testing"))]
mod shadow;
mod transfer;
mod uring;

use super::errno::{EINVAL, EIO, EISDIR, ELOOP, ENOSYS, ENOTDIR};
use super::{
    BackendUnavailable, BufferPool, Disk, DiskFile, FileEntry, FileKind, IoBackend, IoFailure,
    IoOp, LockFailure, OpenDiskError, OpenMode, StoreLock,
};
use choose::{Choice, Refused, choose};
use dir::{Directory, kind_of};
use file::{NativeFile, Transfers};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of the file system.
#[derive(Debug)]
pub struct NativeDisk {
    dir: Directory,
    transfers: Arc<Transfers>,
    scratch_transfers: Arc<Transfers>,
    describe: String,
    pool: Arc<BufferPool>,
    #[cfg(any(test, feature = "testing"))]
    shadow: shadow::Shadow<dyn Disk>,
}

impl NativeDisk {
    /// Opens the directory at `path`; with `create` it is made (mode 0700, durably) when missing.
    /// Batches may use the buffers of `pool`.
    ///
    /// # Errors
    /// `ENOENT` when it is missing, `ENOTDIR` when it is something else, or whatever the kernel
    /// says; [`OpenDiskError::Unavailable`] when `backend` is not to be had.
    pub fn open(
        path: &Path,
        create: bool,
        backend: IoBackend,
        pool: &Arc<BufferPool>,
    ) -> Result<Self, OpenDiskError> {
        let failed = |errno| failure(IoOp::Directory, path, errno);
        if create {
            dir::create_durably(path).map_err(failed)?;
        }
        let dir = Directory::open(path).map_err(failed)?;
        let choice = choose(dir.fd(), backend, pool).map_err(|refused| match refused {
            Refused::Broken(errno) => OpenDiskError::Io(failed(errno)),
            Refused::Unavailable(why) => OpenDiskError::Unavailable(BackendUnavailable {
                backend,
                what: why.what,
                failure: failed(why.errno),
            }),
        })?;
        Ok(Self {
            dir,
            describe: choice.describe.clone(),
            transfers: Arc::new(Transfers::new(choice)),
            scratch_transfers: Arc::new(Transfers::new(Choice::std("scratch"))),
            pool: Arc::clone(pool),
            #[cfg(any(test, feature = "testing"))]
            shadow: shadow::Shadow::none(),
        })
    }

    /// Repeats every effect on this disk on `shadow`, which holds the same files now, and answers
    /// what that answers.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn shadowed_by(mut self, shadow: Arc<dyn Disk>) -> Self {
        self.shadow = shadow::Shadow::of(shadow);
        self
    }

    /// Whether files are read and written without the page cache.
    pub fn is_direct(&self) -> bool {
        self.transfers.is_direct()
    }

    fn fail(&self, op: IoOp, path: &Path, errno: i32) -> IoFailure {
        if path.as_os_str().is_empty() {
            failure(op, self.dir.path(), errno)
        } else {
            failure(op, path, errno)
        }
    }
}

impl Disk for NativeDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure> {
        #[cfg(any(test, feature = "testing"))]
        let shadow = self
            .shadow
            .opens(|disk| disk.open(path, mode))
            .map_err(|errno| self.fail(IoOp::Open, path, errno))?;
        let mut flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::CreateNew | OpenMode::CreateScratch => {
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL
            }
        };
        let transfers = match mode {
            OpenMode::CreateScratch => &self.scratch_transfers,
            OpenMode::Read | OpenMode::Write | OpenMode::CreateNew => &self.transfers,
        };
        if transfers.is_direct() {
            flags |= OFlags::DIRECT;
        }
        let fd = self
            .dir
            .open_regular(path, flags)
            .map_err(|errno| self.fail(IoOp::Open, path, errno))?;
        let file = NativeFile::new(fd, path, Arc::clone(transfers));
        #[cfg(any(test, feature = "testing"))]
        let file = file.shadowed_by(shadow);
        Ok(Arc::new(file))
    }

    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure> {
        self.dir
            .list(dir)
            .map_err(|errno| self.fail(IoOp::Directory, dir, errno))
    }

    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        if dir.as_os_str().is_empty() {
            return Ok(());
        }
        #[cfg(any(test, feature = "testing"))]
        self.shadow
            .hears(|disk| disk.create_dir(dir))
            .map_err(|errno| self.fail(IoOp::Directory, dir, errno))?;
        let made = self.dir.at(dir, |fd, name| {
            match rustix::fs::mkdirat(fd, name, Mode::RWXU) {
                Err(rustix::io::Errno::EXIST) if kind_of(fd, name)? == FileType::Directory => {
                    Ok(())
                }
                Err(rustix::io::Errno::EXIST) => Err(ENOTDIR),
                other => other.map_err(|e| e.raw_os_error()),
            }
        });
        made.map_err(|errno| self.fail(IoOp::Directory, dir, errno))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure> {
        #[cfg(any(test, feature = "testing"))]
        self.shadow
            .hears(|disk| disk.rename(from, to))
            .map_err(|errno| self.fail(IoOp::Rename, from, errno))?;
        let moved = self.dir.at(from, |from_fd, from| {
            self.dir.at(to, |to_fd, to| {
                let flags = RenameFlags::NOREPLACE;
                let answer = rustix::fs::renameat_with(from_fd, from, to_fd, to, flags);
                match answer.map_err(|e| e.raw_os_error()) {
                    // Some file systems cannot promise it; a link never replaces a name either.
                    Err(EINVAL | ENOSYS) => {
                        rustix::fs::linkat(from_fd, from, to_fd, to, AtFlags::empty())
                            .and_then(|()| rustix::fs::unlinkat(from_fd, from, AtFlags::empty()))
                            .map_err(|e| e.raw_os_error())
                    }
                    other => other,
                }
            })
        });
        moved.map_err(|errno| self.fail(IoOp::Rename, from, errno))
    }

    /// The file may be open meanwhile; of a symbolic link nothing is followed.
    fn link_out(&self, path: &Path, to: &Path) -> Result<(), IoFailure> {
        let linked = self.dir.at(path, |fd, name| {
            rustix::fs::linkat(fd, name, rustix::fs::CWD, to, AtFlags::empty())
                .map_err(|e| e.raw_os_error())
        });
        linked.map_err(|errno| self.fail(IoOp::Link, path, errno))
    }

    fn remove(&self, path: &Path) -> Result<(), IoFailure> {
        #[cfg(any(test, feature = "testing"))]
        self.shadow
            .hears(|disk| disk.remove(path))
            .map_err(|errno| self.fail(IoOp::Remove, path, errno))?;
        let gone = self.dir.at(path, |fd, name| {
            rustix::fs::unlinkat(fd, name, AtFlags::empty()).map_err(|e| e.raw_os_error())
        });
        gone.map_err(|errno| self.fail(IoOp::Remove, path, errno))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure> {
        let synced = self.dir.enter(dir).and_then(|fd| {
            transfer::uninterrupted(IoOp::SyncDirectory, || {
                rustix::fs::fsync(&fd).map_err(|e| e.raw_os_error())
            })
        });
        #[cfg(any(test, feature = "testing"))]
        let synced = synced.and_then(|()| self.shadow.hears(|disk| disk.sync_dir(dir)));
        synced.map_err(|errno| self.fail(IoOp::SyncDirectory, dir, errno))
    }

    fn free_bytes(&self) -> Result<u64, IoFailure> {
        match rustix::fs::fstatvfs(self.dir.fd()) {
            Ok(stat) => Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(e) => Err(self.fail(IoOp::Directory, Path::new(""), e.raw_os_error())),
        }
    }

    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure> {
        lock::take(&self.dir)
    }

    fn describe(&self) -> String {
        self.describe.clone()
    }

    fn buffers(&self) -> &Arc<BufferPool> {
        &self.pool
    }
}

fn failure(op: IoOp, path: &Path, errno: i32) -> IoFailure {
    IoFailure {
        op,
        path: PathBuf::from(path),
        offset: None,
        errno,
    }
}

/// What a file that is no regular file answers.
fn errno_of_kind(kind: FileType) -> Option<i32> {
    match kind {
        FileType::RegularFile => None,
        FileType::Directory => Some(EISDIR),
        FileType::Symlink => Some(ELOOP),
        _ => Some(EINVAL),
    }
}

fn file_kind(kind: FileType) -> FileKind {
    match kind {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    }
}

/// The errno behind an error of the standard library.
fn errno_of(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
