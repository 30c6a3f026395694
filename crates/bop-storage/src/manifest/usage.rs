//! What of the chunks is read: their sections, and which databases name them.
//!
//! Never: changes a row.

use super::state::ManifestState;
use crate::ids::{ChunkId, DbId};
use std::collections::{BTreeMap, BTreeSet};

/// What the rows name of a chunk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChunkUsage {
    /// How often it is named, once for each link and history.
    pub references: u64,
    /// The sections that are named, each once, with its bytes in the file. 0 where only a row of version 1
    /// names it, which does not say.
    pub sections: BTreeMap<u32, u64>,
    /// Who names it.
    pub databases: BTreeSet<DbId>,
}

impl ChunkUsage {
    /// Bytes of the sections that are named.
    pub fn live_bytes(&self) -> u64 {
        self.sections.values().sum()
    }

    fn add(&mut self, database: DbId, section: u32, bytes: u64) {
        self.references += 1;
        let known = self.sections.entry(section).or_default();
        *known = bytes.max(*known);
        self.databases.insert(database);
    }
}

impl ManifestState {
    /// What is named of each chunk that is named at all. As much work as there are links.
    pub fn chunk_usage(&self) -> BTreeMap<ChunkId, ChunkUsage> {
        let mut used: BTreeMap<ChunkId, ChunkUsage> = BTreeMap::new();
        for (key, row) in &self.ranges {
            for link in row.links() {
                let usage = used.entry(link.chunk).or_default();
                usage.add(key.database, link.section, link.bytes);
            }
        }
        for (key, row) in &self.generations {
            if let Some(history) = row.history {
                let usage = used.entry(history.chunk).or_default();
                usage.add(key.database, history.section, history.bytes);
            }
        }
        used
    }
}
