//! The state of a database at one commit: what a reader pins and a commit replaces.
//!
//! ```text
//!           layers, newest first                base
//!   [open] [frozen] ... [frozen]     ->   chunks of one generation
//!      ^ a commit replaces it              ^ a checkpoint replaces it and drops the frozen layers
//! ```
//!
//! Invariants
//! - a view never changes; all that a lookup needs is reached from it without a lock;
//! - each layer keeps its part of the log by a hold that lives as long as any view has the layer;
//! - a frozen layer takes no more commits, so that what a checkpoint copies stands still;
//! - a layer has the list of its commits, and its index is what these make: the state at any of them can
//!   be had as a view.
//!
//! Never: reads a page itself.

use super::past::Past;
use super::{CommitPages, IndexLayer, Lookup, PageVersion, PastCommit};
use crate::buffer::Buffer;
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::ReadError;
use crate::ids::{DbId, DbKind, Generation, Lsn, PageNo, PageSize};
use crate::log::LogHold;
use crate::page::PageBytes;
use std::fmt;
use std::sync::Arc;

/// A page version, to be copied.
#[derive(Clone, Debug)]
pub struct BasePage {
    /// Its content, checked.
    pub content: PageBytes,
    /// The hash of number and content.
    pub hash: PageHash,
    /// The commit that wrote it.
    pub version: Lsn,
    /// What is known of it compressed.
    pub packing: Packing,
}

/// What is known of a page compressed, so that nobody compresses it who has it so, or knows that it does
/// not pay.
#[derive(Clone, Default, Debug)]
pub enum Packing {
    /// Nothing.
    #[default]
    Unknown,
    /// It does not pay.
    No,
    /// It is this LZ4 block, which was turned back into the content, and pays.
    Lz4(Buffer),
}

/// The pages of one generation, wherever they are stored.
pub trait BasePages: Send + Sync + fmt::Debug {
    /// Which generation it is; 0 before the first checkpoint.
    fn generation(&self) -> Generation;

    /// The page; `None` when the generation does not have it, so that it reads as zeros: it was
    /// never written, or was cut off before the generation.
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    fn read(&self, page: PageNo) -> Result<Option<PageBytes>, ReadError>;

    /// The page with all that a checkpoint copies; passes by every cache. `None` as for
    /// [`BasePages::read`].
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError>;

    /// The first of `pages`, which ascend, and others of them that come with it in one read. Empty when it is not
    /// there, cannot be read, or is to be had by [`BasePages::load`] alone.
    fn load_near(&self, _pages: &[PageNo]) -> Vec<(PageNo, BasePage)> {
        Vec::new()
    }

    /// The page's hash and the commit that wrote it, without its content; `None` as for
    /// [`BasePages::read`].
    ///
    /// # Errors
    /// Damage, or an I/O failure.
    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError>;

    /// The page, if it is in memory.
    fn in_memory(&self, page: PageNo) -> Option<PageBytes>;

    /// Takes a page into memory that was copied into it just now, if what it has is that version.
    fn adopt(&self, _page: PageNo, _version: Lsn, _content: PageBytes) {}
}

/// The generation of a database that was never checkpointed.
#[derive(Debug)]
pub struct NoBase;

impl BasePages for NoBase {
    fn generation(&self) -> Generation {
        Generation::new(0)
    }

    fn read(&self, _page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        Ok(None)
    }

    fn load(&self, _page: PageNo) -> Result<Option<BasePage>, ReadError> {
        Ok(None)
    }

    fn version(&self, _page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        Ok(None)
    }

    fn in_memory(&self, _page: PageNo) -> Option<PageBytes> {
        None
    }
}

/// Where the newest version of a page is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// In the log.
    Log(PageVersion),
    /// In the base, if there at all.
    Base,
    /// Nowhere: it reads as zeros.
    Zero,
}

/// One layer of the index, and the part of the log that it needs.
#[derive(Clone, Debug)]
struct Layer {
    index: IndexLayer,
    /// Pages of the database before its oldest commit.
    page_count_before: u32,
    past: Past,
    hold: Arc<LogHold>,
}

impl Layer {
    /// The layer as it was at `lsn`, if it had a commit by then.
    fn at(&self, lsn: Lsn) -> Option<Self> {
        let past = self.past.at(lsn)?;
        if past.is(&self.past) {
            return Some(self.clone());
        }
        let mut index = IndexLayer::new(self.page_count_before);
        let commits: Vec<&PastCommit> = past.newest_first().collect();
        for commit in commits.into_iter().rev() {
            commit.add_to(&mut index);
        }
        Some(Self {
            index,
            page_count_before: self.page_count_before,
            past,
            hold: Arc::clone(&self.hold),
        })
    }
}

/// What a commit made of a database.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The newest commit; [`Lsn::ZERO`] without one.
    pub lsn: Lsn,
    /// When it was appended.
    pub time_us: u64,
    /// Bytes in a page; unknown before the first commit.
    pub page_size: Option<PageSize>,
    /// Pages of the database.
    pub page_count: u32,
    /// The xor of all page hashes.
    pub rolling_checksum: RollingChecksum,
}

impl Head {
    /// Of a database without a commit.
    pub const EMPTY: Self = Self {
        lsn: Lsn::ZERO,
        time_us: 0,
        page_size: None,
        page_count: 0,
        rolling_checksum: RollingChecksum::EMPTY,
    };

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        let page_bytes = self.page_size.map_or(0, |size| u64::from(size.get()));
        page_bytes * u64::from(self.page_count)
    }
}

/// The state of a database at one commit.
#[derive(Clone, Debug)]
pub struct View {
    database: DbId,
    kind: DbKind,
    head: Head,
    base: Arc<dyn BasePages>,
    layers: Vec<Layer>,
    /// Whether the newest layer takes commits.
    open: bool,
}

impl View {
    /// A database whose state is all in `base`.
    pub fn new(database: DbId, kind: DbKind, head: Head, base: Arc<dyn BasePages>) -> Self {
        Self {
            database,
            kind,
            head,
            base,
            layers: Vec::new(),
            open: false,
        }
    }

    /// The database.
    pub fn database(&self) -> DbId {
        self.database
    }

    /// What its pages mean.
    pub fn kind(&self) -> DbKind {
        self.kind
    }

    /// The newest commit that the view shows.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The generation below the layers.
    pub fn base(&self) -> &Arc<dyn BasePages> {
        &self.base
    }

    /// Layers that a checkpoint has not covered.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Versions of pages in all layers, superseded ones too, where those of one run count as one: what
    /// the view costs in memory.
    pub fn index_entries(&self) -> usize {
        let entries = |layer: &Layer| layer.index.entries().max(layer.past.entries());
        self.layers.iter().map(entries).sum()
    }

    /// The commits of all layers, oldest first.
    pub fn commits(&self) -> Vec<&PastCommit> {
        let newest_first = self.layers.iter();
        let newest_first = newest_first.flat_map(|layer| layer.past.newest_first());
        let mut commits: Vec<_> = newest_first.collect();
        commits.reverse();
        commits
    }

    /// The smallest page count since the base: what the base has above it is gone.
    pub fn page_count_min(&self) -> u32 {
        let counts = self.layers.iter().map(|layer| layer.index.page_count_min());
        counts
            .min()
            .unwrap_or(self.head.page_count)
            .min(self.head.page_count)
    }

    /// Pages before the oldest commit of the layers.
    pub fn page_count_before(&self) -> u32 {
        self.layers
            .last()
            .map_or(self.head.page_count, |layer| layer.page_count_before)
    }

    /// Where the oldest commit of the layers may start. What a commit of the layers rests on is in
    /// the log from here on, and in the base before.
    pub fn oldest_uncheckpointed(&self) -> Lsn {
        self.layers
            .last()
            .map_or(self.head.lsn, |layer| layer.hold.lsn())
    }

    /// The layers, newest first.
    pub fn layers(&self) -> impl Iterator<Item = &IndexLayer> {
        self.layers.iter().map(|layer| &layer.index)
    }

    /// Where the newest version of a page is.
    pub fn find(&self, page: PageNo) -> Found {
        if page.get() > self.head.page_count {
            return Found::Zero;
        }
        for layer in &self.layers {
            match layer.index.lookup(page) {
                Lookup::Found(version) => return Found::Log(version),
                Lookup::Zero => return Found::Zero,
                Lookup::Below => {}
            }
        }
        Found::Base
    }

    /// The hash of the newest version of a page, and the commit that wrote it; `None` when it reads as
    /// zeros without ever having been written, so that the rolling checksum does not count it.
    ///
    /// # Errors
    /// When the base has to be asked and is damaged or unreadable.
    pub fn page_version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        match self.find(page) {
            Found::Log(at) => Ok(Some((at.hash, at.version))),
            Found::Base => self.base.version(page),
            Found::Zero => Ok(None),
        }
    }

    /// Its hash alone.
    ///
    /// # Errors
    /// As for [`View::page_version`].
    pub fn page_hash(&self, page: PageNo) -> Result<Option<PageHash>, ReadError> {
        Ok(self.page_version(page)?.map(|(hash, _)| hash))
    }

    /// Becomes the state after one more commit, for a view that nobody reads. `hold`, which keeps the
    /// commit's images in the log, is asked for when a layer is begun: an older one that still takes
    /// commits has its own.
    pub fn add_commit(
        &mut self,
        head: Head,
        pages: &CommitPages<'_>,
        hold: impl FnOnce() -> Arc<LogHold>,
    ) {
        self.add(PastCommit::new(head, pages), hold);
    }

    /// The same for a commit that was made ready.
    pub fn add(&mut self, commit: PastCommit, hold: impl FnOnce() -> Arc<LogHold>) {
        let page_count_before = self.head.page_count;
        self.head = *commit.head();
        match self.layers.first_mut() {
            Some(newest) if self.open => {
                commit.add_to(&mut newest.index);
                newest.past.push(commit);
            }
            _ => {
                let mut index = IndexLayer::new(page_count_before);
                commit.add_to(&mut index);
                let layer = Layer {
                    index,
                    page_count_before,
                    past: Past::of(commit),
                    hold: hold(),
                };
                self.layers.insert(0, layer);
                self.open = true;
            }
        }
    }

    /// The state at the newest commit of the layers that is not newer than `lsn`; `None` when they have
    /// none.
    #[must_use]
    pub fn at(&self, lsn: Lsn) -> Option<Self> {
        let as_of = |(nth, layer): (usize, &Layer)| Some((nth, layer.at(lsn)?));
        let (nth, newest) = self.layers.iter().enumerate().find_map(as_of)?;
        let head = *newest.past.head();
        let older = self.layers.iter().skip(nth + 1).cloned();
        let layers = std::iter::once(newest).chain(older).collect();
        Some(Self {
            head,
            layers,
            base: Arc::clone(&self.base),
            open: false,
            ..*self
        })
    }

    /// The state without layers on another base.
    #[must_use]
    pub fn on(&self, base: Arc<dyn BasePages>) -> Self {
        Self::new(self.database, self.kind, self.head, base)
    }

    /// The same state, whose layers take no more commits.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self {
            open: false,
            ..self.clone()
        }
    }

    /// The state without its pages, for a database that is gone: it holds no log and no chunk.
    #[must_use]
    pub fn emptied(&self) -> Self {
        self.on(Arc::new(NoBase))
    }

    /// The same state, with the oldest `covered` layers replaced by `base`, a generation that holds
    /// all they say.
    #[must_use]
    pub fn rebased(&self, base: Arc<dyn BasePages>, covered: usize) -> Self {
        let mut next = self.clone();
        next.layers
            .truncate(self.layers.len().saturating_sub(covered));
        next.open = self.open && !next.layers.is_empty();
        next.base = base;
        next
    }
}
