//! The pages of a section as a checkpoint copies them, those of the generation before read ahead.
//!
//! A range that is written as a whole has pages that nobody changed. They stand in chunks, and the copy would wait for
//! the device at each of them.
//!
//! ```text
//!   pages of the section   log log BASE BASE log BASE ... log log BASE log ... BASE BASE
//!                                  '-- one group: 1 MiB --'       '-- the next --'
//!   the first page of a group is wanted --> wait for its errand, send one for the next group
//!                                           '--nobody was free: read the group here
//! ```
//! Invariants
//! - two groups at most are in memory, each from at most [`GROUP_BYTES`] of the database;
//! - it is a hint: what is not in a group is loaded alone, and that load says why it cannot be read.
//!
//! Never: reads the log ahead (its window does), tells of a read that failed.

use super::reader::PageReader;
use crate::error::ReadError;
use crate::ids::{PageNo, PageSize};
use crate::runtime::{Pending, Waited};
use crate::view::{BasePage, BasePages, Found, View};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The part of a database whose pages are read ahead together.
const GROUP_BYTES: usize = 1 << 20;

type Group = BTreeMap<PageNo, BasePage>;

/// Hands out pages in their order.
pub(super) struct PagesAhead<'s> {
    reader: &'s PageReader,
    view: &'s View,
    pages: Vec<PageNo>,
    /// The next one of them that is handed out.
    next: usize,
    /// The first that no group was made of yet.
    looked: usize,
    group: Group,
    coming: Option<Coming>,
}

/// The group behind.
struct Coming {
    first: PageNo,
    read: Reading,
}

enum Reading {
    Sent(Pending<Group>),
    /// When it is wanted: the errand that nobody was free for.
    Here(Box<dyn FnOnce() -> Group>),
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
            group: Group::new(),
            coming: None,
        };
        ahead.coming = ahead.send();
        ahead
    }

    /// Has the next group read, if there is one.
    fn send(&mut self) -> Option<Coming> {
        let pages = self.next_group();
        let first = *pages.first()?;
        let base = Arc::clone(self.view.base());
        let sent = self.reader.errands().send(move || read(&*base, pages));
        let read = match sent {
            Ok(sent) => Reading::Sent(sent),
            Err(errand) => Reading::Here(Box::new(errand)),
        };
        Some(Coming { first, read })
    }

    /// The pages of the base that follow, from the first on as far as a group goes.
    fn next_group(&mut self) -> Vec<PageNo> {
        let size = self.view.head().page_size.unwrap_or(PageSize::DEFAULT);
        let span = (GROUP_BYTES / size.bytes()) as u32;
        let mut group: Vec<PageNo> = Vec::new();
        while let Some(page) = self.pages.get(self.looked) {
            let first = group.first().unwrap_or(page);
            if span <= page.get() - first.get() {
                break;
            }
            if self.view.find(*page) == Found::Base {
                group.push(*page);
            }
            self.looked += 1;
        }
        group
    }

    fn load_of_base(&mut self, page: PageNo) -> Result<Option<BasePage>, ReadError> {
        while let Some(coming) = self.coming.take_if(|coming| coming.first <= page) {
            self.group = match coming.read {
                Reading::Here(errand) => errand(),
                Reading::Sent(sent) => match sent.wait(None) {
                    Waited::Answer(group) => group,
                    Waited::Lost | Waited::TimedOut => Group::new(),
                },
            };
            self.coming = self.send();
        }
        match self.group.remove(&page) {
            Some(found) => Ok(Some(found)),
            None => self.view.base().load(page),
        }
    }
}

impl Iterator for PagesAhead<'_> {
    type Item = (PageNo, Result<Option<BasePage>, ReadError>);

    fn next(&mut self) -> Option<Self::Item> {
        let page = *self.pages.get(self.next)?;
        self.next += 1;
        let loaded = match self.view.find(page) {
            Found::Zero => Ok(None),
            Found::Base => self.load_of_base(page),
            Found::Log(at) => self
                .reader
                .load_version(self.view, page, at, None)
                .map(Some),
        };
        Some((page, loaded))
    }
}

/// Those of `pages` that can be read, with as few reads as pays.
fn read(base: &dyn BasePages, mut pages: Vec<PageNo>) -> Group {
    let mut group = Group::new();
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
