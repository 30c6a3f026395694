//! Reading byte ranges of a chunk's file.
//!
//! Invariants
//! - no more is allocated than the file has, which is asked once, at opening;
//! - a failed read is tried once more, into a fresh buffer; reads have no side effects, and some
//!   devices answer the second time.
//!
//! Never: looks at the bytes.

use super::checksums::Owner;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::StoreId;
use crate::io::{
    BLOCK_BYTES, BUFFER_BYTES, Block, BufferPool, Disk, DiskFile, OpenMode, PoolBuffer, ReadPart,
    errno, layout, zeroed_blocks,
};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Buffers that are read together: 2 MiB.
const AHEAD_MAX: usize = 8;

/// The file of a chunk.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) owner: Owner,
    /// Bytes of the file.
    pub(super) bytes: u64,
    file: Arc<dyn DiskFile>,
    pool: Arc<BufferPool>,
}

/// The blocks that hold a byte range.
#[derive(Debug)]
pub(super) struct Span {
    blocks: Vec<Block>,
    start: usize,
    bytes: usize,
}

impl Source {
    pub(super) fn open(disk: &dyn Disk, owner: Owner) -> Result<Self, ReadError> {
        let path = layout::chunk(owner.chunk_id);
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(failure) if failure.errno == errno::ENOENT => {
                return Err(Damage::new(Place::File(path), Reject::Missing).into());
            }
            Err(failure) => return Err(failure.into()),
        };
        let bytes = file.bytes()?;
        let pool = Arc::clone(disk.buffers());
        Ok(Self {
            owner,
            bytes,
            file,
            pool,
        })
    }

    pub(super) fn store_id(&self) -> &StoreId {
        &self.owner.store_id
    }

    pub(super) fn path(&self) -> PathBuf {
        layout::chunk(self.owner.chunk_id)
    }

    pub(super) fn damage(&self, offset: u64, reason: Reject) -> Damage {
        let chunk = self.owner.chunk_id;
        Damage::new(Place::Chunk { chunk, offset }, reason)
    }

    /// Reads `bytes` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, bytes: u64) -> Result<Span, ReadError> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        let short = Reject::Truncated {
            found: self.bytes,
            needed: end.unwrap_or(u64::MAX).max(offset),
        };
        let (Some(end), Ok(bytes)) = (end, usize::try_from(bytes)) else {
            return Err(self.damage(offset, short).into());
        };
        if bytes == 0 {
            return Ok(Span::EMPTY);
        }
        let first = offset - offset % BLOCK;
        // Both fit: the range lies inside the file, and its length fits `usize`.
        let (start, count) = ((offset - first) as usize, (end - first).div_ceil(BLOCK));
        let count = usize::try_from(count).map_err(|_| self.damage(offset, short.clone()))?;
        let (blocks, found) = self.read_blocks(first, count)?;
        if found < start + bytes {
            return Err(self.damage(offset, short).into());
        }
        Ok(Span {
            blocks,
            start,
            bytes,
        })
    }

    /// Reads everything before `end`, several buffers of the disk's at a time, and shows it in order,
    /// until `body` ends it.
    pub(super) fn scan(
        &self,
        end: u64,
        mut body: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let take = || self.pool.try_take();
        // One read is enough for a small file, and no more buffers than a larger one fills.
        let reads = usize::try_from(end.div_ceil(BUFFER_BYTES as u64)).unwrap_or(AHEAD_MAX);
        let ahead = if reads > 1 { reads.min(AHEAD_MAX) } else { 0 };
        let mut buffers: Vec<_> = std::iter::from_fn(take).take(ahead).collect();
        let mut offset = 0;
        while offset < end {
            if !self.read_ahead(offset, &mut buffers) {
                // Once more, with the second try and the errors of a single read.
                let bytes = (BUFFER_BYTES as u64).min(end - offset);
                if body(self.read(offset, bytes)?.bytes()).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                offset += bytes;
                continue;
            }
            for buffer in &buffers {
                // At most a buffer, so it fits.
                let bytes = (BUFFER_BYTES as u64).min(end - offset) as usize;
                if body(&buffer.as_bytes()[..bytes]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                offset += bytes as u64;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Fills the buffers from `offset` on in one batch; `false` when there are none, or one could
    /// not be filled as far as the file goes.
    fn read_ahead(&self, offset: u64, buffers: &mut [PoolBuffer]) -> bool {
        let offsets = (offset..).step_by(BUFFER_BYTES);
        let mut parts: Vec<ReadPart<'_>> = offsets
            .zip(buffers)
            .map(|(offset, buffer)| ReadPart::new(offset, buffer))
            .collect();
        if parts.is_empty() || self.file.read_many(&mut parts).is_err() {
            return false;
        }
        parts.iter().all(|part| {
            let there = self.bytes.saturating_sub(part.offset);
            part.found as u64 >= there.min(BUFFER_BYTES as u64)
        })
    }

    /// A buffer of the disk's, if one is free.
    pub(super) fn buffer(&self) -> Option<PoolBuffer> {
        self.pool.try_take()
    }

    /// Reads blocks from `offset` on; whether that went well and the file has `needed` bytes there. Is
    /// not tried again: who needs the bytes reads them by [`Source::read`] then.
    pub(super) fn fill(&self, offset: u64, blocks: &mut [Block], needed: usize) -> bool {
        let found = self.file.read_at(offset, blocks);
        found.is_ok_and(|found| found >= needed)
    }

    fn read_blocks(&self, offset: u64, count: usize) -> Result<(Vec<Block>, usize), ReadError> {
        let mut blocks = zeroed_blocks(count);
        if let Ok(found) = self.file.read_at(offset, &mut blocks) {
            return Ok((blocks, found));
        }
        let mut blocks = zeroed_blocks(count);
        let found = self.file.read_at(offset, &mut blocks)?;
        Ok((blocks, found))
    }
}

impl Span {
    const EMPTY: Self = Self {
        blocks: Vec::new(),
        start: 0,
        bytes: 0,
    };

    pub(super) fn bytes(&self) -> &[u8] {
        &self.blocks.as_bytes()[self.start..self.start + self.bytes]
    }
}
