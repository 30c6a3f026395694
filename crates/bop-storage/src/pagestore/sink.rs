//! A stream of bytes into a file of blocks, through a few buffers of the disk's pool that are written
//! together, digested on the way.
//!
//! ```text
//!   a batch is filled --full--> an errand writes and digests it, while the next one is filled
//!                        |        '--waited for when the next one is full, too
//!                        '--nobody for it--> here, and used again
//! ```
//! Invariants
//! - every byte reaches the file once and in order, but for the writes of one batch, which may reach
//!   it in any: nothing of a chunk counts before the sync at its end;
//! - at most one batch is on its way, and none any more when the sync begins, or the sink is gone;
//! - it waits for its first buffer only; where the pool has no more, it does with fewer;
//! - after a failed write nothing more is written: each later call answers the same failure.
//!
//! Never: knows what the bytes mean.

use crate::checksum::Xxh128;
use crate::error::CheckpointError;
use crate::io::{
    BLOCK_BYTES, BUFFER_BYTES, BufferPool, DiskFile, IoFailure, IoOp, PoolBuffer, WritePart, errno,
};
use crate::runtime::sync::now;
use crate::runtime::{Errands, Pending, Waited};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

/// Buffers that are written together: 2 MiB.
const BUFFERS_MAX: usize = 8;
/// How long to wait for the first one.
const BUFFER_WAIT: Duration = Duration::from_secs(30);

pub(super) struct BlockSink {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    pool: Arc<BufferPool>,
    batch: Batch,
    /// Of all bytes before the batch; of the one that is on its way, too, when that comes back.
    digest: Xxh128,
    errands: Option<Arc<Errands>>,
    behind: Option<Pending<Written>>,
    failed: Option<IoFailure>,
}

/// Bytes that are written together.
struct Batch {
    /// Taken when the ones before are full.
    buffers: Vec<PoolBuffer>,
    /// Bytes in them.
    filled: usize,
    /// Where the first buffer belongs in the file.
    offset: u64,
}

/// A batch that was written, or was to be.
struct Written {
    outcome: Result<(), IoFailure>,
    buffers: Vec<PoolBuffer>,
    digest: Xxh128,
}

impl Batch {
    fn end(&self) -> u64 {
        self.offset + self.filled as u64
    }

    /// How many buffers are full, when the last of them has just become so.
    fn full_buffers(&self) -> Option<usize> {
        let is_edge = self.filled > 0 && self.filled.is_multiple_of(BUFFER_BYTES);
        is_edge.then_some(self.filled / BUFFER_BYTES)
    }

    /// Writes whole blocks, all at a time.
    fn write(&self, file: &dyn DiskFile) -> Result<(), IoFailure> {
        let mut rest = self.filled / BLOCK_BYTES;
        let mut offset = self.offset;
        let mut parts = Vec::with_capacity(self.buffers.len());
        for buffer in &self.buffers {
            let blocks = &buffer[..rest.min(buffer.len())];
            if !blocks.is_empty() {
                parts.push(WritePart { offset, blocks });
            }
            rest -= blocks.len();
            offset += (blocks.len() * BLOCK_BYTES) as u64;
        }
        file.write_many(&parts)
    }

    fn digest(&self, digest: &mut Xxh128) {
        let mut rest = self.filled;
        for buffer in &self.buffers {
            let bytes = buffer.as_bytes();
            let bytes = &bytes[..rest.min(bytes.len())];
            digest.update(bytes);
            rest -= bytes.len();
        }
    }

    fn write_and_digest(self, file: &dyn DiskFile, mut digest: Xxh128) -> Written {
        let outcome = self.write(file);
        self.digest(&mut digest);
        Written {
            outcome,
            buffers: self.buffers,
            digest,
        }
    }
}

impl BlockSink {
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        path: &Path,
        pool: &Arc<BufferPool>,
    ) -> Result<Self, CheckpointError> {
        let first = pool.take(now() + BUFFER_WAIT);
        let first = first.ok_or(CheckpointError::Limit("no buffer within half a minute"))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            pool: Arc::clone(pool),
            batch: Batch {
                buffers: vec![first],
                filled: 0,
                offset: 0,
            },
            digest: Xxh128::new(),
            errands: None,
            behind: None,
            failed: None,
        })
    }

    /// Has full batches written on other threads from now on.
    pub(super) fn write_behind(&mut self, errands: Arc<Errands>) {
        self.errands = Some(errands);
    }

    /// Who writes full batches, if not whoever fills them.
    pub(super) fn errands(&self) -> Option<Arc<Errands>> {
        self.errands.clone()
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.batch.end()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), IoFailure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room()?;
            let taken = rest.len().min(room.len());
            let (head, behind) = rest.split_at(taken);
            room[..taken].copy_from_slice(head);
            self.batch.filled += taken;
            rest = behind;
        }
        Ok(())
    }

    /// Appends zeros until the position is `rest` above a multiple of `multiple`.
    pub(super) fn pad_to(&mut self, multiple: usize, rest: usize) -> Result<(), IoFailure> {
        // A buffer starts at a block, and every multiple asked for divides a block.
        while self.batch.filled % multiple != rest {
            let over = (self.batch.filled + multiple - rest) % multiple;
            let room = self.room()?;
            let taken = (multiple - over).min(room.len());
            room[..taken].fill(0);
            self.batch.filled += taken;
        }
        Ok(())
    }

    /// Appends a footer that ends a block, made from the digest of all bytes before it and the
    /// length of the whole file, and returns when everything is durable.
    pub(super) fn finish<F: IntoBytes + zerocopy::Immutable>(
        &mut self,
        footer: impl FnOnce(u128, u64) -> F,
    ) -> Result<(), IoFailure> {
        let footer_bytes = size_of::<F>();
        self.pad_to(BLOCK_BYTES, BLOCK_BYTES - footer_bytes)?;
        drop(self.come_back()?);
        self.batch.digest(&mut self.digest);
        let chunk_bytes = self.position() + footer_bytes as u64;
        let footer = footer(self.digest.digest(), chunk_bytes);
        // What was padded is not a whole number of blocks, so this room is that of the same block.
        self.room()?[..footer_bytes].copy_from_slice(footer.as_bytes());
        self.batch.filled += footer_bytes;
        let written = self.batch.write(&*self.file);
        let synced = written.and_then(|()| self.file.sync());
        self.remember(synced)
    }

    /// The free part of a buffer, at least one byte of it.
    fn room(&mut self) -> Result<&mut [u8], IoFailure> {
        self.check()?;
        let full = self.batch.full_buffers();
        if full.is_some_and(|full| self.buffers_max() <= full) {
            self.next_batch()?;
        } else if full == Some(self.batch.buffers.len()) {
            match self.pool.try_take() {
                Some(buffer) => self.batch.buffers.push(buffer),
                None => self.next_batch()?,
            }
        }
        let Batch {
            buffers, filled, ..
        } = &mut self.batch;
        let buffer = &mut buffers[*filled / BUFFER_BYTES];
        Ok(&mut buffer.as_mut_bytes()[*filled % BUFFER_BYTES..])
    }

    fn buffers_max(&self) -> usize {
        let most = BUFFERS_MAX * BUFFER_BYTES;
        let errands = self.errands.as_ref();
        errands.map_or(most, |errands| errands.at_once(most)) / BUFFER_BYTES
    }

    /// Lets the full batch go, and has an empty one with a buffer at least.
    fn next_batch(&mut self) -> Result<(), IoFailure> {
        let mut buffers = self.come_back()?;
        buffers.truncate(self.buffers_max());
        if buffers.is_empty() && self.errands.is_some() {
            buffers.extend(self.pool.try_take());
        }
        let empty = Batch {
            buffers,
            filled: 0,
            offset: self.batch.end(),
        };
        let full = std::mem::replace(&mut self.batch, empty);
        let digest = std::mem::replace(&mut self.digest, Xxh128::new());
        let file = Arc::clone(&self.file);
        let errand = move || full.write_and_digest(&*file, digest);
        // Without another buffer there is nothing to be filled meanwhile.
        let errands = self.errands.as_ref();
        let refused = match errands.filter(|_| !self.batch.buffers.is_empty()) {
            None => Some(errand),
            Some(errands) => {
                let sent = errands.send(errand);
                sent.map(|behind| self.behind = Some(behind)).err()
            }
        };
        if let Some(errand) = refused {
            let buffers = self.accept(errand())?;
            if self.batch.buffers.is_empty() {
                self.batch.buffers = buffers;
            }
        }
        Ok(())
    }

    /// Waits for the batch that is on its way, if there is one; its buffers.
    fn come_back(&mut self) -> Result<Vec<PoolBuffer>, IoFailure> {
        self.check()?;
        match self.behind.take().map(|behind| behind.wait(None)) {
            None => Ok(Vec::new()),
            Some(Waited::Answer(written)) => self.accept(written),
            Some(Waited::Lost | Waited::TimedOut) => {
                let failure = IoFailure {
                    op: IoOp::Write,
                    path: self.path.clone(),
                    offset: None,
                    errno: errno::EIO,
                };
                self.remember(Err(failure)).map(|()| Vec::new())
            }
        }
    }

    fn accept(&mut self, written: Written) -> Result<Vec<PoolBuffer>, IoFailure> {
        self.digest = written.digest;
        self.remember(written.outcome).map(|()| written.buffers)
    }

    fn check(&self) -> Result<(), IoFailure> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn remember(&mut self, outcome: Result<(), IoFailure>) -> Result<(), IoFailure> {
        outcome.inspect_err(|failure| self.failed = Some(failure.clone()))
    }
}

impl Drop for BlockSink {
    /// Whoever removes the file afterwards removes it with everything in it.
    fn drop(&mut self) {
        if let Some(behind) = self.behind.take() {
            drop(behind.wait(None));
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
