//! What of the chunks is read by nobody any more: who needs which state, and the rows that go.
//!
//! ```text
//! newest state, snapshots, forks, readers, window --> Keep --> rows that nobody reads --> chunks without rows
//! ```
//! Invariants
//! - who needs what is asked before the transaction, and whoever needs more meanwhile needs the newest state,
//!   or holds back the checkpoint;
//! - a row goes in the transaction that finds nobody who reads it, and a chunk with its last row.
//!
//! Never: removes a file.

use super::engine::Engine;
use crate::catalogue::Catalogue;
use crate::checkpoint::Window;
use crate::ids::{DbId, Generation, Lsn, PageSize};
use crate::manifest::{Edit, ManifestState, Needs, RangeKey, window_start};
use std::collections::{BTreeMap, BTreeSet};

/// What is needed of a database.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Keep {
    /// States that somebody holds, ascending.
    points: Vec<Lsn>,
    window: Option<Window>,
    /// Whether its newest state is.
    newest: bool,
}

impl Engine {
    /// What is needed of the databases of which more may be there than that: those that are written now,
    /// and those with a past.
    pub(super) fn keeps(&self, written: impl Iterator<Item = DbId>) -> BTreeMap<DbId, Keep> {
        let rows = self.manifest.state();
        let mut ids: BTreeSet<DbId> = written.collect();
        ids.extend(with_past(&rows));
        let cell = self.catalogue.lock();
        let gone = rows.databases().map(|(id, _)| id);
        ids.extend(gone.filter(|id| !is_whole(&cell.catalogue, *id)));
        drop(cell);
        ids.into_iter()
            .map(|id| (id, self.keep(id, &rows)))
            .collect()
    }

    fn keep(&self, id: DbId, rows: &ManifestState) -> Keep {
        let state = self.state_of(id);
        // A checkpoint that is not in the rows yet has a database of this size.
        let written = state.as_ref().map_or(0, |state| {
            let head = *state.view().head();
            bytes_of(head.page_size, head.page_count)
        });
        let mut points = state.map(|state| state.pinned()).unwrap_or_default();
        let cell = self.catalogue.lock();
        let folded = |fork| !reads_origin(fork, rows, &cell.catalogue);
        points.extend(cell.catalogue.points_of_but(id, folded));
        let entry = cell.catalogue.entry(id);
        let published = rows.database(id).map_or(0, |row| {
            bytes_of(row.page_size, row.checkpointed.page_count)
        });
        let size = published.max(written);
        Keep {
            points: points.into_iter().collect(),
            window: entry.and_then(|entry| self.window(entry, size)),
            newest: is_whole(&cell.catalogue, id),
        }
    }
}

fn bytes_of(page_size: Option<PageSize>, page_count: u32) -> u64 {
    let page_bytes = page_size.map_or(0, |size| u64::from(size.get()));
    page_bytes * u64::from(page_count)
}

/// Whether the newest state of a database is needed.
fn is_whole(catalogue: &Catalogue, id: DbId) -> bool {
    let entry = catalogue.entry(id);
    entry.is_some_and(|entry| entry.state.has_pages())
}

/// Whether a fork has a state that it reads through to its origin.
fn reads_origin(fork: DbId, rows: &ManifestState, catalogue: &Catalogue) -> bool {
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
fn with_past(rows: &ManifestState) -> impl Iterator<Item = DbId> {
    let mut last = None;
    let ids = rows.all_generations().map(|key| key.database);
    ids.filter(move |id| last.replace(*id) == Some(*id))
}

/// Deletes what nobody needs of a database.
pub(super) fn delete_garbage(edit: &mut Edit<'_>, database: DbId, keep: &Keep) {
    let state = edit.state();
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
    let garbage = needs.garbage(state.ranges(database).map(|(key, _)| *key));
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
