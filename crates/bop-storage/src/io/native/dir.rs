//! Walking the store's directory without following a link.
//!
//! Invariant: a path is walked one name at a time from the descriptor of the store's directory,
//! each with `O_NOFOLLOW`; a name that is absolute, `.` or `..` is refused.
//!
//! Never: uses the store's path again after it was opened (it is kept for messages), so that
//! renaming the store's directory under an open store does not lead elsewhere.

use super::{errno_of, errno_of_kind, file_kind};
use crate::io::FileEntry;
use crate::io::errno::{EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR};
use crate::io::layout::SUPERBLOCK;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

/// The store's directory.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens it; its own path may well be a link.
    pub(super) fn open(path: &Path) -> Result<Self, i32> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, named(path), flags, Mode::empty());
        Ok(Self {
            fd: fd.map_err(|e| e.raw_os_error())?,
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `body` with the directory that holds the last name of `path`, and that name.
    pub(super) fn at<T>(
        &self,
        path: &Path,
        body: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, i32>,
    ) -> Result<T, i32> {
        let mut names = names(path)?;
        let Some(last) = names.pop() else {
            return Err(EISDIR);
        };
        let parent = self.walk(&names)?;
        body(parent.as_ref().unwrap_or(&self.fd).as_fd(), last)
    }

    /// Opens a directory of the store for listing or syncing; the empty path is the store's own.
    pub(super) fn enter(&self, dir: &Path) -> Result<OwnedFd, i32> {
        match self.walk(&names(dir)?)? {
            Some(fd) => Ok(fd),
            None => open_dir(self.fd(), OsStr::new(".")),
        }
    }

    fn walk(&self, names: &[&OsStr]) -> Result<Option<OwnedFd>, i32> {
        let mut inner: Option<OwnedFd> = None;
        for name in names {
            let from = inner.as_ref().unwrap_or(&self.fd).as_fd();
            inner = Some(open_dir(from, name)?);
        }
        Ok(inner)
    }

    /// Opens a regular file, and nothing else.
    pub(super) fn open_regular(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, i32> {
        // Non-blocking, so that a pipe of that name cannot hold us up. Files do not care, but io_uring does: older
        // kernels end what would have to wait, on devices such as dm-crypt all of it.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        self.at(path, |parent, name| {
            let mode = Mode::RUSR | Mode::WUSR;
            let fd = match rustix::fs::openat(parent, name, flags, mode) {
                Ok(fd) => fd,
                Err(error) => {
                    // Kernels answer differently for what is not a file: we always alike.
                    let errno = error.raw_os_error();
                    let taken = flags.contains(OFlags::EXCL);
                    let kind = kind_of(parent, name).unwrap_or(FileType::RegularFile);
                    return Err(errno_of_kind(kind).filter(|_| !taken).unwrap_or(errno));
                }
            };
            let stat = rustix::fs::fstat(&fd).map_err(|e| e.raw_os_error())?;
            match errno_of_kind(FileType::from_raw_mode(stat.st_mode)) {
                None => waiting(&fd).map(|()| fd).map_err(|e| e.raw_os_error()),
                Some(errno) => Err(errno),
            }
        })
    }

    /// Lists a directory, sorted by name.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, i32> {
        let fd = self.enter(dir)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(|e| e.raw_os_error())? {
            let entry = entry.map_err(|e| e.raw_os_error())?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(error) if error.raw_os_error() == ENOENT => continue,
                Err(error) => return Err(error.raw_os_error()),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let bytes = match kind {
                FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
                _ => 0,
            };
            entries.push(FileEntry {
                name: name.to_string_lossy().into_owned(),
                kind: file_kind(kind),
                bytes,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// Makes a directory and those above it that are missing, and their names durable; also that of a
/// directory which is there and empty of a store: whoever made it may have been killed before it was.
pub(super) fn create_durably(path: &Path) -> Result<(), i32> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
        .collect();
    if missing.is_empty() {
        // Who may not read the directory above did not make this one.
        let above = Directory::open(path.parent().unwrap_or(Path::new("")));
        if let Ok(above) = above
            && !path.join(SUPERBLOCK).exists()
        {
            rustix::fs::fsync(above.fd()).map_err(|e| e.raw_os_error())?;
        }
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|e| errno_of(&e))?;
    for new in missing {
        let above = Directory::open(new.parent().unwrap_or(Path::new("")))?;
        rustix::fs::fsync(above.fd()).map_err(|e| e.raw_os_error())?;
    }
    Ok(())
}

/// Has calls on a file wait for the device again.
fn waiting(fd: &OwnedFd) -> rustix::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)
}

/// What a name stands for; a link is a link.
pub(super) fn kind_of(parent: BorrowedFd<'_>, name: &OsStr) -> Result<FileType, i32> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    let stat = stat.map_err(|e| e.raw_os_error())?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn open_dir(from: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, i32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(from, name, flags, Mode::empty());
    opened.map_err(|error| match error.raw_os_error() {
        // With O_DIRECTORY the kernel calls a link "not a directory".
        ENOTDIR if kind_of(from, name) == Ok(FileType::Symlink) => ELOOP,
        errno => errno,
    })
}

/// The names of a path of the store.
fn names(path: &Path) -> Result<Vec<&OsStr>, i32> {
    let parts = path.components().map(|part| match part {
        Component::Normal(name) => Ok(name),
        _ => Err(EINVAL),
    });
    parts.collect()
}

/// The kernel has no name for the empty path.
fn named(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_a_file_wait_for_its_device() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let opened = Directory::open(dir.path()).unwrap();
        let file = opened.open_regular(Path::new("file"), OFlags::RDWR | OFlags::APPEND);
        let flags = rustix::fs::fcntl_getfl(file.unwrap()).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "{flags:?}");
        assert!(flags.contains(OFlags::RDWR | OFlags::APPEND), "{flags:?}");
    }
}
