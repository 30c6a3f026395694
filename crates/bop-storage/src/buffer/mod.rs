//! Memory for the pages and records of commits, used again.
//!
//! Each commit makes a page and a record, and lets go of the page that it replaces and of the record
//! that was written, mostly on another thread. An allocator answers that from what its threads share:
//! it was a sixth of the time of a commit that waits for nobody.
//!
//! ```text
//! idle, in the list of its size --with_capacity--> in use --drop--> idle, or freed when enough are
//! ```
//! Where the memory comes from, and goes when it is freed: `memory`.
//!
//! Invariants
//! - what is idle takes no more than `IDLE_BYTES_MAX` for each size, in the whole process, and is no more
//!   than what is not idle, but for a few;
//! - a buffer is empty when it is handed out: nobody reads what it held before;
//! - behind the content of one that fills its size from 4 KiB on is memory that may be read.
//!
//! Never: waits for anything but the lists' locks, which are held to push or to pop, and those of the slabs of a
//! size, under one of which memory is mapped.

mod memory;
mod slabs;

use memory::{BufferMemory, Bytes};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// What is kept of each size: the pages that a transaction of common size throws out of the cache, so that
/// the next one takes these. An allocator keeps what a thread has given back for that thread; where one
/// fills the cache and another reads ahead for it, their heaps came to twice the cache.
const IDLE_BYTES_MAX: usize = 8 << 20;

/// So many may be idle in any case, if they are small: a batch of commits lets go of all of its records at once,
/// and the next one takes them.
const IDLE_MIN: usize = 64;

/// What these may take, and how many there may be of a large size all the same.
const IDLE_MIN_BYTES: usize = 512 << 10;
const IDLE_MIN_LARGE: usize = 4;

/// The smallest and the largest size that is kept, as powers of two: 512 bytes to 64 KiB.
const SIZES_LOG2: [u32; 2] = [9, 16];

/// Memory behind the buffers that are large enough for it: some who look at a page where it is look past
/// its end.
const BEHIND_BYTES: usize = 256;

/// The smallest size that has it: of smaller ones it would be a good part.
const BEHIND_LOG2_MIN: u32 = 12;

const SIZES: usize = (SIZES_LOG2[1] - SIZES_LOG2[0] + 1) as usize;

static IDLE: Idle = Idle::new();

/// Bytes that are given back when dropped. Grows like a vector.
#[derive(PartialEq, Eq)]
pub struct Buffer(Bytes);

impl Buffer {
    /// An empty one with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(IDLE.take(bytes))
    }

    /// A copy of `content`.
    pub fn copy_of(content: &[u8]) -> Self {
        let mut copy = Self::with_capacity(content.len());
        copy.extend_from_slice(content);
        copy
    }

    /// Bytes that it has room for.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        memory::append(&mut self.0, bytes);
    }

    /// Makes it so long: with `value` as often as it takes, or by forgetting what is behind.
    pub fn resize(&mut self, bytes: usize, value: u8) {
        self.0.resize(bytes, value);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::replace(&mut self.0, Bytes::new_in(BufferMemory));
        let in_use = memory::in_use(buffer.capacity());
        IDLE.keep(buffer, in_use);
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Buffers that nobody uses, by size. The newest is used first: the processor's cache still has it.
struct Idle([Mutex<VecDeque<Bytes>>; SIZES]);

impl Idle {
    const fn new() -> Self {
        Self([const { Mutex::new(VecDeque::new()) }; SIZES])
    }

    /// An empty buffer with room for so many bytes.
    fn take(&self, bytes: usize) -> Bytes {
        let bytes_log2 = bytes.next_power_of_two().ilog2().max(SIZES_LOG2[0]);
        let Some(list) = self.list(bytes_log2) else {
            return Bytes::with_capacity_in(bytes, BufferMemory);
        };
        let idle = list.lock().pop_back();
        idle.unwrap_or_else(|| Bytes::with_capacity_in(capacity_of(bytes_log2), BufferMemory))
    }

    /// Keeps a buffer, unless it is of no size that is kept or enough of it are. `in_use` of its size have
    /// memory, the idle ones too.
    fn keep(&self, mut buffer: Bytes, in_use: usize) {
        let capacity = buffer.capacity();
        let Some(list) = nth_size(capacity).and_then(|nth| self.0.get(nth)) else {
            return;
        };
        buffer.clear();
        let most = idle_max(in_use, capacity);
        let mut list = list.lock();
        list.push_back(buffer);
        // Of what is too many the oldest are freed, when nobody waits for the lock any more.
        let surplus = list.len().saturating_sub(most).min(2);
        let freed: SmallVec<[Bytes; 2]> = list.drain(..surplus).collect();
        drop(list);
        drop(freed);
    }

    #[cfg(test)]
    fn idle(&self, bytes_log2: u32) -> usize {
        self.list(bytes_log2).map_or(0, |list| list.lock().len())
    }

    fn list(&self, bytes_log2: u32) -> Option<&Mutex<VecDeque<Bytes>>> {
        self.0.get(bytes_log2.checked_sub(SIZES_LOG2[0])? as usize)
    }
}

/// How many buffers of a capacity may be idle, when so many have memory: no more than are not idle, which would
/// otherwise be held in slabs by buffers that nobody needs.
fn idle_max(in_use: usize, capacity: usize) -> usize {
    let least = (IDLE_MIN_BYTES / capacity).clamp(IDLE_MIN_LARGE, IDLE_MIN);
    (in_use / 2).clamp(least, IDLE_BYTES_MAX / capacity)
}

/// Which of the sizes it is whose buffers have just that capacity.
fn nth_size(capacity: usize) -> Option<usize> {
    let bytes_log2 = capacity.checked_ilog2()?;
    let nth = bytes_log2.checked_sub(SIZES_LOG2[0])? as usize;
    (nth < SIZES && capacity == capacity_of(bytes_log2)).then_some(nth)
}

/// Of a buffer of that size.
const fn capacity_of(bytes_log2: u32) -> usize {
    let behind = if BEHIND_LOG2_MIN <= bytes_log2 {
        BEHIND_BYTES
    } else {
        0
    };
    (1 << bytes_log2) + behind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_capacity(bytes: usize) -> Bytes {
        Bytes::with_capacity_in(bytes, BufferMemory)
    }

    #[test]
    fn memory_is_used_again_and_what_was_in_it_is_gone() {
        let idle = Idle::new();
        let mut first = idle.take(4096);
        first.resize(4096, 1);
        let at = first.as_ptr();
        idle.keep(first, 1);
        let other = idle.take(2048);
        assert_ne!(other.as_ptr(), at, "that is of another size");
        let second = idle.take(2049);
        assert_eq!((second.as_ptr(), second.len()), (at, 0));
        assert_eq!(second.capacity(), 4096 + BEHIND_BYTES);
    }

    #[test]
    fn no_more_than_its_share_is_kept_and_nothing_of_odd_sizes() {
        let idle = Idle::new();
        for _ in 0..200 {
            idle.keep(of_capacity(capacity_of(16)), 1000);
        }
        for capacity in [0, 1, 256, 1000, 1 << 16, 1 << 17] {
            idle.keep(of_capacity(capacity), 1000);
        }
        assert_eq!((9..16).map(|size| idle.idle(size)).sum::<usize>(), 0);
        assert_eq!(idle.idle(16), IDLE_BYTES_MAX / capacity_of(16));
        assert!(idle.list(8).is_none() && idle.list(17).is_none());
    }

    /// 1,000 buffers are in use and are given back: 500 remain at first, and few at the end.
    #[test]
    fn what_is_idle_goes_when_nothing_else_is_in_use() {
        let idle = Idle::new();
        let buffers: Vec<_> = (0..1000).map(|_| of_capacity(capacity_of(9))).collect();
        let mut in_use = buffers.len();
        let mut kept = Vec::new();
        for buffer in buffers {
            let before = idle.idle(9);
            idle.keep(buffer, in_use);
            in_use -= (before + 1) - idle.idle(9);
            kept.push(idle.idle(9));
        }
        assert_eq!((kept[499], kept[500], kept[501]), (500, 500, 499));
        assert_eq!(kept[999], IDLE_MIN);
        assert_eq!(idle_max(0, capacity_of(16)), 7, "less than half a mebibyte");
    }

    #[test]
    fn there_is_room_for_any_number_of_bytes() {
        for bytes in [0, 1, 511, 512, 513, 65_536, 65_537, 1 << 20] {
            let buffer = Buffer::with_capacity(bytes);
            assert!(buffer.is_empty() && bytes <= buffer.capacity(), "{bytes}");
            assert_eq!(*Buffer::copy_of(&vec![7; bytes]).clone(), *vec![7; bytes]);
        }
    }

    /// 16 MiB of pages of a size: the allocator gives the first, slabs the others. Each keeps what it holds.
    #[test]
    fn many_buffers_lie_in_slabs_and_keep_what_is_in_them() {
        let buffers: Vec<_> = (0..512_u32)
            .map(|nth| Buffer::copy_of(&nth.to_le_bytes().repeat(8192)))
            .collect();
        let capacity = capacity_of(15);
        let in_use = memory::in_use(capacity);
        assert!(buffers.len() <= in_use);
        assert!(6 <= memory::slabs(capacity), "12 MiB of them");
        for (nth, buffer) in buffers.iter().enumerate() {
            let expected = (nth as u32).to_le_bytes().repeat(8192);
            assert!(**buffer == *expected, "buffer {nth}");
        }
        // It grows out of its slot.
        let mut last = Buffer::copy_of(&buffers[511]);
        last.resize(100_000, 7);
        assert_eq!((&last[..4], last[99_999]), (&buffers[511][..4], 7));
        drop(buffers);
        assert!(memory::in_use(capacity) <= in_use - 200);
    }
}
