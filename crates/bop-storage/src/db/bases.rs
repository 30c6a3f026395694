//! Which pages a state of a database is made of.
//!
//! ```text
//! point (database, commit)
//!   in the log                        -> the pinned view of its database
//!   the head of a generation          -> its chunks, and for a fork its origin below them
//!   between the heads of two of them  -> both, and the history of the interval
//!   before the first commit of a fork -> the point of its origin
//! ```
//! Invariants
//! - the files that a base names are on disk when it is made, and stay while it lives;
//! - what a repair could not prove is no base of a fork or a snapshot.
//!
//! Never: reads a file.

use super::chunk_base::ChunkBase;
use super::chunks::ChunkSet;
use super::origin::{ForkPages, LostPages};
use super::past::{HistoryFile, PastPages};
use crate::cache::PageCache;
use crate::catalogue::Catalogue;
use crate::checkpoint::Ranges;
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, DbKind, Generation, Lsn, PageSize};
use crate::limits::ValidLimits;
use crate::manifest::{ClosedBy, GenerationRow, ManifestState};
use crate::view::{BasePages, Head, NoBase, View};
use std::sync::Arc;

/// What bases are made from: the rows of one transaction, and the states that are in the log.
pub(super) struct Bases<'a> {
    pub(super) rows: &'a ManifestState,
    pub(super) catalogue: &'a Catalogue,
    pub(super) chunks: &'a ChunkSet,
    pub(super) cache: &'a Arc<PageCache>,
    pub(super) limits: &'a ValidLimits,
    /// The pages of a point, if they are in the log.
    pub(super) in_log: &'a dyn Fn(DbId, Lsn) -> Option<Arc<dyn BasePages>>,
}

impl Bases<'_> {
    /// The state of a database that its chunks hold, and its origin below them.
    pub(super) fn view(&self, id: DbId, kind: DbKind) -> View {
        let row = self.rows.database(id);
        let generation = row.map_or_else(Generation::default, |row| row.checkpointed.generation);
        let head = checkpointed_head(id, self.rows, self.catalogue);
        View::new(id, kind, head, self.generation(id, generation))
    }

    /// The pages of a point.
    pub(super) fn point(&self, id: DbId, lsn: Lsn) -> Arc<dyn BasePages> {
        (self.in_log)(id, lsn).unwrap_or_else(|| self.point_in_chunks(id, lsn))
    }

    /// The same of a point that is in chunks.
    pub(super) fn point_in_chunks(&self, id: DbId, lsn: Lsn) -> Arc<dyn BasePages> {
        match self.rows.generation_at(id, lsn) {
            Some((generation, row)) if row.lsn == lsn && !self.is_unproved(id, generation) => {
                self.generation(id, generation)
            }
            Some((generation, _)) => self.past(id, generation, lsn),
            None if lsn == Lsn::ZERO => self.generation(id, Generation::default()),
            None => self.past(id, Generation::default(), lsn),
        }
    }

    /// The pages of a point behind the head of `older`, and before that of the next generation.
    fn past(&self, id: DbId, older: Generation, at: Lsn) -> Arc<dyn BasePages> {
        let next = older.next().filter(|next| !self.is_unproved(id, *next));
        let next = next.and_then(|next| {
            let row = self.rows.generation(id, next)?;
            Some((next, self.history(row)?))
        });
        let Some((newer, history)) = next else {
            return lost(id, "the versions of a state of the past are not there");
        };
        Arc::new(PastPages {
            database: id,
            at,
            older: self.generation(id, older),
            newer: self.generation(id, newer),
            history,
            cache: Arc::clone(self.cache),
        })
    }

    /// The history of the interval that a generation ends.
    pub(super) fn history(&self, row: &GenerationRow) -> Option<HistoryFile> {
        let link = row.history?;
        Some(HistoryFile {
            file: self.chunks.file(link.chunk, self.rows.chunk(link.chunk)?),
            section: link.section,
        })
    }

    /// Whether a generation is what chunks have of a database that is closed because nothing proves it since
    /// the manifest was lost: for others it is not there.
    fn is_unproved(&self, id: DbId, generation: Generation) -> bool {
        let closed = self.rows.closed_row(id);
        let newest = self
            .rows
            .database(id)
            .map(|row| row.checkpointed.generation);
        closed.is_some_and(|row| row.by == ClosedBy::Lost) && newest == Some(generation)
    }

    /// The pages of a generation that has a row; of generation 0, those that a database begins with.
    fn generation(&self, id: DbId, generation: Generation) -> Arc<dyn BasePages> {
        let origin = self
            .catalogue
            .entry(id)
            .and_then(|entry| entry.origin.as_deref());
        if generation == Generation::default() {
            return match origin.filter(|origin| origin.page_count > 0) {
                None => Arc::new(NoBase),
                Some(origin) => {
                    let pages = self.point(origin.source, origin.lsn);
                    Arc::new(ForkPages::new(None, origin.page_count, pages))
                }
            };
        }
        let Some(row) = self.rows.generation(id, generation) else {
            return lost(id, "the row of a generation is not there");
        };
        let own = self.chunks_of(id, generation, row);
        match (row.inherited, origin) {
            (0, _) => Arc::new(own),
            (inherited, Some(origin)) => {
                let pages = self.point(origin.source, origin.lsn);
                Arc::new(ForkPages::new(Some(own), inherited, pages))
            }
            (_, None) => lost(id, "the origin of a fork is not known"),
        }
    }

    fn chunks_of(&self, id: DbId, generation: Generation, row: &GenerationRow) -> ChunkBase {
        let page_size = row.page_size.unwrap_or(PageSize::DEFAULT);
        let ranges = Ranges::new(self.limits.range_bytes, page_size);
        let cache = Arc::clone(self.cache);
        ChunkBase::at(id, generation, ranges, self.rows, self.chunks, cache)
    }
}

/// The state of a database that its chunks hold; of a fork without any, that of its origin.
pub(super) fn checkpointed_head(id: DbId, rows: &ManifestState, catalogue: &Catalogue) -> Head {
    let row = rows.database(id);
    match row.filter(|row| row.checkpointed.generation != Generation::default()) {
        Some(row) => Head {
            lsn: row.checkpointed.lsn,
            time_us: row.checkpointed.time_us,
            page_size: row.page_size,
            page_count: row.checkpointed.page_count,
            rolling_checksum: row.checkpointed.rolling_checksum,
        },
        None => origin_head(catalogue, id).unwrap_or(Head::EMPTY),
    }
}

/// What a fork is before its first commit.
pub(super) fn origin_head(catalogue: &Catalogue, id: DbId) -> Option<Head> {
    let origin = catalogue.entry(id)?.origin.as_deref()?;
    Some(Head {
        lsn: Lsn::ZERO,
        time_us: origin.time_us,
        page_size: origin.page_size,
        page_count: origin.page_count,
        rolling_checksum: origin.rolling_checksum,
    })
}

fn lost(database: DbId, why: &'static str) -> Arc<dyn BasePages> {
    let damage = Damage::new(Place::Database { database }, Reject::Invalid(why));
    Arc::new(LostPages(damage))
}
