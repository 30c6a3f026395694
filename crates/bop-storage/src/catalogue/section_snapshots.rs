//! The snapshots in a catalogue section, behind its databases.
//!
//! Invariant: they rise by owner and record, and each owner is a database of the section.
//!
//! Never: asks for what a point is of (a delta does not have it).

use super::{Catalogue, DatabaseState, Snapshot};
use crate::error::Reject;
use crate::ids::{DbId, Lsn};
use crate::manifest::{SnapshotBytes, SnapshotRow, decode_snapshot, encode_snapshot};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A snapshot in a catalogue section; its name (UTF-8) stands behind it.
#[derive(Clone, Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SectionSnapshot {
    /// The database that has it.
    pub owner: U64,
    /// The catalogue record that made it.
    pub lsn: U64,
    /// As in the manifest.
    pub snapshot: SnapshotBytes,
}
const _: () = assert!(size_of::<SectionSnapshot>() == 72);

/// Adds all snapshots of a database to `body`; answers how many.
pub(super) fn encode_snapshots(catalogue: &Catalogue, owner: DbId, body: &mut Vec<u8>) -> u64 {
    let mut snapshots: Vec<&Snapshot> = catalogue.snapshots(owner).collect();
    snapshots.sort_unstable_by_key(|snapshot| snapshot.lsn);
    for snapshot in &snapshots {
        body.extend_from_slice(&owner.get().to_le_bytes());
        body.extend_from_slice(&snapshot.lsn.get().to_le_bytes());
        body.extend_from_slice(&encode_snapshot(&snapshot.row()));
    }
    snapshots.len() as u64
}

/// Gives the catalogue its snapshots, and answers what stands behind them.
pub(super) fn decode_snapshots<'a>(
    mut bytes: &'a [u8],
    count: u64,
    catalogue: &mut Catalogue,
) -> Result<&'a [u8], Reject> {
    let cut = || Reject::Invalid("the section ends inside a snapshot");
    let mut last = None;
    for _ in 0..count {
        let (owner, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let (lsn, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let (row, rest) = decode_snapshot(rest)?;
        let owner = DbId::new(u64::from_le_bytes(*owner));
        let lsn = Lsn::new(u64::from_le_bytes(*lsn));
        let in_order = last.replace((owner, lsn)) < Some((owner, lsn));
        let has_owner = catalogue
            .entry(owner)
            .is_some_and(|entry| !matches!(entry.state, DatabaseState::Tombstone { .. }));
        if !in_order || !has_owner || catalogue.last_lsn() < lsn {
            return Err(Reject::Invalid("a snapshot out of order"));
        }
        catalogue.lineage.add(owner, Snapshot::of(row, lsn))?;
        bytes = rest;
    }
    Ok(bytes)
}

impl Snapshot {
    pub(super) fn row(&self) -> SnapshotRow {
        SnapshotRow {
            name: self.name.clone(),
            point: self.point,
            created_us: self.created_us,
        }
    }

    pub(super) fn of(row: SnapshotRow, lsn: Lsn) -> Self {
        Self {
            name: row.name,
            point: row.point,
            created_us: row.created_us,
            lsn,
        }
    }
}
