//! Subscribing to what the manifest does.
//!
//! What a cursor is, and what it promises, stands with [`Cursor`].
//!
//! Never: waits under a lock.

use super::cursor::Cursor;
use super::engine::{Engine, OpenStore};
use crate::error::FeedError;
use crate::ids::ChangeNo;
use crate::manifest::{ChangePage, CursorPlace, RunRow};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

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
pub struct ChangesCursor(Cursor<ChangeNo>);

impl Engine {
    /// Waits for a change, as [`Manager::wait_for_changes`](super::Manager::wait_for_changes) says.
    pub(super) fn wait_for_changes(&self, from: ChangeNo, patience: Duration) -> bool {
        let is_closed = || self.check_open().is_err();
        self.manifest.wait_for_changes(from, patience, is_closed)
    }

    /// Writes down who has the store open. Without it the store works, but for its feed.
    pub(super) fn begin_run(&self) {
        let run = RunRow {
            epoch: self.epoch,
            boot: self.runtime.process.boot,
            pid: self.runtime.process.pid,
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
}

impl ChangesCursor {
    pub(super) fn open(
        engine: &Arc<OpenStore>,
        name: &str,
        start: FeedStart,
    ) -> Result<Self, FeedError> {
        let cursor = Cursor::open(
            engine,
            name,
            move |feed| {
                Ok(CursorPlace::Changes {
                    feed: feed.feed,
                    position: match start {
                        FeedStart::Oldest => feed.first,
                        FeedStart::Newest => feed.next,
                        FeedStart::At(number) => number.clamp(feed.first, feed.next),
                    },
                })
            },
            |found| {
                let now = engine.manifest.feed()?.feed;
                let of_this_feed =
                    matches!(found.place, CursorPlace::Changes { feed, .. } if feed == now);
                Ok(!of_this_feed)
            },
        )?;
        Ok(Self(cursor))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The next changes, at most `limit` and never more than 1,000; none when there are no more. The
    /// next call reads on behind them.
    ///
    /// # Errors
    /// [`FeedError::CursorLost`] until it is [reset](Self::reset); what the manifest refuses;
    /// [`FeedError::Closed`].
    pub fn read(&self, limit: usize) -> Result<ChangePage, FeedError> {
        self.check()?;
        self.0.renew()?;
        let from = self.0.next();
        let page = self.0.engine().manifest.changes(from, limit)?;
        self.0.was_read(from, page.next, page.changes.is_empty());
        Ok(page)
    }

    /// Says that everything before `next` is done: it is not read again, not even after a crash, once
    /// that is durable, within a second of use or when the cursor is [flushed](Self::flush) or dropped.
    ///
    /// # Errors
    /// [`FeedError::NotYet`] for more than there is; [`FeedError::Dropped`]; what the manifest refuses.
    pub fn acknowledge(&self, next: ChangeNo) -> Result<(), FeedError> {
        self.check()?;
        let end = self.0.engine().manifest.feed()?.next;
        if end < next {
            return Err(FeedError::NotYet {
                number: ChangeNo::new(next.get() - 1),
                newest: ChangeNo::new(end.get().saturating_sub(1)),
            });
        }
        self.0.acknowledge(next)
    }

    /// Makes what was acknowledged durable now.
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses.
    pub fn flush(&self) -> Result<(), FeedError> {
        self.check()?;
        self.0.flush()
    }

    /// Waits until there is something to read; `false` when there is nothing by the end of `patience`.
    ///
    /// # Errors
    /// [`FeedError::CursorLost`], [`FeedError::Closed`].
    pub fn wait(&self, patience: Duration) -> Result<bool, FeedError> {
        self.check()?;
        self.0.renew()?;
        let there = self.0.engine().wait_for_changes(self.0.next(), patience);
        self.check()?;
        Ok(there)
    }

    /// The same for a task.
    ///
    /// # Errors
    /// As for [`ChangesCursor::wait`].
    pub async fn more(&self) -> Result<(), FeedError> {
        self.check()?;
        let from = self.0.next();
        poll_fn(|context| {
            // Behind the registration: a close that is not seen here wakes the task.
            let polled = self.0.engine().manifest.poll_changes(from, context);
            match self.check() {
                Ok(()) => polled.map(Ok),
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Goes on at the oldest change that there is, after [`FeedError::CursorLost`]. A cursor that has
    /// not lost its place stays where it is.
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses.
    pub fn reset(&self) -> Result<ChangeNo, FeedError> {
        self.0.reset()
    }

    fn check(&self) -> Result<(), FeedError> {
        let engine = self.0.engine();
        engine.check_open().map_err(|_| FeedError::Closed)?;
        if self.0.is_lost() {
            let oldest = engine.manifest.feed()?.first;
            return Err(FeedError::CursorLost { oldest });
        }
        Ok(())
    }
}
