//! What the transaction of a checkpoint says in the manifest.
//!
//! ```text
//! chunks published -> catalogue rows, tombstones that nothing names forgotten
//!   -> heads, each with its generation and the chains that are new in it -> what nobody reads out
//!   -> dead chunks out
//! ```
//! Invariant: a chain that an older generation reads is replaced by none: a range that is shorter, or has a
//! newer section, gets a row of the new generation.
//!
//! Never: writes a file, changes a view.

use super::checkpoint::NewCatalogue;
use super::garbage::{Keep, delete_garbage};
use super::source::Source;
use crate::catalogue::Catalogue;
use crate::checkpoint::{RangeNo, Ranges};
use crate::error::ManifestError;
use crate::ids::{ChunkId, DbId, Lsn, PageSize};
use crate::manifest::{
    CheckpointedHead, ChunkRow, ClosedRow, DatabaseRow, Edit, GenerationRow, HistoryLink, LinkKind,
    ManifestState, RangeKey, RangeLink, RangeRow,
};
use crate::pagestore::{FinishedChunk, Section, SectionKind, SectionMeta};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tombstones that nothing names any more: no fork and no snapshot points at them, the sections are gone,
/// and the log no longer has the record of the drop, nor any before it. One that has damaged rows stays,
/// since what these say of it is not known.
pub(super) fn forgettable(catalogue: &Catalogue, rows: &ManifestState) -> Vec<DbId> {
    let truncated = rows.watermarks().truncated;
    catalogue
        .entries()
        .filter(|(_, entry)| entry.lsn < truncated)
        .map(|(id, _)| id)
        .filter(|id| !catalogue.has_pages(*id))
        .filter(|id| rows.ranges(*id).next().is_none() && rows.generations(*id).next().is_none())
        .filter(|id| !rows.damaged().databases.contains_key(id))
        .collect()
}

/// A database that was checkpointed: what its row says from now on.
pub(super) struct NewHead {
    database: DbId,
    checkpointed: CheckpointedHead,
    page_size: Option<PageSize>,
    /// The fewest pages that it had since the checkpoint before.
    page_count_min: u32,
    inherited: u32,
    ranges: Ranges,
}

impl NewHead {
    pub(super) fn of(source: &Source) -> Self {
        let (new, head) = (&source.new, source.view.head());
        Self {
            database: source.state.id(),
            checkpointed: CheckpointedHead {
                generation: new.generation,
                lsn: new.cut,
                time_us: head.time_us,
                page_count: new.page_count,
                rolling_checksum: new.rolling_checksum,
            },
            page_size: head.page_size,
            page_count_min: new.page_count_min,
            inherited: new.inherited,
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
    /// What is needed of databases of which more may be there.
    pub(super) keeps: BTreeMap<DbId, Keep>,
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
            new.catalogue.write_rows(edit)?;
        }
        let mut sections = self.sections();
        for head in &self.heads {
            let sections = sections.remove(&head.database).unwrap_or_default();
            put_head(edit, head)?;
            put_generation(edit, head, &sections);
            put_chains(edit, head, &sections);
        }
        for (id, keep) in &self.keeps {
            delete_garbage(edit, *id, keep);
        }
        let catalogue = self.catalogue.as_ref();
        put_catalogue_sections(edit, &self.chunks, catalogue.and_then(|new| new.since));
        for (id, row) in &self.closed {
            edit.close_database(*id, row);
        }
        edit.set_checkpointed(self.checkpointed);
        Ok(delete_dead_chunks(edit))
    }

    /// What was written of each database.
    fn sections(&self) -> BTreeMap<DbId, Vec<NewSection>> {
        let mut sections: BTreeMap<DbId, Vec<NewSection>> = BTreeMap::new();
        for chunk in &self.chunks {
            for section in &chunk.sections {
                let Some(meta) = section.meta() else { continue };
                sections.entry(meta.database).or_default().push(NewSection {
                    chunk: chunk.id,
                    index: section.index,
                    bytes: section.file_bytes(),
                    meta: *meta,
                });
            }
        }
        sections
    }
}

/// A section of pages that was written.
struct NewSection {
    chunk: ChunkId,
    index: u32,
    bytes: u64,
    meta: SectionMeta,
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

/// The generation that the head makes, with the history of its interval if one was written.
fn put_generation(edit: &mut Edit<'_>, head: &NewHead, sections: &[NewSection]) {
    let history = sections
        .iter()
        .find(|section| section.meta.kind == SectionKind::History);
    let row = GenerationRow {
        lsn: head.checkpointed.lsn,
        time_us: head.checkpointed.time_us,
        page_size: head.page_size,
        page_count: head.checkpointed.page_count,
        page_count_min: head.page_count_min,
        rolling_checksum: head.checkpointed.rolling_checksum,
        inherited: head.inherited,
        history: history.map(|section| HistoryLink {
            chunk: section.chunk,
            section: section.index,
            bytes: section.bytes,
        }),
    };
    edit.put_generation(head.database, head.checkpointed.generation, row);
}

/// The chains that are other ones in the new generation: sections answer for no page that was cut off
/// since they were written, and each new section stands before those that its range has.
fn put_chains(edit: &mut Edit<'_>, head: &NewHead, sections: &[NewSection]) {
    let kept = u64::from(head.page_count_min);
    let mut chains: BTreeMap<u32, RangeRow> = BTreeMap::new();
    for (range, row) in edit.state().newest_ranges(head.database) {
        let before = head.ranges.first_page(RangeNo(range)) - 1;
        let pages = u32::try_from(kept.saturating_sub(before)).unwrap_or(u32::MAX);
        let cut = row.cut_to(pages);
        if cut != *row {
            chains.insert(range, cut);
        }
    }
    for section in sections {
        let kind = match section.meta.kind {
            SectionKind::Base => LinkKind::Base,
            SectionKind::Delta => LinkKind::Delta,
            SectionKind::History | SectionKind::Catalogue => continue,
        };
        let link = RangeLink {
            chunk: section.chunk,
            section: section.index,
            pages: section.meta.pages,
            bytes: section.bytes,
            kind,
        };
        let range = section.meta.range;
        let older = chains.get(&range).cloned().or_else(|| {
            let rows = edit.state();
            let newest = rows.range_at(head.database, range, head.checkpointed.generation);
            newest.map(|(_, row)| row.clone())
        });
        let chain = older.map_or_else(|| RangeRow::of(link), |older| older.with(link));
        chains.insert(range, chain);
    }
    for (range, chain) in chains {
        let key = RangeKey {
            database: head.database,
            range,
            generation: head.checkpointed.generation,
        };
        edit.put_range(key, chain);
    }
}

/// The whole catalogue is range 0 of the catalogue's pseudo-database and takes the place of all its
/// sections; what is newer are the ranges behind.
fn put_catalogue_sections(edit: &mut Edit<'_>, chunks: &[FinishedChunk], since: Option<Lsn>) {
    let of_catalogue = edit.state().ranges(DbId::CATALOGUE).count();
    let range = match since {
        None => 0,
        // A base takes their place long before.
        Some(_) => u32::try_from(of_catalogue).unwrap_or(u32::MAX),
    };
    for chunk in chunks {
        for section in &chunk.sections {
            let Section::Catalogue { generation, .. } = section.section else {
                continue;
            };
            let replaced = |key: &RangeKey| range == 0 || key.range == range;
            let rows = edit.state().ranges(DbId::CATALOGUE);
            let older: Vec<RangeKey> = rows.map(|(key, _)| *key).filter(replaced).collect();
            older.into_iter().for_each(|key| edit.delete_range(key));
            let key = RangeKey {
                database: DbId::CATALOGUE,
                range,
                generation,
            };
            let link = RangeLink {
                chunk: chunk.id,
                section: section.index,
                pages: 1,
                bytes: section.file_bytes(),
                kind: LinkKind::Base,
            };
            edit.put_range(key, RangeRow::of(link));
        }
    }
}

/// Chunks that nothing names any more.
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
