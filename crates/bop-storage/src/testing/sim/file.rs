//! An open file of the simulated disk.
//!
//! Invariant: what direct I/O would refuse (an offset that is no multiple of a block, a write
//! through a handle for reading) is refused before the call counts.

use super::act::Act;
use super::disk::{SimDisk, failure};
use super::names::Inode;
use crate::io::batch::{check_parts, check_transfer};
use crate::io::errno::EBADF;
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure, IoOp, ReadPart, WritePart};
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
        let errno = if op != IoOp::Read && !self.writable {
            EBADF
        } else {
            match check_transfer(offset, count) {
                Ok(_) => return Ok(offset / BLOCK),
                Err(errno) => errno,
            }
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

    /// Each part is a write of its own, in an order that the seed decides, and one that fails keeps
    /// none of the others back: so any subset may be there after a failure or a cut.
    fn write_many(&self, parts: &[WritePart<'_>]) -> Result<(), IoFailure> {
        let places = parts.iter().map(|part| (part.offset, part.blocks.len()));
        let refused = check_parts(places);
        refused.map_err(|(at, errno)| failure(IoOp::Write, &self.path, Some(at), errno))?;
        let mut order: Vec<usize> = (0..parts.len()).collect();
        self.disk.state(|s| s.random.shuffle(&mut order));
        let mut answers: Vec<Result<(), IoFailure>> = vec![Ok(()); parts.len()];
        for part in order {
            answers[part] = self.write_at(parts[part].offset, parts[part].blocks);
        }
        answers.into_iter().collect()
    }

    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> Result<(), IoFailure> {
        let places = parts.iter().map(|part| (part.offset, part.blocks.len()));
        let refused = check_parts(places);
        refused.map_err(|(at, errno)| failure(IoOp::Read, &self.path, Some(at), errno))?;
        for part in parts {
            part.found = self.read_at(part.offset, part.blocks)?;
        }
        Ok(())
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
