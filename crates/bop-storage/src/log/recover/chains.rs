//! Fragments: the parts of a large transaction, until the last one comes.
//!
//! ```text
//! (none) --fragment 0--> open --fragment k, in order--> open --last part--> one commit
//!                         open --abort, or a part out of order--> (none)
//! ```
//! Invariants
//! - a chain is delivered only if every part is there, each naming the one before by its checksum;
//! - images stay on disk: a chain holds page numbers, hashes and places;
//! - what is still open at the end of the log is void.

use super::sink::ReplayedPage;
use crate::canary::{Canary, is_planted};
use crate::ids::{CommitId, DbId, IdMap, Lsn, PageSize};
use crate::log::format::{FragmentPart, MemberPages, PagesRecord};
use std::collections::BTreeMap;

/// One database's pages of a transaction, and the parts they came in.
#[derive(Debug)]
struct Gathered {
    page_size: PageSize,
    pages: Vec<ReplayedPage>,
}

#[derive(Debug)]
struct Chain {
    /// Where its first part is.
    since: Lsn,
    next_index: u32,
    /// Header checksum of the newest part.
    previous: u64,
    members: BTreeMap<DbId, Gathered>,
}

/// The chains that are open.
#[derive(Debug, Default)]
pub(super) struct Chains {
    open: IdMap<CommitId, Chain>,
}

/// The pages of a commit, by member, in the order of the record; `None` when parts are missing.
pub(super) type CommitPages = Option<Vec<Vec<ReplayedPage>>>;

impl Chains {
    /// Takes in a fragment, or returns the pages of a whole transaction.
    pub(super) fn part(&mut self, lsn: Lsn, record: &PagesRecord) -> Option<CommitPages> {
        match record.part {
            FragmentPart::Whole => {
                let members = record.members.iter();
                Some(Some(members.map(|member| located(lsn, member)).collect()))
            }
            FragmentPart::Fragment {
                commit,
                index,
                previous,
            } => {
                self.fragment(commit, index, previous, lsn, record);
                None
            }
            FragmentPart::Last {
                commit,
                index,
                previous,
            } => {
                let chain = self.open.remove(&commit);
                let chain = chain.filter(|chain| chain.goes_on_with(index, previous));
                Some(chain.and_then(|chain| chain.finish(lsn, record)))
            }
        }
    }

    /// Where the first part is of the transaction that this record, at `lsn`, belongs to.
    pub(super) fn since(&self, lsn: Lsn, part: FragmentPart) -> Lsn {
        match part {
            FragmentPart::Whole => lsn,
            FragmentPart::Fragment { commit, .. } | FragmentPart::Last { commit, .. } => {
                self.open.get(&commit).map_or(lsn, |chain| chain.since)
            }
        }
    }

    /// The chain will not be committed.
    pub(super) fn abort(&mut self, commit: CommitId) {
        self.open.remove(&commit);
    }

    fn fragment(
        &mut self,
        commit: CommitId,
        index: u32,
        previous: u64,
        lsn: Lsn,
        record: &PagesRecord,
    ) {
        if index == 0 {
            let begun = Chain {
                since: lsn,
                next_index: 0,
                previous: 0,
                members: BTreeMap::new(),
            };
            self.open.insert(commit, begun);
        }
        let Some(chain) = self.open.get_mut(&commit) else {
            // The parts before were released with the segments they were in, or are lost: which of
            // the two, the commit's own databases tell.
            return;
        };
        let sound = chain.goes_on_with(index, previous) && chain.gather(lsn, &record.members);
        if !sound {
            self.open.remove(&commit);
            return;
        }
        chain.previous = record.header_checksum;
        chain.next_index = index.saturating_add(1);
    }
}

impl Chain {
    fn goes_on_with(&self, index: u32, previous: u64) -> bool {
        let goes_on = self.next_index == index && self.previous == previous;
        goes_on || is_planted(Canary::ChainCommittedEarly)
    }

    /// Adds the pages of one part; `false` when it contradicts an earlier one.
    fn gather(&mut self, lsn: Lsn, members: &[MemberPages]) -> bool {
        for member in members {
            let gathered = self.members.entry(member.database);
            let gathered = gathered.or_insert_with(|| Gathered {
                page_size: member.page_size,
                pages: Vec::new(),
            });
            if gathered.page_size != member.page_size {
                return false;
            }
            gathered.pages.extend(located(lsn, member));
        }
        true
    }

    fn finish(mut self, lsn: Lsn, record: &PagesRecord) -> CommitPages {
        if !self.gather(lsn, &record.members) {
            return None;
        }
        let mut pages = Vec::with_capacity(record.members.len());
        for member in &record.members {
            let gathered = self.members.remove(&member.database)?;
            pages.push(newest(gathered.pages, member.page_count));
        }
        // A database that only fragments name has no parent and no page count: not a commit.
        self.members.is_empty().then_some(pages)
    }
}

/// Each page once, in its last version, without those that the transaction cut off again.
fn newest(mut pages: Vec<ReplayedPage>, page_count: u32) -> Vec<ReplayedPage> {
    pages.retain(|page| page.page.get() <= page_count);
    // Stable: versions of a page stay in the order they were written in.
    pages.sort_by_key(|page| page.page);
    pages.reverse();
    pages.dedup_by_key(|page| page.page);
    pages.reverse();
    pages
}

fn located(record: Lsn, member: &MemberPages) -> Vec<ReplayedPage> {
    let page = |at: &crate::log::format::PageLocation| ReplayedPage {
        page: at.page,
        hash: at.hash,
        // Inside a batch that ends below the limit.
        image: Lsn::new(record.get() + u64::from(at.image_offset)),
        form: at.form,
    };
    member.pages.iter().map(page).collect()
}
