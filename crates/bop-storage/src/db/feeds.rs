//! Subscribing to what the manifest does.
//!
//! ```text
//! subscribe(name) --> read a page --> use it --> acknowledge --> read on, or wait for more
//!        ^                 '--lost its place--> reset            (durable once a second, and on drop)
//!        '--again under that name, after a crash too: goes on behind what was acknowledged
//! ```
//! Invariants
//! - what was not acknowledged is read again: every change is seen at least once, in order;
//! - an acknowledgement reaches the manifest at most once a second for a cursor, whatever its owner
//!   does, and when the cursor is dropped;
//! - a cursor has one owner in a process.
//!
//! Never: waits under a lock.

use super::engine::{Engine, OpenStore};
use crate::error::{FeedError, ManifestError};
use crate::ids::{ChangeNo, CursorId};
use crate::manifest::{ChangePage, CursorRow, RunRow};
use crate::name::DbName;
use crate::runtime::boot_id;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Acknowledgements are made durable so often at most.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A cursor that is read, or waited with, is heard of at least so often.
const RENEWAL: Duration = Duration::from_secs(60 * 60);

/// A cursor that nobody was heard of for so long holds back nothing any more.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a new cursor begins.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FeedStart {
    /// At the oldest change that is kept.
    Oldest,
    /// Behind the newest one: only what happens from now on.
    Newest,
    /// At this change, or the oldest one that is kept if that is newer.
    At(ChangeNo),
}

/// What is known of a cursor.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// The oldest change that it has not acknowledged, as far as the manifest knows.
    pub position: ChangeNo,
    /// Changes that it has still to see; what it has lost is not among them.
    pub behind: u64,
    /// Whether it holds changes back.
    pub alive: bool,
    /// Whether what it would read next is gone.
    pub lost: bool,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was heard of last.
    pub seen_us: u64,
}

/// A place in the changes feed, under a name that outlives the process. Keeps the store open.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_storage::{DbKind, FeedStart, Manager, Options};
///
/// let store = Manager::open(dir.path(), Options::new())?;
/// let changes = store.subscribe_changes("backup", FeedStart::Oldest)?;
/// store.create_database("orders", DbKind::Raw)?;
/// store.checkpoint()?; // rows follow the log by a checkpoint at the latest
/// let page = changes.read(100)?;
/// assert_eq!(page.changes[0].1.kind.name(), "created");
/// changes.acknowledge(page.next)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChangesCursor {
    engine: Arc<OpenStore>,
    id: CursorId,
    name: DbName,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    /// What is read next.
    read: ChangeNo,
    /// The oldest change that is not acknowledged.
    acknowledged: ChangeNo,
    /// What the manifest knows of that, and since when.
    durable: ChangeNo,
    flushed: Instant,
    /// The feed that began anew, or what was trimmed, when it was opened.
    lost: bool,
}

impl Engine {
    /// Writes down who has the store open. Without it the store works, but for its feed.
    pub(super) fn begin_run(&self) {
        let run = RunRow {
            epoch: self.epoch,
            boot: boot_id(),
            pid: std::process::id(),
            opened_us: self.runtime.clock.wall_us(),
            closed_us: None,
        };
        if let Err(error) = self.manifest.begin_run(run) {
            tracing::warn!(%error, "the manifest does not know who has the store open");
        }
    }

    /// The same when it is closed. A manifest that hangs is waited for no longer than `patience`.
    pub(super) fn end_run(&self, patience: Duration) {
        let closed_us = self.runtime.clock.wall_us();
        if let Err(error) = self.manifest.end_run(closed_us, patience) {
            tracing::warn!(%error, "the manifest does not know that the store was closed");
        }
    }

    pub(super) fn cursor_infos(&self) -> Vec<CursorInfo> {
        let state = self.manifest.state();
        let Some(feed) = state.feed().copied() else {
            return Vec::new();
        };
        let now_us = self.runtime.clock.wall_us();
        let info = |row: &CursorRow| {
            let of_this_feed = row.feed == feed.feed;
            let from = row.position.max(feed.first);
            CursorInfo {
                name: row.name.to_string(),
                position: row.position,
                behind: feed.next.get().saturating_sub(from.get()),
                alive: of_this_feed && row.is_alive(now_us),
                lost: !of_this_feed || row.position < feed.first,
                created_us: row.created_us,
                seen_us: row.seen_us,
            }
        };
        state.cursors().map(|(_, row)| info(row)).collect()
    }

    pub(super) fn drop_cursor(&self, name: &str) -> Result<(), FeedError> {
        self.check_open().map_err(|_| FeedError::Closed)?;
        if self
            .manifest
            .drop_cursor(self.limits.io_deadline, &cursor_name(name)?)?
        {
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

/// The cursors that somebody in this process has open.
#[derive(Debug, Default)]
pub(super) struct OpenCursors(Mutex<HashSet<CursorId>>);

impl ChangesCursor {
    pub(super) fn open(
        engine: &Arc<OpenStore>,
        name: &str,
        start: FeedStart,
    ) -> Result<Self, FeedError> {
        engine.check_open().map_err(|_| FeedError::Closed)?;
        let name = cursor_name(name)?;
        let (wanted, now_us) = (name.clone(), engine.runtime.clock.wall_us());
        let patience = engine.limits.io_deadline;
        let found = engine
            .manifest
            .find_or_add_cursor(patience, move |feed| CursorRow {
                name: wanted,
                feed: feed.feed,
                position: match start {
                    FeedStart::Oldest => feed.first,
                    FeedStart::Newest => feed.next,
                    FeedStart::At(number) => number.clamp(feed.first, feed.next),
                },
                created_us: now_us,
                seen_us: now_us,
                lease_us: u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX),
            });
        let (id, row) = found?;
        let lost = engine.manifest.feed()?.feed != row.feed;
        if !engine.open_cursors.0.lock().insert(id) {
            let name = name.to_string();
            return Err(FeedError::InUse { name });
        }
        let cursor = Self {
            engine: Arc::clone(engine),
            id,
            name,
            place: Mutex::new(Place {
                read: row.position,
                acknowledged: row.position,
                durable: row.position,
                flushed: Instant::now(),
                lost,
            }),
        };
        if !lost {
            // It was heard of, and holds changes back again from now on.
            engine
                .manifest
                .move_cursor(patience, id, row.position, now_us)?;
        }
        Ok(cursor)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The next changes, at most `limit` and never more than 1,000; none when there are no more. The
    /// next call reads on behind them.
    ///
    /// # Errors
    /// [`FeedError::CursorLost`] until it is [reset](Self::reset); what the manifest refuses;
    /// [`FeedError::Closed`].
    pub fn read(&self, limit: usize) -> Result<ChangePage, FeedError> {
        self.check()?;
        self.renew()?;
        let from = self.place.lock().read;
        let page = self.engine.manifest.changes(from, limit)?;
        let mut place = self.place.lock();
        if place.read == from {
            place.read = page.next;
        }
        Ok(page)
    }

    /// Says that everything before `next` is done: it is not read again, not even after a crash, once
    /// that is durable, within a second or when the cursor is [flushed](Self::flush) or dropped.
    ///
    /// # Errors
    /// [`FeedError::NotYet`] for more than there is; [`FeedError::Dropped`]; what the manifest refuses.
    pub fn acknowledge(&self, next: ChangeNo) -> Result<(), FeedError> {
        self.check()?;
        let end = self.engine.manifest.feed()?.next;
        if end < next {
            return Err(FeedError::NotYet {
                number: ChangeNo::new(next.get() - 1),
                newest: ChangeNo::new(end.get().saturating_sub(1)),
            });
        }
        let is_due = {
            let mut place = self.place.lock();
            place.acknowledged = place.acknowledged.max(next);
            place.read = place.read.max(next);
            FLUSH_INTERVAL <= place.flushed.elapsed()
        };
        if is_due { self.flush() } else { Ok(()) }
    }

    /// Makes what was acknowledged durable now.
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses.
    pub fn flush(&self) -> Result<(), FeedError> {
        self.check()?;
        self.write_position()
    }

    fn write_position(&self) -> Result<(), FeedError> {
        let acknowledged = {
            let mut place = self.place.lock();
            place.flushed = Instant::now();
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

    /// Waits until there is something to read; `false` when there is nothing by the end of `patience`.
    ///
    /// # Errors
    /// [`FeedError::CursorLost`], [`FeedError::Closed`].
    pub fn wait(&self, patience: Duration) -> Result<bool, FeedError> {
        self.check()?;
        self.renew()?;
        let from = self.place.lock().read;
        Ok(self.engine.manifest.wait_for_changes(from, patience))
    }

    /// The same for a task.
    ///
    /// # Errors
    /// As for [`ChangesCursor::wait`].
    pub async fn more(&self) -> Result<(), FeedError> {
        self.check()?;
        let from = self.place.lock().read;
        poll_fn(|context| self.engine.manifest.poll_changes(from, context)).await;
        Ok(())
    }

    /// Goes on at the oldest change that there is, after [`FeedError::CursorLost`].
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses.
    pub fn reset(&self) -> Result<ChangeNo, FeedError> {
        self.engine.check_open().map_err(|_| FeedError::Closed)?;
        let now_us = self.engine.runtime.clock.wall_us();
        let oldest =
            self.engine
                .manifest
                .reset_cursor(self.engine.limits.io_deadline, self.id, now_us)?;
        *self.place.lock() = Place {
            read: oldest,
            acknowledged: oldest,
            durable: oldest,
            flushed: Instant::now(),
            lost: false,
        };
        Ok(oldest)
    }

    /// A subscriber to whom nothing happens for a day is not dead.
    fn renew(&self) -> Result<(), FeedError> {
        if RENEWAL <= self.place.lock().flushed.elapsed() {
            self.write_position()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), FeedError> {
        self.engine.check_open().map_err(|_| FeedError::Closed)?;
        if self.place.lock().lost {
            let oldest = self.engine.manifest.feed()?.first;
            return Err(FeedError::CursorLost { oldest });
        }
        Ok(())
    }
}

impl Drop for ChangesCursor {
    /// What was acknowledged is made durable, unless the store was closed meanwhile.
    fn drop(&mut self) {
        let place = self.place.get_mut();
        if place.durable < place.acknowledged && !place.lost {
            match self.write_position() {
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
