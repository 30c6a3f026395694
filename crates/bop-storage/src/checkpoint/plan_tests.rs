//! Plans of small cases.

use super::*;

const PAGE: PageSize = PageSize::MIN;

/// Ranges of four pages; of a hundred where it says so.
fn dirty(database: u64, oldest: u64, page_count: u32, pages: &[u32]) -> DirtyDatabase {
    DirtyDatabase {
        database: DbId::new(database),
        oldest: Lsn::new(oldest),
        page_size: PAGE,
        ranges: Ranges::new(4 * 512, PAGE),
        page_count,
        pages: pages.iter().filter_map(|page| PageNo::new(*page)).collect(),
        chains: BTreeMap::new(),
        origin: Origin::None,
        history_bytes: None,
    }
}

fn plan(dirty: Vec<DirtyDatabase>, pack_bytes_max: u64) -> Vec<PlannedChunk> {
    super::plan(dirty, pack_bytes_max, Thrift::Generous)
}

fn sections_of(chunks: &[PlannedChunk]) -> Vec<Vec<(u64, u32)>> {
    let of = |s: &PlannedSection| match s.content {
        Content::Base(range) | Content::Delta(range) => (s.database.get(), range.0),
        Content::History => (s.database.get(), u32::MAX),
    };
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
    assert_eq!(sections_of(&chunks), [vec![(2, 0), (1, 0), (1, 2)]]);
}

#[test]
fn chunks_are_cut_at_the_pack_limit() {
    let chunks = plan(vec![dirty(1, 1, 12, &[1, 5, 9])], 2 * 4 * 512);
    assert_eq!(sections_of(&chunks), [vec![(1, 0), (1, 1)], vec![(1, 2)]]);
    let single = plan(vec![dirty(1, 1, 12, &[1, 5])], 1);
    assert_eq!(sections_of(&single), [vec![(1, 0)], vec![(1, 1)]]);
}

#[test]
fn pages_above_the_page_count_are_not_written() {
    assert_eq!(
        sections_of(&plan(vec![dirty(1, 1, 4, &[4, 5, 12])], 1 << 20)),
        [vec![(1, 0)]]
    );
}

#[test]
fn a_database_without_a_changed_page_has_its_last_range_written() {
    let of = |page_count| plan(vec![dirty(1, 1, page_count, &[29])], 1 << 20);
    assert_eq!(sections_of(&of(4)), [vec![(1, 0)]]);
    assert_eq!(sections_of(&of(5)), [vec![(1, 1)]]);
    assert_eq!(sections_of(&of(0)), [vec![(1, 0)]]);
}

#[test]
fn a_history_is_a_section_behind_the_pages() {
    let with_history = DirtyDatabase {
        history_bytes: Some(5 * 512),
        ..dirty(1, 1, 4, &[1])
    };
    let chunks = plan(vec![with_history], 1 << 20);
    assert_eq!(sections_of(&chunks), [vec![(1, 0), (1, u32::MAX)]]);
    assert_eq!(chunks[0].bytes, 9 * 512);
}

/// What a range of a hundred pages becomes, of which these `changed`.
fn content(changed: u32, chain: Option<Chain>, origin: Origin) -> Content {
    let pages: Vec<u32> = (1..=changed).collect();
    let large = DirtyDatabase {
        ranges: Ranges::new(100 * 512, PAGE),
        chains: chain.into_iter().map(|chain| (RangeNo(0), chain)).collect(),
        origin,
        ..dirty(1, 1, 100, &pages)
    };
    plan(vec![large], 1 << 20)[0].sections[0].content
}

#[test]
fn a_few_pages_of_a_large_range_are_a_delta_until_the_chain_is_long() {
    let (base, delta) = (Content::Base(RangeNo(0)), Content::Delta(RangeNo(0)));
    let chain = |links, delta_pages: u64| {
        Some(Chain {
            links,
            base_bytes: 100 * 512,
            delta_bytes: 512 * delta_pages,
        })
    };
    assert_eq!(content(3, None, Origin::None), base, "nothing to stand on");
    assert_eq!(content(3, chain(1, 0), Origin::None), delta);
    assert_eq!(content(51, chain(1, 0), Origin::None), base);
    assert_eq!(content(10, chain(3, 40), Origin::None), delta);
    assert_eq!(content(10, chain(3, 41), Origin::None), base);
    assert_eq!(content(1, chain(LINKS_MAX - 1, 9), Origin::None), delta);
    assert_eq!(content(1, chain(LINKS_MAX, 9), Origin::None), base);
}

#[test]
fn a_fork_writes_what_it_changed_and_all_when_it_is_folded() {
    let inherited = Origin::Inherited(300);
    assert_eq!(content(3, None, inherited), Content::Delta(RangeNo(0)));
    let folded = DirtyDatabase {
        origin: Origin::Folded(10),
        ..dirty(1, 1, 30, &[2, 29])
    };
    let sections = plan(vec![folded], 1 << 20).remove(0).sections;
    let ranges: Vec<Content> = sections.iter().map(|section| section.content).collect();
    assert_eq!(
        ranges,
        [0, 1, 2, 7].map(|range| Content::Base(RangeNo(range)))
    );
}

#[test]
fn where_there_is_hardly_any_room_a_range_is_written_whole_only_when_its_chain_is_at_its_end() {
    let with = |links| {
        let chain = Chain {
            links,
            base_bytes: 4 * 512,
            delta_bytes: 4 * 512,
        };
        let chains = BTreeMap::from([(RangeNo(0), chain)]);
        let database = DirtyDatabase {
            chains,
            ..dirty(1, 1, 4, &[2])
        };
        [Thrift::Generous, Thrift::Frugal].map(|thrift| {
            super::plan(vec![database.clone()], 1 << 20, thrift)[0].sections[0].content
        })
    };
    let (base, delta) = (Content::Base(RangeNo(0)), Content::Delta(RangeNo(0)));
    assert_eq!(with(1), [base, delta]);
    assert_eq!(with(LINKS_MAX - 1), [base, delta]);
    assert_eq!(with(LINKS_MAX), [base, base]);
}
