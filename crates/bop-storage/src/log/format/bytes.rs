//! Reading structs out of bytes that nobody vouches for.
//!
//! Invariants: nothing here panics or allocates, whatever the bytes are; a length read from disk is
//! compared with what is there before it is used.

use crate::checksum::Crc64;
use crate::error::Reject;
use crate::io::Block;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Records and what stands in them start at multiples of this.
pub const RECORD_ALIGN: usize = 8;

/// The struct at the start of `bytes`, and what stands behind it.
pub(crate) fn split<T>(bytes: &[u8]) -> Result<(&T, &[u8]), Reject>
where
    T: FromBytes + KnownLayout + Immutable,
{
    T::ref_from_prefix(bytes).map_err(|_| short(bytes, size_of::<T>()))
}

/// The `count` structs at the start of `bytes`, and what stands behind them.
pub(crate) fn split_many<T>(bytes: &[u8], count: usize) -> Result<(&[T], &[u8]), Reject>
where
    T: FromBytes + KnownLayout + Immutable,
{
    <[T]>::ref_from_prefix_with_elems(bytes, count)
        .map_err(|_| short(bytes, count.saturating_mul(size_of::<T>())))
}

/// The first `count` bytes, and what stands behind them.
pub(crate) fn take(bytes: &[u8], count: usize) -> Result<(&[u8], &[u8]), Reject> {
    bytes
        .split_at_checked(count)
        .ok_or_else(|| short(bytes, count))
}

/// Fails with the reason `what` unless `holds`.
pub(crate) fn ensure(holds: bool, what: &'static str) -> Result<(), Reject> {
    if holds {
        Ok(())
    } else {
        Err(Reject::Invalid(what))
    }
}

/// Whether all bytes are zero.
pub fn all_zero(bytes: &[u8]) -> bool {
    // Chunks of words, because a segment's unused blocks are looked at one by one.
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}

/// `bytes` rounded up to where the next record may start.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(RECORD_ALIGN)
}

/// A length from disk as an index; one that no buffer of this machine could have is refused.
pub(crate) fn index(bytes: u64) -> Result<usize, Reject> {
    usize::try_from(bytes).map_err(|_| Reject::Invalid("a length beyond the address space"))
}

fn short(bytes: &[u8], needed: usize) -> Reject {
    Reject::Truncated {
        found: bytes.len() as u64,
        needed: needed as u64,
    }
}

/// The checksum of a struct that ends in its checksum.
pub(crate) fn sealed(domain: Crc64, bytes: &[u8]) -> u64 {
    let covered = bytes.len() - size_of::<u64>();
    domain.update(&bytes[..covered]).finish()
}

/// A block that starts with `bytes` and is zero behind them.
pub(crate) fn block_of(bytes: &[u8]) -> Block {
    let mut block = Block::ZERO;
    block.0[..bytes.len()].copy_from_slice(bytes);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_zero_is_seen_wherever_it_is() {
        for len in [0, 1, 31, 32, 33, 100] {
            let mut bytes = vec![0; len];
            assert!(all_zero(&bytes));
            for at in 0..len {
                bytes[at] = 1;
                assert!(!all_zero(&bytes), "byte {at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
