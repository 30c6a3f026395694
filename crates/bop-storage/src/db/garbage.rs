//! What of the chunks is read by nobody any more: who needs which state, and the rows that go.
//!
//! ```text
//! newest state, snapshots, forks, readers, window --> Keep --> rows that nobody reads --> chunks without rows
//! ```
//! Invariants
//! - who needs what is asked before the transaction, and whoever needs more meanwhile needs the newest state,
//!   or holds back the checkpoint;
//! - what the catalogue needs that the transaction writes stays, though it may be dropped by now: the drop may
//!   be lost with the log behind the checkpoint;
//! - a row goes in the transaction that finds nobody who reads it, and a chunk with its last row.
//!
//! Never: removes a file; finds anything needless while the catalogue is damaged.

use super::engine::Engine;
use crate::canary::{Canary, is_planted};
use crate::catalogue::Catalogue;
use crate::checkpoint::Window;
use crate::ids::{DbId, Generation, Lsn};
use crate::manifest::{Edit, Garbage, ManifestState, Needs, RangeKey, window_start};
use crate::view::Head;
use std::collections::{BTreeMap, BTreeSet};

/// What is needed of a database.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Keep {
    /// States that somebody holds, ascending.
    pub(super) points: Vec<Lsn>,
    pub(super) window: Option<Window>,
    /// Whether its newest state is.
    pub(super) newest: bool,
}

/// The catalogue that a transaction leaves in the manifest.
pub(super) enum Published<'a> {
    /// It writes this one.
    Now(&'a Catalogue),
    /// It writes none: all changes until this place are there.
    Until(Lsn),
}

impl Engine {
    /// What is needed of the databases of which more may be there than that: those that are written now,
    /// and those with a past. Nothing is told to be garbage when the catalogue that is `published` has
    /// changed meanwhile and is not at hand any more.
    pub(super) fn keeps(
        &self,
        written: impl Iterator<Item = DbId>,
        published: &Published<'_>,
    ) -> BTreeMap<DbId, Keep> {
        let rows = self.manifest.state();
        let mut ids: BTreeSet<DbId> = written.collect();
        ids.extend(with_past(&rows));
        let cell = self.catalogue.lock();
        // A snapshot or a fork may be among what is lost of it.
        if cell.catalogue.damage().is_some() {
            return BTreeMap::new();
        }
        let gone = rows.databases().map(|(id, _)| id);
        ids.extend(gone.filter(|id| !is_whole(&cell.catalogue, *id)));
        drop(cell);
        let keeps = ids
            .into_iter()
            .map(|id| (id, self.keep(id, &rows, published)))
            .collect();
        match published {
            Published::Until(lsn) if *lsn < self.catalogue.lock().catalogue.last_lsn() => {
                BTreeMap::new()
            }
            Published::Until(_) | Published::Now(_) => keeps,
        }
    }

    /// For whoever looks and deletes nothing: the catalogue as it is.
    pub(super) fn all_told(&self) -> Published<'static> {
        Published::Until(self.catalogue.lock().catalogue.last_lsn())
    }

    /// What is needed of one database.
    pub(super) fn keep(&self, id: DbId, rows: &ManifestState, published: &Published<'_>) -> Keep {
        let state = self.state_of(id);
        // A checkpoint that is not in the rows yet has a database of this size.
        let written = state
            .as_ref()
            .map_or(0, |state| state.view().head().bytes());
        let mut points = state.map(|state| state.pinned()).unwrap_or_default();
        let cell = self.catalogue.lock();
        let mut newest = false;
        let published = match published {
            Published::Now(catalogue) => Some(*catalogue),
            Published::Until(_) => None,
        };
        for catalogue in published.into_iter().chain([&cell.catalogue]) {
            let folded = |fork| !reads_origin(fork, rows, catalogue);
            points.extend(catalogue.points_of_but(id, folded));
            newest |= is_whole(catalogue, id);
        }
        let entry = cell.catalogue.entry(id);
        let published = rows.database(id).map_or(0, |row| {
            let (page_size, page_count) = (row.page_size, row.checkpointed.page_count);
            let head = Head {
                page_size,
                page_count,
                ..Head::EMPTY
            };
            head.bytes()
        });
        let size = published.max(written);
        if is_planted(Canary::HolderForgotten) {
            points.pop_last();
        }
        Keep {
            points: points.into_iter().collect(),
            window: entry.and_then(|entry| self.window(entry, size)),
            newest,
        }
    }
}

/// Whether the newest state of a database is needed.
fn is_whole(catalogue: &Catalogue, id: DbId) -> bool {
    let entry = catalogue.entry(id);
    entry.is_some_and(|entry| entry.state.has_pages())
}

/// Whether a fork has a state that it reads through to its origin.
pub(super) fn reads_origin(fork: DbId, rows: &ManifestState, catalogue: &Catalogue) -> bool {
    let mut generations = rows.generations(fork).peekable();
    let Some((first, row)) = generations.peek() else {
        return true;
    };
    // States before the first generation, and in its interval, are the origin's in part.
    let mut points = catalogue.points_of(fork);
    let before = first.get() == 1 && row.history.is_some() || points.any(|lsn| lsn < row.lsn);
    before || generations.any(|(_, row)| row.inherited > 0)
}

/// The databases that have more than one generation.
pub(super) fn with_past(rows: &ManifestState) -> impl Iterator<Item = DbId> {
    let mut last = None;
    let ids = rows.all_generations().map(|key| key.database);
    ids.filter(move |id| last.replace(*id) == Some(*id))
}

/// Deletes what nobody needs of a database.
pub(super) fn delete_garbage(edit: &mut Edit<'_>, database: DbId, keep: &Keep) {
    let garbage = garbage(edit.state(), database, keep);
    for key in garbage.ranges {
        edit.delete_range(key);
    }
    for generation in garbage.generations {
        edit.delete_generation(database, generation);
    }
    for generation in garbage.histories {
        edit.delete_history(database, generation);
    }
    // Chains without links are there to hide older ones.
    let mut oldest: BTreeMap<u32, (RangeKey, bool)> = BTreeMap::new();
    for (key, row) in edit.state().ranges(database) {
        oldest.insert(key.range, (*key, row.links().is_empty()));
    }
    let hide_nothing = oldest.into_values().filter(|(_, is_empty)| *is_empty);
    hide_nothing.for_each(|(key, _)| edit.delete_range(key));
}

/// What nobody needs of a database.
pub(super) fn garbage(state: &ManifestState, database: DbId, keep: &Keep) -> Garbage {
    let generations: Vec<(Generation, Lsn)> = state
        .generations(database)
        .map(|(generation, row)| (generation, row.lsn))
        .collect();
    let window_from = keep.window.and_then(|window| {
        let past = state.past(database);
        let oldest = window_start(&past, window.since_us, window.bytes)?;
        let bytes = past.iter().map(|one| one.history_bytes + one.old_bytes);
        // All that ever was fits, what was before the first generation, too.
        let whole = oldest.generation.get() == 1
            && window.since_us < oldest.time_us
            && bytes.sum::<u64>() <= window.bytes;
        Some(if whole { Lsn::ZERO } else { oldest.lsn })
    });
    let needs = Needs {
        generations: &generations,
        points: &keep.points,
        window_from,
        newest: keep.newest,
    };
    needs.garbage(state.ranges(database).map(|(key, _)| *key))
}

/// Whether there is anything of a database that nobody needs.
pub(super) fn has_garbage(state: &ManifestState, database: DbId, keep: &Keep) -> bool {
    let garbage = garbage(state, database, keep);
    let row = |generation: &Generation| state.generation(database, *generation);
    let has_history = |generation| row(generation).is_some_and(|row| row.history.is_some());
    !garbage.ranges.is_empty()
        || !garbage.generations.is_empty()
        || garbage.histories.iter().any(has_history)
}
