//! What the transaction of a checkpoint says in the manifest.
//!
//! ```text
//! chunks published -> catalogue rows, tombstones that nothing names forgotten -> heads
//!   -> sections shortened to what is left -> new sections in -> dead chunks out
//! ```
//! Never: writes a file, changes a view.

use super::checkpoint::{NewCatalogue, Source};
use crate::catalogue::Catalogue;
use crate::checkpoint::{RangeNo, Ranges};
use crate::error::ManifestError;
use crate::ids::{ChunkId, DbId, Lsn, PageSize};
use crate::manifest::{
    CheckpointedHead, ChunkRow, ClosedRow, DatabaseRow, Edit, ManifestState, RangeKey, RangeRow,
};
use crate::pagestore::{FinishedChunk, Section, SectionMeta};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tombstones that nothing names any more: no fork and no snapshot points at them, the sections are gone, and the log no longer has the
/// record of the drop, nor any before it. One that has damaged rows stays, since what these say of
/// it is not known.
pub(super) fn forgettable(catalogue: &Catalogue, rows: &ManifestState) -> Vec<DbId> {
    let truncated = rows.watermarks().truncated;
    catalogue
        .entries()
        .filter(|(_, entry)| entry.lsn < truncated)
        .map(|(id, _)| id)
        .filter(|id| !catalogue.has_pages(*id))
        .filter(|id| rows.ranges(*id).next().is_none())
        .filter(|id| !rows.damaged().databases.contains_key(id))
        .collect()
}

/// The rows of all databases whose catalogue records are newer than the rows; the sections of
/// tombstones go.
fn put_catalogue_rows(edit: &mut Edit<'_>, catalogue: &Catalogue) -> Result<(), ManifestError> {
    let reflected = edit.state().watermarks().catalogue;
    catalogue.write_rows(edit)?;
    let dropped = catalogue
        .entries()
        .filter(|(_, entry)| entry.lsn > reflected && !entry.state.has_pages());
    for (id, _) in dropped {
        let keys: Vec<RangeKey> = edit.state().ranges(id).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| edit.delete_range(key));
    }
    Ok(())
}

/// A database that was checkpointed: what its row says from now on.
pub(super) struct NewHead {
    database: DbId,
    checkpointed: CheckpointedHead,
    page_size: Option<PageSize>,
    /// The fewest pages that it had since the checkpoint before.
    page_count_min: u32,
    ranges: Ranges,
}

impl NewHead {
    pub(super) fn of(source: &Source) -> Self {
        let head = source.view.head();
        let checkpointed = CheckpointedHead {
            generation: source.generation,
            lsn: head.lsn,
            time_us: head.time_us,
            page_count: head.page_count,
            rolling_checksum: head.rolling_checksum,
        };
        Self {
            database: source.state.id(),
            checkpointed,
            page_size: head.page_size,
            page_count_min: source.view.page_count_min(),
            ranges: source.ranges,
        }
    }
}

/// All that the transaction of a checkpoint says.
pub(super) struct Publication {
    pub(super) chunks: Vec<FinishedChunk>,
    pub(super) catalogue: Option<Arc<NewCatalogue>>,
    pub(super) heads: Vec<NewHead>,
    pub(super) closed: BTreeMap<DbId, ClosedRow>,
    pub(super) checkpointed: Lsn,
}

impl Publication {
    /// Writes it; answers with the chunks that are garbage from then on.
    pub(super) fn write(
        &self,
        edit: &mut Edit<'_>,
    ) -> Result<Vec<(ChunkId, ChunkRow)>, ManifestError> {
        for chunk in &self.chunks {
            let digest = u128::from_le_bytes(chunk.digest.to_bytes());
            edit.insert_chunk(chunk.id, chunk.bytes, digest)?;
        }
        if let Some(new) = &self.catalogue {
            put_catalogue_rows(edit, &new.catalogue)?;
        }
        for head in &self.heads {
            put_head(edit, head)?;
            shorten_ranges(edit, head);
        }
        let catalogue = self.catalogue.as_ref();
        put_sections(edit, &self.chunks, catalogue.and_then(|new| new.since));
        for (id, row) in &self.closed {
            edit.close_database(*id, row);
        }
        edit.set_checkpointed(self.checkpointed);
        Ok(delete_dead_chunks(edit))
    }
}

fn put_head(edit: &mut Edit<'_>, head: &NewHead) -> Result<(), ManifestError> {
    let id = head.database;
    let Some(row) = edit.state().database(id).cloned() else {
        let detail = format!("database id {id} is checkpointed and has no row");
        return Err(ManifestError::Invariant {
            invariant: "checkpointed_has_row",
            detail,
        });
    };
    edit.put_database(
        id,
        DatabaseRow {
            page_size: head.page_size,
            checkpointed: head.checkpointed,
            ..row
        },
    )
}

/// Sections answer for no page that was cut off since they were written.
fn shorten_ranges(edit: &mut Edit<'_>, head: &NewHead) {
    let kept = u64::from(head.page_count_min);
    let rows: Vec<(RangeKey, RangeRow)> = edit
        .state()
        .ranges(head.database)
        .map(|(key, row)| (*key, *row))
        .collect();
    for (key, row) in rows {
        let before = head.ranges.first_page(RangeNo(key.range)) - 1;
        let pages = kept.saturating_sub(before).min(u64::from(row.pages));
        // No larger than `row.pages`.
        let pages = u32::try_from(pages).unwrap_or(row.pages);
        if pages == row.pages {
            continue;
        }
        edit.delete_range(key);
        if pages > 0 {
            let key = RangeKey {
                generation: head.checkpointed.generation,
                ..key
            };
            edit.put_range(key, RangeRow { pages, ..row });
        }
    }
}

/// Each section becomes the newest row of its range; what it supersedes is garbage at once, since
/// nothing but the newest generation is kept.
fn put_sections(edit: &mut Edit<'_>, chunks: &[FinishedChunk], since: Option<Lsn>) {
    // What is newer of the catalogue comes behind the sections that it has.
    let of_catalogue = edit.state().ranges(DbId::CATALOGUE).count();
    let catalogue_range = match since {
        None => 0,
        // A base takes their place long before.
        Some(_) => u32::try_from(of_catalogue).unwrap_or(u32::MAX),
    };
    for chunk in chunks {
        for section in &chunk.sections {
            let (key, pages) = range_key(&section.section, catalogue_range);
            let RangeKey {
                database, range, ..
            } = key;
            // The whole catalogue takes the place of all its sections.
            let replaces = |key: &RangeKey| key.range == range || is_whole(database, range);
            let older: Vec<RangeKey> = edit
                .state()
                .ranges(database)
                .map(|(key, _)| *key)
                .filter(replaces)
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

fn is_whole(database: DbId, range: u32) -> bool {
    (database, range) == (DbId::CATALOGUE, 0)
}

/// The row that a section becomes: its key, and the pages that it covers. The whole catalogue is range 0
/// of the catalogue's pseudo-database, what is newer the ranges behind.
fn range_key(section: &Section, catalogue_range: u32) -> (RangeKey, u32) {
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
                range: catalogue_range,
                generation,
            },
            1,
        ),
    }
}

/// Chunks that no range names any more.
fn delete_dead_chunks(edit: &mut Edit<'_>) -> Vec<(ChunkId, ChunkRow)> {
    let dead: Vec<(ChunkId, ChunkRow)> = edit
        .state()
        .chunks()
        .filter(|(_, row)| row.references == 0)
        .map(|(id, row)| (id, *row))
        .collect();
    dead.iter().for_each(|(id, _)| edit.delete_chunk(*id));
    dead
}
