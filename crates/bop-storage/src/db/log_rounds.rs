//! The images that a checkpoint asks for, a round of them at a time, and how each round is read.
//!
//! ```text
//!   told: | round 1 | round 2 | ... | round n |
//!      few rounds --> each is read from the log when it comes up: the log is read that often
//!      many       --> sorted first, reading the log once: each is then one run of a scratch file
//! ```
//! Invariant: a round is handed out once, in the order in which it was told.
//!
//! Never: fails: what cannot be sorted is read from the log.

use super::log_expected::{Expected, ImagePlace, by_place};
use super::log_sorted::{Scratch, Sorter, SortingRoom};
use crate::runtime::Errands;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many rounds are sorted first. Sorting writes the images once and reads them twice.
const SORTED_MIN: usize = 4;

/// What was told of a round.
#[derive(Default)]
pub(super) struct Round {
    /// What has to be read. In the order of the log, when it was sorted.
    pub(super) images: Vec<ImagePlace>,
    /// The images of what is in memory. It may not be any more when it is asked for.
    pub(super) cached: Vec<ImagePlace>,
}

impl Round {
    /// Bytes of all images.
    pub(super) fn bytes(&self) -> u64 {
        let all = self.images.iter().chain(&self.cached);
        all.map(|image| image.2 as u64).sum()
    }

    /// Puts all images in the order of the log.
    pub(super) fn put_in_order(&mut self) {
        self.images.append(&mut self.cached);
        self.images.sort_unstable_by_key(by_place);
    }
}

#[derive(Default)]
pub(super) struct Rounds {
    open: Round,
    told: VecDeque<Round>,
    state: State,
}

#[derive(Default)]
enum State {
    /// Nothing was read of any.
    #[default]
    Told,
    Sorting(Box<Sorter>),
    /// The scratch file, and where the next rounds begin in it.
    Sorted(Arc<Scratch>, VecDeque<u64>),
    /// From the log.
    Direct,
}

impl Rounds {
    /// The round that is open has this image, too; `is_cached`: of a version that is in memory.
    pub(super) fn expect(&mut self, image: ImagePlace, is_cached: bool) {
        let images = match is_cached {
            false => &mut self.open.images,
            true => &mut self.open.cached,
        };
        images.push(image);
    }

    /// What is told next is of another round.
    pub(super) fn end_round(&mut self) {
        self.told.push_back(std::mem::take(&mut self.open));
    }

    /// Does a piece of what must be done before the first round; `false` when nothing is left of that.
    pub(super) fn prepare(&mut self, room: &SortingRoom, errands: &Errands, at_once: u64) -> bool {
        let rounds = self.told.make_contiguous();
        let state = match std::mem::take(&mut self.state) {
            State::Told if SORTED_MIN <= rounds.len() => {
                Sorter::begin(room, rounds).map(|sorter| State::Sorting(Box::new(sorter)))
            }
            State::Told => Ok(State::Direct),
            State::Sorting(mut sorter) => sorter.go_on(rounds, errands, at_once).map(|is_more| {
                if is_more {
                    return State::Sorting(sorter);
                }
                let (file, starts) = sorter.end();
                State::Sorted(file, starts.into())
            }),
            over => Ok(over),
        };
        self.state = state.unwrap_or_else(|failure| {
            tracing::debug!(%failure, "images are read from the log as often as there are rounds");
            State::Direct
        });
        matches!(self.state, State::Sorting(_))
    }

    /// The next round, of which nothing was read; `None`: there is none.
    pub(super) fn next(&mut self) -> Option<Expected> {
        let round = self.told.pop_front()?;
        Some(match &mut self.state {
            State::Sorted(file, starts) => {
                let start = starts.pop_front().unwrap_or_default();
                Expected::sorted(&round.images, Arc::clone(file), start)
            }
            _ => Expected::new(round.images),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_window::tests::segment;
    use super::super::{Db, simulated};
    use super::*;
    use crate::At;
    use crate::ids::{DbKind, PageNo, PageSize};
    use crate::io::{BLOCK_BYTES, Disk, IoOp, OpenMode, layout};
    use crate::limits::Limits;
    use crate::log::LogSegment;
    use crate::runtime::SystemSpawn;
    use crate::testing::{Fault, SimDisk, SplitMix64};
    use std::path::Path;
    use std::time::Duration;

    const BLOCK: u64 = BLOCK_BYTES as u64;
    const AT_ONCE: u64 = 1 << 20;

    /// Images of `SIZES[n % 3]` bytes at the block with each of these numbers, but for a few bytes.
    const SIZES: [usize; 3] = [100, 3000, 9000];

    struct World {
        log: SimDisk,
        segments: [Arc<LogSegment>; 2],
        scratch: SimDisk,
        room: SortingRoom,
        errands: Arc<Errands>,
    }

    impl World {
        fn new() -> Self {
            let (log, scratch) = (SimDisk::new(1), SimDisk::new(2));
            scratch.create_dir(Path::new(layout::SCRATCH_DIR)).unwrap();
            Self {
                segments: [segment(&log, 1, 1000), segment(&log, 2, 1000)],
                log,
                room: SortingRoom {
                    disk: Arc::new(scratch.clone()),
                    free_bytes_min: 0,
                },
                scratch,
                errands: Errands::new(Arc::new(SystemSpawn), 1),
            }
        }

        fn image(&self, nth: u64) -> ImagePlace {
            let segment = &self.segments[(nth / 300) as usize];
            let offset = nth % 300 * 3 * BLOCK + 7;
            (Arc::clone(segment), offset, SIZES[nth as usize % 3])
        }

        /// As many rounds of 600 images, with those of each database one behind the other and far apart in the log.
        fn rounds(&self, count: u64) -> Rounds {
            let mut rounds = Rounds::default();
            for round in 0..count {
                for nth in (0..600).filter(|nth| nth % count == round) {
                    rounds.expect(self.image(nth), nth / 10 % 5 == 0);
                }
                rounds.end_round();
            }
            rounds
        }

        /// Reads all rounds; how many images of each are there and right.
        fn read(&self, mut rounds: Rounds, count: u64) -> Vec<usize> {
            while rounds.prepare(&self.room, &self.errands, AT_ONCE) {}
            let found = |round| {
                let mut expected = rounds.next().unwrap();
                while expected.read_some(AT_ONCE) {}
                let images = (0..600).filter(|nth| nth % count == round);
                images.filter(|nth| self.has(&expected, *nth)).count()
            };
            let all = (0..count).map(found).collect();
            assert!(rounds.next().is_none());
            all
        }

        fn has(&self, expected: &Expected, nth: u64) -> bool {
            let (segment, offset, bytes) = self.image(nth);
            let Some(image) = expected.at(&segment, offset, bytes) else {
                return false;
            };
            let byte_of = |at: u64| ((offset + at) / BLOCK) as u8;
            assert_eq!(image.len(), bytes);
            image.iter().zip(0..).all(|(byte, at)| *byte == byte_of(at))
        }
    }

    #[test]
    fn a_few_rounds_are_read_from_the_log_each_without_what_is_in_memory() {
        let world = World::new();
        let before = world.scratch.op_count();
        assert_eq!(world.read(world.rounds(3), 3), [160, 160, 160]);
        assert_eq!(world.scratch.op_count(), before, "no file is made");
    }

    #[test]
    fn many_are_sorted_and_the_log_is_read_once() {
        let world = World::new();
        let before = world.log.read_count();
        assert_eq!(world.read(world.rounds(10), 10), [60; 10]);
        // Two files of 900 blocks, 256 of them at a time.
        assert_eq!(world.log.read_count() - before, 8);
        assert_eq!(world.scratch.files(), [], "the file is gone");
    }

    #[test]
    fn they_are_sorted_as_well_where_nobody_reads_the_next_batch_meanwhile() {
        let world = World {
            errands: Errands::new(Arc::new(SystemSpawn), 0),
            ..World::new()
        };
        let before = world.log.read_count();
        assert_eq!(world.read(world.rounds(10), 10), [60; 10]);
        assert_eq!(world.log.read_count() - before, 8);
    }

    #[test]
    fn when_reading_ahead_panics_the_log_is_read_as_often_as_there_are_rounds() {
        let world = World::new();
        let second = world.log.read_count() + 1;
        world.log.fail_read_at(second, Fault::Panic);
        let before = world.log.read_count();
        assert_eq!(world.read(world.rounds(10), 10), [60; 10]);
        assert!(world.log.read_count() - before > 20, "in ten rounds");
        assert_eq!(world.scratch.files(), [], "the file is gone");
    }

    #[test]
    fn when_the_file_cannot_be_made_or_written_the_log_is_read_as_often_as_there_are_rounds() {
        for failing in [IoOp::Open, IoOp::Write] {
            let world = World::new();
            world.scratch.fail_next(failing, Fault::Error(28));
            // Those that are in memory are not read from the log, unless they were put with the others before.
            let found = if failing == IoOp::Write { 60 } else { 48 };
            assert_eq!(world.read(world.rounds(10), 10), [found; 10], "{failing:?}");
            assert_eq!(world.scratch.files(), []);
        }
    }

    #[test]
    fn there_is_no_file_where_space_is_short_and_one_that_stayed_is_no_obstacle() {
        let mut world = World::new();
        let path = layout::scratch("images.sorted");
        drop(world.scratch.open(&path, OpenMode::CreateNew).unwrap());
        let before = world.log.read_count();
        assert_eq!(world.read(world.rounds(10), 10), [60; 10]);
        assert_eq!(world.log.read_count() - before, 8, "sorted");
        world.room.free_bytes_min = u64::MAX;
        let before = world.scratch.op_count();
        assert_eq!(world.read(world.rounds(10), 10), [48; 10]);
        assert_eq!(world.scratch.op_count(), before);
    }

    #[test]
    fn what_the_log_does_not_give_is_not_there_and_the_others_are() {
        let world = World::new();
        world
            .log
            .fail_read_at(world.log.read_count() + 1, Fault::Error(5));
        let found: usize = world.read(world.rounds(10), 10).iter().sum();
        assert!((400..600).contains(&found), "{found}");
    }

    #[test]
    fn a_round_that_cannot_be_read_leaves_the_next_one_as_it_is() {
        let world = World::new();
        let mut rounds = world.rounds(10);
        while rounds.prepare(&world.room, &world.errands, AT_ONCE) {}
        let read = |rounds: &mut Rounds| {
            let mut expected = rounds.next().unwrap();
            while expected.read_some(AT_ONCE) {}
            expected
        };
        world
            .scratch
            .fail_read_at(world.scratch.read_count(), Fault::Error(5));
        assert!(!world.has(&read(&mut rounds), 0));
        assert!(world.has(&read(&mut rounds), 1));
    }

    const DATABASES: u64 = 8;
    const COMMITS: u64 = 20;
    /// Of each database, one of which a commit writes.
    const PAGES: u32 = 4;

    /// A page that no compressor makes smaller, and no patch.
    fn noise(seed: u64) -> Vec<u8> {
        let mut page = vec![0; PageSize::MIN.bytes()];
        SplitMix64::new(seed).fill(&mut page);
        page
    }

    /// Several databases that commit in turn, so that what each of them needs stands far apart, and has a long past; how
    /// often a checkpoint of them reads. Every moment is there behind it.
    fn reads_of_checkpoint(log_kept_bytes_max: u64) -> u64 {
        let disk = SimDisk::new(1);
        let limits = Limits {
            // Nothing of the past is in the cache.
            cache_bytes_max: 4096,
            log_kept_bytes_max,
            ..Limits::tiny()
        };
        let store = simulated::new(&disk, limits);
        let create = |nth| store.create_database(&format!("db-{nth}"), DbKind::Raw);
        let databases: Vec<Db> = (0..DATABASES).map(|nth| create(nth).unwrap()).collect();
        let mut moments = Vec::new();
        for commit in 0..COMMITS {
            let page = PageNo::new(commit as u32 % PAGES + 1).unwrap();
            for (nth, db) in (0..).zip(&databases) {
                let seed = commit * DATABASES + nth;
                let mut write = db.begin_write(Duration::ZERO).unwrap();
                write.write_page(page, &noise(seed)).unwrap();
                let lsn = write.commit().unwrap().lsn();
                moments.push((db, lsn, page, seed));
            }
        }
        let before = disk.read_count();
        let report = store.checkpoint().unwrap();
        assert_eq!(report.pages, DATABASES * COMMITS);
        let reads = disk.read_count() - before;
        for (db, lsn, page, seed) in moments {
            let past = db.begin_read_at(&At::Lsn(lsn)).unwrap();
            assert!(*past.read_page(page).unwrap() == *noise(seed), "{seed}");
        }
        reads
    }

    #[test]
    fn a_checkpoint_reads_its_log_once_or_not_at_all_where_the_batches_are_in_memory() {
        let none_kept = reads_of_checkpoint(0);
        // 112 when each round is read from the log.
        assert!((20..60).contains(&none_kept), "{none_kept}");
        let some_kept = reads_of_checkpoint(64 << 10);
        assert!((2..none_kept).contains(&some_kept), "{some_kept}");
        // Files are looked for, and room.
        let all_kept = reads_of_checkpoint(1 << 20);
        assert!(all_kept <= 10, "{all_kept}");
    }
}
