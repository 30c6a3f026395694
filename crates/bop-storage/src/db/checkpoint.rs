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
use super::engine::Engine;
use super::garbage::Published;
use super::rewrite_chunks::Rewritten;
use super::source::Source;
use crate::canary::{Canary, is_planted};
use crate::catalogue::{Catalogue, encode_delta, encode_section};
use crate::checkpoint::{
    CheckpointReport, ChunkFailure, PlannedChunk, PlannedSection, SectionSource, Thrift,
    VersionsAhead, write_chunk,
};
use crate::error::{CheckpointError, Place};
use crate::ids::{ChunkId, CursorId, DbId, Generation, Lsn};
use crate::io::{OpenMode, layout};
use crate::log::HoldReason;
use crate::manifest::CursorRow;
use crate::pagestore::{ChunkWriter, FinishedChunk};
use crate::runtime::sync::{elapsed, now};
use crate::view::BasePages;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rounds of a log that is full of images of the past, of which two are in memory.
const ROUNDS_OF_LOG: u64 = 64;

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
        let begun = now();
        let ended = self.checkpoint_in_any_room();
        let written = ended.as_ref().ok();
        let written = written.map(|report| (report.pages, report.chunk_bytes));
        self.meters.checkpoint_ended(elapsed(begun), written);
        let mut report = ended?;
        let rewritten = self.rewrite_half_dead();
        self.expect_past(rewritten.is_more);
        (report.chunks_rewritten, report.freed_bytes) = (rewritten.chunks, rewritten.freed_bytes);
        Ok(report)
    }

    /// What is dead in packs. What was checkpointed stays so, whatever becomes of that.
    pub(super) fn rewrite_half_dead(&self) -> Rewritten {
        self.rewrite_chunks().unwrap_or_else(|error| {
            tracing::warn!(%error, "half dead chunks stay as they are");
            Rewritten::default()
        })
    }

    pub(super) fn checkpoint_alone(
        &self,
        thrift: Thrift,
    ) -> Result<CheckpointReport, CheckpointError> {
        // What it lets go of itself is no reason for another one.
        self.log.holds().watch(None);
        self.retire_dropped();
        self.release_points();
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
        // Asked before: what changes then is in the next.
        let known = self.catalogue.lock().catalogue.last_lsn();
        let catalogue = self.changed_catalogue()?;
        sources.retain(|source| self.is_published(source.state.id(), catalogue.as_ref()));
        let mut report = CheckpointReport::default();
        let mut skipped: Vec<Source> = sources
            .extract_if(.., |source| source.state.damage().is_some())
            .collect();
        let copied = self.copy(&mut sources, &mut skipped, catalogue.as_ref(), thrift)?;
        let chunks = copied.chunks;
        report.pages = copied.pages;
        self.close_unreadable(&skipped);
        report.checkpointed = self.covered(cut, &skipped);
        if is_planted(Canary::TruncateBeforeManifest) {
            let ring = self.log.ring();
            self.log.spares().release(ring.releasable(cut))?;
        }
        let catalogue = (catalogue, known);
        let published = self.publish_chunks(report.checkpointed, &sources, catalogue, &chunks);
        published.inspect_err(|_| self.discard_unpublished(&chunks))?;
        self.log.kept().forget_before(cut);
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
        let cancelled = self.between_pages();
        // The catalogue goes into the first chunk. What is newer of it goes into one of its own: it is
        // kept for longer than pages are, and would keep these.
        let is_alone = |new: &NewCatalogue| planned.is_empty() || new.since.is_some();
        let alone = catalogue.filter(|new| is_alone(new));
        let alone = alone.map(|_| PlannedChunk::default());
        let place = if alone.is_some() { planned.len() } else { 0 };
        let source_of = |section: PlannedSection| {
            let source = by_id.get(&section.database);
            source.map(|source| *source as &dyn SectionSource)
        };
        let round_bytes =
            usize::try_from(self.limits.log_bytes_max / ROUNDS_OF_LOG).unwrap_or(usize::MAX);
        let mut ahead = VersionsAhead::new(planned, round_bytes, source_of);
        let mut pages = 0;
        for (nth, chunk) in planned.iter().chain(&alone).enumerate() {
            let id = self.draw_chunk_id()?;
            let mut writer = self.create_chunk(id)?;
            pages += write_chunk(chunk, &mut writer, source_of, &mut ahead, &cancelled)?;
            if let Some(new) = catalogue.filter(|_| nth == place) {
                let cut = new.catalogue.last_lsn();
                writer.catalogue_section(new.generation, cut, &new.encode())?;
            }
            finished.push(writer.finish()?);
        }
        Ok(pages)
    }

    /// Starts a chunk with that number.
    pub(super) fn create_chunk(&self, id: ChunkId) -> Result<ChunkWriter, CheckpointError> {
        let disk = Arc::clone(&self.disk);
        let writer = ChunkWriter::create(disk, self.store, id, self.compression)?;
        Ok(writer.write_behind(&self.errands))
    }

    /// A number that no chunk ever had, not even one whose checkpoint failed.
    pub(super) fn draw_chunk_id(&self) -> Result<ChunkId, CheckpointError> {
        if is_planted(Canary::ChunkIdReused) {
            let is_free =
                |id: &ChunkId| self.disk.open(&layout::chunk(*id), OpenMode::Read).is_err();
            let free = (1..u64::MAX).map(ChunkId::new).find(is_free);
            return free.ok_or(CheckpointError::Limit("chunk ids"));
        }
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
        (catalogue, known): (Option<NewCatalogue>, Lsn),
        chunks: &[FinishedChunk],
    ) -> Result<(), CheckpointError> {
        let catalogue = catalogue.map(Arc::new);
        let told = catalogue.as_deref().map(|new| &new.catalogue);
        let told = told.map_or(Published::Until(known), Published::Now);
        let publication = Publication {
            chunks: chunks.to_vec(),
            catalogue: catalogue.clone(),
            heads: sources.iter().map(NewHead::of).collect(),
            closed: self.closed.lock().clone(),
            checkpointed: covered,
            keeps: self.keeps(sources.iter().map(|source| source.state.id()), &told),
        };
        let dead = self
            .manifest
            .transact(move |edit| publication.write(edit))?;
        for source in sources {
            self.rebase(source);
        }
        self.release_points();
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

    /// Puts what is published below the views of a database, its readers' and those of snapshots and
    /// forks of it.
    fn rebase(&self, source: &Source) {
        let (id, kind) = (source.state.id(), source.state.kind());
        let databases = self.databases.lock();
        // A drop may have put another state in its place, with the same view.
        let state = databases.get(&id).unwrap_or(&source.state);
        let pinned = state.pinned();
        let (base, past) = self.with_bases_in(&databases, |bases| {
            let older = pinned.iter().filter(|lsn| source.history.can_read(**lsn));
            let past = older.map(|lsn| (*lsn, bases.point_in_chunks(id, *lsn)));
            let past: BTreeMap<Lsn, Arc<dyn BasePages>> = past.collect();
            (Arc::clone(bases.view(id, kind).base()), past)
        });
        let past = |lsn: Lsn| past.get(&lsn).cloned();
        let added = state.rebase(source.new.cut, &base, source.covered, past);
        drop(databases);
        self.count_index_entries(added);
        self.reader.move_cached(&source.view, base.as_ref());
    }

    /// Whether the transaction will leave a row of the database, and it has pages. One whose drop is not
    /// taken back any more has none, unless a fork needs them; one whose creation cannot be published,
    /// since the catalogue is damaged, waits.
    fn is_published(&self, id: DbId, new: Option<&NewCatalogue>) -> bool {
        match new.filter(|new| new.catalogue.entry(id).is_some()) {
            Some(new) => new.catalogue.has_pages(id),
            None => {
                let has_row = self.manifest.state().database(id).is_some();
                has_row && self.catalogue.lock().catalogue.has_pages(id)
            }
        }
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
