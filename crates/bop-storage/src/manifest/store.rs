//! The seam between the manifest's rows and what keeps them: tables of byte keys and byte values.
//!
//! Contract of every store
//! - [`ManifestStore::commit`] applies all of its writes or none, in their order, and they are
//!   durable when it returns `Ok`;
//! - a read sees the last commit that returned `Ok`, and nothing of one that has not returned;
//! - after a commit that returned an error, either all of its writes are there or none: whoever
//!   goes on reads again;
//! - no read transaction outlives a call;
//! - keys are ordered by their bytes, table by table.
//!
//! Never: knows what a value means.

use super::schema::row_damage;
use crate::error::{ManifestError, Reject};
use std::fmt;

/// Rows that one [`ManifestStore::scan`] hands out at most, so that no read holds a store long.
pub const SCAN_ROWS_MAX: usize = 1000;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;

/// A table of the manifest. The number stands on disk, in front of each key and in each checksum.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Table {
    /// One row: whose manifest it is, and in which schema.
    Meta = 1,
    /// Databases, dropped ones that are still remembered included.
    Databases = 2,
    /// Registered segments.
    Segments = 3,
    /// Chunk files.
    Chunks = 4,
    /// Which sections of which chunks hold a range of pages, by generation.
    Ranges = 5,
    /// One row: how far the log is checkpointed and truncated, and the next numbers.
    Watermarks = 6,
    /// Segments outside the log that a closed database needs.
    Salvage = 7,
    /// Databases that are closed for damage.
    Closed = 8,
    /// What the manifest's transactions did, in their order, as far as somebody may want it.
    Changes = 9,
    /// One row: which changes there are.
    Feed = 10,
    /// Subscribers of the changes, and how far each has come.
    Cursors = 11,
    /// One row: who has the store open, or had it last.
    Run = 12,
    /// What is to be done in the background, and what became of it.
    Jobs = 13,
    /// One row: the number of the next job.
    JobIds = 14,
    /// When each database was scrubbed last, and nothing was wrong.
    Scrubs = 15,
    /// Named points in the past of databases.
    Snapshots = 16,
    /// Generations of databases that something reads, the newest included.
    Generations = 17,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Meta,
        Self::Databases,
        Self::Segments,
        Self::Chunks,
        Self::Ranges,
        Self::Watermarks,
        Self::Salvage,
        Self::Closed,
        Self::Changes,
        Self::Feed,
        Self::Cursors,
        Self::Run,
        Self::Jobs,
        Self::JobIds,
        Self::Scrubs,
        Self::Snapshots,
        Self::Generations,
    ];

    /// The number that stands for the table on disk.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name that people see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Databases => "databases",
            Self::Segments => "segments",
            Self::Chunks => "chunks",
            Self::Ranges => "ranges",
            Self::Watermarks => "watermarks",
            Self::Salvage => "salvage",
            Self::Closed => "closed",
            Self::Changes => "changes",
            Self::Feed => "feed",
            Self::Cursors => "cursors",
            Self::Run => "run",
            Self::Jobs => "jobs",
            Self::JobIds => "job_ids",
            Self::Scrubs => "scrubs",
            Self::Snapshots => "snapshots",
            Self::Generations => "generations",
        }
    }
}

/// One change of a commit.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Adds a row or replaces its value.
    Put {
        /// The table.
        table: Table,
        /// The row's key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Removes a row; nothing happens when it is not there.
    Delete {
        /// The table.
        table: Table,
        /// The row's key.
        key: Vec<u8>,
    },
}

impl Write {
    /// The table that is written to.
    pub fn table(&self) -> Table {
        match self {
            Self::Put { table, .. } | Self::Delete { table, .. } => *table,
        }
    }

    /// The key that is written to.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, key) = (self.table().name(), hex(self.key()));
        match self {
            Self::Put { value, .. } => write!(f, "Put {table} {key} = {}", hex(value)),
            Self::Delete { .. } => write!(f, "Delete {table} {key}"),
        }
    }
}

/// A row as the store keeps it: key and value.
pub type RawRow = (Vec<u8>, Vec<u8>);

/// Keeps the manifest's rows. See the module for the contract.
pub trait ManifestStore: Send + Sync + fmt::Debug {
    /// The value of a row; `None` when there is no such row.
    ///
    /// # Errors
    /// [`ManifestError::Engine`], [`ManifestError::Io`] or [`ManifestError::Closed`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError>;

    /// The rows of a table whose key is `from` or behind it, in the order of their keys: at most
    /// `limit` and never more than [`SCAN_ROWS_MAX`].
    ///
    /// # Errors
    /// As for [`ManifestStore::get`].
    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError>;

    /// Applies all writes atomically and durably.
    ///
    /// # Errors
    /// [`ManifestError::Full`] at the largest size the limits allow; else as for
    /// [`ManifestStore::get`]. After [`ManifestError::Io`] the writes may be there.
    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError>;

    /// Why the store takes no more commits until it is opened again, if so. What the one that failed
    /// has left cannot be told before.
    fn failure(&self) -> Option<ManifestError> {
        None
    }

    /// Lets go of what the store holds open. Idempotent; what is committed stays.
    fn close(&self);
}

/// All rows of a table, read in bounded steps.
///
/// # Errors
/// As for [`ManifestStore::scan`]; [`ManifestError::Damaged`] when a store's keys are out of
/// order, which could go on for ever.
pub fn scan_all(
    store: &dyn ManifestStore,
    table: Table,
    mut row: impl FnMut(Vec<u8>, Vec<u8>),
) -> Result<(), ManifestError> {
    let (mut from, mut before) = (Vec::new(), None);
    loop {
        let rows = store.scan(table, &from, SCAN_ROWS_MAX)?;
        // The smallest key behind the last one is that key with a zero byte appended.
        let Some((last, _)) = rows.last() else {
            return Ok(());
        };
        from = last.clone();
        from.push(0);
        for (key, value) in rows {
            if before.as_ref().is_some_and(|before| key <= *before) {
                let reason = Reject::Invalid("a key is not behind the one before");
                return Err(row_damage(table, &key, reason).into());
            }
            before = Some(key.clone());
            row(key, value);
        }
    }
}

/// Refuses keys that a store could not keep, the same way in every store.
pub(super) fn check_keys(writes: &[Write]) -> Result<(), ManifestError> {
    let bad = |write: &&Write| write.key().is_empty() || KEY_BYTES_MAX < write.key().len();
    match writes.iter().find(bad) {
        None => Ok(()),
        Some(write) => Err(ManifestError::Invariant {
            invariant: "key_length",
            detail: format!(
                "a key of {} bytes in table {}, 1 to {KEY_BYTES_MAX} are allowed",
                write.key().len(),
                write.table().name()
            ),
        }),
    }
}

/// Bytes as people read them in an error.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the keys 1, 2 and 1 again, wherever a search starts: what LMDB did with a leaf whose
    /// last key had a flipped bit.
    #[derive(Debug)]
    struct Restarting;

    impl ManifestStore for Restarting {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
            Ok(None)
        }

        fn scan(&self, _: Table, _: &[u8], _: usize) -> Result<Vec<RawRow>, ManifestError> {
            Ok([1, 2, 1].map(|key| (vec![key], Vec::new())).to_vec())
        }

        fn commit(&self, _: &[Write]) -> Result<(), ManifestError> {
            Ok(())
        }

        fn close(&self) {}
    }

    #[test]
    fn a_scan_ends_at_a_key_that_is_out_of_order() {
        let mut seen = Vec::new();
        let refused = scan_all(&Restarting, Table::Chunks, |key, _| seen.push(key)).unwrap_err();
        assert_eq!(seen, [[1], [2]]);
        assert!(matches!(refused, ManifestError::Damaged(_)), "{refused}");
    }
}
