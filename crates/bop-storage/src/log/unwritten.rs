//! The records that readers can see and the device does not have yet: their bytes, by Lsn.
//!
//! Invariant: a record is here from before it is visible until after it is durable.
//!
//! Never: holds more than the queue's bound and one batch.

use super::format::EncodedRecord;
use crate::ids::Lsn;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The records.
#[derive(Debug, Default)]
pub struct Unwritten {
    records: RwLock<BTreeMap<Lsn, Arc<EncodedRecord>>>,
}

impl Unwritten {
    pub(super) fn add(&self, lsn: Lsn, record: Arc<EncodedRecord>) {
        self.records.write().insert(lsn, record);
    }

    pub(super) fn remove(&self, lsn: Lsn) {
        self.records.write().remove(&lsn);
    }

    /// `bytes` bytes of the log from `lsn` on, if a record that is here has them.
    pub fn read(&self, lsn: Lsn, bytes: usize) -> Option<Vec<u8>> {
        let records = self.records.read();
        let (start, record) = records.range(..=lsn).next_back()?;
        let at = usize::try_from(lsn.bytes_since(*start)?).ok()?;
        Some(record.bytes.get(at..at.checked_add(bytes)?)?.to_vec())
    }

    /// Where the oldest of them stands.
    pub fn oldest(&self) -> Option<Lsn> {
        let records = self.records.read();
        records.first_key_value().map(|(lsn, _)| *lsn)
    }
}
