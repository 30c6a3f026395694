//! From private pages to a durable, visible commit.
//!
//! ```text
//! overlay -> hashes and rolling checksum -> one commit record ----------------> published
//!                                       '-> fragment, fragment, ... , commit -> published
//!                                            '- a failure: abort record
//! ```
//!
//! Invariants
//! - records are made outside every lock;
//! - the writer slot travels with the record: it is free again when the commit is published, or
//!   when it is certain that it will not be;
//! - a chain of fragments holds the log from its first fragment on, and not before there was room
//!   for that: whoever waits for room pins none of it.
//!
//! Never: changes a view but by publishing.

use super::durability::Durability;
use super::engine::{Engine, OpenStore};
use super::images::{Images, OwnPage, Replaced};
use super::lifecycle::Inside;
use super::overlay::Overlay;
use super::read::ReadTxn;
use super::slot::SlotGuard;
use super::state::DbState;
use crate::cache::PageKey;
use crate::checksum::{PageHash, RollingChecksum};
use crate::error::{CommitError, LogFailure, ReadError, Rejection};
use crate::ids::{CommitId, DbKind, Lsn, PageNo, PageSize};
use crate::log::format::{
    EncodedRecord, FragmentPart, MemberSpec, encode_abort, encode_pages, pages_record_bytes,
};
use crate::log::{HoldReason, LogHold, Placed, Priority, Publish, Silent};
use crate::page_one;
use crate::view::{CommitPages, CommittedPage, Head, Pin, View};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Commits what `overlay` holds.
pub(super) fn commit(
    engine: &Arc<OpenStore>,
    state: &Arc<DbState>,
    slot: SlotGuard,
    snapshot: ReadTxn,
    overlay: Overlay,
    durability: Durability,
) -> Result<ReadTxn, CommitError> {
    engine.check_open().map_err(|_| Rejection::Closed)?;
    state.check_live().map_err(|_| Rejection::Dropped)?;
    engine.wait_for_index_room()?;
    let (pin, inside) = snapshot.into_parts();
    let transaction = Transaction {
        engine,
        state,
        slot,
        inside,
        pin,
        overlay,
        durability,
    };
    transaction.commit()
}

struct Transaction<'a> {
    engine: &'a Arc<OpenStore>,
    state: &'a Arc<DbState>,
    slot: SlotGuard,
    inside: Inside,
    /// Asked for its view at each use: while the commit waits for room in the log, a checkpoint
    /// can take the log away from below the pin.
    pin: Pin,
    overlay: Overlay,
    durability: Durability,
}

impl Transaction<'_> {
    fn commit(self) -> Result<ReadTxn, CommitError> {
        let _span = tracing::debug_span!("commit", database = %self.state.id()).entered();
        let pages: Vec<PageNo> = self.overlay.touched().collect();
        let parts = self.cut_into_parts(&pages);
        if parts.len() == 1 {
            let part = FragmentPart::Whole;
            let (mut own, rolling) = self.load(part, &pages, self.rolling_without_cut(&pages)?)?;
            let record = self.encode(part, &mut own, rolling)?;
            return self.append(record, own, Vec::new(), rolling, None, Priority::User);
        }
        self.commit_chain(&pages, parts)
    }

    /// The pages of each record, so that none is larger than a fragment may be.
    fn cut_into_parts<'p>(&self, pages: &'p [PageNo]) -> Vec<&'p [PageNo]> {
        let limit = usize::try_from(self.engine.log().fragment_bytes_max()).unwrap_or(usize::MAX);
        let page_bytes = self.overlay.page_size().bytes();
        let fixed = pages_record_bytes(1, 0, 0);
        let each = pages_record_bytes(1, 1, page_bytes) - fixed;
        let pages_in_part = (limit.saturating_sub(fixed) / each).max(1);
        if pages.is_empty() {
            vec![pages]
        } else {
            pages.chunks(pages_in_part).collect()
        }
    }

    fn commit_chain(self, pages: &[PageNo], parts: Vec<&[PageNo]>) -> Result<ReadTxn, CommitError> {
        let bytes = pages.len() as u64 * self.overlay.page_size().bytes() as u64;
        self.engine.reserve_for_chain(bytes)?;
        let commit = self.engine.next_commit_id();
        let mut chain = Chain {
            commit,
            index: 0,
            previous: 0,
            placed: Vec::new(),
            hold: Arc::default(),
        };
        let mut rolling = self.rolling_without_cut(pages)?;
        let Some((last, fragments)) = parts.split_last() else {
            return Err(Rejection::Invalid("a chain without parts").into());
        };
        for part in fragments {
            if let Err(error) = self.append_fragment(&mut chain, part, &mut rolling) {
                if chain.index > 0 {
                    self.abort(chain.commit);
                }
                return Err(error);
            }
        }
        let Chain {
            index,
            previous,
            placed,
            hold,
            ..
        } = chain;
        let hold = hold.get().cloned();
        let part = FragmentPart::Last {
            commit,
            index,
            previous,
        };
        let loaded = self.load(part, last, rolling);
        let ended = loaded.and_then(|(mut own, rolling)| {
            let record = self.encode(part, &mut own, rolling)?;
            Ok((record, own, rolling))
        });
        match ended {
            Ok((record, own, rolling)) => {
                let (engine, database) = (Arc::clone(self.engine.engine()), self.state.id());
                let ended = self.append(record, own, placed, rolling, hold, Priority::Chain);
                if matches!(ended, Err(CommitError::Rejected(_))) {
                    abort(&engine, commit, database);
                }
                ended
            }
            Err(error) => {
                self.abort(commit);
                Err(error)
            }
        }
    }

    fn append_fragment(
        &self,
        chain: &mut Chain,
        pages: &[PageNo],
        rolling: &mut RollingChecksum,
    ) -> Result<(), CommitError> {
        let Chain {
            commit,
            index,
            previous,
            ..
        } = *chain;
        let part = FragmentPart::Fragment {
            commit,
            index,
            previous,
        };
        let (mut own, next) = self.load(part, pages, *rolling)?;
        *rolling = next;
        let record = self.encode(part, &mut own, next)?;
        let (offsets, previous) = (record.image_offsets.clone(), record.header_checksum);
        let (priority, publish): (_, Box<dyn Publish>) = if index == 0 {
            let begun = PublishFirstFragment {
                engine: Arc::clone(self.engine.engine()),
                reason: HoldReason::FragmentChain(self.state.id()),
                hold: Arc::clone(&chain.hold),
            };
            (Priority::User, Box::new(begun))
        } else {
            (Priority::Chain, Box::new(Silent))
        };
        let appended = self.engine.log().append(record, priority, publish);
        let placed = appended.map_err(fragment_failed)?;
        chain.placed.extend(place(&own, &offsets, placed.lsn));
        (chain.index, chain.previous) = (index + 1, previous);
        Ok(())
    }

    /// Reads private pages, and what a patch of them may rest on, with the rolling checksum after
    /// them.
    fn load(
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
            let Replaced { hash: old, base } = replaced.map_err(Rejection::Read)?;
            if let Some(old) = old {
                rolling = rolling.toggled(old);
            }
            rolling = rolling.toggled(hash);
            let size = self.overlay.page_size();
            own.push(OwnPage::new(*page, hash, content, size, base));
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
    fn rolling_without_cut(&self, touched: &[PageNo]) -> Result<RollingChecksum, CommitError> {
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

    fn encode(
        &self,
        part: FragmentPart,
        own: &mut [OwnPage],
        rolling: RollingChecksum,
    ) -> Result<EncodedRecord, CommitError> {
        let size = self.overlay.page_size();
        let made = Images::make(own, size, &self.engine.engine().images);
        let images = made.list(own);
        let member = MemberSpec {
            database: self.state.id(),
            parent: self.pin.lsn(),
            rolling,
            page_count: self.overlay.page_count(),
            page_count_min: self.overlay.page_count_min(),
            page_size: self.overlay.page_size(),
            pages: &images,
        };
        Ok(encode_pages(part, &[member])?)
    }

    fn append(
        self,
        record: EncodedRecord,
        own: Vec<OwnPage>,
        placed: Vec<CommittedPage>,
        rolling: RollingChecksum,
        hold: Option<Arc<LogHold>>,
        priority: Priority,
    ) -> Result<ReadTxn, CommitError> {
        let pinned = Arc::new(Mutex::new(None));
        let publish = PublishCommit {
            engine: Arc::clone(self.engine.engine()),
            state: Arc::clone(self.state),
            page_size: self.overlay.page_size(),
            page_count: self.overlay.page_count(),
            page_count_min: self.overlay.page_count_min(),
            rolling,
            image_offsets: record.image_offsets.clone(),
            own,
            placed,
            hold,
            pinned: Arc::clone(&pinned),
            prepared: None,
            _slot: self.slot,
        };
        let (log, publish) = (self.engine.log(), Box::new(publish));
        match self.durability {
            Durability::Full => log.append(record, priority, publish)?,
            Durability::Relaxed { max_delay } => {
                log.append_relaxed(record, priority, max_delay, publish)?
            }
        };
        let pin = pinned.lock().take().unwrap_or_else(|| self.state.pin());
        Ok(ReadTxn::new(
            Arc::clone(self.engine),
            Arc::clone(self.state),
            pin,
            self.inside,
        ))
    }

    fn abort(&self, commit: CommitId) {
        abort(self.engine.engine(), commit, self.state.id());
    }
}

/// Without its last part a chain is void, whatever became of the others: nothing is unknown.
fn fragment_failed(error: CommitError) -> CommitError {
    match error {
        CommitError::Unknown { cause, .. } => match *cause {
            LogFailure::Stalled { waited } => Rejection::Timeout { waited }.into(),
            _ => Rejection::Poisoned(cause).into(),
        },
        rejected => rejected,
    }
}

/// Says in the log that a chain will not be committed. Without it the chain is void all the same.
fn abort(engine: &Engine, commit: CommitId, database: crate::ids::DbId) {
    let aborted = encode_abort(commit, database)
        .map_err(CommitError::from)
        .and_then(|record| {
            engine
                .log()
                .append(record, Priority::Housekeeping, Box::new(Silent))
        });
    if let Err(error) = aborted {
        tracing::debug!(%error, %database, "a chain ends without an abort record");
    }
}

/// The fragments written so far.
struct Chain {
    commit: CommitId,
    index: u32,
    previous: u64,
    placed: Vec<CommittedPage>,
    /// Keeps the log from the first fragment on, once that is durable.
    hold: Arc<OnceLock<Arc<LogHold>>>,
}

/// Begins the hold of a chain, before truncation can pass its first fragment.
struct PublishFirstFragment {
    engine: Arc<Engine>,
    reason: HoldReason,
    hold: Arc<OnceLock<Arc<LogHold>>>,
}

impl Publish for PublishFirstFragment {
    fn publish(self: Box<Self>, at: Placed) {
        let holds = self.engine.log().holds();
        self.hold.get_or_init(|| holds.hold(at.lsn, self.reason));
    }
}

fn place(own: &[OwnPage], offsets: &[u32], record: Lsn) -> Vec<CommittedPage> {
    own.iter()
        .zip(offsets)
        .map(|(own, offset)| CommittedPage {
            page: own.page,
            hash: own.hash,
            image_lsn: Lsn::new(record.get() + u64::from(*offset)),
            form: own.form,
        })
        .collect()
}

/// Makes a durable commit visible: cache, view, the committer's pin; then the slot is free.
struct PublishCommit {
    engine: Arc<Engine>,
    state: Arc<DbState>,
    page_size: PageSize,
    page_count: u32,
    page_count_min: u32,
    rolling: RollingChecksum,
    image_offsets: Vec<u32>,
    own: Vec<OwnPage>,
    placed: Vec<CommittedPage>,
    hold: Option<Arc<LogHold>>,
    pinned: Arc<Mutex<Option<Pin>>>,
    prepared: Option<Prepared>,
    _slot: SlotGuard,
}

/// The view that a commit will make, if it comes to stand at `at` and nobody changes the view
/// before.
struct Prepared {
    at: Placed,
    before: Arc<View>,
    after: Arc<View>,
}

impl PublishCommit {
    /// The view with this commit on top of `before`.
    fn view_on(&self, before: &View, at: Placed) -> Arc<View> {
        let mut pages = self.placed.clone();
        pages.extend(place(&self.own, &self.image_offsets, at.lsn));
        let head = Head {
            lsn: at.lsn,
            time_us: at.time_us,
            page_size: Some(self.page_size),
            page_count: self.page_count,
            rolling_checksum: self.rolling,
        };
        let commit = CommitPages {
            version: at.lsn,
            page_count: self.page_count,
            page_count_min: self.page_count_min,
            pages: &pages,
        };
        let hold = self.hold.clone().unwrap_or_else(|| {
            let holds = self.engine.log().holds();
            holds.hold(at.lsn, HoldReason::Pages(self.state.id()))
        });
        Arc::new(before.with_commit(head, &commit, &hold))
    }
}

impl Publish for PublishCommit {
    fn prepare(&mut self, at: Placed) {
        let before = self.state.view();
        let after = self.view_on(&before, at);
        self.prepared = Some(Prepared { at, before, after });
    }

    fn publish(self: Box<Self>, at: Placed) {
        let (_, added) = self.state.publish_shared(|view| match &self.prepared {
            Some(ready) if ready.at == at && Arc::ptr_eq(&ready.before, view) => {
                Arc::clone(&ready.after)
            }
            _ => self.view_on(view, at),
        });
        self.engine.count_index_entries(added);
        *self.pinned.lock() = Some(self.state.pin());
        let database = self.state.id();
        let cache = self.engine.reader().cache();
        for own in self.own {
            let key = PageKey::Log {
                database,
                version: at.lsn,
                page: own.page,
            };
            cache.insert(key, own.content);
        }
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
