//! Pages of the cache that SQLite looks at where they are, instead of at a copy.
//!
//! ```text
//! pager: get a page --xFindFrame: 0, it is not hot--> xFetch --a page of the cache--> lent --xUnfetch--> taken back
//!                   '--its number: it is hot--> the pager's own cache, else xReadFrame, which copies
//! ```
//! To copy a page costs as much as all that SQLite does with a page that it looks at once, and throws out of the
//! pager's cache what the pager has use for. A page that is asked for again and again, as the root of a tree is,
//! is better there: the pager finds it without asking us.
//!
//! Invariants
//! - what is lent stays as it is, and in memory, until it is taken back, and somewhat longer: a statement whose
//!   cursor lost its page, since a function that it called wrote or rolled back, still reads the row that it
//!   stood on. A pager's own cache has such a page for as long, or longer;
//! - behind a page that is lent is memory that may be read: where a database is damaged SQLite looks past
//!   the end of a page.
//!
//! Never: lends a page to who may write to it.

use bop_storage::PageBytes;
use bop_storage::ids::PageSize;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;

/// How far SQLite may look past the end of a page, as `unixFetch` in its `os_unix.c` says.
const PAST_END_BYTES: usize = 256;
/// Of what was taken back, the newest are held until the snapshot ends.
const TAKEN_BACK_MAX: usize = 64;
/// Pages that can be hot at a time: as many as the pager's cache has at its default.
const SLOTS: usize = 512;
/// A page that was hot stays so until as many others were asked for in its place.
const USES_MAX: u8 = 4;

/// What a pager has been lent. A cursor holds a page of each level of its tree, so there are few.
#[derive(Default)]
pub(crate) struct Lent(RefCell<Pages>);

#[derive(Default)]
struct Pages {
    lent: Vec<PageBytes>,
    taken_back: VecDeque<PageBytes>,
}

impl Lent {
    /// Smaller pages are copied, and have no memory behind them.
    pub(crate) const PAGE_MIN: PageSize = PageSize::DEFAULT;

    /// Where `page` is, for as long as nobody gives it back; `None` for one that has to be copied.
    pub(crate) fn lend(&self, page: PageBytes) -> Option<*const u8> {
        let is_lent = PAST_END_BYTES <= page.readable_past_end();
        is_lent.then(|| {
            let place = page.as_ptr();
            self.0.borrow_mut().lent.push(page);
            place
        })
    }

    /// SQLite looks at the page no longer. Of one that was lent twice, one is taken back.
    pub(crate) fn take_back(&self, place: *const u8) {
        let mut pages = self.0.borrow_mut();
        let mut lent = pages.lent.iter();
        let found = lent.rposition(|page| ptr::eq(page.as_ptr(), place));
        if let Some(at) = found {
            let page = pages.lent.swap_remove(at);
            pages.taken_back.truncate(TAKEN_BACK_MAX - 1);
            pages.taken_back.push_front(page);
        }
    }

    /// The snapshot ends: nobody reads a row any more.
    pub(crate) fn let_go(&self) {
        self.0.borrow_mut().taken_back.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().lent.len()
    }
}

/// The pages that a pager asks for most.
///
/// Each slot has one page; another one that belongs there takes its place when it has come as often since. This
/// is how Misra and Gries find what is frequent ("Finding repeated elements", 1982), for one place at a time.
pub(crate) struct Hot(Box<[Cell<Slot>]>);

#[derive(Clone, Copy, Default)]
struct Slot {
    page: u32,
    /// How often it was asked for again, less the times that others were.
    uses: u8,
}

impl Default for Hot {
    fn default() -> Self {
        Self(vec![Cell::default(); SLOTS].into_boxed_slice())
    }
}

impl Hot {
    /// The pager asks for `page`; whether it did so not long ago.
    pub(crate) fn comes_again(&self, page: u32) -> bool {
        let Some(slot) = self.0.get(page as usize % SLOTS) else {
            return false;
        };
        let there = slot.get();
        let (uses, is_it) = (there.uses, there.page == page);
        slot.set(match (is_it, uses) {
            (true, _) => Slot {
                page,
                uses: (uses + 1).min(USES_MAX),
            },
            (false, 0) => Slot { page, uses: 0 },
            (false, _) => Slot {
                uses: uses - 1,
                ..there
            },
        });
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stays_until_it_is_taken_back_as_often_as_it_was_lent() {
        let lent = Lent::default();
        let page = PageBytes::copy_of(&[7; 4096]);
        let first = lent.lend(page.clone()).unwrap();
        let second = lent.lend(page).unwrap();
        assert_eq!((first, lent.len()), (second, 2));
        lent.take_back(first);
        assert_eq!(lent.len(), 1);
        // Of nobody here.
        lent.take_back(ptr::null());
        assert_eq!(lent.len(), 1);
        lent.take_back(second);
        assert_eq!(lent.len(), 0);
    }

    #[test]
    fn the_newest_of_what_was_taken_back_are_held_until_the_snapshot_ends() {
        let lent = Lent::default();
        let bytes = |nth: usize| [nth as u8; 4096];
        let places: Vec<_> = (0..100)
            .map(|nth| lent.lend(PageBytes::copy_of(&bytes(nth))).unwrap())
            .collect();
        places.iter().for_each(|place| lent.take_back(*place));
        let held = |lent: &Lent| {
            lent.0
                .borrow()
                .taken_back
                .iter()
                .map(|page| page[0])
                .collect()
        };
        let newest: Vec<u8> = held(&lent);
        assert_eq!(newest, (36..100).rev().collect::<Vec<u8>>());
        lent.let_go();
        assert!(held(&lent).is_empty());
    }

    #[test]
    fn a_small_page_is_copied() {
        let lent = Lent::default();
        assert!(lent.lend(PageBytes::copy_of(&[7; 512])).is_none());
        assert_eq!(lent.len(), 0);
    }

    #[test]
    fn a_page_is_hot_from_the_second_time_on_and_others_that_come_once_do_not_change_that() {
        let hot = Hot::default();
        assert!(!hot.comes_again(7));
        // An inner page with leaves that are all in its place.
        for leaf in 1..100 {
            assert!(hot.comes_again(7), "{leaf}");
            assert!(!hot.comes_again(7 + leaf * 512), "{leaf}");
        }
    }

    #[test]
    fn a_page_that_is_asked_for_no_more_gives_its_place_up() {
        let hot = Hot::default();
        for _ in 0..1000 {
            hot.comes_again(7);
        }
        let times = (0..100).position(|_| hot.comes_again(7 + 512));
        assert_eq!(times, Some(5));
        assert!(!hot.comes_again(7));
    }

    #[test]
    fn a_scan_of_more_pages_than_can_be_hot_finds_none() {
        let hot = Hot::default();
        for _ in 0..3 {
            assert!((1..10_000).all(|page| !hot.comes_again(page)));
        }
    }
}
