//! What a checkpoint writes: a pure function of what is dirty. No I/O, no clock.
//!
//! A database is cut into *ranges* of pages, each stored as one base section. A checkpoint rewrites
//! the ranges that changed, and packs the sections into chunks: the small ones of many databases
//! share a chunk, a large database fills several. A database that only shrank has its last range written
//! again, or an empty section when no page is left: so the newest state of every database stands in a
//! chunk, where a repair of the manifest finds it.
//!
//! Invariants
//! - every dirty page of the database lies in exactly one planned section;
//! - no chunk but one with a single section is larger than the pack limit;
//! - the oldest un-checkpointed database comes first.

use crate::ids::{DbId, Lsn, PageNo, PageSize};

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
}

/// One section to write.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PlannedSection {
    /// The database.
    pub database: DbId,
    /// The range.
    pub range: RangeNo,
}

/// One chunk to write.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlannedChunk {
    /// Its sections, in the order they are written.
    pub sections: Vec<PlannedSection>,
    /// Bytes of page content, before compression.
    pub bytes: u64,
}

/// Plans a checkpoint.
pub fn plan(mut dirty: Vec<DirtyDatabase>, pack_bytes_max: u64) -> Vec<PlannedChunk> {
    dirty.sort_by_key(|database| (database.oldest, database.database));
    let mut chunks = Vec::new();
    let mut open = PlannedChunk::default();
    for database in &dirty {
        for range in changed_ranges(database) {
            let pages = database.ranges.pages(range, database.page_count).count() as u64;
            let bytes = pages * u64::from(database.page_size.get());
            if !open.sections.is_empty() && open.bytes + bytes > pack_bytes_max {
                chunks.push(std::mem::take(&mut open));
            }
            open.bytes += bytes;
            open.sections.push(PlannedSection {
                database: database.database,
                range,
            });
        }
    }
    if !open.sections.is_empty() {
        chunks.push(open);
    }
    chunks
}

/// The ranges with a changed page, ascending; without any, the last one.
fn changed_ranges(database: &DirtyDatabase) -> Vec<RangeNo> {
    let live = database
        .pages
        .iter()
        .filter(|page| page.get() <= database.page_count);
    let mut changed: Vec<RangeNo> = live.map(|page| database.ranges.of(*page)).collect();
    if changed.is_empty() {
        let last = PageNo::new(database.page_count).unwrap_or(PageNo::FIRST);
        changed.push(database.ranges.of(last));
    }
    changed.sort_unstable();
    changed.dedup();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: PageSize = PageSize::MIN;

    fn dirty(database: u64, oldest: u64, page_count: u32, pages: &[u32]) -> DirtyDatabase {
        DirtyDatabase {
            database: DbId::new(database),
            oldest: Lsn::new(oldest),
            page_size: PAGE,
            ranges: Ranges::new(4 * 512, PAGE),
            page_count,
            pages: pages.iter().filter_map(|page| PageNo::new(*page)).collect(),
        }
    }

    fn sections(chunks: &[PlannedChunk]) -> Vec<Vec<(u64, u32)>> {
        let of = |s: &PlannedSection| (s.database.get(), s.range.0);
        chunks
            .iter()
            .map(|chunk| chunk.sections.iter().map(of).collect())
            .collect()
    }

    #[test]
    fn only_changed_ranges_are_written_and_the_oldest_database_first() {
        let chunks = plan(
            vec![dirty(1, 50, 20, &[1, 3, 9]), dirty(2, 10, 3, &[2])],
            1 << 20,
        );
        assert_eq!(sections(&chunks), [vec![(2, 0), (1, 0), (1, 2)]]);
    }

    #[test]
    fn chunks_are_cut_at_the_pack_limit() {
        let chunks = plan(vec![dirty(1, 1, 12, &[1, 5, 9])], 2 * 4 * 512);
        assert_eq!(sections(&chunks), [vec![(1, 0), (1, 1)], vec![(1, 2)]]);
        let single = plan(vec![dirty(1, 1, 12, &[1, 5])], 1);
        assert_eq!(sections(&single), [vec![(1, 0)], vec![(1, 1)]]);
    }

    #[test]
    fn pages_above_the_page_count_are_not_written() {
        assert_eq!(
            sections(&plan(vec![dirty(1, 1, 4, &[4, 5, 12])], 1 << 20)),
            [vec![(1, 0)]]
        );
    }

    #[test]
    fn a_database_without_a_changed_page_has_its_last_range_written() {
        let of = |page_count| plan(vec![dirty(1, 1, page_count, &[29])], 1 << 20);
        assert_eq!(sections(&of(4)), [vec![(1, 0)]]);
        assert_eq!(sections(&of(5)), [vec![(1, 1)]]);
        assert_eq!(sections(&of(0)), [vec![(1, 0)]]);
    }
}
