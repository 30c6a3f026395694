//! The pages of a section as a checkpoint copies them, read ahead where they stand in chunks or far apart in the log.
//!
//! A range that is written as a whole has pages that nobody changed. They stand in chunks; and the newest versions of the
//! others have those of other databases between them. The copy would wait for the device at each of them.
//!
//! ```text
//!   pages of the section   mem mem BASE LOG mem BASE ... mem mem BASE mem ... LOG LOG
//!                                  '-- one group: 1 MiB --'      '-- the next --'
//!   the first page of a group is wanted --> wait for its errand, send one for the next group
//!                                           '--nobody was free: read the group here
//! ```
//! Invariants
//! - of the section that is written two groups at most are in memory, and one of the section behind it, each from at
//!   most [`GROUP_BYTES`] of the database;
//! - it is a hint: what is not in a group is loaded alone, and that load says why it cannot be read.
//!
//! Never: reads ahead what stands in the log one behind the other (its window does), tells of a read that failed.

use super::log_expected::{Expected, ImagePlace};
use super::reader::PageReader;
use crate::error::ReadError;
use crate::ids::{PageNo, PageSize};
use crate::runtime::Soon;
use crate::view::{BasePage, BasePages, Found, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of a database whose pages are read ahead together.
const GROUP_BYTES: usize = 1 << 20;

/// An image that begins so close behind the one before is read with it, by the log's window.
const NEAR_BYTES: u64 = 64 << 10;

/// What was read of a group.
#[derive(Default)]
struct Group {
    base: BTreeMap<PageNo, BasePage>,
    log: Expected,
}

/// What is read of a group.
#[derive(Default)]
struct Wanted {
    base: Vec<PageNo>,
    log: Vec<ImagePlace>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.base.is_empty() && self.log.is_empty()
    }

    /// Reads what can be read, with as few reads as pays.
    fn read(self, base: &dyn BasePages, at_once: u64) -> Group {
        Group {
            base: read(base, self.base),
            log: Expected::of(self.log, at_once),
        }
    }
}

/// Hands out pages in their order.
pub(super) struct PagesAhead<'s> {
    reader: &'s PageReader,
    view: &'s View,
    pages: Vec<PageNo>,
    /// The next one of them that is handed out.
    next: usize,
    /// The first that no group was made of yet.
    looked: usize,
    base: BTreeMap<PageNo, BasePage>,
    coming: Option<Coming>,
}

/// The group behind.
struct Coming {
    first: PageNo,
    read: Soon<Group>,
}

impl<'s> PagesAhead<'s> {
    /// `pages`, which ascend, of a view.
    pub(super) fn new(reader: &'s PageReader, view: &'s View, pages: Vec<PageNo>) -> Self {
        let mut ahead = Self {
            reader,
            view,
            pages,
            next: 0,
            looked: 0,
            base: BTreeMap::new(),
            coming: None,
        };
        ahead.coming = ahead.send();
        ahead
    }

    /// Has the next group read, if there is one.
    fn send(&mut self) -> Option<Coming> {
        let mut groups = std::iter::from_fn(|| self.next_group());
        let (first, wanted) = groups.find(|(_, wanted)| !wanted.is_empty())?;
        let base = Arc::clone(self.view.base());
        let at_once = self.reader.errands().at_once(GROUP_BYTES) as u64;
        let errand = move || wanted.read(&*base, at_once);
        let read = self.reader.errands().send_or_keep(errand);
        Some(Coming { first, read })
    }

    /// The pages that follow, from the first that is to be read on as far as a group goes.
    fn next_group(&mut self) -> Option<(PageNo, Wanted)> {
        let size = self.view.head().page_size.unwrap_or(PageSize::DEFAULT);
        let span = (GROUP_BYTES / size.bytes()) as u32;
        let (mut group, mut wanted) = (None, Wanted::default());
        while let Some(page) = self.pages.get(self.looked) {
            if group.is_some_and(|first: PageNo| span <= page.get() - first.get()) {
                break;
            }
            match self.view.find(*page) {
                Found::Zero => {}
                Found::Base => wanted.base.push(*page),
                Found::Log(at) => wanted.log.extend(self.reader.missing(self.view, *page, at)),
            }
            if group.is_none() && !wanted.is_empty() {
                group = Some(*page);
            }
            self.looked += 1;
        }
        if !are_far_apart(&wanted.log) {
            wanted.log.clear();
        }
        group.map(|first| (first, wanted))
    }

    /// Waits for the group of this page, if it is in one.
    fn reach(&mut self, page: PageNo) {
        while let Some(coming) = self.coming.take_if(|coming| coming.first <= page) {
            let group = coming.read.wait().unwrap_or_default();
            self.base = group.base;
            self.reader.window.lend(group.log);
            self.coming = self.send();
        }
    }
}

impl Drop for PagesAhead<'_> {
    fn drop(&mut self) {
        self.reader.window.lend(Expected::default());
    }
}

impl Iterator for PagesAhead<'_> {
    type Item = (PageNo, Result<Option<BasePage>, ReadError>);

    fn next(&mut self) -> Option<Self::Item> {
        let page = *self.pages.get(self.next)?;
        self.next += 1;
        self.reach(page);
        let loaded = match self.base.remove(&page) {
            Some(found) => Ok(Some(found)),
            None => self.reader.load_for_copy(self.view, page),
        };
        Some((page, loaded))
    }
}

/// Whether most of these images, in the order of their pages, do not stand one behind the other.
fn are_far_apart(images: &[ImagePlace]) -> bool {
    let far = images.array_windows().filter(|[one, next]| {
        let end = one.1 + one.2 as u64;
        one.0.id != next.0.id || !(one.1..=end + NEAR_BYTES).contains(&next.1)
    });
    images.len() < 2 * far.count()
}

/// Those of `pages` that can be read.
fn read(base: &dyn BasePages, mut pages: Vec<PageNo>) -> BTreeMap<PageNo, BasePage> {
    let mut group = BTreeMap::new();
    while let Some(first) = pages.first().copied() {
        let near = base.load_near(&pages);
        if near.is_empty() {
            let alone = base.load(first);
            group.extend(alone.ok().flatten().map(|found| (first, found)));
        }
        group.extend(near);
        pages.retain(|page| *page != first && !group.contains_key(page));
    }
    group
}

#[cfg(test)]
mod tests {
    use super::super::{Db, Manager, simulated};
    use super::*;
    use crate::ids::DbKind;
    use crate::limits::Limits;
    use crate::testing::{Fault, SimDisk};
    use std::time::Duration;

    /// As many as do not fit the cache of [`Limits::tiny`].
    const PAGES: u32 = 200;

    /// Noise, of one page.
    fn content(page: PageNo) -> Vec<u8> {
        let mut state = u64::from(page.get());
        let next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(1024).collect()
    }

    /// A database whose pages were committed one by one, in this order.
    fn database(disk: &SimDisk, pages: impl Iterator<Item = u32>) -> (Manager, Db) {
        let limits = Limits {
            log_bytes_max: 4 << 20,
            ..Limits::tiny()
        };
        let store = simulated::new(disk, limits);
        let db = store.create_database("d", DbKind::Raw).unwrap();
        for page in pages.filter_map(PageNo::new) {
            let mut write = db.begin_write(Duration::ZERO).unwrap();
            write.write_page(page, &content(page)).unwrap();
            write.commit().unwrap();
        }
        (store, db)
    }

    /// Loads all pages and checks them; the most images that were read ahead together.
    fn load_all(db: &Db) -> usize {
        let engine = db.engine().engine();
        let view = engine.state_of(db.id()).unwrap().view();
        let window = &engine.reader().window;
        let pages = (1..=PAGES).filter_map(PageNo::new).collect();
        let mut most = 0;
        for (page, loaded) in PagesAhead::new(engine.reader(), &view, pages) {
            let loaded = loaded.unwrap().unwrap();
            assert_eq!(loaded.content[..], content(page), "{page}");
            most = most.max(window.lent_count());
        }
        assert_eq!(window.lent_count(), 0, "nothing is kept");
        most
    }

    #[test]
    fn versions_that_do_not_stand_in_the_order_of_their_pages_are_read_together() {
        let (_store, db) = database(&SimDisk::new(1), (1..=PAGES).rev());
        let together = load_all(&db);
        assert!(together > PAGES as usize / 2, "{together}");
    }

    #[test]
    fn those_that_do_are_left_to_the_window() {
        let (_store, db) = database(&SimDisk::new(1), 1..=PAGES);
        assert_eq!(load_all(&db), 0);
    }

    #[test]
    fn what_could_not_be_read_ahead_is_loaded_alone() {
        let disk = SimDisk::new(1);
        let (_store, db) = database(&disk, (1..=PAGES).rev());
        disk.fail_read_at(disk.read_count(), Fault::Error(5));
        load_all(&db);
    }
}
