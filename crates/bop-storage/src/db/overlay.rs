//! The private pages of a write transaction, with savepoints.
//!
//! Owns: every page version that the transaction wrote and has not committed. Versions past a
//! memory bound go to a private temporary file ([`SpillFile`]); the log never sees them.
//!
//! Invariants
//! - `page_count_min <= page_count`, and no private page lies above `page_count`;
//! - undoing to a savepoint gives back exactly the pages and counts of that moment, however often;
//! - an undo entry is kept only for the first change of a page after a savepoint that is not
//!   forgotten: there is at most one for each page and savepoint, and a version that no savepoint
//!   can reach gives its memory, or its slot, back.
//!
//! Never: appends to the log, looks at committed pages.

use super::savepoints::{START, Savepoint, Savepoints};
use super::spill::{SpillFile, SpillSpace};
use crate::checksum::PageHash;
use crate::error::Rejection;
use crate::ids::{PageNo, PageSize};
use crate::io::IoFailure;
use crate::page::PageBytes;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Content {
    Memory(PageBytes),
    Spilled { slot: u64, hash: PageHash },
}

#[derive(Clone, Debug)]
struct Version {
    content: Content,
    /// When it was written.
    since: u64,
}

/// How to take one change back.
#[derive(Debug)]
struct Undo {
    /// When the change was made.
    at: u64,
    /// Since when there had been what comes back.
    since: u64,
    what: Previous,
}

#[derive(Debug)]
enum Previous {
    Page {
        page: PageNo,
        /// `None`: the page had no private version.
        content: Option<Content>,
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
    /// When pages that have no private version lost one: they were cut off.
    cut: BTreeMap<PageNo, u64>,
    /// The changes that can be taken back, in their order.
    undo: Vec<Undo>,
    savepoints: Savepoints,
    start_count: u32,
    page_count: u32,
    page_count_min: u32,
    /// Since when the counts are what they are.
    counts_since: u64,
    memory_bytes: u64,
    memory_bytes_max: u64,
    space: Arc<SpillSpace>,
    spill: Option<SpillFile>,
}

impl Overlay {
    /// No private pages, over a database of `page_count` pages; `savepoints` were taken before.
    pub(crate) fn new(
        page_size: PageSize,
        page_count: u32,
        memory_bytes_max: u64,
        space: Arc<SpillSpace>,
        savepoints: Savepoints,
    ) -> Self {
        Self {
            page_size,
            pages: BTreeMap::new(),
            cut: BTreeMap::new(),
            undo: Vec::new(),
            savepoints,
            start_count: page_count,
            page_count,
            page_count_min: page_count,
            counts_since: START,
            memory_bytes: 0,
            memory_bytes_max,
            space,
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
        let content = self.store(page, content, PageBytes::copy_of)?;
        self.replace(page, content);
        Ok(())
    }

    /// The same of a page that has its memory already.
    pub(crate) fn write_shared(
        &mut self,
        page: PageNo,
        content: PageBytes,
    ) -> Result<(), Rejection> {
        let content = self.store(page, &content, |_| content.clone())?;
        self.replace(page, content);
        Ok(())
    }

    fn replace(&mut self, page: PageNo, content: Content) {
        if page.get() > self.page_count {
            self.remember_counts();
            self.page_count = page.get();
        }
        let since = self.savepoints.now();
        let previous = self.pages.insert(page, Version { content, since });
        let cut = self.cut.remove(&page);
        self.remember_page(page, previous, cut);
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
            self.cut.insert(page, self.savepoints.now());
            self.remember_page(page, previous, None);
        }
    }

    /// The present moment.
    pub(crate) fn savepoint(&mut self) -> Savepoint {
        self.savepoints.take()
    }

    /// Goes back to a moment; the same savepoint can be used again later. Those after it are void.
    pub(crate) fn rollback_to(&mut self, savepoint: Savepoint) {
        self.savepoints.return_to(savepoint);
        while let Some(undo) = self.undo.pop_if(|undo| undo.at >= savepoint.into_raw()) {
            self.take_back(undo);
        }
    }

    /// Nobody will come back to `savepoint`: what only it could reach is gone.
    pub(crate) fn forget(&mut self, savepoint: Savepoint) {
        let Some(forgotten) = self.savepoints.forget(savepoint) else {
            return;
        };
        let index = |time| self.undo.partition_point(|undo| undo.at < time);
        let (start, end) = (index(forgotten.times.start), index(forgotten.times.end));
        let later = self.undo.split_off(end);
        for undo in self.undo.split_off(start) {
            if forgotten.is_needed(undo.since) {
                self.undo.push(undo);
            } else if let Previous::Page { content, .. } = undo.what {
                self.release(content);
            }
        }
        self.undo.extend(later);
    }

    /// Forgets every private page; savepoints taken before are void.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.cut.clear();
        self.undo.clear();
        self.savepoints.clear();
        self.page_count = self.start_count;
        self.page_count_min = self.start_count;
        self.counts_since = START;
        self.memory_bytes = 0;
        self.spill = None;
    }

    /// The savepoints, for another overlay in this one's place.
    pub(crate) fn into_savepoints(self) -> Savepoints {
        self.savepoints
    }

    fn take_back(&mut self, undo: Undo) {
        let since = undo.since;
        match undo.what {
            Previous::Page { page, content } => {
                let undone = match content {
                    Some(content) => {
                        self.cut.remove(&page);
                        self.pages.insert(page, Version { content, since })
                    }
                    None => {
                        // When it was cut off since then counts no more.
                        match since {
                            START => self.cut.remove(&page),
                            cut => self.cut.insert(page, cut),
                        };
                        self.pages.remove(&page)
                    }
                };
                self.release(undone.map(|version| version.content));
            }
            Previous::Counts {
                page_count,
                page_count_min,
            } => {
                self.page_count = page_count;
                self.page_count_min = page_count_min;
                self.counts_since = since;
            }
        }
    }

    /// `previous`: the version that `page` had; where it had none, `cut` is when it lost one.
    fn remember_page(&mut self, page: PageNo, previous: Option<Version>, cut: Option<u64>) {
        let since = previous.as_ref().map(|version| version.since).or(cut);
        let since = since.unwrap_or(START);
        let content = previous.map(|version| version.content);
        if self.savepoints.need(since) {
            self.undo.push(Undo {
                at: self.savepoints.now(),
                since,
                what: Previous::Page { page, content },
            });
        } else {
            self.release(content);
        }
    }

    /// Called before the counts change.
    fn remember_counts(&mut self) {
        let (since, now) = (self.counts_since, self.savepoints.now());
        if self.savepoints.need(since) {
            self.undo.push(Undo {
                at: now,
                since,
                what: Previous::Counts {
                    page_count: self.page_count,
                    page_count_min: self.page_count_min,
                },
            });
        }
        self.counts_since = now;
    }

    /// Takes a content, by `in_memory` if there is room.
    fn store(
        &mut self,
        page: PageNo,
        content: &[u8],
        in_memory: impl FnOnce(&[u8]) -> PageBytes,
    ) -> Result<Content, Rejection> {
        if content.len() != self.page_size.bytes() {
            return Err(Rejection::Invalid(
                "a page has not the database's page size",
            ));
        }
        let bytes = content.len() as u64;
        if self.memory_bytes + bytes <= self.memory_bytes_max {
            self.memory_bytes += bytes;
            return Ok(Content::Memory(in_memory(content)));
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none
                .insert(SpillFile::create(&self.space, self.page_size).map_err(Rejection::Spill)?),
        };
        let slot = spill.append(content).map_err(Rejection::Spill)?;
        let hash = PageHash::of(page, content);
        Ok(Content::Spilled { slot, hash })
    }

    /// Content that nobody can come back to any more gives its memory, or its slot, back.
    fn release(&mut self, content: Option<Content>) {
        match (content, &mut self.spill) {
            (Some(Content::Memory(_)), _) => {
                self.memory_bytes -= self.page_size.bytes() as u64;
            }
            (Some(Content::Spilled { slot, .. }), Some(spill)) => spill.release(slot),
            (Some(Content::Spilled { .. }), None) | (None, _) => {}
        }
    }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
