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
use crate::io::{BLOCK_BYTES, Block, Disk, DiskFile, OpenMode, errno, layout, zeroed_blocks};
use std::path::PathBuf;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// The file of a chunk.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) owner: Owner,
    /// Bytes of the file.
    pub(super) bytes: u64,
    file: Arc<dyn DiskFile>,
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
        Ok(Self { owner, bytes, file })
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

    /// The blocks themselves, when the range is all of them.
    pub(super) fn into_whole_blocks(self) -> Result<Vec<Block>, Self> {
        if self.start == 0 && self.bytes == self.blocks.len() * BLOCK_BYTES {
            Ok(self.blocks)
        } else {
            Err(self)
        }
    }
}
