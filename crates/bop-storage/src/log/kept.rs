//! Small batches as they were written, in memory until a checkpoint has what they say.
//!
//! A committer that is alone writes a block for each commit, of which a tenth is used. A checkpoint copies every version that
//! the log has into the past of its database: it would read ten bytes for one, and the next commits wait behind such reads.
//!
//! ```text
//! a small batch is durable --> its bytes, but no zeros, go into the last slab --> a checkpoint reads them here
//!                                '-- no room: not kept                             '--> it has ended: forgotten
//! ```
//! Invariants
//! - at most as many bytes as the limits say, rounded down to slabs, and some for each batch;
//! - a committer waits for nobody who reads here;
//! - it is a hint: what is not here is on the device, and every image is proved by whoever asks for it.
//!
//! Never: makes room for newer batches. The next checkpoint needs the older ones as much, and goes through all of them.

use crate::buffer::Buffer;
use crate::ids::Lsn;
use crate::io::BLOCK_BYTES;
use crate::runtime::sync::Mutex;
use std::collections::VecDeque;
use std::fmt;

/// Of a larger batch most is used, and little would be saved.
const BATCH_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Memory is taken by slabs: what the heap still gives without asking the kernel each time.
const SLAB_BYTES: usize = 64 << 10;

/// The batches.
pub struct KeptBatches {
    slabs_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Ascending.
    slabs: VecDeque<Slab>,
    /// Empty ones: as many as were full when a checkpoint ended.
    spare: Vec<Slab>,
}

impl Inner {
    fn find(&self, lsn: Lsn, bytes: usize) -> Option<&[u8]> {
        let behind = self.slabs.partition_point(|slab| slab.begins_at(lsn));
        self.slabs.get(behind.checked_sub(1)?)?.find(lsn, bytes)
    }
}

/// Batches one behind the other.
struct Slab {
    bytes: Vec<u8>,
    /// Where each is in the log, and in the bytes.
    batches: Vec<(Lsn, usize)>,
}

impl Slab {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(SLAB_BYTES),
            batches: Vec::new(),
        }
    }

    fn emptied(mut self) -> Self {
        self.bytes.clear();
        self.batches.clear();
        self
    }

    fn takes(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= SLAB_BYTES
    }

    fn last(&self) -> Option<Lsn> {
        self.batches.last().map(|(lsn, _)| *lsn)
    }

    fn begins_at(&self, lsn: Lsn) -> bool {
        self.batches.first().is_some_and(|(first, _)| *first <= lsn)
    }

    /// `bytes` bytes of the log from `lsn` on, if one of its batches has them.
    fn find(&self, lsn: Lsn, bytes: usize) -> Option<&[u8]> {
        let behind = self.batches.partition_point(|(start, _)| *start <= lsn);
        let (start, at) = *self.batches.get(behind.checked_sub(1)?)?;
        let end = self.batches.get(behind);
        let end = end.map_or(self.bytes.len(), |(_, at)| *at);
        let batch = self.bytes.get(at..end)?;
        let from = usize::try_from(lsn.bytes_since(start)?).ok()?;
        batch.get(from..from.checked_add(bytes)?)
    }
}

impl KeptBatches {
    /// Keeps at most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        let slabs_max = usize::try_from(bytes_max).unwrap_or(usize::MAX) / SLAB_BYTES;
        Self {
            slabs_max,
            inner: Mutex::default(),
        }
    }

    /// The batch at `lsn` is durable, behind all others. `used` is what it has but for zeros and seals at its end, which
    /// count as `batch_bytes`. Its committers wait for nobody who reads here: it is not kept then.
    pub(super) fn add(&self, lsn: Lsn, used: &[u8], batch_bytes: usize) {
        if self.slabs_max == 0 || BATCH_BYTES_MAX < batch_bytes {
            return;
        }
        let Some(mut inner) = self.inner.try_lock() else {
            return;
        };
        let Inner { slabs, spare } = &mut *inner;
        let newest = slabs.back().and_then(Slab::last);
        if newest.is_some_and(|newest| lsn <= newest) {
            return;
        }
        if !slabs.back().is_some_and(|slab| slab.takes(used.len())) {
            if self.slabs_max <= slabs.len() {
                return;
            }
            slabs.push_back(spare.pop().unwrap_or_else(Slab::new));
        }
        if let Some(slab) = slabs.back_mut() {
            slab.batches.push((lsn, slab.bytes.len()));
            slab.bytes.extend_from_slice(used);
        }
    }

    /// `bytes` bytes of the log from `lsn` on, if they are here.
    pub fn read(&self, lsn: Lsn, bytes: usize) -> Option<Buffer> {
        self.inner.lock().find(lsn, bytes).map(Buffer::copy_of)
    }

    /// Whether they are here.
    pub fn has(&self, lsn: Lsn, bytes: usize) -> bool {
        self.inner.lock().find(lsn, bytes).is_some()
    }

    /// A checkpoint has all before `end`.
    pub fn forget_before(&self, end: Lsn) {
        let mut inner = self.inner.lock();
        let is_forgotten = |slab: &&Slab| slab.last().is_none_or(|last| last < end);
        let count = inner.slabs.iter().take_while(is_forgotten).count();
        let forgotten = inner.slabs.drain(..count).map(Slab::emptied).collect();
        let unused = std::mem::replace(&mut inner.spare, forgotten);
        drop(inner);
        drop(unused);
    }
}

impl fmt::Debug for KeptBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptBatches")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    /// Batches of a block each, filled with their number, of which so many bytes are used.
    fn kept(slabs: u64, batches: u64, used: usize) -> KeptBatches {
        let kept = KeptBatches::new(slabs * SLAB_BYTES as u64);
        for nth in 0..batches {
            kept.add(Lsn::new(nth * BLOCK), &vec![nth as u8; used], BLOCK_BYTES);
        }
        kept
    }

    /// The first byte at this place of a batch, if so many are kept.
    fn first(kept: &KeptBatches, batch: u64, at: u64, bytes: usize) -> Option<u8> {
        let lsn = Lsn::new(batch * BLOCK + at);
        let found = kept.read(lsn, bytes);
        assert_eq!(found.is_some(), kept.has(lsn, bytes));
        found.map(|found| {
            assert_eq!(found.len(), bytes);
            found[0]
        })
    }

    #[test]
    fn what_a_batch_used_is_there_and_nothing_behind_it() {
        let kept = kept(4, 100, 300);
        for batch in [0, 1, 50, 99] {
            assert_eq!(first(&kept, batch, 0, 300), Some(batch as u8));
            assert_eq!(first(&kept, batch, 250, 50), Some(batch as u8));
            assert_eq!(first(&kept, batch, 250, 51), None, "zeros");
            assert_eq!(first(&kept, batch, 300, 1), None, "zeros");
        }
        assert_eq!(first(&kept, 100, 0, 1), None);
    }

    #[test]
    fn a_batch_of_more_than_two_blocks_is_not_kept_nor_one_that_is_no_newer() {
        let kept = kept(4, 3, 300);
        kept.add(Lsn::new(3 * BLOCK), &[3; 300], BATCH_BYTES_MAX + 1);
        kept.add(Lsn::new(2 * BLOCK), &[9; 300], BLOCK_BYTES);
        assert_eq!(first(&kept, 3, 0, 1), None);
        assert_eq!(first(&kept, 2, 0, 300), Some(2));
    }

    #[test]
    fn who_reads_keeps_no_committer_waiting() {
        let kept = kept(4, 3, 300);
        let reading = kept.inner.lock();
        kept.add(Lsn::new(3 * BLOCK), &[3; 300], BLOCK_BYTES);
        drop(reading);
        assert_eq!(first(&kept, 3, 0, 1), None);
        kept.add(Lsn::new(4 * BLOCK), &[4; 300], BLOCK_BYTES);
        assert_eq!(first(&kept, 4, 0, 300), Some(4));
    }

    #[test]
    fn without_room_older_ones_stay_until_they_are_forgotten() {
        // 32 of them fill a slab.
        let kept = kept(2, 70, 2000);
        assert_eq!(first(&kept, 63, 0, 2000), Some(63));
        assert_eq!(first(&kept, 64, 0, 1), None);
        // A slab goes as a whole.
        kept.forget_before(Lsn::new(31 * BLOCK));
        assert_eq!(first(&kept, 0, 0, 1), Some(0));
        kept.forget_before(Lsn::new(40 * BLOCK));
        assert_eq!(first(&kept, 31, 0, 1), None);
        assert_eq!(first(&kept, 32, 0, 2000), Some(32));
        kept.add(Lsn::new(70 * BLOCK), &[70; 2000], BLOCK_BYTES);
        assert_eq!(first(&kept, 70, 0, 2000), Some(70));
        assert_eq!(first(&kept, 63, 0, 2000), Some(63));
    }

    #[test]
    fn memory_that_was_not_used_between_two_checkpoints_goes() {
        let kept = kept(8, 4 * 32, 2000);
        let spare = |kept: &KeptBatches| kept.inner.lock().spare.len();
        kept.forget_before(Lsn::new(4 * 32 * BLOCK));
        assert_eq!(spare(&kept), 4);
        kept.add(Lsn::new(500 * BLOCK), &[1; 10], BLOCK_BYTES);
        assert_eq!(spare(&kept), 3);
        kept.forget_before(Lsn::new(501 * BLOCK));
        assert_eq!(spare(&kept), 1);
    }

    #[test]
    fn who_may_keep_nothing_keeps_nothing() {
        assert_eq!(first(&kept(0, 10, 300), 3, 0, 1), None);
    }
}
