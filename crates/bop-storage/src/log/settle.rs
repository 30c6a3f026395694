//! Settling: the newest bytes of the log are written once more before anything is built on them.
//!
//! A write that failed may show its bytes all the same, from a cache, and lose them later; a sync
//! says nothing about them any more. What a later batch vouches for was durable. What nothing
//! vouches for is the newest batch, or the activation of a segment without one: recovery has read
//! them and decided by them, so they must not go away.
//!
//! Invariant: writes back what it reads, in the same place: cut short or done twice, it changes
//! nothing.
//!
//! Never: writes to a segment that recovery does not take for the newest one.

use super::format::segment::DATA_START;
use super::recover::ActiveSegment;
use crate::io::{BLOCK_BYTES, Disk, IoFailure, OpenMode, layout, zeroed_blocks};
use std::path::Path;

/// Makes what recovery found in the newest segment durable.
///
/// # Errors
/// The disk's: nothing may be built on what was found.
pub fn settle(disk: &dyn Disk, active: &ActiveSegment) -> Result<(), IoFailure> {
    let path = layout::segment(active.identity.segment);
    let block = BLOCK_BYTES as u64;
    if active.base == active.end {
        // One copy after the other, as they were written first.
        rewrite(disk, &path, block, block)?;
        return rewrite(disk, &path, 2 * block, block);
    }
    let offset = active.tail.bytes_since(active.base);
    let bytes = active.end.bytes_since(active.tail);
    match (offset, bytes) {
        (Some(offset), Some(bytes)) if bytes > 0 => {
            rewrite(disk, &path, DATA_START + offset, bytes)
        }
        _ => Ok(()),
    }
}

fn rewrite(disk: &dyn Disk, path: &Path, offset: u64, bytes: u64) -> Result<(), IoFailure> {
    let file = disk.open(path, OpenMode::Write)?;
    let count = usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
    let mut blocks = zeroed_blocks(count);
    let found = file.read_at(offset, &mut blocks)? / BLOCK_BYTES;
    file.write_durable_at(offset, &blocks[..found])
}
