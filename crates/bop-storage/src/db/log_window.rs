//! The part of the log that copies read ahead.
//!
//! A checkpoint asks for one page at a time, and their images mostly stand one behind the other, as they
//! were committed: one read of the device serves many, and the next one is under way meanwhile. Those that
//! stand far apart it can tell before: they are read all at a time ([`Expected`]).
//!
//! ```text
//!   an image that was expected, or lent ---------> shown
//!   an image inside the window ------------------> shown
//!   one that begins where the window ended ------> a window of four times as much, from there on
//!      '-- the window was a largest one ---------> what an errand has read by now; another one reads on
//!   one anywhere else ---------------------------> just its own blocks
//! ```
//! Where errands are to be gentle the largest window is a quarter, and so is a piece of what is expected.
//!
//! Invariant: what it answers is a hint: what the file had at some time since the segment was made, or, of what was
//! sorted, perhaps nothing that it ever had. The caller proves it, and reads the device where it is not what it must be.
//!
//! Never: reads again what failed; more than two buffers, and what is expected or lent.

use super::log_coming::Coming;
use super::log_expected::{Expected, FileKey, ImagePlace, file_key};
use super::log_rounds::Rounds;
use super::log_sorted::SortingRoom;
use crate::io::{BLOCK_BYTES, Block, zeroed_blocks};
use crate::log::LogSegment;
use crate::runtime::sync::Mutex;
use crate::runtime::{Errands, Pending, Waited};
use std::fmt;
use std::sync::Arc;
use zerocopy::IntoBytes;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// The largest window: 1 MiB, from where on larger reads gain little.
const WINDOW_BLOCKS: usize = 256;
/// What the next window may take over of the one before: an image of 64 KiB that begins inside a block.
const CARRIED_BLOCKS: usize = 17;
/// Of what is expected so much is read before whoever copies may do something else.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// How far behind the window an image may begin that is taken for the next one.
const SKIPPED_MAX: u64 = 64 << 10;

/// One window, for whoever copies: checkpoints are made one at a time.
pub(crate) struct LogWindow {
    window: Mutex<Window>,
    errands: Arc<Errands>,
    room: SortingRoom,
}

#[derive(Default)]
struct Window {
    /// What is expected, and was not begun to be read.
    rounds: Rounds,
    /// The round that is read next.
    coming: Coming,
    expected: Expected,
    /// What somebody else has read.
    lent: Expected,
    file: Option<FileKey>,
    /// Where it begins in the file.
    start: u64,
    /// Bytes of it that the file had.
    bytes: usize,
    /// What the last read was for, in blocks.
    count: usize,
    /// Where it begins in `buffer`, in blocks.
    first: usize,
    buffer: Vec<Block>,
    /// The buffer of the window before, for the one after the next.
    spare: Vec<Block>,
    ahead: Option<Ahead>,
}

/// What an errand reads.
struct Ahead {
    file: FileKey,
    start: u64,
    read: Pending<Read>,
}

/// A buffer that was filled behind its first [`CARRIED_BLOCKS`], and how far.
struct Read {
    buffer: Vec<Block>,
    found: Option<usize>,
}

impl Read {
    fn new(segment: &LogSegment, start: u64, count: usize, mut buffer: Vec<Block>) -> Self {
        if buffer.is_empty() {
            buffer = zeroed_blocks(CARRIED_BLOCKS + WINDOW_BLOCKS);
        }
        let blocks = buffer.get_mut(CARRIED_BLOCKS..CARRIED_BLOCKS + count);
        let found = blocks.and_then(|blocks| segment.file.read_at(start, blocks).ok());
        Self { buffer, found }
    }
}

impl LogWindow {
    pub(super) fn new(errands: Arc<Errands>, room: SortingRoom) -> Self {
        Self {
            window: Mutex::default(),
            errands,
            room,
        }
    }

    pub(super) fn errands(&self) -> &Errands {
        &self.errands
    }

    /// Images that are asked for next, too, each with whether its version is in memory: of the round that is open.
    pub(super) fn expect(&self, images: impl Iterator<Item = (ImagePlace, bool)>) {
        let rounds = &mut self.window.lock().rounds;
        images.for_each(|(image, is_cached)| rounds.expect(image, is_cached));
    }

    /// What is expected from now on is of another round.
    pub(super) fn end_round(&self) {
        self.window.lock().rounds.end_round();
    }

    /// Reads a piece of the next round, when all rounds were told; `false` when nothing is left of it.
    pub(super) fn read_expected(&self) -> bool {
        let at_once = self.errands.at_once(PIECE_BYTES_MAX);
        let mut window = self.window.lock();
        let rounds = &mut window.rounds;
        rounds.prepare(&self.room, &self.errands, at_once as u64)
            || window.coming().read_here(at_once)
    }

    /// Has a piece of it read meanwhile.
    pub(super) fn read_behind(&self) {
        self.window.lock().coming().read_behind(&self.errands);
    }

    /// Shows what was read of it, instead of the round before.
    pub(super) fn show_expected(&self) {
        let mut window = self.window.lock();
        window.expected = Expected::default();
        window.expected = window.coming.take();
    }

    /// Shows these, too, instead of those that were lent before.
    pub(super) fn lend(&self, images: Expected) {
        self.window.lock().lent = images;
    }

    /// Images that are lent.
    #[cfg(test)]
    pub(super) fn lent_count(&self) -> usize {
        self.window.lock().lent.count()
    }

    /// Nothing is expected any more.
    pub(super) fn expect_nothing(&self) {
        let mut window = self.window.lock();
        (window.rounds, window.expected) = Default::default();
        drop(window.coming.take());
    }

    /// Shows `bytes` bytes of a segment's file from `offset` on; `None` when they could not be read, or
    /// are more than a window.
    pub(super) fn read<T>(
        &self,
        segment: &Arc<LogSegment>,
        offset: u64,
        bytes: usize,
        show: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let mut window = self.window.lock();
        for read in [&window.expected, &window.lent] {
            if let Some(image) = read.at(segment, offset, bytes) {
                return Some(show(image));
            }
        }
        if window.at(segment, offset, bytes).is_none() {
            window.load(segment, offset, bytes, &self.errands)?;
        }
        window.at(segment, offset, bytes).map(show)
    }
}

impl Window {
    /// The round that is read next, begun.
    fn coming(&mut self) -> &mut Coming {
        if self.coming.is_over()
            && let Some(round) = self.rounds.next()
        {
            self.coming.begin(round);
        }
        &mut self.coming
    }

    fn end(&self) -> u64 {
        self.start + self.bytes as u64
    }

    fn at(&self, segment: &LogSegment, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let window = self.buffer.get(self.first..)?.as_bytes();
        let image = window
            .get(..self.bytes)?
            .get(start..start.checked_add(bytes)?)?;
        (self.file == Some(file_key(segment))).then_some(image)
    }

    fn load(
        &mut self,
        segment: &Arc<LogSegment>,
        offset: u64,
        bytes: usize,
        errands: &Errands,
    ) -> Option<()> {
        let start = offset - offset % BLOCK;
        let needed = ((offset - start) as usize).checked_add(bytes)?;
        let count_min = needed.div_ceil(BLOCK_BYTES);
        if count_min > WINDOW_BLOCKS {
            return None;
        }
        let largest = errands.at_once(WINDOW_BLOCKS * BLOCK_BYTES) / BLOCK_BYTES;
        let follows = self.start <= start && start <= self.end() + SKIPPED_MAX;
        let goes_on = self.file == Some(file_key(segment)) && follows;
        if !(goes_on && self.slide(segment, start)) || self.at(segment, offset, bytes).is_none() {
            let count = if goes_on { 4 * self.count } else { 1 };
            self.count = count.min(largest).max(count_min);
            let buffer = std::mem::take(&mut self.spare);
            self.show(start, Read::new(segment, start, self.count, buffer))?;
            self.file = Some(file_key(segment));
        }
        if largest <= self.count && self.ahead.is_none() {
            self.read_ahead(segment, largest, errands);
        }
        Some(())
    }

    /// Goes on to what was read ahead, with what the window has from `start` on; `false` when nothing
    /// was that begins where the window ends.
    fn slide(&mut self, segment: &LogSegment, start: u64) -> bool {
        let (file, end) = (file_key(segment), self.end());
        let Some(ahead) = self.ahead.take() else {
            return false;
        };
        let carried = (end.saturating_sub(start) / BLOCK) as usize;
        if (ahead.file, ahead.start) != (file, end) || carried > CARRIED_BLOCKS {
            return false;
        }
        let Waited::Answer(mut read) = ahead.read.wait(None) else {
            return false;
        };
        let (from, to) = (self.first + self.bytes / BLOCK_BYTES, CARRIED_BLOCKS);
        let old = self.buffer.get(from - carried..from);
        let new = read.buffer.get_mut(to - carried..to);
        let (Some(old), Some(new)) = (old, new) else {
            return false;
        };
        new.copy_from_slice(old);
        self.show(end, read).map(|()| self.carry(carried)).is_some()
    }

    /// Shows what was read from `start` on.
    fn show(&mut self, start: u64, read: Read) -> Option<()> {
        self.spare = std::mem::replace(&mut self.buffer, read.buffer);
        (self.start, self.first) = (start, CARRIED_BLOCKS);
        self.bytes = read.found.unwrap_or(0);
        read.found.map(drop)
    }

    /// Shows the blocks in front of what was read, too.
    fn carry(&mut self, blocks: usize) {
        self.first -= blocks;
        self.start -= blocks as u64 * BLOCK;
        self.bytes += blocks * BLOCK_BYTES;
    }

    fn read_ahead(&mut self, segment: &Arc<LogSegment>, count: usize, errands: &Errands) {
        let start = self.end();
        if !start.is_multiple_of(BLOCK) || segment.capacity_bytes <= start {
            return;
        }
        let (segment, file) = (Arc::clone(segment), file_key(segment));
        let buffer = std::mem::take(&mut self.spare);
        let read = errands.send(move || Read::new(&segment, start, count, buffer));
        self.count = count;
        self.ahead = read.ok().map(|read| Ahead { file, start, read });
    }
}

impl fmt::Debug for LogWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogWindow")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::{Incarnation, Lsn, SegmentId};
    use crate::io::{Disk, OpenMode, layout};
    use crate::runtime::SystemSpawn;
    use crate::testing::{Fault, SimDisk};
    use std::ops::Range;
    use std::path::Path;

    /// A segment whose every block is filled with its number.
    pub(in super::super) fn segment(disk: &SimDisk, id: u64, blocks: u16) -> Arc<LogSegment> {
        let path = format!("segment-{id}");
        let file = disk.open(Path::new(&path), OpenMode::CreateNew).unwrap();
        for number in 0..blocks {
            let mut block = zeroed_blocks(1);
            block.as_mut_bytes().fill(number as u8);
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

    fn window(threads: usize) -> LogWindow {
        let errands = Errands::new(Arc::new(SystemSpawn), threads);
        let disk = SimDisk::new(2);
        disk.create_dir(Path::new(layout::SCRATCH_DIR)).unwrap();
        let room = SortingRoom {
            disk: Arc::new(disk),
            free_bytes_min: 0,
        };
        LogWindow::new(errands, room)
    }

    /// Reads at an offset and checks it; how many blocks the window has then.
    fn read(window: &LogWindow, segment: &Arc<LogSegment>, offset: u64, bytes: usize) -> usize {
        let first = (offset / BLOCK) as u8;
        let found = window.read(segment, offset, bytes, |found| {
            assert_eq!(found.len(), bytes);
            found[0]
        });
        assert_eq!(found, Some(first), "at {offset}");
        window.window.lock().bytes / BLOCK_BYTES
    }

    #[test]
    fn images_one_behind_the_other_make_the_window_grow() {
        let (disk, window) = (SimDisk::new(1), window(4));
        let segment = segment(&disk, 1, 200);
        let blocks: Vec<usize> = (0..100)
            .map(|nth| read(&window, &segment, nth * BLOCK + 8, 3000))
            .collect();
        assert_eq!(blocks[..6], [1, 4, 4, 4, 4, 16]);
        assert_eq!((blocks[84], blocks[99]), (64, 200 - 85));
        // Back, and at random: just the blocks of the image.
        for nth in [3, 90, 40, 70, 10] {
            assert_eq!(read(&window, &segment, nth * BLOCK + 4000, 200), 2);
        }
    }

    /// Goes through a segment from one image to the next, all of which begin inside a block; how many
    /// of them were shown behind what was taken over from the window before.
    fn go_through(window: &LogWindow, segment: &Arc<LogSegment>) -> usize {
        let images = (0..3000 * BLOCK).step_by(3 * BLOCK_BYTES);
        let carried = images.enumerate().filter(|(nth, offset)| {
            let bytes = if nth % 7 == 0 { 60 << 10 } else { 4096 };
            read(window, segment, offset + 100, bytes);
            window.window.lock().first < CARRIED_BLOCKS
        });
        carried.count()
    }

    #[test]
    fn what_was_read_ahead_goes_on_where_the_window_ends() {
        let disk = SimDisk::new(1);
        let segment = segment(&disk, 1, 3100);
        assert_eq!(go_through(&window(0), &segment), 0);
        assert!(go_through(&window(1), &segment) > 100);
    }

    #[test]
    fn who_is_to_be_gentle_reads_a_quarter_at_a_time_and_ahead_all_the_same() {
        let disk = SimDisk::new(1);
        let (segment, window) = (segment(&disk, 1, 3600), window(1));
        window.errands.be_gentle(true);
        assert!(go_through(&window, &segment) > 100);
        let blocks = window.window.lock().bytes / BLOCK_BYTES;
        assert!(blocks <= 64 + CARRIED_BLOCKS, "{blocks}");
        window.errands.be_gentle(false);
        let blocks = (3000..3600).map(|nth| read(&window, &segment, nth * BLOCK, 4096));
        assert!(blocks.max() > Some(64 + CARRIED_BLOCKS));
    }

    /// Expects these blocks as the images of a round.
    fn expect(window: &LogWindow, segment: &Arc<LogSegment>, blocks: Range<u64>) {
        let image = |nth| (Arc::clone(segment), nth * BLOCK, BLOCK_BYTES);
        window.expect(blocks.map(|nth| (image(nth), false)));
        window.end_round();
    }

    #[test]
    fn what_is_expected_is_read_in_pieces_as_large_as_is_wanted_just_then() {
        let disk = SimDisk::new(1);
        let (segment, window) = (segment(&disk, 1, 600), window(0));
        expect(&window, &segment, 0..600);
        let before = disk.read_count();
        let read = || {
            let is_more = window.read_expected();
            (disk.read_count() - before, is_more)
        };
        window.errands.be_gentle(true);
        // A quarter of a MiB each, and a whole one.
        assert_eq!([read(), read()], [(1, true), (2, true)]);
        window.errands.be_gentle(false);
        assert_eq!([read(), read()], [(3, true), (4, false)]);
        assert_eq!(read(), (4, false), "nothing is left");
        show_all(&disk, &window, &segment, 600);
    }

    /// Shows what was read, and looks at so many images without another read.
    fn show_all(disk: &SimDisk, window: &LogWindow, segment: &Arc<LogSegment>, images: u64) {
        window.show_expected();
        let before = disk.read_count();
        for nth in 0..images {
            let shown = window.read(segment, nth * BLOCK, BLOCK_BYTES, |image| image[0]);
            assert_eq!(shown, Some(nth as u8));
        }
        assert_eq!(disk.read_count(), before);
    }

    #[test]
    fn what_is_expected_is_read_meanwhile_piece_by_piece_as_somebody_asks() {
        let disk = SimDisk::new(1);
        let segment = segment(&disk, 1, 600);
        for threads in 0..2 {
            let window = window(threads);
            expect(&window, &segment, 0..600);
            let before = disk.read_count();
            window.read_behind();
            window.window.lock().coming.come_back();
            let pieces = disk.read_count() - before;
            assert_eq!(pieces, threads as u64, "one, if somebody is free");
            window.read_behind();
            while window.read_expected() {}
            assert_eq!(disk.read_count() - before, 3, "none of them twice");
            show_all(&disk, &window, &segment, 600);
        }
    }

    #[test]
    fn what_is_shown_stays_while_the_next_is_read() {
        let disk = SimDisk::new(1);
        let (segment, window) = (segment(&disk, 1, 20), window(1));
        let shown = |nth: u64| {
            let window = window.window.lock();
            let found = window.expected.at(&segment, nth * BLOCK, BLOCK_BYTES);
            found.is_some()
        };
        expect(&window, &segment, 0..10);
        expect(&window, &segment, 10..20);
        while window.read_expected() {}
        assert!(!shown(0));
        window.show_expected();
        window.read_behind();
        window.window.lock().coming.come_back();
        assert!(shown(0) && !shown(10));
        window.show_expected();
        assert!(!shown(0) && shown(10));
        window.expect_nothing();
        assert!(!shown(10));
    }

    #[test]
    fn a_read_ahead_that_failed_is_made_again() {
        let disk = SimDisk::new(1);
        let segment = segment(&disk, 1, 3100);
        let window = window(1);
        // After some smaller windows.
        disk.fail_read_at(disk.read_count() + 7, Fault::Error(5));
        go_through(&window, &segment);
    }

    #[test]
    fn another_segment_and_what_is_too_large_are_told_apart() {
        let (disk, window) = (SimDisk::new(1), window(4));
        let (one, other) = (segment(&disk, 1, 70), segment(&disk, 2, 4));
        read(&window, &one, 0, 4096);
        assert_eq!(read(&window, &other, 3 * BLOCK, 4096), 1);
        assert_eq!(read(&window, &one, 0, 4096), 1);
        let past = window.read(&other, 3 * BLOCK, 4097, <[u8]>::len);
        assert_eq!(past, None, "the file ends there");
        let large = window.read(&one, 0, 257 * BLOCK_BYTES, <[u8]>::len);
        assert_eq!(large, None, "more than a window");
    }
}
