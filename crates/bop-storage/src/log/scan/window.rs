//! Reading a segment file from front to back through a bounded buffer.
//!
//! Invariant: the buffer holds one window, or the one batch that is larger than a window; each byte
//! in it was read once, so no caller sees bytes of two reads of the same place.

use crate::error::Reject;
use crate::io::{BLOCK_BYTES, Block, DiskFile, blocks_for};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Blocks read at once: 1 MiB.
const WINDOW_BLOCKS: usize = 256;

/// The part of a file that was read last.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    blocks: Vec<Block>,
    /// Where the window starts in the file.
    start: u64,
    /// Bytes in it; the file may end inside.
    filled: usize,
    /// Reads stop here: the end of the segment.
    limit: u64,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, limit: u64) -> Self {
        Self {
            file,
            blocks: Vec::new(),
            start: 0,
            filled: 0,
            limit,
        }
    }

    /// Forgets what was read, so that the next call asks the device again.
    pub(super) fn forget(&mut self) {
        self.filled = 0;
    }

    /// `bytes` bytes at `offset`, which is a multiple of a block.
    ///
    /// # Errors
    /// [`Reject::Truncated`] when the file ends before, [`Reject::Unreadable`].
    pub(super) fn get(&mut self, offset: u64, bytes: usize) -> Result<&[u8], Reject> {
        let at = match self.at(offset, bytes) {
            Some(at) => at,
            None => {
                self.fill(offset, bytes)?;
                0
            }
        };
        let held = &self.blocks.as_bytes()[..self.filled];
        held.get(at..at + bytes).ok_or(Reject::Truncated {
            found: self.start + self.filled as u64,
            needed: offset + bytes as u64,
        })
    }

    /// `bytes` bytes at any `offset`.
    ///
    /// # Errors
    /// As for [`Window::get`].
    pub(super) fn get_anywhere(&mut self, offset: u64, bytes: usize) -> Result<&[u8], Reject> {
        let start = offset - offset % BLOCK_BYTES as u64;
        // Fits: the remainder is smaller than a block.
        let skip = (offset - start) as usize;
        Ok(&self.get(start, skip + bytes)?[skip..])
    }

    /// Where in the buffer the wanted bytes are, if all of them are there.
    fn at(&self, offset: u64, bytes: usize) -> Option<usize> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (at.checked_add(bytes)? <= self.filled).then_some(at)
    }

    fn fill(&mut self, offset: u64, bytes: usize) -> Result<(), Reject> {
        let needed = blocks_for(bytes);
        let left = self.limit.saturating_sub(offset) / BLOCK_BYTES as u64;
        let ahead = usize::try_from(left).unwrap_or(usize::MAX);
        let wanted = ahead.min(WINDOW_BLOCKS).max(needed);
        let kept = self.keep_from(offset);
        if self.read(offset, kept, wanted).is_ok() {
            return Ok(());
        }
        // A bad sector somewhere in the window must not hide the good ones before it.
        self.read(offset, 0, needed)
    }

    /// Moves what is held from `offset` on to the front: a batch at the end of a window is not read
    /// twice. Returns how many blocks that are.
    fn keep_from(&mut self, offset: u64) -> usize {
        let held = self.filled / BLOCK_BYTES;
        let behind = offset
            .checked_sub(self.start)
            .map(|bytes| bytes / BLOCK_BYTES as u64);
        match behind.and_then(|blocks| usize::try_from(blocks).ok()) {
            Some(from) if 0 < from && from < held => {
                self.blocks.copy_within(from..held, 0);
                held - from
            }
            _ => 0,
        }
    }

    /// Reads `blocks` blocks from `offset` on, of which the buffer has the first `kept` already.
    fn read(&mut self, offset: u64, kept: usize, blocks: usize) -> Result<(), Reject> {
        self.filled = 0;
        self.start = offset;
        self.blocks.resize(blocks, Block::ZERO);
        let kept_bytes = kept * BLOCK_BYTES;
        let from = offset + kept_bytes as u64;
        let read = self.file.read_at(from, &mut self.blocks[kept..]);
        self.filled = kept_bytes + read.map_err(Reject::Unreadable)?;
        Ok(())
    }
}
