//! The hashes of the pages of a database's newest generation, read section by section in any order.
//!
//! Invariant: of a page that several links of a chain have, the newest that covers it counts.
//!
//! Never: reads a page.

use crate::checkpoint::{RangeNo, Ranges};
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{ChunkId, PageNo};
use crate::manifest::{DatabaseRow, RangeRow};
use crate::pagestore::ChunkReader;
use std::collections::BTreeMap;

/// As far as they were read.
pub(super) struct PageHashes {
    /// Of ranges that one section holds.
    rolling: RollingChecksum,
    /// Of ranges that a chain holds, each page with the number of its link.
    chained: BTreeMap<PageNo, (usize, PageHash)>,
    /// By chunk and section, the links that name it.
    wanted: BTreeMap<(ChunkId, u32), Vec<Wanted>>,
    ranges: Option<Ranges>,
    page_count: u32,
}

#[derive(Copy, Clone)]
struct Wanted {
    range: RangeNo,
    /// Pages of the range that the link answers for.
    pages: u32,
    /// Its number in the chain, the newest is 0.
    link: usize,
    is_alone: bool,
}

impl PageHashes {
    /// Of the database with this row and these chains, none yet.
    pub(super) fn of(
        row: Option<&DatabaseRow>,
        newest: &[(u32, RangeRow)],
        range_bytes: u64,
    ) -> Self {
        let mut wanted: BTreeMap<_, Vec<Wanted>> = BTreeMap::new();
        for (range, row) in newest {
            for (number, link) in row.links().iter().enumerate() {
                let of_section = wanted.entry((link.chunk, link.section)).or_default();
                of_section.push(Wanted {
                    range: RangeNo(*range),
                    pages: link.pages,
                    link: number,
                    is_alone: row.links().len() == 1,
                });
            }
        }
        Self {
            rolling: RollingChecksum::EMPTY,
            chained: BTreeMap::new(),
            wanted,
            ranges: row
                .and_then(|row| row.page_size)
                .map(|size| Ranges::new(range_bytes, size)),
            page_count: row.map_or(0, |row| row.checkpointed.page_count),
        }
    }

    /// What cannot be read is told elsewhere.
    pub(super) fn add(&mut self, chunk: ChunkId, section: u32, reader: &ChunkReader) {
        let wanted = self.wanted.get(&(chunk, section));
        let (Some(wanted), Some(ranges)) = (wanted, &self.ranges) else {
            return;
        };
        for (page, hash, _) in reader.pages(section).unwrap_or_default() {
            let nth = u64::from(page.get()) - ranges.first_page(ranges.of(page));
            let answers =
                |one: &&Wanted| ranges.of(page) == one.range && nth < u64::from(one.pages);
            let Some(one) = wanted.iter().find(answers) else {
                continue;
            };
            if page.get() > self.page_count {
                continue;
            }
            if one.is_alone {
                self.rolling = self.rolling.toggled(hash);
                continue;
            }
            let newest = self.chained.entry(page).or_insert((one.link, hash));
            if one.link < newest.0 {
                *newest = (one.link, hash);
            }
        }
    }

    /// The xor of them all.
    pub(super) fn rolling(&self) -> RollingChecksum {
        let chained = self.chained.values();
        chained.fold(self.rolling, |sum, (_, hash)| sum.toggled(*hash))
    }
}
