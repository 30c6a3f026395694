//! The records that readers can see and the device does not have yet: their bytes, by Lsn.
//!
//! Invariant: a record is here from before it is visible until after it is durable.
//!
//! Never: holds more than the queue's bound and one batch.

use super::format::EncodedRecord;
use crate::ids::Lsn;
use crate::runtime::sync::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;

/// The records.
#[derive(Debug, Default)]
pub struct Unwritten {
    /// Ascending: they come and go in the order of their places.
    records: RwLock<VecDeque<(Lsn, Arc<EncodedRecord>)>>,
}

impl Unwritten {
    /// One more, behind all the others.
    pub(super) fn add(&self, lsn: Lsn, record: Arc<EncodedRecord>) {
        self.records.write().push_back((lsn, record));
    }

    /// Those before `end` are durable.
    pub(super) fn remove_before(&self, end: Lsn) {
        let mut records = self.records.write();
        let durable = records.partition_point(|(lsn, _)| *lsn < end);
        let durable: Vec<_> = records.drain(..durable).collect();
        // They are freed when nobody waits for it.
        drop(records);
        drop(durable);
    }

    /// `bytes` bytes of the log from `lsn` on, if a record that is here has them.
    pub fn read(&self, lsn: Lsn, bytes: usize) -> Option<Vec<u8>> {
        let records = self.records.read();
        let behind = records.partition_point(|(start, _)| *start <= lsn);
        let (start, record) = records.get(behind.checked_sub(1)?)?;
        let at = usize::try_from(lsn.bytes_since(*start)?).ok()?;
        Some(record.bytes.get(at..at.checked_add(bytes)?)?.to_vec())
    }

    /// Where the oldest of them stands.
    pub fn oldest(&self) -> Option<Lsn> {
        self.records.read().front().map(|(lsn, _)| *lsn)
    }
}
