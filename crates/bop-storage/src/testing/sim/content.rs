//! What one simulated file holds: a durable image, and the writes that no sync has covered.
//!
//! ```text
//!             write_at                        sync
//!   durable ------------> dirty (versions) ----------> durable (the newest version)
//!                           |  sync fails
//!                           v
//!                         failed: no later sync makes it durable, a crash may keep any version;
//!                                 reads give the newest version or, reverted, the durable one
//! ```
//! Invariants
//! - `durable` alone is what a crash is sure to keep; it has no block of zeros and none behind the
//!   durable length;
//! - the versions of a block stand oldest first; a crash picks one for each of its sectors;
//! - lengths that no sync has covered only grow.
//!
//! Never: draws a random number that decides what a crash keeps (the caller's chooser does).

use super::block::BlockBytes;
use super::{Chooser, Doubt, SECTOR_BYTES};
use crate::checksum::Xxh3;
use crate::io::{BLOCK_BYTES, Block};
use crate::testing::SplitMix64;
use imbl::OrdMap;
use std::path::Path;

const BLOCK: u64 = BLOCK_BYTES as u64;
const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;

/// What becomes of a block's un-synced versions.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Fate {
    /// The next sync makes the newest one durable.
    Dirty,
    /// A write or a sync of them failed; reads still give the newest one.
    FailedVisible,
    /// A write or a sync of them failed; reads give the durable bytes again.
    FailedReverted,
}

#[derive(Clone, Debug)]
struct Pending {
    versions: Vec<BlockBytes>,
    fate: Fate,
}

/// A file's bytes. A clone shares all blocks.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    durable: OrdMap<u64, BlockBytes>,
    durable_bytes: u64,
    pending: OrdMap<u64, Pending>,
    pending_lengths: Vec<u64>,
}

impl Content {
    /// A file that durably holds `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        for (index, chunk) in (0u64..).zip(bytes.chunks(BLOCK_BYTES)) {
            let mut block = [0; BLOCK_BYTES];
            block[..chunk.len()].copy_from_slice(chunk);
            content.set_durable(index, BlockBytes::new(block));
        }
        content.durable_bytes = bytes.len() as u64;
        content
    }

    /// The length that a reader sees.
    pub(super) fn bytes(&self) -> u64 {
        let newest = self.pending_lengths.last().copied().unwrap_or(0);
        newest.max(self.durable_bytes)
    }

    /// Fills whole blocks from block `first` on; returns how many bytes the file had there. The
    /// rest is filled with zeros.
    pub(super) fn read(&self, first: u64, blocks: &mut [Block]) -> usize {
        let mut filled = 0;
        for (index, block) in (first..).zip(blocks) {
            let there = self.bytes().saturating_sub(index.saturating_mul(BLOCK));
            if there == 0 {
                block.0.fill(0);
                continue;
            }
            block.0 = *self.live(index);
            filled += usize::try_from(there.min(BLOCK)).unwrap_or(BLOCK_BYTES);
        }
        filled
    }

    /// Writes whole blocks; a sync makes them durable.
    pub(super) fn write(&mut self, first: u64, blocks: &[Block]) {
        for (index, block) in (first..).zip(blocks) {
            self.push_version(index, BlockBytes::new(block.0), Fate::Dirty);
        }
        self.grow(end_of(first, blocks));
    }

    /// Writes whole blocks and makes them, and the length they need, durable; earlier un-synced
    /// writes elsewhere stay in doubt.
    pub(super) fn write_durable(&mut self, first: u64, blocks: &[Block]) {
        for (index, block) in (first..).zip(blocks) {
            self.pending.remove(&index);
            self.set_durable(index, BlockBytes::new(block.0));
        }
        self.durable_bytes = self.durable_bytes.max(end_of(first, blocks));
        let durable_bytes = self.durable_bytes;
        self.pending_lengths
            .retain(|length| *length > durable_bytes);
    }

    /// A write that failed, or was cut short: some sectors may get to the device, none is sure to,
    /// and no later sync helps them.
    pub(super) fn write_failed(&mut self, first: u64, blocks: &[Block], random: &mut SplitMix64) {
        let fate = failed(random);
        let torn_for_readers = random.chance(1, 2);
        for (index, block) in (first..).zip(blocks) {
            let before = self.live(index);
            self.push_version(index, BlockBytes::new(block.0), fate);
            if torn_for_readers {
                self.push_version(index, torn(&before, block, random), fate);
            }
        }
        self.grow(end_of(first, blocks));
    }

    /// Extends the file with zeros.
    pub(super) fn grow(&mut self, bytes: u64) {
        if bytes > self.bytes() {
            self.pending_lengths.push(bytes);
        }
    }

    /// Makes the length and all that was written durable, save what a failure has already lost.
    pub(super) fn sync(&mut self) {
        self.durable_bytes = self.bytes();
        self.pending_lengths.clear();
        for (index, block) in std::mem::take(&mut self.pending) {
            match (block.fate, block.versions.last()) {
                (Fate::Dirty, Some(newest)) => self.set_durable(index, newest.clone()),
                _ => drop(self.pending.insert(index, block)),
            }
        }
    }

    /// A sync that failed: the kernel takes the blocks for clean from now on.
    pub(super) fn sync_failed(&mut self, random: &mut SplitMix64) {
        let fate = failed(random);
        let dirty: Vec<u64> = self.dirty_blocks();
        for index in dirty {
            if let Some(block) = self.pending.get_mut(&index) {
                block.fate = fate;
            }
        }
    }

    /// The file as a reader sees it, all of it durable.
    pub(super) fn settled(&self) -> Self {
        let mut settled = self.clone();
        settled.pending = OrdMap::new();
        settled.pending_lengths = Vec::new();
        settled.durable_bytes = self.bytes();
        for index in self.pending.keys() {
            settled.set_durable(*index, self.live(*index));
        }
        settled
    }

    /// The file after a crash: `choose` answers every doubt.
    pub(super) fn crashed(&self, path: &Path, choose: &mut Chooser<'_>) -> Self {
        let mut after = Self {
            durable: self.durable.clone(),
            durable_bytes: self.durable_bytes,
            ..Self::default()
        };
        if !self.pending_lengths.is_empty() {
            let pick = choose(Doubt::Length { path }, self.pending_lengths.len());
            if let Some(index) = pick.checked_sub(1) {
                after.durable_bytes = self.pending_lengths[index];
            }
        }
        for (index, block) in &self.pending {
            let mut bytes = *self.durable_block(*index);
            for sector in 0..SECTORS_PER_BLOCK {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                if block
                    .versions
                    .iter()
                    .all(|v| v[range.clone()] == bytes[range.clone()])
                {
                    continue;
                }
                let number = index * SECTORS_PER_BLOCK as u64 + sector as u64;
                let doubt = Doubt::Sector {
                    path,
                    sector: number,
                };
                if let Some(version) = choose(doubt, block.versions.len()).checked_sub(1) {
                    bytes[range.clone()].copy_from_slice(&block.versions[version][range]);
                }
            }
            after.set_durable(*index, BlockBytes::new(bytes));
        }
        after.cut_to(after.durable_bytes);
        after
    }

    /// All bytes that a reader sees.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let bytes = usize::try_from(self.bytes()).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(bytes.next_multiple_of(BLOCK_BYTES));
        for index in 0..self.bytes().div_ceil(BLOCK) {
            out.extend_from_slice(&*self.live(index));
        }
        out.truncate(bytes);
        out
    }

    /// Adds what a reader sees: the length, and each block that is not all zeros.
    pub(super) fn digest(&self, hasher: &mut Xxh3) {
        hasher.update(&self.bytes().to_le_bytes());
        let settled = self.settled();
        for (index, block) in &settled.durable {
            hasher.update(&index.to_le_bytes());
            hasher.update(&block.digest().to_le_bytes());
        }
    }

    /// Damages a byte of the durable image and of every version.
    pub(super) fn flip(&mut self, byte: u64, mask: u8) {
        let index = byte / BLOCK;
        let within = usize::try_from(byte % BLOCK).unwrap_or(0);
        let flipped = |block: &BlockBytes| {
            let mut bytes = **block;
            bytes[within] ^= mask;
            BlockBytes::new(bytes)
        };
        self.set_durable(index, flipped(&self.durable_block(index)));
        if let Some(block) = self.pending.get_mut(&index) {
            for version in &mut block.versions {
                *version = flipped(version);
            }
        }
    }

    /// Durably shortens (or extends with zeros) the file.
    pub(super) fn set_length(&mut self, bytes: u64) {
        *self = self.settled();
        self.cut_to(bytes);
        self.durable_bytes = bytes;
    }

    /// The bytes that are in doubt, for tests that want to see a doubt arise.
    pub(super) fn has_doubt(&self) -> bool {
        !self.pending.is_empty() || !self.pending_lengths.is_empty()
    }

    fn dirty_blocks(&self) -> Vec<u64> {
        let dirty = self.pending.iter().filter(|(_, b)| b.fate == Fate::Dirty);
        dirty.map(|(index, _)| *index).collect()
    }

    fn push_version(&mut self, index: u64, bytes: BlockBytes, fate: Fate) {
        let block = self.pending.entry(index).or_insert_with(|| Pending {
            versions: Vec::new(),
            fate,
        });
        block.versions.push(bytes);
        block.fate = fate;
    }

    fn live(&self, index: u64) -> BlockBytes {
        match self.pending.get(&index) {
            Some(Pending { versions, fate }) if *fate != Fate::FailedReverted => versions
                .last()
                .map_or_else(|| self.durable_block(index), BlockBytes::clone),
            _ => self.durable_block(index),
        }
    }

    fn durable_block(&self, index: u64) -> BlockBytes {
        let durable = self.durable.get(&index);
        durable.map_or_else(BlockBytes::zero, BlockBytes::clone)
    }

    fn set_durable(&mut self, index: u64, bytes: BlockBytes) {
        if bytes.is_zero() {
            self.durable.remove(&index);
        } else {
            self.durable.insert(index, bytes);
        }
    }

    /// Drops what the durable image has behind `bytes`.
    fn cut_to(&mut self, bytes: u64) {
        let partial = bytes / BLOCK;
        let behind: Vec<u64> = self.durable.range(partial..).map(|(i, _)| *i).collect();
        for index in behind {
            if index > partial || bytes.is_multiple_of(BLOCK) {
                self.durable.remove(&index);
                continue;
            }
            let mut block = *self.durable_block(index);
            block[usize::try_from(bytes % BLOCK).unwrap_or(0)..].fill(0);
            self.set_durable(index, BlockBytes::new(block));
        }
    }
}

fn failed(random: &mut SplitMix64) -> Fate {
    if random.chance(1, 2) {
        Fate::FailedVisible
    } else {
        Fate::FailedReverted
    }
}

/// A block of which some sectors are the new ones.
fn torn(before: &BlockBytes, block: &Block, random: &mut SplitMix64) -> BlockBytes {
    let mut bytes = **before;
    let sectors = bytes.chunks_mut(SECTOR_BYTES);
    for (old, new) in sectors.zip(block.0.chunks(SECTOR_BYTES)) {
        if random.chance(1, 2) {
            old.copy_from_slice(new);
        }
    }
    BlockBytes::new(bytes)
}

/// Where a transfer ends, in bytes; one of nothing ends nowhere.
pub(super) fn end_of(first: u64, blocks: &[Block]) -> u64 {
    if blocks.is_empty() {
        0
    } else {
        (first + blocks.len() as u64) * BLOCK
    }
}
