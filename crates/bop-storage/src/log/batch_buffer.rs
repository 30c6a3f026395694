//! A batch as it goes to the device: made in memory that is used again, or around a large record where that is.
//!
//! ```text
//! several records, or a small one:  | all blocks, made here                             |
//! a large one, alone:               | first, made here | the record's own | last, made here |
//! ```
//! Never: writes.

use super::format::{
    BatchEntry, BatchPlace, EncodedBatch, EncodedRecord, SegmentIdentity, add_batch, add_framed,
    encode_batch, frame_batch,
};
use super::member::Entry;
use crate::error::{Reject, Rejection};
use crate::io::Block;
use smallvec::SmallVec;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Memory for one batch.
#[derive(Debug, Default)]
pub(super) struct BatchBuffer {
    made: Vec<Block>,
    /// Bytes that the batch has but for zeros and seals at its end.
    used: usize,
    /// The record between the first of these blocks and the others.
    framed: Option<Arc<EncodedRecord>>,
}

impl BatchBuffer {
    /// Makes the batch of these records.
    ///
    /// # Errors
    /// As for [`encode_batch`].
    pub(super) fn fill(
        &mut self,
        identity: &SegmentIdentity,
        place: &BatchPlace,
        entries: &[Entry],
    ) -> Result<EncodedBatch, Rejection> {
        (self.framed, self.used) = (None, 0);
        if let [only] = entries
            && let Some(encoded) = frame_batch(identity, place, &listed(only), &mut self.made)?
        {
            self.framed = Some(Arc::clone(&only.record));
            return Ok(encoded);
        }
        let entries: Vec<_> = entries.iter().map(listed).collect();
        let encoded = encode_batch(identity, place, &entries, &mut self.made)?;
        self.used = encoded.used_bytes;
        Ok(encoded)
    }

    /// What the batch has but for zeros and seals at its end, and its bytes; `None` of one that is made around a record.
    pub(super) fn used(&self) -> Option<(&[u8], usize)> {
        let all = self.made.as_bytes();
        (self.used != 0).then(|| (&all[..self.used], all.len()))
    }

    /// Its blocks, one piece behind the other.
    pub(super) fn pieces(&self) -> SmallVec<[&[Block]; 3]> {
        match (&self.framed, self.made.split_first_chunk::<1>()) {
            (Some(record), Some((first, last))) => {
                SmallVec::from_buf([first, record.bytes.inner_blocks(), last])
            }
            _ => SmallVec::from_slice(&[self.made.as_slice()]),
        }
    }

    /// Adds the batch to the body of its segment's index.
    ///
    /// # Errors
    /// When it is none; nothing is added then.
    pub(super) fn index(&self, body: &mut Vec<u8>) -> Result<(), Reject> {
        match (&self.framed, self.made.first()) {
            (Some(record), Some(first)) => add_framed(body, first, &record.bytes),
            _ => add_batch(body, self.made.as_bytes()),
        }
    }

    /// Lets go of the record that it is made around.
    pub(super) fn release(&mut self) {
        self.framed = None;
    }

    /// Lets go of its memory when that is more than `bytes_max`.
    pub(super) fn shrink(&mut self, bytes_max: u64) {
        if bytes_max < (self.made.capacity() * size_of::<Block>()) as u64 {
            self.made = Vec::new();
        }
    }
}

fn listed(entry: &Entry) -> BatchEntry<'_> {
    BatchEntry {
        record: &entry.record,
        time_us: entry.time_us,
    }
}

#[cfg(test)]
#[path = "batch_buffer_tests.rs"]
mod tests;
