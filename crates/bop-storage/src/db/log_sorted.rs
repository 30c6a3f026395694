//! Images of the log put together by the round in which a checkpoint asks for them.
//!
//! Versions of a page stand as far apart in the log as its commits came. Reading it for every round reads it as often
//! as there are rounds, and the longer it is the more rounds there are. This is the partitioning step of an
//! external sort: as much work as there are bytes.
//!
//! ```text
//!   the log, from front to back   | a1 c1 b1 a2 c2 b2 a3 ...        read once: a merge of the rounds' own orders
//!   a buffer for each round       [a1 a2 ][b1 b2 ][c1 c2 ]          written when it is full
//!   the scratch file              | a1 a2 a3 ... | b1 b2 ... | c1 ...
//!
//!   a round is put in order, one a piece --> images, a batch a piece --> what is left in buffers is written
//!                                            '-- an errand reads the next batch meanwhile
//! ```
//! Invariants
//! - the images of a round stand in its part of the file one behind the other, in the order of the log;
//! - there is no file where space is short: it takes none that the checkpoint may need;
//! - the file goes with whoever made it, and a crash leaves one that the next opening removes.
//!
//! Never: proves an image: whoever copies it does. One that could not be read has bytes that nobody believes.

use super::log_expected::{Batch, FileKey, ImagePlace, by_place};
use super::log_rounds::Round;
use crate::io::{
    BLOCK_BYTES, Block, Disk, DiskFile, IoFailure, IoOp, OpenMode, errno, layout, remove_if_there,
    zeroed_blocks,
};
use crate::runtime::{Errands, Soon};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// The name of the file among those that an opening removes.
const NAME: &str = "images.sorted";
/// Blocks of a round that are written together: 128 KiB.
const BUFFER_BLOCKS: usize = 32;
/// Of all rounds together, as long as each has one: 8 MiB.
const BUFFERS_BLOCKS_MAX: usize = 2048;
/// Images that are looked at for the next read: more than fit one.
const LOOKED_AT: usize = 4096;
/// Buffers that are written in one piece at the end.
const ENDED_AT_ONCE: usize = 8;

/// Where images are sorted.
pub(super) struct SortingRoom {
    /// The store's.
    pub(super) disk: Arc<dyn Disk>,
    /// So much space has to be free.
    pub(super) free_bytes_min: u64,
}

/// Why nothing is sorted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SortFailure {
    #[error("{0}")]
    Scratch(#[from] IoFailure),
    #[error("a read of the log panicked")]
    Lost,
}

/// Sorts.
pub(super) struct Sorter {
    scratch: Scratch,
    parts: Vec<Part>,
    /// So many rounds are in the order of the log.
    ordered: usize,
    /// The next image of each of them, the first in the log on top.
    merge: BinaryHeap<Reverse<(FileKey, u64, usize)>>,
    /// The images that come next, and the round of each.
    next: VecDeque<ImagePlace>,
    of: VecDeque<usize>,
    /// The batch that is being read, and the round of each of its images.
    coming: Option<(Soon<Batch>, Vec<usize>)>,
    /// For the blocks of the batch behind it.
    blocks: Vec<Block>,
    /// So many parts are complete.
    ended: usize,
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
    /// Bytes with which it is written. Fewer the first time, for each part others: they fill alike, and are not
    /// to be written all at a time.
    full: usize,
    /// The image that is merged next.
    image: usize,
}

/// The file, while somebody sorts or reads.
pub(super) struct Scratch {
    file: Arc<dyn DiskFile>,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Scratch {
    fn new(room: &SortingRoom) -> Result<Self, IoFailure> {
        let (disk, path) = (&room.disk, layout::scratch(NAME));
        if disk.free_bytes()? < room.free_bytes_min {
            return Err(IoFailure {
                op: IoOp::Allocate,
                path,
                offset: None,
                errno: errno::ENOSPC,
            });
        }
        remove_if_there(&**disk, &path)?;
        Ok(Self {
            file: disk.open(&path, OpenMode::CreateScratch)?,
            disk: Arc::clone(disk),
            path,
        })
    }

    /// Reads blocks; how many bytes there were, none after a failure.
    pub(super) fn read(&self, offset: u64, blocks: &mut [Block]) -> usize {
        self.file.read_at(offset, blocks).unwrap_or(0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(failure) = self.disk.remove(&self.path) {
            tracing::warn!(%failure, "sorted images stay until the next ones, or the next opening");
        }
    }
}

impl Part {
    /// The part with this number of so many, with a buffer of so many blocks.
    fn new(start: u64, (nth, parts): (usize, usize), blocks: usize) -> Self {
        let first = (blocks * (nth + 1) / parts).max(1);
        Self {
            start,
            written: 0,
            buffer: zeroed_blocks(blocks),
            filled: 0,
            full: first * BLOCK_BYTES,
            image: 0,
        }
    }

    fn push(&mut self, mut image: &[u8], file: &dyn DiskFile) -> Result<(), IoFailure> {
        while !image.is_empty() {
            let room = &mut self.buffer.as_mut_bytes()[self.filled..self.full];
            let (head, rest) = image.split_at(image.len().min(room.len()));
            room[..head.len()].copy_from_slice(head);
            self.filled += head.len();
            image = rest;
            if self.filled == self.full {
                self.write(file)?;
                self.full = self.buffer.as_bytes().len();
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
    /// Makes a file for the images of these rounds.
    ///
    /// # Errors
    /// There is little room, or the kernel refuses it.
    pub(super) fn begin(room: &SortingRoom, rounds: &[Round]) -> Result<Self, SortFailure> {
        let mut end = 0;
        let start = |round: &Round| {
            let start = end;
            end += round.bytes().next_multiple_of(BLOCK_BYTES as u64);
            start
        };
        let starts: Vec<u64> = rounds.iter().map(start).collect();
        let scratch = Scratch::new(room)?;
        let count = starts.len();
        let blocks = (BUFFERS_BLOCKS_MAX / count.max(1)).clamp(1, BUFFER_BLOCKS);
        let parts = starts.into_iter().enumerate();
        Ok(Self {
            scratch,
            parts: parts
                .map(|(nth, start)| Part::new(start, (nth, count), blocks))
                .collect(),
            ordered: 0,
            merge: BinaryHeap::with_capacity(count),
            next: VecDeque::new(),
            of: VecDeque::new(),
            coming: None,
            blocks: Vec::new(),
            ended: 0,
        })
    }

    /// Does a piece of the work, about so many bytes of the log; `false` when nothing is left.
    ///
    /// # Errors
    /// The file cannot be written, or a read panicked.
    pub(super) fn go_on(
        &mut self,
        rounds: &mut [Round],
        errands: &Errands,
        at_once: u64,
    ) -> Result<bool, SortFailure> {
        if let Some(round) = rounds.get_mut(self.ordered) {
            round.put_in_order();
            self.merge_on(self.ordered, rounds);
            self.ordered += 1;
            return Ok(true);
        }
        let read = match self.coming.take() {
            Some((batch, of)) => Some((batch.wait().ok_or(SortFailure::Lost)?, of)),
            None => None,
        };
        self.look_ahead(rounds);
        self.read_next(errands, at_once);
        if let Some((batch, of)) = read {
            self.sort(batch, of)?;
            return Ok(true);
        }
        if self.coming.is_some() {
            return Ok(true);
        }
        let file = &*self.scratch.file;
        let left = self.parts.iter_mut().skip(self.ended);
        for part in left.take(ENDED_AT_ONCE) {
            part.write(file)?;
            self.ended += 1;
        }
        Ok(self.ended < self.parts.len())
    }

    /// The next image of a round takes part in the merge.
    fn merge_on(&mut self, round: usize, rounds: &[Round]) {
        if let Some(image) = rounds[round].images.get(self.parts[round].image) {
            let (file, offset) = by_place(image);
            self.merge.push(Reverse((file, offset, round)));
        }
    }

    fn look_ahead(&mut self, rounds: &[Round]) {
        while self.next.len() < LOOKED_AT
            && let Some(Reverse((_, _, round))) = self.merge.pop()
        {
            self.next
                .push_back(rounds[round].images[self.parts[round].image].clone());
            self.of.push_back(round);
            self.parts[round].image += 1;
            self.merge_on(round, rounds);
        }
    }

    /// Has the next batch read, if there is one.
    fn read_next(&mut self, errands: &Errands, at_once: u64) {
        if !self.next.is_empty() {
            let blocks = std::mem::take(&mut self.blocks);
            let mut batch = Batch::take(&mut self.next, at_once, blocks);
            let of = self.of.drain(..batch.count()).collect();
            let read = move || {
                batch.read();
                batch
            };
            self.coming = Some((errands.send_or_keep(read), of));
        }
    }

    /// Sorts the images of a batch into these rounds.
    fn sort(&mut self, batch: Batch, of: Vec<usize>) -> Result<(), IoFailure> {
        for (((_, _, bytes), found), round) in batch.images().zip(of) {
            let lost;
            let image = match found {
                Some(image) => image,
                None => {
                    lost = vec![0; *bytes];
                    &lost
                }
            };
            self.parts[round].push(image, &*self.scratch.file)?;
        }
        self.blocks = batch.into_blocks();
        Ok(())
    }

    /// The file, and where the part of each round begins in it.
    pub(super) fn end(self) -> (Arc<Scratch>, Vec<u64>) {
        let starts = self.parts.iter().map(|part| part.start).collect();
        (Arc::new(self.scratch), starts)
    }
}
