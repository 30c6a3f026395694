//! The page index over the log: which commit wrote the newest version of a page, and where.
//!
//! An index is a list of layers, newest first; a checkpoint starts a layer on top and takes away
//! the ones below when their pages are in chunks. A lookup asks the layers in turn:
//!
//! ```text
//! Found   this layer has the page
//! Zero    the page was cut off while this layer was the newest, and not written since
//! Below   this layer knows nothing: ask the next one, then the chunks
//! ```
//!
//! Invariants
//! - a layer that anybody reads is never changed: a commit makes a new one that shares what it did
//!   not touch (recovery, whose layers nobody reads yet, adds to them in place);
//! - the extents of a layer do not overlap;
//! - `page_count_min` never grows in a layer: what once was cut off never comes back from below.
//!
//! Never: reads a page, compares a version with a reader's Lsn (each view has its own layers).

use super::extent::{Extent, PageVersion};
use crate::checksum::PageHash;
use crate::ids::{Lsn, PageNo};
use crate::log::format::ImageForm;
use crate::log::format::record::Encoding;
use imbl::OrdMap;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// What one layer says of a page.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// Its newest version in this layer.
    Found(PageVersion),
    /// It reads as zeros, whatever older layers and chunks say.
    Zero,
    /// This layer does not know it.
    Below,
}

/// One page of a commit.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct CommittedPage {
    /// The page.
    pub page: PageNo,
    /// The hash of page number and page.
    pub hash: PageHash,
    /// Where its image starts in the log.
    pub image_lsn: Lsn,
    /// How the image stands there.
    pub form: ImageForm,
}

/// What a commit changed.
#[derive(Copy, Clone, Debug)]
pub struct CommitPages<'a> {
    /// The commit's own Lsn, which becomes the version of its pages.
    pub version: Lsn,
    /// Pages of the database after the commit.
    pub page_count: u32,
    /// The smallest page count the database had during the transaction.
    pub page_count_min: u32,
    /// The pages, ascending, none twice. Pages above `page_count` are left out.
    pub pages: &'a [CommittedPage],
}

/// Consecutive pages of one commit, by the first of them.
pub(super) type Run = (PageNo, Extent);

/// All of a commit: mostly one, which takes no memory of its own.
pub(super) type Runs = SmallVec<[Run; 1]>;

impl CommitPages<'_> {
    /// The pages up to the page count, as runs whose images stand back to back.
    pub(super) fn runs(&self) -> Runs {
        let kept = match self.pages.last() {
            Some(last) if last.page.get() > self.page_count => {
                let inside = |page: &CommittedPage| page.page.get() <= self.page_count;
                &self.pages[..self.pages.partition_point(inside)]
            }
            _ => self.pages,
        };
        let parts = std::iter::successors(split_run(kept), |(_, behind)| split_run(behind));
        let mut runs = Runs::with_capacity(parts.clone().count());
        runs.extend(parts.filter_map(|(run, _)| {
            let first = run.first()?;
            let hashes = run.iter().map(|page| page.hash);
            let extent = Extent::new(self.version, first.image_lsn, first.form, hashes)?;
            Some((first.page, extent))
        }));
        runs
    }
}

/// The pages of a number of successive commits. Cloning costs nothing.
#[derive(Clone, Debug)]
pub struct IndexLayer {
    /// By the number of the first page of each extent.
    extents: OrdMap<u32, Extent>,
    page_count_min: u32,
    /// Pages of the database at the newest commit: no extent goes further.
    page_count: u32,
}

impl IndexLayer {
    /// A layer without commits, on top of a state of the database with `page_count` pages.
    pub fn new(page_count: u32) -> Self {
        Self {
            extents: OrdMap::new(),
            page_count_min: page_count,
            page_count,
        }
    }

    /// The smallest page count of the database since this layer became the newest.
    pub fn page_count_min(&self) -> u32 {
        self.page_count_min
    }

    /// How many extents the layer has: what it costs in memory.
    pub fn entries(&self) -> usize {
        self.extents.len()
    }

    /// What the layer says of a page. A page above the database's page count is not for it to
    /// know: the view checks that first.
    pub fn lookup(&self, page: PageNo) -> Lookup {
        // Most extents are one page: it is found without the iterator that `get_prev` allocates.
        let (first, extent) = match self.extents.get(&page.get()) {
            Some(extent) => (page.get(), Some(extent)),
            None => match self.extents.get_prev(&page.get()) {
                Some((first, extent)) => (*first, Some(extent)),
                None => (0, None),
            },
        };
        if let Some(version) = extent.and_then(|extent| extent.nth(page.get() - first)) {
            return Lookup::Found(version);
        }
        if page.get() > self.page_count_min {
            Lookup::Zero
        } else {
            Lookup::Below
        }
    }

    /// The layer with one more commit. This one stays as it is.
    #[must_use]
    pub fn with_commit(&self, commit: &CommitPages<'_>) -> Self {
        let mut layer = self.clone();
        layer.add(commit);
        layer
    }

    /// Adds a commit to a layer that nobody else has: what it shares with no clone is changed in
    /// place.
    pub fn add(&mut self, commit: &CommitPages<'_>) {
        self.add_runs(commit.page_count, commit.page_count_min, &commit.runs());
    }

    /// The same for a commit whose runs are known.
    pub(super) fn add_runs(&mut self, page_count: u32, page_count_min: u32, runs: &[Run]) {
        let kept = page_count_min.min(page_count);
        self.cut_to(kept);
        // No extent goes further: what the commit has behind is new to the layer.
        let known = self.page_count.min(kept);
        self.page_count = page_count;
        for (first, extent) in runs {
            self.put(first.get(), extent, known);
        }
    }

    /// The extents, ascending, each with the number of its first page.
    pub fn iter(&self) -> impl Iterator<Item = (PageNo, &Extent)> {
        self.extents
            .iter()
            .filter_map(|(first, extent)| Some((PageNo::new(*first)?, extent)))
    }

    /// The pages of a range that this layer has, ascending.
    pub fn pages_in_range(
        &self,
        range: RangeInclusive<PageNo>,
    ) -> impl Iterator<Item = (PageNo, PageVersion)> {
        let (from, to) = (range.start().get(), range.end().get());
        // The extent that holds `from` may start before it.
        let start = match self.extents.get_prev(&from) {
            Some((first, extent)) if from - first < extent.pages() => *first,
            _ => from,
        };
        let touched = (start <= to).then(|| self.extents.range(start..=to));
        touched
            .into_iter()
            .flatten()
            .flat_map(move |(first, extent)| {
                let nths = from.saturating_sub(*first)..extent.pages().min(to - first + 1);
                nths.filter_map(move |nth| Some((PageNo::new(first + nth)?, extent.nth(nth)?)))
            })
    }

    /// Forgets every page above `page_count`: the transaction cut them off.
    fn cut_to(&mut self, page_count: u32) {
        // What grows is the rule: it is told without a look at the extents.
        let grows = page_count >= self.page_count;
        if page_count >= self.page_count_min && (grows || self.last_page() <= page_count) {
            return;
        }
        self.page_count_min = self.page_count_min.min(page_count);
        if let Some(first_cut) = page_count.checked_add(1) {
            self.clear(first_cut, u32::MAX);
        }
    }

    /// The last page that the layer has; 0 without one.
    fn last_page(&self) -> u32 {
        self.extents
            .get_max()
            .map_or(0, |(first, extent)| first + (extent.pages() - 1))
    }

    /// `known`: no extent that overlaps the run goes further.
    fn put(&mut self, first: u32, extent: &Extent, known: u32) {
        if first <= known {
            // The usual rewrite replaces an extent of the same place and size: nothing else overlaps.
            match self.extents.get_mut(&first) {
                Some(old) if old.pages() == extent.pages() => {
                    *old = extent.clone();
                    return;
                }
                _ => self.clear(first, first + (extent.pages() - 1)),
            }
        }
        self.extents.insert(first, extent.clone());
    }

    /// Forgets the pages from `from` to `to`; what stands outside stays, cut.
    fn clear(&mut self, from: u32, to: u32) {
        if let Some((first, extent)) = self.extents.get_prev(&from)
            && *first < from
            && from - first < extent.pages()
        {
            let (first, extent) = (*first, extent.clone());
            if let Some(left) = extent.cut(0, from - first) {
                self.extents.insert(first, left);
            }
            self.keep_behind(first, &extent, to);
        }
        while let Some((first, extent)) = self.extents.get_next(&from)
            && *first <= to
        {
            let (first, extent) = (*first, extent.clone());
            self.extents.remove(&first);
            self.keep_behind(first, &extent, to);
        }
    }

    /// Puts back the part of a removed extent that lies behind `to`.
    fn keep_behind(&mut self, first: u32, extent: &Extent, to: u32) {
        let Some(nth) = to.checked_sub(first).and_then(|nth| nth.checked_add(1)) else {
            return;
        };
        if nth < extent.pages()
            && let Some(right) = extent.cut(nth, extent.pages() - nth)
        {
            self.extents.insert(first + nth, right);
        }
    }
}

/// Splits off the longest head of consecutive pages with raw images back to back; `None` at the end.
fn split_run(pages: &[CommittedPage]) -> Option<(&[CommittedPage], &[CommittedPage])> {
    if pages.is_empty() {
        return None;
    }
    let follows = |pair: &[CommittedPage]| {
        let [before, after] = pair else { return false };
        before.page.get().checked_add(1) == Some(after.page.get())
            && before.form.encoding() == Encoding::Raw
            && before.form == after.form
            && after.image_lsn.bytes_since(before.image_lsn) == Some(before.form.bytes() as u64)
    };
    let more = pages.windows(2).take_while(|pair| follows(pair)).count();
    pages.split_at_checked(more + 1)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
