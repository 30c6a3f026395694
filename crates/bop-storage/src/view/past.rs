//! The commits of a layer, each with what it wrote: from them the state at any of them is made again.
//!
//! ```text
//! made --joins a layer--> newest --before--> ... --before--> oldest of its layer
//! ```
//! Invariants
//! - a commit in the list never changes, and is shared by every view that has it;
//! - the runs of a commit are those of the layer's index when it was the newest.
//!
//! Never: is longer than the log that the layer keeps.

use super::index::Runs;
use super::{CommitPages, Head, IndexLayer, PageVersion};
use crate::ids::{Lsn, PageNo};
use std::sync::Arc;

/// A commit that no checkpoint has covered, and, once it has joined a layer, those of that before it.
#[derive(Debug)]
pub struct PastCommit {
    head: Head,
    page_count_min: u32,
    runs: Runs,
    /// Runs of this commit and of all before.
    entries: usize,
    before: Option<Arc<Self>>,
}

impl PastCommit {
    /// A commit by itself, for [`View::add`](super::View::add).
    pub fn new(head: Head, pages: &CommitPages<'_>) -> Self {
        let runs = pages.runs();
        Self {
            head,
            page_count_min: pages.page_count_min.min(pages.page_count),
            entries: runs.len(),
            runs,
            before: None,
        }
    }

    /// The next one of the layer of which `before` is the newest.
    pub(super) fn follow(&mut self, before: Arc<Self>) {
        self.entries += before.entries;
        self.before = Some(before);
    }

    /// What the commit made of the database.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The fewest pages that the database had during the transaction.
    pub fn page_count_min(&self) -> u32 {
        self.page_count_min
    }

    /// The pages that it wrote, ascending.
    pub fn pages(&self) -> impl Iterator<Item = (PageNo, PageVersion)> {
        self.runs.iter().flat_map(|(first, extent)| {
            let page = |nth| PageNo::new(first.get() + nth);
            (0..extent.pages()).filter_map(move |nth| Some((page(nth)?, extent.nth(nth)?)))
        })
    }

    /// Runs of this commit and of all before it: what they cost in memory.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    pub(super) fn add_to(&self, index: &mut IndexLayer) {
        index.add_runs(self.head.page_count, self.page_count_min, &self.runs);
    }

    /// This commit and those before it, newest first.
    pub(super) fn back(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::successors(Some(self), |commit| commit.before.as_ref())
    }

    /// The newest of them that is not newer than `lsn`.
    pub(super) fn at(self: &Arc<Self>, lsn: Lsn) -> Option<&Arc<Self>> {
        self.back().find(|commit| commit.head.lsn <= lsn)
    }
}

impl Drop for PastCommit {
    /// One after the other: a list of a million would not fit a stack.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut last) = next.and_then(Arc::into_inner) {
            next = last.before.take();
        }
    }
}
