//! Packs of which half is dead: what is read of them moves into new chunks, and their space comes back.
//!
//! ```text
//! plan (pure) -> copy live sections, synced, named -> ONE manifest transaction: rows name the new places
//!   -> new base below views -> old chunks gone with their last reader
//! ```
//! Invariants
//! - a rewrite that fails, or is cut off, leaves what was there, and files that nobody names;
//! - a chunk is only written again when it is known who reads it: all links and histories that it counts
//!   are there, and say how long their sections are;
//! - a chunk with damage stays where it is, and holds up no other one.
//!
//! Never: two at a time, nor beside a checkpoint.

use super::checkpoint_rows::delete_dead_chunks;
use super::engine::Engine;
use super::state::DbState;
use crate::checkpoint::{ChunkUse, CopiedSection, PlannedRewrite, RewriteLimits, plan_rewrites};
use crate::error::{CheckpointError, Damage, ReadError};
use crate::ids::{ChunkId, DbId, IdMap, Lsn};
use crate::manifest::{ChunkUsage, ManifestState, MovedTo, Moves};
use crate::pagestore::{ChunkWriter, FinishedChunk};
use crate::runtime::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many packs' worth of bytes are copied at once.
const PACKS_AT_ONCE: u64 = 2;

/// What is remembered from one time to the next.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    /// Chunks that are left alone: something in them is damaged.
    damaged: Mutex<BTreeSet<ChunkId>>,
    /// How far the log had come at the last look at the past.
    pub(super) looked: Mutex<Lsn>,
}

/// What was written again.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Rewritten {
    /// Chunks that are gone.
    pub(super) chunks: usize,
    /// Bytes of these, less those of the new ones.
    pub(super) freed_bytes: u64,
    /// Whether chunks are left that are half dead.
    pub(super) is_more: bool,
}

/// Chunks that are complete and durable, and what is in them.
#[derive(Default)]
struct Copies {
    chunks: Vec<FinishedChunk>,
    moves: Moves,
}

/// Why nothing was copied.
enum CopyFailure {
    /// This chunk cannot be read: without it the others would do.
    Damaged(ChunkId, Damage),
    Failed(CheckpointError),
}

impl From<CheckpointError> for CopyFailure {
    fn from(error: CheckpointError) -> Self {
        Self::Failed(error)
    }
}

impl Engine {
    /// Writes chunks again that are half dead. Whoever asks holds back checkpoints.
    pub(super) fn rewrite_chunks(&self) -> Result<Rewritten, CheckpointError> {
        if let Some(failure) = self.manifest.failure() {
            return Err(failure.into());
        }
        let rows = self.manifest.state();
        let usage = rows.chunk_usage();
        let (planned, copies) = loop {
            let planned = plan_rewrites(self.rewritable(&rows, &usage), self.rewrite_limits());
            if planned.replaced.is_empty() {
                return Ok(Rewritten::default());
            }
            let mut copies = Copies::default();
            match self.copy_sections(&planned, &rows, &mut copies) {
                Ok(()) => break (planned, copies),
                Err(failure) => {
                    self.discard(&copies.chunks);
                    self.leave_damaged(failure)?;
                }
            }
        };
        self.publish_copies(&planned, &usage, &rows, copies)
    }

    fn rewrite_limits(&self) -> RewriteLimits {
        let pack_bytes_max = self.limits.pack_bytes_max;
        RewriteLimits {
            pack_bytes_max,
            copied_bytes_max: pack_bytes_max.saturating_mul(PACKS_AT_ONCE),
        }
    }

    /// The chunks of which all is known that is read, and that are not damaged.
    fn rewritable(
        &self,
        rows: &ManifestState,
        usage: &BTreeMap<ChunkId, ChunkUsage>,
    ) -> Vec<ChunkUse> {
        let damaged = self.reclaim.damaged.lock();
        let chunks = rows.chunks().filter_map(|(id, row)| {
            let usage = usage.get(&id)?;
            let is_known = usage.references == row.references
                && usage.sections.values().all(|bytes| *bytes > 0);
            (is_known && !damaged.contains(&id)).then(|| ChunkUse {
                chunk: id,
                file_bytes: row.file_bytes,
                sections: usage
                    .sections
                    .iter()
                    .map(|(nth, bytes)| (*nth, *bytes))
                    .collect(),
            })
        });
        chunks.collect()
    }

    fn copy_sections(
        &self,
        planned: &PlannedRewrite,
        rows: &ManifestState,
        copies: &mut Copies,
    ) -> Result<(), CopyFailure> {
        let cancelled = self.between_pages();
        for sections in &planned.chunks {
            let id = self.draw_chunk_id()?;
            let mut writer = self.create_chunk(id)?;
            for from in sections {
                let to = self.copy_section(&mut writer, *from, rows, &cancelled)?;
                copies
                    .moves
                    .insert((from.chunk, from.section), MovedTo { chunk: id, ..to });
            }
            copies.chunks.push(writer.finish()?);
        }
        Ok(())
    }

    fn copy_section(
        &self,
        writer: &mut ChunkWriter,
        from: CopiedSection,
        rows: &ManifestState,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<MovedTo, CopyFailure> {
        let Some(row) = rows.chunk(from.chunk) else {
            return Err(CheckpointError::Invalid("a chunk without a row").into());
        };
        let file = self.chunks.file(from.chunk, row);
        let copied = file
            .reader()
            .map_err(CheckpointError::from)
            .and_then(|reader| writer.copy_section(&reader, from.section, cancelled));
        let copied = copied.map_err(|error| match error {
            CheckpointError::Read(ReadError::Damaged(damage)) => {
                CopyFailure::Damaged(from.chunk, damage)
            }
            error => CopyFailure::Failed(error),
        })?;
        Ok(MovedTo {
            chunk: from.chunk,
            section: copied.index,
            bytes: copied.file_bytes(),
        })
    }

    /// A chunk with damage is tried once in the life of a store: whoever reads it, and every scrub, tells
    /// its owner.
    fn leave_damaged(&self, failure: CopyFailure) -> Result<(), CheckpointError> {
        match failure {
            CopyFailure::Failed(error) => Err(error),
            CopyFailure::Damaged(chunk, damage) => {
                tracing::warn!(%chunk, %damage, "a chunk that is half dead cannot be copied, it stays");
                self.reclaim.damaged.lock().insert(chunk);
                Ok(())
            }
        }
    }

    fn publish_copies(
        &self,
        planned: &PlannedRewrite,
        usage: &BTreeMap<ChunkId, ChunkUsage>,
        rows: &ManifestState,
        copies: Copies,
    ) -> Result<Rewritten, CheckpointError> {
        let Copies { chunks, moves } = copies;
        let readers = planned.replaced.iter().filter_map(|chunk| usage.get(chunk));
        let databases: BTreeSet<DbId> = readers
            .flat_map(|usage| usage.databases.iter().copied())
            .collect();
        let (new, moved) = (chunks.clone(), databases.clone());
        let published = self.manifest.transact(move |edit| {
            for chunk in &new {
                let digest = u128::from_le_bytes(chunk.digest.to_bytes());
                edit.insert_chunk(chunk.id, chunk.bytes, digest)?;
            }
            for database in &moved {
                edit.move_sections(*database, &moves);
            }
            Ok(delete_dead_chunks(edit))
        });
        let dead = published.inspect_err(|_| self.discard_unpublished(&chunks))?;
        self.put_below(databases);
        dead.iter().for_each(|(id, row)| self.chunks.doom(*id, row));
        let old = planned.replaced.iter().filter_map(|id| rows.chunk(*id));
        let old: u64 = old.map(|row| row.file_bytes).sum();
        let new: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
        let freed_bytes = old.saturating_sub(new);
        let rewritten = planned.replaced.len();
        tracing::info!(
            chunks = rewritten,
            freed_bytes,
            "half dead chunks are written again"
        );
        Ok(Rewritten {
            chunks: rewritten,
            freed_bytes,
            is_more: planned.is_more,
        })
    }

    /// Puts the new places below the views of these databases and of the forks that read through them.
    /// Who reads a state of the past goes on with the old files, which stay for as long.
    fn put_below(&self, mut moved: BTreeSet<DbId>) {
        let cell = self.catalogue.lock();
        // Origins are older than their forks.
        for (id, entry) in cell.catalogue.entries() {
            let source = entry.origin.as_deref().map(|origin| origin.source);
            if source.is_some_and(|source| moved.contains(&source)) {
                moved.insert(id);
            }
        }
        drop(cell);
        let databases = self.databases.lock();
        for id in moved {
            if let Some(state) = databases
                .get(&id)
                .filter(|state| state.check_live().is_ok())
            {
                self.exchange_base(state, &databases);
            }
        }
    }

    fn exchange_base(&self, state: &DbState, databases: &IdMap<DbId, Arc<DbState>>) {
        let old = Arc::clone(state.view().base());
        let make = |id| self.with_bases_in(databases, |bases| bases.view(id, state.kind()));
        let new = Arc::clone(make(state.id()).base());
        // A generation that was not made by a checkpoint of this database is none of ours.
        if old.generation() == new.generation() {
            state.exchange_base(&old, &new);
        }
    }
}
