//! An open file of the kernel.
//!
//! Invariant: a durable write is one call with `RWF_DSYNC` on direct I/O; where the kernel does not
//! know that flag, and on buffered I/O, it is a write followed by `fdatasync` of the whole file.
//!
//! Never: calls `fdatasync` again after it failed.

use super::transfer;
use crate::io::errno::{EINVAL, ENOSYS, EOPNOTSUPP};
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure, IoOp};
use rustix::fd::OwnedFd;
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// How the files of one disk are read and written.
#[derive(Debug)]
pub(super) struct Transfers {
    pub(super) direct: bool,
    /// Cleared when the kernel turns out not to know `RWF_DSYNC`.
    dsync: AtomicBool,
}

impl Transfers {
    pub(super) fn new(direct: bool) -> Self {
        Self {
            direct,
            dsync: AtomicBool::new(direct),
        }
    }

    /// Where a transfer may be cut in two.
    fn grain(&self) -> usize {
        if self.direct { BLOCK_BYTES } else { 1 }
    }
}

/// A regular file.
#[derive(Debug)]
pub(super) struct NativeFile {
    fd: OwnedFd,
    path: PathBuf,
    transfers: Arc<Transfers>,
}

impl NativeFile {
    pub(super) fn new(fd: OwnedFd, path: &Path, transfers: Arc<Transfers>) -> Self {
        Self {
            fd,
            path: path.to_owned(),
            transfers,
        }
    }

    fn fail(&self, op: IoOp, offset: Option<u64>, errno: i32) -> IoFailure {
        IoFailure {
            op,
            path: self.path.clone(),
            offset,
            errno,
        }
    }

    fn length(&self) -> Result<u64, i32> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| e.raw_os_error())?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn write(
        &self,
        op: IoOp,
        offset: u64,
        blocks: &[Block],
        flags: ReadWriteFlags,
    ) -> Result<(), i32> {
        check(offset, blocks.len())?;
        transfer::write_all(op, blocks.as_bytes(), self.transfers.grain(), |at, rest| {
            let place = offset + at as u64;
            let written = if flags.is_empty() {
                rustix::io::pwrite(&self.fd, rest, place)
            } else {
                rustix::io::pwritev2(&self.fd, &[IoSlice::new(rest)], place, flags)
            };
            written.map_err(|e| e.raw_os_error())
        })
    }

    fn write_durable(&self, offset: u64, blocks: &[Block]) -> Result<(), i32> {
        let op = IoOp::WriteDurable;
        if self.transfers.dsync.load(Ordering::Relaxed) {
            match self.write(op, offset, blocks, ReadWriteFlags::DSYNC) {
                // Refused before a byte was taken: the other way is still open.
                Err(EOPNOTSUPP | ENOSYS) => self.transfers.dsync.store(false, Ordering::Relaxed),
                answer => return answer,
            }
        }
        self.write(op, offset, blocks, ReadWriteFlags::empty())?;
        self.fdatasync(op)
    }

    fn fdatasync(&self, op: IoOp) -> Result<(), i32> {
        transfer::uninterrupted(op, || {
            rustix::fs::fdatasync(&self.fd).map_err(|e| e.raw_os_error())
        })
    }

    fn extend(&self, bytes: u64) -> Result<(), i32> {
        if bytes == 0 {
            return Ok(());
        }
        let reserved = transfer::uninterrupted(IoOp::Allocate, || {
            rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), 0, bytes)
                .map_err(|e| e.raw_os_error())
        });
        match reserved {
            // No way to reserve here: a length is all there is, and a write may find the disk full.
            Err(EOPNOTSUPP | ENOSYS) if self.length()? < bytes => {
                rustix::fs::ftruncate(&self.fd, bytes).map_err(|e| e.raw_os_error())
            }
            Err(EOPNOTSUPP | ENOSYS) => Ok(()),
            other => other,
        }
    }
}

impl DiskFile for NativeFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.length().map_err(|e| self.fail(IoOp::Read, None, e))
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        let failed = |errno| self.fail(IoOp::Read, Some(offset), errno);
        check(offset, blocks.len()).map_err(failed)?;
        let bytes = blocks.as_mut_bytes();
        let filled = transfer::read_all(
            bytes,
            self.transfers.grain(),
            |at, rest| {
                let place = offset + at as u64;
                rustix::io::pread(&self.fd, rest, place).map_err(|e| e.raw_os_error())
            },
            || {
                let behind = self.length()?.saturating_sub(offset);
                Ok(usize::try_from(behind).unwrap_or(usize::MAX))
            },
        );
        let filled = filled.map_err(failed)?;
        // A direct read may have put anything there.
        bytes[filled..].fill(0);
        Ok(filled)
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.write(IoOp::Write, offset, blocks, ReadWriteFlags::empty())
            .map_err(|e| self.fail(IoOp::Write, Some(offset), e))
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.write_durable(offset, blocks)
            .map_err(|e| self.fail(IoOp::WriteDurable, Some(offset), e))
    }

    fn sync(&self) -> Result<(), IoFailure> {
        self.fdatasync(IoOp::Sync)
            .map_err(|e| self.fail(IoOp::Sync, None, e))
    }

    fn allocate(&self, bytes: u64) -> Result<(), IoFailure> {
        self.extend(bytes)
            .map_err(|e| self.fail(IoOp::Allocate, None, e))
    }
}

/// Refuses what no direct transfer could do.
fn check(offset: u64, blocks: usize) -> Result<(), i32> {
    let bytes = (blocks as u64).checked_mul(BLOCK);
    let end = bytes.and_then(|bytes| offset.checked_add(bytes));
    let fits = end.is_some_and(|end| i64::try_from(end).is_ok());
    if fits && offset.is_multiple_of(BLOCK) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}
