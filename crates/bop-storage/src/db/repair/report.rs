//! What a repair found and did, for people and programs.
//!
//! Never: decides anything.

use super::chunks::FoundChunks;
use super::plan::Plan;
use super::points::LostPoint;
use super::segments::FoundLog;
use crate::catalogue::DatabaseState;
use crate::checksum::RollingChecksum;
use crate::error::Damage;
use crate::ids::{DbId, DbKind, Lsn, StoreId};
use std::path::PathBuf;

/// What a repair did, or with `dry_run` would do. Databases are as their chunks hold them: what the log
/// has behind that, names and commits, is replayed by the next opening.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepairReport {
    /// The store.
    pub store: StoreId,
    /// What was wrong with the manifest; `None` when it was sound and rebuilt all the same.
    pub reason: Option<String>,
    /// Whether the new manifest was made.
    pub done: bool,
    /// Where the old manifest is kept, in the store's directory; `None` when there was none.
    pub kept: Option<PathBuf>,
    /// The databases, dropped ones that are still remembered included, by id.
    pub databases: Vec<RepairedDatabase>,
    /// Snapshots whose states cannot be had any more: reading one is an error.
    pub snapshots_lost: Vec<LostPoint>,
    /// Why names may be missing, if so: until that is settled no name is given out.
    pub catalogue_damage: Option<String>,
    /// Chunks that are in use.
    pub chunks: usize,
    /// Sound chunks that nothing needs any more; the next opening may remove them.
    pub chunks_unused: usize,
    /// Chunks that cannot be opened. Their files stay where they are.
    pub chunks_damaged: Vec<Damage>,
    /// Segments of the log.
    pub segments: usize,
    /// Segments in `damaged/`, which closed databases need.
    pub segments_aside: usize,
    /// Where the log starts.
    pub log_from: Lsn,
}

/// A database in the new manifest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepairedDatabase {
    /// The database.
    pub id: DbId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: DbKind,
    /// Whether it is a tombstone.
    pub dropped: bool,
    /// The newest commit in its chunks.
    pub head: Lsn,
    /// Pages after that commit.
    pub page_count: u32,
    /// The xor of its page hashes after that commit, to which the pages add up.
    pub rolling_checksum: RollingChecksum,
    /// Why it is closed, if nothing proves it whole.
    pub damage: Option<String>,
}

impl RepairReport {
    /// Whether everything was proved.
    pub fn is_whole(&self) -> bool {
        self.catalogue_damage.is_none()
            && self.snapshots_lost.is_empty()
            && self
                .databases
                .iter()
                .all(|database| database.damage.is_none())
    }

    pub(super) fn of(
        store: StoreId,
        reason: Option<String>,
        plan: &Plan,
        chunks: &FoundChunks,
        log: &FoundLog,
    ) -> Self {
        let databases = plan.catalogue.entries().filter_map(|(id, entry)| {
            let verdict = plan.databases.get(&id)?;
            Some(RepairedDatabase {
                id,
                name: entry.name.to_string(),
                kind: entry.kind,
                dropped: entry.state != DatabaseState::Live,
                head: verdict.head.lsn,
                page_count: verdict.head.page_count,
                rolling_checksum: verdict.head.rolling_checksum,
                damage: verdict.closed.clone(),
            })
        });
        let used = plan.chunks().len();
        Self {
            store,
            reason,
            done: false,
            kept: None,
            databases: databases.collect(),
            snapshots_lost: plan.lost.clone(),
            catalogue_damage: plan.catalogue_closed.clone(),
            chunks: used,
            chunks_unused: chunks.identities.len().saturating_sub(used),
            chunks_damaged: chunks.damaged.values().cloned().collect(),
            segments: log.registered.len(),
            segments_aside: log.salvage.len(),
            log_from: plan.truncated,
        }
    }
}
