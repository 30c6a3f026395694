//! Questions about the generations of a database: which there are, what each reads, what its past costs.
//!
//! Never: changes a row.

use super::garbage::PastGeneration;
use super::generation_row::{GenerationKey, GenerationRow};
use super::range_row::RangeRow;
use super::schema::RangeKey;
use super::state::ManifestState;
use crate::ids::{ChunkId, DbId, Generation, Lsn};
use std::collections::BTreeMap;

impl ManifestState {
    /// The row that a generation reads for a range of a database: the newest one that is not
    /// newer than the generation.
    pub fn range_at(
        &self,
        database: DbId,
        range: u32,
        generation: Generation,
    ) -> Option<(&RangeKey, &RangeRow)> {
        let wanted = RangeKey {
            database,
            range,
            generation,
        };
        let (key, row) = self.ranges.get_next(&wanted)?;
        (key.database == database && key.range == range).then_some((key, row))
    }

    /// All rows of the ranges of a database: by range, the newest generation first.
    pub fn ranges(&self, database: DbId) -> impl Iterator<Item = (&RangeKey, &RangeRow)> {
        let first = RangeKey {
            database,
            range: 0,
            generation: Generation::new(u64::MAX),
        };
        self.ranges
            .range(first..)
            .take_while(move |(key, _)| key.database == database)
    }

    /// The row that a generation of a database reads for each range, with the range's number,
    /// ascending. As much work as the database has rows.
    pub fn ranges_at(
        &self,
        database: DbId,
        generation: Generation,
    ) -> impl Iterator<Item = (u32, &RangeRow)> {
        let mut last = None;
        self.ranges(database)
            .filter(move |(key, _)| key.generation <= generation)
            .filter_map(move |(key, row)| {
                (last.replace(key.range) != Some(key.range)).then_some((key.range, row))
            })
    }

    /// The newest row of each range of a database, with the range's number, ascending.
    pub fn newest_ranges(&self, database: DbId) -> impl Iterator<Item = (u32, &RangeRow)> {
        self.ranges_at(database, Generation::new(u64::MAX))
    }

    /// The keys of all generations, ascending.
    pub fn all_generations(&self) -> impl Iterator<Item = &GenerationKey> {
        self.generations.keys()
    }

    /// A generation of a database that something reads.
    pub fn generation(&self, database: DbId, generation: Generation) -> Option<&GenerationRow> {
        self.generations.get(&GenerationKey {
            database,
            generation,
        })
    }

    /// The generations of a database that something reads, the oldest first.
    pub fn generations(
        &self,
        database: DbId,
    ) -> impl DoubleEndedIterator<Item = (Generation, &GenerationRow)> {
        let key = |generation| GenerationKey {
            database,
            generation: Generation::new(generation),
        };
        let own = self.generations.range(key(0)..=key(u64::MAX));
        own.map(|(key, row)| (key.generation, row))
    }

    /// The newest generation of a database that shows nothing newer than `lsn`.
    pub fn generation_at(&self, database: DbId, lsn: Lsn) -> Option<(Generation, &GenerationRow)> {
        let mut newest_first = self.generations(database).rev();
        newest_first.find(|(_, row)| row.lsn <= lsn)
    }

    /// The chunks that a database names: once for each link of a chain and each history, as a chunk's
    /// references count them.
    pub fn chunks_named(&self, database: DbId) -> impl Iterator<Item = ChunkId> {
        let links = self.ranges(database).flat_map(|(_, row)| row.links());
        let histories = self
            .generations(database)
            .filter_map(|(_, row)| row.history);
        links
            .map(|link| link.chunk)
            .chain(histories.map(|history| history.chunk))
    }

    /// What keeping each generation of a database costs, the oldest first: see
    /// [`window_start`](super::window_start).
    pub fn past(&self, database: DbId) -> Vec<PastGeneration> {
        let mut past: Vec<PastGeneration> = self
            .generations(database)
            .map(|(generation, row)| PastGeneration {
                generation,
                lsn: row.lsn,
                time_us: row.time_us,
                history_bytes: row.history.map_or(0, |history| history.bytes),
                old_bytes: 0,
            })
            .collect();
        // Of each section, the newest generation that reads it.
        let mut read: BTreeMap<(ChunkId, u32), (Option<usize>, u64)> = BTreeMap::new();
        let mut newer: Option<&RangeKey> = None;
        for (key, row) in self.ranges(database) {
            let until = newer.filter(|newer| newer.range == key.range);
            let readers = past
                .partition_point(|one| until.is_none_or(|until| one.generation < until.generation));
            let last = readers.checked_sub(1);
            for link in row.links() {
                let (newest, _) = read
                    .entry((link.chunk, link.section))
                    .or_insert((last, link.bytes));
                *newest = last.max(*newest);
            }
            newer = Some(key);
        }
        let last = past.len().saturating_sub(1);
        for (newest, bytes) in read.into_values() {
            if let Some(one) = newest
                .filter(|newest| *newest < last)
                .and_then(|newest| past.get_mut(newest))
            {
                one.old_bytes = one.old_bytes.saturating_add(bytes);
            }
        }
        past
    }
}
