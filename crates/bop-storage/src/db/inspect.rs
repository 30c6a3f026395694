//! Looking at the manifest of a store that is not opened: it may be one that cannot be.
//!
//! Invariant: nothing of the store is written, but for LMDB's own table of readers.
//!
//! Never: recovers, replays, or opens a database.

use super::open::{LockedStore, open_manifest};
use super::options::Options;
use crate::error::{Damage, ManifestError, OpenError};
use crate::ids::StoreId;
use crate::io::StoreLock;
use crate::manifest::{DescribedRow, Manifest, ManifestState, Table};
use crate::runtime::sync::now;
use std::path::Path;

/// The manifest of a store that nobody has open. The store stays locked while this lives.
#[derive(Debug)]
pub struct ManifestInspection {
    store: StoreId,
    manifest: Manifest,
    _lock: Box<dyn StoreLock>,
}

impl ManifestInspection {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let options = options.clone().create(false);
        let locked = LockedStore::open(path, &options)?;
        let (store, limits) = (locked.store, &locked.limits);
        Ok(Self {
            store,
            manifest: open_manifest(path, &locked.disk, store, limits, &options)?,
            _lock: locked.lock,
        })
    }

    /// The store's id.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// All rows that were believed, and the damage of the others.
    pub fn state(&self) -> ManifestState {
        self.manifest.state()
    }

    /// Checks every row, each by itself and all together.
    ///
    /// # Errors
    /// What the store refuses; damage that keeps every row from being believed.
    pub fn verify(&self) -> Result<Vec<Damage>, ManifestError> {
        self.manifest.verify()
    }

    /// The rows of a table, as people read them.
    ///
    /// # Errors
    /// What the store refuses.
    pub fn rows(&self, table: Table) -> Result<Vec<DescribedRow>, ManifestError> {
        self.manifest.describe(table)
    }
}

impl Drop for ManifestInspection {
    /// Before the lock goes.
    fn drop(&mut self) {
        self.manifest.close(now());
    }
}
