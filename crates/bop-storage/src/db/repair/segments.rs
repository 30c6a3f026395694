//! What the segment files say of themselves: which of them are the log.
//!
//! ```text
//! newest activated segment -> its predecessor -> ... -> one whose predecessor is not there
//!   = the log, and `truncated` is where that predecessor ended
//! ```
//! | file in `log/` | is |
//! |---|---|
//! | its own stamp, an id from the oldest of the chain on | registered: of the log, given up, or a spare |
//! | its own stamp, older | released: it was to be used again |
//! | another store's, or the stamp of another id of this store, or zeros | nobody's, or a spare that was being made |
//! | anything else, in or behind the chain | registered: recovery finds it damaged, and closes what it may have held |
//!
//! Never: writes; reads a batch.

use crate::error::OpenError;
use crate::ids::{Incarnation, Lsn, SegmentId, StoreId};
use crate::io::{Block, Disk, FileKind, IoFailure, OpenMode, layout};
use crate::log::RegisteredSegment;
use crate::log::format::{Activated, DATA_START, Stamped, all_zero};
use crate::manifest::SalvageRow;
use std::collections::BTreeMap;
use std::path::Path;

/// The log, as its files tell.
#[derive(Debug, Default)]
pub(super) struct FoundLog {
    /// What is to be registered, by id.
    pub(super) registered: Vec<RegisteredSegment>,
    /// Nothing below is expected; `None` when the log is not there at all.
    pub(super) truncated: Option<Lsn>,
    /// No Lsn from here on is in a segment that was activated.
    pub(super) limit: Lsn,
    /// Segments that closed databases needed, in `damaged/`.
    pub(super) salvage: BTreeMap<SegmentId, SalvageRow>,
    /// The smallest id that no file has.
    pub(super) next: SegmentId,
}

/// What a file turned out to be.
enum Head {
    /// A segment of the store, under its own name.
    Own(Stamped, Option<Activated>),
    /// It was given a new name and no new stamp yet, or is another store's, or was being made.
    Nobody,
    /// Nobody can tell.
    Damaged,
}

impl Head {
    fn read(
        disk: &dyn Disk,
        path: &Path,
        store: StoreId,
        id: SegmentId,
    ) -> Result<Self, IoFailure> {
        let mut blocks = [Block::ZERO; 4];
        let file = disk.open(path, OpenMode::Read)?;
        let found = file.read_at(0, &mut blocks)?;
        let stamped = match Stamped::decode(&blocks[0]) {
            Ok(stamped) => stamped,
            // A spare is filled from its start, after it has got its length. Where the first batch stands,
            // it has zeros.
            Err(_) if blocks.iter().all(|block| all_zero(&block.0)) => return Ok(Self::Nobody),
            Err(_) => return Ok(Self::Damaged),
        };
        if stamped.identity.store != store || stamped.identity.segment != id {
            return Ok(Self::Nobody);
        }
        let whole = found == size_of_val(&blocks);
        let copies = blocks[1..3].iter().filter(|_| whole);
        let mut sound = copies.filter_map(|copy| Activated::decode(copy, &stamped.identity).ok());
        let activated = sound.next().map(|(activated, _)| activated);
        Ok(Self::Own(stamped, activated))
    }
}

/// Looks at all segment files.
///
/// # Errors
/// What the kernel refuses: what cannot be read is not guessed at.
pub(super) fn find_log(
    disk: &dyn Disk,
    store: StoreId,
    lost_capacity_bytes: u64,
) -> Result<FoundLog, OpenError> {
    let mut heads = BTreeMap::new();
    let mut next = SegmentId::new(1);
    for id in segment_files(disk, layout::LOG_DIR)? {
        next = next.max(id.next().unwrap_or(id));
        heads.insert(id, Head::read(disk, &layout::segment(id), store, id)?);
    }
    let salvage = find_salvage(disk, store)?;
    for id in salvage.keys() {
        next = next.max(id.next().unwrap_or(*id));
    }
    let (first, truncated) = chain(&heads);
    let mut log = FoundLog {
        truncated,
        salvage,
        next,
        ..FoundLog::default()
    };
    for (id, head) in heads {
        if first.is_some_and(|first| id < first) {
            continue;
        }
        let (incarnation, capacity_bytes) = match head {
            // But where the log must have been, it was overwritten.
            Head::Nobody if first != Some(id) => continue,
            Head::Nobody | Head::Damaged => (Incarnation::default(), lost_capacity_bytes),
            Head::Own(stamped, activated) => {
                if let Some(activated) = activated {
                    log.limit = log
                        .limit
                        .max(limit(activated.base_lsn, stamped.capacity_bytes));
                }
                (stamped.identity.incarnation, stamped.capacity_bytes)
            }
        };
        log.registered.push(RegisteredSegment {
            id,
            incarnation,
            capacity_bytes,
        });
    }
    Ok(log)
}

/// The oldest segment of the log, and below which Lsn nothing is expected in it.
fn chain(heads: &BTreeMap<SegmentId, Head>) -> (Option<SegmentId>, Option<Lsn>) {
    let activated = |id: &SegmentId| match heads.get(id) {
        Some(Head::Own(_, activated)) => *activated,
        _ => None,
    };
    let newest = heads.keys().rev().find(|id| activated(id).is_some());
    let Some(mut oldest) = newest.copied() else {
        // Damage may be all that is left of the log.
        let damaged = heads.values().any(|head| matches!(head, Head::Damaged));
        return (None, damaged.then_some(Lsn::ZERO));
    };
    while let Some(here) = activated(&oldest) {
        let Some(before) = here.predecessor else {
            return (Some(oldest), Some(here.base_lsn));
        };
        match heads.get(&before.segment) {
            // An id falls with each step, so this ends.
            Some(_) if before.segment < oldest => oldest = before.segment,
            _ => return (Some(oldest), Some(before.end)),
        }
    }
    // What it held cannot be read, and nothing says that it was released.
    (Some(oldest), Some(Lsn::ZERO))
}

fn find_salvage(
    disk: &dyn Disk,
    store: StoreId,
) -> Result<BTreeMap<SegmentId, SalvageRow>, IoFailure> {
    let mut found = BTreeMap::new();
    for id in segment_files(disk, layout::DAMAGED_DIR)? {
        let path = layout::damaged(id);
        let row = match Head::read(disk, &path, store, id)? {
            Head::Nobody => continue,
            Head::Own(stamped, activated) => {
                let base = activated.map_or(Lsn::ZERO, |activated| activated.base_lsn);
                SalvageRow {
                    incarnation: stamped.identity.incarnation,
                    capacity_bytes: stamped.capacity_bytes,
                    base,
                    end: limit(base, stamped.capacity_bytes),
                }
            }
            Head::Damaged => {
                let capacity_bytes = disk.open(&path, OpenMode::Read)?.bytes()?;
                SalvageRow {
                    incarnation: Incarnation::default(),
                    capacity_bytes,
                    base: Lsn::ZERO,
                    end: limit(Lsn::ZERO, capacity_bytes),
                }
            }
        };
        found.insert(id, row);
    }
    Ok(found)
}

fn limit(base: Lsn, capacity_bytes: u64) -> Lsn {
    let bytes = capacity_bytes.saturating_sub(DATA_START);
    base.advance(bytes).unwrap_or(Lsn::LIMIT)
}

fn segment_files(disk: &dyn Disk, dir: &str) -> Result<Vec<SegmentId>, IoFailure> {
    let entries = match disk.list(Path::new(dir)) {
        Err(failure) if failure.is_not_found() => return Ok(Vec::new()),
        entries => entries?,
    };
    let files = entries.iter().filter(|entry| entry.kind == FileKind::File);
    let mut ids: Vec<SegmentId> = files
        .filter_map(|entry| layout::segment_of(&entry.name))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}
