//! What is read from a chunk when it is first needed, and may be let go again.
//!
//! Invariant: what could not be loaded is not remembered: the next reader tries again.
//!
//! Never: knows what it holds.

use crate::error::ReadError;
use crate::runtime::sync::Mutex;
use arc_swap::ArcSwapOption;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Lazy<T> {
    loaded: ArcSwapOption<T>,
    /// Held while loading, so that many readers read it once.
    loading: Mutex<()>,
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self {
            loaded: ArcSwapOption::empty(),
            loading: Mutex::new(()),
        }
    }
}

impl<T> Lazy<T> {
    pub(super) fn get(
        &self,
        load: impl FnOnce() -> Result<T, ReadError>,
    ) -> Result<Arc<T>, ReadError> {
        if let Some(found) = self.loaded.load_full() {
            return Ok(found);
        }
        let _loading = self.loading.lock();
        if let Some(found) = self.loaded.load_full() {
            return Ok(found);
        }
        let found = Arc::new(load()?);
        self.loaded.store(Some(Arc::clone(&found)));
        Ok(found)
    }

    /// It, if it is in memory.
    pub(super) fn loaded(&self) -> Option<Arc<T>> {
        self.loaded.load_full()
    }

    pub(super) fn release(&self) {
        self.loaded.store(None);
    }
}
