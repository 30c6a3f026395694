//! Databases that are closed for damage, and what of the log is kept for them.
//!
//! ```text
//!   found (at open, or a checkpoint cannot read a page or relocation an entry in the log)
//!     --> recorded, by the transaction of the first checkpoint that counts their log as covered, or
//!         by one of its own
//!     --> their segments, when the log leaves them, set aside in `damaged/`
//!     --> forgotten with their files, at the first open after the database was dropped and given up
//! ```
//! Invariants
//! - the log goes on: nothing is held for a closed database that takes no more commits;
//! - a damaged database is recorded before the log may forget what shows its damage;
//! - a file in `damaged/` is registered; what is registered and has not been moved yet, is at open.
//!
//! Never: reads what it keeps.

use super::engine::Engine;
use super::source::Source;
use crate::catalogue::Catalogue;
use crate::error::{Damage, ManifestError, Place, Reject};
use crate::ids::{DbId, Lsn, SegmentId};
use crate::io::{Disk, FileKind, IoFailure, OpenMode, layout};
use crate::log::move_to_damaged;
use crate::log::recover::Recovered;
use crate::manifest::{ClosedRow, ManifestState};
use crate::recordlog::RecordWriter;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What is to be recorded of databases that opening found damaged; of those that are recorded
/// already, that.
pub(super) fn closed_at_open(
    rows: &ManifestState,
    recovered: &Recovered,
    damaged: &BTreeMap<DbId, Damage>,
    catalogue: Option<&Damage>,
) -> BTreeMap<DbId, ClosedRow> {
    let recorded: BTreeMap<DbId, &ClosedRow> = rows.closed().collect();
    let catalogue = catalogue.map(|damage| (DbId::CATALOGUE, damage));
    let all = damaged
        .iter()
        .map(|(id, damage)| (*id, damage))
        .chain(catalogue);
    let row = |(id, damage)| {
        let row = recorded.get(&id).map(|row| (*row).clone());
        let row = row.unwrap_or_else(|| {
            let (from, to) = needed(id, damage, rows, recovered);
            ClosedRow::new(damage, from, to)
        });
        (id, row)
    };
    all.map(row).collect()
}

/// From where to where a closed database needs the log: its own records and the damage. All of it,
/// where the damage has no position, or is the catalogue's, which may hide whole databases.
fn needed(id: DbId, damage: &Damage, rows: &ManifestState, recovered: &Recovered) -> (Lsn, Lsn) {
    let behind = |lsn: Lsn| lsn.next().unwrap_or(lsn);
    match (&damage.place, recovered.spans.get(&id)) {
        (Place::Log { lsn, .. }, span) if id != DbId::CATALOGUE => {
            let (first, last) = span.copied().unwrap_or((*lsn, *lsn));
            (first.min(*lsn), behind(last.max(*lsn)))
        }
        _ => {
            let truncated = rows.watermarks().truncated;
            (truncated, behind(recovered.end.max(truncated)))
        }
    }
}

impl Engine {
    /// Closes databases that the checkpoint could not copy for damage of the log: what can be read
    /// of them can be read until the store is opened again. One with a writer inside is looked at by
    /// the next checkpoint: it may still commit.
    pub(super) fn close_unreadable(&self, skipped: &[Source]) {
        for source in skipped {
            let Some(damage) = source.state.damage() else {
                continue;
            };
            let idle = source.state.slot().acquire(Duration::ZERO);
            if idle.is_err() || !matches!(damage.place, Place::Log { .. }) {
                continue;
            }
            let head = source.state.head();
            let to = head.next().unwrap_or(head);
            let row = ClosedRow::new(damage, source.view.oldest_uncheckpointed(), to);
            self.closed.lock().entry(source.state.id()).or_insert(row);
        }
    }

    /// Closes a record log that cannot be moved: what it has of the log is recorded, and set aside when
    /// the log leaves it. What can be read of it can be read until the store is opened again.
    pub(super) fn close_record_log(
        &self,
        writer: &RecordWriter,
        damage: &Damage,
    ) -> Result<(), ManifestError> {
        let state = writer.state();
        tracing::error!(database = %state.id(), %damage, "a record log cannot be moved");
        self.records.set_damaged(state, damage.clone());
        let (oldest, head) = {
            let inner = state.look();
            (inner.index.oldest(), inner.index.head())
        };
        let row = ClosedRow::new(damage, oldest.unwrap_or(head), head.next().unwrap_or(head));
        let (id, closed) = (state.id(), row.clone());
        self.manifest.transact(move |edit| {
            edit.close_database(id, &closed);
            Ok(())
        })?;
        self.closed.lock().entry(state.id()).or_insert(row);
        self.records.close_log(state);
        Ok(())
    }

    /// Whether a database is closed, so that nothing needs to be held for it.
    pub(super) fn is_closed_for_damage(&self, id: DbId) -> bool {
        self.closed.lock().contains_key(&id)
    }
}

/// Forgets what was recorded of databases that are gone, and moves what is still to be moved.
/// What fails is done by the next open.
pub(super) fn settle_closed(engine: &Engine) {
    let rows = engine.manifest.state();
    let aside: Vec<SegmentId> = rows.salvage().map(|(id, _)| id).collect();
    if aside.is_empty() && rows.closed().next().is_none() {
        return;
    }
    let settled = move_to_damaged(engine.disk.as_ref(), &aside)
        .map_err(|failure| failure.to_string())
        .and_then(|()| forget_dropped(engine, &rows).map_err(|error| error.to_string()))
        .and_then(|()| sweep_damaged(engine).map_err(|failure| failure.to_string()));
    if let Err(error) = settled {
        tracing::warn!(
            error,
            "what closed databases left stays until the next open"
        );
    }
}

fn forget_dropped(engine: &Engine, rows: &ManifestState) -> Result<(), ManifestError> {
    let cell = engine.catalogue.lock();
    let gone = rows.closed().map(|(id, _)| id);
    let gone: Vec<DbId> = gone.filter(|id| is_gone(&cell.catalogue, *id)).collect();
    drop(cell);
    if !rows.damaged().is_empty() {
        // One of these rows may be what says that a database is there.
        return Ok(());
    }
    engine.manifest.transact(move |edit| {
        gone.iter().for_each(|id| edit.delete_closed(*id));
        let state = edit.state();
        let useless = state.salvage();
        let useless = useless.filter(|(_, row)| !state.is_needed(row.base, row.end));
        let useless: Vec<SegmentId> = useless.map(|(id, _)| id).collect();
        useless.into_iter().for_each(|id| edit.delete_salvage(id));
        Ok(())
    })
}

/// While the catalogue is damaged nobody knows which databases there are.
fn is_gone(catalogue: &Catalogue, id: DbId) -> bool {
    id != DbId::CATALOGUE && !catalogue.has_pages(id) && catalogue.damage().is_none()
}

fn sweep_damaged(engine: &Engine) -> Result<(), IoFailure> {
    let rows = engine.manifest.state();
    if !rows.damaged().is_empty() || !engine.manifest.is_sure() {
        return Ok(());
    }
    let dir = Path::new(layout::DAMAGED_DIR);
    let entries = match engine.disk.list(dir) {
        Err(failure) if failure.is_not_found() => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let id = layout::segment_of(&entry.name).filter(|_| entry.kind == FileKind::File);
        if id.is_some_and(|id| rows.salvaged(id).is_none()) {
            tracing::info!(
                name = entry.name,
                "what a dropped database needed is removed"
            );
            engine.disk.remove(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Segments that are kept for closed databases and are not there.
pub(super) fn missing_salvage(disk: &dyn Disk, rows: &ManifestState) -> Vec<Damage> {
    let missing = |id: SegmentId| {
        let paths = [layout::damaged(id), layout::segment(id)];
        let there = paths
            .iter()
            .any(|path| disk.open(path, OpenMode::Read).is_ok());
        (!there).then(|| Damage::new(Place::File(layout::damaged(id)), Reject::Missing))
    };
    rows.salvage().filter_map(|(id, _)| missing(id)).collect()
}
