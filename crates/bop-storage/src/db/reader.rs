//! Reads a page through a view: log or chunk, by way of the shared cache, checked.
//!
//! Invariants
//! - a page is handed out only after its hash was checked against the one that its commit named;
//! - what cannot be believed is read once more from the device, then it is damage.
//!
//! Never: caches a failed read.

use super::log_expected::ImagePlace;
use super::log_sorted::SortingRoom;
use super::log_window::LogWindow;
use super::resolve::Through;
use crate::cache::{PageCache, PageKey};
use crate::checkpoint::Superseded;
use crate::error::ReadError;
use crate::ids::{Lsn, PageNo, PageSize};
use crate::log::format::record::Encoding;
use crate::log::{KeptBatches, Ring, Unwritten};
use crate::page::PageBytes;
use crate::runtime::Errands;
use crate::view::{BasePage, BasePages, Found, IndexLayer, Packing, PageVersion, View};
use std::sync::Arc;

/// Fewer pages of a database leave the cache when they were copied.
const ADOPTED_PAGES_MIN: usize = 64;

/// Reads pages of all databases of a store.
#[derive(Clone, Debug)]
pub(crate) struct PageReader {
    pub(super) ring: Arc<Ring>,
    pub(super) unwritten: Arc<Unwritten>,
    /// What copies need not read of the log.
    pub(super) kept: Arc<KeptBatches>,
    cache: Arc<PageCache>,
    /// What copies read of the log.
    pub(super) window: Arc<LogWindow>,
}

impl PageReader {
    pub(crate) fn new(
        ring: Arc<Ring>,
        unwritten: Arc<Unwritten>,
        kept: Arc<KeptBatches>,
        cache: Arc<PageCache>,
        errands: &Arc<Errands>,
        room: SortingRoom,
    ) -> Self {
        Self {
            ring,
            unwritten,
            kept,
            cache,
            window: Arc::new(LogWindow::new(Arc::clone(errands), room)),
        }
    }

    pub(crate) fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }

    /// Who reads ahead for copies.
    pub(super) fn errands(&self) -> &Errands {
        self.window.errands()
    }

    /// The newest version of a page in `view`; zeros for one that was never written.
    pub(crate) fn read(&self, view: &View, page: PageNo) -> Result<PageBytes, ReadError> {
        let size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
        let content = self.read_written(view, page)?;
        Ok(content.unwrap_or_else(|| PageBytes::zeroed(size)))
    }

    /// The same; `None` for a page that was never written.
    pub(crate) fn read_written(
        &self,
        view: &View,
        page: PageNo,
    ) -> Result<Option<PageBytes>, ReadError> {
        match view.find(page) {
            Found::Zero => Ok(None),
            Found::Log(version) => self.read_log(view, page, version).map(Some),
            Found::Base => view.base().read(page),
        }
    }

    fn read_log(&self, view: &View, page: PageNo, at: PageVersion) -> Result<PageBytes, ReadError> {
        self.cache.get_or_load(key(view, page, at.version), || {
            self.load_checked(view, page, at, Through::Cache)
        })
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
            Found::Log(at) => Ok(Some(self.load_version(view, page, at, None)?)),
        }
    }

    /// A version of a page that is in the log, to be copied into a chunk; perhaps not the newest that
    /// `view` has. `before` is an older version, if one is at hand.
    pub(crate) fn load_version(
        &self,
        view: &View,
        page: PageNo,
        at: PageVersion,
        before: Option<&BasePage>,
    ) -> Result<BasePage, ReadError> {
        let (content, packing) = match self.cache.peek(key(view, page, at.version)) {
            Some(content) => (content, packing_of(at)),
            None => self.load_windowed(view, page, at, before)?,
        };
        Ok(BasePage {
            content,
            hash: at.hash,
            version: at.version,
            packing,
        })
    }

    /// These are copied, too, in the round that is open: their images are read together.
    pub(crate) fn expect_versions(&self, view: &View, versions: &[Superseded]) {
        let place = |told: &Superseded| {
            let is_cached = self.is_cached(view, told.page, told.version);
            Some((self.place(told.version)?, is_cached))
        };
        let to_read = versions.iter().filter(|told| !self.is_kept(told.version));
        self.window.expect(to_read.filter_map(place));
    }

    /// What is expected from now on is copied later.
    pub(crate) fn end_round(&self) {
        self.window.end_round();
    }

    /// Where the image of a version is in the log, unless the version is in memory.
    pub(super) fn missing(&self, view: &View, page: PageNo, at: PageVersion) -> Option<ImagePlace> {
        let is_here = self.is_cached(view, page, at) || self.is_kept(at);
        (!is_here).then(|| self.place(at)).flatten()
    }

    fn is_cached(&self, view: &View, page: PageNo, at: PageVersion) -> bool {
        self.cache.peek(key(view, page, at.version)).is_some()
    }

    /// Whether the image of a version is in memory until the checkpoint has ended.
    fn is_kept(&self, at: PageVersion) -> bool {
        self.kept.has(at.image_lsn, at.form.bytes())
    }

    fn place(&self, at: PageVersion) -> Option<ImagePlace> {
        let (segment, offset) = self.ring.locate(at.image_lsn)?;
        Some((segment, offset, at.form.bytes()))
    }

    /// Reads a piece of what is expected; `false` when nothing is left.
    pub(crate) fn read_expected(&self) -> bool {
        self.window.read_expected()
    }

    /// Has a piece of it read meanwhile, if somebody is free for that.
    pub(crate) fn read_behind(&self) {
        self.window.read_behind();
    }

    /// What was read of it is used from now on, instead of what was before.
    pub(crate) fn show_expected(&self) {
        self.window.show_expected();
    }

    /// Nothing is copied next.
    pub(crate) fn expect_nothing(&self) {
        self.window.expect_nothing();
    }

    /// A version of a page that is in the log, if it is in memory.
    pub(crate) fn cached(&self, view: &View, page: PageNo, at: PageVersion) -> Option<PageBytes> {
        self.cache.get(key(view, page, at.version))
    }

    /// What the cache has of pages that are in `base` now is there under their new place: nobody who
    /// begins to read asks for the old one.
    pub(crate) fn move_cached(&self, view: &View, base: &dyn BasePages) {
        // Of a few pages it is not worth reading the index of their section.
        let adopts = view.index_entries() >= ADOPTED_PAGES_MIN;
        let extents = view.layers().flat_map(IndexLayer::iter);
        let pages = extents.flat_map(|(first, extent)| {
            let page = move |nth| Some((PageNo::new(first.get() + nth)?, extent.nth(nth)?));
            (0..extent.pages()).filter_map(page)
        });
        for (page, at) in pages {
            if let Some(content) = self.cache.remove(key(view, page, at.version))
                && adopts
            {
                base.adopt(page, at.version, content);
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

/// What an image in the log tells of compressing its page: raw it is not worth it, by its own sample or by the
/// pages of its record before it.
pub(super) fn packing_of(at: PageVersion) -> Packing {
    match at.form.encoding() {
        Encoding::Raw => Packing::No,
        Encoding::Lz4 | Encoding::Patch => Packing::Unknown,
    }
}

fn key(view: &View, page: PageNo, version: Lsn) -> PageKey {
    PageKey::in_log(view.database(), version, page)
}
