//! The index of a sealed segment, read instead of its batches.
//!
//! Invariant: what is returned is what [`scan_segment`](super::scan_segment) returns for the sound
//! segment, without having read it: damage of its images shows when these are read.
//!
//! Never: believes an index that the next segment does not confirm.

use super::{Content, Scanned, ScannedBatch, ScannedRecord, SegmentSpace, SoundHeader, Span};
use crate::error::Reject;
use crate::io::{BLOCK_BYTES, Block, DiskFile, zeroed_blocks};
use crate::log::format::{ChainHash, Sealed, SealedHeader, all_zero};
use zerocopy::IntoBytes;

/// Reads the index of the segment that starts with the chain hash `start` and was left as `sealed`
/// says, if it has one. `keep` is told how many bytes of memory the result takes, about.
///
/// # Errors
/// Why it is not to be believed.
pub fn read_index(
    file: &dyn DiskFile,
    space: &SegmentSpace,
    start: ChainHash,
    sealed: &Sealed,
    keep: &dyn Fn(usize),
) -> Result<Option<Scanned>, Reject> {
    let Some(header) = read_header(file, space)? else {
        return Ok(None);
    };
    if header.sealed != *sealed {
        return Err(Reject::Invalid(
            "not the index that the next segment follows",
        ));
    }
    // The body itself goes when this returns, and what it says takes about as much.
    keep(usize::try_from(header.body_bytes).unwrap_or(usize::MAX));
    let body = read_body(file, space, &header)?;
    let mut spans = Vec::new();
    let (mut epoch, mut older) = (space.epoch, false);
    header.read_body(
        &space.identity,
        start,
        body.as_bytes(),
        |header, records| {
            older |= header.place.epoch < epoch;
            epoch = header.place.epoch;
            spans.push(Span {
                lsn: header.place.lsn,
                end: header.end,
                content: Content::Batch(ScannedBatch {
                    header: SoundHeader {
                        durable: header.place.durable,
                        epoch: header.place.epoch,
                        checksum: header.checksum,
                    },
                    records: records.into_iter().map(ScannedRecord::from).collect(),
                    spare_damage: None,
                }),
            });
        },
    )?;
    if older {
        return Err(Reject::Invalid("a batch of an older epoch"));
    }
    Ok(Some(Scanned {
        spans,
        unreadable: Vec::new(),
    }))
}

fn read_header(file: &dyn DiskFile, space: &SegmentSpace) -> Result<Option<SealedHeader>, Reject> {
    let mut block = [Block::ZERO];
    let found = file.read_at(space.capacity_bytes, &mut block);
    let found = found.map_err(Reject::Unreadable)?;
    if found == 0 || all_zero(&block[0].0) {
        return Ok(None);
    }
    let header = SealedHeader::decode(&block[0], &space.identity, space.capacity_bytes)?;
    Ok(Some(header))
}

fn read_body(
    file: &dyn DiskFile,
    space: &SegmentSpace,
    header: &SealedHeader,
) -> Result<Vec<Block>, Reject> {
    // Bounded when the header was decoded.
    let count = usize::try_from(header.body_bytes.div_ceil(BLOCK_BYTES as u64));
    let mut blocks = zeroed_blocks(count.unwrap_or(usize::MAX));
    let offset = space.capacity_bytes + BLOCK_BYTES as u64;
    let found = file.read_at(offset, &mut blocks);
    let found = found.map_err(Reject::Unreadable)? as u64;
    if found < header.body_bytes {
        return Err(Reject::Truncated {
            found,
            needed: header.body_bytes,
        });
    }
    Ok(blocks)
}
