//! What a history keeps, against the states of all commits as plain maps.

use super::*;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{DbId, DbKind};
use crate::log::format::ImageForm;
use crate::log::{HoldReason, LogEvents, LogHolds};
use crate::view::{CommitPages, CommittedPage, Head, NoBase, View};
use proptest::prelude::*;
use std::sync::Arc;

const SIZE: PageSize = PageSize::MIN;
const PAGES: u32 = 12;

#[derive(Debug)]
struct Deaf;

impl LogEvents for Deaf {
    fn batch_written(&self) {}
    fn segment_sealed(&self, _: usize) {}
    fn room_wanted(&self) {}
}

/// What a transaction does: the page count that it goes down to, that at its end, and the pages.
#[derive(Clone, Debug)]
struct Step {
    least: u32,
    count: u32,
    pages: Vec<u32>,
}

fn step() -> impl Strategy<Value = Step> {
    let pages = prop::collection::btree_set(1..=PAGES, 0..4);
    // Most transactions cut nothing off.
    let least = prop_oneof![3 => Just(u32::MAX), 1 => 0..PAGES];
    (least, 0..=PAGES, pages).prop_map(|(least, count, pages)| {
        let last = pages.last().copied().unwrap_or(0);
        Step {
            least,
            count: count.max(last),
            pages: pages.into_iter().collect(),
        }
    })
}

/// The state after a commit: which version of each page is seen.
#[derive(Clone, Debug, Default)]
struct State {
    lsn: u64,
    count: u32,
    versions: BTreeMap<u32, u64>,
}

/// A database whose first commits are in a generation, and the rest in the log.
struct World {
    view: View,
    /// Of the generation, then after each commit of the log.
    states: Vec<State>,
}

fn world(covered: &[Step], steps: &[Step]) -> World {
    let holds = LogHolds::new(Arc::new(Deaf));
    let mut state = State::default();
    for (nth, step) in (1..).zip(covered) {
        state = after(&state, nth, step);
    }
    let head = |state: &State| Head {
        lsn: Lsn::new(state.lsn),
        time_us: state.lsn,
        page_size: Some(SIZE),
        page_count: state.count,
        rolling_checksum: RollingChecksum::EMPTY,
    };
    let mut view = View::new(DbId::new(1), DbKind::Raw, head(&state), Arc::new(NoBase));
    let mut states = vec![state.clone()];
    for (nth, step) in (covered.len() as u64 + 1..).zip(steps) {
        let next = after(&state, nth, step);
        let pages: Vec<CommittedPage> = step
            .pages
            .iter()
            .map(|page| committed(*page, nth))
            .collect();
        let commit = CommitPages {
            version: Lsn::new(nth),
            page_count: next.count,
            page_count_min: least(&state, step),
            pages: &pages,
        };
        let hold = || holds.hold(Lsn::new(nth), HoldReason::Pages(DbId::new(1)));
        view.add_commit(head(&next), &commit, hold);
        if nth % 5 == 0 {
            view = view.frozen();
        }
        states.push(next.clone());
        state = next;
    }
    World { view, states }
}

fn committed(page: u32, version: u64) -> CommittedPage {
    CommittedPage {
        page: PageNo::new(page).unwrap(),
        hash: PageHash::new(version),
        // Far apart, so that each is a run of its own.
        image_lsn: Lsn::new(version << 32 | u64::from(page) << 16),
        form: ImageForm::raw(SIZE),
    }
}

fn least(before: &State, step: &Step) -> u32 {
    step.least.min(before.count).min(step.count)
}

fn after(before: &State, lsn: u64, step: &Step) -> State {
    let least = least(before, step);
    let mut versions = before.versions.clone();
    versions.retain(|page, _| *page <= least);
    versions.extend(step.pages.iter().map(|page| (*page, lsn)));
    State {
        lsn,
        count: step.count,
        versions,
    }
}

/// The version of a page that is seen at a commit, by what a reader has: the history, the older
/// generation, and the new one.
fn read(world: &World, history: &History, at: u64, page: u32) -> Option<u64> {
    let (older, newer) = (&world.states[0], &world.states[world.states.len() - 1]);
    let told = history.commits.iter();
    let upto: Vec<_> = told.filter(|point| point.lsn.get() <= at).collect();
    if upto.last().is_some_and(|point| point.page_count < page) {
        return None;
    }
    let cut = upto.iter().rev().find(|point| point.page_count_min < page);
    let floor = cut.map_or(0, |point| point.lsn.get());
    let kept = history
        .versions
        .iter()
        .rev()
        .find(|kept| kept.page.get() == page && kept.version.version.get() <= at);
    let kept = kept.map(|kept| kept.version.version.get());
    let new = newer
        .versions
        .get(&page)
        .copied()
        .filter(|version| *version <= at);
    let old = older.versions.get(&page).copied();
    new.or(kept).or(old).filter(|version| floor <= *version)
}

fn told(history: &History, lsn: u64) -> Option<&HistoryPoint> {
    let of = |point: &&HistoryPoint| point.lsn.get() == lsn;
    history.commits.iter().find(of)
}

fn check(world: &World, kept: &Kept) -> Result<History, TestCaseError> {
    let commits = world.view.commits();
    let made = history(&commits, world.states[0].count, SIZE, kept);
    for state in &world.states[1..] {
        let readable = told(&made, state.lsn).is_some_and(|told| told.readable);
        let asked = kept.points.contains(&Lsn::new(state.lsn));
        prop_assert!(readable || !asked, "{} was to be kept", state.lsn);
        for page in (1..=PAGES).filter(|_| readable) {
            let found = read(world, &made, state.lsn, page);
            prop_assert_eq!(
                found,
                state.versions.get(&page).copied(),
                "page {} at {}",
                page,
                state.lsn
            );
        }
    }
    let keys = made
        .versions
        .iter()
        .map(|kept| (kept.page, kept.version.version));
    prop_assert!(keys.is_sorted());
    Ok(made)
}

proptest! {
    /// Whatever readers, snapshots and forks keep: at each of these commits every page is the one that was
    /// current then, and nothing is kept that none of them sees.
    #[test]
    fn every_kept_commit_reads_as_it_was(
        covered in prop::collection::vec(step(), 0..4),
        steps in prop::collection::vec(step(), 1..20),
        points in prop::collection::btree_set(0..20_u64, 0..4),
    ) {
        let world = world(&covered, &steps);
        let first = covered.len() as u64 + 1;
        let points: Vec<Lsn> = points
            .into_iter()
            .filter(|nth| *nth < steps.len() as u64)
            .map(|nth| Lsn::new(first + nth))
            .collect();
        let made = check(&world, &Kept { points: points.clone(), window: None })?;
        for kept in &made.versions {
            let seen = |point: &Lsn| {
                let state = &world.states[(point.get() - first + 1) as usize];
                state.versions.get(&kept.page.get()) == Some(&kept.version.version.get())
            };
            prop_assert!(points.iter().any(seen), "{kept:?} is seen by nobody");
        }
    }

    /// In a window every commit can be read, from the one that was current at its start on; one that has
    /// not enough room begins later.
    #[test]
    fn a_window_reads_all_of_its_commits(
        covered in prop::collection::vec(step(), 0..4),
        steps in prop::collection::vec(step(), 1..20),
        since_us in 0..25_u64,
        pages in prop_oneof![Just(u64::MAX / 1024), 0..30_u64],
    ) {
        let world = world(&covered, &steps);
        let bytes = pages * u64::from(SIZE.get());
        let window = Some(Window { since_us, bytes });
        let made = check(&world, &Kept { points: Vec::new(), window })?;
        prop_assert!(made.versions.len() as u64 <= pages);
        let readable: Vec<u64> = made.commits.iter().filter(|told| told.readable).map(|told| told.lsn.get()).collect();
        let last = world.states[world.states.len() - 1].lsn;
        let from = readable[0];
        prop_assert_eq!(&readable, &(from..=last).collect::<Vec<u64>>(), "no gap");
        if pages > 1000 {
            let first = world.states[1].lsn;
            prop_assert!(from <= since_us.clamp(first, last));
        }
    }

    /// A view at an earlier commit reads as the state after that commit.
    #[test]
    fn a_view_at_a_commit_is_the_one_that_was_there(
        covered in prop::collection::vec(step(), 0..4),
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let world = world(&covered, &steps);
        for state in &world.states[1..] {
            let view = world.view.at(Lsn::new(state.lsn)).unwrap();
            prop_assert_eq!(view.head().lsn.get(), state.lsn);
            prop_assert_eq!(view.head().page_count, state.count);
            for page in 1..=PAGES {
                let version = state.versions.get(&page).copied();
                match view.find(PageNo::new(page).unwrap()) {
                    crate::view::Found::Log(found) => prop_assert_eq!(Some(found.version.get()), version),
                    crate::view::Found::Base => prop_assert_eq!(world.states[0].versions.get(&page).copied(), version),
                    crate::view::Found::Zero => prop_assert_eq!(None, version),
                }
            }
        }
        prop_assert!(world.view.at(Lsn::new(covered.len() as u64)).is_none());
    }
}

#[test]
fn commits_tell_whether_others_lie_between() {
    let write = |page| Step {
        least: u32::MAX,
        count: 3,
        pages: vec![page],
    };
    let world = world(&[], &[write(1), write(1), write(1), write(1), write(2)]);
    let points = vec![Lsn::new(1), Lsn::new(4)];
    let kept = Kept {
        points,
        window: None,
    };
    let made = history(&world.view.commits(), 0, SIZE, &kept);
    let told: Vec<_> = made
        .commits
        .iter()
        .map(|told| (told.lsn.get(), told.follows))
        .collect();
    assert_eq!(told, [(1, true), (4, false), (5, true)]);
    // The version of commit 4 is in the new generation.
    assert_eq!(made.versions.len(), 1);
}

/// A version that a commit wrote, as a patch on the one before or as a page.
fn written(page: u32, commit: u64, is_patch: bool) -> CommittedPage {
    let form = match is_patch {
        true => ImageForm::believed(Encoding::Patch, 60, 1, SIZE).unwrap(),
        false => ImageForm::raw(SIZE),
    };
    CommittedPage {
        form,
        ..committed(page, commit)
    }
}

/// Commits 1 to 12 at those times; `P` is a patch.
///
/// ```text
///           1  2  3  4  5  6  7  8  9 10 11 12
/// page 1    R  P  P  P  P  R  P  P  P  P  R  R
/// page 2          R              P           R
/// page 3       P                             R     on a page in a chunk
/// ```
fn patched() -> Vec<PastCommit> {
    let commit = |nth: u64| {
        let first = written(1, nth, !matches!(nth, 1 | 6 | 11 | 12));
        let second = matches!(nth, 3 | 8 | 12).then(|| written(2, nth, nth == 8));
        let third = matches!(nth, 2 | 12).then(|| written(3, nth, nth == 2));
        let pages: Vec<_> = [Some(first), second, third].into_iter().flatten().collect();
        let lsn = Lsn::new(nth);
        let head = Head {
            lsn,
            time_us: nth,
            page_size: Some(SIZE),
            page_count: 3,
            rolling_checksum: RollingChecksum::EMPTY,
        };
        let pages = CommitPages {
            version: lsn,
            page_count: 3,
            page_count_min: 3,
            pages: &pages,
        };
        PastCommit::new(head, &pages)
    };
    (1..=12).map(commit).collect()
}

/// The versions that are kept, by page and commit, and those that are read for each.
fn read_for(kept: &Kept) -> Vec<(u32, u64, Vec<u64>)> {
    let commits = patched();
    let commits: Vec<_> = commits.iter().collect();
    let history = history(&commits, 3, SIZE, kept);
    let versions = history.versions.iter().enumerate();
    let told = versions.map(|(nth, kept)| {
        let bases = history.bases_of(nth..nth + 1).iter();
        let bases = bases.map(|base| {
            assert_eq!((base.of, base.version.page), (nth, kept.page));
            base.version.version.version.get()
        });
        let commit = kept.version.version.get();
        (kept.page.get(), commit, bases.collect())
    });
    told.collect()
}

#[test]
fn what_a_version_rests_on_beside_those_that_are_kept_is_told_with_it() {
    let window = |since_us| Kept {
        points: Vec::new(),
        window: Some(Window {
            since_us,
            bytes: u64::MAX,
        }),
    };
    let (none, all) = (Vec::new, |from: u64, to: u64| {
        (from..=to).collect::<Vec<_>>()
    });
    let expected = [
        (1, 9, all(6, 8)),
        (1, 10, none()),
        (1, 11, none()),
        (2, 8, vec![3]),
        (3, 2, none()),
    ];
    assert_eq!(read_for(&window(9)), expected);
    let everything = read_for(&window(0));
    assert_eq!(everything.len(), 11 + 2 + 1);
    assert!(everything.iter().all(|(_, _, bases)| bases.is_empty()));
    let one_moment = Kept {
        points: vec![Lsn::new(4)],
        window: None,
    };
    let expected = [(1, 4, all(1, 3)), (2, 3, none()), (3, 2, none())];
    assert_eq!(read_for(&one_moment), expected);
}
