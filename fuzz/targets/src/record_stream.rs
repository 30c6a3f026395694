//! Recovery of a log, whole and damaged.
//!
//! ```text
//! byte 0: 1 an honest log   then ops: 0-3 batch | 4 zeros | 5, 6 next segment | 7 epoch | 8 damage
//! ```
//! An honest log is one that the engine could have written: of it, damage below a watermark that is
//! still there must not lose a record in silence.

use crate::input::Input;
use crate::log_builder::{Collected, LogBuilder, Written, log_state};
use bop_storage::error::OpenError;
use bop_storage::ids::{DbId, Lsn};
use bop_storage::io::layout;
use bop_storage::log::format::DATA_START;
use bop_storage::log::recover::Recovered;
use bop_storage::log::scan::{Manner, SegmentSpace, scan_segment};
use bop_storage::log::{Helpers, RegisteredSegment, recover};
use bop_storage::runtime::SystemSpawn;
use bop_storage::testing::SimDisk;

/// A byte that is another one than was written.
struct Flip {
    segment: usize,
    offset: usize,
    mask: u8,
}

/// Builds the log, recovers it, damages it, recovers it again.
pub fn record_stream(data: &[u8]) {
    let mut input = Input::new(data);
    let mut log = LogBuilder::new(input.u8() & 1 == 1);
    let mut flips = Vec::new();
    while !input.is_empty() {
        let op = input.u8();
        match op % 9 {
            0..=3 => {
                let behind = u64::from(input.u8()) << 9;
                log.batch(&mut input, op % 9 + 1, behind);
            }
            4 => log.skip_block(),
            5 => log.next_segment(true),
            6 => log.next_segment(false),
            7 => log.next_epoch(),
            _ => flips.push(Flip {
                segment: usize::from(input.u8()) % 3,
                offset: usize::from(input.u16()),
                mask: input.u8(),
            }),
        }
    }
    let segments = log.registered();
    let whole = look(&log.files, &segments);
    flips.retain(|flip| {
        let byte = log
            .files
            .get(flip.segment)
            .and_then(|file| file.get(flip.offset));
        flip.mask != 0 && byte.is_some()
    });
    if flips.is_empty() {
        return;
    }
    let mut files = log.files.clone();
    for flip in &flips {
        files[flip.segment][flip.offset] ^= flip.mask;
    }
    let damaged = look(&files, &segments);
    if log.honest {
        compare(&log.batches, &flips, whole, damaged);
    }
}

type Looked = (Result<Recovered, OpenError>, Collected);

/// Recovery alone and with helpers must say the same; so must the scan that `verify` makes, twice.
fn look(files: &[Vec<u8>], segments: &[RegisteredSegment]) -> Looked {
    let disk = SimDisk::new(1);
    for (segment, file) in segments.iter().zip(files) {
        disk.write_raw(&layout::segment(segment.id), file);
    }
    let read = |threads| {
        let mut found = Collected::default();
        let helpers = Helpers::at_most(&SystemSpawn, threads);
        let recovered = recover(&disk, &log_state(segments), helpers, &mut found);
        (recovered, found)
    };
    let alone = read(0);
    if 1 < segments.len() {
        let helped = read(1);
        assert_eq!(format!("{:?}", alone.0), format!("{:?}", helped.0));
        assert_eq!(alone.1, helped.1);
    }
    if let Ok(recovered) = &alone.0
        && let Some(active) = recovered.active
    {
        scan(&disk, recovered, active.identity, active.base);
    }
    alone
}

/// With images, which recovery does not read.
fn scan(
    disk: &SimDisk,
    recovered: &Recovered,
    identity: bop_storage::log::format::SegmentIdentity,
    base: Lsn,
) {
    use bop_storage::io::{Disk, OpenMode};
    let space = SegmentSpace {
        identity,
        base,
        capacity_bytes: 64 << 10,
        epoch: recovered.max_epoch,
    };
    let Ok(file) = disk.open(&layout::segment(identity.segment), OpenMode::Read) else {
        return;
    };
    let manner = Manner {
        keep: &|_| (),
        images: true,
    };
    let Ok(scanned) = scan_segment(file, &space, space.limit(), manner) else {
        return;
    };
    let mut at = base;
    for span in scanned.spans {
        assert!(span.lsn == at && at < span.end, "spans with a gap");
        at = span.end;
    }
}

/// What was delivered below a watermark that is still to be read is delivered, or its database is closed.
fn compare(batches: &[Written], flips: &[Flip], whole: Looked, damaged: Looked) {
    let in_batch = |flip: &Flip, batch: &Written| {
        let end = batch.offset + batch.bytes;
        batch.segment == flip.segment && (batch.offset..end).contains(&flip.offset)
    };
    let Ok(sound) = whole.0 else { return };
    let outside = |flip: &Flip| {
        (flip.offset as u64) < DATA_START || !batches.iter().any(|batch| in_batch(flip, batch))
    };
    if !sound.findings.is_empty() || !sound.damaged.is_empty() || flips.iter().any(outside) {
        return;
    }
    let Ok(found) = damaged.0 else { return };
    let untouched = batches
        .iter()
        .filter(|batch| !flips.iter().any(|flip| in_batch(flip, batch)));
    let known = untouched
        .map(|batch| batch.durable)
        .max()
        .unwrap_or_default();
    let closed = |database: DbId| {
        found.damaged.contains_key(&database) || found.damaged.contains_key(&DbId::CATALOGUE)
    };
    for (database, lsn, said) in &whole.1.delivered {
        let there = || {
            damaged
                .1
                .delivered
                .iter()
                .any(|other| (other.0, other.1) == (*database, *lsn))
        };
        assert!(
            known <= *lsn || closed(*database) || there(),
            "lost in silence, below {known}: {said} of {database} at {lsn}"
        );
    }
}
