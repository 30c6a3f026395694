//! Segments and chunks that the manifest does not name: what they say of themselves.
//!
//! | file | is |
//! |---|---|
//! | of another store | somebody's mistake, left alone |
//! | a segment that the log was in, newer than any that was registered | proof that the manifest is too old |
//! | any other | a leftover of making, recycling or releasing it |
//!
//! Never: writes, or removes a file.

use crate::error::{Damage, OpenError, Place, ReadError, Reject};
use crate::ids::{ChunkId, SegmentId, StoreId};
use crate::io::{Block, Disk, FileKind, OpenMode, layout};
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
    let known = |id: &SegmentId| rows.damaged().segments.contains_key(id);
    let aside = |id: &SegmentId| rows.salvaged(*id).is_some();
    let unregistered = |id: &SegmentId| rows.segment(*id).is_none() && !known(id) && !aside(id);
    let entries = disk.list(Path::new(layout::LOG_DIR))?.into_iter();
    let files = entries.filter(|entry| entry.kind == FileKind::File);
    let ids = files.filter_map(|entry| layout::segment_of(&entry.name));
    // An older one was unregistered: it was released, or its activation was given up.
    let newer = |id: &SegmentId| rows.watermarks().next_segment <= *id;
    for id in ids.filter(unregistered).filter(newer) {
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

/// What the stamp of a segment's file says, if it is sound and of this store and this segment: for
/// when the row that registers the segment is damaged.
pub(super) fn own_stamp(disk: &dyn Disk, store: StoreId, id: SegmentId) -> Option<Stamped> {
    let stamped = Head::read(disk, id)?.stamped;
    let own = stamped.identity.store == store && stamped.identity.segment == id;
    own.then_some(stamped)
}

/// Whether a segment file is another store's.
pub(super) fn is_strange_segment(disk: &dyn Disk, store: StoreId, id: SegmentId) -> bool {
    let strange = Head::read(disk, id).is_some_and(|head| head.stamped.identity.store != store);
    if strange {
        tracing::warn!(segment = %id, "a segment of another store is left alone");
    }
    strange
}

/// Whether a chunk file is another store's.
pub(super) fn is_strange_chunk(disk: &dyn Disk, store: StoreId, id: ChunkId) -> bool {
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
