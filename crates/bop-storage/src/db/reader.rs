//! Reads a page through a view: log or chunk, by way of the shared cache, checked.
//!
//! Invariants
//! - a page is handed out only after its hash was checked against the one that its commit named;
//! - a read that fails once by its checksum is tried once more from the device, then it is damage.
//!
//! Never: caches a failed read.

use crate::cache::{PageCache, PageKey};
use crate::checksum::PageHash;
use crate::error::{Damage, Place, ReadError, Reject};
use crate::ids::{DbId, PageNo, PageSize};
use crate::io::{BLOCK_BYTES, blocks_for, zeroed_blocks};
use crate::log::{Ring, Unwritten};
use crate::page::PageBytes;
use crate::view::{BasePage, Found, PageVersion, View};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Reads pages of all databases of a store.
#[derive(Clone, Debug)]
pub(crate) struct PageReader {
    ring: Arc<Ring>,
    unwritten: Arc<Unwritten>,
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
            Found::Log(version) => self.read_log(view.database(), size, page, version),
            Found::Base => {
                let content = view.base().read(page)?;
                Ok(content.unwrap_or_else(|| PageBytes::zeroed(size)))
            }
        }
    }

    fn read_log(
        &self,
        database: DbId,
        size: PageSize,
        page: PageNo,
        version: PageVersion,
    ) -> Result<PageBytes, ReadError> {
        let key = PageKey::Log {
            database,
            version: version.version,
            page,
        };
        self.cache
            .get_or_load(key, || self.load_checked(size, page, version))
    }

    /// The newest version of a page, to be copied into a chunk: what the cache has is used, but
    /// nothing is put into it. `None` for a page that was never written.
    pub(crate) fn load_for_copy(
        &self,
        view: &View,
        page: PageNo,
    ) -> Result<Option<BasePage>, ReadError> {
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
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
                let content = match self.cache.get(key) {
                    Some(content) => content,
                    None => self.load_checked(size, page, at)?,
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
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
        self.load_checked(size, page, version).map(drop)
    }

    fn load_checked(
        &self,
        size: PageSize,
        page: PageNo,
        version: PageVersion,
    ) -> Result<PageBytes, ReadError> {
        let first = self.load(size, version)?;
        if PageHash::of(page, &first) == version.hash {
            return Ok(first);
        }
        let second = self.load(size, version)?;
        if PageHash::of(page, &second) == version.hash {
            tracing::warn!(%page, "a page read wrong once and right the second time");
            return Ok(second);
        }
        Err(self.damage(version, Reject::Checksum).into())
    }

    fn load(&self, size: PageSize, version: PageVersion) -> Result<PageBytes, ReadError> {
        // What is not here any more is on the device.
        if let Some(image) = self.unwritten.read(version.image_lsn, size.bytes()) {
            return Ok(PageBytes::copy_of(&image));
        }
        let located = self.ring.locate(version.image_lsn);
        let (segment, offset) = located.ok_or_else(|| self.damage(version, Reject::Missing))?;
        let block = BLOCK_BYTES as u64;
        let start = offset - offset % block;
        // Fits: the remainder is smaller than a block.
        let skip = (offset % block) as usize;
        let mut blocks = zeroed_blocks(blocks_for(skip + size.bytes()));
        let found = segment.file.read_at(start, &mut blocks)?;
        if found < skip + size.bytes() {
            let needed = (skip + size.bytes()) as u64;
            let reason = Reject::Truncated {
                found: found as u64,
                needed,
            };
            return Err(self.damage(version, reason).into());
        }
        Ok(PageBytes::copy_of(
            &blocks.as_bytes()[skip..skip + size.bytes()],
        ))
    }

    fn damage(&self, version: PageVersion, reason: Reject) -> Damage {
        let segment = self
            .ring
            .locate(version.image_lsn)
            .map(|(segment, _)| segment.id);
        let segment = segment.unwrap_or_default();
        Damage::new(
            Place::Log {
                segment,
                lsn: version.image_lsn,
            },
            reason,
        )
    }
}
