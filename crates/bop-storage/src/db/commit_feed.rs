//! Subscribing to the commits of the log.
//!
//! ```text
//!   released | position of the slowest live cursor ... published
//!             '--kept for it, while all that is kept for cursors alone is within the cap--
//! ```
//! What a cursor is, and what it promises, stands with [`Cursor`]; what is kept for it with
//! [`release`](super::release).
//!
//! Invariant: where a cursor begins is not released before its row says so.
//!
//! Never: waits under a lock, but for the release of segments while a cursor is opened.

use super::commits::CommitPage;
use super::cursor::Cursor;
use super::engine::OpenStore;
use crate::error::{FeedError, ManifestError};
use crate::ids::{DbId, Lsn};
use crate::manifest::{CursorPlace, CursorRow};
use crate::runtime::after;
use crate::runtime::sync::{elapsed, now};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Where a new cursor over commits begins.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CommitsFrom {
    /// Where the log begins.
    Oldest,
    /// Behind the newest commit that is durable: only what is committed from now on.
    Newest,
    /// At this position, or where the log begins if that is newer.
    At(Lsn),
}

/// A place in the commits of the log, under a name that outlives the process. Keeps the store open, and
/// the log from its durable position on, for 24 hours after it was heard of last and up to
/// [`Limits::cursor_log_bytes_max`](crate::Limits::cursor_log_bytes_max).
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_storage::{CommitsFrom, DbKind, Manager, Options, PageNo};
///
/// let store = Manager::open(dir.path(), Options::new())?;
/// let db = store.create_database("orders", DbKind::Raw)?;
/// let commits = store.subscribe_commits("replica", CommitsFrom::Oldest, Some("orders"))?;
/// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
/// write.write_page(PageNo::FIRST, &[7; 4096])?;
/// let after = write.commit()?;
/// let page = commits.read(100)?;
/// assert_eq!(page.commits[0].lsn, after.lsn());
/// commits.acknowledge(page.next)?;
/// assert!(commits.read(100)?.commits.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CommitsCursor {
    cursor: Cursor<Lsn>,
    database: Option<DbId>,
}

impl CommitsCursor {
    pub(super) fn open(
        engine: &Arc<OpenStore>,
        name: &str,
        from: CommitsFrom,
        filter: Option<&str>,
    ) -> Result<Self, FeedError> {
        engine.check_open().map_err(|_| FeedError::Closed)?;
        let wanted = filter.map(|database| engine.catalogue.lock().catalogue.find(database));
        let wanted = wanted.transpose();
        let patience = engine.limits.io_deadline;
        let asked = now();
        // From the look at where the log begins until the row says what is wanted of it.
        let releasing = engine.releasing.try_lock_for(patience);
        let _none_released = releasing.ok_or_else(|| ManifestError::Stalled {
            waited: elapsed(asked),
        })?;
        let oldest = engine.manifest.state().watermarks().truncated;
        let newest = engine.log.published().max(oldest);
        let position = match from {
            CommitsFrom::Oldest => oldest,
            CommitsFrom::Newest => newest,
            CommitsFrom::At(lsn) => lsn.clamp(oldest, newest),
        };
        let database = wanted.clone();
        let place = move |_: &_| {
            Ok(CursorPlace::Commits {
                position,
                database: database?,
            })
        };
        let mut of = None;
        let cursor = Cursor::open(engine, name, place, |found| {
            of = database_of(found);
            match (&wanted, of) {
                (Ok(wanted), of) if *wanted == of => Ok(false),
                // Its database was dropped: what the log still has of it is read to the end.
                (Err(_), Some(gone)) if !engine.catalogue.lock().catalogue.is_live(gone) => {
                    Ok(false)
                }
                _ => Err(FeedError::OtherDatabase {
                    name: name.to_owned(),
                    database: of,
                }),
            }
        })?;
        Ok(Self {
            cursor,
            database: of,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.cursor.name()
    }

    /// The one database whose commits it reads.
    pub fn database(&self) -> Option<DbId> {
        self.database
    }

    /// Where the next call of [`CommitsCursor::read`] begins.
    pub fn position(&self) -> Lsn {
        self.cursor.next()
    }

    /// The next commits, about `limit` of them, in whole batches; none when there are no more. The next
    /// call reads on behind them.
    ///
    /// # Errors
    /// [`FeedError::LogReleased`] with where the log begins, when its place is gone, until it is
    /// [reset](Self::reset); [`FeedError::Damaged`] with the place; what the manifest refuses;
    /// [`FeedError::Closed`].
    pub fn read(&self, limit: usize) -> Result<CommitPage, FeedError> {
        self.check()?;
        self.cursor.renew()?;
        let engine = self.cursor.engine();
        loop {
            let from = self.cursor.next();
            let page = engine.commits(Some(from), limit, self.database)?;
            let nothing = page.commits.is_empty();
            self.cursor.was_read(from, page.next, nothing);
            if !nothing || page.next <= from {
                return Ok(page);
            }
        }
    }

    /// Says that everything before `next` is done: it is not read again, not even after a crash, once
    /// that is durable, within a second of use or when the cursor is [flushed](Self::flush) or dropped.
    ///
    /// # Errors
    /// [`FeedError::NotCommitted`] for more than there is; [`FeedError::Dropped`]; what the manifest
    /// refuses; [`FeedError::Closed`].
    pub fn acknowledge(&self, next: Lsn) -> Result<(), FeedError> {
        self.check()?;
        let published = self.cursor.engine().log.published();
        if published < next {
            return Err(FeedError::NotCommitted {
                position: next,
                end: published,
            });
        }
        self.cursor.acknowledge(next)
    }

    /// Makes what was acknowledged durable now.
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses; [`FeedError::Closed`].
    pub fn flush(&self) -> Result<(), FeedError> {
        self.check()?;
        self.cursor.flush()
    }

    /// Waits until the log has something behind what was read: perhaps of another database, or a note of
    /// the engine. `false` when it has nothing by the end of `patience`.
    ///
    /// # Errors
    /// What the manifest refuses; [`FeedError::Closed`].
    pub fn wait(&self, patience: Duration) -> Result<bool, FeedError> {
        self.check()?;
        self.cursor.renew()?;
        let deadline = after(now(), patience);
        let log = self.cursor.engine().log();
        let more = log.wait_published(self.cursor.next(), deadline);
        self.check()?;
        Ok(more)
    }

    /// The same for a task, which never blocks here.
    ///
    /// # Errors
    /// [`FeedError::Closed`].
    pub async fn more(&self) -> Result<(), FeedError> {
        poll_fn(|context| {
            let seen = self.cursor.next();
            let log = self.cursor.engine().log();
            match (log.poll_published(seen, context), self.check()) {
                (Poll::Pending, Ok(())) => Poll::Pending,
                (_, checked) => Poll::Ready(checked),
            }
        })
        .await
    }

    /// Goes on where the log begins, after [`FeedError::LogReleased`]. A cursor that has not lost its
    /// place stays where it is.
    ///
    /// # Errors
    /// [`FeedError::Dropped`]; what the manifest refuses; [`FeedError::Closed`].
    pub fn reset(&self) -> Result<Lsn, FeedError> {
        self.cursor.reset()
    }

    fn check(&self) -> Result<(), FeedError> {
        let engine = self.cursor.engine();
        engine.check_open().map_err(|_| FeedError::Closed)
    }
}

fn database_of(row: &CursorRow) -> Option<DbId> {
    match row.place {
        CursorPlace::Commits { database, .. } => database,
        CursorPlace::Changes { .. } => None,
    }
}
