//! Models of publication: committers of one database hand its writer slot to each other, the log
//! publishes their views, readers pin them, a checkpoint puts a base below.

use super::super::slot::SlotGuard;
use super::super::state::tests::Everything;
use super::*;
use crate::checksum::PageHash;
use crate::ids::{DbId, DbKind, Generation, PageNo};
use crate::log::format::ImageForm;
use crate::log::models::{explore, moment, record, start_log};
use crate::log::{Log, LogHolds, Priority};
use crate::runtime::sync::now;
use crate::view::{BasePages, Found, NoBase};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const DATABASE: DbId = DbId::new(1);

fn page(number: u32) -> PageNo {
    PageNo::new(number).unwrap()
}

/// A commit that adds one page to the database, published as [`PublishCommit`] does.
struct AddPage {
    state: Arc<DbState>,
    holds: Arc<LogHolds>,
    in_place: bool,
    prepared: Option<Prepared>,
    _slot: SlotGuard,
}

fn add_next_page(view: &mut View, at: Placed, holds: &Arc<LogHolds>) {
    moment();
    let before = view.head().page_count;
    let number = before + 1;
    let head = Head {
        lsn: at.lsn,
        time_us: at.time_us,
        page_size: Some(PageSize::DEFAULT),
        page_count: number,
        rolling_checksum: RollingChecksum::EMPTY,
    };
    let pages = [CommittedPage {
        page: page(number),
        hash: PageHash::new(u64::from(number)),
        image_lsn: at.lsn,
        form: ImageForm::raw(PageSize::DEFAULT),
    }];
    let commit = CommitPages {
        version: at.lsn,
        page_count: number,
        page_count_min: before,
        pages: &pages,
    };
    view.add_commit(head, &commit, || {
        holds.hold(at.lsn, HoldReason::Pages(DATABASE))
    });
}

fn with_next_page(before: &View, at: Placed, holds: &Arc<LogHolds>) -> Arc<View> {
    let mut view = before.clone();
    add_next_page(&mut view, at, holds);
    Arc::new(view)
}

impl Publish for AddPage {
    fn prepare(&mut self, at: Placed) {
        if !self.in_place {
            let make = |view: &View| with_next_page(view, at, &self.holds);
            self.prepared = Some(Prepared::new(&self.state, at, make));
        }
    }

    fn publish(mut self: Box<Self>, at: Placed) -> Remains {
        if self.in_place {
            let added = |view: &mut View| add_next_page(view, at, &self.holds);
            self.state.publish_in_place(added);
        } else {
            let make = |view: &View| with_next_page(view, at, &self.holds);
            exchange(&self.state, at, self.prepared.take(), make);
        }
        None
    }
}

fn commit(log: &Log, state: &Arc<DbState>, in_place: bool) -> Placed {
    let slot = state.slot().acquire(LONG).unwrap();
    let publish = AddPage {
        state: Arc::clone(state),
        holds: Arc::clone(log.holds()),
        in_place,
        prepared: None,
        _slot: slot,
    };
    let at = log.append(record(1), Priority::User, Box::new(publish));
    let at = at.unwrap();
    // A reader that begins now sees it.
    assert!(at.lsn <= state.pin().view().head().lsn);
    at
}

fn database() -> Arc<DbState> {
    let view = View::new(DATABASE, DbKind::Raw, Head::EMPTY, Arc::new(NoBase));
    Arc::new(DbState::new("d", view))
}

/// Two commit, a reader looks, and pages go below.
fn all_at_once() {
    let (log, state) = (start_log(), database());
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let (log, state) = (Arc::clone(&log), Arc::clone(&state));
            shuttle::thread::spawn(move || {
                [true, false].map(|in_place| commit(&log, &state, in_place))
            })
        })
        .collect();
    let reader = {
        let state = Arc::clone(&state);
        shuttle::thread::spawn(move || {
            let (mut last, mut seat) = ((Lsn::ZERO, 0), None);
            for _ in 0..4 {
                let pin = match seat.take() {
                    None => state.pin(),
                    Some(seat) => state.pin_in(seat),
                };
                let head = *pin.view().head();
                let now = (head.lsn, head.page_count);
                assert!(last <= now, "{last:?} before {now:?}");
                last = now;
                moment();
                // Whatever a checkpoint did meanwhile: the same commit, and all of its pages.
                assert_eq!(*pin.view().head(), head);
                for number in 1..=head.page_count {
                    let found = pin.view().find(page(number));
                    let there = matches!(found, Found::Log(_) | Found::Base);
                    assert!(there, "page {number} of {head:?}: {found:?}");
                }
                seat = Some(pin.leave());
            }
        })
    };
    let frozen = state.freeze().unwrap();
    let copied = frozen.head().page_count;
    moment();
    let base: Arc<dyn BasePages> = Arc::new(Everything(Generation::new(1)));
    state.rebase(frozen.head().lsn, &base, frozen.layer_count(), |_| None);
    drop(frozen);
    for writer in writers {
        let [first, second] = writer.join().unwrap();
        assert!(first.lsn < second.lsn);
    }
    reader.join().unwrap();
    let view = state.view();
    assert_eq!(
        view.head().page_count,
        4,
        "each commit is on top of another"
    );
    for number in 1..=4 {
        let in_log = matches!(view.find(page(number)), Found::Log(_));
        assert_eq!(in_log, copied < number, "page {number}, {copied} copied");
    }
    assert!(log.stop(now() + LONG));
}

#[test]
fn each_commit_is_on_top_of_the_last_and_none_is_lost_to_a_checkpoint() {
    explore(all_at_once);
}

/// The slot is closed, as a drop of the database does, while committers wait for it.
fn closed_slot() {
    let state = database();
    let held = state.slot().acquire(LONG).unwrap();
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let state = Arc::clone(&state);
            shuttle::thread::spawn(move || state.slot().acquire(LONG).is_ok())
        })
        .collect();
    let closer = {
        let state = Arc::clone(&state);
        shuttle::thread::spawn(move || state.mark_dropped())
    };
    drop(held);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    closer.join().unwrap();
    assert!(state.slot().acquire(LONG).is_err());
}

#[test]
fn who_waits_for_a_slot_gets_it_or_is_refused() {
    explore(closed_slot);
}
