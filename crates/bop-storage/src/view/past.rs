//! The commits of a layer, each with what it wrote: from them the state at any of them is made again.
//!
//! ```text
//!   oldest block                                  newest block
//!   [c1] <--before-- [c2 c3] <--before-- [c4 c5 c6 ..]
//!                                            |     '-- the next commit stands here
//!                                            '-- the newest commit of a view that a reader has
//! ```
//! A checkpoint goes through all of them, and there may be millions: so they stand one behind the other, not each
//! somewhere.
//!
//! Invariants
//! - a commit in a block never changes, and is shared by every view that has it;
//! - a view sees as many commits of its newest block as it has, whatever others put behind them. It keeps that whole block
//!   in memory: `BLOCK_COMMITS_MAX` commits, all but one of which may be newer than the view, or nobody's;
//! - the runs of a commit are those of the layer's index when it was the newest.
//!
//! Never: is longer than the log that the layer keeps.

use super::index::Runs;
use super::{CommitPages, Head, IndexLayer, PageVersion};
use crate::ids::{Lsn, PageNo};
use std::sync::{Arc, OnceLock};

/// Each block has room for twice as many commits as the one before, up to so many: most databases have few.
const BLOCK_COMMITS_MAX: usize = 32;

/// A commit that no checkpoint has covered.
#[derive(Debug)]
pub struct PastCommit {
    head: Head,
    page_count_min: u32,
    runs: Runs,
    /// Runs of this commit and of all before it in its layer.
    entries: usize,
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
        }
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

    pub(super) fn add_to(&self, index: &mut IndexLayer) {
        index.add_runs(self.head.page_count, self.page_count_min, &self.runs);
    }
}

/// The commits of a layer; never none. Cloning costs nothing.
#[derive(Clone, Debug)]
pub(super) struct Past {
    newest: Arc<Block>,
    /// Of its newest block it has so many, the last of which is its newest commit.
    count: usize,
    /// What that one made of the database.
    head: Head,
    /// Runs of all.
    entries: usize,
}

#[derive(Debug)]
struct Block {
    commits: Box<[OnceLock<PastCommit>]>,
    before: Option<Past>,
}

impl Block {
    fn new(first: PastCommit, before: Option<Past>) -> Self {
        let last = before.as_ref().map_or(0, |past| past.newest.commits.len());
        let room = (2 * last).clamp(1, BLOCK_COMMITS_MAX);
        let behind = std::iter::repeat_with(OnceLock::new).take(room - 1);
        Self {
            commits: std::iter::once(first.into()).chain(behind).collect(),
            before,
        }
    }
}

impl Past {
    /// Of one commit.
    pub(super) fn of(first: PastCommit) -> Self {
        Self::begin(first, None)
    }

    fn begin(first: PastCommit, before: Option<Self>) -> Self {
        Self {
            count: 1,
            head: first.head,
            entries: first.entries,
            newest: Arc::new(Block::new(first, before)),
        }
    }

    /// One more. Other clones are as they were.
    pub(super) fn push(&mut self, mut commit: PastCommit) {
        commit.entries += self.entries;
        let (head, entries) = (commit.head, commit.entries);
        let refused = match self.newest.commits.get(self.count) {
            // Behind a clone another commit may stand there.
            Some(free) => free.set(commit).err(),
            None => Some(commit),
        };
        match refused {
            None => {
                self.count += 1;
                (self.head, self.entries) = (head, entries);
            }
            Some(commit) => *self = Self::begin(commit, Some(self.clone())),
        }
    }

    /// What the newest commit made of the database.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Runs of all commits: what they cost in memory.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Those of the newest block.
    fn of_block(&self) -> &[OnceLock<PastCommit>] {
        &self.newest.commits[..self.count]
    }

    /// This and those that end with the blocks before, newest first.
    fn back(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |past| past.newest.before.as_ref())
    }

    /// All commits, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &PastCommit> {
        let blocks = self.back().map(Self::of_block);
        blocks.flat_map(|block| block.iter().rev().filter_map(OnceLock::get))
    }

    /// What it was when its newest commit was the newest that is not newer than `lsn`, if there is one.
    pub(super) fn at(&self, lsn: Lsn) -> Option<Self> {
        self.back().find_map(|past| {
            let is_older =
                |commit: &OnceLock<PastCommit>| commit.get().is_some_and(|c| c.head.lsn <= lsn);
            let count = past.of_block().partition_point(is_older);
            let commit = past.of_block().get(count.checked_sub(1)?)?.get()?;
            Some(Self {
                newest: Arc::clone(&past.newest),
                count,
                head: commit.head,
                entries: commit.entries,
            })
        })
    }

    /// Whether both have the same commits.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.newest, &other.newest) && self.count == other.count
    }
}

impl Drop for Block {
    /// One after the other: a list of many thousands would not fit a stack.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut last) = next.and_then(|past| Arc::into_inner(past.newest)) {
            next = last.before.take();
        }
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
