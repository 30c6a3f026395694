//! An open file of the simulated disk.
//!
//! Invariant: what direct I/O would refuse (an offset that is no multiple of a block, a write
//! through a handle for reading) is refused before the call counts.

use super::act::Act;
use super::disk::{SimDisk, failure};
use super::names::Inode;
use crate::io::errno::{EBADF, EINVAL};
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure, IoOp};
use std::fmt;
use std::path::{Path, PathBuf};

const BLOCK: u64 = BLOCK_BYTES as u64;

pub(super) struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: Inode,
    writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, path: &Path, inode: Inode, writable: bool) -> Self {
        Self {
            disk,
            path: path.to_owned(),
            inode,
            writable,
        }
    }

    /// The number of the block at `offset`; what direct I/O would refuse is refused.
    fn first_block(&self, op: IoOp, offset: u64, count: usize) -> Result<u64, IoFailure> {
        let bytes = (count as u64).checked_mul(BLOCK);
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        let errno = if op != IoOp::Read && !self.writable {
            EBADF
        } else if !offset.is_multiple_of(BLOCK) || end.is_none_or(|end| end > i64::MAX as u64) {
            EINVAL
        } else {
            return Ok(offset / BLOCK);
        };
        Err(failure(op, &self.path, Some(offset), errno))
    }
}

impl DiskFile for SimFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.disk.look(IoOp::Read, &self.path, None, |_| {
            Ok(self.inode.lock().bytes())
        })
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        let first = self.first_block(IoOp::Read, offset, blocks.len())?;
        self.disk.look(IoOp::Read, &self.path, Some(offset), |_| {
            Ok(self.inode.lock().read(first, blocks))
        })
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        let first = self.first_block(IoOp::Write, offset, blocks.len())?;
        let act = Act::Write(&self.inode, first, blocks);
        self.disk.change(IoOp::Write, &self.path, Some(offset), act)
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        let first = self.first_block(IoOp::WriteDurable, offset, blocks.len())?;
        let act = Act::WriteDurable(&self.inode, first, blocks);
        self.disk
            .change(IoOp::WriteDurable, &self.path, Some(offset), act)
    }

    fn sync(&self) -> Result<(), IoFailure> {
        self.disk
            .change(IoOp::Sync, &self.path, None, Act::Sync(&self.inode))
    }

    fn allocate(&self, bytes: u64) -> Result<(), IoFailure> {
        if !self.writable {
            return Err(failure(IoOp::Allocate, &self.path, None, EBADF));
        }
        let act = Act::Allocate(&self.inode, bytes);
        self.disk.change(IoOp::Allocate, &self.path, None, act)
    }
}
