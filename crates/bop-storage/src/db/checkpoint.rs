//! A checkpoint: from frozen views into chunks, published in one manifest transaction.
//!
//! ```text
//! cut = published Lsn -> freeze dirty views -> plan -> write chunks (synced, named)
//!   -> ONE manifest transaction -> new base below views and pins -> dead chunks, log released
//! ```
//! Invariants
//! - the order is chunk durable, then manifest commit, then log released: a crash between any two
//!   leaves what was there before, and files that nobody names;
//! - a checkpoint that fails changes nothing but that its frozen layers stay frozen.
//!
//! - a database with a page that cannot be read is left out, and holds up no other one.
//!
//! Never: two at a time.

use super::checkpoint_catalogue::delta_since;
use super::checkpoint_rows::{NewHead, Publication, forgettable};
use super::chunks::ChunkBase;
use super::engine::Engine;
use super::reader::PageReader;
use super::state::DbState;
use crate::catalogue::{Catalogue, encode_delta, encode_section};
use crate::checkpoint::{
    CheckpointReport, ChunkFailure, DirtyDatabase, PlannedChunk, Ranges, SectionSource, write_chunk,
};
use crate::checksum::RollingChecksum;
use crate::error::{CheckpointError, Place, ReadError};
use crate::ids::{ChunkId, CursorId, DbId, Generation, Lsn, PageNo, PageSize};
use crate::log::HoldReason;
use crate::manifest::{CursorRow, ManifestState};
use crate::pagestore::{ChunkWriter, FinishedChunk};
use crate::view::{BasePage, BasePages, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A database that the checkpoint copies.
pub(super) struct Source {
    pub(super) state: Arc<DbState>,
    pub(super) view: Arc<View>,
    /// Layers that the new base replaces.
    covered: usize,
    page_size: PageSize,
    pub(super) ranges: Ranges,
    pub(super) generation: Generation,
    reader: PageReader,
}

impl SectionSource for Source {
    fn ranges(&self) -> Ranges {
        self.ranges
    }

    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn page_count(&self) -> u32 {
        self.view.head().page_count
    }

    fn rolling_checksum(&self) -> RollingChecksum {
        self.view.head().rolling_checksum
    }

    fn cut(&self) -> Lsn {
        self.view.head().lsn
    }

    fn generation(&self) -> Generation {
        self.generation
    }

    fn load(&self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        self.reader.load_for_copy(&self.view, page)
    }
}

/// The catalogue at the cut, when it changed since the last checkpoint or has tombstones to forget.
pub(super) struct NewCatalogue {
    /// Without what is forgotten.
    pub(super) catalogue: Catalogue,
    /// The subscribers of the feeds, which stand beside it.
    cursors: Vec<(CursorId, CursorRow)>,
    /// Where the section before ends, when only what is newer is written; `None`: all of it.
    pub(super) since: Option<Lsn>,
    forgotten: Vec<DbId>,
    generation: Generation,
}

impl NewCatalogue {
    fn encode(&self) -> Vec<u8> {
        match self.since {
            None => encode_section(&self.catalogue, &self.cursors),
            Some(since) => encode_delta(&self.catalogue, since, &self.forgotten, &self.cursors),
        }
    }
}

impl Engine {
    /// Moves everything that is published into chunks and releases the log that nobody needs.
    pub(super) fn checkpoint(&self) -> Result<CheckpointReport, CheckpointError> {
        self.purge_overdue();
        let _one_at_a_time = self.checkpointing.lock();
        let begun = Instant::now();
        let ended = self.checkpoint_alone();
        let written = ended.as_ref().ok();
        let written = written.map(|report| (report.pages, report.chunk_bytes));
        self.meters.checkpoint_ended(begun.elapsed(), written);
        ended
    }

    fn checkpoint_alone(&self) -> Result<CheckpointReport, CheckpointError> {
        // What it lets go of itself is no reason for another one.
        self.log.holds().watch(None);
        self.retire_dropped();
        // Chunks that could not be published would be copied time after time.
        if let Some(failure) = self.manifest.failure() {
            return Err(failure.into());
        }
        let cut = self.log.published();
        let span = tracing::info_span!("checkpoint", %cut);
        let _entered = span.enter();
        let mut sources = self.freeze()?;
        // What is visible need not be durable: no chunk may have what the log could lose.
        if self.log.unwritten().oldest().is_some() {
            self.log.sync()?;
        }
        let catalogue = self.changed_catalogue()?;
        let rows = self.manifest.state();
        sources.retain(|source| is_published(source.state.id(), &rows, catalogue.as_ref()));
        let mut report = CheckpointReport::default();
        let mut skipped: Vec<Source> = sources
            .extract_if(.., |source| source.state.damage().is_some())
            .collect();
        let copied = self.copy(&mut sources, &mut skipped, catalogue.as_ref())?;
        let chunks = copied.chunks;
        report.pages = copied.pages;
        self.close_unreadable(&skipped);
        report.checkpointed = self.covered(cut, &skipped);
        let published = self.publish_chunks(report.checkpointed, &sources, catalogue, &chunks);
        published.inspect_err(|_| self.discard_unpublished(&chunks))?;
        report.databases = sources.len();
        report.databases_skipped = skipped.len();
        let kept_for: BTreeSet<DbId> = skipped.iter().map(|source| source.state.id()).collect();
        // The frozen views hold the log that is about to be released.
        drop((sources, skipped));
        report.chunks = chunks.len();
        report.chunk_bytes = chunks.iter().map(|chunk| chunk.bytes).sum();
        self.log.spares().fit_segments_to(self.log_bytes_target());
        report.segments_released = self.release_with_records(cut, &kept_for)?;
        tracing::info!(
            databases = report.databases,
            pages = report.pages,
            bytes = report.chunk_bytes,
            segments = report.segments_released,
            "checkpoint done"
        );
        Ok(report)
    }

    /// Freezes every database with commits that no checkpoint covers.
    fn freeze(&self) -> Result<Vec<Source>, CheckpointError> {
        let rows = self.manifest.state();
        let dirty = self
            .states()
            .into_iter()
            .filter(|state| state.view().layer_count() > 0);
        dirty
            .map(|state| {
                let view = state.freeze();
                let page_size = view.head().page_size.unwrap_or(PageSize::DEFAULT);
                let before = rows
                    .database(state.id())
                    .map(|row| row.checkpointed.generation);
                let generation = before.unwrap_or_default().next();
                Ok(Source {
                    covered: view.layer_count(),
                    page_size,
                    ranges: Ranges::new(self.limits.range_bytes, page_size),
                    generation: generation.ok_or(CheckpointError::Limit("generations"))?,
                    reader: self.reader.clone(),
                    state,
                    view,
                })
            })
            .collect()
    }

    fn changed_catalogue(&self) -> Result<Option<NewCatalogue>, CheckpointError> {
        let rows = self.manifest.state();
        let cell = self.catalogue.lock();
        let forgotten = forgettable(&cell.catalogue, &rows);
        let cursors_due = self.section_cursors.lock().are_due(&rows);
        let changed = cell.hold.is_some() || !forgotten.is_empty() || cursors_due;
        let closed = self.is_closed_for_damage(DbId::CATALOGUE);
        if !changed || !is_sound_so_far(&cell.catalogue, closed) {
            return Ok(None);
        }
        let mut catalogue = cell.catalogue.clone();
        drop(cell);
        for id in &forgotten {
            catalogue.forget(*id);
        }
        let newest = rows
            .ranges(DbId::CATALOGUE)
            .map(|(key, _)| key.generation)
            .max();
        let generation = newest.unwrap_or_default().next();
        Ok(Some(NewCatalogue {
            since: delta_since(&catalogue, &rows),
            catalogue,
            cursors: rows.cursors().map(|(id, row)| (id, row.clone())).collect(),
            forgotten,
            generation: generation.ok_or(CheckpointError::Limit("generations"))?,
        }))
    }

    /// Writes all chunks and returns how many pages they have.
    pub(super) fn write_chunks(
        &self,
        planned: &[PlannedChunk],
        sources: &[Source],
        catalogue: Option<&NewCatalogue>,
        finished: &mut Vec<FinishedChunk>,
    ) -> Result<u64, ChunkFailure> {
        let by_id: BTreeMap<DbId, &Source> = sources
            .iter()
            .map(|source| (source.state.id(), source))
            .collect();
        let cancelled = || {
            self.keep_house_between_pages();
            self.signals.is_stopping()
        };
        // The catalogue goes into the first chunk. What is newer of it goes into one of its own: it is
        // kept for longer than pages are, and would keep these.
        let is_alone = |new: &NewCatalogue| planned.is_empty() || new.since.is_some();
        let alone = catalogue.filter(|new| is_alone(new));
        let alone = alone.map(|_| PlannedChunk::default());
        let place = if alone.is_some() { planned.len() } else { 0 };
        let mut pages = 0;
        for (nth, chunk) in planned.iter().chain(&alone).enumerate() {
            let id = self.draw_chunk_id()?;
            let mut writer = ChunkWriter::create(Arc::clone(&self.disk), self.store, id)?;
            let source_of = |section: crate::checkpoint::PlannedSection| {
                by_id
                    .get(&section.database)
                    .map(|source| *source as &dyn SectionSource)
            };
            pages += write_chunk(chunk, &mut writer, source_of, &cancelled)?;
            if let Some(new) = catalogue.filter(|_| nth == place) {
                let cut = new.catalogue.last_lsn();
                writer.catalogue_section(new.generation, cut, &new.encode())?;
            }
            finished.push(writer.finish()?);
        }
        Ok(pages)
    }

    /// A number that no chunk ever had, not even one whose checkpoint failed.
    fn draw_chunk_id(&self) -> Result<ChunkId, CheckpointError> {
        let raw = self.next_chunk.fetch_add(1, Ordering::Relaxed);
        if raw == u64::MAX {
            Err(CheckpointError::Limit("chunk ids"))
        } else {
            Ok(ChunkId::new(raw))
        }
    }

    fn publish_chunks(
        &self,
        covered: Lsn,
        sources: &[Source],
        catalogue: Option<NewCatalogue>,
        chunks: &[FinishedChunk],
    ) -> Result<(), CheckpointError> {
        let catalogue = catalogue.map(Arc::new);
        let publication = Publication {
            chunks: chunks.to_vec(),
            catalogue: catalogue.clone(),
            heads: sources.iter().map(NewHead::of).collect(),
            closed: self.closed.lock().clone(),
            checkpointed: covered,
        };
        let dead = self
            .manifest
            .transact(move |edit| publication.write(edit))?;
        let rows = self.manifest.state();
        for source in sources {
            let (id, cut) = (source.state.id(), source.view.head().lsn);
            let chunks = Arc::new(ChunkBase::newest(
                id,
                source.generation,
                source.ranges,
                &rows,
                &self.chunks,
                Arc::clone(self.reader.cache()),
            ));
            let base: Arc<dyn BasePages> = Arc::clone(&chunks) as Arc<dyn BasePages>;
            // A drop may have put another state in its place, with the same view.
            let databases = self.databases.lock();
            let state = databases.get(&id).unwrap_or(&source.state);
            let added = state.rebase(cut, &base, source.covered);
            drop(databases);
            self.count_index_entries(added);
            self.reader.move_cached(&source.view, &chunks);
        }
        self.forget_dropped_states();
        dead.into_iter()
            .for_each(|(chunk, row)| self.chunks.doom(chunk, &row));
        if let Some(new) = catalogue {
            self.section_cursors.lock().written(&new.cursors);
            let mut cell = self.catalogue.lock();
            for id in &new.forgotten {
                cell.catalogue.forget(*id);
            }
            let covered = new.catalogue.last_lsn();
            let newer = cell.catalogue.last_lsn() > covered;
            let hold = || self.log.holds().hold(covered, HoldReason::Catalogue);
            cell.hold = newer.then(hold);
        }
        Ok(())
    }

    /// The log's length that starts a checkpoint: as long as the chunks, so that rewriting them
    /// costs no more than writing the log did, and a small store keeps a small log. What is live of
    /// record logs stays in it, so it is counted twice on top: relocation then finds at least as
    /// much that is dead.
    pub(super) fn log_bytes_target(&self) -> u64 {
        let rows = self.manifest.state();
        let chunk_bytes: u64 = rows.chunks().map(|(_, chunk)| chunk.file_bytes).sum();
        let largest = self.limits.log_bytes_max / 2;
        let pages = chunk_bytes.clamp(self.limits.checkpoint_log_bytes_min.min(largest), largest);
        let records = self.records.live_bytes().saturating_mul(2);
        let longest = self.limits.log_bytes_max / 4 * 3;
        pages.saturating_add(records).min(longest).max(pages)
    }
}

/// Whether all that the catalogue shows is so. Damage of the log stops it at the record before: that it is
/// `closed` is recorded with what is written, so that nothing is given out behind the damage.
fn is_sound_so_far(catalogue: &Catalogue, closed: bool) -> bool {
    let damage = catalogue.damage();
    damage.is_none_or(|damage| closed && matches!(damage.place, Place::Log { .. }))
}

/// Whether the transaction will leave a row of the database that has pages. One whose drop is not taken
/// back any more has none; one whose creation cannot be published, since the catalogue is damaged,
/// waits.
fn is_published(id: DbId, rows: &ManifestState, catalogue: Option<&NewCatalogue>) -> bool {
    let state = match catalogue.and_then(|new| new.catalogue.entry(id)) {
        Some(entry) => Some(entry.state),
        None => rows.database(id).map(|row| row.state),
    };
    state.is_some_and(|state| state.has_pages())
}

pub(super) fn dirty(source: &Source) -> DirtyDatabase {
    let head = source.view.head();
    let pages = source
        .view
        .layers()
        .flat_map(|layer| layer.iter())
        .flat_map(|(first, extent)| (0..extent.pages()).map(move |nth| first.get() + nth))
        .filter_map(PageNo::new)
        .collect();
    DirtyDatabase {
        database: source.state.id(),
        oldest: source.view.oldest_uncheckpointed(),
        page_size: source.page_size,
        ranges: source.ranges,
        page_count: head.page_count,
        pages,
    }
}
