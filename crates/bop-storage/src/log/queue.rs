//! What waits for the next batch, and whether the log takes more of it.
//!
//! ```text
//!   Open --close--> Closed --the last record--> Ended
//!     '---------------'-- a write fails --> Poisoned (until the store is opened again)
//! ```
//! Never: waits, locks.

use super::format::{EncodedRecord, batch_bytes_needed};
use super::ticket::{Pending, Priority};
use crate::error::{LogFailure, Rejection};
use std::collections::VecDeque;
use std::sync::Arc;

/// Whether the log takes records.
#[derive(Debug)]
pub(super) enum Health {
    Open,
    /// Housekeeping goes on.
    Closed,
    /// The last record was taken.
    Ended,
    Poisoned(Arc<LogFailure>),
}

/// The records that wait, and who leads.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) records: VecDeque<Pending>,
    pub(super) bytes: u64,
    pub(super) leading: bool,
    pub(super) health: Health,
    /// How often the log was shortened.
    pub(super) shortened: u64,
}

/// Bytes of a batch that carries these records.
pub(super) fn batch_bytes<'a>(records: impl Iterator<Item = &'a EncodedRecord>) -> u64 {
    let (mut bytes, mut entries) = (0, 0);
    for record in records {
        bytes += record.bytes.len();
        entries += record.databases.len().max(1);
    }
    batch_bytes_needed(bytes, entries) as u64
}

/// Why a record has to wait.
pub(super) enum Shortage {
    Log(u64),
    Queue,
}

/// Why no record of this priority is taken, if so.
pub(super) fn refusal(health: &Health, priority: Priority) -> Option<Rejection> {
    match health {
        Health::Open => None,
        Health::Closed if priority == Priority::Housekeeping => None,
        Health::Closed | Health::Ended => Some(Rejection::Closed),
        Health::Poisoned(cause) => Some(Rejection::Poisoned(Arc::clone(cause))),
    }
}
