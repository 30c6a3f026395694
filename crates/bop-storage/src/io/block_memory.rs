//! Memory for many blocks that are written at once: in huge pages, and used again.
//!
//! A device is told of memory by its pages, and takes no more than so many of them at a time. Commits of 16 MiB
//! took nearly twice as long when their records stood in scattered pages of 4 KiB.
//!
//! ```text
//! less than a mebibyte: allocated --drop--> freed
//! else                  mapped ----drop--> idle --take--> in use ...
//!                                    '--(enough are)--> unmapped
//! ```
//! What has been idle for longest is taken first: the host of a virtual machine reads what is written on a
//! processor of its own, and memory that such a cache still has is slow to be filled again.
//!
//! Invariant: no more than [`IDLE_BYTES_MAX`] are idle, in the whole process.
//!
//! Never: clears what it hands out. Who takes it writes before anybody reads.

use super::{Block, blocks_for, zeroed_blocks};
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;
use std::mem;
use std::ops::{Deref, DerefMut};
use zerocopy::FromBytes;

/// Parts of a large commit as they are by default: one is made, one waits, one is written, one was.
const IDLE_BYTES_MAX: usize = 4 * HUGE_BYTES;

/// So many bytes are in memory that is mapped for them.
const MAPPED_BYTES_MIN: usize = 1 << 20;

/// A huge page of the processors that there are.
const HUGE_BYTES: usize = 2 << 20;

/// What nobody uses, the oldest first.
static IDLE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// Blocks of any content.
pub(crate) struct BlockMemory(Memory);

enum Memory {
    Allocated(Vec<Block>),
    Mapped(MmapMut),
}

impl BlockMemory {
    /// Blocks of `bytes` bytes at least.
    pub(crate) fn take(bytes: usize) -> Self {
        let mapped = (MAPPED_BYTES_MIN <= bytes).then(|| take_mapped(bytes));
        Self(match mapped.flatten() {
            Some(mapped) => Memory::Mapped(mapped),
            None => Memory::Allocated(zeroed_blocks(blocks_for(bytes))),
        })
    }
}

/// Whole huge pages for so many bytes; `None` when the kernel has no memory.
fn take_mapped(bytes: usize) -> Option<MmapMut> {
    let length = bytes.next_multiple_of(HUGE_BYTES);
    let mut idle = IDLE.lock();
    let at = idle.iter().position(|mapped| mapped.len() == length);
    let taken = at.map(|at| idle.remove(at));
    drop(idle);
    taken.or_else(|| {
        // The kernel sees by itself where a piece of whole huge pages had best begin, since version 6.7.
        let mapped = MmapMut::map_anon(length).ok()?;
        // The last one may have a few bytes only, which do not need 2 MiB.
        let huge = (bytes + HUGE_BYTES / 2) / HUGE_BYTES * HUGE_BYTES;
        // Where the kernel has no huge pages it is memory all the same.
        drop(mapped.advise_range(Advice::HugePage, 0, huge));
        Some(mapped)
    })
}

/// Keeps a piece for somebody else, and gives the oldest back to the kernel when they are too many.
fn keep(mapped: MmapMut) {
    let mut idle = IDLE.lock();
    idle.push(mapped);
    let mut bytes: usize = idle.iter().map(|mapped| mapped.len()).sum();
    let mut surplus = 0;
    while IDLE_BYTES_MAX < bytes {
        bytes -= idle[surplus].len();
        surplus += 1;
    }
    let surplus: Vec<_> = idle.drain(..surplus).collect();
    // Unmapped while nobody waits for the lock.
    drop(idle);
    drop(surplus);
}

impl Drop for BlockMemory {
    fn drop(&mut self) {
        if let Memory::Mapped(mapped) = mem::replace(&mut self.0, Memory::Allocated(Vec::new())) {
            keep(mapped);
        }
    }
}

impl Deref for BlockMemory {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        match &self.0 {
            Memory::Allocated(blocks) => blocks,
            Memory::Mapped(mapped) => {
                <[Block]>::ref_from_bytes(mapped).unwrap_or_else(|_| no_blocks())
            }
        }
    }
}

impl DerefMut for BlockMemory {
    fn deref_mut(&mut self) -> &mut [Block] {
        match &mut self.0 {
            Memory::Allocated(blocks) => blocks,
            Memory::Mapped(mapped) => {
                <[Block]>::mut_from_bytes(mapped).unwrap_or_else(|_| no_blocks())
            }
        }
    }
}

fn no_blocks() -> ! {
    unreachable!(
        "a mapping begins at a page of the kernel, and its length is a multiple of a block"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::BLOCK_BYTES;

    #[test]
    fn there_is_room_for_any_number_of_bytes() {
        for bytes in [
            1,
            4096,
            1 << 20,
            (2 << 20) - 1,
            2 << 20,
            (4 << 20) + 1,
            9 << 20,
        ] {
            let mut memory = BlockMemory::take(bytes);
            assert!(bytes <= memory.len() * BLOCK_BYTES, "{bytes}");
            memory.fill(Block([7; BLOCK_BYTES]));
            assert!(memory.iter().all(|block| block.0[4095] == 7), "{bytes}");
        }
    }

    #[test]
    fn what_is_idle_is_bounded() {
        let pieces: Vec<_> = (0..20).map(|_| BlockMemory::take(2 << 20)).collect();
        drop(BlockMemory::take(20 << 20));
        drop(pieces);
        let bytes: usize = IDLE.lock().iter().map(|mapped| mapped.len()).sum();
        assert!(bytes <= IDLE_BYTES_MAX, "{bytes}");
    }
}
