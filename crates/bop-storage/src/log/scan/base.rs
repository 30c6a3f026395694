//! Where a segment begins whose activation is lost: any sound batch in it tells.
//!
//! Never: guesses at what the device refuses to read.

use super::window::Window;
use super::{BLOCK, read_header};
use crate::error::Reject;
use crate::ids::{Epoch, Lsn};
use crate::io::{BLOCK_BYTES, DiskFile, IoFailure};
use crate::log::format::{DATA_START, SegmentIdentity, VerifiedHeader, all_zero, claimed_lsn};
use std::sync::Arc;

/// A sound batch header of a segment whose base is unknown because its activation is lost.
/// Returns the base, and the epoch of that batch.
///
/// # Errors
/// A read that the device refused: the batch may be there.
pub fn find_base(
    file: Arc<dyn DiskFile>,
    identity: &SegmentIdentity,
    capacity_bytes: u64,
) -> Result<Option<(Lsn, Epoch)>, IoFailure> {
    let mut window = Window::new(file, capacity_bytes);
    let mut offset = DATA_START;
    while offset < capacity_bytes {
        if let Some(header) = header_anywhere(&mut window, identity, offset, capacity_bytes)? {
            let base = header.place.lsn.get().checked_sub(offset - DATA_START);
            return Ok(base.map(|base| (Lsn::new(base), header.place.epoch)));
        }
        offset += BLOCK;
    }
    Ok(None)
}

fn header_anywhere(
    window: &mut Window,
    identity: &SegmentIdentity,
    offset: u64,
    capacity_bytes: u64,
) -> Result<Option<VerifiedHeader>, IoFailure> {
    let unless_refused = |reject| match reject {
        Reject::Unreadable(failure) => Err(failure),
        _ => Ok(None),
    };
    let block = match window.get(offset, BLOCK_BYTES) {
        Ok(block) if !all_zero(block) => block,
        Ok(_) => return Ok(None),
        Err(reject) => return unless_refused(reject),
    };
    let Some(lsn) = claimed_lsn(block) else {
        return Ok(None);
    };
    let header = read_header(window, identity, lsn, offset, capacity_bytes - offset);
    header.map(Some).or_else(unless_refused)
}
