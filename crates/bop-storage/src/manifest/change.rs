//! What a transaction did, as subscribers are told: derived from the rows before and after, so that
//! nobody can forget to tell.
//!
//! | kind | database | name | number | lsn |
//! |---|---|---|---|---|
//! | created, renamed, dropped, undropped, purged | yes | the present one | | its catalogue record |
//! | forked | yes | the present one | the database that it started from | its catalogue record |
//! | snapshot made, snapshot dropped | its owner | the snapshot's | the database whose commit it is | that commit |
//! | forgotten | yes | the last one | | |
//! | published | yes | | the generation | its newest commit |
//! | chunk added, chunk removed | | | the chunk | |
//! | closed | yes; 0 is the catalogue | | | |
//! | truncated | | | | where the log begins now |
//!
//! Invariant: the same two states give the same changes, in the same order.
//!
//! Never: reads the store.

use super::database_row::{DatabaseRow, DatabaseState};
use super::edit::RowKey;
use super::snapshot_row::SnapshotRow;
use super::state::ManifestState;
use crate::ids::{DbId, Lsn};
use crate::name::DbName;
use std::collections::BTreeSet;

/// What happened.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A database is new, or its row came behind its creation in the log.
    Created = 1,
    /// It has another name.
    Renamed = 2,
    /// It was dropped, and can be brought back for a while.
    Dropped = 3,
    /// It was brought back.
    Undropped = 4,
    /// Its tombstone is gone: nothing names its id any more.
    Forgotten = 5,
    /// A generation of it is published: a checkpoint has moved its commits into chunks.
    Published = 6,
    /// A chunk file belongs to the store.
    ChunkAdded = 7,
    /// A chunk file does not any more, and is removed.
    ChunkRemoved = 8,
    /// It is closed for damage.
    Closed = 9,
    /// The log begins later than before.
    Truncated = 10,
    /// It was dropped before, and its pages are gone now: it cannot be brought back any more.
    Purged = 11,
    /// It is new, and starts as another one was.
    Forked = 12,
    /// A point of the past has a name.
    SnapshotMade = 13,
    /// That name is given up, or the snapshot has another owner.
    SnapshotDropped = 14,
}

impl ChangeKind {
    /// All kinds, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Created,
        Self::Renamed,
        Self::Dropped,
        Self::Undropped,
        Self::Forgotten,
        Self::Published,
        Self::ChunkAdded,
        Self::ChunkRemoved,
        Self::Closed,
        Self::Truncated,
        Self::Purged,
        Self::Forked,
        Self::SnapshotMade,
        Self::SnapshotDropped,
    ];

    /// The number that stands on disk.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind behind a number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Renamed => "renamed",
            Self::Dropped => "dropped",
            Self::Undropped => "undropped",
            Self::Forgotten => "forgotten",
            Self::Published => "published",
            Self::ChunkAdded => "chunk_added",
            Self::ChunkRemoved => "chunk_removed",
            Self::Closed => "closed",
            Self::Truncated => "truncated",
            Self::Purged => "purged",
            Self::Forked => "forked",
            Self::SnapshotMade => "snapshot_made",
            Self::SnapshotDropped => "snapshot_dropped",
        }
    }
}

/// One thing that a transaction did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// When the transaction was made, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Of which database.
    pub database: Option<DbId>,
    /// Its name.
    pub name: Option<DbName>,
    /// The chunk or the generation, or the database that a fork or a snapshot points at; 0 where there is
    /// none.
    pub number: u64,
    /// The position of the log; [`Lsn::ZERO`] where there is none.
    pub lsn: Lsn,
}

impl Change {
    fn new(kind: ChangeKind, time_us: u64) -> Self {
        Self {
            kind,
            time_us,
            database: None,
            name: None,
            number: 0,
            lsn: Lsn::ZERO,
        }
    }

    fn of_database(kind: ChangeKind, time_us: u64, id: DbId, row: &DatabaseRow) -> Self {
        Self {
            database: Some(id),
            name: Some(row.name.clone()),
            lsn: row.catalogue_lsn,
            ..Self::new(kind, time_us)
        }
    }
}

/// What happened between two states.
pub(super) fn changes(
    before: &ManifestState,
    after: &ManifestState,
    touched: &BTreeSet<RowKey>,
    time_us: u64,
) -> Vec<Change> {
    let mut found = Vec::new();
    for key in touched {
        match *key {
            RowKey::Database(id) => of_database(before, after, id, time_us, &mut found),
            RowKey::Chunk(id) => {
                let kind = match (before.chunk(id).is_some(), after.chunk(id).is_some()) {
                    (false, true) => ChangeKind::ChunkAdded,
                    (true, false) => ChangeKind::ChunkRemoved,
                    _ => continue,
                };
                found.push(Change {
                    number: id.get(),
                    ..Change::new(kind, time_us)
                });
            }
            RowKey::Closed(id) => {
                if before.closed.get(&id).is_none() && after.closed.get(&id).is_some() {
                    found.push(Change {
                        database: (id != DbId::CATALOGUE).then_some(id),
                        ..Change::new(ChangeKind::Closed, time_us)
                    });
                }
            }
            RowKey::Watermarks => {
                let truncated = after.watermarks().truncated;
                if before.watermarks().truncated < truncated {
                    found.push(Change {
                        lsn: truncated,
                        ..Change::new(ChangeKind::Truncated, time_us)
                    });
                }
            }
            RowKey::Segment(_)
            | RowKey::Range(_)
            | RowKey::Salvage(_)
            | RowKey::Cursor(_)
            | RowKey::Feed
            | RowKey::Run
            | RowKey::Job(_)
            | RowKey::JobIds
            | RowKey::Scrub(_)
            // The newest is told with its database; that an older one goes is nobody's concern.
            | RowKey::Generation(_)
            | RowKey::Meta => {}
            RowKey::Snapshot(key) => {
                let (old, new) = (before.snapshot(key), after.snapshot(key));
                found.extend(of_snapshot(key.owner, old, new, time_us));
            }
        }
    }
    found
}

fn of_database(
    before: &ManifestState,
    after: &ManifestState,
    id: DbId,
    time_us: u64,
    found: &mut Vec<Change>,
) {
    let is_live = |row: &DatabaseRow| row.state == DatabaseState::Live;
    let (old, new) = (before.database(id), after.database(id));
    let kind = match (old, new) {
        (None, Some(row)) if is_live(row) && row.origin.is_some() => Some(ChangeKind::Forked),
        (None, Some(row)) if is_live(row) => Some(ChangeKind::Created),
        // Made and dropped since the rows were written last.
        (None, Some(_)) => Some(ChangeKind::Dropped),
        (Some(old), Some(new)) if is_live(old) && !is_live(new) => Some(ChangeKind::Dropped),
        (Some(old), Some(new)) if !is_live(old) && is_live(new) => Some(ChangeKind::Undropped),
        (Some(old), Some(new)) if old.state.has_pages() && !new.state.has_pages() => {
            Some(ChangeKind::Purged)
        }
        (Some(old), Some(new)) if old.name != new.name => Some(ChangeKind::Renamed),
        (Some(_), None) => Some(ChangeKind::Forgotten),
        _ => None,
    };
    if let Some((kind, row)) = kind.zip(new.or(old)) {
        let change = Change::of_database(kind, time_us, id, row);
        let lsn = new.map_or(Lsn::ZERO, |row| row.catalogue_lsn);
        let origin = new.and_then(|row| row.origin.as_deref());
        let number = match kind {
            ChangeKind::Forked => origin.map_or(0, |origin| origin.source.get()),
            _ => 0,
        };
        found.push(Change {
            lsn,
            number,
            ..change
        });
    }
    let generation =
        |row: Option<&DatabaseRow>| row.map_or(0, |row| row.checkpointed.generation.get());
    if let Some(row) = new.filter(|_| generation(old) < generation(new)) {
        found.push(Change {
            database: Some(id),
            number: generation(new),
            lsn: row.checkpointed.lsn,
            ..Change::new(ChangeKind::Published, time_us)
        });
    }
}

fn of_snapshot(
    owner: DbId,
    old: Option<&SnapshotRow>,
    new: Option<&SnapshotRow>,
    time_us: u64,
) -> Option<Change> {
    let (kind, row) = match (old, new) {
        (None, Some(row)) => (ChangeKind::SnapshotMade, row),
        (Some(row), None) => (ChangeKind::SnapshotDropped, row),
        _ => return None,
    };
    Some(Change {
        database: Some(owner),
        name: Some(row.name.clone()),
        number: row.point.source.get(),
        lsn: row.point.lsn,
        ..Change::new(kind, time_us)
    })
}
