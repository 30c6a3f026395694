//! What is done to the files of segments that are not part of the log.
//!
//! Invariant: what is cut short anywhere can be done again.
//!
//! Never: knows why.

use crate::ids::SegmentId;
use crate::io::errno::EEXIST;
use crate::io::{BLOCK_BYTES, Block, BlockMemory, Disk, DiskFile, IoFailure, layout};
use std::path::Path;

/// Moves files of segments that are registered as set aside out of the log's directory. Each is
/// under its new name for good before its old one goes for good; one that has both names loses the
/// old one. What fails is done by the next open.
///
/// # Errors
/// The disk's.
pub fn move_to_damaged(disk: &dyn Disk, segments: &[SegmentId]) -> Result<(), IoFailure> {
    if segments.is_empty() {
        return Ok(());
    }
    let damaged = Path::new(layout::DAMAGED_DIR);
    disk.create_dir(damaged)?;
    disk.sync_dir(Path::new(""))?;
    for id in segments {
        match disk.rename(&layout::segment(*id), &layout::damaged(*id)) {
            Err(failure) if failure.is_not_found() => {}
            // A crash has left both names.
            Err(failure) if failure.errno == EEXIST => disk.remove(&layout::segment(*id))?,
            moved => moved?,
        }
    }
    disk.sync_dir(damaged)?;
    disk.sync_dir(Path::new(layout::LOG_DIR))
}

/// What stands behind a segment's own bytes is the index of its earlier life.
pub(super) fn forget_index(file: &dyn DiskFile, capacity_bytes: u64) -> Result<(), IoFailure> {
    if capacity_bytes < file.bytes()? {
        file.write_at(capacity_bytes, &[Block::ZERO])?;
    }
    Ok(())
}

/// Writes the stamp and zeros behind it, so that later durable writes change no metadata of the
/// file system, and nothing of an earlier life is left.
pub(super) fn fill(
    file: &dyn DiskFile,
    capacity_bytes: u64,
    stamp: &Block,
) -> Result<(), IoFailure> {
    const WINDOW_BLOCKS: usize = 256;
    file.allocate(capacity_bytes)?;
    let all = usize::try_from(capacity_bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
    let blocks = all.clamp(1, WINDOW_BLOCKS);
    let mut memory = BlockMemory::take(blocks * BLOCK_BYTES);
    let window = &mut memory[..blocks];
    window.fill(Block::ZERO);
    window[0] = *stamp;
    let mut offset = 0;
    while offset < capacity_bytes {
        let left = (capacity_bytes - offset) / BLOCK_BYTES as u64;
        let count = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(WINDOW_BLOCKS);
        file.write_at(offset, &window[..count])?;
        window[0] = Block::ZERO;
        offset += (count * BLOCK_BYTES) as u64;
    }
    file.sync()
}
