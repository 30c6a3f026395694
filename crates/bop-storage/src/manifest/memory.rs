//! The in-memory twin of the LMDB store: atomic, and durable at commit, so that a simulator can
//! cut a store's life at any commit.
//!
//! Invariants
//! - a clone shares the rows; a [`MemoryManifest::snapshot`] has its own;
//! - commits happen one after the other; no lock that a reader needs is held while a gate runs, so
//!   a gate may hang.
//!
//! Never: stands behind a store that must survive its process.

use super::store::{ManifestStore, RawRow, SCAN_ROWS_MAX, Table, Write, check_keys};
use crate::checksum::Xxh3;
use crate::error::ManifestError;
use crate::io::IoFailure;
use crate::runtime::sync::Mutex;
use std::fmt;
use std::sync::Arc;

/// Asked at each commit: lets it pass, or makes it fail.
pub type Gate = Arc<dyn Fn() -> Result<(), IoFailure> + Send + Sync>;

type Rows = imbl::OrdMap<(Table, Vec<u8>), Arc<[u8]>>;

#[derive(Default)]
struct Shared {
    /// Held for the whole of a commit, gates included.
    commit: Mutex<()>,
    rows: Mutex<Rows>,
    gate_before: Mutex<Option<Gate>>,
    gate_after: Mutex<Option<Gate>>,
}

/// A manifest in memory. A clone is another handle of the same rows.
#[derive(Clone, Default)]
pub struct MemoryManifest {
    shared: Arc<Shared>,
}

impl MemoryManifest {
    /// Without a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy of the rows, without gates: what a crash at this moment leaves. Takes
    /// constant time: the copies share what neither has changed.
    pub fn snapshot(&self) -> Self {
        self.snapshot_beside(|| ()).0
    }

    /// The same, and what `meanwhile` answers: the rows do not change until it has.
    pub fn snapshot_beside<T>(&self, meanwhile: impl FnOnce() -> T) -> (Self, T) {
        let rows = self.shared.rows.lock();
        let answer = meanwhile();
        let copy = Self::new();
        *copy.shared.rows.lock() = rows.clone();
        (copy, answer)
    }

    /// Sets what is asked before each commit is applied: an error leaves it unapplied.
    pub fn set_gate(&self, gate: Option<Gate>) {
        *self.shared.gate_before.lock() = gate;
    }

    /// Sets what is asked after each commit was applied: an error is reported though the writes
    /// are there, as when a power cut hides the answer of a commit that reached the disk.
    pub fn set_gate_after(&self, gate: Option<Gate>) {
        *self.shared.gate_after.lock() = gate;
    }

    /// Changes a value behind everybody's back, as bit rot does; `false` when there is no such row.
    pub fn corrupt(&self, table: Table, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut rows = self.shared.rows.lock();
        let Some(value) = rows.get_mut(&(table, key.to_vec())) else {
            return false;
        };
        let mut bytes = value.to_vec();
        change(&mut bytes);
        *value = bytes.into();
        true
    }

    /// The digest of all rows: two runs of a seed are compared by it.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for ((table, key), value) in self.shared.rows.lock().iter() {
            hasher.update(&[*table as u8]);
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key);
            hasher.update(value);
        }
        hasher.digest()
    }

    /// The number of rows, for tests that walk all of them.
    pub fn len(&self) -> usize {
        self.shared.rows.lock().len()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.shared.rows.lock().is_empty()
    }

    fn ask(gate: &Mutex<Option<Gate>>) -> Result<(), IoFailure> {
        let gate = gate.lock().clone();
        gate.map_or(Ok(()), |gate| gate())
    }
}

impl ManifestStore for MemoryManifest {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        let rows = self.shared.rows.lock();
        Ok(rows.get(&(table, key.to_vec())).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        let rows = self.shared.rows.lock();
        Ok(rows
            .range((table, from.to_vec())..)
            .take_while(|((found, _), _)| *found == table)
            .take(limit.min(SCAN_ROWS_MAX))
            .map(|((_, key), value)| (key.clone(), value.to_vec()))
            .collect())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        check_keys(writes)?;
        let _one_at_a_time = self.shared.commit.lock();
        Self::ask(&self.shared.gate_before)?;
        let mut after = self.shared.rows.lock().clone();
        for write in writes {
            match write.clone() {
                Write::Put { table, key, value } => after.insert((table, key), value.into()),
                Write::Delete { table, key } => after.remove(&(table, key)),
            };
        }
        *self.shared.rows.lock() = after;
        Self::ask(&self.shared.gate_after)?;
        Ok(())
    }

    /// Nothing is held open: the handle can be given to the next opening.
    fn close(&self) {}
}

impl fmt::Debug for MemoryManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryManifest({} rows)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::IoOp;
    use std::path::PathBuf;

    fn put(key: u8) -> [Write; 1] {
        [Write::Put {
            table: Table::Chunks,
            key: vec![key],
            value: vec![key],
        }]
    }

    fn failing() -> Gate {
        Arc::new(|| {
            Err(IoFailure {
                op: IoOp::ManifestCommit,
                path: PathBuf::from("manifest"),
                offset: None,
                errno: 5,
            })
        })
    }

    #[test]
    fn a_gate_cuts_before_or_after_the_commit_is_applied() {
        let manifest = MemoryManifest::new();
        manifest.set_gate(Some(failing()));
        assert!(matches!(
            manifest.commit(&put(1)),
            Err(ManifestError::Io(_))
        ));
        assert_eq!(manifest.len(), 0);

        manifest.set_gate(None);
        manifest.set_gate_after(Some(failing()));
        assert!(matches!(
            manifest.commit(&put(1)),
            Err(ManifestError::Io(_))
        ));
        assert_eq!(manifest.len(), 1);
    }

    #[test]
    fn a_snapshot_is_independent_and_a_clone_is_not() {
        let manifest = MemoryManifest::new();
        manifest.commit(&put(1)).unwrap();
        let (copy, clone) = (manifest.snapshot(), manifest.clone());
        manifest.commit(&put(2)).unwrap();
        assert_eq!((copy.len(), clone.len()), (1, 2));
    }
}
