//! What rows say of each other when they are read: which database a missing or a damaged one touches.
//!
//! Invariant: a row that is missing is noticed as a damaged one is, where another row tells that it was
//! there: a chunk counts the links and histories that name it, a database's row its newest generation.
//!
//! Never: repairs anything, writes.

use super::database_row::DatabaseState;
use super::generation_row::{GenerationKey, GenerationRow};
use super::schema::{Key, SCHEMA_VERSION, row_damage};
use super::state::ManifestState;
use super::store::Table;
use crate::error::{Damage, Reject};
use crate::ids::{ChunkId, DbId, Generation};
use std::collections::{BTreeMap, BTreeSet};

impl ManifestState {
    /// The newest generation of each database, which its row tells too. In an old schema there is no
    /// other, and no row of it; else a row that is missing or says something else closes the database,
    /// since nobody knows what it reads.
    pub(super) fn place_generations(&mut self) {
        let old = self.schema_version < SCHEMA_VERSION;
        for (id, row) in &self.databases {
            let head = &row.checkpointed;
            let key = GenerationKey {
                database: *id,
                generation: head.generation,
            };
            let is_told = head.generation != Generation::default() && row.state.has_pages();
            let found = self.generations.get(&key);
            if is_told && found.is_none() && old {
                let derived = GenerationRow::of_head(head, row.page_size);
                self.generations.insert(key, derived);
                continue;
            }
            let reason = match found {
                None if is_told => Reject::Missing,
                Some(found) if !found.shows(head, row.page_size) => {
                    Reject::Invalid("not the head that the database has")
                }
                _ => continue,
            };
            let damage = row_damage(Table::Generations, &key.encode(), reason);
            self.damaged.databases.entry(*id).or_insert(damage);
        }
    }

    /// A chunk that more or fewer links and histories name than its row says: a row is lost, and
    /// its pages would read as zeros. Which database lost it is not known: those that name the
    /// chunk are closed. A damaged row may be the one that is missing, so all must be sound.
    pub(super) fn place_lost_ranges(&mut self) {
        if !self.damaged.is_empty() {
            return;
        }
        let mut named: BTreeMap<ChunkId, (u64, BTreeSet<DbId>)> = BTreeMap::new();
        for (database, chunk) in self.named() {
            let (count, databases) = named.entry(chunk).or_default();
            *count += 1;
            databases.insert(database);
        }
        for (id, row) in &self.chunks {
            let (count, databases) = named.remove(id).unwrap_or_default();
            if count == row.references {
                continue;
            }
            let reason = Reject::Invalid("references do not match what names it");
            let damage = row_damage(Table::Chunks, &id.encode(), reason);
            if databases.is_empty() {
                self.damaged.unplaced.push(damage);
                continue;
            }
            for database in databases {
                let damaged = &mut self.damaged.databases;
                damaged.entry(database).or_insert_with(|| damage.clone());
            }
        }
    }

    /// Each link of a chain and each history: its database and its chunk.
    fn named(&self) -> impl Iterator<Item = (DbId, ChunkId)> {
        let links = self
            .ranges
            .iter()
            .flat_map(|(key, row)| row.links().iter().map(|link| (key.database, link.chunk)));
        let histories = self
            .generations
            .iter()
            .filter_map(|(key, row)| Some((key.database, row.history?.chunk)));
        links.chain(histories)
    }

    /// A link or a history in a chunk that has no row, or none that can be believed, closes its
    /// database.
    pub(super) fn place_broken_ranges(&mut self) {
        let known = |database: DbId| {
            database == DbId::CATALOGUE
                || self.databases.contains_key(&database)
                || self.damaged.databases.contains_key(&database)
        };
        let strangers = self.ranges.keys().filter(|key| !known(key.database));
        let ranges = strangers.map(|key| (Table::Ranges, key.encode()));
        let strangers = self.generations.keys().filter(|key| !known(key.database));
        let generations = strangers.map(|key| (Table::Generations, key.encode()));
        let unplaced: Vec<Damage> = ranges
            .chain(generations)
            .map(|(table, key)| {
                let reason = Reject::Invalid("of a database that is not there");
                row_damage(table, &key, reason)
            })
            .collect();
        let lost: BTreeMap<DbId, ChunkId> = self
            .named()
            .filter(|(_, chunk)| !self.chunks.contains_key(chunk))
            .collect();
        let damaged = &mut self.damaged;
        damaged.unplaced.extend(unplaced);
        for (database, chunk) in lost {
            let damage = damaged
                .chunks
                .get(&chunk)
                .cloned()
                .unwrap_or_else(|| row_damage(Table::Chunks, &chunk.encode(), Reject::Missing));
            damaged.databases.entry(database).or_insert(damage);
        }
    }

    /// Of two live databases with one name, the younger one is closed.
    pub(super) fn collect_names(&mut self) {
        for (id, row) in &self.databases {
            if row.state != DatabaseState::Live {
                continue;
            }
            let folded = row.name.folded();
            if self.names.contains_key(&folded) {
                let reason = Reject::Invalid("another live database has the same name");
                let damage = row_damage(Table::Databases, &id.encode(), reason);
                self.damaged.databases.entry(*id).or_insert(damage);
            } else {
                self.names.insert(folded, *id);
            }
        }
    }
}
