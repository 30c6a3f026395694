//! The chains that a state of a database reads, put together from its sections.
//!
//! ```text
//! sections of a range, newest first:  delta (7) --since 6--> delta (5) --since 4--> base (2) | base (1)
//!                                     '-------------------- the chain ----------------------'
//! ```
//! A delta stands on what is not newer than its `since`: what lies between was merged into it, or was
//! never published.
//!
//! Invariant: a piece answers for no page that a later state up to its own is known not to have had.
//!
//! Never: reads a page.

use super::chunks::FoundSection;
use crate::checkpoint::{RangeNo, Ranges};
use crate::ids::{DbId, Generation, Lsn};
use crate::manifest::{LinkKind, RangeKey, RangeLink, RangeRow};
use crate::pagestore::SectionKind;
use std::collections::BTreeMap;

/// One state of a database that a section names.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Stand {
    pub(super) generation: Generation,
    pub(super) cut: Lsn,
}

impl Stand {
    pub(super) fn of(section: &FoundSection) -> Self {
        Self {
            generation: section.meta.generation,
            cut: section.meta.cut,
        }
    }
}

/// A section, as far as it answers.
pub(super) struct Piece<'s> {
    pub(super) section: &'s FoundSection,
    /// Pages from the start of its range.
    pub(super) pages: u32,
}

impl Piece<'_> {
    /// Its pages in a database of which `kept` pages are left.
    fn up_to(&self, kept: u32) -> u32 {
        let before = self.section.meta.first_page.get() - 1;
        self.pages.min(kept.saturating_sub(before))
    }
}

/// The sections of one range that a state reads, the newest first.
pub(super) struct FoundChain<'s> {
    pub(super) range: u32,
    pub(super) pieces: Vec<Piece<'s>>,
}

impl FoundChain<'_> {
    /// The row that says so, if anything is left of it and no part is lost. `kept`: the pages that are left
    /// of states before `stand`, where that was found out.
    pub(super) fn row(
        &self,
        database: DbId,
        stand: Stand,
        kept: Option<u32>,
    ) -> Option<(RangeKey, RangeRow)> {
        let mut generation = self.pieces.first()?.section.meta.generation;
        let mut links = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let FoundSection {
                chunk,
                index,
                meta,
                bytes,
                lost,
            } = *piece.section;
            if lost {
                return None;
            }
            let pages = match kept {
                Some(kept) if Stand::of(piece.section) != stand => piece.up_to(kept),
                _ => piece.pages,
            };
            if pages != meta.pages {
                generation = stand.generation;
            }
            if 0 < pages {
                links.push(RangeLink {
                    chunk,
                    section: index,
                    pages,
                    bytes,
                    kind: match meta.kind {
                        SectionKind::Base => LinkKind::Base,
                        _ => LinkKind::Delta,
                    },
                });
            }
        }
        let key = RangeKey {
            database,
            range: self.range,
            generation,
        };
        (!links.is_empty()).then(|| (key, RangeRow::new(links)))
    }
}

/// The chains of a state that ends at `page_count` pages, from all sections of the database.
pub(super) fn chains<'s>(
    sections: &'s [FoundSection],
    stand: Stand,
    page_count: u32,
    ranges: Ranges,
) -> Vec<FoundChain<'s>> {
    let mut fewest: BTreeMap<Stand, u32> = BTreeMap::new();
    let mut by_range: BTreeMap<u32, Vec<&FoundSection>> = BTreeMap::new();
    for section in sections.iter().filter(|one| Stand::of(one) <= stand) {
        let meta = &section.meta;
        let least = fewest.entry(Stand::of(section)).or_insert(u32::MAX);
        *least = meta.page_count_min.min(*least);
        let fits = u64::from(meta.first_page.get()) == ranges.first_page(RangeNo(meta.range));
        if fits && meta.kind != SectionKind::History {
            by_range.entry(meta.range).or_default().push(section);
        }
    }
    let piece = |section: &'s FoundSection| {
        let later = fewest
            .iter()
            .filter(|(later, _)| Stand::of(section) < **later);
        let kept = later.map(|(_, pages)| *pages).min();
        let mut piece = Piece {
            section,
            pages: section.meta.pages,
        };
        piece.pages = piece.up_to(kept.unwrap_or(u32::MAX).min(page_count.max(1)));
        piece
    };
    let chain = |(range, sections): (u32, Vec<&'s FoundSection>)| {
        let pieces = newest_first(sections).into_iter().map(piece);
        let pieces: Vec<Piece<'s>> = pieces.filter(|piece| 0 < piece.pages).collect();
        (!pieces.is_empty()).then_some(FoundChain { range, pieces })
    };
    by_range.into_iter().filter_map(chain).collect()
}

/// The sections of one range that stand on each other.
fn newest_first(mut sections: Vec<&FoundSection>) -> Vec<&FoundSection> {
    sections.sort_unstable_by_key(|one| std::cmp::Reverse((Stand::of(one), one.chunk)));
    let mut chain: Vec<&FoundSection> = Vec::new();
    for section in sections {
        match chain.last() {
            Some(newer) if newer.meta.kind == SectionKind::Base => break,
            Some(newer) if newer.meta.since < section.meta.cut => {}
            // A copy of it, in an older chunk.
            Some(newer) if Stand::of(newer) == Stand::of(section) => {}
            _ => chain.push(section),
        }
    }
    chain
}
