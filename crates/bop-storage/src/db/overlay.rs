//! The private pages of a write transaction, with savepoints.
//!
//! Owns: every page version that the transaction wrote and has not committed. Versions past a
//! memory bound go to a private temporary file ([`SpillFile`]); the log never sees them.
//!
//! Invariants
//! - `page_count_min <= page_count`, and no private page lies above `page_count`;
//! - undoing to a savepoint gives back exactly the pages and counts of that moment, however often;
//! - an undo entry is written only for the first change of a page after a savepoint.
//!
//! Never: appends to the log, looks at committed pages.

use super::spill::SpillFile;
use crate::checksum::PageHash;
use crate::error::Rejection;
use crate::ids::{PageNo, PageSize};
use crate::io::{Disk, IoFailure};
use crate::page::PageBytes;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A moment of a write transaction, to come back to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Savepoint(u64);

impl Savepoint {
    /// The savepoint as a number, to be kept where only numbers can be.
    pub const fn into_raw(self) -> u64 {
        self.0
    }

    /// The savepoint behind a number from [`Savepoint::into_raw`].
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

#[derive(Clone, Debug)]
enum Content {
    Memory(PageBytes),
    Spilled { slot: u64, hash: PageHash },
}

#[derive(Clone, Debug)]
struct Version {
    content: Content,
    /// The savepoint level it was written at: a change at the same level needs no undo entry.
    level: u64,
}

#[derive(Debug)]
enum Undo {
    Page {
        page: PageNo,
        previous: Option<Version>,
    },
    Counts {
        page_count: u32,
        page_count_min: u32,
    },
}

/// The private pages.
#[derive(Debug)]
pub(crate) struct Overlay {
    page_size: PageSize,
    pages: BTreeMap<PageNo, Version>,
    undo: Vec<Undo>,
    level: Cell<u64>,
    start_count: u32,
    page_count: u32,
    page_count_min: u32,
    memory_bytes: u64,
    memory_bytes_max: u64,
    disk: Arc<dyn Disk>,
    spill: Option<SpillFile>,
}

impl Overlay {
    /// No private pages, over a database of `page_count` pages.
    pub(crate) fn new(
        page_size: PageSize,
        page_count: u32,
        memory_bytes_max: u64,
        disk: Arc<dyn Disk>,
    ) -> Self {
        Self {
            page_size,
            pages: BTreeMap::new(),
            undo: Vec::new(),
            level: Cell::new(0),
            start_count: page_count,
            page_count,
            page_count_min: page_count,
            memory_bytes: 0,
            memory_bytes_max,
            disk,
            spill: None,
        }
    }

    /// Pages of the database as the transaction sees it.
    pub(crate) fn page_count(&self) -> u32 {
        self.page_count
    }

    /// The smallest page count that the transaction passed through.
    pub(crate) fn page_count_min(&self) -> u32 {
        self.page_count_min
    }

    /// Bytes in a page.
    pub(crate) fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Whether a commit would change anything.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.pages.is_empty()
            && self.page_count == self.start_count
            && self.page_count_min == self.start_count
    }

    /// The pages that have a private version, ascending.
    pub(crate) fn touched(&self) -> impl Iterator<Item = PageNo> + '_ {
        self.pages.keys().copied()
    }

    /// The private version of a page, if there is one.
    pub(crate) fn read(&self, page: PageNo) -> Option<Result<PageBytes, IoFailure>> {
        self.pages
            .get(&page)
            .map(|version| match (&version.content, &self.spill) {
                (Content::Memory(bytes), _) => Ok(bytes.clone()),
                (Content::Spilled { slot, hash }, Some(spill)) => spill.read(*slot, page, *hash),
                (Content::Spilled { .. }, None) => unreachable!("a spilled page has a spill file"),
            })
    }

    /// Whether a page above the truncation is certainly zeros: it was cut off and not written
    /// again by this transaction.
    pub(crate) fn is_cut_off(&self, page: PageNo) -> bool {
        page.get() > self.page_count_min
    }

    /// Takes a private version of `page`; the database grows when the page lies above it.
    pub(crate) fn write(&mut self, page: PageNo, content: &[u8]) -> Result<(), Rejection> {
        if content.len() != self.page_size.bytes() {
            return Err(Rejection::Invalid(
                "a page has not the database's page size",
            ));
        }
        let content = self.store(page, content)?;
        if page.get() > self.page_count {
            self.remember_counts();
            self.page_count = page.get();
        }
        let level = self.level.get();
        let previous = self.pages.insert(page, Version { content, level });
        self.remember_page(page, previous);
        Ok(())
    }

    /// Cuts the database to `page_count` pages; a larger number only grows it.
    pub(crate) fn truncate(&mut self, page_count: u32) {
        if page_count == self.page_count {
            return;
        }
        self.remember_counts();
        self.page_count = page_count;
        self.page_count_min = self.page_count_min.min(page_count);
        let cut: Vec<PageNo> = self
            .touched()
            .filter(|page| page.get() > page_count)
            .collect();
        for page in cut {
            let previous = self.pages.remove(&page);
            self.remember_page(page, previous);
        }
    }

    /// The present moment.
    pub(crate) fn savepoint(&self) -> Savepoint {
        self.level.set(self.level.get() + 1);
        Savepoint(self.undo.len() as u64)
    }

    /// Goes back to a moment; the same savepoint can be used again later.
    pub(crate) fn rollback_to(&mut self, savepoint: Savepoint) {
        self.level.set(self.level.get() + 1);
        while self.undo.len() as u64 > savepoint.0 {
            match self.undo.pop() {
                Some(Undo::Page { page, previous }) => {
                    let undone = match previous {
                        Some(version) => self.pages.insert(page, version),
                        None => self.pages.remove(&page),
                    };
                    self.forget(undone);
                }
                Some(Undo::Counts {
                    page_count,
                    page_count_min,
                }) => {
                    self.page_count = page_count;
                    self.page_count_min = page_count_min;
                }
                None => break,
            }
        }
    }

    /// Forgets every private page; savepoints taken before are void.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.undo.clear();
        self.level.set(0);
        self.page_count = self.start_count;
        self.page_count_min = self.start_count;
        self.memory_bytes = 0;
        self.spill = None;
    }

    fn remember_page(&mut self, page: PageNo, previous: Option<Version>) {
        if previous.as_ref().map_or(0, |version| version.level) < self.level.get() {
            self.undo.push(Undo::Page { page, previous });
        } else {
            self.forget(previous);
        }
    }

    fn remember_counts(&mut self) {
        if self.level.get() > 0 {
            let (page_count, page_count_min) = (self.page_count, self.page_count_min);
            self.undo.push(Undo::Counts {
                page_count,
                page_count_min,
            });
        }
    }

    fn store(&mut self, page: PageNo, content: &[u8]) -> Result<Content, Rejection> {
        let bytes = content.len() as u64;
        if self.memory_bytes + bytes <= self.memory_bytes_max {
            self.memory_bytes += bytes;
            return Ok(Content::Memory(PageBytes::copy_of(content)));
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(
                SpillFile::create(self.disk.as_ref(), self.page_size).map_err(Rejection::Spill)?,
            ),
        };
        let slot = spill.append(content).map_err(Rejection::Spill)?;
        let hash = PageHash::of(page, content);
        Ok(Content::Spilled { slot, hash })
    }

    /// A version nobody can come back to any more gives its memory, or its slot, back.
    fn forget(&mut self, version: Option<Version>) {
        match (version.map(|version| version.content), &mut self.spill) {
            (Some(Content::Memory(_)), _) => {
                self.memory_bytes -= self.page_size.bytes() as u64;
            }
            (Some(Content::Spilled { slot, .. }), Some(spill)) => spill.release(slot),
            (Some(Content::Spilled { .. }), None) | (None, _) => {}
        }
    }
}
