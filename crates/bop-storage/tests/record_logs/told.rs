//! Appends of the model that nobody waited for.

use crate::model::{Model, Step};
use bop_storage::{NewEntry, RecordLogError};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Far longer than a callback takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Calls `with` with the entries of an append.
pub(crate) fn with_entries<T>(
    start: u64,
    entries: &[(u64, Vec<u8>)],
    with: impl FnOnce(&[NewEntry<'_>]) -> T,
) -> T {
    let entry =
        |(index, (term, payload)): (u64, &'_ (u64, Vec<u8>))| (index, *term, payload.clone());
    let owned: Vec<_> = (start..).zip(entries).map(entry).collect();
    let entries = owned.iter().map(|(index, term, payload)| NewEntry {
        index: *index,
        term: *term,
        payload,
    });
    with(&entries.collect::<Vec<_>>())
}

/// An append that nobody waited for.
pub(crate) struct Pending {
    pub(crate) log: usize,
    pub(crate) before: Model,
    pub(crate) step: Step,
    pub(crate) told: Receiver<Result<(), RecordLogError>>,
}

impl Pending {
    /// How it ended; nothing comes after that.
    pub(crate) fn outcome(&self) -> Result<(), RecordLogError> {
        let outcome = self.told.recv_timeout(LONG).expect("the callback");
        let again = self.told.recv_timeout(LONG).unwrap_err();
        assert_eq!(again, RecvTimeoutError::Disconnected, "called once");
        outcome
    }
}
