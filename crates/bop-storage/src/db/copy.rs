//! The copying part of a checkpoint, and what becomes of databases that cannot be copied.
//!
//! Invariants
//! - a page that cannot be read leaves out its own database and no other one;
//! - what is left out, or is lost, never counts as covered.
//!
//! Never: publishes a chunk.

use super::checkpoint::NewCatalogue;
use super::engine::Engine;
use super::source::Source;
use crate::checkpoint::{ChunkFailure, Thrift, plan};
use crate::error::{CheckpointError, ReadError};
use crate::ids::Lsn;
use crate::io::layout;
use crate::pagestore::FinishedChunk;

/// Chunks that are complete and durable.
pub(super) struct Copied {
    pub(super) chunks: Vec<FinishedChunk>,
    /// Pages in them.
    pub(super) pages: u64,
}

impl Engine {
    /// Writes all chunks. A database with a page that cannot be read moves to `skipped`.
    pub(super) fn copy(
        &self,
        sources: &mut Vec<Source>,
        skipped: &mut Vec<Source>,
        catalogue: Option<&NewCatalogue>,
        thrift: Thrift,
    ) -> Result<Copied, CheckpointError> {
        loop {
            let dirty = sources.iter().map(Source::dirty).collect();
            let planned = plan(dirty, self.limits.pack_bytes_max, thrift);
            let mut chunks = Vec::with_capacity(planned.len());
            let written = self.write_chunks(&planned, sources, catalogue, &mut chunks);
            let failure = match written {
                Ok(pages) => return Ok(Copied { chunks, pages }),
                Err(failure) => failure,
            };
            self.discard(&chunks);
            let (database, error) = match failure {
                ChunkFailure::Failed(error) => return Err(error),
                ChunkFailure::Unreadable { database, error } => (database, error),
            };
            let at = sources.iter().position(|one| one.state.id() == database);
            let Some(at) = at.filter(|_| !self.lifecycle.is_closed()) else {
                return Err(error.into());
            };
            tracing::error!(%database, %error, "a checkpoint goes on without a database");
            let source = sources.swap_remove(at);
            if let ReadError::Damaged(damage) = error {
                source.state.set_damaged(damage);
            }
            skipped.push(source);
        }
    }

    /// Removes chunks whose publication failed, if it is certain that the manifest does not have them.
    pub(super) fn discard_unpublished(&self, chunks: &[FinishedChunk]) {
        let first = chunks.first().map(|chunk| chunk.id);
        if first.is_some_and(|id| {
            self.manifest.settle(self.limits.io_deadline)
                && self.manifest.state().chunk(id).is_none()
        }) {
            self.discard(chunks);
        }
    }

    /// Removes chunks that will not be published. What stays is removed by the next open.
    pub(super) fn discard(&self, chunks: &[FinishedChunk]) {
        for chunk in chunks {
            if let Err(failure) = self.disk.remove(&layout::chunk(chunk.id)) {
                tracing::warn!(%failure, "an unpublished chunk stays until the next open");
            }
        }
    }

    /// Below which Lsn everything is in chunks. Of a database that is closed for damage that is not
    /// true: the same transaction records that it is closed.
    pub(super) fn covered(&self, cut: Lsn, skipped: &[Source]) -> Lsn {
        let before = self.manifest.state().watermarks().checkpointed;
        let open = skipped
            .iter()
            .filter(|one| !self.is_closed_for_damage(one.state.id()));
        let oldest = open.map(|one| one.view.oldest_uncheckpointed());
        oldest.fold(cut, Lsn::min).max(before)
    }
}
