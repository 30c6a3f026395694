//! Sections that moved into other chunks: the rows that name them say so.
//!
//! Invariant: a row that names no section that moved stays as it is, and a row that is gone stays gone:
//! whoever moves asks for what he read before, and others may have written since.
//!
//! Never: moves a page.

use super::edit::Edit;
use super::generation_row::{GenerationRow, HistoryLink};
use super::range_row::{RangeLink, RangeRow};
use super::schema::RangeKey;
use crate::ids::{ChunkId, DbId, Generation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a section is from now on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct MovedTo {
    /// The chunk.
    pub chunk: ChunkId,
    /// The section's number inside the chunk.
    pub section: u32,
    /// Bytes of the section in the file.
    pub bytes: u64,
}

/// The sections that moved, by chunk and number.
pub type Moves = BTreeMap<(ChunkId, u32), MovedTo>;

impl Edit<'_> {
    /// Puts the new places of sections into the rows of a database; counts the chunks' references.
    pub fn move_sections(&mut self, database: DbId, moves: &Moves) {
        let ranges = self.state().ranges(database);
        let ranges: Vec<(RangeKey, RangeRow)> = ranges
            .filter_map(|(key, row)| Some((*key, moved_chain(row, moves)?)))
            .collect();
        for (key, row) in ranges {
            self.put_range(key, row);
        }
        let generations = self.state().generations(database);
        let generations: Vec<(Generation, GenerationRow)> = generations
            .filter_map(|(generation, row)| Some((generation, moved_history(row, moves)?)))
            .collect();
        for (generation, row) in generations {
            self.put_generation(database, generation, row);
        }
    }
}

/// The chain with the new places; `None` when none of its sections moved.
fn moved_chain(row: &RangeRow, moves: &Moves) -> Option<RangeRow> {
    let to = |link: &RangeLink| moves.get(&(link.chunk, link.section));
    row.links().iter().find_map(to)?;
    let links = row.links().iter().map(|link| match to(link) {
        None => *link,
        Some(to) => RangeLink {
            chunk: to.chunk,
            section: to.section,
            bytes: to.bytes,
            ..*link
        },
    });
    Some(RangeRow::new(links.collect::<Arc<[RangeLink]>>()))
}

/// The generation with the new place of its history; `None` when that did not move.
fn moved_history(row: &GenerationRow, moves: &Moves) -> Option<GenerationRow> {
    let history = row.history?;
    let to = moves.get(&(history.chunk, history.section))?;
    Some(GenerationRow {
        history: Some(HistoryLink {
            chunk: to.chunk,
            section: to.section,
            bytes: to.bytes,
        }),
        ..*row
    })
}
