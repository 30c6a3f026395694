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
use super::pending_commit::{Left, Pinned};
use super::slot::SlotGuard;
use super::state::DbState;
use crate::checksum::RollingChecksum;
use crate::ids::{Lsn, PageSize};
use crate::log::{HoldReason, LogHold, Placed, Publish};
use crate::view::{CommitPages, CommittedPage, Head, Pin, View};
use std::sync::{Arc, OnceLock};

/// Begins the hold of a chain, before truncation can pass its first fragment.
pub(super) struct PublishFirstFragment {
    pub(super) engine: Arc<Engine>,
    pub(super) reason: HoldReason,
    pub(super) hold: Arc<OnceLock<Arc<LogHold>>>,
}

impl Publish for PublishFirstFragment {
    fn publish(self: Box<Self>, at: Placed) {
        let holds = self.engine.log().holds();
        self.hold.get_or_init(|| holds.hold(at.lsn, self.reason));
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
    pub(super) image_offsets: Vec<u32>,
    pub(super) cached: CachedCommit,
    pub(super) placed: Vec<CommittedPage>,
    pub(super) hold: Option<Arc<LogHold>>,
    /// The private pages of a large commit, which takes its time to free them while the device writes.
    pub(super) spent: Option<Overlay>,
    pub(super) pinned: Pinned,
    pub(super) prepared: Option<Prepared>,
    /// Freed when it is dropped.
    pub(super) _slot: SlotGuard,
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

    /// The view with this commit on top of `before`.
    fn view_on(&mut self, before: &View, at: Placed) -> Arc<View> {
        let mut view = before.clone();
        self.add_to(&mut view, at);
        Arc::new(view)
    }

    /// Adds this commit to a view.
    fn add_to(&mut self, view: &mut View, at: Placed) {
        let head = Head {
            lsn: at.lsn,
            time_us: at.time_us,
            page_size: Some(self.page_size),
            page_count: self.page_count,
            rolling_checksum: self.rolling,
        };
        // Those of a chain are many: they are lent, not copied.
        let fragments = self.placed.len();
        self.placed
            .extend(place(self.cached.own(), &self.image_offsets, at.lsn));
        let commit = CommitPages {
            version: at.lsn,
            page_count: self.page_count,
            page_count_min: self.page_count_min,
            pages: &self.placed,
        };
        view.add_commit(head, &commit, || match &self.hold {
            Some(hold) => Arc::clone(hold),
            None => {
                let holds = self.cached.engine().log().holds();
                holds.hold(at.lsn, HoldReason::Pages(self.state.id()))
            }
        });
        self.placed.truncate(fragments);
    }
}

impl Publish for PublishCommit {
    fn prepare(&mut self, at: Placed) {
        self.spent = None;
        self.cached.put_in(at.lsn);
        if !self.is_small() {
            let state = Arc::clone(&self.state);
            self.prepared = Some(Prepared::new(&state, at, |view| self.view_on(view, at)));
        }
    }

    fn publish(mut self: Box<Self>, at: Placed) {
        let (state, prepared) = (Arc::clone(&self.state), self.prepared.take());
        // Before the view is changed: one that this reader has would be copied.
        let seat = self.pinned.lock().pin.take().map(Pin::leave);
        let added = if self.is_small() {
            state.publish_in_place(|view| self.add_to(view, at))
        } else {
            exchange(&state, at, prepared, |view| self.view_on(view, at))
        };
        self.cached.engine().count_index_entries(added);
        let pin = match seat {
            Some(seat) => self.state.pin_in(seat),
            None => self.state.pin(),
        };
        *self.pinned.lock() = Left {
            pin: Some(pin),
            _outlived: Some(self.cached.visible(at.lsn)),
        };
    }
}

#[cfg(test)]
#[path = "publish_models.rs"]
mod models;
