//! Which superseded versions are read together, before they are loaded one by one.
//!
//! A section has the versions of one database, page by page; in the log they stand in the order of the commits
//! of all databases. So each round expects the versions of many sections: the log is read once for each round, or, of
//! many rounds, once to sort what they need. While one round is loaded the next is read.
//!
//! ```text
//! histories, as they are written   | 1 1 1 1 | 2 2 2 | 3 3 3 3 3 | 4 ...
//! rounds                           '----------------------'----------- ...
//!                                     ^ at                 ^ shown
//! ```
//! Invariants
//! - every version is told before the first one is loaded, each once, in that order;
//! - a version is loaded when its round was read, and while the next one is.
//!
//! Never: loads.

use super::execute::SectionSource;
use super::history::History;
use super::plan::{Content, PlannedChunk, PlannedSection};
use std::collections::VecDeque;

/// Bytes of the images that are read together, and of what is kept to find them.
/// There are two rounds of them in memory.
pub const EXPECTED_BYTES_MAX: usize = 16 << 20;

/// What is kept to find an image, more or less.
const PLACE_BYTES: usize = 64;

/// The versions of the chunks of a checkpoint.
pub struct VersionsAhead<'s> {
    histories: Vec<&'s dyn SectionSource>,
    round_bytes: usize,
    /// The history that is being written, and the next of its versions.
    at: Place,
    /// Where rounds end that are not read yet; `None`: they were not told.
    ends: Option<VecDeque<Place>>,
    /// Where the round ends that is being loaded.
    shown: Place,
}

/// A history, and one of its versions.
type Place = (usize, usize);

impl<'s> VersionsAhead<'s> {
    /// Of chunks that are written in this order. A round has `round_bytes` of images, or [`EXPECTED_BYTES_MAX`].
    pub fn new(
        planned: &[PlannedChunk],
        round_bytes: usize,
        source_of: impl Fn(PlannedSection) -> Option<&'s dyn SectionSource>,
    ) -> Self {
        let sections = planned.iter().flat_map(|chunk| &chunk.sections);
        let histories = sections.filter(|section| section.content == Content::History);
        let histories = histories.filter_map(|section| source_of(*section));
        Self::of(histories.collect(), round_bytes)
    }

    fn of(histories: Vec<&'s dyn SectionSource>, round_bytes: usize) -> Self {
        Self {
            histories,
            round_bytes: round_bytes.min(EXPECTED_BYTES_MAX),
            at: (0, 0),
            ends: None,
            shown: (0, 0),
        }
    }

    /// The next version is about to be loaded: what it needs is read, unless that was done. In between `check` says
    /// whether to go on.
    pub(super) fn reach<E>(&mut self, check: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let here = self.at;
        self.at.1 += 1;
        let Some(source) = self.histories.get(here.0).copied() else {
            return Ok(());
        };
        if here < self.shown {
            source.read_behind();
            return Ok(());
        }
        if self.ends.is_none() {
            self.ends = Some(tell(&self.histories, self.round_bytes, &check)?);
        }
        while source.read_expected() {
            check()?;
        }
        source.show_expected();
        let end = self.ends.as_mut().and_then(VecDeque::pop_front);
        self.shown = end.unwrap_or((self.histories.len(), 0));
        Ok(())
    }

    /// A history is written.
    pub(super) fn next_history(&mut self) {
        self.at = (self.at.0 + 1, 0);
    }
}

/// Tells all versions of these, a round after the other; where each ends.
fn tell<E>(
    histories: &[&dyn SectionSource],
    round_bytes: usize,
    check: impl Fn() -> Result<(), E>,
) -> Result<VecDeque<Place>, E> {
    let mut ends = VecDeque::new();
    let mut left = round_bytes;
    for (nth, source) in histories.iter().enumerate() {
        let history = source.history();
        let versions = &history.versions;
        let mut told = 0;
        while told < versions.len() {
            let behind = &versions[told..];
            let sizes = (told..versions.len()).map(|nth| bytes_read_for(history, nth));
            let mut count = fitting(sizes, &mut left);
            if count == 0 && left == round_bytes {
                // What is larger than a round is one by itself.
                (count, left) = (1, 0);
            }
            source.expect_versions(&behind[..count]);
            let bases = history.bases_of(told..told + count).iter();
            source.expect_versions(&bases.map(|base| base.version).collect::<Vec<_>>());
            told += count;
            if told < versions.len() {
                check()?;
                source.end_round();
                ends.push_back((nth, told));
                left = round_bytes;
            }
        }
    }
    if let Some(source) = histories.last() {
        source.end_round();
        ends.push_back((histories.len(), 0));
    }
    Ok(ends)
}

/// Bytes of the images of which the version with that number is made, and of what is kept to find them.
fn bytes_read_for(history: &History, nth: usize) -> usize {
    let bases = history.bases_of(nth..nth + 1).iter();
    let versions = bases
        .map(|base| &base.version)
        .chain([&history.versions[nth]]);
    versions
        .map(|one| one.version.form.bytes() + PLACE_BYTES)
        .sum()
}

impl Drop for VersionsAhead<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.histories.first() {
            source.expect_nothing();
        }
    }
}

/// How many of these sizes, from the first on, `left` bytes have room for; what is left then.
pub fn fitting(sizes: impl Iterator<Item = usize>, left: &mut usize) -> usize {
    let fits = |bytes: &usize| {
        let rest = left.checked_sub(*bytes);
        rest.inspect(|rest| *left = *rest).is_some()
    };
    sizes.take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::super::execute::{ChunkFailure, LoadedPages, NewGeneration, write_chunk};
    use super::super::history::{BaseVersion, Superseded};
    use super::super::plan::{RangeNo, Ranges};
    use super::*;
    use crate::checksum::{PageHash, RollingChecksum};
    use crate::error::{CheckpointError, ReadError};
    use crate::ids::{ChunkId, DbId, Generation, Lsn, PageNo, PageSize, StoreId};
    use crate::io::{Disk, layout};
    use crate::log::format::ImageForm;
    use crate::pagestore::{ChunkWriter, Compression};
    use crate::testing::SimDisk;
    use crate::view::{BasePage, PageVersion};
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    /// What a history was told.
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    enum Word {
        /// Of this history so many versions are expected.
        Expect(usize, usize),
        /// The round is complete.
        End,
        /// What was read is shown.
        Show,
        /// Pages are wanted of this one.
        Load(usize),
    }

    type Told = RefCell<Vec<Word>>;

    /// A history whose images are raw pages of 64 KiB; writes down what it is told.
    struct Listener<'t> {
        number: usize,
        history: History,
        told: &'t Told,
        /// How often there is something to read.
        pieces: Cell<usize>,
        /// How often a piece was to be read meanwhile.
        behind: Cell<usize>,
    }

    impl<'t> Listener<'t> {
        fn new(number: usize, versions: usize, told: &'t Told) -> Self {
            let version = PageVersion {
                version: Lsn::new(1),
                image_lsn: Lsn::new(1),
                hash: PageHash::new(1),
                form: ImageForm::raw(PageSize::new(65536).unwrap()),
            };
            let page = PageNo::FIRST;
            let history = History {
                versions: vec![Superseded { page, version }; versions],
                ..History::default()
            };
            Self {
                number,
                history,
                told,
                pieces: Cell::new(0),
                behind: Cell::new(0),
            }
        }

        /// Of which the version with this number rests on so many others.
        fn resting(mut self, of: usize, bases: usize) -> Self {
            let version = self.history.versions[of];
            self.history.bases = vec![BaseVersion { of, version }; bases];
            self
        }
    }

    impl SectionSource for Listener<'_> {
        fn ranges(&self) -> Ranges {
            Ranges::new(1 << 20, PageSize::DEFAULT)
        }

        fn generation(&self) -> NewGeneration {
            NewGeneration {
                generation: Generation::new(1),
                cut: Lsn::new(9),
                since: Lsn::ZERO,
                page_size: PageSize::DEFAULT,
                page_count: 1,
                page_count_min: 0,
                inherited: 0,
                rolling_checksum: RollingChecksum::EMPTY,
            }
        }

        fn history(&self) -> &History {
            &self.history
        }

        fn changed(&self, _range: RangeNo) -> Vec<PageNo> {
            unreachable!("nothing is written")
        }

        fn load(&self, _pages: Vec<PageNo>) -> LoadedPages<'_> {
            self.told.borrow_mut().push(Word::Load(self.number));
            Box::new(std::iter::empty())
        }

        fn load_version(
            &self,
            _page: PageNo,
            _version: PageVersion,
            _before: Option<&BasePage>,
        ) -> Result<BasePage, ReadError> {
            unreachable!("nothing is written")
        }

        fn expect_versions(&self, versions: &[Superseded]) {
            let expected = Word::Expect(self.number, versions.len());
            self.told.borrow_mut().push(expected);
        }

        fn end_round(&self) {
            self.told.borrow_mut().push(Word::End);
        }

        fn read_expected(&self) -> bool {
            let left = self.pieces.get();
            self.pieces.set(left.saturating_sub(1));
            0 < left
        }

        fn read_behind(&self) {
            self.behind.set(self.behind.get() + 1);
        }

        fn show_expected(&self) {
            self.told.borrow_mut().push(Word::Show);
        }

        fn expect_nothing(&self) {
            self.told.borrow_mut().clear();
        }
    }

    /// What was told since the last look, the histories without a version left out.
    fn words(told: &Told) -> Vec<Word> {
        let mut words = std::mem::take(&mut *told.borrow_mut());
        words.retain(|word| !matches!(word, Word::Expect(_, 0)));
        words
    }

    /// What is told when histories with so many versions each are loaded, in rounds of so many bytes: before each
    /// version before which anything is.
    fn told_of(counts: &[usize], round_bytes: usize) -> Vec<Vec<Word>> {
        let told = Told::default();
        let sources: Vec<_> = (0..counts.len())
            .map(|nth| Listener::new(nth, counts[nth], &told))
            .collect();
        let sources_of = sources.iter().map(|source| source as &dyn SectionSource);
        let mut ahead = VersionsAhead::of(sources_of.collect(), round_bytes);
        let mut rounds = Vec::new();
        for count in counts {
            for _ in 0..*count {
                ahead.reach(|| Ok::<_, ()>(())).unwrap();
                rounds.extend(Some(words(&told)).filter(|words| !words.is_empty()));
            }
            ahead.next_history();
        }
        let behind: usize = sources.iter().map(|source| source.behind.get()).sum();
        let loaded: usize = counts.iter().sum();
        assert_eq!(behind, loaded - rounds.len(), "a piece for each other one");
        told.borrow_mut().push(Word::Show);
        drop(ahead);
        assert!(told.borrow().is_empty(), "nothing is expected at the end");
        rounds
    }

    #[test]
    fn all_is_told_in_rounds_that_fit_across_histories_and_each_shown_when_it_is_loaded() {
        const ROUND: usize = EXPECTED_BYTES_MAX / (65536 + PLACE_BYTES);
        use Word::{End, Expect, Show};
        let counts = [0, 3, 0, ROUND - 5, 10, 2 * ROUND, 0, 1];
        let first = vec![
            Expect(1, 3),
            Expect(3, ROUND - 5),
            Expect(4, 2),
            End,
            Expect(4, 8),
            Expect(5, ROUND - 8),
            End,
            Expect(5, ROUND),
            End,
            Expect(5, 8),
            Expect(7, 1),
            End,
            Show,
        ];
        let expected = [first, vec![Show], vec![Show], vec![Show]];
        assert_eq!(told_of(&counts, usize::MAX), expected);
    }

    #[test]
    fn what_a_version_rests_on_is_told_in_its_round() {
        use Word::{End, Expect};
        let told = Told::default();
        // Two versions and a base, or one with both its bases, fit a round.
        let round_bytes = 3 * (65536 + PLACE_BYTES);
        for (of, expected) in [
            (0, vec![Expect(0, 1), Expect(0, 2), End, Expect(0, 2), End]),
            (
                1,
                vec![
                    Expect(0, 1),
                    End,
                    Expect(0, 1),
                    Expect(0, 2),
                    End,
                    Expect(0, 1),
                    End,
                ],
            ),
        ] {
            let listener = Listener::new(0, 3, &told).resting(of, 2);
            let ends = tell(&[&listener], round_bytes, || Ok::<_, ()>(()));
            assert_eq!(words(&told), expected, "{of}");
            assert!(ends.is_ok_and(|ends| ends.back() == Some(&(1, 0))));
        }
    }

    #[test]
    fn an_image_that_is_larger_than_a_round_is_one_by_itself() {
        use Word::{End, Expect, Show};
        let first = vec![
            Expect(0, 1),
            End,
            Expect(0, 1),
            End,
            Expect(1, 1),
            End,
            Show,
        ];
        let expected = [first, vec![Show], vec![Show]];
        assert_eq!(told_of(&[2, 1], 100), expected);
    }

    /// Writes a chunk of these sections until `cancelled` says that it was.
    fn write_until<'t>(sections: &[(&'t Listener<'t>, Content)], cancelled: impl Fn() -> bool) {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        disk.create_dir(std::path::Path::new(layout::SCRATCH_DIR))
            .unwrap();
        let (store, chunk) = (StoreId::new([1; 16]), ChunkId::new(1));
        let mut writer = ChunkWriter::create(disk, store, chunk, Compression::Lz4).unwrap();
        let planned = |(source, content): &(&Listener<'_>, Content)| PlannedSection {
            database: DbId::new(source.number as u64 + 1),
            content: *content,
        };
        let planned = PlannedChunk {
            sections: sections.iter().map(planned).collect(),
            bytes: 0,
        };
        let source_of = |section: PlannedSection| {
            let mut sources = sections.iter().map(|(source, _)| *source);
            let found = sources.find(|source| source.number as u64 + 1 == section.database.get());
            found.map(|source| source as &dyn SectionSource)
        };
        let planned_all = std::slice::from_ref(&planned);
        let mut ahead = VersionsAhead::new(planned_all, usize::MAX, source_of);
        let ended = write_chunk(&planned, &mut writer, source_of, &mut ahead, &cancelled);
        assert!(
            matches!(ended, Err(ChunkFailure::Failed(CheckpointError::Closed))),
            "{ended:?}"
        );
    }

    #[test]
    fn whoever_checkpoints_is_asked_between_the_pieces_of_a_round_too() {
        let told = Told::default();
        let source = Listener::new(0, 100, &told);
        source.pieces.set(10);
        let asked = Cell::new(0);
        // Before the version, and after each of four pieces.
        write_until(&[(&source, Content::History)], || {
            asked.replace(asked.get() + 1) == 4
        });
        assert_eq!(source.pieces.get(), 6);
    }

    #[test]
    fn the_pages_of_a_section_are_wanted_when_the_one_before_is_begun() {
        let told = Told::default();
        let sources = [0, 1, 2].map(|nth| Listener::new(nth, 1, &told));
        let base = Content::Base(RangeNo(0));
        let sections = [base, Content::History, base];
        let sections: Vec<_> = sources.iter().zip(sections).collect();
        // Once before the end of the first section's pages, of which there are none, and before the version.
        let (asked, seen) = (Cell::new(0), RefCell::new(Vec::new()));
        write_until(&sections, || {
            seen.borrow_mut().push(words(&told));
            asked.replace(asked.get() + 1) == 1
        });
        let expected = [vec![Word::Load(0)], vec![Word::Load(2)]];
        assert_eq!(seen.into_inner(), expected);
    }
}
