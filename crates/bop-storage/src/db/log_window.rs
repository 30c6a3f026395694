//! The part of the log that copies read ahead.
//!
//! A checkpoint asks for one page at a time, and their images mostly stand one behind the other, as they
//! were committed: one read of the device serves many.
//!
//! ```text
//!   an image inside the window ------------------> copied out of it
//!   one that begins where the window ended ------> a window of four times as much, from there on
//!   one anywhere else ---------------------------> just its own blocks
//! ```
//! Invariant: what it answers is what the file had at some time since the segment was made; the caller
//! proves it, and reads the device where it is not what it must be.
//!
//! Never: reads again what failed; more than one buffer.

use crate::ids::{Incarnation, SegmentId};
use crate::io::{BLOCK_BYTES, BUFFER_BLOCKS, Block, zeroed_blocks};
use crate::log::LogSegment;
use parking_lot::Mutex;
use std::fmt;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// How far behind the window an image may begin that is taken for the next one.
const SKIPPED_MAX: u64 = 64 << 10;

/// One window, for whoever copies: checkpoints are made one at a time.
#[derive(Default)]
pub(crate) struct LogWindow(Mutex<Window>);

#[derive(Default)]
struct Window {
    segment: Option<(SegmentId, Incarnation)>,
    /// Where it begins in the segment's file.
    start: u64,
    /// Bytes of it that the file had.
    bytes: usize,
    /// What the last read was for.
    count: usize,
    blocks: Vec<Block>,
}

impl LogWindow {
    /// Shows `bytes` bytes of a segment's file from `offset` on; `None` when they could not be read, or
    /// are more than a window.
    pub(super) fn read<T>(
        &self,
        segment: &LogSegment,
        offset: u64,
        bytes: usize,
        show: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let mut window = self.0.lock();
        if window.at(segment, offset, bytes).is_none() {
            window.load(segment, offset, bytes)?;
        }
        window.at(segment, offset, bytes).map(show)
    }
}

impl Window {
    fn is_of(&self, segment: &LogSegment) -> bool {
        self.segment == Some((segment.id, segment.incarnation))
    }

    fn at(&self, segment: &LogSegment, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let found = self.blocks.as_bytes().get(..self.bytes)?;
        let image = found.get(start..start.checked_add(bytes)?)?;
        self.is_of(segment).then_some(image)
    }

    fn load(&mut self, segment: &LogSegment, offset: u64, bytes: usize) -> Option<()> {
        let start = offset - offset % BLOCK;
        let needed = ((offset - start) as usize).checked_add(bytes)?;
        let end = self.start + self.bytes as u64;
        let goes_on = self.is_of(segment) && self.start <= start && start <= end + SKIPPED_MAX;
        let count = if goes_on { 4 * self.count } else { 1 };
        let count_min = needed.div_ceil(BLOCK_BYTES);
        if count_min > BUFFER_BLOCKS {
            return None;
        }
        let count = count.clamp(count_min, BUFFER_BLOCKS);
        if self.blocks.is_empty() {
            self.blocks = zeroed_blocks(BUFFER_BLOCKS);
        }
        self.bytes = 0;
        let found = segment
            .file
            .read_at(start, self.blocks.get_mut(..count)?)
            .ok()?;
        (self.start, self.bytes, self.count) = (start, found, count);
        self.segment = Some((segment.id, segment.incarnation));
        Some(())
    }
}

impl fmt::Debug for LogWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogWindow")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Lsn;
    use crate::io::{Disk, OpenMode};
    use crate::testing::SimDisk;
    use std::path::Path;
    use std::sync::Arc;

    /// A segment whose every block is filled with its number.
    fn segment(disk: &SimDisk, id: u64, blocks: u8) -> Arc<LogSegment> {
        let path = format!("segment-{id}");
        let file = disk.open(Path::new(&path), OpenMode::CreateNew).unwrap();
        for number in 0..blocks {
            let mut block = zeroed_blocks(1);
            block.as_mut_bytes().fill(number);
            file.write_at(u64::from(number) * BLOCK, &block).unwrap();
        }
        let bytes = u64::from(blocks) * BLOCK;
        let id = SegmentId::new(id);
        Arc::new(LogSegment::new(
            id,
            Incarnation::default(),
            Lsn::new(0),
            bytes,
            file,
        ))
    }

    /// Reads at an offset and checks it; how many blocks the window has then.
    fn read(window: &LogWindow, segment: &LogSegment, offset: u64, bytes: usize) -> usize {
        let first = (offset / BLOCK) as u8;
        let found = window.read(segment, offset, bytes, |found| {
            assert_eq!(found.len(), bytes);
            found[0]
        });
        assert_eq!(found, Some(first), "at {offset}");
        window.0.lock().bytes / BLOCK_BYTES
    }

    #[test]
    fn images_one_behind_the_other_make_the_window_grow() {
        let (disk, window) = (SimDisk::new(1), LogWindow::default());
        let segment = segment(&disk, 1, 200);
        let blocks: Vec<usize> = (0..100)
            .map(|nth| read(&window, &segment, nth * BLOCK + 8, 3000))
            .collect();
        assert_eq!(blocks[..6], [1, 4, 4, 4, 4, 16]);
        assert_eq!(blocks[99], BUFFER_BLOCKS);
        // Back, and at random: just the blocks of the image.
        for nth in [3, 90, 40, 70, 10] {
            assert_eq!(read(&window, &segment, nth * BLOCK + 4000, 200), 2);
        }
    }

    #[test]
    fn another_segment_and_what_is_too_large_are_told_apart() {
        let (disk, window) = (SimDisk::new(1), LogWindow::default());
        let (one, other) = (segment(&disk, 1, 70), segment(&disk, 2, 4));
        read(&window, &one, 0, 4096);
        assert_eq!(read(&window, &other, 3 * BLOCK, 4096), 1);
        assert_eq!(read(&window, &one, 0, 4096), 1);
        let past = window.read(&other, 3 * BLOCK, 4097, <[u8]>::len);
        assert_eq!(past, None, "the file ends there");
        let large = window.read(&one, 0, 65 * BLOCK_BYTES, <[u8]>::len);
        assert_eq!(large, None, "more than a window");
    }
}
