//! Pasts that go on by themselves from one that they share, against plain lists.

use super::*;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::PageSize;
use crate::log::format::ImageForm;
use crate::view::CommittedPage;
use proptest::prelude::*;

/// A commit of so many pages, which have nothing to do with each other: as many runs.
fn commit(lsn: u64, pages: u32) -> PastCommit {
    let page = |nth: u32| CommittedPage {
        page: PageNo::new(2 * nth + 1).unwrap(),
        hash: PageHash::new(lsn),
        image_lsn: Lsn::new(lsn),
        form: ImageForm::raw(PageSize::DEFAULT),
    };
    let pages: Vec<_> = (0..pages).map(page).collect();
    let head = Head {
        lsn: Lsn::new(lsn),
        time_us: lsn,
        page_size: Some(PageSize::DEFAULT),
        page_count: 100,
        rolling_checksum: RollingChecksum::EMPTY,
    };
    let pages = CommitPages {
        version: Lsn::new(lsn),
        page_count: 100,
        page_count_min: 100,
        pages: &pages,
    };
    PastCommit::new(head, &pages)
}

/// What it has, oldest first: the Lsn and the runs of each.
fn commits(past: &Past) -> Vec<(u64, usize)> {
    let newest_first = past.newest_first();
    let mut commits: Vec<_> = newest_first
        .map(|commit| (commit.head().lsn.get(), commit.runs.len()))
        .collect();
    commits.reverse();
    commits
}

fn check(past: &Past, model: &[(u64, usize)]) {
    assert_eq!(commits(past), model);
    let (newest, _) = model.last().unwrap();
    assert_eq!(past.head().lsn.get(), *newest);
    let entries: usize = model.iter().map(|(_, runs)| runs).sum();
    assert_eq!(past.entries(), entries);
}

#[derive(Clone, Debug)]
enum Step {
    /// So many commits more, of so many pages.
    Push(usize, u32),
    /// A clone, which goes on by itself.
    Clone,
    /// What it was at this part of its commits, in 256ths, which goes on by itself.
    At(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..40_usize, 1..4_u32).prop_map(|(count, pages)| Step::Push(count, pages)),
        Just(Step::Clone),
        any::<u8>().prop_map(Step::At),
    ]
}

proptest! {
    #[test]
    fn views_that_go_on_from_one_past_have_what_each_was_given(
        steps in prop::collection::vec((any::<prop::sample::Index>(), step()), 1..40),
    ) {
        let mut all = vec![(Past::of(commit(10, 1)), vec![(10, 1)])];
        for (which, step) in steps {
            let which = which.index(all.len());
            let (past, model) = &mut all[which];
            match step {
                Step::Push(count, pages) => {
                    for _ in 0..count {
                        let lsn = model.last().unwrap().0 + 10;
                        past.push(commit(lsn, pages));
                        model.push((lsn, pages as usize));
                    }
                }
                Step::Clone => {
                    let clone = (past.clone(), model.clone());
                    prop_assert!(clone.0.is(&all[which].0));
                    all.push(clone);
                }
                Step::At(part) => {
                    let nth = usize::from(part) * model.len() / 256;
                    let (lsn, _) = model[nth];
                    for between in [0, 9] {
                        let then = past.at(Lsn::new(lsn + between)).unwrap();
                        check(&then, &model[..=nth]);
                    }
                    let then = past.at(Lsn::new(lsn)).unwrap();
                    prop_assert_eq!(then.is(past), nth + 1 == model.len());
                    let model = model[..=nth].to_vec();
                    all.push((then, model));
                }
            }
        }
        for (past, model) in &all {
            check(past, model);
            prop_assert!(past.at(Lsn::new(9)).is_none(), "before its first");
        }
    }
}

#[test]
fn where_another_commit_stands_behind_a_clone_it_goes_on_elsewhere() {
    let mut past = Past::of(commit(1, 1));
    for lsn in 2..=4 {
        past.push(commit(lsn, 1));
    }
    // Blocks of one, two and four: behind the fourth there is room, which one of the two takes.
    let mut first = past.clone();
    first.push(commit(5, 2));
    past.push(commit(6, 1));
    assert_eq!((first.count, past.count), (2, 1));
    assert_eq!(commits(&first)[3..], [(4, 1), (5, 2)]);
    assert_eq!(commits(&past), [(1, 1), (2, 1), (3, 1), (4, 1), (6, 1)]);
    assert_eq!((first.entries(), past.entries()), (6, 5));
    assert_eq!(past.at(Lsn::new(5)).unwrap().head().lsn.get(), 4);
}

#[test]
fn a_million_commits_are_dropped_on_a_small_stack() {
    let mut past = Past::of(commit(1, 1));
    for lsn in 2..1_000_000 {
        past.push(commit(lsn, 1));
    }
    let small = std::thread::Builder::new().stack_size(64 << 10);
    small.spawn(move || drop(past)).unwrap().join().unwrap();
}

#[test]
fn a_database_with_few_commits_has_little_memory_for_more() {
    let mut past = Past::of(commit(1, 1));
    let room = |past: &Past| {
        let blocks = past.back().map(|past| past.newest.commits.len());
        blocks.sum::<usize>()
    };
    let mut rooms = vec![room(&past)];
    for lsn in 2..=64 {
        past.push(commit(lsn, 1));
        rooms.push(room(&past));
    }
    for (have, room) in (1..).zip(rooms) {
        assert!(have <= room && room < 2 * have + 1, "{room} for {have}");
    }
    assert!(size_of::<OnceLock<PastCommit>>() <= 152);
}
