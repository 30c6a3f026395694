//! Files that nobody needs, found at open: removed once the first write of the epoch is durable.
//!
//! Invariants
//! - a segment is unregistered before its file goes;
//! - what may be of use to a salvage stays: nothing is unregistered while a database is damaged,
//!   and no segment or chunk is removed while a row of the manifest is;
//! - no segment or chunk is removed that a failed transaction may have named, and none while a database
//!   is closed because the manifest was lost: it may be what a salvage needs;
//! - another store's files are left alone.
//!
//! Never: fails an open; what stays is in nobody's way.

use super::engine::Engine;
use super::strangers::{is_strange_chunk, is_strange_segment};
use crate::ids::SegmentId;
use crate::io::{Disk, FileKind, IoFailure, layout};
use crate::log::RegisteredSegment;
use crate::log::recover::Recovered;
use crate::manifest::ClosedBy;
use std::path::Path;

/// Segments that hold nothing of the log and can never be part of it as they are: their stamp is
/// bad, their activation was torn, the log went on in a later one, or they are spares whose file is
/// gone. While anything is damaged only those that were given up: any other may be what is missing.
pub(super) fn unused_segments(recovered: &Recovered) -> Vec<SegmentId> {
    let id = |segment: &RegisteredSegment| segment.id;
    let abandoned = recovered.abandoned.iter().map(id);
    if !recovered.damaged.is_empty() {
        return abandoned.collect();
    }
    let active = recovered.active.map(|active| active.identity.segment);
    // Nobody suffers, so the log never came to them. Were they kept, it would seem to have, once it
    // has passed them by.
    let lost_spares = recovered.unusable.iter().map(id);
    let lost_spares = lost_spares.filter(|id| active < Some(*id));
    recovered
        .restamp
        .iter()
        .map(id)
        .chain(lost_spares)
        .chain(abandoned)
        .collect()
}

/// Unregisters segments that are not part of the log. Their files are leftovers then.
pub(super) fn forget_unused(engine: &Engine, unused: &[SegmentId]) {
    if unused.is_empty() {
        return;
    }
    let unused = unused.to_vec();
    let forgotten = engine.manifest.transact(move |edit| {
        unused.iter().for_each(|id| edit.delete_segment(*id));
        Ok(())
    });
    if let Err(error) = forgotten {
        tracing::warn!(%error, "unused segments stay until the next open");
    }
}

/// Removes what interrupted work left: everything in `scratch/`, segments and chunks that the
/// manifest does not name. What cannot be removed is in nobody's way.
pub(super) fn sweep_leftovers(engine: &Engine) {
    let rows = engine.manifest.state();
    let (disk, store) = (engine.disk.as_ref(), engine.store);
    let segment_is_dead = |name: &str| {
        let id = layout::segment_of(name);
        let id = id.filter(|id| rows.segment(*id).is_none() && rows.salvaged(*id).is_none());
        id.is_some_and(|id| !is_strange_segment(disk, store, id))
    };
    let chunk_is_dead = |name: &str| {
        let id = layout::chunk_of(name).filter(|id| rows.chunk(*id).is_none());
        id.is_some_and(|id| !is_strange_chunk(disk, store, id))
    };
    // A transaction that failed may have named files that these rows do not have.
    let mut closed = rows.closed();
    let lost = closed.any(|(_, row)| row.by == ClosedBy::Lost);
    let sound = rows.damaged().is_empty() && engine.manifest.is_sure() && !lost;
    let swept = sweep(engine.disk.as_ref(), layout::SCRATCH_DIR, |_| true)
        .and_then(|()| {
            sweep(engine.disk.as_ref(), layout::LOG_DIR, |n| {
                sound && segment_is_dead(n)
            })
        })
        .and_then(|()| {
            sweep(engine.disk.as_ref(), layout::CHUNK_DIR, |n| {
                sound && chunk_is_dead(n)
            })
        });
    if let Err(failure) = swept {
        tracing::warn!(%failure, "leftovers stay until the next open");
    }
}

fn sweep(disk: &dyn Disk, dir: &str, is_dead: impl Fn(&str) -> bool) -> Result<(), IoFailure> {
    for entry in disk.list(Path::new(dir))? {
        if entry.kind == FileKind::File && is_dead(&entry.name) {
            tracing::info!(dir, name = entry.name, "a leftover is removed");
            disk.remove(&Path::new(dir).join(&entry.name))?;
        }
    }
    Ok(())
}
