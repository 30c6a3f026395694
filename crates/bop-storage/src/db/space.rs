//! Where the bytes of a store are: each database's newest state, its past, what snapshots and forks keep.
//!
//! ```text
//! sections that its rows name   newest rows -> newest state      the rest -> past
//! without one point             rows that would go -> what that snapshot alone keeps
//! ```
//! Invariant: what a snapshot or the forks keep is found with the function that decides what goes.
//!
//! Never: reads a chunk.

use super::engine::Engine;
use super::garbage::{Keep, garbage, reads_origin};
use super::manager::Manager;
use crate::catalogue::{Catalogue, Entry};
use crate::error::CatalogueError;
use crate::ids::{ChunkId, DbId, Lsn};
use crate::io::layout;
use crate::manifest::{ChunkUsage, Garbage, ManifestState};
use std::collections::{BTreeMap, BTreeSet};

/// What a store needs on its device, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpaceReport {
    /// The databases that have anything in chunks, or are live, by name; those that are dropped and
    /// kept, too.
    pub databases: Vec<DatabaseSpace>,
    /// Chunk files.
    pub chunks: usize,
    /// Bytes of these.
    pub chunk_bytes: u64,
    /// Bytes of the sections in them that are read.
    pub live_bytes: u64,
    /// The rest: what is dead, and what the files need for themselves.
    pub dead_bytes: u64,
    /// Bytes of the catalogue in chunks.
    pub catalogue_bytes: u64,
    /// Bytes of the segments that hold records, also those kept for cursors over commits.
    pub log_bytes: u64,
    /// Bytes that are kept for checkpoints on a full device.
    pub reserve_bytes: u64,
    /// Bytes of the file of the manifest; `None` where it has none.
    pub manifest_bytes: Option<u64>,
}

/// What a database needs in chunks, in bytes. What is in the log alone is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DatabaseSpace {
    /// The database.
    pub id: DbId,
    /// Its name; that of a dropped one may be another's by now.
    pub name: String,
    /// Whether it is dropped: it can be brought back, or others read its pages.
    pub is_dropped: bool,
    /// Of its newest state as far as that is its own: a fork reads the rest from its origin.
    pub newest_bytes: u64,
    /// Of all else: what its window, snapshots, forks and readers keep.
    pub past_bytes: u64,
    /// Of these, what would be free if no fork read them.
    pub forks_bytes: u64,
    /// The databases that were forked from it and read its pages.
    pub forks: Vec<String>,
    /// Its snapshots, by name.
    pub snapshots: Vec<SnapshotSpace>,
}

/// What a snapshot keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotSpace {
    /// Its name.
    pub name: String,
    /// The commit that it shows.
    pub lsn: Lsn,
    /// Bytes that would be free if it alone were dropped.
    pub alone_bytes: u64,
}

impl Manager {
    /// What the store needs on its device, and for what. As much work as the manifest has rows, once more
    /// for each snapshot.
    pub fn space(&self) -> SpaceReport {
        self.engine.space(None)
    }

    /// The same of one database; the totals are the store's.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`].
    pub fn space_of(&self, database: &str) -> Result<SpaceReport, CatalogueError> {
        let id = self.engine.catalogue.lock().catalogue.find(database)?;
        Ok(self.engine.space(Some(id)))
    }
}

impl Engine {
    fn space(&self, only: Option<DbId>) -> SpaceReport {
        let keeps = self.keeps(std::iter::empty(), &self.all_told());
        let rows = self.manifest.state();
        let catalogue = self.catalogue.lock().catalogue.clone();
        let entries = catalogue.entries().filter(|(id, entry)| {
            let is_there = entry.state.has_pages() || rows.ranges(*id).next().is_some();
            is_there && only.is_none_or(|only| only == *id)
        });
        let mut databases: Vec<DatabaseSpace> = entries
            .map(|(id, entry)| {
                // Of one without a past, the newest state is all there is.
                let keep = keeps.get(&id);
                self.database_space(id, entry, keep, &catalogue, &rows)
            })
            .collect();
        databases.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        let usage = rows.chunk_usage();
        let chunk_bytes = rows.chunks().map(|(_, row)| row.file_bytes).sum();
        let live_bytes = usage.values().map(ChunkUsage::live_bytes).sum();
        let manifest = self.path.join(layout::MANIFEST_DIR).join("data.mdb");
        SpaceReport {
            databases,
            chunks: rows.chunks().count(),
            chunk_bytes,
            live_bytes,
            dead_bytes: u64::saturating_sub(chunk_bytes, live_bytes),
            catalogue_bytes: sum(&sections(&rows, DbId::CATALOGUE, &Garbage::default())),
            log_bytes: self.log.ring().kept_bytes(),
            reserve_bytes: self.log.spares().reserve().held_bytes(),
            manifest_bytes: std::fs::metadata(manifest).ok().map(|file| file.len()),
        }
    }

    fn database_space(
        &self,
        id: DbId,
        entry: &Entry,
        keep: Option<&Keep>,
        catalogue: &Catalogue,
        rows: &ManifestState,
    ) -> DatabaseSpace {
        let newest = rows.newest_ranges(id).flat_map(|(_, row)| row.links());
        let newest: Sections = newest
            .map(|link| ((link.chunk, link.section), link.bytes))
            .collect();
        let all = sum(&sections(rows, id, &Garbage::default()));
        let newest_bytes = match keep.is_none_or(|keep| keep.newest) {
            true => sum(&newest),
            false => 0,
        };
        let all_points: BTreeSet<Lsn> = catalogue.points_of(id).collect();
        let of_snapshots: BTreeSet<Lsn> = catalogue.points_of_but(id, |_| true).collect();
        let of_forks = all_points.difference(&of_snapshots).copied().collect();
        let reading = catalogue.forks_of(id).filter(|(fork, _)| {
            let keeps_reading = self.inherited(*fork, rows) > 0;
            keeps_reading && catalogue.has_pages(*fork)
        });
        DatabaseSpace {
            id,
            name: entry.name.as_str().to_owned(),
            is_dropped: !catalogue.is_live(id),
            newest_bytes,
            past_bytes: all.saturating_sub(newest_bytes),
            forks_bytes: freed_without(rows, id, keep, &of_forks),
            forks: reading
                .map(|(_, fork)| fork.name.as_str().to_owned())
                .collect(),
            snapshots: self.snapshots_space(id, catalogue, rows),
        }
    }

    /// What the snapshots keep that a database owns; the states are not always its own.
    fn snapshots_space(
        &self,
        owner: DbId,
        catalogue: &Catalogue,
        rows: &ManifestState,
    ) -> Vec<SnapshotSpace> {
        let snapshots = catalogue.snapshots(owner).map(|snapshot| {
            let (source, lsn) = (snapshot.point.source, snapshot.point.lsn);
            let folded = |fork| !reads_origin(fork, rows, catalogue);
            let holders = catalogue.points_of_but(source, folded);
            let is_alone = holders.filter(|point| *point == lsn).count() == 1;
            let keep = self.keep(source, rows, &self.all_told());
            let without = BTreeSet::from([lsn]);
            SnapshotSpace {
                name: snapshot.name.to_string(),
                lsn,
                alone_bytes: if is_alone {
                    freed_without(rows, source, Some(&keep), &without)
                } else {
                    0
                },
            }
        });
        snapshots.collect()
    }
}

/// Sections, with their bytes.
type Sections = BTreeMap<(ChunkId, u32), u64>;

fn sum(sections: &Sections) -> u64 {
    sections.values().sum()
}

/// What would be free of a database if nobody held these states.
fn freed_without(
    rows: &ManifestState,
    database: DbId,
    keep: Option<&Keep>,
    points: &BTreeSet<Lsn>,
) -> u64 {
    let Some(keep) = keep.filter(|_| !points.is_empty()) else {
        return 0;
    };
    let mut less = keep.clone();
    less.points.retain(|point| !points.contains(point));
    let kept = sections(rows, database, &garbage(rows, database, keep));
    let left = sections(rows, database, &garbage(rows, database, &less));
    sum(&kept).saturating_sub(sum(&left))
}

/// The sections of a database that are left without what is garbage.
fn sections(rows: &ManifestState, database: DbId, without: &Garbage) -> Sections {
    let gone: BTreeSet<_> = without.ranges.iter().collect();
    let ranges = rows
        .ranges(database)
        .filter(|(key, _)| !gone.contains(*key));
    let links = ranges.flat_map(|(_, row)| row.links());
    let links = links.map(|link| ((link.chunk, link.section), link.bytes));
    let gone: BTreeSet<_> = without
        .generations
        .iter()
        .chain(&without.histories)
        .collect();
    let generations = rows
        .generations(database)
        .filter(|(generation, _)| !gone.contains(generation));
    let histories = generations.filter_map(|(_, row)| row.history);
    let histories = histories.map(|history| ((history.chunk, history.section), history.bytes));
    links.chain(histories).collect()
}
