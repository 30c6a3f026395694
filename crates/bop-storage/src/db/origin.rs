//! Pages that are somebody else's: what a fork reads of the database that it was made of, and a state of
//! the past that is still in the log.
//!
//! ```text
//! page of a fork --> its own chunks --not here, and inherited--> its origin, as of the point of the fork
//! ```
//! Invariants
//! - the pin of an origin lives as long as a fork that reads through it: its pages stay readable, in the
//!   log, and behind the next checkpoint in chunks;
//! - a page that the fork has cut off never comes back from its origin.
//!
//! Never: copies a page.

use super::chunk_base::{ChunkBase, Lookup};
use super::reader::PageReader;
use crate::checksum::PageHash;
use crate::error::{Damage, ReadError};
use crate::ids::{Generation, Lsn, PageNo};
use crate::page::PageBytes;
use crate::view::{BasePage, BasePages, Found, Pin};
use std::fmt;
use std::sync::Arc;

/// A generation of a fork.
#[derive(Debug)]
pub(super) struct ForkPages {
    /// `None` before its first checkpoint.
    own: Option<ChunkBase>,
    /// Pages that are the origin's where the fork has none of its own.
    inherited: u32,
    origin: Arc<dyn BasePages>,
}

impl ForkPages {
    pub(super) fn new(own: Option<ChunkBase>, inherited: u32, origin: Arc<dyn BasePages>) -> Self {
        Self {
            own,
            inherited,
            origin,
        }
    }

    /// What is said of a page, by the fork's own chunks or by its origin.
    fn ask<T>(
        &self,
        page: PageNo,
        own: impl FnOnce(&ChunkBase) -> Result<Lookup<T>, ReadError>,
        origin: impl FnOnce(&dyn BasePages) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match self.own.as_ref().map_or(Ok(Lookup::NotHere), own)? {
            Lookup::Found(found) => Ok(Some(found)),
            Lookup::NotHere if page.get() <= self.inherited => origin(self.origin.as_ref()),
            Lookup::NotHere | Lookup::NeverWritten => Ok(None),
        }
    }
}

impl BasePages for ForkPages {
    fn generation(&self) -> Generation {
        self.own
            .as_ref()
            .map_or_else(Generation::default, |own| own.generation())
    }

    fn read(&self, page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        self.ask(page, |own| own.look_up(page), |origin| origin.read(page))
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        self.ask(
            page,
            |own| own.look_up_stored(page),
            |origin| origin.load(page),
        )
    }

    fn load_near(&self, pages: &[PageNo]) -> Vec<(PageNo, BasePage)> {
        let own = self.own.as_ref();
        let near = own.map_or_else(Vec::new, |own| own.look_up_near(pages));
        if !near.is_empty() {
            return near;
        }
        let is_origins = |page: &PageNo| {
            let is_here = own.map_or(Ok(Lookup::NotHere), |own| own.look_up_version(*page));
            page.get() <= self.inherited && matches!(is_here, Ok(Lookup::NotHere))
        };
        near_of(self.origin.as_ref(), pages, is_origins)
    }

    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        self.ask(
            page,
            |own| own.look_up_version(page),
            |origin| origin.version(page),
        )
    }

    fn in_memory(&self, page: PageNo) -> Option<PageBytes> {
        let own = self.own.as_ref();
        match own.map_or(Some(Lookup::NotHere), |own| own.look_up_in_memory(page))? {
            Lookup::Found(found) => Some(found),
            Lookup::NotHere if page.get() <= self.inherited => self.origin.in_memory(page),
            Lookup::NotHere | Lookup::NeverWritten => None,
        }
    }

    fn adopt(&self, page: PageNo, version: Lsn, content: PageBytes) {
        if let Some(own) = &self.own {
            own.adopt(page, version, content);
        }
    }
}

/// The first of `pages`, and others that come with it, where `base` has those that `is_its`.
fn near_of(
    base: &dyn BasePages,
    pages: &[PageNo],
    is_its: impl Fn(&PageNo) -> bool,
) -> Vec<(PageNo, BasePage)> {
    if !pages.first().is_some_and(&is_its) {
        return Vec::new();
    }
    let pages: Vec<PageNo> = pages.iter().copied().filter(is_its).collect();
    base.load_near(&pages)
}

/// The pages of a pinned state, in the log or in chunks.
pub(super) struct PinnedPages {
    pin: Pin,
    reader: PageReader,
}

impl PinnedPages {
    pub(super) fn new(pin: Pin, reader: PageReader) -> Self {
        Self { pin, reader }
    }
}

impl fmt::Debug for PinnedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedPages(at {})", self.pin.lsn())
    }
}

impl BasePages for PinnedPages {
    fn generation(&self) -> Generation {
        self.pin.view().base().generation()
    }

    fn read(&self, page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        self.reader.read_written(&self.pin.view(), page)
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        self.reader.load_for_copy(&self.pin.view(), page)
    }

    fn load_near(&self, pages: &[PageNo]) -> Vec<(PageNo, BasePage)> {
        let view = self.pin.view();
        let is_of_base = |page: &PageNo| view.find(*page) == Found::Base;
        near_of(view.base().as_ref(), pages, is_of_base)
    }

    fn version(&self, page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        self.pin.view().page_version(page)
    }

    fn in_memory(&self, page: PageNo) -> Option<PageBytes> {
        let view = self.pin.view();
        match view.find(page) {
            Found::Log(at) => self.reader.cached(&view, page, at),
            Found::Base => view.base().in_memory(page),
            Found::Zero => None,
        }
    }
}

/// Pages that should be there and are not: every question is answered with the damage.
#[derive(Debug)]
pub(super) struct LostPages(pub(super) Damage);

impl LostPages {
    fn error<T>(&self) -> Result<T, ReadError> {
        Err(self.0.clone().into())
    }
}

impl BasePages for LostPages {
    fn generation(&self) -> Generation {
        Generation::default()
    }

    fn read(&self, _page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        self.error()
    }

    fn load(&self, _page: PageNo) -> Result<Option<BasePage>, ReadError> {
        self.error()
    }

    fn version(&self, _page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        self.error()
    }

    fn in_memory(&self, _page: PageNo) -> Option<PageBytes> {
        None
    }
}
