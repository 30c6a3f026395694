//! Which commits of a database can be proved: every page of them can be read, and all of them together
//! are what the commit says.
//!
//! ```text
//! base: its pages one by one --> sum of their hashes, and those that cannot be read (bad)
//! each commit: what it replaces or cuts off is taken out, what it writes is put in, and read
//!   sum = the commit's checksum, and nothing is bad --> provable
//! ```
//! Invariants
//! - a commit that is called provable is one whose every page was read and had the hash that its
//!   record or its chunk names;
//! - a page that cannot be read hinders all commits from the one that wrote it to the one that
//!   replaces it or cuts it off, and no other.
//!
//! Never: keeps a page; memory is for the pages that cannot be read.

use super::super::reader::PageReader;
use crate::checksum::{PageHash, RollingChecksum};
use crate::ids::{Lsn, PageNo};
use crate::log::ReplayedMember;
use crate::view::{Found, View};
use std::collections::BTreeSet;

/// One database, commit by commit.
#[derive(Debug)]
pub(super) struct Proof {
    /// Of all pages whose hash is known, whether or not they can be read.
    sum: RollingChecksum,
    bad: BTreeSet<PageNo>,
    /// The newest commit that can be proved.
    newest: Option<Lsn>,
}

impl Proof {
    /// Reads all pages of the base.
    pub(super) fn of_base(view: &View) -> Self {
        let mut proof = Self {
            sum: RollingChecksum::EMPTY,
            bad: BTreeSet::new(),
            newest: None,
        };
        let head = *view.head();
        for page in (1..=head.page_count).filter_map(PageNo::new) {
            match view.base().load(page) {
                Ok(Some(found)) => proof.toggle(Some(found.hash)),
                Ok(None) => {}
                Err(_) => {
                    proof.bad.insert(page);
                    let named = view.base().version(page).ok().flatten();
                    proof.toggle(named.map(|(hash, _)| hash));
                }
            }
        }
        proof.judge(view);
        proof
    }

    /// The newest commit that can be proved; zero is the state before the first one.
    pub(super) fn newest(&self) -> Option<Lsn> {
        self.newest
    }

    /// Before `view` gets the commit: takes out what goes with it.
    pub(super) fn before(&mut self, view: &View, member: &ReplayedMember) {
        let count = view.head().page_count;
        let kept = member.page_count_min.min(count);
        for page in (kept..count).filter_map(|before| PageNo::new(before + 1)) {
            self.remove(view, page);
        }
        for page in member.pages.iter().filter(|page| page.page.get() <= kept) {
            self.remove(view, page.page);
        }
    }

    /// After `view` got the commit: puts in what it wrote, and reads it.
    pub(super) fn after(&mut self, view: &View, member: &ReplayedMember, reader: &PageReader) {
        for page in &member.pages {
            let Found::Log(at) = view.find(page.page) else {
                continue;
            };
            self.toggle(Some(at.hash));
            if reader.check_log(view, page.page, at).is_err() {
                self.bad.insert(page.page);
            }
        }
        self.judge(view);
    }

    fn remove(&mut self, view: &View, page: PageNo) {
        // One whose hash cannot be read was never put in.
        self.toggle(view.page_hash(page).ok().flatten());
        self.bad.remove(&page);
    }

    fn toggle(&mut self, hash: Option<PageHash>) {
        if let Some(hash) = hash {
            self.sum = self.sum.toggled(hash);
        }
    }

    fn judge(&mut self, view: &View) {
        if self.bad.is_empty() && self.sum == view.head().rolling_checksum {
            self.newest = Some(view.head().lsn);
        }
    }
}
