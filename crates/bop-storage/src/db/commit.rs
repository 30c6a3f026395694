//! From private pages to a durable, visible commit.
//!
//! ```text
//! overlay -> hashes and rolling checksum -> one commit record -> published
//!                                       '-> too large: a chain of fragments, see `chain`
//! ```
//!
//! Invariants
//! - records are made outside every lock;
//! - the writer slot travels with the record: it is free again when the commit is published, or
//!   when it is certain that it will not be.
//!
//! Never: changes a view but by publishing.

use super::cached_commit::CachedCommit;
use super::durability::Durability;
use super::engine::OpenStore;
use super::images::{Images, OwnPage, Replaced};
use super::lifecycle::Inside;
use super::overlay::Overlay;
use super::pending_commit::{PendingCommit, Pinned, Visible};
use super::policies::check_quota;
use super::publish::PublishCommit;
use super::read::ReadTxn;
use super::slot::SlotGuard;
use super::state::DbState;
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::{CommitError, ReadError, Rejection};
use crate::ids::{DbKind, PageNo};
use crate::log::format::{
    EncodedRecord, FragmentPart, ImageOffsets, MemberSpec, PageImage, encode_pages,
    pages_record_bytes,
};
use crate::log::{LogHold, Priority};
use crate::page_one;
use crate::view::{CommittedPage, Pin};
use smallvec::SmallVec;
use std::sync::Arc;

/// The pages of a transaction, ascending: mostly a few.
pub(super) type Touched = SmallVec<[PageNo; 8]>;

/// How the record of a commit is appended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// It is visible when the call returns, and so durable.
    Wait(Durability),
    /// The call returns at once.
    Async,
}

/// What a commit needs besides its pages.
pub(super) struct Committer {
    pub(super) engine: Arc<OpenStore>,
    pub(super) state: Arc<DbState>,
    pub(super) slot: SlotGuard,
    pub(super) snapshot: ReadTxn,
    pub(super) overlay: Overlay,
    pub(super) pinned: Pinned,
}

impl Committer {
    /// Commits.
    pub(super) fn commit(self, mode: Mode) -> Result<PendingCommit, CommitError> {
        self.into_transaction()?.commit(mode)
    }

    /// Refuses when the commit cannot be taken.
    pub(super) fn into_transaction(self) -> Result<Transaction, CommitError> {
        let Self {
            engine,
            state,
            slot,
            snapshot,
            overlay,
            pinned,
        } = self;
        engine.check_open().map_err(|_| Rejection::Closed)?;
        state.check_live().map_err(|_| Rejection::Dropped)?;
        engine.wait_for_index_room()?;
        let (size, count) = (overlay.page_size(), overlay.page_count());
        check_quota(&state, size, (snapshot.page_count(), count))?;
        let (pin, inside) = snapshot.into_parts();
        Ok(Transaction {
            engine,
            state,
            slot,
            inside,
            pin,
            overlay,
            pinned,
        })
    }
}

/// A transaction that is being committed.
pub(super) struct Transaction {
    pub(super) engine: Arc<OpenStore>,
    pub(super) state: Arc<DbState>,
    slot: SlotGuard,
    inside: Inside,
    /// Asked for its view at each use: while the commit waits for room in the log, a checkpoint
    /// can take the log away from below the pin.
    pin: Pin,
    pub(super) overlay: Overlay,
    pinned: Pinned,
}

impl Transaction {
    fn commit(self, mode: Mode) -> Result<PendingCommit, CommitError> {
        let _span = tracing::debug_span!("commit", database = %self.state.id()).entered();
        let pages = self.touched();
        let limit = usize::try_from(self.engine.log().fragment_bytes_max()).unwrap_or(usize::MAX);
        if pages.len() <= self.pages_in(limit) {
            let (mut own, rolling) = self.load_whole(&pages)?;
            let record = self.encode(FragmentPart::Whole, &mut own, rolling)?;
            let end = End {
                own,
                placed: Vec::new(),
                rolling,
                hold: None,
            };
            return self.append(record, end, Priority::User, mode);
        }
        self.commit_chain(&pages, limit, mode)
    }

    /// So many pages stand in a record of `limit` bytes; one in any case.
    pub(super) fn pages_in(&self, limit: usize) -> usize {
        let page_bytes = self.overlay.page_size().bytes();
        let fixed = pages_record_bytes(1, 0, 0);
        let each = pages_record_bytes(1, 1, page_bytes) - fixed;
        (limit.saturating_sub(fixed) / each).max(1)
    }

    /// Reads private pages, and what a patch of them may rest on, with the rolling checksum after
    /// them.
    pub(super) fn load(
        &self,
        part: FragmentPart,
        pages: &[PageNo],
        mut rolling: RollingChecksum,
    ) -> Result<(Vec<OwnPage>, RollingChecksum), CommitError> {
        let mut own = Vec::with_capacity(pages.len());
        let cache = self.engine.reader().cache();
        for page in pages {
            let content = match self.overlay.read(*page) {
                Some(content) => content.map_err(Rejection::Spill)?,
                None => return Err(Rejection::Invalid("a private page is gone").into()),
            };
            if self.state.kind() == DbKind::Sqlite && *page == PageNo::FIRST {
                page_one::check_canonical(&content).map_err(Rejection::Invalid)?;
            }
            let hash = PageHash::of(*page, &content);
            // What was cut off is no base: nothing may be looked up past a truncation.
            let patch = part == FragmentPart::Whole && !self.overlay.is_cut_off(*page);
            let replaced = Replaced::find(&self.pin.view(), cache, *page, patch);
            let replaced = replaced.map_err(Rejection::Read)?;
            if let Some(old) = replaced.hash {
                rolling = rolling.toggled(old);
            }
            rolling = rolling.toggled(hash);
            let size = self.overlay.page_size();
            own.push(OwnPage::new(*page, hash, content, size, replaced));
        }
        Ok((own, rolling))
    }

    fn old_hash(&self, page: PageNo) -> Result<Option<PageHash>, CommitError> {
        self.pin
            .view()
            .page_hash(page)
            .map_err(|error: ReadError| Rejection::Read(error).into())
    }

    /// The rolling checksum without the pages that were cut off and not written again.
    pub(super) fn rolling_without_cut(
        &self,
        touched: &[PageNo],
    ) -> Result<RollingChecksum, CommitError> {
        let head = *self.pin.view().head();
        let mut rolling = head.rolling_checksum;
        for raw in self.overlay.page_count_min().saturating_add(1)..=head.page_count {
            let Some(page) = PageNo::new(raw) else {
                continue;
            };
            if touched.binary_search(&page).is_err()
                && let Some(old) = self.old_hash(page)?
            {
                rolling = rolling.toggled(old);
            }
        }
        Ok(rolling)
    }

    pub(super) fn encode(
        &self,
        part: FragmentPart,
        own: &mut [OwnPage],
        rolling: RollingChecksum,
    ) -> Result<EncodedRecord, CommitError> {
        let made = self.images(own);
        let images = made.list(own);
        Ok(encode_pages(part, &[self.member(&images, rolling)])?)
    }

    pub(super) fn images(&self, own: &mut [OwnPage]) -> Images<'_> {
        let size = self.overlay.page_size();
        Images::make(own, size, &self.engine.engine().images)
    }

    /// This transaction in a record.
    pub(super) fn member<'i>(
        &self,
        pages: &'i [PageImage<'i>],
        rolling: RollingChecksum,
    ) -> MemberSpec<'i> {
        MemberSpec {
            database: self.state.id(),
            parent: self.pin.lsn(),
            rolling,
            page_count: self.overlay.page_count(),
            page_count_min: self.overlay.page_count_min(),
            page_size: self.overlay.page_size(),
            pages,
        }
    }

    /// Its pages, ascending.
    pub(super) fn touched(&self) -> Touched {
        self.overlay.touched().collect()
    }

    /// All its pages, which are these, for a record that has them all.
    pub(super) fn load_whole(
        &self,
        pages: &[PageNo],
    ) -> Result<(Vec<OwnPage>, RollingChecksum), CommitError> {
        let rolling = self.rolling_without_cut(pages)?;
        self.load(FragmentPart::Whole, pages, rolling)
    }

    pub(super) fn append(
        self,
        mut record: EncodedRecord,
        end: End,
        priority: Priority,
        mode: Mode,
    ) -> Result<PendingCommit, CommitError> {
        let engine = Arc::clone(&self.engine);
        let offsets = std::mem::take(&mut record.image_offsets);
        let (publish, visible) = self.into_publisher(offsets, end);
        let (log, publish) = (engine.log(), Box::new(publish));
        let future = match mode {
            Mode::Wait(Durability::Full) => {
                log.append(record, priority, publish)?;
                None
            }
            Mode::Wait(Durability::Relaxed { max_delay }) => {
                log.append_relaxed(record, priority, max_delay, publish)?;
                None
            }
            Mode::Async => Some(log.append_async(record, priority, publish)?),
        };
        Ok(PendingCommit::new(future, visible))
    }

    /// What makes the commit visible, and who waits for that.
    pub(super) fn into_publisher(
        self,
        image_offsets: ImageOffsets,
        end: End,
    ) -> (PublishCommit, Visible) {
        let is_chain = end.hold.is_some();
        let publish = PublishCommit {
            state: Arc::clone(&self.state),
            page_size: self.overlay.page_size(),
            page_count: self.overlay.page_count(),
            page_count_min: self.overlay.page_count_min(),
            rolling: end.rolling,
            image_offsets,
            cached: CachedCommit::new(self.engine.engine(), self.state.id(), end.own),
            placed: end.placed,
            hold: end.hold,
            spent: is_chain.then_some(self.overlay),
            pinned: Arc::clone(&self.pinned),
            made: None,
            prepared: None,
            slot: Some(self.slot),
        };
        let visible = Visible {
            engine: self.engine,
            state: self.state,
            inside: self.inside,
            pinned: self.pinned,
        };
        (publish, visible)
    }
}

/// What the last record of a commit leaves to be made visible.
pub(super) struct End {
    pub(super) own: Vec<OwnPage>,
    /// The pages of the fragments before.
    pub(super) placed: Vec<CommittedPage>,
    pub(super) rolling: RollingChecksum,
    /// Of the chain.
    pub(super) hold: Option<Arc<LogHold>>,
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
