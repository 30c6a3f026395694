//! A write transaction: private pages over a snapshot, and the writer slot of the database.
//!
//! ```text
//!   begin_write --> Active --commit--> durable and visible   (slot passes on when published)
//!                     |------ drop --> rolled back
//!                     '-- commit fails --> rejected: nothing happened; unknown: see the error
//! ```
//!
//! Invariant: its snapshot is the newest state of the database, since it holds the writer slot.
//!
//! Never: shows a private page to anybody else.

use super::commit::{Committer, Mode};
use super::durability::Durability;
use super::engine::OpenStore;
use super::overlay::Overlay;
use super::pending_commit::{PendingCommit, Pinned};
use super::read::ReadTxn;
use super::savepoints::{Savepoint, Savepoints};
use super::seat::WriterSeat;
use super::slot::SlotGuard;
use super::state::DbState;
use crate::error::{CommitError, ReadError, Rejection};
use crate::ids::{DbKind, Lsn, PageNo, PageSize};
use crate::page::PageBytes;
use crate::runtime::sync::{Mutex, now};
use std::sync::Arc;

/// A transaction that changes a database. Dropping it rolls it back.
#[derive(Debug)]
pub struct WriteTxn {
    state: Arc<DbState>,
    slot: SlotGuard,
    /// `None` until the page size is known.
    overlay: Option<Overlay>,
    /// The savepoints that were taken until then.
    early: Savepoints,
    snapshot: ReadTxn,
    /// Dropped last: it may be the last handle, and closing waits for those who are inside.
    engine: Arc<OpenStore>,
}

impl WriteTxn {
    pub(super) fn new(
        engine: Arc<OpenStore>,
        state: Arc<DbState>,
        slot: SlotGuard,
        snapshot: ReadTxn,
    ) -> Self {
        let mut txn = Self {
            engine,
            state,
            slot,
            snapshot,
            overlay: None,
            early: Savepoints::default(),
        };
        if let Some(size) = txn.snapshot.page_size() {
            txn.start_overlay(size);
        }
        txn
    }

    fn start_overlay(&mut self, size: PageSize) {
        let bound = self.engine.limits().transaction_memory_bytes_max;
        let space = Arc::clone(&self.engine.spills);
        let savepoints = match self.overlay.take() {
            Some(replaced) => replaced.into_savepoints(),
            None => std::mem::take(&mut self.early),
        };
        let count = self.snapshot.page_count();
        let overlay = Overlay::new(size, count, bound, space, savepoints);
        self.overlay = Some(overlay);
    }

    /// The state that it started from.
    pub fn snapshot_lsn(&self) -> Lsn {
        self.snapshot.lsn()
    }

    /// Bytes in a page; `None` while nothing was ever written.
    pub fn page_size(&self) -> Option<PageSize> {
        self.overlay.as_ref().map(Overlay::page_size)
    }

    /// Pages of the database, as this transaction sees it.
    pub fn page_count(&self) -> u32 {
        self.overlay.as_ref().map_or(0, Overlay::page_count)
    }

    /// Chooses the page size of a database that has no pages yet.
    ///
    /// # Errors
    /// When the database, or this transaction, has pages of another size.
    pub fn set_page_size(&mut self, size: PageSize) -> Result<(), Rejection> {
        match &self.overlay {
            Some(overlay) if overlay.page_size() == size => Ok(()),
            Some(overlay) if overlay.page_count() > 0 || self.snapshot.page_size().is_some() => {
                Err(Rejection::Invalid(
                    "the page size of a database cannot change",
                ))
            }
            _ => {
                self.start_overlay(size);
                Ok(())
            }
        }
    }

    /// A page as this transaction sees it; its own writes included.
    ///
    /// # Errors
    /// As for [`ReadTxn::read_page`], or a failure of the transaction's temporary file.
    pub fn read_page(&self, page: PageNo) -> Result<PageBytes, ReadError> {
        self.engine.check_open()?;
        if let Some(overlay) = &self.overlay {
            if let Some(own) = overlay.read(page) {
                return Ok(own?);
            }
            if overlay.is_cut_off(page) {
                return Ok(PageBytes::zeroed(overlay.page_size()));
            }
        }
        self.snapshot.read_page(page)
    }

    /// Writes a page. The database grows when the page lies above its end. The first page of a
    /// database without pages chooses the page size by its length, unless
    /// [`WriteTxn::set_page_size`] did.
    ///
    /// # Errors
    /// A content of the wrong length, a page that cannot be, or a failure of the temporary file
    /// that takes the pages past the transaction's memory bound.
    pub fn write_page(&mut self, page: PageNo, content: &[u8]) -> Result<(), Rejection> {
        self.writable(page, content.len())?.write(page, content)
    }

    /// The same of a page that has its memory already, which is shared, not copied: one that was read from
    /// another database, or made before the transaction began.
    ///
    /// # Errors
    /// As for [`WriteTxn::write_page`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options, PageBytes, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let page = PageBytes::copy_of(&[7; 4096]);
    /// for name in ["a", "b"] {
    ///     let db = store.create_database(name, DbKind::Raw)?;
    ///     let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    ///     write.write_page_shared(PageNo::FIRST, page.clone())?;
    ///     write.commit()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_page_shared(&mut self, page: PageNo, content: PageBytes) -> Result<(), Rejection> {
        self.writable(page, content.len())?
            .write_shared(page, content)
    }

    /// The private pages, for a page of so many bytes that can be written.
    fn writable(&mut self, page: PageNo, bytes: usize) -> Result<&mut Overlay, Rejection> {
        self.engine.check_open().map_err(|_| Rejection::Closed)?;
        let kind = self.state.kind();
        let no_size = Rejection::Invalid("not a page size");
        if self.overlay.is_none()
            && let Some(size) = u32::try_from(bytes).ok().and_then(PageSize::new)
        {
            self.start_overlay(size);
        }
        let overlay = self.overlay.as_mut().ok_or(no_size)?;
        if kind == DbKind::Sqlite && page.get() == overlay.page_size().lock_page() {
            return Err(Rejection::Invalid(
                "the page of SQLite's lock bytes is never written",
            ));
        }
        Ok(overlay)
    }

    /// Sets the page count: pages above it are gone, and read as zeros if they come back.
    pub fn truncate(&mut self, page_count: u32) {
        if let Some(overlay) = &mut self.overlay {
            overlay.truncate(page_count);
        }
    }

    /// The present moment, to come back to.
    pub fn savepoint(&mut self) -> Savepoint {
        match &mut self.overlay {
            Some(overlay) => overlay.savepoint(),
            None => self.early.take(),
        }
    }

    /// Goes back to a moment of this transaction. The same savepoint can be used again later; those
    /// that were taken after it are void.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        if let Some(overlay) = &mut self.overlay {
            overlay.rollback_to(savepoint);
        }
    }

    /// Nobody will come back to `savepoint`. What was kept for it alone is given up; one that is
    /// void already is nothing to do.
    pub fn forget(&mut self, savepoint: Savepoint) {
        match &mut self.overlay {
            Some(overlay) => overlay.forget(savepoint),
            None => drop(self.early.forget(savepoint)),
        }
    }

    /// Keeps the writer slot past the end of this transaction, for one after it.
    pub fn seat(&self) -> WriterSeat {
        WriterSeat::new(self.slot.share())
    }

    /// The pages that it wrote, ascending.
    pub fn touched_pages(&self) -> Vec<PageNo> {
        self.overlay.iter().flat_map(Overlay::touched).collect()
    }

    /// Forgets everything it wrote, and goes on.
    pub fn clear(&mut self) {
        match self.snapshot.page_size() {
            Some(_) => self.overlay.iter_mut().for_each(Overlay::clear),
            None => {
                if let Some(overlay) = self.overlay.take() {
                    self.early = overlay.into_savepoints();
                }
                self.early.clear();
            }
        }
    }

    /// Commits. On return the transaction is durable and visible, and the snapshot that is given
    /// back shows it. A transaction that changed nothing writes nothing.
    ///
    /// # Errors
    /// [`CommitError::Rejected`]: nothing happened. [`CommitError::Unknown`]: the log failed while
    /// the commit was written; it may be there after the store is opened again.
    pub fn commit(self) -> Result<ReadTxn, CommitError> {
        self.commit_with(Durability::Full)
    }

    /// Commits, with a choice of what that promises. On return the transaction is visible.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Durability, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("pages", DbKind::Raw)?;
    /// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// let after = write.commit_with(Durability::RELAXED)?;
    /// assert_eq!(after.read_page(PageNo::FIRST)?[..], [7; 4096]);
    /// store.sync()?; // now it is durable
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit_with(self, durability: Durability) -> Result<ReadTxn, CommitError> {
        self.commit_pinned(Pinned::default(), durability)
    }

    /// The same for a writer who reads beside it: `reader`, a snapshot of the state that is written on, is
    /// given back with the commit, and as it was when there is none. While the commit is made nobody else
    /// need have that state, so that its index is changed where it is, instead of a copy.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`], with the reader; [`Rejection::Invalid`] when it has another state.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Durability, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("pages", DbKind::Raw)?;
    /// let before = db.begin_read()?;
    /// let mut write = db.begin_write_at(&before, std::time::Duration::from_secs(1))?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// let after = write.commit_and_read(before, Durability::Full).map_err(|failed| failed.error)?;
    /// assert_eq!(after.read_page(PageNo::FIRST)?[..], [7; 4096]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit_and_read(
        self,
        reader: ReadTxn,
        durability: Durability,
    ) -> Result<ReadTxn, Box<NotCommitted>> {
        if !reader.is_of(&self.state) || reader.lsn() != self.snapshot.lsn() {
            let error =
                Rejection::Invalid("a reader of another state than the transaction's").into();
            return Err(Box::new(NotCommitted { error, reader }));
        }
        let (engine, state) = (Arc::clone(&self.engine), Arc::clone(&self.state));
        let (pin, inside) = reader.into_parts();
        let pinned = Arc::new(Mutex::new(Some(pin)));
        self.commit_pinned(Arc::clone(&pinned), durability)
            .map_err(|error| {
                // Gone only with a commit that is published after all: its end is unknown, and what is
                // newest is all there is.
                let pin = pinned.lock().take();
                let pin = pin.unwrap_or_else(|| state.pin());
                let reader = ReadTxn::new(engine, state, pin, inside);
                Box::new(NotCommitted { error, reader })
            })
    }

    fn commit_pinned(self, pinned: Pinned, durability: Durability) -> Result<ReadTxn, CommitError> {
        let engine = Arc::clone(&self.engine);
        let since = now();
        engine.told(match self.into_committer_and(pinned) {
            Ok(Changed::Yes(committer)) => {
                let placed = committer.commit(Mode::Wait(durability));
                engine.timed(since, durability, placed.and_then(PendingCommit::visible))
            }
            Ok(Changed::No(snapshot)) => Ok(snapshot),
            Err(error) => Err(error),
        })
    }

    /// Commits without waiting. The transaction is durable and visible when the future says so; to
    /// drop it is to forget about it, not to undo anything. Until then the database takes no other
    /// writer.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`]; [`Rejection::Busy`] when the queue is full, or the log is at its cap.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let mut pending = Vec::new();
    /// for name in ["a", "b", "c"] {
    ///     let db = store.create_database(name, DbKind::Raw)?;
    ///     let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    ///     write.write_page(PageNo::FIRST, &[7; 4096])?;
    ///     pending.push(write.commit_async()?);
    /// }
    /// for commit in pending {
    ///     commit.wait()?; // or `.await`
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit_async(self) -> Result<PendingCommit, CommitError> {
        let engine = Arc::clone(&self.engine);
        engine.told(match self.into_committer() {
            Ok(Changed::Yes(committer)) => committer.commit(Mode::Async),
            Ok(Changed::No(snapshot)) => Ok(PendingCommit::unchanged(snapshot)),
            Err(error) => Err(error),
        })
    }

    /// What a commit is made of, unless there is nothing to commit.
    pub(super) fn into_committer(self) -> Result<Changed, CommitError> {
        self.into_committer_and(Pinned::default())
    }

    fn into_committer_and(self, pinned: Pinned) -> Result<Changed, CommitError> {
        let Self {
            engine,
            state,
            slot,
            snapshot,
            overlay,
            early: _,
        } = self;
        match overlay {
            Some(overlay) if !overlay.is_unchanged() => Ok(Changed::Yes(Committer {
                engine,
                state,
                slot,
                snapshot,
                overlay,
                pinned,
            })),
            _ => {
                engine.check_open().map_err(|_| Rejection::Closed)?;
                Ok(Changed::No(snapshot))
            }
        }
    }

    /// The store it belongs to.
    pub(super) fn engine(&self) -> &Arc<OpenStore> {
        &self.engine
    }
}

/// A commit that failed, and the reader that was to move on to it.
#[derive(Debug)]
pub struct NotCommitted {
    /// Why.
    pub error: CommitError,
    /// Where it was.
    pub reader: ReadTxn,
}

/// Whether a transaction has anything to commit.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once on its way, which costs less than a box"
)]
pub(super) enum Changed {
    Yes(Committer),
    No(ReadTxn),
}
