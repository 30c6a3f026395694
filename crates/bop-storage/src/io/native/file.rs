//! An open file of the kernel, for every backend.
//!
//! ```text
//!   single transfer ---- std, direct: pread, pwrite, pwritev2
//!                  '---- uring: a ring; plain calls where none is free, and for what is in pieces
//!   batch -------------- a ring; plain calls one by one where there is none, or none is free
//!   sync --------------- fdatasync
//! ```
//! Invariant: a durable write is one call with `RWF_DSYNC` on direct I/O; where the kernel does not
//! know that flag, and through the page cache, it is a write followed by `fdatasync` of the whole
//! file.
//!
//! Never: calls `fdatasync` again after it failed.

use super::choose::Choice;
#[cfg(any(test, feature = "testing"))]
use super::shadow::Shadow;
use super::transfer::{self, Progress};
use super::uring::Part;
use crate::io::batch::{check_parts, check_transfer};
use crate::io::errno::{ENOSYS, EOPNOTSUPP};
use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure, IoOp, ReadPart, WritePart};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use smallvec::SmallVec;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::IntoBytes;

/// How the files of one disk are read and written.
#[derive(Debug)]
pub(super) struct Transfers {
    choice: Choice,
    /// Cleared when the kernel turns out not to know `RWF_DSYNC`.
    dsync: AtomicBool,
}

impl Transfers {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            dsync: AtomicBool::new(choice.direct),
            choice,
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.choice.direct
    }

    /// Where a transfer may be cut in two.
    fn grain(&self) -> usize {
        if self.choice.direct { BLOCK_BYTES } else { 1 }
    }
}

/// A regular file.
#[derive(Debug)]
pub(super) struct NativeFile {
    fd: OwnedFd,
    path: PathBuf,
    transfers: Arc<Transfers>,
    #[cfg(any(test, feature = "testing"))]
    shadow: Shadow<dyn DiskFile>,
}

impl NativeFile {
    pub(super) fn new(fd: OwnedFd, path: &Path, transfers: Arc<Transfers>) -> Self {
        Self {
            fd,
            path: path.to_owned(),
            transfers,
            #[cfg(any(test, feature = "testing"))]
            shadow: Shadow::none(),
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn shadowed_by(mut self, shadow: Shadow<dyn DiskFile>) -> Self {
        self.shadow = shadow;
        self
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

    /// Makes all of `parts` whole by a ring, and says how many bytes each moved; the first that
    /// failed, and how. `None` where no ring is free, or a single part is not to go by one.
    fn by_ring(
        &self,
        op: IoOp,
        parts: &mut [Part<'_>],
    ) -> Option<Result<Vec<usize>, (usize, i32)>> {
        let choice = &self.transfers.choice;
        if parts.len() < 2 && !choice.all_by_ring {
            return None;
        }
        let rings = choice.rings.as_ref()?;
        let grain = self.transfers.grain();
        let progress = |part: &Part<'_>| Progress::new(op, part.len(), grain);
        let mut progress: Vec<Progress> = parts.iter().map(progress).collect();
        let length = || self.length();
        let answer = rings.run(self.fd.as_fd(), parts, &mut progress, &length)?;
        Some(answer.map(|()| progress.iter().map(Progress::done).collect()))
    }

    fn write(
        &self,
        op: IoOp,
        offset: u64,
        pieces: &[&[Block]],
        flags: ReadWriteFlags,
    ) -> Result<(), i32> {
        let blocks = pieces.iter().map(|piece| piece.len()).sum();
        check_transfer(offset, blocks)?;
        let answer = match pieces {
            [only] => self.by_ring(op, &mut [Part::write(offset, only.as_bytes(), flags)]),
            // A ring would make a durable write of each.
            _ => None,
        };
        let written = match answer {
            Some(answer) => answer.map(drop).map_err(|(_, errno)| errno),
            None => {
                let (bytes, grain) = (blocks * BLOCK_BYTES, self.transfers.grain());
                transfer::write_all(op, bytes, grain, |at| {
                    self.write_once(offset + at as u64, &rest_of(pieces, at), flags)
                })
            }
        };
        #[cfg(any(test, feature = "testing"))]
        let written = written.and_then(|()| {
            self.shadow.hears(|file| {
                if flags.contains(ReadWriteFlags::DSYNC) {
                    file.write_durable_pieces(offset, pieces)
                } else {
                    file.write_at(offset, &pieces.concat())
                }
            })
        });
        written
    }

    /// One call of the kernel. How many bytes it took.
    fn write_once(
        &self,
        place: u64,
        rest: &[IoSlice<'_>],
        flags: ReadWriteFlags,
    ) -> Result<usize, i32> {
        let written = match rest {
            [only] if flags.is_empty() => rustix::io::pwrite(&self.fd, only, place),
            rest => rustix::io::pwritev2(&self.fd, rest, place, flags),
        };
        written.map_err(|e| e.raw_os_error())
    }

    /// Fills `bytes` from `offset` on; how many there were.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, i32> {
        let mut part = [Part::read(offset, bytes)];
        if let Some(answer) = self.by_ring(IoOp::Read, &mut part) {
            let moved = answer.map_err(|(_, errno)| errno)?;
            return Ok(moved.first().copied().unwrap_or(0));
        }
        transfer::read_all(
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
        )
    }

    fn write_durable(&self, offset: u64, pieces: &[&[Block]]) -> Result<(), i32> {
        let op = IoOp::WriteDurable;
        if self.transfers.dsync.load(Ordering::Relaxed) {
            match self.write(op, offset, pieces, ReadWriteFlags::DSYNC) {
                // Refused before a byte was taken: the other way is still open.
                Err(EOPNOTSUPP | ENOSYS) => self.transfers.dsync.store(false, Ordering::Relaxed),
                answer => return answer,
            }
        }
        // One by one, as all that goes through the page cache.
        let mut place = offset;
        for piece in pieces {
            self.write(op, place, &[piece], ReadWriteFlags::empty())?;
            place += piece.as_bytes().len() as u64;
        }
        self.fdatasync(op)
    }

    fn fdatasync(&self, op: IoOp) -> Result<(), i32> {
        let synced = transfer::uninterrupted(op, || {
            rustix::fs::fdatasync(&self.fd).map_err(|e| e.raw_os_error())
        });
        #[cfg(any(test, feature = "testing"))]
        let synced = synced.and_then(|()| self.shadow.hears(|file| file.sync()));
        synced
    }

    fn extend(&self, bytes: u64) -> Result<(), i32> {
        if bytes == 0 {
            return Ok(());
        }
        #[cfg(any(test, feature = "testing"))]
        self.shadow.hears(|file| file.allocate(bytes))?;
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

/// What is left of `pieces` when so many bytes of them are written.
fn rest_of<'p>(pieces: &'p [&[Block]], written: usize) -> SmallVec<[IoSlice<'p>; 3]> {
    let mut skipped = written;
    let mut rest = SmallVec::new();
    for piece in pieces {
        let (_, left) = piece
            .as_bytes()
            .split_at(skipped.min(piece.as_bytes().len()));
        skipped -= piece.as_bytes().len() - left.len();
        if !left.is_empty() {
            rest.push(IoSlice::new(left));
        }
    }
    rest
}

impl DiskFile for NativeFile {
    fn bytes(&self) -> Result<u64, IoFailure> {
        self.length().map_err(|e| self.fail(IoOp::Read, None, e))
    }

    fn read_at(&self, offset: u64, blocks: &mut [Block]) -> Result<usize, IoFailure> {
        let failed = |errno| self.fail(IoOp::Read, Some(offset), errno);
        check_transfer(offset, blocks.len()).map_err(failed)?;
        let bytes = blocks.as_mut_bytes();
        let filled = self.read(offset, bytes).map_err(failed)?;
        // A direct read may have put anything there.
        bytes[filled..].fill(0);
        Ok(filled)
    }

    fn read_many(&self, parts: &mut [ReadPart<'_>]) -> Result<(), IoFailure> {
        let places = parts.iter().map(|part| (part.offset, part.blocks.len()));
        check_parts(places).map_err(|(at, errno)| self.fail(IoOp::Read, Some(at), errno))?;
        let mut by_ring: Vec<Part<'_>> = parts
            .iter_mut()
            .map(|part| Part::read(part.offset, part.blocks.as_mut_bytes()))
            .collect();
        let answer = self.by_ring(IoOp::Read, &mut by_ring);
        match answer {
            None => {
                for part in parts {
                    part.found = self.read_at(part.offset, part.blocks)?;
                }
            }
            Some(Ok(moved)) => {
                for (part, moved) in parts.iter_mut().zip(moved) {
                    part.found = moved;
                    part.blocks.as_mut_bytes()[moved..].fill(0);
                }
            }
            Some(Err((part, errno))) => {
                let at = parts.get(part).map(|part| part.offset);
                return Err(self.fail(IoOp::Read, at, errno));
            }
        }
        Ok(())
    }

    fn write_many(&self, parts: &[WritePart<'_>]) -> Result<(), IoFailure> {
        let places = parts.iter().map(|part| (part.offset, part.blocks.len()));
        check_parts(places).map_err(|(at, errno)| self.fail(IoOp::Write, Some(at), errno))?;
        let flags = ReadWriteFlags::empty();
        let mut by_ring: Vec<Part<'_>> = parts
            .iter()
            .map(|part| Part::write(part.offset, part.blocks.as_bytes(), flags))
            .collect();
        match self.by_ring(IoOp::Write, &mut by_ring) {
            None => parts
                .iter()
                .try_for_each(|part| self.write_at(part.offset, part.blocks)),
            Some(Ok(_)) => {
                #[cfg(any(test, feature = "testing"))]
                self.shadow
                    .hears(|file| file.write_many(parts))
                    .map_err(|errno| self.fail(IoOp::Write, None, errno))?;
                Ok(())
            }
            Some(Err((part, errno))) => {
                let at = parts.get(part).map(|part| part.offset);
                Err(self.fail(IoOp::Write, at, errno))
            }
        }
    }

    fn write_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.write(IoOp::Write, offset, &[blocks], ReadWriteFlags::empty())
            .map_err(|e| self.fail(IoOp::Write, Some(offset), e))
    }

    fn write_durable_at(&self, offset: u64, blocks: &[Block]) -> Result<(), IoFailure> {
        self.write_durable_pieces(offset, &[blocks])
    }

    fn write_durable_pieces(&self, offset: u64, pieces: &[&[Block]]) -> Result<(), IoFailure> {
        self.write_durable(offset, pieces)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_begins_inside_a_piece_and_without_those_that_were_written() {
        let blocks: Vec<_> = (0..5).map(|nth| Block([nth; BLOCK_BYTES])).collect();
        let pieces: [&[Block]; 4] = [&blocks[..1], &[], &blocks[1..3], &blocks[3..]];
        for written in [0, 1, 4095, 4096, 4097, 3 * 4096, 5 * 4096 - 1, 5 * 4096] {
            let rest = rest_of(&pieces, written);
            let rest: Vec<u8> = rest.iter().flat_map(|piece| piece.to_vec()).collect();
            assert!(rest == blocks.as_bytes()[written..], "{written}");
        }
        assert_eq!(rest_of(&pieces, 4096).len(), 2, "nothing empty");
    }
}
