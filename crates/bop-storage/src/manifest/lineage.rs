//! What is true of forks and snapshots after every transaction, as predicates for
//! [`invariants`](super::invariants).
//!
//! Never: looks at a row of which neither end was touched.

use super::database_row::{DatabaseRow, DatabaseState};
use super::edit::RowKey;
use super::invariants::Change;
use super::schema::{Key, row_damage};
use super::snapshot_row::SnapshotKey;
use super::state::ManifestState;
use super::store::Table;
use crate::error::{Damage, Reject};
use crate::ids::DbId;
use std::collections::BTreeSet;

fn snapshots(change: &Change<'_>) -> impl Iterator<Item = SnapshotKey> {
    change.touched.iter().filter_map(|key| match key {
        RowKey::Snapshot(key) => Some(*key),
        _ => None,
    })
}

fn databases(change: &Change<'_>) -> impl Iterator<Item = DbId> {
    change.touched.iter().filter_map(|key| match key {
        RowKey::Database(id) => Some(*id),
        _ => None,
    })
}

/// A snapshot belongs to a database that is live or can be brought back.
pub(super) fn snapshots_have_owners(change: &Change<'_>) -> Result<(), String> {
    let touched = snapshots(change).filter(|key| change.after.snapshot(*key).is_some());
    let owners = touched.map(|key| key.owner);
    let owned = databases(change).filter(|id| change.after.snapshots(*id).next().is_some());
    for owner in owners.chain(owned) {
        if !is_owner(change.after, owner) {
            return Err(format!("database id {owner} is gone and has snapshots"));
        }
    }
    Ok(())
}

fn is_owner(state: &ManifestState, owner: DbId) -> bool {
    match state.database(owner) {
        Some(row) => !matches!(row.state, DatabaseState::Tombstone { .. }),
        // What its row was is not known.
        None => state.damaged().databases.contains_key(&owner),
    }
}

pub(super) fn snapshot_names_are_unique(change: &Change<'_>) -> Result<(), String> {
    let owners: BTreeSet<DbId> = snapshots(change).map(|key| key.owner).collect();
    for owner in owners {
        if let Some(key) = twins(change.after, owner).first() {
            return Err(format!("{key:?} is named as another snapshot"));
        }
    }
    Ok(())
}

/// Snapshots of an owner whose name another one has that is older.
fn twins(state: &ManifestState, owner: DbId) -> Vec<SnapshotKey> {
    let mut names = BTreeSet::new();
    let all = state.snapshots(owner);
    let twins = all.filter(|(_, row)| !names.insert(row.name.folded()));
    twins.map(|(key, _)| key).collect()
}

/// What an origin or a snapshot points at is a database that is remembered.
pub(super) fn points_have_sources(change: &Change<'_>) -> Result<(), String> {
    let after = change.after;
    for key in snapshots(change) {
        if let Some(row) = after.snapshot(key)
            && !is_remembered(after, row.point.source)
        {
            return Err(format!("{key:?} is of a database that is not there"));
        }
    }
    let is_gone = |id: &DbId| after.database(*id).is_none();
    let mut forgotten = BTreeSet::new();
    for id in databases(change) {
        if let Some(source) = source_of(after.database(id))
            && (!is_remembered(after, source) || id <= source)
        {
            return Err(format!("database id {id} starts from none that is there"));
        }
        forgotten.extend(Some(id).filter(is_gone));
    }
    if forgotten.is_empty() {
        return Ok(());
    }
    let origins = after
        .databases()
        .filter_map(|(_, row)| source_of(Some(row)));
    let points = after.all_snapshots().map(|(_, row)| row.point.source);
    match origins.chain(points).find(|id| forgotten.contains(id)) {
        None => Ok(()),
        Some(id) => Err(format!("database id {id} is forgotten but needed")),
    }
}

fn source_of(row: Option<&DatabaseRow>) -> Option<DbId> {
    row?.origin.as_ref().map(|origin| origin.source)
}

fn is_remembered(state: &ManifestState, id: DbId) -> bool {
    state.database(id).is_some() || state.damaged().databases.contains_key(&id)
}

/// Asks the same of all rows.
pub(super) fn check_all(state: &ManifestState) -> Vec<Damage> {
    let mut found = Vec::new();
    let mut finding = |table, key: Vec<u8>, why| {
        found.push(row_damage(table, &key, Reject::Invalid(why)));
    };
    let owners: BTreeSet<DbId> = state.all_snapshots().map(|(key, _)| key.owner).collect();
    for owner in owners {
        for key in twins(state, owner) {
            let why = "another snapshot has the same name";
            finding(Table::Snapshots, key.encode(), why);
        }
    }
    for (key, row) in state.all_snapshots() {
        if !is_owner(state, key.owner) {
            let why = "a snapshot of a database that is gone";
            finding(Table::Snapshots, key.encode(), why);
        }
        if !is_remembered(state, row.point.source) {
            let why = "a point of a database that is not there";
            finding(Table::Snapshots, key.encode(), why);
        }
    }
    for (id, row) in state.databases() {
        if source_of(Some(row)).is_some_and(|source| id <= source || !is_remembered(state, source))
        {
            let why = "it starts from a database that is not there";
            finding(Table::Databases, id.encode(), why);
        }
    }
    found
}
