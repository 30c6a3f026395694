//! From a state that somebody names to its pages; and keeping it for a snapshot or a fork.
//!
//! ```text
//! now, snapshot, place, time --> point (database, commit) --> view, pinned
//!                                   '--> catalogue record: kept for good
//! ```
//! Invariants
//! - a state that is in the log is pinned before the record that keeps it is written, and no checkpoint
//!   writes between the two but one that saw the pin;
//! - the pin goes with that record, and with it only: what a caller is told does not let go of the state;
//! - pins of snapshots and forks are let go of when a checkpoint has their states in chunks, or when they
//!   are gone; they are held here from when the catalogue has them.
//!
//! Never: keeps a state that it could not find.

use super::bases::Bases;
use super::engine::Engine;
use super::origin::PinnedPages;
use super::state::DbState;
use crate::at::At;
use crate::catalogue::Point;
use crate::error::PastError;
use crate::ids::{DbId, IdMap, Lsn};
use crate::manifest::ManifestState;
use crate::runtime::sync::Mutex;
use crate::view::{BasePages, Head, Pin, View};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Databases that a reader may have to ask one after the other, once what is in the log is in chunks.
const FORK_DEPTH_MAX: usize = 16;

/// The same at any time.
const FORK_DEPTH_LOG_MAX: usize = 4 * FORK_DEPTH_MAX;

/// What keeps the states of snapshots and forks that are in the log.
#[derive(Debug, Default)]
pub(super) struct HeldPoints(Mutex<Vec<Pin>>);

impl HeldPoints {
    pub(super) fn hold(&self, pin: Pin) {
        if pin.view().layer_count() > 0 {
            self.0.lock().push(pin);
        }
    }

    /// Lets go of those whose states are in chunks by now, and of those that nobody needs any more.
    fn release(&self, is_needed: impl Fn(DbId, Lsn) -> bool) {
        let mut held = self.0.lock();
        let (kept, gone): (Vec<Pin>, Vec<Pin>) = held.drain(..).partition(|pin| {
            let view = pin.view();
            view.layer_count() > 0 && is_needed(view.database(), pin.lsn())
        });
        *held = kept;
        drop(held);
        // The log that they held is looked at when they go.
        drop(gone);
    }
}

/// The state behind a head.
pub(super) fn point_of(source: DbId, head: &Head) -> Point {
    Point {
        source,
        lsn: head.lsn,
        time_us: head.time_us,
        page_size: head.page_size,
        page_count: head.page_count,
        rolling_checksum: head.rolling_checksum,
    }
}

fn head_of(point: &Point) -> Head {
    Head {
        lsn: point.lsn,
        time_us: point.time_us,
        page_size: point.page_size,
        page_count: point.page_count,
        rolling_checksum: point.rolling_checksum,
    }
}

impl Engine {
    /// Makes something of the rows and states of this moment; the files that it names are there.
    pub(super) fn with_bases<R>(&self, make: impl Fn(&Bases<'_>) -> R) -> R {
        self.with_bases_in(&self.databases.lock(), make)
    }

    /// The same for whoever has the databases locked.
    pub(super) fn with_bases_in<R>(
        &self,
        databases: &IdMap<DbId, Arc<DbState>>,
        make: impl Fn(&Bases<'_>) -> R,
    ) -> R {
        let in_log = |id: DbId, lsn: Lsn| {
            let pin = databases.get(&id)?.pin_point_at(lsn)?;
            let pages: Arc<dyn BasePages> = Arc::new(PinnedPages::new(pin, self.reader.clone()));
            Some(pages)
        };
        loop {
            let doomed = self.chunks.doomed();
            let rows = self.manifest.state();
            let cell = self.catalogue.lock();
            let made = make(&Bases {
                rows: &rows,
                catalogue: &cell.catalogue,
                chunks: &self.chunks,
                cache: self.reader.cache(),
                limits: &self.limits,
                in_log: &in_log,
            });
            drop(cell);
            // Else a chunk of these rows may have been removed before it was named here.
            if self.chunks.doomed() == doomed {
                return made;
            }
        }
    }

    /// The point that is meant by `at` in a database.
    pub(super) fn point_at(&self, state: &DbState, at: &At) -> Result<Point, PastError> {
        let id = state.id();
        match at {
            At::Now => Ok(point_of(id, state.view().head())),
            At::Snapshot(name) => Ok(self.catalogue.lock().catalogue.snapshot(id, name)?.point),
            At::Lsn(lsn) => self.last_until(state, at, |point| point.lsn <= *lsn),
            At::Time(us) => self.last_until(state, at, |point| point.time_us <= *us),
        }
    }

    /// The newest state of which `is_old` is true.
    fn last_until(
        &self,
        state: &DbState,
        asked: &At,
        is_old: impl Fn(&super::RestorePoint) -> bool,
    ) -> Result<Point, PastError> {
        let (mut found, mut oldest) = (None, None);
        self.walk_back(state, |point| {
            oldest = Some(point);
            if is_old(&point) {
                found = Some(point);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let Some(found) = found else {
            let oldest = oldest.unwrap_or_else(|| state.view().head().into());
            return Err(PastError::BeforeWindow {
                database: state.name().to_string(),
                asked: asked.clone(),
                oldest: oldest.lsn,
                oldest_us: oldest.time_us,
            });
        };
        Ok(Point {
            source: state.id(),
            lsn: found.lsn,
            time_us: found.time_us,
            page_size: state.view().head().page_size,
            page_count: found.page_count,
            rolling_checksum: found.rolling_checksum,
        })
    }

    /// Pins the state that is meant, for a reader. One in chunks that was found may be gone before it is
    /// pinned: that it is found behind that says that it was not.
    pub(super) fn pin_at(&self, state: &DbState, at: &At) -> Result<Pin, PastError> {
        if *at == At::Now {
            return Ok(state.pin());
        }
        let mut point = self.point_at(state, at)?;
        loop {
            let view = self.view_at(state.id(), &point);
            let is_in_log = view.layer_count() > 0;
            let pin = state.pin_view(view);
            if is_in_log {
                return Ok(pin);
            }
            let again = self.point_at(state, at)?;
            if again == point {
                return Ok(pin);
            }
            point = again;
        }
    }

    /// The state at a point, for a reader of the database `owner`. Of another database's point, which a
    /// checkpoint of that one moves to chunks, it has a pin.
    pub(super) fn view_at(&self, owner: DbId, point: &Point) -> Arc<View> {
        let source = self.state_of(point.source);
        let source = source.filter(|_| owner == point.source);
        let newest = source.map(|state| state.view());
        if let Some(view) = newest {
            if view.head().lsn == point.lsn {
                return view;
            }
            let at = view
                .at(point.lsn)
                .filter(|view| view.head().lsn == point.lsn);
            if let Some(view) = at {
                return Arc::new(view);
            }
        }
        self.with_bases(|bases| {
            let kind = bases.catalogue.entry(point.source).map(|entry| entry.kind);
            let base = bases.point(point.source, point.lsn);
            let kind = kind.unwrap_or(crate::ids::DbKind::Raw);
            Arc::new(View::new(point.source, kind, head_of(point), base))
        })
    }

    /// Pins the state at a point of the past, if it is in the log. Whoever asks holds back checkpoints.
    pub(super) fn pin_point(&self, point: &Point) -> Option<Pin> {
        self.state_of(point.source)?.pin_point_at(point.lsn)
    }

    /// Lets go of what snapshots and forks do not need of the log any more.
    pub(super) fn release_points(&self) {
        let cell = self.catalogue.lock();
        let catalogue = &cell.catalogue;
        self.points
            .release(|id, lsn| catalogue.points_of(id).any(|point| point == lsn));
    }

    /// Pages that a database reads of its origin where it has none of its own.
    pub(super) fn inherited(&self, id: DbId, rows: &ManifestState) -> u32 {
        let mut generations = rows.generations(id);
        if let Some((_, newest)) = generations.next_back() {
            return newest.inherited;
        }
        let cell = self.catalogue.lock();
        let origin = cell
            .catalogue
            .entry(id)
            .and_then(|entry| entry.origin.as_deref());
        origin.map_or(0, |origin| origin.page_count)
    }

    /// How many databases a reader may have to ask for a page of this one, itself not counted.
    fn fork_depth(&self, id: DbId, rows: &ManifestState) -> usize {
        let (mut depth, mut next) = (0, id);
        while self.inherited(next, rows) > 0 {
            let cell = self.catalogue.lock();
            let origin = cell
                .catalogue
                .entry(next)
                .and_then(|entry| entry.origin.as_deref());
            let Some(source) = origin.map(|origin| origin.source) else {
                break;
            };
            // Origins are older than their forks: this ends.
            (depth, next) = (depth + 1, source);
        }
        depth
    }

    /// Whether one fork more would make its readers ask too many databases.
    pub(super) fn is_far(&self, id: DbId) -> bool {
        self.fork_depth(id, &self.manifest.state()) >= FORK_DEPTH_MAX
    }

    /// The same state nearer to its pages: a fork without a commit is what it was made of. Whoever asks
    /// holds back checkpoints, so that this stays when the fork goes.
    pub(super) fn nearest(&self, point: Point) -> Point {
        let cell = self.catalogue.lock();
        let mut nearest = point;
        while nearest.lsn == Lsn::ZERO
            && cell.catalogue.has_pages(nearest.source)
            && let Some(entry) = cell.catalogue.entry(nearest.source)
            && let Some(origin) = entry.origin.as_deref()
        {
            nearest = *origin;
        }
        nearest
    }

    /// Before a database is forked whose line is too long: the commits of those on it go into chunks,
    /// where the last ones get all their pages themselves.
    pub(super) fn shorten_line(&self, id: DbId) {
        if self.fork_depth(id, &self.manifest.state()) >= FORK_DEPTH_LOG_MAX
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!(%error, "a long line of forks stays long");
        }
    }

    /// Whether a fork is to have all its pages itself: it is too far from the database that it comes
    /// from.
    pub(super) fn is_to_be_folded(&self, id: DbId, rows: &ManifestState) -> bool {
        self.fork_depth(id, rows) > FORK_DEPTH_MAX
    }

    /// After recovery: puts the origins below forks, and pins what snapshots and forks need of the log.
    pub(super) fn recover_points(&self) {
        let databases = self.databases.lock();
        // Origins are older than their forks: whoever is pinned has his own origin below him by then.
        let states: BTreeMap<DbId, &Arc<DbState>> =
            databases.iter().map(|(id, state)| (*id, state)).collect();
        for (id, state) in states {
            let (is_fork, points) = {
                let cell = self.catalogue.lock();
                let entry = cell.catalogue.entry(id);
                let points: Vec<Lsn> = cell.catalogue.points_of(id).collect();
                (entry.is_some_and(|entry| entry.origin.is_some()), points)
            };
            if is_fork {
                let base = self.with_bases_in(&databases, |bases| bases.view(id, state.kind()));
                state.publish(|view| view.rebased(Arc::clone(base.base()), 0));
            }
            let pins = points.into_iter().filter_map(|lsn| state.pin_point_at(lsn));
            pins.for_each(|pin| self.points.hold(pin));
        }
    }
}
