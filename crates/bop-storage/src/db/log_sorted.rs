//! Images of the log put together by the round in which a checkpoint asks for them.
//!
//! Versions of a page stand as far apart in the log as its commits came. Reading it for every round reads it as often
//! as there are rounds, and the longer it is the more rounds there are. This is the partitioning step of an
//! external sort: as much work as there are bytes.
//!
//! ```text
//!   the log, from front to back   | a1 c1 b1 a2 c2 b2 a3 ...        read once
//!   a buffer for each round       [a1 a2 ][b1 b2 ][c1 c2 ]          written when it is full
//!   the scratch file              | a1 a2 a3 ... | b1 b2 ... | c1 ...
//! ```
//! Invariants
//! - the images of a round stand in its part of the file one behind the other, in the order of the log;
//! - the file goes with whoever made it, and a crash leaves one that the next opening removes.
//!
//! Never: proves an image: whoever copies it does. One that could not be read has bytes that nobody believes.

use super::log_expected::{ImagePlace, by_place, next_batch, read_runs};
use super::log_rounds::Round;
use crate::io::{
    BLOCK_BYTES, Block, Disk, DiskFile, IoFailure, IoOp, OpenMode, errno, layout, zeroed_blocks,
};
use std::path::PathBuf;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The name of the file among those that an opening removes.
const NAME: &str = "images.sorted";
/// Blocks of a round that are written together: 128 KiB.
const BUFFER_BLOCKS: usize = 32;
/// Of all rounds together: 8 MiB.
const BUFFERS_BLOCKS_MAX: usize = 2048;
/// The file takes so small a part of the free space at most.
const FREE_PARTS: u64 = 4;
/// Images that are looked at for the next read: more than fit one.
const LOOKED_AT: usize = 4096;

/// Sorts.
pub(super) struct Sorter {
    scratch: Scratch,
    /// All images in the order of the log: the round, and the number in it.
    order: Vec<(u32, u32)>,
    /// So many of them are sorted.
    passed: usize,
    parts: Vec<Part>,
    /// For the blocks of a batch.
    blocks: Vec<Block>,
}

/// The part of a round.
struct Part {
    /// Where it begins in the file.
    start: u64,
    /// Blocks that are written.
    written: u64,
    buffer: Vec<Block>,
    /// Bytes in the buffer.
    filled: usize,
}

/// The file, while somebody sorts or reads.
pub(super) struct Scratch {
    file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Scratch {
    /// A file with room for so many bytes, which are a small part of what is free: the checkpoint needs room, too.
    fn new(disk: &Arc<dyn Disk>, bytes: u64) -> Result<Self, IoFailure> {
        let path = layout::scratch(NAME);
        if disk.free_bytes()? / FREE_PARTS < bytes {
            return Err(IoFailure {
                op: IoOp::Allocate,
                path,
                offset: None,
                errno: errno::ENOSPC,
            });
        }
        let scratch = Self {
            file: disk.open(&path, OpenMode::CreateNew)?,
            disk: Arc::clone(disk),
            path,
        };
        scratch.file.allocate(bytes)?;
        Ok(scratch)
    }

    /// Reads blocks; how many bytes there were, none after a failure.
    pub(super) fn read(&self, offset: u64, blocks: &mut [Block]) -> usize {
        self.file.read_at(offset, blocks).unwrap_or(0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(failure) = self.disk.remove(&self.path) {
            tracing::debug!(%failure, "sorted images stay until the next opening");
        }
    }
}

impl Part {
    fn push(&mut self, mut image: &[u8], file: &dyn DiskFile) -> Result<(), IoFailure> {
        while !image.is_empty() {
            let room = &mut self.buffer.as_mut_bytes()[self.filled..];
            let (head, rest) = image.split_at(image.len().min(room.len()));
            room[..head.len()].copy_from_slice(head);
            self.filled += head.len();
            image = rest;
            if self.filled == self.buffer.as_bytes().len() {
                self.write(file)?;
            }
        }
        Ok(())
    }

    /// Writes what is in the buffer, and zeros to the end of a block.
    fn write(&mut self, file: &dyn DiskFile) -> Result<(), IoFailure> {
        let count = self.filled.div_ceil(BLOCK_BYTES);
        self.buffer.as_mut_bytes()[self.filled..count * BLOCK_BYTES].fill(0);
        let offset = self.start + self.written * BLOCK_BYTES as u64;
        file.write_at(offset, &self.buffer[..count])?;
        self.written += count as u64;
        self.filled = 0;
        Ok(())
    }
}

impl Sorter {
    /// Puts the images of each round in the order of the log, and makes a file for them.
    ///
    /// # Errors
    /// There is no room, or the kernel refuses it.
    pub(super) fn begin(disk: &Arc<dyn Disk>, rounds: &mut [Round]) -> Result<Self, IoFailure> {
        let mut order = Vec::new();
        let mut starts = Vec::with_capacity(rounds.len());
        let mut end = 0;
        for (nth, round) in (0..).zip(&mut *rounds) {
            round.images.append(&mut round.cached);
            round.images.sort_unstable_by_key(by_place);
            order.extend((0..).zip(&round.images).map(|(image, _)| (nth, image)));
            starts.push(end);
            let bytes: u64 = round.images.iter().map(|image| image.2 as u64).sum();
            end += bytes.next_multiple_of(BLOCK_BYTES as u64);
        }
        let image = |(round, image): &(u32, u32)| &rounds[*round as usize].images[*image as usize];
        order.sort_unstable_by_key(|one| by_place(image(one)));
        let count = (BUFFERS_BLOCKS_MAX / starts.len().max(1)).clamp(1, BUFFER_BLOCKS);
        let part = |start| Part {
            start,
            written: 0,
            buffer: zeroed_blocks(count),
            filled: 0,
        };
        Ok(Self {
            scratch: Scratch::new(disk, end)?,
            order,
            passed: 0,
            parts: starts.into_iter().map(part).collect(),
            blocks: Vec::new(),
        })
    }

    /// Sorts the images in about so many bytes of the log; `false` when none is left.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn sort_some(&mut self, rounds: &[Round], at_once: u64) -> Result<bool, IoFailure> {
        let next = &self.order[self.passed..];
        let next = &next[..next.len().min(LOOKED_AT)];
        let image = |(round, image): &(u32, u32)| &rounds[*round as usize].images[*image as usize];
        let images: Vec<ImagePlace> = next.iter().map(|one| image(one).clone()).collect();
        let batch = next_batch(&images, at_once);
        let (parts, file) = (&mut self.parts, &*self.scratch.file);
        let mut of = next.iter().map(|(round, _)| *round as usize);
        let mut written = Ok(());
        read_runs(&batch, &mut self.blocks, |(_, _, bytes), found| {
            let Some(round) = of.next() else { return };
            let lost;
            let image = match found {
                Some(image) => image,
                None => {
                    lost = vec![0; *bytes];
                    &lost
                }
            };
            if written.is_ok() {
                written = parts[round].push(image, file);
            }
        });
        written?;
        self.passed += batch.iter().map(|run| run.images().len()).sum::<usize>();
        Ok(self.passed < self.order.len())
    }

    /// Writes the rest: the file, and where the part of each round begins in it.
    ///
    /// # Errors
    /// That is not possible.
    pub(super) fn end(mut self) -> Result<(Arc<Scratch>, Vec<u64>), IoFailure> {
        for part in &mut self.parts {
            part.write(&*self.scratch.file)?;
        }
        let starts = self.parts.iter().map(|part| part.start).collect();
        Ok((Arc::new(self.scratch), starts))
    }
}
