//! The part of a transaction that says where pages are: chains, generations, and what they count.
//!
//! Invariant: a chunk's references are the links of chains and the histories that name it, at every
//! moment; nobody sets them.
//!
//! Never: writes to the store.

use super::edit::{Edit, RowKey};
use super::generation_row::{GenerationKey, GenerationRow};
use super::range_row::RangeRow;
use super::schema::RangeKey;
use crate::ids::{ChunkId, DbId, Generation};

impl Edit<'_> {
    /// Says where a generation finds a range; counts the chunks' references.
    pub fn put_range(&mut self, key: RangeKey, row: RangeRow) {
        self.add_references(chunks_of(&row));
        let replaced = self.after.ranges.insert(key, row);
        self.touched.insert(RowKey::Range(key));
        if let Some(old) = replaced {
            self.drop_references(chunks_of(&old));
        }
    }

    /// Removes a row of the ranges; counts the chunks' references.
    pub fn delete_range(&mut self, key: RangeKey) {
        let removed = self.after.ranges.remove(&key);
        self.touched.insert(RowKey::Range(key));
        if let Some(old) = removed {
            self.drop_references(chunks_of(&old));
        }
    }

    /// Says what a generation shows, or that its history is gone; counts the references of the
    /// history's chunk.
    pub fn put_generation(&mut self, database: DbId, generation: Generation, row: GenerationRow) {
        let key = GenerationKey {
            database,
            generation,
        };
        self.add_references(row.history.map(|history| history.chunk));
        let replaced = self.after.generations.insert(key, row);
        self.touched.insert(RowKey::Generation(key));
        let old = replaced.and_then(|old| old.history);
        self.drop_references(old.map(|history| history.chunk));
    }

    /// Forgets a generation that nobody reads any more, with its history; its rows of the ranges may
    /// be those of newer ones.
    pub fn delete_generation(&mut self, database: DbId, generation: Generation) {
        let key = GenerationKey {
            database,
            generation,
        };
        let removed = self.after.generations.remove(&key);
        self.touched.insert(RowKey::Generation(key));
        let old = removed.and_then(|old| old.history);
        self.drop_references(old.map(|history| history.chunk));
    }

    /// Forgets the history of the interval that a generation ends, if it has one.
    pub fn delete_history(&mut self, database: DbId, generation: Generation) {
        let Some(row) = self.after.generation(database, generation).copied() else {
            return;
        };
        let row = GenerationRow {
            history: None,
            ..row
        };
        self.put_generation(database, generation, row);
    }

    fn add_references(&mut self, chunks: impl IntoIterator<Item = ChunkId>) {
        for chunk in chunks {
            self.count(chunk, |references| references.checked_add(1));
        }
    }

    fn drop_references(&mut self, chunks: impl IntoIterator<Item = ChunkId>) {
        for chunk in chunks {
            self.count(chunk, |references| references.checked_sub(1));
        }
    }

    /// A chunk without a row is left to the invariants.
    fn count(&mut self, chunk: ChunkId, change: impl FnOnce(u64) -> Option<u64>) {
        if let Some(row) = self.after.chunks.get_mut(&chunk) {
            row.references = change(row.references).unwrap_or(u64::MAX);
            self.touched.insert(RowKey::Chunk(chunk));
        }
    }
}

fn chunks_of(row: &RangeRow) -> impl Iterator<Item = ChunkId> {
    row.links().iter().map(|link| link.chunk)
}
