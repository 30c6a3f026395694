//! The buffers of large transfers: aligned, of one size, bounded, used again.
//!
//! ```text
//!   (not made) --take--> taken --drop--> free --take--> taken ...
//! ```
//! Invariants
//! - no more than the bound are ever made, and who finds none waits until a deadline or gets none;
//! - a buffer's memory stays where it is, and is freed with the pool at the earliest: a backend may
//!   have told the kernel its address. One that is forgotten is leaked, never freed.
//!
//! Never: clears a buffer. It holds what it held last, and who takes it writes before it reads.

use super::{BLOCK_BYTES, Block};
use crate::runtime::sync::{Condvar, Mutex};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// Blocks of a buffer: 256 KiB, from where on larger transfers gain little.
pub const BUFFER_BLOCKS: usize = 64;
/// Bytes of a buffer.
pub const BUFFER_BYTES: usize = BUFFER_BLOCKS * BLOCK_BYTES;

#[derive(Default)]
struct State {
    /// Made first, and known to the kernel where the backend does that: given out first.
    lasting: Vec<Vec<Block>>,
    /// Where each of these begins, whoever has it now.
    lasting_at: Vec<usize>,
    free: Vec<Vec<Block>>,
    made: usize,
}

/// How much of a pool is in use.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PoolUsage {
    /// Bytes of all buffers that were made.
    pub made_bytes: u64,
    /// Bytes of those that somebody has.
    pub taken_bytes: u64,
    /// The bound.
    pub bytes_max: u64,
}

/// A bounded set of buffers.
pub struct BufferPool {
    state: Mutex<State>,
    returned: Condvar,
    buffers_max: usize,
}

impl BufferPool {
    /// A pool of at most `bytes_max` bytes, and of one buffer at least. Nothing is allocated yet.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let buffers_max = usize::try_from(bytes_max / BUFFER_BYTES as u64).unwrap_or(usize::MAX);
        Arc::new(Self {
            state: Mutex::default(),
            returned: Condvar::new(),
            buffers_max: buffers_max.max(1),
        })
    }

    /// A buffer, if there is one or one can be made now.
    pub fn try_take(self: &Arc<Self>) -> Option<PoolBuffer> {
        self.take_from(&mut self.state.lock())
    }

    /// A buffer; waits for one until `deadline`. Who already has one must not wait for another:
    /// two who do so wait for each other.
    pub fn take(self: &Arc<Self>, deadline: Instant) -> Option<PoolBuffer> {
        let mut state = self.state.lock();
        loop {
            let taken = self.take_from(&mut state);
            if taken.is_some() {
                return taken;
            }
            if self.returned.wait_until(&mut state, deadline).timed_out() {
                return self.take_from(&mut state);
            }
        }
    }

    /// How much is in use.
    pub fn usage(&self) -> PoolUsage {
        let state = self.state.lock();
        let bytes = |buffers: usize| buffers as u64 * BUFFER_BYTES as u64;
        PoolUsage {
            made_bytes: bytes(state.made),
            taken_bytes: bytes(state.made - state.free.len() - state.lasting.len()),
            bytes_max: bytes(self.buffers_max),
        }
    }

    /// Makes sure that there are `count` buffers which are given out before all others, or as many
    /// as the bound allows, and says at which address each begins. Their memory is not freed while
    /// the pool lives.
    pub(super) fn make_lasting(&self, count: usize) -> Vec<usize> {
        let mut state = self.state.lock();
        while state.lasting_at.len() < count && state.made < self.buffers_max {
            let Some(blocks) = allocate() else {
                break;
            };
            state.made += 1;
            state.lasting_at.push(blocks.as_ptr().expose_provenance());
            state.lasting.push(blocks);
        }
        state.lasting_at.clone()
    }

    fn take_from(self: &Arc<Self>, state: &mut State) -> Option<PoolBuffer> {
        let buffer = |blocks, lasting| PoolBuffer {
            blocks,
            lasting,
            pool: Arc::clone(self),
        };
        if let Some(blocks) = state.lasting.pop() {
            return Some(buffer(blocks, true));
        }
        if let Some(blocks) = state.free.pop() {
            return Some(buffer(blocks, false));
        }
        if self.buffers_max <= state.made {
            return None;
        }
        let blocks = allocate()?;
        state.made += 1;
        Some(buffer(blocks, false))
    }
}

/// A buffer's memory; `None` when the process can have no more.
fn allocate() -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    blocks.try_reserve_exact(BUFFER_BLOCKS).ok()?;
    blocks.resize(BUFFER_BLOCKS, Block::ZERO);
    Some(blocks)
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({:?})", self.usage())
    }
}

/// [`BUFFER_BLOCKS`] blocks of a pool, given back when dropped.
pub struct PoolBuffer {
    blocks: Vec<Block>,
    lasting: bool,
    pool: Arc<BufferPool>,
}

impl Deref for PoolBuffer {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        &self.blocks
    }
}

impl DerefMut for PoolBuffer {
    fn deref_mut(&mut self) -> &mut [Block] {
        &mut self.blocks
    }
}

impl Drop for PoolBuffer {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        let mut state = self.pool.state.lock();
        if self.lasting {
            state.lasting.push(blocks);
        } else {
            state.free.push(blocks);
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}

impl fmt::Debug for PoolBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBuffer({:p})", self.blocks.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BYTES: u64 = BUFFER_BYTES as u64;

    #[test]
    fn the_bound_holds_and_memory_is_used_again() {
        let pool = BufferPool::new(3 * BYTES + 1);
        let mut taken: Vec<PoolBuffer> = std::iter::from_fn(|| pool.try_take()).collect();
        assert_eq!(taken.len(), 3);
        assert!(taken.iter().all(|buffer| buffer.len() == BUFFER_BLOCKS));
        let usage = pool.usage();
        assert_eq!(
            (usage.made_bytes, usage.taken_bytes),
            (3 * BYTES, 3 * BYTES)
        );
        let address = taken[1].as_ptr();
        drop(taken.remove(1));
        assert_eq!(pool.usage().taken_bytes, 2 * BYTES);
        let again = pool.try_take().unwrap();
        assert_eq!(again.as_ptr(), address, "its memory did not move");
        drop((taken, again));
        assert_eq!(pool.usage().taken_bytes, 0);
        assert_eq!(pool.usage().made_bytes, 3 * BYTES);
    }

    #[test]
    fn at_the_bound_one_waits_until_another_gives_back_or_the_deadline_passes() {
        let pool = BufferPool::new(0);
        let only = pool.try_take().unwrap();
        assert!(pool.take(Instant::now()).is_none());
        assert!(
            pool.take(Instant::now() + Duration::from_millis(1))
                .is_none()
        );
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(Instant::now() + Duration::from_secs(60)));
            drop(only);
            assert!(waiter.join().unwrap().is_some());
        });
    }

    #[test]
    fn lasting_buffers_come_first_and_stay_where_they_are() {
        let pool = BufferPool::new(3 * BYTES);
        let lasting = pool.make_lasting(2);
        assert_eq!(lasting.len(), 2);
        for _ in 0..3 {
            let taken: Vec<PoolBuffer> = std::iter::from_fn(|| pool.try_take()).collect();
            assert_eq!(taken.len(), 3);
            assert_eq!(pool.make_lasting(2), lasting, "they are somebody's now");
            let mut first: Vec<_> = taken[..2].iter().map(|b| b.as_ptr().addr()).collect();
            first.sort_unstable();
            let mut wanted = lasting.clone();
            wanted.sort_unstable();
            assert_eq!(first, wanted);
        }
        assert_eq!(
            BufferPool::new(BYTES).make_lasting(9).len(),
            1,
            "bounded, too"
        );
    }
}
