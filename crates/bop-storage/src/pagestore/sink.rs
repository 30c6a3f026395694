//! A stream of bytes into a file of blocks, through one bounded buffer, digested on the way.
//!
//! Invariants
//! - every byte reaches the file once and in order;
//! - after a failed write nothing more is written: each later call answers the same failure.
//!
//! Never: knows what the bytes mean.

use crate::io::{BLOCK_BYTES, Block, DiskFile, IoFailure, zeroed_blocks};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;

/// Blocks of the buffer: 1 MiB.
const BUFFER_BLOCKS: usize = 256;

pub(super) struct BlockSink {
    file: Arc<dyn DiskFile>,
    buffer: Vec<Block>,
    /// Bytes of the buffer that are waiting.
    filled: usize,
    /// Where the buffer belongs in the file.
    buffer_offset: u64,
    digest: Xxh3,
    failed: Option<IoFailure>,
}

impl BlockSink {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self {
            file,
            buffer: zeroed_blocks(BUFFER_BLOCKS),
            filled: 0,
            buffer_offset: 0,
            digest: Xxh3::new(),
            failed: None,
        }
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.buffer_offset + self.filled as u64
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), IoFailure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room()?;
            let taken = rest.len().min(room.len());
            let (head, behind) = rest.split_at(taken);
            room[..taken].copy_from_slice(head);
            self.filled += taken;
            rest = behind;
        }
        Ok(())
    }

    /// Appends zeros until the position is `rest` above a multiple of `multiple`.
    pub(super) fn pad_to(&mut self, multiple: usize, rest: usize) -> Result<(), IoFailure> {
        // The buffer starts at a block, and every multiple asked for divides a block.
        while self.filled % multiple != rest {
            let over = (self.filled + multiple - rest) % multiple;
            let room = self.room()?;
            let taken = (multiple - over).min(room.len());
            room[..taken].fill(0);
            self.filled += taken;
        }
        Ok(())
    }

    /// Appends a footer that ends a block, made from the digest of all bytes before it and the
    /// length of the whole file, and returns when everything is durable.
    pub(super) fn finish<F: IntoBytes + zerocopy::Immutable>(
        &mut self,
        footer: impl FnOnce(u128, u64) -> F,
    ) -> Result<(), IoFailure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let footer_bytes = size_of::<F>();
        self.pad_to(BLOCK_BYTES, BLOCK_BYTES - footer_bytes)?;
        self.digest.update(&self.buffer.as_bytes()[..self.filled]);
        let chunk_bytes = self.position() + footer_bytes as u64;
        let footer = footer(self.digest.digest128(), chunk_bytes);
        let end = self.filled + footer_bytes;
        self.buffer.as_mut_bytes()[self.filled..end].copy_from_slice(footer.as_bytes());
        let blocks = &self.buffer[..end / BLOCK_BYTES];
        let written = self.file.write_at(self.buffer_offset, blocks);
        written
            .and_then(|()| self.file.sync())
            .inspect_err(|failure| self.failed = Some(failure.clone()))
    }

    /// The free part of the buffer, at least one byte of it.
    fn room(&mut self) -> Result<&mut [u8], IoFailure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        if self.filled == BUFFER_BLOCKS * BLOCK_BYTES {
            if let Err(failure) = self.file.write_at(self.buffer_offset, &self.buffer) {
                self.failed = Some(failure.clone());
                return Err(failure);
            }
            self.digest.update(self.buffer.as_bytes());
            self.buffer_offset += self.filled as u64;
            self.filled = 0;
        }
        Ok(&mut self.buffer.as_mut_bytes()[self.filled..])
    }
}

impl std::fmt::Debug for BlockSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "BlockSink(at byte {} of {:?})",
            self.position(),
            self.file
        )
    }
}
