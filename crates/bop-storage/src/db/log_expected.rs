//! Images of the log that a copy asks for next, read together.
//!
//! ```text
//! images, in any order --by file and place--> a batch of runs of blocks, one file's --> its images alone, in memory
//!                                              '-- until none is left <--------------'
//! ```
//! Versions of a page stand as far apart as its commits came, and those of many databases between them: one
//! read after the other would wait for the device as often as there are versions, and read each block for
//! every one in it.
//!
//! Invariants
//! - it is a hint: what is not here is read by whoever asks for it, and every image is proved by its caller;
//! - at most [`EXPECTED_BYTES_MAX`] of images are in one of these, and while they are read [`READ_BYTES_MAX`] of blocks.
//!
//! Never: tells of a read that failed.

use super::log_sorted::Scratch;
use crate::checkpoint::{EXPECTED_BYTES_MAX, fitting};
use crate::ids::{Incarnation, SegmentId};
use crate::io::{BLOCK_BYTES, Block, READ_GAP_BLOCKS_MAX, ReadPart, zeroed_blocks};
use crate::log::LogSegment;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Of the blocks that are read at once; an image that is longer is read by itself.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A file of the log, in one of its lives.
pub(super) type FileKey = (SegmentId, Incarnation);

pub(super) fn file_key(segment: &LogSegment) -> FileKey {
    (segment.id, segment.incarnation)
}

/// Where an image is: the segment, the offset in its file, bytes.
pub(super) type ImagePlace = (Arc<LogSegment>, u64, usize);

/// What was read, and what is to be.
#[derive(Default)]
pub(super) struct Expected {
    /// By file, then by place.
    to_read: VecDeque<ImagePlace>,
    /// In the same order.
    images: Vec<Image>,
    bytes: Vec<u8>,
    /// For the blocks of a batch.
    blocks: Vec<Block>,
    /// Where they were sorted to, if they were, and how far that is read.
    sorted: Option<(Arc<Scratch>, u64)>,
}

/// An image that was read.
struct Image {
    place: (FileKey, u64),
    /// Where it is among the bytes of all.
    at: Range<usize>,
}

/// Blocks one behind the other, with the images in them.
struct Run {
    /// Which of the batch's.
    images: Range<usize>,
    start: u64,
    end: u64,
}

impl Run {
    fn blocks(&self) -> usize {
        ((self.end - self.start) / BLOCK) as usize
    }
}

/// Images of one file that are read together.
pub(super) struct Batch {
    /// In the order of their places.
    images: Vec<ImagePlace>,
    runs: Vec<Run>,
    /// Those of the runs, once they were read, one run behind the other.
    blocks: Vec<Block>,
    /// Bytes that the file had of each run.
    found: Vec<usize>,
}

impl Batch {
    /// The first of `images`, which are in the order of their places: of `most` bytes of blocks, or one. `blocks` is
    /// memory that is used again.
    pub(super) fn take(images: &mut VecDeque<ImagePlace>, most: u64, blocks: Vec<Block>) -> Self {
        let runs = next_runs(images.make_contiguous(), most);
        let count = runs.last().map_or(0, |last| last.images.end);
        Self {
            images: images.drain(..count).collect(),
            found: vec![0; runs.len()],
            runs,
            blocks,
        }
    }

    /// Images in it.
    pub(super) fn count(&self) -> usize {
        self.images.len()
    }

    /// Reads the blocks.
    pub(super) fn read(&mut self) {
        let Some((segment, _, _)) = self.images.first() else {
            return;
        };
        let count = self.runs.iter().map(Run::blocks).sum();
        if self.blocks.len() < count {
            self.blocks = zeroed_blocks(count);
        }
        let mut rest = &mut self.blocks[..];
        let mut parts = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let (own, behind) = rest.split_at_mut(run.blocks());
            parts.push(ReadPart::new(run.start, own));
            rest = behind;
        }
        if segment.file.read_many(&mut parts).is_ok() {
            self.found = parts.iter().map(|part| part.found).collect();
        }
    }

    /// The images in their order; `None` of one that could not be read.
    pub(super) fn images(&self) -> impl Iterator<Item = (&ImagePlace, Option<&[u8]>)> {
        let mut at = 0;
        let runs = self.runs.iter().zip(&self.found);
        runs.flat_map(move |(run, found)| {
            let blocks = self.blocks.as_bytes().get(at..at + found);
            let blocks = blocks.unwrap_or_default();
            at += run.blocks() * BLOCK_BYTES;
            self.images[run.images.clone()].iter().map(move |image| {
                let from = (image.1 - run.start) as usize;
                (image, blocks.get(from..from + image.2))
            })
        })
    }

    /// The memory.
    pub(super) fn into_blocks(self) -> Vec<Block> {
        self.blocks
    }
}

impl Expected {
    /// These are to be read from the log.
    pub(super) fn new(mut images: Vec<ImagePlace>) -> Self {
        images.sort_unstable_by_key(by_place);
        let mut left = EXPECTED_BYTES_MAX;
        let fit = fitting(images.iter().map(|(_, _, bytes)| *bytes), &mut left);
        images.truncate(fit);
        Self {
            images: Vec::with_capacity(fit),
            bytes: Vec::with_capacity(EXPECTED_BYTES_MAX - left),
            to_read: images.into(),
            ..Self::default()
        }
    }

    /// These are, from where they were sorted to: one behind the other from `start` on, in this order, which is that
    /// of the log.
    pub(super) fn sorted(images: &[ImagePlace], file: Arc<Scratch>, start: u64) -> Self {
        let mut end = 0;
        let image = |(segment, offset, bytes): &ImagePlace| {
            let at = end..end + bytes;
            end = at.end;
            let place = (file_key(segment), *offset);
            Image { place, at }
        };
        Self {
            images: images.iter().map(image).collect(),
            bytes: Vec::with_capacity(end),
            sorted: Some((file, start)),
            ..Self::default()
        }
    }

    /// All of these, about so many bytes of blocks at once.
    pub(super) fn of(images: Vec<ImagePlace>, at_once: u64) -> Self {
        let mut expected = Self::new(images);
        while expected.read_some(at_once) {}
        expected
    }

    /// Reads about so many bytes of blocks; `false` when nothing is left.
    pub(super) fn read_some(&mut self, at_once: u64) -> bool {
        let at_once = at_once.min(READ_BYTES_MAX);
        if let Some((file, start)) = self.sorted.take() {
            return self.read_sorted(file, start, at_once);
        }
        let mut batch = Batch::take(&mut self.to_read, at_once, std::mem::take(&mut self.blocks));
        batch.read();
        for ((segment, offset, _), found) in batch.images() {
            if let Some(image) = found {
                let at = self.bytes.len()..self.bytes.len() + image.len();
                self.bytes.extend_from_slice(image);
                let place = (file_key(segment), *offset);
                self.images.push(Image { place, at });
            }
        }
        if self.to_read.is_empty() {
            // What is read may be kept for long.
            self.to_read = VecDeque::new();
            return false;
        }
        self.blocks = batch.into_blocks();
        true
    }

    /// Reads on in the scratch file, from `start` on.
    fn read_sorted(&mut self, file: Arc<Scratch>, start: u64, at_once: u64) -> bool {
        let all = self.images.last().map_or(0, |image| image.at.end);
        let left = all - self.bytes.len();
        let count = left.div_ceil(BLOCK_BYTES).min((at_once / BLOCK) as usize);
        if self.blocks.len() < count {
            self.blocks = zeroed_blocks(count);
        }
        let wanted = left.min(count * BLOCK_BYTES);
        let found = file.read(start, &mut self.blocks[..count]).min(wanted);
        let bytes = self.blocks.as_bytes();
        self.bytes.extend_from_slice(&bytes[..found]);
        if found < left && found == wanted {
            self.sorted = Some((file, start + found as u64));
            return true;
        }
        self.blocks = Vec::new();
        false
    }

    /// Images that were read.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.images.len()
    }

    /// An image, if it is here.
    pub(super) fn at(&self, segment: &LogSegment, offset: u64, bytes: usize) -> Option<&[u8]> {
        let place = (file_key(segment), offset);
        let found = self
            .images
            .binary_search_by_key(&place, |image| image.place);
        let image = self.bytes.get(self.images.get(found.ok()?)?.at.clone())?;
        image.get(..bytes)
    }
}

/// The order of the log.
pub(super) fn by_place((segment, offset, _): &ImagePlace) -> (FileKey, u64) {
    (file_key(segment), *offset)
}

/// What is read next for images in the order of their places: blocks of one file, `most` bytes or one image. A block
/// with images of two batches is read for both.
fn next_runs(images: &[ImagePlace], most: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for (nth, (segment, offset, length)) in images.iter().enumerate() {
        let start = offset - offset % BLOCK;
        let end = (offset + *length as u64).next_multiple_of(BLOCK);
        if let Some(last) = runs.last_mut() {
            if file_key(&images[0].0) != file_key(segment) {
                break;
            }
            let joins = start <= last.end + READ_GAP_BLOCKS_MAX * BLOCK;
            let from = if joins { last.end } else { start };
            let more = end.saturating_sub(from);
            if most < bytes + more {
                break;
            }
            bytes += more;
            if joins {
                last.end = last.end.max(end);
                last.images.end = nth + 1;
                continue;
            }
        } else {
            bytes = end - start;
        }
        let images = nth..nth + 1;
        runs.push(Run { images, start, end });
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

    /// Reads all of them, in pieces of so many bytes; how many pieces.
    fn read(expected: &mut Expected, images: Vec<ImagePlace>, at_once: u64) -> usize {
        *expected = Expected::new(images);
        let mut pieces = 1;
        while expected.read_some(at_once) {
            pieces += 1;
        }
        pieces
    }

    /// The batches that these are read in, each as its runs: the file, the first block, the block behind the last.
    fn batches(mut images: Vec<ImagePlace>, at_once: u64) -> Vec<Vec<(u64, u64, u64)>> {
        images.sort_unstable_by_key(by_place);
        let (mut rest, mut batches) = (VecDeque::from(images), Vec::new());
        while !rest.is_empty() {
            let batch = Batch::take(&mut rest, at_once, Vec::new());
            let file = batch.images[0].0.id.get();
            let extent = |run: &Run| (file, run.start / BLOCK, run.end / BLOCK);
            batches.push(batch.runs.iter().map(extent).collect());
        }
        batches
    }

    #[test]
    fn images_of_two_files_are_read_in_as_few_runs_as_pays() {
        let disk = SimDisk::new(1);
        let (one, other) = (segment(&disk, 1, 200), segment(&disk, 2, 200));
        let mut expected = Expected::default();
        let of_one = [150, 3, 8, 9, 4].map(|block| place(&one, block));
        let of_other = [7, 3].map(|block| place(&other, block));
        let all: Vec<_> = of_other.into_iter().chain(of_one).collect();
        let expected_batches = [vec![(1, 3, 10), (1, 150, 151)], vec![(2, 3, 8)]];
        assert_eq!(batches(all.clone(), AT_ONCE), expected_batches);
        assert_eq!(read(&mut expected, all, AT_ONCE), 2);
        for block in [3, 4, 8, 9, 150] {
            assert_eq!(first(&expected, &one, block), Some(block as u8), "{block}");
        }
        assert_eq!(first(&expected, &other, 7), Some(7));
        // Of what was read with them nothing is kept.
        for (segment, block) in [(&one, 2), (&one, 5), (&one, 151), (&other, 150)] {
            assert_eq!(first(&expected, segment, block), None, "{block}");
        }
        let longer = expected.at(&one, 9 * BLOCK + 500, 101);
        assert_eq!(longer, None, "more than the image");
        // Others take their place.
        read(&mut expected, vec![place(&one, 90)], AT_ONCE);
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
        let whole = [[(1, 0, 20)], [(2, 0, 20)]];
        assert_eq!(batches(all.clone(), u64::MAX), whole);
        let pieces = [
            (1, 0, 8),
            (1, 8, 16),
            (1, 16, 20),
            (2, 0, 8),
            (2, 8, 16),
            (2, 16, 20),
        ];
        assert_eq!(batches(all.clone(), 8 * BLOCK), pieces.map(|run| vec![run]));
        // Apart they are runs by themselves, and three of them fit.
        let far: Vec<_> = (0..7).map(|nth| place(&one, 10 * nth)).collect();
        let lengths: Vec<_> = batches(far, 3 * BLOCK).iter().map(Vec::len).collect();
        assert_eq!(lengths, [3, 3, 1]);
        let mut expected = Expected::default();
        assert_eq!(read(&mut expected, all, 8 * BLOCK), 6);
        for block in 0..20 {
            assert_eq!(first(&expected, &one, block), Some(block as u8));
            assert_eq!(first(&expected, &other, block), Some(block as u8));
        }
    }

    #[test]
    fn a_run_ends_inside_a_block_too_and_an_image_longer_than_a_run_is_whole() {
        let disk = SimDisk::new(1);
        let segment = segment(&disk, 1, 100);
        // One behind the other: no block ends where an image does.
        let mut images: Vec<_> = (0..100).map(|nth| (nth * 3000, 3000)).collect();
        images.push((300_000, 60_000));
        let places = images.iter();
        let places = places.map(|(offset, bytes)| (Arc::clone(&segment), *offset, *bytes));
        let places: Vec<_> = places.collect();
        let batches = batches(places[..100].to_vec(), 8 * BLOCK);
        let bytes = |runs: &Vec<(u64, u64, u64)>| runs.iter().map(|run| run.2 - run.1).sum::<u64>();
        assert_eq!(batches.iter().map(bytes).max(), Some(8));
        let mut expected = Expected::default();
        read(&mut expected, places, 8 * BLOCK);
        for (offset, bytes) in images {
            let found = expected.at(&segment, offset, bytes).unwrap();
            let of_block = |nth: u64| ((offset + nth) / BLOCK) as u8;
            assert_eq!(found[0], of_block(0), "at {offset}");
            assert_eq!(found[bytes - 1], of_block(bytes as u64 - 1), "at {offset}");
        }
    }

    #[test]
    fn each_block_is_read_once_for_all_images_in_it() {
        let disk = SimDisk::new(1);
        let segment = segment(&disk, 1, 100);
        let image = |nth: u64| (Arc::clone(&segment), nth * 100, 100);
        // As those of several databases: none behind the one before.
        let images: Vec<_> = (0..4000).map(|nth| image(nth * 7 % 4000)).collect();
        let mut expected = Expected::default();
        let before = disk.read_count();
        read(&mut expected, images, AT_ONCE);
        assert_eq!(disk.read_count() - before, 1, "98 blocks in a row");
        for nth in 0..4000 {
            let found = expected.at(&segment, nth * 100, 100).unwrap();
            assert_eq!(u64::from(found[0]), nth * 100 / BLOCK, "{nth}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_does_not_fit_is_not_here() {
        let disk = SimDisk::new(1);
        let (one, other) = (segment(&disk, 1, 8300), segment(&disk, 2, 8));
        let mut expected = Expected::default();
        disk.fail_read_at(disk.read_count(), Fault::Error(5));
        let all = vec![place(&one, 4), place(&other, 2), place(&other, 9)];
        read(&mut expected, all, AT_ONCE);
        assert_eq!(first(&expected, &one, 4), None, "the kernel refused it");
        assert_eq!(first(&expected, &other, 2), Some(2));
        assert_eq!(first(&expected, &other, 9), None, "behind the end");
        let most = EXPECTED_BYTES_MAX as u64 / BLOCK;
        let whole = (0..8300).map(|nth| (Arc::clone(&one), nth * BLOCK, BLOCK_BYTES));
        read(&mut expected, whole.collect(), AT_ONCE);
        assert_eq!(expected.count() as u64, most);
        assert_eq!(expected.bytes.len(), EXPECTED_BYTES_MAX);
    }
}
