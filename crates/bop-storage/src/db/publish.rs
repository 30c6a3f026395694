//! Making a durable commit visible: index, view, cache, the committer's pin.
//!
//! Invariants
//! - the hold of a commit's part of the log exists before the commit is visible;
//! - a small commit changes the view where it is: nothing is copied that no reader has pinned.
//!
//! Never: waits.

use super::cached_commit::CachedCommit;
use super::engine::Engine;
use super::images::OwnPage;
use super::overlay::Overlay;
use super::pending_commit::Pinned;
use super::slot::SlotGuard;
use super::state::DbState;
use crate::checksum::RollingChecksum;
use crate::ids::{Lsn, PageSize};
use crate::log::format::ImageOffsets;
use crate::log::{HoldReason, LogHold, Placed, Publish, Remains};
use crate::view::{CommitPages, CommittedPage, Head, PastCommit, Pin, View};
use smallvec::SmallVec;
use std::sync::{Arc, OnceLock};

/// Begins the hold of a chain, before truncation can pass its first fragment.
pub(super) struct PublishFirstFragment {
    pub(super) engine: Arc<Engine>,
    pub(super) reason: HoldReason,
    pub(super) hold: Arc<OnceLock<Arc<LogHold>>>,
}

impl Publish for PublishFirstFragment {
    fn publish(self: Box<Self>, at: Placed) -> Remains {
        let holds = self.engine.log().holds();
        self.hold.get_or_init(|| holds.hold(at.lsn, self.reason));
        None
    }
}

/// Where the pages of a record stand.
pub(super) fn place(
    own: &[OwnPage],
    offsets: &[u32],
    record: Lsn,
) -> impl Iterator<Item = CommittedPage> {
    own.iter()
        .zip(offsets)
        .map(move |(own, offset)| CommittedPage {
            page: own.page,
            hash: own.hash,
            image_lsn: Lsn::new(record.get() + u64::from(*offset)),
            form: own.form,
        })
}

/// Splits off the offsets of the next `pages` images of a record.
pub(super) fn next_offsets<'o>(offsets: &mut &'o [u32], pages: usize) -> &'o [u32] {
    let (next, rest) = offsets.split_at(pages.min(offsets.len()));
    *offsets = rest;
    next
}

/// Makes a durable commit visible: cache, view, the committer's pin; then the slot is free.
pub(super) struct PublishCommit {
    pub(super) state: Arc<DbState>,
    pub(super) page_size: PageSize,
    pub(super) page_count: u32,
    pub(super) page_count_min: u32,
    pub(super) rolling: RollingChecksum,
    pub(super) image_offsets: ImageOffsets,
    pub(super) cached: CachedCommit,
    pub(super) placed: Vec<CommittedPage>,
    pub(super) hold: Option<Arc<LogHold>>,
    /// The private pages of a large commit, which takes its time to free them while the device writes.
    pub(super) spent: Option<Overlay>,
    pub(super) pinned: Pinned,
    /// This commit, standing where it probably will: of small ones.
    pub(super) made: Option<PastCommit>,
    /// The view with it: of others.
    pub(super) prepared: Option<Prepared>,
    /// Freed when the commit is visible, or this is dropped.
    pub(super) slot: Option<SlotGuard>,
}

/// Commits of more pages make their view aside, as far as possible while the device writes.
const IN_PLACE_PAGES_MAX: usize = 64;

/// The view that a commit will make, if it comes to stand at `at` and nobody changes the view
/// before.
pub(super) struct Prepared {
    at: Placed,
    before: Arc<View>,
    after: Arc<View>,
}

impl Prepared {
    fn new(state: &DbState, at: Placed, make: impl FnOnce(&View) -> Arc<View>) -> Self {
        let before = state.view();
        let after = make(&before);
        Self { at, before, after }
    }
}

/// Replaces a database's view by the one that was made ready, if it still fits, else by what `make`
/// makes of it. Returns how many index entries that added.
fn exchange(
    state: &DbState,
    at: Placed,
    prepared: Option<Prepared>,
    make: impl FnOnce(&View) -> Arc<View>,
) -> i64 {
    let (_, added) = state.publish_shared(|view| {
        let fits = |ready: &Prepared| ready.at == at && Arc::ptr_eq(&ready.before, view);
        match prepared.filter(fits) {
            Some(ready) => ready.after,
            None => make(view),
        }
    });
    added
}

impl PublishCommit {
    fn is_small(&self) -> bool {
        self.placed.is_empty() && self.cached.own().len() <= IN_PLACE_PAGES_MAX
    }

    /// The commit stands at `at`. What is left of this has a part to play when it is dropped: see [`CachedCommit`].
    pub(super) fn make_visible(&mut self, at: Placed) {
        // Before an index names them: a page of a refused commit may be there.
        self.cached.put_in(at.lsn);
        let (state, prepared) = (Arc::clone(&self.state), self.prepared.take());
        // Before the view is changed: one that this reader has would be copied.
        let seat = self.pinned.lock().take().map(Pin::leave);
        let added = if self.is_small() {
            let commit = self.made_at(at);
            state.publish_in_place(|view| self.add_to(view, commit))
        } else {
            exchange(&state, at, prepared, |view| self.view_on(view, at))
        };
        self.cached.set_visible();
        self.cached.engine().count_index_entries(added);
        let pin = match seat {
            Some(seat) => state.pin_in(seat),
            None => state.pin(),
        };
        *self.pinned.lock() = Some(pin);
        self.hold = None;
        self.slot = None;
    }

    /// The view with this commit on top of `before`.
    fn view_on(&mut self, before: &View, at: Placed) -> Arc<View> {
        let mut view = before.clone();
        let commit = self.made_at(at);
        self.add_to(&mut view, commit);
        Arc::new(view)
    }

    /// This commit, standing at `at`, if need be made anew.
    fn made_at(&mut self, at: Placed) -> PastCommit {
        let is_it =
            |made: &PastCommit| (made.head().lsn, made.head().time_us) == (at.lsn, at.time_us);
        let made = self.made.take().filter(is_it);
        made.unwrap_or_else(|| self.commit_at(at))
    }

    fn add_to(&self, view: &mut View, commit: PastCommit) {
        let lsn = commit.head().lsn;
        view.add(commit, || match &self.hold {
            Some(hold) => Arc::clone(hold),
            None => {
                let holds = self.cached.engine().log().holds();
                holds.hold(lsn, HoldReason::Pages(self.state.id()))
            }
        });
    }

    fn commit_at(&mut self, at: Placed) -> PastCommit {
        let head = Head {
            lsn: at.lsn,
            time_us: at.time_us,
            page_size: Some(self.page_size),
            page_count: self.page_count,
            rolling_checksum: self.rolling,
        };
        let own = place(self.cached.own(), &self.image_offsets, at.lsn);
        let (fragments, mut few) = (self.placed.len(), SmallVec::<[CommittedPage; 8]>::new());
        let pages = if fragments == 0 {
            few.extend(own);
            &few[..]
        } else {
            // Those of a chain are many: they are lent, not copied.
            self.placed.extend(own);
            &self.placed
        };
        let commit = CommitPages {
            version: at.lsn,
            page_count: self.page_count,
            page_count_min: self.page_count_min,
            pages,
        };
        let commit = PastCommit::new(head, &commit);
        self.placed.truncate(fragments);
        commit
    }
}

impl Publish for PublishCommit {
    fn prepare(&mut self, at: Placed) {
        self.spent = None;
        self.cached.put_in(at.lsn);
        if self.is_small() {
            self.made = Some(self.commit_at(at));
        } else {
            let state = Arc::clone(&self.state);
            self.prepared = Some(Prepared::new(&state, at, |view| self.view_on(view, at)));
        }
    }

    fn publish(mut self: Box<Self>, at: Placed) -> Remains {
        self.make_visible(at);
        Some(self)
    }
}

#[cfg(test)]
#[path = "publish_models.rs"]
mod models;
