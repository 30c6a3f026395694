//! Reads a page through a view: log or chunk, by way of the shared cache, checked.
//!
//! Invariants
//! - a page is handed out only after its hash was checked against the one that its commit named;
//! - what cannot be believed is read once more from the device, then it is damage.
//!
//! Never: caches a failed read.

use super::resolve::Through;
use crate::cache::{PageCache, PageKey};
use crate::error::ReadError;
use crate::ids::{PageNo, PageSize};
use crate::log::{Ring, Unwritten};
use crate::page::PageBytes;
use crate::view::{BasePage, Found, PageVersion, View};
use std::sync::Arc;

/// Reads pages of all databases of a store.
#[derive(Clone, Debug)]
pub(crate) struct PageReader {
    pub(super) ring: Arc<Ring>,
    pub(super) unwritten: Arc<Unwritten>,
    cache: Arc<PageCache>,
}

impl PageReader {
    pub(crate) fn new(ring: Arc<Ring>, unwritten: Arc<Unwritten>, cache: Arc<PageCache>) -> Self {
        Self {
            ring,
            unwritten,
            cache,
        }
    }

    pub(crate) fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    /// The newest version of a page in `view`; zeros for one that was never written.
    pub(crate) fn read(&self, view: &View, page: PageNo) -> Result<PageBytes, ReadError> {
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
        match view.find(page) {
            Found::Zero => Ok(PageBytes::zeroed(size)),
            Found::Log(version) => self.read_log(view, page, version),
            Found::Base => {
                let content = view.base().read(page)?;
                Ok(content.unwrap_or_else(|| PageBytes::zeroed(size)))
            }
        }
    }

    fn read_log(&self, view: &View, page: PageNo, at: PageVersion) -> Result<PageBytes, ReadError> {
        let key = PageKey::Log {
            database: view.database(),
            version: at.version,
            page,
        };
        self.cache
            .get_or_load(key, || self.load_checked(view, page, at, Through::Cache))
    }

    /// The newest version of a page, to be copied into a chunk: what the cache has is used, but
    /// nothing is put into it. `None` for a page that was never written.
    pub(crate) fn load_for_copy(
        &self,
        view: &View,
        page: PageNo,
    ) -> Result<Option<BasePage>, ReadError> {
        match view.find(page) {
            Found::Zero => Ok(None),
            Found::Base => view.base().load(page),
            Found::Log(at) => {
                let PageVersion { version, hash, .. } = at;
                let key = PageKey::Log {
                    database: view.database(),
                    version,
                    page,
                };
                let content = match self.cache.peek(key) {
                    Some(content) => content,
                    None => self.load_checked(view, page, at, Through::Device)?,
                };
                Ok(Some(BasePage {
                    content,
                    hash,
                    version,
                }))
            }
        }
    }

    /// Reads a page of the log from the device, whatever the cache has, and checks it.
    pub(crate) fn check_log(
        &self,
        view: &View,
        page: PageNo,
        version: PageVersion,
    ) -> Result<(), ReadError> {
        self.load_checked(view, page, version, Through::Device)
            .map(drop)
    }
}
