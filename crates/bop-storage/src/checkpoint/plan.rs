//! What a checkpoint writes: a pure function of what is dirty. No I/O, no clock.
//!
//! A database is cut into *ranges* of pages. A range with changed pages gets a *base* section with all of its
//! pages, or a *delta* with those that changed, on top of the sections that it has:
//!
//! ```text
//! nothing yet, or a small range, or many pages, or a long chain  -> base
//! else                                                           -> delta
//! ```
//! Sections are packed into chunks: the small ones of many databases share a chunk, a large database fills
//! several. A database that only shrank has its last range written again, or an empty section when no page
//! is left: so the newest state of every database stands in a chunk, where a repair of the manifest finds
//! it. What superseded versions are kept of a database is one section more.
//!
//! Invariants
//! - every dirty page of the database lies in exactly one planned base or delta;
//! - a chain has no more than [`LINKS_MAX`] sections, and, but where there is hardly any room, its deltas
//!   are no longer than half of its base;
//! - no chunk but one with a single section is larger than the pack limit;
//! - the oldest un-checkpointed database comes first.

use crate::ids::{DbId, Lsn, PageNo, PageSize};
use std::collections::BTreeMap;

/// Sections of a chain, at most: a reader may have to look into each.
const LINKS_MAX: usize = 8;

/// A range of so many pages or fewer is written whole: that costs as little as a delta, and reads faster.
const SMALL_PAGES_MAX: u64 = 16;

/// The number of a range: pages `number * n + 1 ..= (number + 1) * n`, for n pages in a range.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeNo(pub u32);

/// How a database is cut into ranges.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ranges {
    pages_in_range: u32,
}

impl Ranges {
    /// Ranges of `range_bytes` bytes (at least a page).
    pub fn new(range_bytes: u64, page_size: PageSize) -> Self {
        let pages = (range_bytes / u64::from(page_size.get())).max(1);
        Self {
            pages_in_range: u32::try_from(pages).unwrap_or(u32::MAX),
        }
    }

    /// The range that holds a page.
    pub fn of(&self, page: PageNo) -> RangeNo {
        RangeNo((page.get() - 1) / self.pages_in_range)
    }

    /// The pages of a range in a database of `page_count` pages.
    pub fn pages(&self, range: RangeNo, page_count: u32) -> impl Iterator<Item = PageNo> + use<> {
        let last = self.last_page(range).min(u64::from(page_count));
        (self.first_page(range)..=last).filter_map(|page| PageNo::new(u32::try_from(page).ok()?))
    }

    /// The first page of a range.
    pub fn first_page(&self, range: RangeNo) -> u64 {
        u64::from(range.0) * u64::from(self.pages_in_range) + 1
    }

    /// The last page of a range, were the database large enough.
    pub fn last_page(&self, range: RangeNo) -> u64 {
        self.first_page(range) + u64::from(self.pages_in_range) - 1
    }
}

/// The sections that a range has.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// How many.
    pub links: usize,
    /// Bytes of the base in its file; 0 without one, or when that is not known.
    pub base_bytes: u64,
    /// Bytes of the deltas.
    pub delta_bytes: u64,
}

/// What changed in a database since its last checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirtyDatabase {
    /// The database.
    pub database: DbId,
    /// Its oldest commit that no checkpoint covers.
    pub oldest: Lsn,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// How it is cut.
    pub ranges: Ranges,
    /// Its page count at the cut.
    pub page_count: u32,
    /// Pages with a newer version, in any order; those above `page_count` are ignored. That pages
    /// were cut off is no business of the plan: publishing shortens their sections.
    pub pages: Vec<PageNo>,
    /// The sections that its ranges have.
    pub chains: BTreeMap<RangeNo, Chain>,
    /// What it reads of the database that it is a fork of.
    pub origin: Origin,
    /// Bytes of the superseded versions that are kept, if there is a history to write.
    pub history_bytes: Option<u64>,
}

/// What a database reads of the one that it is a fork of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// Nothing: it is no fork, or has all pages itself.
    #[default]
    None,
    /// The pages that it has none of its own of, up to this one.
    Inherited(u32),
    /// The same; but it is to become independent: all of them are written.
    Folded(u32),
}

/// One section to write.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PlannedSection {
    /// The database.
    pub database: DbId,
    /// What is in it.
    pub content: Content,
}

/// What is in a section.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Content {
    /// All pages of a range.
    Base(RangeNo),
    /// Those that changed.
    Delta(RangeNo),
    /// Superseded versions.
    History,
}

/// One chunk to write.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlannedChunk {
    /// Its sections, in the order they are written.
    pub sections: Vec<PlannedSection>,
    /// Bytes of page content, before compression.
    pub bytes: u64,
}

/// Whether a checkpoint writes more than it must.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Thrift {
    /// It does, where that makes chains shorter.
    Generous,
    /// There is hardly any room: only what changed, wherever a chain can still get longer.
    Frugal,
}

/// Plans a checkpoint.
pub fn plan(
    mut dirty: Vec<DirtyDatabase>,
    pack_bytes_max: u64,
    thrift: Thrift,
) -> Vec<PlannedChunk> {
    dirty.sort_by_key(|database| (database.oldest, database.database));
    let mut chunks = Vec::new();
    let mut open = PlannedChunk::default();
    for (section, bytes) in dirty.iter().flat_map(|one| sections(one, thrift)) {
        if !open.sections.is_empty() && open.bytes + bytes > pack_bytes_max {
            chunks.push(std::mem::take(&mut open));
        }
        open.bytes += bytes;
        open.sections.push(section);
    }
    if !open.sections.is_empty() {
        chunks.push(open);
    }
    chunks
}

/// The sections of a database, with their bytes.
fn sections(dirty: &DirtyDatabase, thrift: Thrift) -> Vec<(PlannedSection, u64)> {
    let database = dirty.database;
    let page_bytes = u64::from(dirty.page_size.get());
    let changed = changed_ranges(dirty).into_iter();
    let mut sections: Vec<_> = changed
        .map(|(range, changed)| {
            let whole = dirty.ranges.pages(range, dirty.page_count).count() as u64;
            let chain = dirty.chains.get(&range);
            let size = (changed, whole, page_bytes);
            let (content, pages) = if is_base(chain, size, dirty.origin, thrift) {
                (Content::Base(range), whole)
            } else {
                (Content::Delta(range), changed)
            };
            (PlannedSection { database, content }, pages * page_bytes)
        })
        .collect();
    if let Some(bytes) = dirty.history_bytes {
        let content = Content::History;
        sections.push((PlannedSection { database, content }, bytes));
    }
    sections
}

/// Whether a range with so many `changed` pages among its `whole` ones is written whole.
fn is_base(
    chain: Option<&Chain>,
    (changed, whole, page_bytes): (u64, u64, u64),
    origin: Origin,
    thrift: Thrift,
) -> bool {
    let chain = match (chain, origin) {
        (_, Origin::Folded(_)) | (None, Origin::None) => return true,
        (None, Origin::Inherited(_)) => Chain::default(),
        (Some(chain), _) => *chain,
    };
    let base_bytes = match chain.base_bytes {
        0 => whole * page_bytes,
        known => known,
    };
    // What changed is as compressible as the base.
    let more = base_bytes.saturating_mul(changed) / whole.max(1);
    if LINKS_MAX <= chain.links {
        return true;
    }
    let small = whole <= SMALL_PAGES_MAX;
    thrift == Thrift::Generous && (small || base_bytes < 2 * (chain.delta_bytes + more))
}

/// The ranges with a changed page, ascending, each with how many it has; without any, the last range.
fn changed_ranges(dirty: &DirtyDatabase) -> BTreeMap<RangeNo, u64> {
    let mut changed: BTreeMap<RangeNo, u64> = BTreeMap::new();
    for page in &dirty.pages {
        if page.get() <= dirty.page_count {
            *changed.entry(dirty.ranges.of(*page)).or_default() += 1;
        }
    }
    if let Origin::Folded(inherited) = dirty.origin
        && let Some(last) = PageNo::new(inherited.min(dirty.page_count))
    {
        for range in 0..=dirty.ranges.of(last).0 {
            changed.entry(RangeNo(range)).or_default();
        }
    }
    if changed.is_empty() {
        let last = PageNo::new(dirty.page_count).unwrap_or(PageNo::FIRST);
        changed.insert(dirty.ranges.of(last), 0);
    }
    changed
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
