//! Memory for the pages and records of commits, used again.
//!
//! Each commit makes a page and a record, and lets go of the page that it replaces and of the record
//! that was written, mostly on another thread. An allocator answers that from what its threads share:
//! it was a sixth of the time of a commit that waits for nobody.
//!
//! ```text
//! idle, in the list of its size --with_capacity--> in use --drop--> idle, or freed when enough are
//! ```
//! Invariants
//! - what is idle takes no more than `IDLE_BYTES_MAX` for each size, in the whole process;
//! - a buffer is empty when it is handed out: nobody reads what it held before;
//! - behind the content of one that fills its size from 4 KiB on is memory that may be read.
//!
//! Never: waits for anything but the lists' locks, which are held to push or to pop.

use parking_lot::Mutex;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// What is kept of each size: the pages that a transaction of common size throws out of the cache, so that
/// the next one takes these. An allocator keeps what a thread has given back for that thread; where one
/// fills the cache and another reads ahead for it, their heaps came to twice the cache.
const IDLE_BYTES_MAX: usize = 8 << 20;

/// How far a heap grows at a time: what glibc still takes from the heap, and does not map by itself.
const HEAP_STEP_BYTES: usize = 120 << 10;

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
pub struct Buffer(Vec<u8>);

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
}

impl Drop for Buffer {
    fn drop(&mut self) {
        IDLE.keep(std::mem::take(&mut self.0));
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

/// Buffers that nobody uses, by size. The newest is used first: the processor's cache still has it.
struct Idle([Mutex<Vec<Vec<u8>>>; SIZES]);

impl Idle {
    const fn new() -> Self {
        Self([const { Mutex::new(Vec::new()) }; SIZES])
    }

    /// An empty buffer with room for so many bytes.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let bytes_log2 = bytes.next_power_of_two().ilog2().max(SIZES_LOG2[0]);
        let Some(list) = self.list(bytes_log2) else {
            return Vec::with_capacity(bytes);
        };
        let idle = list.lock().pop();
        idle.unwrap_or_else(|| {
            let capacity = capacity_of(bytes_log2);
            grow_the_heap_at_times(capacity);
            Vec::with_capacity(capacity)
        })
    }

    /// Keeps a buffer, unless it is of no size that is kept or enough of it are.
    fn keep(&self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        let Some(bytes_log2) = capacity.checked_ilog2() else {
            return;
        };
        if capacity != capacity_of(bytes_log2) {
            return;
        }
        if let Some(list) = self.list(bytes_log2) {
            buffer.clear();
            let mut list = list.lock();
            if list.len() < IDLE_BYTES_MAX / capacity {
                list.push(buffer);
            }
        }
    }

    fn list(&self, bytes_log2: u32) -> Option<&Mutex<Vec<Vec<u8>>>> {
        self.0.get(bytes_log2.checked_sub(SIZES_LOG2[0])? as usize)
    }
}

/// Of a buffer of that size.
fn capacity_of(bytes_log2: u32) -> usize {
    let behind = match BEHIND_LOG2_MIN <= bytes_log2 {
        true => BEHIND_BYTES,
        false => 0,
    };
    (1 << bytes_log2) + behind
}

/// Lets the allocator have room for the next few buffers at once, when it is their turn.
///
/// The heaps that glibc gives to threads grow by what is asked for and no more, by a call of the kernel each
/// time: a thread that fills the page cache made one for every page, which was half of its time. A large piece
/// that is taken and given back leaves a heap that has grown. Any other allocator hardly notices.
fn grow_the_heap_at_times(buffer_bytes: usize) {
    thread_local! {
        /// Bytes that were taken since.
        static TAKEN: Cell<usize> = const { Cell::new(HEAP_STEP_BYTES) };
    }
    let taken = TAKEN.get() + buffer_bytes;
    let is_due = HEAP_STEP_BYTES < taken;
    TAKEN.set(if is_due { buffer_bytes } else { taken });
    if is_due {
        // Not optimized away: as far as the compiler knows, somebody looks at it.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(
            HEAP_STEP_BYTES,
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_what_was_in_it_is_gone() {
        let idle = Idle::new();
        let mut first = idle.take(4096);
        first.resize(4096, 1);
        let at = first.as_ptr();
        idle.keep(first);
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
            idle.keep(Vec::with_capacity(capacity_of(16)));
        }
        let kept = |bytes_log2| idle.list(bytes_log2).map(|list| list.lock().len());
        for capacity in [0, 1, 256, 1000, 1 << 16, 1 << 17] {
            idle.keep(Vec::with_capacity(capacity));
        }
        let others: usize = (9..16).filter_map(kept).sum();
        assert_eq!(others, 0);
        assert_eq!(kept(16), Some(IDLE_BYTES_MAX / capacity_of(16)));
        assert_eq!((kept(8), kept(17)), (None, None));
    }

    #[test]
    fn there_is_room_for_any_number_of_bytes() {
        for bytes in [0, 1, 511, 512, 513, 65_536, 65_537, 1 << 20] {
            let buffer = Buffer::with_capacity(bytes);
            assert!(buffer.is_empty() && bytes <= buffer.capacity(), "{bytes}");
            assert_eq!(*Buffer::copy_of(&vec![7; bytes]).clone(), vec![7; bytes]);
        }
    }
}
