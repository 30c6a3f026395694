//! Images of the log that a copy asks for next, read together.
//!
//! ```text
//! images, in any order --by file and place--> runs of blocks --batches of each file--> in memory
//! ```
//! Versions of a page stand as far apart as its commits came: one read after the other would wait for the
//! device as often as there are versions, a batch keeps it busy.
//!
//! Invariants
//! - it is a hint: what is not here is read by whoever asks for it, and every image is proved by its caller;
//! - at most [`BYTES_MAX`] are in memory.
//!
//! Never: tells of a read that failed.

use crate::ids::{Incarnation, SegmentId};
use crate::io::{BLOCK_BYTES, Block, READ_GAP_BLOCKS_MAX, ReadPart, zeroed_blocks};
use crate::log::LogSegment;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Of all runs.
const BYTES_MAX: u64 = 4 << 20;

/// A file of the log, in one of its lives.
pub(super) type FileKey = (SegmentId, Incarnation);

pub(super) fn file_key(segment: &LogSegment) -> FileKey {
    (segment.id, segment.incarnation)
}

/// Where an image is: the segment, the offset in its file, bytes.
pub(super) type ImagePlace = (Arc<LogSegment>, u64, usize);

/// What was read.
#[derive(Default)]
pub(super) struct Expected {
    /// By file, then by place.
    runs: Vec<Run>,
}

/// Blocks one behind the other.
struct Run {
    segment: Arc<LogSegment>,
    start: u64,
    end: u64,
    blocks: Vec<Block>,
    /// Bytes of them that the file had.
    found: usize,
}

impl Run {
    fn bytes(&self) -> u64 {
        self.end - self.start
    }

    fn place(&self) -> (FileKey, u64) {
        (file_key(&self.segment), self.start)
    }
}

impl Expected {
    /// Reads these, about so many bytes at once, and forgets what was read before.
    pub(super) fn read(&mut self, images: Vec<ImagePlace>, at_once: u64) {
        self.runs = runs(images, at_once);
        for of_file in batches(&mut self.runs, at_once) {
            let Some(file) = of_file.first().map(|run| Arc::clone(&run.segment.file)) else {
                continue;
            };
            let parts = of_file.iter_mut();
            let mut parts: Vec<_> = parts
                .map(|run| ReadPart::new(run.start, &mut run.blocks))
                .collect();
            if file.read_many(&mut parts).is_err() {
                continue;
            }
            let found: Vec<usize> = parts.iter().map(|part| part.found).collect();
            for (run, found) in of_file.iter_mut().zip(found) {
                run.found = found;
            }
        }
    }

    /// An image, if it is here.
    pub(super) fn at(&self, segment: &LogSegment, offset: u64, bytes: usize) -> Option<&[u8]> {
        let place = (file_key(segment), offset);
        let behind = self.runs.partition_point(|run| run.place() <= place);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        if file_key(&run.segment) != place.0 {
            return None;
        }
        let from = usize::try_from(offset - run.start).ok()?;
        let found = run.blocks.as_bytes().get(..run.found)?;
        found.get(from..from.checked_add(bytes)?)
    }
}

/// Runs that are read together: of one file, and of so many bytes if they are not one.
fn batches(runs: &mut [Run], at_once: u64) -> impl Iterator<Item = &mut [Run]> {
    let mut bytes = 0;
    runs.chunk_by_mut(move |one, other| {
        if bytes == 0 {
            bytes = one.bytes();
        }
        bytes += other.bytes();
        let goes_on = bytes <= at_once && file_key(&one.segment) == file_key(&other.segment);
        if !goes_on {
            bytes = 0;
        }
        goes_on
    })
}

/// What is to be read for these images, nothing of it yet. A run ends at so many bytes, where no image stands on
/// both sides.
fn runs(mut images: Vec<ImagePlace>, run_bytes: u64) -> Vec<Run> {
    images.sort_unstable_by_key(|(segment, offset, _)| (file_key(segment), *offset));
    let mut runs: Vec<Run> = Vec::new();
    let mut left = BYTES_MAX;
    for (segment, offset, bytes) in images {
        let start = offset - offset % BLOCK;
        let end = (offset + bytes as u64).next_multiple_of(BLOCK);
        let last = runs.last_mut().filter(|last| {
            let is_near = start <= last.end + READ_GAP_BLOCKS_MAX * BLOCK;
            let is_short = start < last.end || end - last.start <= run_bytes;
            is_near && is_short && file_key(&last.segment) == file_key(&segment)
        });
        let more = end.saturating_sub(last.as_ref().map_or(start, |last| last.end));
        if left < more {
            break;
        }
        left -= more;
        match last {
            Some(last) => last.end = last.end.max(end),
            None => runs.push(Run {
                segment,
                start,
                end,
                blocks: Vec::new(),
                found: 0,
            }),
        }
    }
    for run in &mut runs {
        run.blocks = zeroed_blocks(((run.end - run.start) / BLOCK) as usize);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::super::log_window::tests::segment;
    use super::*;
    use crate::testing::{Fault, SimDisk};

    const AT_ONCE: u64 = 1 << 20;

    /// The first byte of an image of 100 bytes in the block with that number, if it is here.
    fn first(expected: &Expected, segment: &LogSegment, block: u64) -> Option<u8> {
        let image = expected.at(segment, block * BLOCK + 500, 100)?;
        assert_eq!(image.len(), 100);
        Some(image[0])
    }

    fn place(segment: &Arc<LogSegment>, block: u64) -> ImagePlace {
        (Arc::clone(segment), block * BLOCK + 500, 100)
    }

    #[test]
    fn images_of_two_files_are_read_in_as_few_runs_as_pays() {
        let disk = SimDisk::new(1);
        let (one, other) = (segment(&disk, 1, 200), segment(&disk, 2, 200));
        let mut expected = Expected::default();
        let of_one = [150, 3, 8, 9, 4].map(|block| place(&one, block));
        let of_other = [7, 3].map(|block| place(&other, block));
        expected.read(of_other.into_iter().chain(of_one).collect(), AT_ONCE);
        let extents: Vec<_> = expected
            .runs
            .iter()
            .map(|run| (run.segment.id.get(), run.start / BLOCK, run.end / BLOCK))
            .collect();
        assert_eq!(extents, [(1, 3, 10), (1, 150, 151), (2, 3, 8)]);
        for block in [3, 4, 5, 9, 150] {
            assert_eq!(first(&expected, &one, block), Some(block as u8), "{block}");
        }
        assert_eq!(first(&expected, &other, 7), Some(7));
        for (segment, block) in [(&one, 2), (&one, 10), (&one, 151), (&other, 150)] {
            assert_eq!(first(&expected, segment, block), None, "{block}");
        }
        let across = expected.at(&one, 10 * BLOCK - 50, 100);
        assert_eq!(
            across, None,
            "it begins in what was read and ends elsewhere"
        );
        // Others take their place.
        expected.read(vec![place(&one, 90)], AT_ONCE);
        assert_eq!(first(&expected, &one, 3), None);
        assert_eq!(first(&expected, &one, 90), Some(90));
    }

    #[test]
    fn little_is_read_at_once_where_that_is_wanted() {
        let disk = SimDisk::new(1);
        let (one, other) = (segment(&disk, 1, 100), segment(&disk, 2, 100));
        let all: Vec<ImagePlace> = [&one, &other]
            .into_iter()
            .flat_map(|segment| (0..20).map(|nth| place(segment, nth)))
            .collect();
        let lengths = |at_once: u64| {
            let mut runs = runs(all.clone(), at_once);
            let batches = batches(&mut runs, at_once);
            batches.map(|batch| batch.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(u64::MAX), [1, 1], "each file is one run");
        assert_eq!(lengths(8 * BLOCK), [1; 6], "8, 8 and 4 blocks of each");
        // Apart they are runs by themselves, and three of them fit.
        let far = (0..7).map(|nth| place(&one, 10 * nth)).collect();
        let mut far = runs(far, 3 * BLOCK);
        let far: Vec<_> = batches(&mut far, 3 * BLOCK)
            .map(|batch| batch.len())
            .collect();
        assert_eq!(far, [3, 3, 1]);
        let mut expected = Expected::default();
        expected.read(all, 8 * BLOCK);
        for block in 0..20 {
            assert_eq!(first(&expected, &one, block), Some(block as u8));
        }
    }

    #[test]
    fn what_cannot_be_read_or_does_not_fit_is_not_here() {
        let disk = SimDisk::new(1);
        let (one, other) = (segment(&disk, 1, 60_000), segment(&disk, 2, 8));
        let mut expected = Expected::default();
        disk.fail_read_at(disk.read_count(), Fault::Error(5));
        expected.read(
            vec![place(&one, 4), place(&other, 2), place(&other, 9)],
            AT_ONCE,
        );
        assert_eq!(first(&expected, &one, 4), None, "the kernel refused it");
        assert_eq!(first(&expected, &other, 2), Some(2));
        assert_eq!(first(&expected, &other, 9), None, "behind the end");
        let far_apart = (0..6000).map(|nth| place(&one, 10 * nth));
        expected.read(far_apart.collect(), AT_ONCE);
        let most = BYTES_MAX / BLOCK;
        assert_eq!(expected.runs.len() as u64, most);
        assert_eq!(first(&expected, &one, 10 * most), None);
    }
}
