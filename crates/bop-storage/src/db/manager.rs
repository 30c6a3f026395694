//! The handle to an open store.

use super::commit_feed::{CommitsCursor, CommitsFrom};
use super::commits::CommitPage;
use super::cursor::CursorInfo;
use super::database::Db;
use super::durability::Durability;
use super::engine::OpenStore;
use super::feeds::{ChangesCursor, FeedStart};
use super::group_commit::group_commit;
use super::guards::Work;
use super::inspect::ManifestInspection;
use super::open;
use super::options::Options;
use super::read::ReadTxn;
use super::record_log::RecordLog;
use super::repair::{RepairMode, RepairReport, repair};
use super::report::{DatabaseInfo, StoreStatus, VerifyReport};
use super::salvage::{SalvageReport, salvage};
use super::unfinished::Unfinished;
use super::write::WriteTxn;
use crate::checkpoint::CheckpointReport;
use crate::error::{
    CatalogueError, CheckpointError, CloseError, CommitError, FeedError, OpenError, Rejection,
    RepairError, SalvageError,
};
use crate::ids::{ChangeNo, DbId, DbKind, Lsn};
use crate::manifest::ChangePage;
use crate::meters::MetricsReport;
use crate::runtime::after;
use crate::runtime::sync::now;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An open store. Cheap to clone; when the last handle to it, its databases and their transactions
/// is gone, the store is closed.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use bop_storage::{DbKind, Manager, Options};
///
/// let store = Manager::open(dir.path(), Options::new())?;
/// store.create_database("tenant-1", DbKind::Raw)?;
/// store.rename_database("tenant-1", "tenant-one")?;
/// assert_eq!(store.databases()[0].name, "tenant-one");
/// store.close(std::time::Duration::from_secs(5))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Manager {
    pub(super) engine: Arc<OpenStore>,
}

impl Manager {
    pub(super) fn engine(&self) -> &Arc<OpenStore> {
        &self.engine
    }

    /// Opens the store in a directory, and recovers it when it was not closed.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage that only some databases can feel is no error here: these
    /// databases answer `Corrupt`, the others work.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let engine = open::open(path.as_ref(), options)?;
        Ok(Self {
            engine: OpenStore::new(engine),
        })
    }

    /// Looks at the manifest of a store without opening it, which may not be possible.
    ///
    /// # Errors
    /// See [`OpenError`]; among them that another process has the store open.
    pub fn inspect_manifest(
        path: impl AsRef<Path>,
        options: &Options,
    ) -> Result<ManifestInspection, OpenError> {
        ManifestInspection::open(path.as_ref(), options)
    }

    /// Makes the manifest of a store anew, when it is lost or damaged, from what chunks and log say; the
    /// old one is kept in `damaged/`. Nobody has the store open meanwhile; afterwards it is opened as any
    /// other. A database that nothing proves whole is closed, and stands in the report.
    ///
    /// # Errors
    /// [`RepairError::Sound`] when it is not damaged, unless that is no matter; why the store's files
    /// cannot be read, or the new manifest not be written.
    pub fn repair(
        path: impl AsRef<Path>,
        options: &Options,
        mode: RepairMode,
    ) -> Result<RepairReport, RepairError> {
        repair(path.as_ref(), options, mode)
    }

    /// Brings each database of a damaged store, or the one named `only`, to its last provable commit in
    /// a new store at `new`, which is not there or is an empty directory. The damaged store is read and
    /// not changed; nobody has it open meanwhile. What was lost stands in the report: also where nothing
    /// but a doubt is left.
    ///
    /// # Errors
    /// See [`SalvageError`]: no new store is there then.
    pub fn salvage(
        path: impl AsRef<Path>,
        new: impl AsRef<Path>,
        options: &Options,
        only: Option<&str>,
    ) -> Result<SalvageReport, SalvageError> {
        salvage(path.as_ref(), new.as_ref(), options, only)
    }

    /// Creates a database.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::Exists`], [`CatalogueError::WrongKind`] for
    /// a record log, or why the record could not be committed.
    pub fn create_database(&self, name: &str, kind: DbKind) -> Result<Db, CatalogueError> {
        let state = self.engine.create_database(name, kind);
        let state = self.engine.told(state)?;
        Ok(Db::new(Arc::clone(&self.engine), state))
    }

    /// Creates a record log.
    ///
    /// # Errors
    /// As for [`Manager::create_database`].
    pub fn create_record_log(&self, name: &str) -> Result<RecordLog, CatalogueError> {
        let state = self.engine.told(self.engine.create_record_log(name))?;
        Ok(RecordLog::new(Arc::clone(&self.engine), state))
    }

    /// Opens a record log.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] with the nearest name, [`CatalogueError::WrongKind`] when it is
    /// a database of pages, [`CatalogueError::Corrupt`].
    pub fn record_log(&self, name: &str) -> Result<RecordLog, CatalogueError> {
        let state = self.engine.told(self.engine.open_record_log(name))?;
        Ok(RecordLog::new(Arc::clone(&self.engine), state))
    }

    /// Begins to make a database that nobody finds before it is finished. What is left of it when
    /// the store is not closed is dropped at the next open.
    ///
    /// # Errors
    /// Why the record could not be committed.
    pub fn begin_database(&self, kind: DbKind) -> Result<Unfinished, CatalogueError> {
        let state = self.engine.told(self.engine.create_unfinished(kind))?;
        let db = Db::new(Arc::clone(&self.engine), state);
        Ok(Unfinished::new(Arc::clone(&self.engine), db))
    }

    /// Opens a database. Names are found in any case and any composition of their letters.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] with the nearest name, [`CatalogueError::WrongKind`] when it is a
    /// record log, [`CatalogueError::Corrupt`].
    pub fn database(&self, name: &str) -> Result<Db, CatalogueError> {
        let state = self.engine.told(self.engine.open_database(name))?;
        Ok(Db::new(Arc::clone(&self.engine), state))
    }

    /// Subscribes to what the manifest does: databases made, renamed and dropped, generations and
    /// chunks published and removed. A cursor that has that name goes on where it was, whatever
    /// `start` says.
    ///
    /// # Errors
    /// [`FeedError::InUse`], [`FeedError::InvalidName`], [`FeedError::OtherFeed`], or what the manifest
    /// refuses.
    pub fn subscribe_changes(
        &self,
        name: &str,
        start: FeedStart,
    ) -> Result<ChangesCursor, FeedError> {
        ChangesCursor::open(&self.engine, name, start)
    }

    /// The changes from `from` on, at most `limit` and never more than 1,000, for whoever only looks.
    ///
    /// # Errors
    /// [`FeedError::CursorLost`] with the oldest one, when `from` is not kept any more; what the
    /// manifest refuses.
    pub fn changes(&self, from: ChangeNo, limit: usize) -> Result<ChangePage, FeedError> {
        self.engine.check_open().map_err(|_| FeedError::Closed)?;
        self.engine.manifest.changes(from, limit)
    }

    /// Subscribes to the commits of the log, or to those of the database `filter`, in the store's one order.
    /// A cursor that has that name goes on where it was, whatever `from` says; also when its database was
    /// dropped meanwhile.
    ///
    /// # Errors
    /// [`FeedError::InUse`], [`FeedError::InvalidName`], [`FeedError::OtherFeed`],
    /// [`FeedError::OtherDatabase`], [`FeedError::Catalogue`] when there is no such database, or what
    /// the manifest refuses.
    pub fn subscribe_commits(
        &self,
        name: &str,
        from: CommitsFrom,
        filter: Option<&str>,
    ) -> Result<CommitsCursor, FeedError> {
        CommitsCursor::open(&self.engine, name, from, filter)
    }

    /// The commits of the log from `from` on, or from where it begins: about `limit` of them, in whole
    /// batches, in the store's one order. `of`: those of one database alone, and then a page may be empty
    /// before the end, which is where `next` does not move. What was committed with
    /// [`Durability::Relaxed`](crate::Durability) is here when it is durable.
    ///
    /// # Errors
    /// [`FeedError::LogReleased`] with where the log begins, [`FeedError::Damaged`] with the place,
    /// [`FeedError::Closed`].
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let db = store.create_database("pages", DbKind::Raw)?;
    /// let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    /// write.write_page(PageNo::FIRST, &[7; 4096])?;
    /// let after = write.commit()?;
    /// let page = store.commits(None, 100, None)?;
    /// assert_eq!(page.commits[0].lsn, after.lsn());
    /// assert_eq!(page.commits[0].pages, Some(vec![PageNo::FIRST]));
    /// assert!(store.commits(Some(page.next), 100, None)?.commits.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn commits(
        &self,
        from: Option<Lsn>,
        limit: usize,
        of: Option<DbId>,
    ) -> Result<CommitPage, FeedError> {
        self.engine.commits(from, limit, of)
    }

    /// Waits until the log has something behind `next`, where a page of commits ended; `false` when it
    /// has nothing by the end of `patience`.
    pub fn wait_for_commits(&self, next: Lsn, patience: Duration) -> bool {
        let deadline = after(now(), patience);
        self.engine.log().wait_published(next, deadline)
    }

    /// The oldest change that is kept, and the number of the next one.
    ///
    /// # Errors
    /// [`FeedError::NotThere`], [`FeedError::Closed`].
    pub fn change_bounds(&self) -> Result<(ChangeNo, ChangeNo), FeedError> {
        self.engine.check_open().map_err(|_| FeedError::Closed)?;
        let feed = self.engine.manifest.feed()?;
        Ok((feed.first, feed.next))
    }

    /// Waits until there is a change `from` or a newer one; `false` when there is none by the end of
    /// `patience`, or the store is closed.
    pub fn wait_for_changes(&self, from: ChangeNo, patience: Duration) -> bool {
        self.engine.wait_for_changes(from, patience)
    }

    /// The cursors of both feeds, by the order in which they were made.
    pub fn cursors(&self) -> Vec<CursorInfo> {
        self.engine.cursor_infos()
    }

    /// Forgets a cursor: it holds back nothing any more. Whoever has it open is told.
    ///
    /// # Errors
    /// [`FeedError::NotFound`], [`FeedError::InvalidName`], or what the manifest refuses.
    pub fn drop_cursor(&self, name: &str) -> Result<(), FeedError> {
        self.engine.drop_cursor(name)
    }

    /// Opens a database, or creates one of that kind when it is missing.
    ///
    /// # Errors
    /// As for [`Manager::database`] and [`Manager::create_database`].
    pub fn database_or_create(&self, name: &str, kind: DbKind) -> Result<Db, CatalogueError> {
        let state = self.engine.open_or_create_database(name, kind);
        let state = self.engine.told(state)?;
        Ok(Db::new(Arc::clone(&self.engine), state))
    }

    /// All databases, by name.
    pub fn databases(&self) -> Vec<DatabaseInfo> {
        self.engine.database_infos()
    }

    /// The databases from that id on, by id, at most `limit` of them: for whoever has too many for one
    /// list. The next ones begin behind the last one's id.
    pub fn databases_from(&self, id: DbId, limit: usize) -> Vec<DatabaseInfo> {
        self.engine.database_infos_from(id, limit)
    }

    /// One database.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] with the nearest name.
    pub fn info(&self, name: &str) -> Result<DatabaseInfo, CatalogueError> {
        self.engine.told(self.engine.database_info(name))
    }

    /// Gives a database another name. Open handles go on.
    ///
    /// # Errors
    /// As for [`Manager::create_database`], and [`CatalogueError::NotFound`].
    pub fn rename_database(&self, from: &str, to: &str) -> Result<(), CatalogueError> {
        self.engine.told(self.engine.rename_database(from, to))
    }

    /// Moves all that is committed into chunks, and releases the log that nobody needs any more.
    ///
    /// # Errors
    /// See [`CheckpointError`]; nothing is lost.
    pub fn checkpoint(&self) -> Result<CheckpointReport, CheckpointError> {
        let work = self.engine.lifecycle().enter_work();
        let _work = self.engine.told(work.ok_or(CheckpointError::Closed))?;
        let made = self
            .engine
            .observed(Work::Checkpoint, || self.engine.checkpoint());
        self.engine.told(made)
    }

    /// Commits transactions of several databases as one: after a crash all of them are there, or
    /// none. The snapshots that show them stand in the same order.
    ///
    /// # Errors
    /// As for [`WriteTxn::commit`], for all of them; [`Rejection::TooLarge`] when there are more
    /// databases than one record names (40 bytes each, of `fragment_bytes_max`, and of a quarter of
    /// a segment); [`Rejection::Invalid`] when one is of another store.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options, PageNo};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// let mut group = Vec::new();
    /// for name in ["from", "to"] {
    ///     let db = store.create_database(name, DbKind::Raw)?;
    ///     let mut write = db.begin_write(std::time::Duration::from_secs(1))?;
    ///     write.write_page(PageNo::FIRST, &[7; 4096])?;
    ///     group.push(write);
    /// }
    /// let after = store.group_commit(group)?;
    /// assert_eq!(after[0].lsn(), after[1].lsn());
    /// # Ok(())
    /// # }
    /// ```
    pub fn group_commit(&self, group: Vec<WriteTxn>) -> Result<Vec<ReadTxn>, CommitError> {
        self.group_commit_with(group, Durability::Full)
    }

    /// The same, with a choice of what that promises.
    ///
    /// # Errors
    /// As for [`Manager::group_commit`].
    pub fn group_commit_with(
        &self,
        group: Vec<WriteTxn>,
        durability: Durability,
    ) -> Result<Vec<ReadTxn>, CommitError> {
        self.engine.told(self.commit_together(group, durability))
    }

    fn commit_together(
        &self,
        group: Vec<WriteTxn>,
        durability: Durability,
    ) -> Result<Vec<ReadTxn>, CommitError> {
        if group
            .iter()
            .any(|write| !Arc::ptr_eq(write.engine(), &self.engine))
        {
            return Err(Rejection::Invalid("a transaction of another store in a group").into());
        }
        let members = group.into_iter().map(WriteTxn::into_committer);
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let since = now();
        let committed = group_commit(&self.engine, members, durability);
        self.engine.timed(since, durability, committed)
    }

    /// Returns when every commit that was visible before is durable.
    ///
    /// # Errors
    /// Why it is not: the log has failed.
    pub fn sync(&self) -> Result<(), CommitError> {
        self.engine.told(self.engine.log().sync())
    }

    /// Reads every byte of the store that is in use and checks it. Runs beside everything else; whoever closes the
    /// store breaks it off.
    pub fn verify(&self) -> VerifyReport {
        self.engine.verify()
    }

    /// The state of the store.
    pub fn status(&self) -> StoreStatus {
        self.engine.status()
    }

    /// What the store has measured since it was opened, and how full it is. Costs about as much as
    /// [`Manager::status`]; tells the levels to the application's recorder as well.
    pub fn metrics(&self) -> MetricsReport {
        self.engine.metrics()
    }

    /// The same as the text that Prometheus reads. `docs/metrics.md` says what each line means.
    ///
    /// # Example
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use bop_storage::{DbKind, Manager, Options};
    ///
    /// let store = Manager::open(dir.path(), Options::new())?;
    /// store.create_database("one", DbKind::Raw)?;
    /// assert!(store.metrics_text().contains("\nbop_databases 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn metrics_text(&self) -> String {
        self.metrics().to_string()
    }

    /// Does what the housekeeper would do now; for stores that have none.
    pub fn keep_house(&self) {
        if let Some(_work) = self.engine.lifecycle().enter_work() {
            self.engine.keep_house(self.engine.signals.take());
        }
    }

    /// Closes the store: no new transactions, at most `deadline` for those inside, then a close
    /// record. A second close has nothing to do; one at the same time waits for the first.
    ///
    /// # Errors
    /// See [`CloseError`]. The store is closed in any case.
    pub fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        self.engine.close(deadline)
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.engine.path
    }
}
