//! A stream of bytes into a file of blocks, through a few buffers of the disk's pool that are written
//! together, digested on the way.
//!
//! Invariants
//! - every byte reaches the file once and in order, but for the writes of one batch, which may reach
//!   it in any: nothing of a chunk counts before the sync at its end;
//! - it waits for its first buffer only; where the pool has no more, it does with fewer;
//! - after a failed write nothing more is written: each later call answers the same failure.
//!
//! Never: knows what the bytes mean.

use crate::error::CheckpointError;
use crate::io::{
    BLOCK_BYTES, BUFFER_BYTES, BufferPool, DiskFile, IoFailure, PoolBuffer, WritePart,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;
use zerocopy::IntoBytes;

/// Buffers that are written together: 2 MiB.
const BUFFERS_MAX: usize = 8;
/// How long to wait for the first one.
const BUFFER_WAIT: Duration = Duration::from_secs(30);

pub(super) struct BlockSink {
    file: Arc<dyn DiskFile>,
    pool: Arc<BufferPool>,
    /// At least one; taken when the ones before are full.
    buffers: Vec<PoolBuffer>,
    /// Bytes of the buffers that are waiting.
    filled: usize,
    /// Where the first buffer belongs in the file.
    buffer_offset: u64,
    digest: Xxh3,
    failed: Option<IoFailure>,
}

impl BlockSink {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        pool: &Arc<BufferPool>,
    ) -> Result<Self, CheckpointError> {
        let first = pool.take(Instant::now() + BUFFER_WAIT);
        let first = first.ok_or(CheckpointError::Limit("no buffer within half a minute"))?;
        Ok(Self {
            file,
            pool: Arc::clone(pool),
            buffers: vec![first],
            filled: 0,
            buffer_offset: 0,
            digest: Xxh3::new(),
            failed: None,
        })
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
        // A buffer starts at a block, and every multiple asked for divides a block.
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
        self.digest_waiting();
        let chunk_bytes = self.position() + footer_bytes as u64;
        let footer = footer(self.digest.digest128(), chunk_bytes);
        // What was padded is not a whole number of blocks, so this room is that of the same block.
        self.room()?[..footer_bytes].copy_from_slice(footer.as_bytes());
        self.filled += footer_bytes;
        let written = self.write_waiting();
        written
            .and_then(|()| self.file.sync())
            .inspect_err(|failure| self.failed = Some(failure.clone()))
    }

    /// The free part of a buffer, at least one byte of it.
    fn room(&mut self) -> Result<&mut [u8], IoFailure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        if self.filled == self.buffers.len() * BUFFER_BYTES {
            let more = self.buffers.len() < BUFFERS_MAX;
            match more.then(|| self.pool.try_take()).flatten() {
                Some(buffer) => self.buffers.push(buffer),
                None => {
                    let written = self.write_waiting();
                    written.inspect_err(|failure| self.failed = Some(failure.clone()))?;
                    self.digest_waiting();
                    self.buffer_offset += self.filled as u64;
                    self.filled = 0;
                }
            }
        }
        let buffer = &mut self.buffers[self.filled / BUFFER_BYTES];
        Ok(&mut buffer.as_mut_bytes()[self.filled % BUFFER_BYTES..])
    }

    /// Writes all that waits, whole blocks, in one batch.
    fn write_waiting(&self) -> Result<(), IoFailure> {
        let mut rest = self.filled / BLOCK_BYTES;
        let mut offset = self.buffer_offset;
        let mut parts = Vec::with_capacity(self.buffers.len());
        for buffer in &self.buffers {
            let blocks = &buffer[..rest.min(buffer.len())];
            if !blocks.is_empty() {
                parts.push(WritePart { offset, blocks });
            }
            rest -= blocks.len();
            offset += (blocks.len() * BLOCK_BYTES) as u64;
        }
        self.file.write_many(&parts)
    }

    fn digest_waiting(&mut self) {
        let mut rest = self.filled;
        for buffer in &self.buffers {
            let bytes = buffer.as_bytes();
            let bytes = &bytes[..rest.min(bytes.len())];
            self.digest.update(bytes);
            rest -= bytes.len();
        }
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
