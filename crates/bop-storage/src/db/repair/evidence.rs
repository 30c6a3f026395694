//! What chunks and segments say of a store, for a salvage: the rows that a repair would write, and the
//! older states of databases that are proved all the same.
//!
//! Invariant: what the kernel cannot read counts as damaged. A salvage takes what is to be had.
//!
//! Never: writes.

use super::chunks::{FoundChunks, Unreadable, find_chunks};
use super::judge::Judge;
use super::plan::Plan;
use super::segments::{FoundLog, find_log};
use crate::error::OpenError;
use crate::ids::{ChunkId, DbId, PageSize, StoreId};
use crate::io::Disk;
use crate::limits::ValidLimits;
use crate::manifest::{CheckpointedHead, ChunkRow, Manifest, RangeRow, Write};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that the files say.
pub(in crate::db) struct Evidence<'a> {
    disk: &'a Arc<dyn Disk>,
    store: StoreId,
    limits: &'a ValidLimits,
    chunks: FoundChunks,
    log: FoundLog,
}

/// A state of a database whose page hashes, as its chunks name them, add up to its checksum.
pub(in crate::db) struct ProvedState {
    pub(in crate::db) head: CheckpointedHead,
    pub(in crate::db) page_size: Option<PageSize>,
    /// By range, the sections that hold it.
    pub(in crate::db) chains: Vec<(u32, RangeRow)>,
    /// The chunks of these.
    pub(in crate::db) chunks: BTreeMap<ChunkId, ChunkRow>,
}

impl<'a> Evidence<'a> {
    /// Looks at all chunks and segments.
    ///
    /// # Errors
    /// What the kernel refuses; a format of a newer program.
    pub(in crate::db) fn find(
        disk: &'a Arc<dyn Disk>,
        store: StoreId,
        limits: &'a ValidLimits,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            disk,
            store,
            limits,
            chunks: find_chunks(disk.as_ref(), store, Unreadable::IsDamage)?,
            log: find_log(disk.as_ref(), store, limits.segment_bytes_max)?,
        })
    }

    /// The rows of a manifest that is made anew.
    pub(in crate::db) fn rows(&self) -> Result<Vec<Write>, OpenError> {
        let plan = Plan::make(&self.judge(), self.limits, &self.log)?;
        let rows =
            Manifest::rebuilt_writes(self.store, |edit| plan.write(&self.chunks, &self.log, edit))?;
        Ok(rows)
    }

    /// The states of a database that are proved, the newest first.
    pub(in crate::db) fn states(&self, id: DbId) -> Result<Vec<ProvedState>, OpenError> {
        let states = self.judge().proved_states(id)?.into_iter();
        let states = states.map(|verdict| {
            let chains = verdict.ranges.iter();
            let chains: Vec<(u32, RangeRow)> =
                chains.map(|(key, row)| (key.range, row.clone())).collect();
            let links = chains.iter().flat_map(|(_, row)| row.links());
            let chunks = links.filter_map(|link| Some((link.chunk, self.chunk_row(link.chunk)?)));
            ProvedState {
                head: verdict.head,
                page_size: verdict.page_size,
                chunks: chunks.collect(),
                chains,
            }
        });
        Ok(states.collect())
    }

    /// Databases that chunks have pages of.
    pub(in crate::db) fn databases(&self) -> impl Iterator<Item = DbId> {
        self.chunks.databases()
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            disk: self.disk,
            store: self.store,
            range_bytes: self.limits.range_bytes,
            chunks: &self.chunks,
            log_from: self.log.truncated,
            unreadable: Unreadable::IsDamage,
        }
    }

    fn chunk_row(&self, id: ChunkId) -> Option<ChunkRow> {
        let identity = self.chunks.identities.get(&id)?;
        Some(ChunkRow {
            file_bytes: identity.bytes,
            digest: u128::from_le_bytes(identity.digest.to_bytes()),
            references: 0,
        })
    }
}
