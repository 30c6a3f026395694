//! Several transfers of one file in one call.
//!
//! Invariants
//! - the parts of a batch do not overlap, so the order in which they are done shows nowhere;
//! - a batch that failed tells of the first part that did, in the order of the parts; any other part
//!   may have been done, before it or behind it.
//!
//! Never: larger than its caller's buffers; a backend bounds by itself how much is in flight.

use super::errno::EINVAL;
use super::{BLOCK_BYTES, Block};

/// One read of a batch.
#[derive(Debug)]
pub struct ReadPart<'a> {
    /// Where it begins in the file, in bytes: a multiple of a block.
    pub offset: u64,
    /// What it fills; zeros behind the end of the file.
    pub blocks: &'a mut [Block],
    /// How many bytes the file had there. The call sets it.
    pub found: usize,
}

impl<'a> ReadPart<'a> {
    /// A read of `blocks` from `offset` on.
    pub fn new(offset: u64, blocks: &'a mut [Block]) -> Self {
        Self {
            offset,
            blocks,
            found: 0,
        }
    }
}

/// One write of a batch.
#[derive(Copy, Clone, Debug)]
pub struct WritePart<'a> {
    /// Where it begins in the file, in bytes: a multiple of a block.
    pub offset: u64,
    /// What is written.
    pub blocks: &'a [Block],
}

/// The offset and errno of a part that no direct transfer could do, or that overlaps another.
pub(crate) fn check_parts(parts: impl IntoIterator<Item = (u64, usize)>) -> Result<(), (u64, i32)> {
    let mut ranges = Vec::new();
    for (offset, blocks) in parts {
        let end = check_transfer(offset, blocks).map_err(|errno| (offset, errno))?;
        if blocks > 0 {
            ranges.push((offset, end));
        }
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).find(|two| two[1].0 < two[0].1);
    overlap.map_or(Ok(()), |two| Err((two[1].0, EINVAL)))
}

/// Where a transfer ends; refuses what no direct transfer could do.
pub(crate) fn check_transfer(offset: u64, blocks: usize) -> Result<u64, i32> {
    let bytes = (blocks as u64).checked_mul(BLOCK_BYTES as u64);
    let end = bytes.and_then(|bytes| offset.checked_add(bytes));
    end.filter(|end| i64::try_from(*end).is_ok() && offset.is_multiple_of(BLOCK_BYTES as u64))
        .ok_or(EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    #[test]
    fn parts_that_touch_are_fine_and_those_that_overlap_are_named() {
        let check = |parts: &[(u64, usize)]| check_parts(parts.iter().copied());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(2 * BLOCK, 3), (0, 2), (5 * BLOCK, 0)]), Ok(()));
        let overlap = check(&[(2 * BLOCK, 3), (0, 3)]);
        assert_eq!(overlap, Err((2 * BLOCK, EINVAL)));
        assert_eq!(check(&[(BLOCK, 1), (BLOCK, 1)]), Err((BLOCK, EINVAL)));
        assert_eq!(check(&[(0, 1), (BLOCK + 1, 1)]), Err((BLOCK + 1, EINVAL)));
        let last = u64::MAX - BLOCK + 1;
        assert_eq!(check(&[(last, 1)]), Err((last, EINVAL)));
    }
}
