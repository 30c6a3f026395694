//! What the cursors of both feeds have in common: a name, one owner, and a position that is made durable
//! now and then.
//!
//! ```text
//! open(name) --> read a page --> use it --> acknowledge --> read on, or wait for more
//!     ^              '--lost its place--> reset              (durable once a second, and on drop)
//!     '--again under that name, after a crash too: goes on behind what was acknowledged
//! ```
//! Invariants
//! - what was not acknowledged is read again: everything is seen at least once, in order;
//! - an acknowledgement reaches the manifest at most once a second for a cursor, whatever its owner
//!   does, and when the cursor is dropped;
//! - a cursor has one owner in a process;
//! - what the feed is held back for is the durable position, which is never ahead of the other.
//!
//! Never: waits under a lock.

use super::engine::{Engine, OpenStore};
use crate::error::{FeedError, ManifestError};
use crate::ids::{ChangeNo, CursorId, DbId, Lsn};
use crate::manifest::{CursorPlace, CursorRow, FeedPosition, FeedRow, ManifestState};
use crate::name::DbName;
use crate::runtime::sync::{Mutex, elapsed, now};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Acknowledgements are made durable so often at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A cursor that is read, or waited with, is heard of at least so often.
const RENEWAL: Duration = Duration::from_secs(60 * 60);

/// A cursor that nobody was heard of for so long holds back nothing any more.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Which feed a cursor is of, and where in it it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CursorPosition {
    /// The oldest change that it has not acknowledged, as far as the manifest knows.
    Changes(ChangeNo),
    /// Everything of the log before it is acknowledged, as far as the manifest knows.
    Commits {
        /// The position of the log.
        lsn: Lsn,
        /// The one database whose commits it wants.
        database: Option<DbId>,
    },
}

/// What is known of a cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub position: CursorPosition,
    /// What it has still to see: changes, or bytes of the log. What it has lost is not counted.
    pub behind: u64,
    /// Whether it holds its feed back, as long as it has not lost its place.
    pub alive: bool,
    /// Whether what it would read next is gone.
    pub lost: bool,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was heard of last.
    pub seen_us: u64,
}

/// The cursors that somebody in this process has open.
#[derive(Debug, Default)]
pub(super) struct OpenCursors(Mutex<HashSet<CursorId>>);

/// A cursor that somebody has open. Keeps the store open.
#[derive(Debug)]
pub(super) struct Cursor<P: FeedPosition> {
    engine: Arc<OpenStore>,
    id: CursorId,
    name: DbName,
    place: Mutex<Place<P>>,
}

#[derive(Debug)]
struct Place<P> {
    /// What is read next.
    read: P,
    /// Everything before it is acknowledged.
    acknowledged: P,
    /// What the manifest knows of that, and since when.
    durable: P,
    flushed: Instant,
    /// It was found in a feed that began anew.
    lost: bool,
}

impl<P: FeedPosition> Cursor<P> {
    /// The cursor of that name, which begins at `place` when there is none. `fits` looks at the row of
    /// one that there is, and answers whether it has lost its place.
    pub(super) fn open(
        engine: &Arc<OpenStore>,
        name: &str,
        place: impl FnOnce(&FeedRow) -> Result<CursorPlace, FeedError> + Send + 'static,
        fits: impl FnOnce(&CursorRow) -> Result<bool, FeedError>,
    ) -> Result<Self, FeedError> {
        engine.check_open().map_err(|_| FeedError::Closed)?;
        let name = cursor_name(name)?;
        let now_us = engine.runtime.clock.wall_us();
        let lease_us = u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX);
        let patience = engine.limits.io_deadline;
        let found = engine
            .manifest
            .find_or_add_cursor(patience, &name, (now_us, lease_us), place);
        let (id, row) = found?;
        let position = P::of(&row.place).ok_or_else(|| FeedError::OtherFeed {
            name: name.to_string(),
            feed: row.place.feed_name(),
        })?;
        let lost = fits(&row)?;
        if !engine.open_cursors.0.lock().insert(id) {
            let name = name.to_string();
            return Err(FeedError::InUse { name });
        }
        let cursor = Self {
            engine: Arc::clone(engine),
            id,
            name,
            place: Mutex::new(Place {
                read: position,
                acknowledged: position,
                durable: position,
                flushed: now(),
                lost,
            }),
        };
        if !lost {
            // It was heard of, and holds its feed back again from now on.
            let manifest = &engine.manifest;
            manifest.move_cursor(patience, id, position, now_us)?;
        }
        Ok(cursor)
    }

    pub(super) fn engine(&self) -> &Engine {
        self.engine.engine()
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether it was found in a feed that began anew.
    pub(super) fn is_lost(&self) -> bool {
        self.place.lock().lost
    }

    /// What is read next.
    pub(super) fn next(&self) -> P {
        self.place.lock().read
    }

    /// Everything before `next` was read, from `from` on; `nothing`: there was nothing to be
    /// acknowledged, so that a subscriber to whom nothing happens holds back nothing.
    pub(super) fn was_read(&self, from: P, next: P, nothing: bool) {
        let mut place = self.place.lock();
        if place.read == from {
            place.read = next;
        }
        if nothing && place.acknowledged == from {
            place.acknowledged = next;
        }
    }

    /// Everything before `next` is done.
    pub(super) fn acknowledge(&self, next: P) -> Result<(), FeedError> {
        let is_due = {
            let mut place = self.place.lock();
            place.acknowledged = place.acknowledged.max(next);
            place.read = place.read.max(next);
            FLUSH_INTERVAL <= elapsed(place.flushed)
        };
        if is_due { self.flush() } else { Ok(()) }
    }

    /// Makes durable what was acknowledged.
    pub(super) fn flush(&self) -> Result<(), FeedError> {
        let acknowledged = {
            let mut place = self.place.lock();
            place.flushed = now();
            place.acknowledged
        };
        let now_us = self.engine.runtime.clock.wall_us();
        let manifest = &self.engine.manifest;
        let patience = self.engine.limits.io_deadline;
        manifest.move_cursor(patience, self.id, acknowledged, now_us)?;
        let mut place = self.place.lock();
        place.durable = place.durable.max(acknowledged);
        Ok(())
    }

    /// What was acknowledged is durable within a second of use, and a subscriber to whom nothing happens
    /// for a day is not dead.
    pub(super) fn renew(&self) -> Result<(), FeedError> {
        let is_due = {
            let place = self.place.lock();
            let waited = elapsed(place.flushed);
            RENEWAL <= waited || (place.durable < place.acknowledged && FLUSH_INTERVAL <= waited)
        };
        if is_due { self.flush() } else { Ok(()) }
    }

    /// Brings it to the oldest that there is, if it has lost its place.
    pub(super) fn reset(&self) -> Result<P, FeedError> {
        self.engine.check_open().map_err(|_| FeedError::Closed)?;
        let now_us = self.engine.runtime.clock.wall_us();
        let patience = self.engine.limits.io_deadline;
        let manifest = &self.engine.manifest;
        let position: P = manifest.reset_cursor(patience, self.id, now_us)?;
        *self.place.lock() = Place {
            read: position,
            acknowledged: position,
            durable: position,
            flushed: now(),
            lost: false,
        };
        Ok(position)
    }
}

impl<P: FeedPosition> Drop for Cursor<P> {
    /// What was acknowledged is made durable, unless the store was closed meanwhile.
    fn drop(&mut self) {
        let place = self.place.get_mut();
        if place.durable < place.acknowledged && !place.lost {
            match self.flush() {
                Ok(()) | Err(FeedError::Dropped | FeedError::Manifest(ManifestError::Closed)) => {}
                Err(error) => {
                    let name = self.name.as_str();
                    tracing::warn!(%error, name, "what a cursor acknowledged is not written down");
                }
            }
        }
        self.engine.open_cursors.0.lock().remove(&self.id);
    }
}

impl Engine {
    pub(super) fn cursor_infos(&self) -> Vec<CursorInfo> {
        let rows = self.manifest.state();
        let now_us = self.runtime.clock.wall_us();
        let infos = rows.cursors().map(|(_, row)| {
            let (position, behind, lost) = self.look_at(row, &rows);
            CursorInfo {
                name: row.name.to_string(),
                position,
                behind,
                alive: row.is_alive(now_us) && !lost,
                lost,
                created_us: row.created_us,
                seen_us: row.seen_us,
            }
        });
        infos.collect()
    }

    /// Where a cursor is, how far behind that is, and whether it has lost its place.
    fn look_at(&self, row: &CursorRow, rows: &ManifestState) -> (CursorPosition, u64, bool) {
        match row.place {
            CursorPlace::Changes { feed, position } => {
                let now = rows.feed().filter(|now| now.feed == feed);
                let behind = rows.feed().map_or(0, |now| {
                    let from = position.max(now.first);
                    now.next.get().saturating_sub(from.get())
                });
                let lost = now.is_none_or(|now| position < now.first);
                (CursorPosition::Changes(position), behind, lost)
            }
            CursorPlace::Commits { position, database } => {
                let lsn = position;
                let lost = position < rows.watermarks().truncated;
                let behind = self.log_bytes_from(position);
                (CursorPosition::Commits { lsn, database }, behind, lost)
            }
        }
    }

    pub(super) fn drop_cursor(&self, name: &str) -> Result<(), FeedError> {
        self.check_open().map_err(|_| FeedError::Closed)?;
        let patience = self.limits.io_deadline;
        let dropped = self.manifest.drop_cursor(patience, &cursor_name(name)?)?;
        if dropped {
            return Ok(());
        }
        let name = name.to_owned();
        Err(FeedError::NotFound { name })
    }
}

fn cursor_name(name: &str) -> Result<DbName, FeedError> {
    DbName::given(name).map_err(|reason| FeedError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}
