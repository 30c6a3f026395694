//! The commits of the log, read back: what was committed to which database, in the store's one order.
//!
//! ```text
//!   released | oldest segment ... from ... [a page: some batches] ... published
//!              '--a read from before it is told where the log begins
//! ```
//! Invariants
//! - only what is durable and visible is read: nothing of a batch that may still be lost;
//! - a page ends where a batch ends, so the next one begins where a batch does;
//! - what is released meanwhile is told as such: it is neither passed by nor taken for damage. A read
//!   holds nothing back: who wants that has a cursor.
//!
//! Never: reads an image, or waits.

use super::engine::Engine;
use crate::checksum::RollingChecksum;
use crate::error::{Damage, FeedError, Place, Reject};
use crate::ids::{CommitId, DbId, Epoch, Lsn, PageNo, PageSize};
use crate::log::LogSegment;
use crate::log::format::{FragmentPart, MemberPages, PagesRecord, SegmentIdentity};
use crate::log::scan::{
    Content, ScannedBatch, ScannedBody, ScannedRecord, SegmentSpace, Span, scan_batches,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One database of one commit.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LoggedCommit {
    /// Its position.
    pub lsn: Lsn,
    /// When it was appended, in microseconds since the Unix epoch; never less than the one before.
    pub time_us: u64,
    /// The database.
    pub database: DbId,
    /// The database's commit before it.
    pub parent: Lsn,
    /// How many databases were committed together. Their commits have one position, and stand one
    /// behind the other.
    pub group: usize,
    /// The pages that it wrote, ascending; `None` of a commit in several parts of which this page of
    /// the feed does not have the first.
    pub pages: Option<Vec<PageNo>>,
    /// Pages of the database after it.
    pub page_count: u32,
    /// The fewest pages that the database had since its parent: those above are new, or zeros.
    pub page_count_min: u32,
    /// Bytes in a page.
    pub page_size: PageSize,
    /// The xor of the hashes of all pages after it: equal states have equal values.
    pub rolling_checksum: RollingChecksum,
}

/// Commits that were read, and where the next ones are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitPage {
    /// In the order of the log.
    pub commits: Vec<LoggedCommit>,
    /// Where to read on. At the end of what is durable the next page is empty.
    pub next: Lsn,
}

/// The pages of chains of fragments whose last part is still to come.
type Chains = BTreeMap<CommitId, Chain>;

#[derive(Default)]
struct Chain {
    /// The part that comes next.
    next: u32,
    pages: BTreeMap<DbId, Vec<PageNo>>,
}

impl Engine {
    /// The commits from `from` on, about `limit` of them: whole batches.
    pub(super) fn commits(
        &self,
        from: Option<Lsn>,
        limit: usize,
        of: Option<DbId>,
    ) -> Result<CommitPage, FeedError> {
        loop {
            match self.commits_once(from, limit, of) {
                // It begins later now, which whoever wants it from where it begins does not mind.
                Err(FeedError::LogReleased { .. }) if from.is_none() => {}
                page => return page,
            }
        }
    }

    fn commits_once(
        &self,
        from: Option<Lsn>,
        limit: usize,
        of: Option<DbId>,
    ) -> Result<CommitPage, FeedError> {
        self.check_open().map_err(|_| FeedError::Closed)?;
        let published = self.log.published();
        let segments = self.segments(published);
        // In this order: of a segment that went before they were looked at this says so.
        let oldest = self.manifest.state().watermarks().truncated;
        let begins = segments.first().map_or(published, |(first, _)| first.base);
        let from = from.unwrap_or(begins.max(oldest));
        self.check_kept(from)?;
        let mut page = CommitPage {
            commits: Vec::new(),
            next: from.min(published),
        };
        let mut chains = Chains::new();
        for (segment, end) in segments {
            if end <= page.next || limit <= page.commits.len() {
                continue;
            }
            page.next = page.next.max(segment.base);
            let read = self.read_segment(&segment, (from, end), limit, &mut chains, &mut page);
            if let Err(error) = read {
                // Its file may be another one's by now.
                self.check_kept(page.next)?;
                return Err(error);
            }
        }
        page.commits
            .retain(|commit| of.is_none_or(|database| database == commit.database));
        Ok(page)
    }

    /// Refuses a position that the log was released past.
    fn check_kept(&self, from: Lsn) -> Result<(), FeedError> {
        let oldest = self.manifest.state().watermarks().truncated;
        if from < oldest {
            return Err(FeedError::LogReleased { oldest });
        }
        Ok(())
    }

    /// Bytes of the log from a position on, without the gaps between segments.
    pub(super) fn log_bytes_from(&self, from: Lsn) -> u64 {
        let segments = self.segments(self.log.published());
        let behind = segments.iter().map(|(segment, end)| {
            let from = from.max(segment.base);
            end.get().saturating_sub(from.get())
        });
        behind.sum()
    }

    /// The segments that hold anything, oldest first, each with where that ends.
    fn segments(&self, published: Lsn) -> Vec<(Arc<LogSegment>, Lsn)> {
        let ring = self.log.ring();
        // In this order: one that is sealed in between is in both, and none is missing.
        let active = ring.active();
        let sealed = ring.sealed().into_iter();
        let mut segments: Vec<_> = sealed.map(|sealed| (sealed.segment, sealed.end)).collect();
        if let Some(active) = active
            && segments.iter().all(|(segment, _)| segment.id < active.id)
        {
            segments.push((active, published));
        }
        segments
    }

    /// From `page.next` on, which moves to the end of the last batch: the commits that are not before
    /// `from`.
    fn read_segment(
        &self,
        segment: &LogSegment,
        (from, end): (Lsn, Lsn),
        limit: usize,
        chains: &mut Chains,
        page: &mut CommitPage,
    ) -> Result<(), FeedError> {
        let space = SegmentSpace {
            identity: SegmentIdentity {
                store: self.store,
                segment: segment.id,
                incarnation: segment.incarnation,
            },
            base: segment.base,
            capacity_bytes: segment.capacity_bytes,
            // Any: what is published is of no older one than what stands before it.
            epoch: Epoch::default(),
        };
        let mut found = page.commits.len();
        let mut enough = |span: &Span| {
            if let Content::Batch(batch) = &span.content {
                let wanted = batch.records.iter().filter(|record| from <= record.lsn);
                found += wanted.map(commits_in).sum::<usize>();
            }
            limit <= found
        };
        let file = || Arc::clone(&segment.file);
        let damaged = |(lsn, reason)| {
            let place = Place::Log {
                segment: segment.id,
                lsn,
            };
            FeedError::Damaged(Damage::new(place, reason))
        };
        let scanned = scan_batches(file(), &space, (page.next, end), &mut enough);
        let scanned = match scanned.map_err(damaged)? {
            Some(scanned) => scanned,
            // No batch starts there: it may be inside one, which is found from the segment's start.
            None => scan_batches(file(), &space, (space.base, end), &mut enough)
                .map_err(damaged)?
                .ok_or_else(|| damaged((space.base, Reject::Missing)))?,
        };
        for span in scanned.spans {
            match span.content {
                Content::Batch(batch) => take(&batch, chains, &mut page.commits),
                Content::Bad(bad) => return Err(damaged((bad.at, bad.reason))),
                Content::Zeros => {
                    return Err(damaged((span.lsn, Reject::Missing)));
                }
            }
            page.next = span.end;
        }
        page.commits.retain(|commit| from <= commit.lsn);
        Ok(())
    }
}

fn commits_in(record: &ScannedRecord) -> usize {
    match &record.body {
        ScannedBody::Pages(pages) if !matches!(pages.part, FragmentPart::Fragment { .. }) => {
            pages.members.len()
        }
        _ => 0,
    }
}

/// Takes the commits out of a batch.
fn take(batch: &ScannedBatch, chains: &mut Chains, commits: &mut Vec<LoggedCommit>) {
    for record in &batch.records {
        match &record.body {
            ScannedBody::Pages(pages) => take_pages(record, pages, chains, commits),
            ScannedBody::Abort(commit) => drop(chains.remove(commit)),
            _ => {}
        }
    }
}

fn take_pages(
    record: &ScannedRecord,
    pages: &PagesRecord,
    chains: &mut Chains,
    commits: &mut Vec<LoggedCommit>,
) {
    let own = |member: &MemberPages| {
        member
            .pages
            .iter()
            .map(|page| page.page)
            .collect::<Vec<_>>()
    };
    let mut before = match pages.part {
        FragmentPart::Fragment { commit, index, .. } => {
            let chain = chains.entry(commit).or_default();
            if chain.next == index {
                chain.next += 1;
                for member in &pages.members {
                    let all = chain.pages.entry(member.database).or_default();
                    all.extend(own(member));
                }
            }
            return;
        }
        FragmentPart::Last { commit, index, .. } => {
            let chain = chains.remove(&commit).unwrap_or_default();
            (chain.next == index).then_some(chain.pages)
        }
        FragmentPart::Whole => Some(BTreeMap::new()),
    };
    for member in &pages.members {
        let mut of_member = before
            .as_mut()
            .map(|before| before.remove(&member.database).unwrap_or_default());
        if let Some(all) = &mut of_member {
            all.extend(own(member));
            all.sort_unstable();
        }
        commits.push(LoggedCommit {
            lsn: record.lsn,
            time_us: record.time_us,
            database: member.database,
            parent: member.parent,
            group: pages.members.len(),
            pages: of_member,
            page_count: member.page_count,
            page_count_min: member.page_count_min,
            page_size: member.page_size,
            rolling_checksum: member.rolling,
        });
    }
}
