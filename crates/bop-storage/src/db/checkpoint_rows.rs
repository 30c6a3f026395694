//! What the transaction of a checkpoint says in the manifest.
//!
//! ```text
//! chunks published -> catalogue rows, tombstones that nothing names forgotten -> heads
//!   -> sections shortened to what is left -> new sections in -> dead chunks out
//! ```
//! Never: writes a file, changes a view.

use super::checkpoint::Source;
use crate::catalogue::{Catalogue, DatabaseState};
use crate::checkpoint::RangeNo;
use crate::error::ManifestError;
use crate::ids::{ChunkId, DbId};
use crate::manifest::{
    CheckpointedHead, ChunkRow, DatabaseRow, Edit, ManifestState, RangeKey, RangeRow,
};
use crate::pagestore::{FinishedChunk, Section, SectionMeta};

/// Tombstones that nothing names any more: the sections are gone, and the log no longer has the
/// record of the drop, nor any before it. One that has damaged rows stays, since what these say of
/// it is not known.
pub(super) fn forgettable(catalogue: &Catalogue, rows: &ManifestState) -> Vec<DbId> {
    let truncated = rows.watermarks().truncated;
    catalogue
        .entries()
        .filter(|(_, entry)| entry.state != DatabaseState::Live && entry.lsn < truncated)
        .map(|(id, _)| id)
        .filter(|id| rows.ranges(*id).next().is_none())
        .filter(|id| !rows.damaged().databases.contains_key(id))
        .collect()
}

/// The rows of all databases whose catalogue records are newer than the rows; the sections of
/// dropped ones go.
pub(super) fn put_catalogue_rows(
    edit: &mut Edit<'_>,
    catalogue: &Catalogue,
) -> Result<(), ManifestError> {
    let reflected = edit.state().watermarks().catalogue;
    catalogue.write_rows(edit)?;
    let dropped = catalogue
        .entries()
        .filter(|(_, entry)| entry.lsn > reflected && entry.state != DatabaseState::Live);
    for (id, _) in dropped {
        let keys: Vec<RangeKey> = edit.state().ranges(id).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| edit.delete_range(key));
    }
    Ok(())
}

pub(super) fn put_head(edit: &mut Edit<'_>, source: &Source) -> Result<(), ManifestError> {
    let id = source.state.id();
    let Some(row) = edit.state().database(id).cloned() else {
        let detail = format!("database id {id} is checkpointed and has no row");
        return Err(ManifestError::Invariant {
            invariant: "checkpointed_has_row",
            detail,
        });
    };
    let head = source.view.head();
    let checkpointed = CheckpointedHead {
        generation: source.generation,
        lsn: head.lsn,
        time_us: head.time_us,
        page_count: head.page_count,
        rolling_checksum: head.rolling_checksum,
    };
    edit.put_database(
        id,
        DatabaseRow {
            page_size: head.page_size,
            checkpointed,
            ..row
        },
    )
}

/// Sections answer for no page that was cut off since they were written.
pub(super) fn shorten_ranges(edit: &mut Edit<'_>, source: &Source) {
    let kept = u64::from(source.view.page_count_min());
    let rows: Vec<(RangeKey, RangeRow)> = edit
        .state()
        .ranges(source.state.id())
        .map(|(key, row)| (*key, *row))
        .collect();
    for (key, row) in rows {
        let before = source.ranges.first_page(RangeNo(key.range)) - 1;
        let pages = kept.saturating_sub(before).min(u64::from(row.pages));
        // No larger than `row.pages`.
        let pages = u32::try_from(pages).unwrap_or(row.pages);
        if pages == row.pages {
            continue;
        }
        edit.delete_range(key);
        if pages > 0 {
            let key = RangeKey {
                generation: source.generation,
                ..key
            };
            edit.put_range(key, RangeRow { pages, ..row });
        }
    }
}

/// Each section becomes the newest row of its range; what it supersedes is garbage at once, since
/// nothing but the newest generation is kept.
pub(super) fn put_sections(edit: &mut Edit<'_>, chunks: &[FinishedChunk]) {
    for chunk in chunks {
        for section in &chunk.sections {
            let (key, pages) = range_key(&section.section);
            let RangeKey {
                database, range, ..
            } = key;
            let older: Vec<RangeKey> = edit
                .state()
                .ranges(database)
                .map(|(key, _)| *key)
                .filter(|key| key.range == range)
                .collect();
            older.into_iter().for_each(|key| edit.delete_range(key));
            let row = RangeRow {
                chunk: chunk.id,
                section: section.index,
                pages,
            };
            edit.put_range(key, row);
        }
    }
}

/// The row that a section becomes: its key, and the pages that it covers. The catalogue's section
/// is range 0 of the catalogue's pseudo-database.
fn range_key(section: &Section) -> (RangeKey, u32) {
    match *section {
        Section::Pages(SectionMeta {
            database,
            generation,
            range,
            pages,
            ..
        }) => (
            RangeKey {
                database,
                range,
                generation,
            },
            pages,
        ),
        Section::Catalogue { generation, .. } => (
            RangeKey {
                database: DbId::CATALOGUE,
                range: 0,
                generation,
            },
            1,
        ),
    }
}

/// Chunks that no range names any more.
pub(super) fn delete_dead_chunks(edit: &mut Edit<'_>) -> Vec<(ChunkId, ChunkRow)> {
    let dead: Vec<(ChunkId, ChunkRow)> = edit
        .state()
        .chunks()
        .filter(|(_, row)| row.references == 0)
        .map(|(id, row)| (id, *row))
        .collect();
    dead.iter().for_each(|(id, _)| edit.delete_chunk(*id));
    dead
}
