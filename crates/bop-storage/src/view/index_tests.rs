//! The layers of an index against a plain map from page to version.

use super::*;
use crate::ids::PageSize;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SIZE: PageSize = PageSize::DEFAULT;
const RAW: ImageForm = ImageForm::raw(SIZE);

fn page(raw: u32) -> PageNo {
    PageNo::new(raw).unwrap()
}

/// Pages with images back to back from `image` on.
fn images(image: u64, pages: impl IntoIterator<Item = u32>) -> Vec<CommittedPage> {
    let lsns = (image..).step_by(SIZE.bytes());
    pages
        .into_iter()
        .zip(lsns)
        .map(|(raw, lsn)| CommittedPage {
            page: page(raw),
            hash: PageHash::new(lsn ^ u64::from(raw)),
            image_lsn: Lsn::new(lsn),
            form: RAW,
        })
        .collect()
}

fn commit(version: u64, count: u32, count_min: u32, pages: &[CommittedPage]) -> CommitPages<'_> {
    CommitPages {
        version: Lsn::new(version),
        page_count: count,
        page_count_min: count_min,
        pages,
    }
}

fn found(layer: &IndexLayer, raw: u32) -> Option<PageVersion> {
    match layer.lookup(page(raw)) {
        Lookup::Found(version) => Some(version),
        Lookup::Zero | Lookup::Below => None,
    }
}

#[test]
fn consecutive_pages_of_a_commit_are_one_extent() {
    let pages = images(0x10_000, 1..=100);
    let layer = IndexLayer::new(0).with_commit(&commit(9, 100, 0, &pages));
    assert_eq!(layer.entries(), 1);
    for written in &pages {
        assert_eq!(
            found(&layer, written.page.get()),
            Some(PageVersion {
                version: Lsn::new(9),
                image_lsn: written.image_lsn,
                hash: written.hash,
                form: written.form,
            })
        );
    }
    assert_eq!(layer.lookup(page(101)), Lookup::Zero);
}

#[test]
fn a_gap_in_pages_or_images_starts_another_extent() {
    let mut pages = images(0x10_000, [1, 2, 4, 5]);
    pages.extend(images(0x90_000, [6]));
    let layer = IndexLayer::new(0).with_commit(&commit(9, 6, 0, &pages));
    let firsts: Vec<(u32, u32)> = layer
        .iter()
        .map(|(first, e)| (first.get(), e.pages()))
        .collect();
    assert_eq!(firsts, [(1, 2), (4, 2), (6, 1)]);
}

#[test]
fn a_rewrite_inside_an_extent_leaves_both_of_its_ends() {
    let old = IndexLayer::new(0).with_commit(&commit(1, 10, 0, &images(0x10_000, 1..=10)));
    let new = old.with_commit(&commit(2, 10, 10, &images(0x90_000, 4..=6)));
    assert_eq!((old.entries(), new.entries()), (1, 3));
    for raw in 1..=10 {
        let before = found(&old, raw).unwrap();
        let after = found(&new, raw).unwrap();
        assert_eq!(before.version, Lsn::new(1));
        if (4..=6).contains(&raw) {
            assert_eq!(after.version, Lsn::new(2));
        } else {
            assert_eq!(after, before, "page {raw}");
        }
    }
}

#[test]
fn a_page_cut_off_and_grown_again_is_zero_and_never_the_old_one() {
    let full = IndexLayer::new(0).with_commit(&commit(1, 10, 0, &images(0x10_000, 1..=10)));
    let next = IndexLayer::new(10);
    assert_eq!(next.lookup(page(8)), Lookup::Below);
    let cut = next.with_commit(&commit(2, 5, 5, &[]));
    let grown = cut.with_commit(&commit(3, 10, 5, &images(0x90_000, [10])));
    assert_eq!(grown.lookup(page(5)), Lookup::Below);
    assert_eq!(grown.lookup(page(8)), Lookup::Zero);
    assert_eq!(found(&grown, 10).unwrap().version, Lsn::new(3));
    assert!(
        found(&full, 8).is_some(),
        "an older view still has the page"
    );
}

#[test]
fn a_page_past_the_commits_own_page_count_is_left_out() {
    let layer = IndexLayer::new(0).with_commit(&commit(1, 3, 0, &images(0x10_000, 1..=5)));
    assert!(found(&layer, 3).is_some());
    assert_eq!(layer.lookup(page(4)), Lookup::Zero);
}

#[test]
fn the_last_page_number_does_not_overflow() {
    let top = u32::MAX;
    let layer =
        IndexLayer::new(0).with_commit(&commit(1, top, 0, &images(0x10_000, top - 2..=top)));
    let layer = layer.with_commit(&commit(2, top, top, &images(0x90_000, [top - 1])));
    assert_eq!(layer.entries(), 3);
    let all = layer.pages_in_range(PageNo::FIRST..=page(top));
    assert_eq!(all.count(), 3);
    let layer = layer.with_commit(&commit(3, 0, 0, &[]));
    assert_eq!(layer.entries(), 0);
}

/// One step of a database's life.
#[derive(Clone, Debug)]
enum Step {
    Commit {
        /// Page counts that the transaction went through before it wrote.
        shrinks: Vec<u32>,
        /// Pages of the database at its end, at least.
        count: u32,
        /// Pages written.
        pages: Vec<u32>,
        /// Whether the images of the second half stand elsewhere, as in a fragmented commit.
        apart: bool,
    },
    /// A checkpoint begins: a new layer on top.
    Seal,
}

const PAGES: u32 = 40;

fn step() -> impl Strategy<Value = Step> {
    let runs = prop::collection::btree_set((1..=PAGES, 1..12_u32), 0..4).prop_map(|runs| {
        let all = runs.into_iter().flat_map(|(first, n)| first..first + n);
        let set: std::collections::BTreeSet<u32> = all.filter(|raw| *raw <= PAGES).collect();
        set.into_iter().collect::<Vec<u32>>()
    });
    let shrinks = prop::collection::vec(0..PAGES, 0..2);
    let commit =
        (shrinks, 0..=PAGES, runs, any::<bool>()).prop_map(|(shrinks, count, pages, apart)| {
            Step::Commit {
                shrinks,
                count,
                pages,
                apart,
            }
        });
    prop_oneof![6 => commit, 1 => Just(Step::Seal)]
}

/// What every page must be: its newest version, or nothing for zeros.
#[derive(Default, Clone)]
struct Model {
    count: u32,
    pages: BTreeMap<u32, PageVersion>,
}

fn read(layers: &[IndexLayer], raw: u32) -> Option<PageVersion> {
    for layer in layers.iter().rev() {
        match layer.lookup(page(raw)) {
            Lookup::Found(version) => return Some(version),
            Lookup::Zero => return None,
            Lookup::Below => {}
        }
    }
    None
}

fn check(layers: &[IndexLayer], model: &Model) -> Result<(), TestCaseError> {
    for raw in 1..=model.count {
        let expected = model.pages.get(&raw).copied();
        prop_assert_eq!(read(layers, raw), expected, "page {}", raw);
    }
    for layer in layers {
        let all: Vec<_> = layer
            .pages_in_range(PageNo::FIRST..=page(u32::MAX))
            .collect();
        let extents: u32 = layer.iter().map(|(_, extent)| extent.pages()).sum();
        prop_assert_eq!(all.len(), extents as usize);
        prop_assert!(
            all.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "no overlap"
        );
        for (number, version) in &all {
            prop_assert_eq!(layer.lookup(*number), Lookup::Found(*version));
        }
        let part = page(7)..=page(19);
        let expected: Vec<_> = all
            .iter()
            .filter(|(number, _)| part.contains(number))
            .copied()
            .collect();
        prop_assert_eq!(
            layer.pages_in_range(part).collect::<Vec<_>>(),
            expected,
            "part of the range"
        );
    }
    Ok(())
}

/// Applies a commit to the model and hands back its pages and smallest page count.
fn commit_to_model(
    model: &mut Model,
    version: u64,
    step: (&[u32], u32, &[u32], bool),
) -> (u32, Vec<CommittedPage>) {
    let (shrinks, count, raws, apart) = step;
    let mut count_min = model.count;
    for shrink in shrinks {
        count_min = count_min.min(*shrink);
    }
    model.count = count.max(raws.last().copied().unwrap_or(0));
    count_min = count_min.min(model.count);
    model.pages.retain(|raw, _| *raw <= count_min);
    let (head, tail) = raws.split_at(if apart { raws.len() / 2 } else { 0 });
    let mut pages = images(version + 4096, head.iter().copied());
    pages.extend(images(version + (1 << 20), tail.iter().copied()));
    for written in &pages {
        model.pages.insert(
            written.page.get(),
            PageVersion {
                version: Lsn::new(version),
                image_lsn: written.image_lsn,
                hash: written.hash,
                form: written.form,
            },
        );
    }
    (count_min, pages)
}

proptest! {
    /// Whatever is committed, cut off and grown again, on however many layers: a lookup finds the
    /// newest version, and an older state of the index keeps saying what it said.
    #[test]
    fn layers_read_as_a_map_of_pages(steps in prop::collection::vec(step(), 1..40)) {
        let mut model = Model::default();
        let mut layers = vec![IndexLayer::new(0)];
        let mut halfway = None;
        for (nth, step) in steps.iter().enumerate() {
            match step {
                Step::Seal => layers.push(IndexLayer::new(model.count)),
                Step::Commit { shrinks, count, pages, apart } => {
                    let version = (nth as u64 + 1) << 24;
                    let (min, written) =
                        commit_to_model(&mut model, version, (shrinks, *count, pages, *apart));
                    let top = layers.pop().unwrap();
                    layers.push(top.with_commit(&commit(version, model.count, min, &written)));
                }
            }
            check(&layers, &model)?;
            if nth == steps.len() / 2 {
                halfway = Some((layers.clone(), model.clone()));
            }
        }
        if let Some((layers, model)) = halfway {
            check(&layers, &model)?;
        }
    }
}
