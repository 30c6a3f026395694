//! A fence around whatever keeps the rows: what panics below the seam is an error above it.
//!
//! ```text
//!   works --a commit panics--> failed, until the store is opened again
//!   a read that panics fails alone
//! ```
//! Invariants
//! - no call of a [`Fenced`] unwinds;
//! - after a commit that panicked nothing more is asked of the store: what the panic has left of
//!   it, in memory and on disk, cannot be told before it is opened again.
//!
//! Never: answers a commit that panicked with `Ok`, or tries it again.

use super::store::{ManifestStore, RawRow, Table, Write};
use crate::error::ManifestError;
use crate::runtime::fence;
use std::sync::{Arc, OnceLock};

/// Does a piece of the manifest's work; a panic in it is [`ManifestError::Panic`].
///
/// # Errors
/// That of `work`, or the panic.
pub(crate) fn fenced<T, E: From<ManifestError>>(
    stage: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    fence(stage, work).unwrap_or_else(|panic| {
        tracing::error!(%panic, "the manifest panicked");
        Err(ManifestError::Panic(Box::new(panic)).into())
    })
}

/// A store whose panics are errors.
#[derive(Debug)]
pub(super) struct Fenced {
    inner: Arc<dyn ManifestStore>,
    /// The panic of a commit.
    failed: OnceLock<ManifestError>,
}

impl Fenced {
    pub(super) fn new(inner: Arc<dyn ManifestStore>) -> Self {
        let failed = OnceLock::new();
        Self { inner, failed }
    }

    fn sound(&self) -> Result<&dyn ManifestStore, ManifestError> {
        match self.failed.get() {
            Some(panic) => Err(panic.clone()),
            None => Ok(self.inner.as_ref()),
        }
    }
}

impl ManifestStore for Fenced {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ManifestError> {
        let store = self.sound()?;
        fenced("read the manifest", || store.get(table, key))
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<RawRow>, ManifestError> {
        let store = self.sound()?;
        fenced("read the manifest", || store.scan(table, from, limit))
    }

    fn commit(&self, writes: &[Write]) -> Result<(), ManifestError> {
        let store = self.sound()?;
        let committed = fenced("committed to the manifest", || store.commit(writes));
        if let Err(panic @ ManifestError::Panic(_)) = &committed {
            self.failed.get_or_init(|| panic.clone());
        }
        committed
    }

    fn failure(&self) -> Option<ManifestError> {
        let store = match self.sound() {
            Ok(store) => store,
            Err(panic) => return Some(panic),
        };
        let asked = fenced("asked for the manifest's state", || {
            Ok::<_, ManifestError>(store.failure())
        });
        asked.unwrap_or_else(Some)
    }

    /// What a panic leaves open goes with the process.
    fn close(&self) {
        let closed: Result<(), ManifestError> = fenced("closed the manifest", || {
            self.inner.close();
            Ok(())
        });
        // It is logged, and nothing waits for more than that.
        drop(closed);
    }
}
