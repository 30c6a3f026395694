//! The manifest in LMDB: full sync, one writer at a time, a map that grows.
//!
//! ```text
//! Open --commit fails, not for lack of space--> Failed   (commits answer the first failure)
//! Open --the map cannot grow, below its limit--> Lost    (so do they here; reads: closed)
//! Open, Failed --close--> Closed
//! ```
//! One unnamed LMDB table holds all of ours: the first byte of a key is the [`Table`]. A commit
//! mostly changes rows of several tables at once; in one tree they share the path of pages that
//! is copied and synced, an empty manifest is three pages, and there is no handle to open or lose.
//!
//! Invariants
//! - a transaction lives inside one call and inside a guard of `slot`: shared for reads and
//!   commits, exclusive to grow the map and to close;
//! - at most as many read at once as LMDB has places for: the next ones wait;
//! - after a failed commit no transaction is tried in the same environment, unless it failed for
//!   lack of space: then every page that it wrote is unused, and the next one writes its own.
//!
//! Never: sets a flag that weakens LMDB's syncs, keeps a read transaction beyond a call.

use super::env::{self, Environment, READERS_MAX};
use super::readers::Readers;
use super::store::{ManifestStore, RawRow, SCAN_ROWS_MAX, Table, Write, check_keys};
use crate::error::ManifestError;
use crate::limits::ValidLimits;
use heed::{MdbError, RoTxn, WithoutTls};
use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// The manifest of a store on a real file system.
pub struct LmdbManifest {
    store: PathBuf,
    slot: RwLock<Option<Environment>>,
    readers: Readers,
    /// Held by the one writer; the failure that ended the environment for commits.
    writer: Mutex<Option<ManifestError>>,
}

impl LmdbManifest {
    /// Makes the manifest of a new store; `initial` is its first transaction. When this returns,
    /// the manifest is there whole and durable; before, there is none. The caller holds the
    /// store's lock.
    ///
    /// # Errors
    /// `EEXIST` (as [`ManifestError::Io`]) when there is one already, or what the kernel or LMDB
    /// refuse.
    pub fn create(
        store: &Path,
        limits: &ValidLimits,
        initial: &[Write],
    ) -> Result<Self, ManifestError> {
        check_keys(initial)?;
        env::create(store, limits, |environment| first(environment, initial))?;
        Self::open(store, limits)
    }

    /// Makes the manifest of a store anew; `initial` is its first transaction. The one that is there,
    /// damaged or not, is kept in `damaged/`, under the name that is answered. The caller holds the
    /// store's lock.
    ///
    /// # Errors
    /// What the kernel or LMDB refuse. There is the old manifest then, under either name, or the new
    /// one.
    pub fn replace(
        store: &Path,
        limits: &ValidLimits,
        initial: &[Write],
    ) -> Result<Option<PathBuf>, ManifestError> {
        check_keys(initial)?;
        env::replace(store, limits, |environment| first(environment, initial))
    }

    /// Opens the manifest of a store. The caller holds the store's lock.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when there is none, or when its file is not what LMDB wrote;
    /// else what the kernel or LMDB refuse.
    pub fn open(store: &Path, limits: &ValidLimits) -> Result<Self, ManifestError> {
        Ok(Self {
            store: store.to_owned(),
            slot: RwLock::new(Some(Environment::open(store, limits)?)),
            readers: Readers::new(READERS_MAX, limits.io_deadline),
            writer: Mutex::new(None),
        })
    }

    /// Whether a store has a manifest, whole or damaged.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn exists(store: &Path) -> Result<bool, ManifestError> {
        env::exists(store)
    }

    /// Bytes of the memory map, 0 when closed: the bound of the manifest's size until it grows.
    pub fn map_bytes(&self) -> u64 {
        let slot = self.slot.read();
        slot.as_ref().map_or(0, |e| e.env.info().map_size as u64)
    }

    /// Reads in a transaction of its own.
    fn read<T>(
        &self,
        read: impl FnOnce(&Environment, &RoTxn<'_>) -> Result<T, heed::Error>,
    ) -> Result<T, ManifestError> {
        let _place = self.readers.enter()?;
        let slot = self.slot.read();
        let environment = slot.as_ref().ok_or(ManifestError::Closed)?;
        let txn = begin_read(environment)?;
        read(environment, &txn).map_err(|error| env::engine("read", error))
    }

    /// Grows the map. When that fails for another reason than the limit, the environment is gone:
    /// reads find the manifest closed, and commits answer what is in `failed`.
    fn grow(&self, failed: &mut Option<ManifestError>) -> Result<(), ManifestError> {
        let mut slot = self.slot.write();
        let environment = slot.as_ref().ok_or(ManifestError::Closed)?;
        let map_bytes = environment.next_map_bytes()?;
        let environment = slot.take().ok_or(ManifestError::Closed)?;
        let grown = environment.resize(map_bytes).inspect_err(|error| {
            *failed = Some(error.clone());
        })?;
        *slot = Some(grown);
        tracing::info!(map_bytes, "manifest map grown");
        Ok(())
    }
}

/// Why a transaction was not committed.
enum Refused {
    /// The map is too small; the transaction is aborted.
    Full,
    Other(ManifestError),
}

impl Refused {
    fn by(operation: &'static str, error: heed::Error) -> Self {
        match error {
            heed::Error::Mdb(MdbError::MapFull) => Self::Full,
            error => Self::Other(env::engine(operation, error)),
        }
    }
}

/// Begins to read. When all places are taken, some may be those of processes that have ended.
fn begin_read(environment: &Environment) -> Result<RoTxn<'_, WithoutTls>, ManifestError> {
    let begun = match environment.env.read_txn() {
        Err(heed::Error::Mdb(MdbError::ReadersFull))
            if 0 < environment.clear_stale_readers()? =>
        {
            environment.env.read_txn()
        }
        begun => begun,
    };
    begun.map_err(|error| env::engine("read", error))
}

/// Commits the first transaction of an environment, which grows until it has room for it.
fn first(mut environment: Environment, initial: &[Write]) -> Result<Environment, ManifestError> {
    loop {
        match apply(&environment, initial) {
            Err(Refused::Full) => {
                let next = environment.next_map_bytes()?;
                environment = environment.resize(next)?;
            }
            Err(Refused::Other(error)) => return Err(error),
            Ok(()) => return Ok(environment),
        }
    }
}

fn apply(environment: &Environment, writes: &[Write]) -> Result<(), Refused> {
    let begun = environment.env.write_txn();
    let mut txn = begun.map_err(|error| Refused::by("begin", error))?;
    for write in writes {
        let key = full_key(write.table(), write.key());
        let done = match write {
            Write::Put { value, .. } => environment.rows.put(&mut txn, &key, value),
            Write::Delete { .. } => environment.rows.delete(&mut txn, &key).map(|_| ()),
        };
        done.map_err(|error| Refused::by("write", error))?;
    }
    txn.commit().map_err(|error| Refused::by("commit", error))
}

fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table.number());
    full.extend_from_slice(key);
    full
}

/// Whether a key's first byte is no table's: its row is lost to the table that it belongs to. The
/// tables' numbers have no gaps and keys are in order, so the first and the last key tell.
fn has_strangers(environment: &Environment, txn: &RoTxn<'_>) -> Result<bool, heed::Error> {
    let (first, last) = (environment.rows.first(txn)?, environment.rows.last(txn)?);
    let stranger = |row: Option<(&[u8], &[u8])>| {
        row.is_some_and(|(key, _)| {
            let known = |table: &Table| key.first() == Some(&table.number());
            !Table::ALL.iter().any(known)
        })
    };
    Ok(stranger(first) || stranger(last))
}

/// LMDB copies on write: a transaction that found no space has changed nothing that is in use.
fn is_out_of_space(error: &ManifestError) -> bool {
    let space = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].map(Errno::raw_os_error);
    matches!(error, ManifestError::Io(failure) if space.contains(&failure.errno))
}

impl ManifestStore for LmdbManifest {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        self.read(|environment, txn| {
            let value = environment.rows.get(txn, &full_key(table, key))?;
            Ok(value.map(<[u8]>::to_vec))
        })
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        let (first, behind) = (full_key(table, from), [table.number() + 1]);
        let rows = self.read(|environment, txn| {
            if has_strangers(environment, txn)? {
                return Ok(None);
            }
            let range = (
                Bound::Included(first.as_slice()),
                Bound::Excluded(behind.as_slice()),
            );
            let rows = environment.rows.range(txn, &range)?;
            rows.take(limit.min(SCAN_ROWS_MAX))
                .map(|row| row.map(|(key, value)| (key[1..].to_vec(), value.to_vec())))
                .collect::<Result<Vec<_>, heed::Error>>()
                .map(Some)
        })?;
        rows.ok_or_else(|| env::damaged_data("a key of no table"))
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        check_keys(writes)?;
        let mut failed = self.writer.lock();
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        if writes.is_empty() {
            return Ok(());
        }
        loop {
            let applied = match self.slot.read().as_ref() {
                Some(environment) => apply(environment, writes),
                None => return Err(ManifestError::Closed),
            };
            match applied {
                Ok(()) => return Ok(()),
                Err(Refused::Full) => self.grow(&mut failed)?,
                Err(Refused::Other(error)) => {
                    if !is_out_of_space(&error) {
                        *failed = Some(error.clone());
                    }
                    return Err(error);
                }
            }
        }
    }

    /// While a commit runs it has not failed: one behind a failure does not run. A commit that does
    /// not come back from the device holds up nobody here.
    fn failure(&self) -> Option<ManifestError> {
        self.writer.try_lock().and_then(|failed| failed.clone())
    }

    fn close(&self) {
        let environment = self.slot.write().take();
        if let Some(environment) = environment {
            environment.close();
        }
    }
}

impl Drop for LmdbManifest {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for LmdbManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LmdbManifest({})", self.store.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::limits::Limits;
    use parking_lot::Condvar;

    /// More who read at once than there are places: the last ones wait for those who are there, and writers
    /// for nobody.
    #[test]
    fn more_readers_at_once_than_places_wait_for_each_other() {
        const READERS: usize = READERS_MAX as usize + 76;
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::default().validated().unwrap();
        let manifest = LmdbManifest::create(dir.path(), &limits, &[]).unwrap();
        let (inside, let_go) = (Mutex::new(0), Mutex::new(false));
        let (entered, gone) = (Condvar::new(), Condvar::new());
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..READERS)
                .map(|_| {
                    scope.spawn(|| {
                        manifest.read(|_, _| {
                            *inside.lock() += 1;
                            entered.notify_all();
                            let mut let_go = let_go.lock();
                            gone.wait_while(&mut let_go, |let_go| !*let_go);
                            Ok(())
                        })
                    })
                })
                .collect();
            let mut there = inside.lock();
            entered.wait_while(&mut there, |there| *there < READERS_MAX);
            drop(there);
            let key = vec![1];
            let (table, value) = (Table::Chunks, vec![2]);
            manifest
                .commit(&[Write::Put { table, key, value }])
                .unwrap();
            assert_eq!(*inside.lock(), READERS_MAX, "the others wait");
            *let_go.lock() = true;
            gone.notify_all();
            for reader in readers {
                reader.join().unwrap().unwrap();
            }
        });
        assert_eq!(*inside.lock(), READERS as u32);
    }

    /// Somebody else has all places: told as what it is, and over when one is free.
    #[test]
    fn a_table_full_of_other_readers_is_told_and_nothing_ends() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::tiny().validated().unwrap();
        let put = Write::Put {
            table: Table::Chunks,
            key: vec![1],
            value: vec![2],
        };
        let manifest =
            LmdbManifest::create(dir.path(), &limits, std::slice::from_ref(&put)).unwrap();
        {
            let slot = manifest.slot.read();
            let environment = slot.as_ref().unwrap();
            let mut others: Vec<_> = (0..READERS_MAX)
                .map(|_| environment.env.read_txn().unwrap())
                .collect();
            let full = manifest.get(Table::Chunks, &[1]).unwrap_err();
            assert!(
                matches!(full, ManifestError::ReadersFull { limit: READERS_MAX }),
                "{full}"
            );
            assert_eq!(full.code(), ErrorCode::LimitReached);
            let full = manifest.scan(Table::Chunks, &[], 9).unwrap_err();
            assert_eq!(full.code(), ErrorCode::LimitReached);
            manifest.commit(&[put]).unwrap();
            drop(others.pop());
            assert!(manifest.get(Table::Chunks, &[1]).unwrap().is_some());
        }
        assert_eq!(manifest.scan(Table::Chunks, &[], 9).unwrap().len(), 1);
        assert!(manifest.failure().is_none());
    }
}
