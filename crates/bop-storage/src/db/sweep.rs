//! Files that the manifest does not name: what interrupted work left, and what is not ours.
//!
//! | file | is |
//! |---|---|
//! | anything in `scratch/` | unfinished, removed |
//! | a segment or chunk of another store | somebody's mistake, left alone |
//! | a segment that the log was in, above everything that was released | proof that the manifest is too old |
//! | any other segment or chunk | a leftover of making, recycling or releasing it, removed |
//!
//! Never: removes a file while a row of the manifest is damaged; it may have been its row.

use super::engine::Engine;
use crate::error::{Damage, OpenError, Place, ReadError, Reject};
use crate::ids::{ChunkId, SegmentId, StoreId};
use crate::io::{Block, Disk, FileKind, IoFailure, OpenMode, layout};
use crate::log::format::{Activated, Stamped};
use crate::manifest::ManifestState;
use crate::pagestore::ChunkReader;
use std::path::Path;

/// Refuses a manifest that is older than the log: a segment is registered before the log enters it.
///
/// # Errors
/// [`OpenError::Damaged`] with the segment, or an I/O failure.
pub(super) fn check_unregistered(
    disk: &dyn Disk,
    store: StoreId,
    rows: &ManifestState,
) -> Result<(), OpenError> {
    if !rows.damaged().is_empty() {
        return Ok(());
    }
    let unregistered = |id: &SegmentId| rows.segment(*id).is_none();
    let found = files(disk, layout::LOG_DIR)?.into_iter();
    let ids = found.filter_map(|name| layout::segment_of(&name));
    for id in ids.filter(unregistered) {
        let Some(head) = Head::read(disk, id) else {
            continue;
        };
        let own = head.stamped.identity.store == store && head.stamped.identity.segment == id;
        let base = head.activated.map(|activated| activated.base_lsn);
        if own && base.is_some_and(|base| rows.watermarks().truncated < base) {
            let reason =
                Reject::Invalid("the log went on in it, but the manifest does not know it");
            return Err(Damage::new(Place::File(layout::segment(id)), reason).into());
        }
    }
    Ok(())
}

/// Removes what interrupted work left. What cannot be removed is in nobody's way.
pub(super) fn sweep_leftovers(engine: &Engine) {
    let rows = engine.manifest.state();
    let (disk, store) = (engine.disk.as_ref(), engine.store);
    let dead_segment = |name: &str| {
        let id = layout::segment_of(name).filter(|id| rows.segment(*id).is_none());
        id.is_some_and(|id| !is_strange_segment(disk, store, id))
    };
    let dead_chunk = |name: &str| {
        let id = layout::chunk_of(name).filter(|id| rows.chunk(*id).is_none());
        id.is_some_and(|id| !is_strange_chunk(disk, store, id))
    };
    let mut swept = sweep(disk, layout::SCRATCH_DIR, |_| true);
    if rows.damaged().is_empty() {
        swept = swept
            .and_then(|()| sweep(disk, layout::LOG_DIR, dead_segment))
            .and_then(|()| sweep(disk, layout::CHUNK_DIR, dead_chunk));
    }
    if let Err(failure) = swept {
        tracing::warn!(%failure, "leftovers stay until the next open");
    }
}

fn sweep(disk: &dyn Disk, dir: &str, is_dead: impl Fn(&str) -> bool) -> Result<(), IoFailure> {
    for name in files(disk, dir)? {
        if is_dead(&name) {
            tracing::info!(dir, name, "a leftover is removed");
            disk.remove(&Path::new(dir).join(&name))?;
        }
    }
    Ok(())
}

fn files(disk: &dyn Disk, dir: &str) -> Result<Vec<String>, IoFailure> {
    let entries = disk.list(Path::new(dir))?.into_iter();
    let files = entries.filter(|entry| entry.kind == FileKind::File);
    Ok(files.map(|entry| entry.name).collect())
}

fn is_strange_segment(disk: &dyn Disk, store: StoreId, id: SegmentId) -> bool {
    let strange = Head::read(disk, id).is_some_and(|head| head.stamped.identity.store != store);
    if strange {
        tracing::warn!(segment = %id, "a segment of another store is left alone");
    }
    strange
}

fn is_strange_chunk(disk: &dyn Disk, store: StoreId, id: ChunkId) -> bool {
    let opened = ChunkReader::open(disk, store, id, None);
    let strange =
        matches!(&opened, Err(ReadError::Damaged(damage)) if damage.reason == Reject::ForeignStore);
    if strange {
        tracing::warn!(chunk = %id, "a chunk of another store is left alone");
    }
    strange
}

/// What the first blocks of a segment file say, if its stamp is sound.
struct Head {
    stamped: Stamped,
    activated: Option<Activated>,
}

impl Head {
    fn read(disk: &dyn Disk, id: SegmentId) -> Option<Self> {
        let file = disk.open(&layout::segment(id), OpenMode::Read).ok()?;
        let mut blocks = [Block::ZERO; 3];
        file.read_at(0, &mut blocks).ok()?;
        let stamped = Stamped::decode(&blocks[0]).ok()?;
        let copies = blocks[1..].iter();
        let mut sound = copies.filter_map(|copy| Activated::decode(copy, &stamped.identity).ok());
        let activated = sound.next().map(|(activated, _)| activated);
        Some(Self { stamped, activated })
    }
}
