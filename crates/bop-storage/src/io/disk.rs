//! The seam between the engine and files. Everything durable but the manifest goes through it.
//!
//! Contract of every backend
//! - paths are relative to the store's directory and name regular files or directories of it; a
//!   symbolic link is never followed;
//! - transfers are whole: a backend continues after a short transfer or an interrupted call, and
//!   answers only when all bytes went through or an error stands;
//! - bytes are *volatile* after [`DiskFile::write_at`] and *durable* after [`DiskFile::sync`] or
//!   [`DiskFile::write_durable_at`] returned `Ok`; a length set by [`DiskFile::allocate`] is durable
//!   after [`DiskFile::sync`];
//! - a created, renamed or removed name is durable after [`Disk::sync_dir`] of its directory;
//! - after a failed write or sync the state of the bytes is unknown: a backend never calls sync
//!   again for the same bytes on its own.

use super::errno::EOPNOTSUPP;
use super::{Block, BufferPool, IoFailure, IoOp, LockFailure, ReadPart, WritePart};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// How to open a file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; `EEXIST` when the name is taken.
    CreateNew,
    /// The same for a file that nobody makes durable: through the kernel's page cache, which keeps what it
    /// has room for.
    CreateScratch,
}

impl OpenMode {
    /// Whether there must be no such file before.
    pub fn creates(self) -> bool {
        matches!(self, Self::CreateNew | Self::CreateScratch)
    }
}

/// What a directory entry is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else (symbolic link, socket, device): never opened.
    Other,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileEntry {
    /// The name inside its directory.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes; 0 for anything but a file.
    pub bytes: u64,
}

/// Holds the store's lock until dropped.
pub trait StoreLock: Send + Sync + fmt::Debug {}

/// A directory of files: the store's.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens or creates a file.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `ELOOP` for a symbolic link, or whatever the kernel says.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>, IoFailure>;

    /// Lists a directory, sorted by name.
    ///
    /// # Errors
    /// `ENOENT` when there is no such directory.
    fn list(&self, dir: &Path) -> Result<Vec<FileEntry>, IoFailure>;

    /// Creates a directory (mode 0700) unless it is there.
    ///
    /// # Errors
    /// `ENOTDIR` when the name is taken by something else.
    fn create_dir(&self, dir: &Path) -> Result<(), IoFailure>;

    /// Renames a file; never replaces one.
    ///
    /// # Errors
    /// `EEXIST` when `to` is there.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoFailure>;

    /// Gives a file one more name, outside of the store's directory: `to` is a path of the process. Never
    /// replaces one. Whoever asks can do without: a disk may have no such thing.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where there are no such names, `EXDEV` on another file system, `EEXIST` when `to` is
    /// there.
    fn link_out(&self, path: &Path, to: &Path) -> Result<(), IoFailure> {
        let _ = to;
        Err(IoFailure {
            op: IoOp::Link,
            path: path.to_owned(),
            offset: None,
            errno: EOPNOTSUPP,
        })
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `ENOENT` when it is not there.
    fn remove(&self, path: &Path) -> Result<(), IoFailure>;

    /// Makes the names in a directory durable; the empty path is the store's directory itself.
    ///
    /// # Errors
    /// Whatever the kernel says.
    fn sync_dir(&self, dir: &Path) -> Result<(), IoFailure>;

    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// Whatever the kernel says.
    fn free_bytes(&self) -> Result<u64, IoFailure>;

    /// Takes the store's exclusive lock, without waiting.
    ///
    /// # Errors
    /// [`LockFailure::Held`] names the process that has it.
    fn lock(&self) -> Result<Box<dyn StoreLock>, LockFailure>;

    /// The backend, for people, with the reason where it is not the one that was asked for:
    /// `std (no direct I/O, open: Invalid argument (os error 22))`.
    fn describe(&self) -> String;

    /// The buffers that large transfers and batches of this disk are best made from.
    fn buffers(&self) -> &Arc<BufferPool>;
}

/// Removes a file that may not be there.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), IoFailure> {
    match disk.remove(path) {
        Err(failure) if !failure.is_not_found() => Err(failure),
        _ => Ok(()),
    }
}

/// An open file. All transfers are of whole blocks at offsets that are multiples of a block.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the kernel says.
    fn bytes(&self) -> Result<u64, IoFailure>;

    /// Fills `blocks` from `offset` on and returns how many *bytes* the file had there; the rest
    /// of `blocks`, behind the end of the file, is filled with zeros.
    ///
    /// # Errors
    /// Whatever the kernel says.
    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure>;

    /// Writes `blocks`; they are volatile afterwards.
    ///
    /// # Errors
    /// Whatever the kernel says; part of the bytes may have been written.
    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure>;

    /// Fills every part as [`DiskFile::read_at`] does, in any order or all at a time, and sets how
    /// many bytes the file had for each.
    ///
    /// # Errors
    /// `EINVAL` when parts overlap, else whatever the kernel says of the first part that failed; of
    /// all others any may have been filled.
    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> Result<(), IoFailure> {
        for part in parts {
            part.found = self.read_at(part.offset, part.blocks)?;
        }
        Ok(())
    }

    /// Writes every part as [`DiskFile::write_at`] does, in any order or all at a time: they are
    /// volatile afterwards, each on its own.
    ///
    /// # Errors
    /// `EINVAL` when parts overlap, else whatever the kernel says of the first part that failed; of
    /// all others, and of that one, any part may have been written.
    fn write_many(&self, parts: &[WritePart<'_>]) -> Result<(), IoFailure> {
        parts
            .iter()
            .try_for_each(|part| self.write_at(part.offset, part.blocks))
    }

    /// Writes `blocks` and returns when they are durable.
    ///
    /// # Errors
    /// Whatever the kernel says; any part of the bytes may be there, durable or not.
    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure>;

    /// The same of blocks that stand one piece behind the other in the file, and anywhere in memory.
    ///
    /// # Errors
    /// As for [`DiskFile::write_durable_at`].
    fn write_durable_pieces(&self, offset: u64, pieces: &[&[Block]]) -> Result<(), IoFailure> {
        match pieces {
            [only] => self.write_durable_at(offset, only),
            pieces => self.write_durable_at(offset, &pieces.concat()),
        }
    }

    /// Returns when everything written to the file before the call is durable, its length too.
    ///
    /// # Errors
    /// Whatever the kernel says; calling again proves nothing about the same bytes.
    fn sync(&self) -> Result<(), IoFailure>;

    /// Makes the file at least `bytes` long and reserves the space; new bytes read as zeros.
    ///
    /// # Errors
    /// `ENOSPC` when the space is not there.
    fn allocate(&self, bytes: u64) -> Result<(), IoFailure>;
}
