//! What a checkpoint and a commit or a reader do to a database at the same moment.

use super::super::signals::Signals;
use super::*;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{Generation, PageNo, PageSize};
use crate::limits::Limits;
use crate::log::format::ImageForm;
use crate::log::{HoldReason, LogHolds};
use crate::page::PageBytes;
use crate::view::{BasePage, CommitPages, CommittedPage, Found, Head, NoBase};
use std::sync::atomic::AtomicU64;

const DATABASE: DbId = DbId::new(1);

/// A base of some generation that has every page.
#[derive(Debug)]
pub(in crate::db) struct Everything(pub(in crate::db) Generation);

impl BasePages for Everything {
    fn generation(&self) -> Generation {
        self.0
    }

    fn read(&self, _page: PageNo) -> Result<Option<PageBytes>, ReadError> {
        Ok(None)
    }

    fn load(&self, _page: PageNo) -> Result<Option<BasePage>, ReadError> {
        Ok(None)
    }

    fn version(&self, _page: PageNo) -> Result<Option<(PageHash, Lsn)>, ReadError> {
        Ok(None)
    }

    fn in_memory(&self, _page: PageNo) -> Option<PageBytes> {
        None
    }
}

fn state() -> DbState {
    DbState::new(
        "d",
        View::new(DATABASE, DbKind::Raw, Head::EMPTY, Arc::new(NoBase)),
    )
}

fn holds() -> Arc<LogHolds> {
    LogHolds::new(Arc::new(Signals::new(&Limits::default())))
}

/// A commit that writes one page; the page's number is the commit's.
fn commit(state: &DbState, holds: &Arc<LogHolds>, number: u32) {
    let lsn = Lsn::new(u64::from(number) * 8192);
    let head = Head {
        lsn,
        time_us: 0,
        page_size: Some(PageSize::DEFAULT),
        page_count: number,
        rolling_checksum: RollingChecksum::EMPTY,
    };
    let pages = [CommittedPage {
        page: page(number),
        hash: PageHash::new(u64::from(number)),
        image_lsn: lsn,
        form: ImageForm::raw(PageSize::DEFAULT),
    }];
    let hold = holds.hold(lsn, HoldReason::Pages(DATABASE));
    let change = |view: &mut View| {
        let pages = CommitPages {
            version: lsn,
            page_count: number,
            page_count_min: view.head().page_count,
            pages: &pages,
        };
        view.add_commit(head, &pages, || hold);
    };
    // Both ways of publishing.
    if number.is_multiple_of(2) {
        state.publish_in_place(change);
    } else {
        state.publish(|view| {
            let mut next = view.clone();
            change(&mut next);
            next
        });
    }
}

fn page(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

#[test]
fn a_pin_taken_while_a_checkpoint_publishes_keeps_the_commits_behind_the_cut() {
    let (state, holds) = (state(), holds());
    commit(&state, &holds, 1);
    let before = state.pin();
    let frozen = state.freeze().unwrap();
    commit(&state, &holds, 2);
    let base: Arc<dyn BasePages> = Arc::new(Everything(Generation::new(1)));
    let covered = frozen.layer_count();
    // The two steps of a rebase, and a reader between them.
    state.publish(|view| view.rebased(Arc::clone(&base), covered));
    let between = state.pin();
    state
        .pins
        .rebase(frozen.head().lsn, &base, covered, |_| None);
    assert!(matches!(between.view().find(page(2)), Found::Log(_)));
    assert_eq!(between.view().find(page(1)), Found::Base);
    assert_eq!(before.view().find(page(1)), Found::Base);
    drop((frozen, before));
    let needed = holds.oldest().map(|(lsn, _)| lsn);
    assert_eq!(needed, Some(Lsn::new(2 * 8192)));
}

#[test]
fn what_a_checkpoint_copies_takes_no_more_commits() {
    let (state, holds) = (Arc::new(state()), holds());
    let done = Arc::new(AtomicU64::new(0));
    let writer = {
        let (state, holds, done) = (Arc::clone(&state), Arc::clone(&holds), Arc::clone(&done));
        std::thread::spawn(move || {
            for number in 1..=20_000 {
                commit(&state, &holds, number);
                done.store(number.into(), Ordering::Release);
            }
        })
    };
    let mut generation = 0;
    while done.load(Ordering::Acquire) < 20_000 {
        let frozen = state.freeze().unwrap();
        let head = frozen.head().page_count;
        generation += 1;
        let base: Arc<dyn BasePages> = Arc::new(Everything(Generation::new(generation)));
        state.rebase(frozen.head().lsn, &base, frozen.layer_count(), |_| None);
        let view = state.view();
        let missing =
            (head + 1..=view.head().page_count).find(|n| view.find(page(*n)) == Found::Base);
        assert_eq!(
            missing, None,
            "generation {generation} was cut at page {head}"
        );
    }
    writer.join().unwrap();
}

#[test]
fn entries_are_counted_once_also_when_a_checkpoint_ends_after_the_drop() {
    let (state, holds) = (state(), holds());
    commit(&state, &holds, 1);
    let frozen = state.freeze().unwrap();
    assert_eq!(retired_entries(&state), Some(1));
    let base: Arc<dyn BasePages> = Arc::new(Everything(Generation::new(1)));
    assert_eq!(
        state.rebase(frozen.head().lsn, &base, frozen.layer_count(), |_| None),
        0
    );
    assert_eq!(retired_entries(&state), None);
}

#[test]
fn neither_a_handle_nor_a_reader_of_a_dropped_database_keeps_log() {
    let (state, holds) = (state(), holds());
    commit(&state, &holds, 1);
    let _reader = state.pin();
    commit(&state, &holds, 2);
    assert!(holds.oldest().is_some());
    state.mark_dropped();
    assert_eq!(retired_entries(&state), Some(2));
    assert_eq!(holds.oldest(), None);
}

fn retired_entries(state: &DbState) -> Option<usize> {
    state.retire().map(|last| last.index_entries())
}

#[test]
fn a_retired_state_is_no_state_to_be_checkpointed() {
    let (state, holds) = (state(), holds());
    commit(&state, &holds, 1);
    assert_eq!(state.freeze().map(|view| view.layer_count()), Some(1));
    state.retire().unwrap();
    assert!(state.freeze().is_none());
}
