//! What one transaction changes: rows by their keys, with the counts that follow from them.
//!
//! Invariants
//! - each changed row is in `touched`, so that the invariants look at what changed and at no more;
//! - the next numbers follow the rows that are added; nobody sets them;
//! - a damaged row is never replaced, and goes only with the segment that it registers: what it was
//!   can still be looked at.
//!
//! Never: writes to the store.

use super::closed_rows::{ClosedRow, SalvageRow};
use super::cursor_row::CursorRow;
use super::database_row::{DatabaseRow, DatabaseState};
use super::feed_rows::{FeedRow, RunRow};
use super::generation_row::GenerationKey;
use super::job_rows::{JobIdsRow, JobRow, ScrubRow};
use super::rows::{ChunkRow, MetaRow, Row, SegmentRow, Watermarks};
use super::schema::{Key, RangeKey, SCHEMA_VERSION, Single, seal};
use super::snapshot_row::SnapshotKey;
use super::state::ManifestState;
use super::store::Write;
use crate::error::{Damage, ManifestError};
use crate::ids::{ChangeNo, ChunkId, CursorId, DbId, JobId, Lsn, SegmentId, StoreId};
use std::collections::BTreeSet;

/// Names a row of any table.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum RowKey {
    Database(DbId),
    Segment(SegmentId),
    Chunk(ChunkId),
    Range(RangeKey),
    Salvage(SegmentId),
    Closed(DbId),
    Watermarks,
    Cursor(CursorId),
    Feed,
    Run,
    Job(JobId),
    JobIds,
    Scrub(DbId),
    Snapshot(SnapshotKey),
    Generation(GenerationKey),
    Meta,
}

/// A transaction that is being put together.
#[derive(Debug)]
pub struct Edit<'a> {
    before: &'a ManifestState,
    pub(super) after: ManifestState,
    pub(super) touched: BTreeSet<RowKey>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(before: &'a ManifestState) -> Self {
        Self {
            before,
            after: before.clone(),
            touched: BTreeSet::new(),
        }
    }

    /// The rows as they are with what was changed so far.
    pub fn state(&self) -> &ManifestState {
        &self.after
    }

    pub(super) fn before(&self) -> &ManifestState {
        self.before
    }

    pub(super) fn after(&mut self) -> &mut ManifestState {
        &mut self.after
    }

    pub(super) fn touch(&mut self, key: RowKey) {
        self.touched.insert(key);
    }

    /// Adds a database or replaces its row. The jobs of one that is dropped end.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when the present row is damaged. Damage of its ranges does not
    /// count: the row is what it was.
    pub fn put_database(&mut self, id: DbId, row: DatabaseRow) -> Result<(), ManifestError> {
        if !self.before.databases.contains_key(&id) {
            sound(self.before.damaged().databases.get(&id))?;
        }
        let next = self.after.watermarks.next_database;
        self.set_next(|marks| marks.next_database = next.max(following(id.next(), id)));
        if let DatabaseState::Tombstone { dropped_us } = row.state {
            self.end_jobs_of(id, dropped_us);
        }
        self.after.databases.insert(id, row);
        self.touched.insert(RowKey::Database(id));
        Ok(())
    }

    /// Forgets a database, tombstone and all.
    pub fn delete_database(&mut self, id: DbId) {
        self.after.databases.remove(&id);
        self.after.scrubs.remove(&id);
        self.touched.insert(RowKey::Scrub(id));
        self.end_jobs_of(id, 0);
        self.delete_snapshots_of(id);
        self.touched.insert(RowKey::Database(id));
    }

    /// Registers a segment, or says that its file has a new life.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when the present row is damaged.
    pub fn put_segment(&mut self, id: SegmentId, row: SegmentRow) -> Result<(), ManifestError> {
        sound(self.before.damaged().segments.get(&id))?;
        let next = self.after.watermarks.next_segment;
        self.set_next(|marks| marks.next_segment = next.max(following(id.next(), id)));
        self.after.segments.insert(id, row);
        self.touched.insert(RowKey::Segment(id));
        Ok(())
    }

    /// Unregisters a segment: from the commit on recovery does not miss it. A damaged row goes too:
    /// what it said, the segment's stamp says.
    pub fn delete_segment(&mut self, id: SegmentId) {
        self.after.segments.remove(&id);
        self.after.damaged.segments.remove(&id);
        self.touched.insert(RowKey::Segment(id));
    }

    /// Publishes a chunk file: its length and its digest.
    ///
    /// # Errors
    /// [`ManifestError::Invariant`] when the number is taken: a chunk never changes.
    pub fn insert_chunk(
        &mut self,
        id: ChunkId,
        file_bytes: u64,
        digest: u128,
    ) -> Result<(), ManifestError> {
        sound(self.before.damaged().chunks.get(&id))?;
        if self.after.chunks.contains_key(&id) {
            return Err(ManifestError::Invariant {
                invariant: "chunks_never_change",
                detail: format!("chunk {id} is published already"),
            });
        }
        let next = self.after.watermarks.next_chunk;
        self.set_next(|marks| marks.next_chunk = next.max(following(id.next(), id)));
        let row = ChunkRow {
            file_bytes,
            digest,
            references: 0,
        };
        self.after.chunks.insert(id, row);
        self.touched.insert(RowKey::Chunk(id));
        Ok(())
    }

    /// Forgets a chunk that no range names any more; its file may be removed after the commit.
    pub fn delete_chunk(&mut self, id: ChunkId) {
        self.after.chunks.remove(&id);
        self.touched.insert(RowKey::Chunk(id));
    }

    /// Takes a segment out of the log: its file is kept for closed databases.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when there is a damaged row of it.
    pub fn set_aside(&mut self, id: SegmentId, row: SalvageRow) -> Result<(), ManifestError> {
        sound(self.before.damaged().segments_aside.get(&id))?;
        self.delete_segment(id);
        self.after.salvage.insert(id, row);
        self.touched.insert(RowKey::Salvage(id));
        Ok(())
    }

    /// Forgets a segment outside the log; its file may be removed after the commit.
    pub fn delete_salvage(&mut self, id: SegmentId) {
        self.after.salvage.remove(&id);
        self.touched.insert(RowKey::Salvage(id));
    }

    /// Remembers that a database is closed. What is remembered already stays as it is: the log may
    /// have gone on since.
    pub fn close_database(&mut self, id: DbId, row: &ClosedRow) {
        if !self.after.closed.contains_key(&id) {
            self.after.closed.insert(id, row.clone());
            self.touched.insert(RowKey::Closed(id));
        }
    }

    /// Forgets that a database is closed: it was dropped.
    pub fn delete_closed(&mut self, id: DbId) {
        self.after.closed.remove(&id);
        self.touched.insert(RowKey::Closed(id));
    }

    /// Moves the checkpointed position up.
    pub fn set_checkpointed(&mut self, lsn: Lsn) {
        self.set_next(|marks| marks.checkpointed = lsn);
    }

    /// Moves the start of the log up.
    pub fn set_truncated(&mut self, lsn: Lsn) {
        self.set_next(|marks| marks.truncated = lsn);
    }

    /// Says up to which record the rows of the databases reflect the catalogue.
    pub fn set_catalogue(&mut self, lsn: Lsn) {
        self.set_next(|marks| marks.catalogue = lsn);
    }

    /// Says that no database id below was never given out: also ids of which no row is left.
    pub fn set_next_database(&mut self, id: DbId) {
        self.set_next(|marks| marks.next_database = marks.next_database.max(id));
    }

    /// Says that no chunk id below is free, also of files that have no row.
    pub fn set_next_chunk(&mut self, id: ChunkId) {
        self.set_next(|marks| marks.next_chunk = marks.next_chunk.max(id));
    }

    /// Says that no segment id below is free, also of files that have no row.
    pub fn set_next_segment(&mut self, id: SegmentId) {
        self.set_next(|marks| marks.next_segment = marks.next_segment.max(id));
    }

    /// Begins a run: an older schema becomes the present one, and a feed begins where there is none,
    /// behind every change that `last` knows of; so do the numbers of jobs, behind `last_job`. The
    /// generations that the rows of databases told so far get rows of their own.
    pub fn begin_run(&mut self, run: RunRow, last: ChangeNo, last_job: JobId) {
        if self.after.schema_version < SCHEMA_VERSION {
            let told = self.after.generations.keys().copied();
            self.touched.extend(told.map(RowKey::Generation));
        }
        self.after.schema_version = SCHEMA_VERSION;
        self.touched.insert(RowKey::Meta);
        if self.after.feed.is_none() {
            let next = following(last.next(), last);
            let cursors = self.after.cursors.keys().next_back().copied();
            let next_cursor = cursors.unwrap_or_default();
            self.after.feed = Some(FeedRow {
                feed: run.epoch,
                first: next,
                next,
                next_cursor: following(next_cursor.next(), next_cursor),
            });
            self.touched.insert(RowKey::Feed);
        }
        if self.after.job_ids.is_none() {
            let next = following(last_job.next(), last_job);
            self.after.job_ids = Some(JobIdsRow { next });
            self.touched.insert(RowKey::JobIds);
        }
        self.set_run(run);
    }

    /// Says who has the store open, or has closed it.
    pub fn set_run(&mut self, run: RunRow) {
        self.after.run = Some(run);
        self.touched.insert(RowKey::Run);
    }

    /// Adds a cursor, with an id that none had before; `None` while there is no feed.
    pub fn add_cursor(&mut self, row: CursorRow) -> Option<CursorId> {
        let feed = self.after.feed.as_mut()?;
        let id = feed.next_cursor;
        feed.next_cursor = following(id.next(), id);
        self.touched.insert(RowKey::Feed);
        self.put_cursor(id, row);
        Some(id)
    }

    /// Replaces a cursor's row.
    pub fn put_cursor(&mut self, id: CursorId, row: CursorRow) {
        self.after.cursors.insert(id, row);
        self.touched.insert(RowKey::Cursor(id));
    }

    /// Forgets a cursor: it holds back nothing any more.
    pub fn delete_cursor(&mut self, id: CursorId) {
        self.after.cursors.remove(&id);
        self.touched.insert(RowKey::Cursor(id));
    }

    /// Adds a job, with an id that none had before; `None` while there are no numbers of jobs.
    pub fn add_job(&mut self, row: JobRow) -> Option<JobId> {
        let ids = self.after.job_ids.as_mut()?;
        let id = ids.next;
        ids.next = following(id.next(), id);
        self.touched.insert(RowKey::JobIds);
        self.put_job(id, row);
        Some(id)
    }

    /// Replaces a job's row.
    pub fn put_job(&mut self, id: JobId, row: JobRow) {
        self.after.jobs.insert(id, row);
        self.touched.insert(RowKey::Job(id));
    }

    /// Forgets a job.
    pub fn delete_job(&mut self, id: JobId) {
        self.after.jobs.remove(&id);
        self.touched.insert(RowKey::Job(id));
    }

    /// Says when a database was scrubbed last.
    pub fn put_scrub(&mut self, id: DbId, row: ScrubRow) {
        self.after.scrubs.insert(id, row);
        self.touched.insert(RowKey::Scrub(id));
    }

    fn set_next(&mut self, change: impl FnOnce(&mut Watermarks)) {
        change(&mut self.after.watermarks);
        self.touched.insert(RowKey::Watermarks);
    }

    /// Brings the names up to date: first all old ones go, so that two databases can swap theirs.
    fn rename(&mut self) {
        let touched = self.touched.iter().filter_map(|key| match key {
            RowKey::Database(id) => Some(*id),
            _ => None,
        });
        let touched: Vec<DbId> = touched.collect();
        for id in &touched {
            if let Some(row) = self.before.databases.get(id) {
                let folded = row.name.folded();
                if self.after.names.get(&folded) == Some(id) {
                    self.after.names.remove(&folded);
                }
            }
        }
        for id in touched {
            let live = self.after.databases.get(&id);
            if let Some(row) = live.filter(|row| row.state == DatabaseState::Live) {
                let folded = row.name.folded();
                if !self.after.names.contains_key(&folded) {
                    self.after.names.insert(folded, id);
                }
            }
        }
    }

    /// The rows after the transaction, and which of them to look at.
    pub(super) fn finish(mut self) -> (ManifestState, BTreeSet<RowKey>) {
        self.rename();
        (self.after, self.touched)
    }
}

/// The writes that turn `before` into `after`.
pub(super) fn writes(
    store: StoreId,
    before: &ManifestState,
    after: &ManifestState,
    touched: &BTreeSet<RowKey>,
) -> Result<Vec<Write>, ManifestError> {
    let (old, new) = (&before.watermarks, &after.watermarks);
    // Those of an old schema may be there in memory only.
    let stored = |key: &GenerationKey| {
        let row = before.generations.get(key);
        row.filter(|_| before.schema_version == after.schema_version)
    };
    let damaged = |state: &ManifestState, id: SegmentId| state.damaged.segments.contains_key(&id);
    let write = |key: &RowKey| match key {
        RowKey::Database(id) => diff(store, *id, before.database(*id), after.database(*id)),
        RowKey::Segment(id) if damaged(before, *id) && !damaged(after, *id) => {
            let (table, key) = (SegmentRow::TABLE, id.encode());
            Ok(Some(Write::Delete { table, key }))
        }
        RowKey::Segment(id) => diff(store, *id, before.segment(*id), after.segment(*id)),
        RowKey::Chunk(id) => diff(store, *id, before.chunk(*id), after.chunk(*id)),
        RowKey::Range(key) => diff(store, *key, before.ranges.get(key), after.ranges.get(key)),
        RowKey::Generation(key) => diff(store, *key, stored(key), after.generations.get(key)),
        RowKey::Salvage(id) => diff(store, *id, before.salvage.get(id), after.salvage.get(id)),
        RowKey::Closed(id) => diff(store, *id, before.closed.get(id), after.closed.get(id)),
        RowKey::Watermarks => diff(store, Single, Some(old), Some(new)),
        RowKey::Cursor(id) => diff(store, *id, before.cursors.get(id), after.cursors.get(id)),
        RowKey::Feed => diff(store, Single, before.feed.as_ref(), after.feed.as_ref()),
        RowKey::Run => diff(store, Single, before.run.as_ref(), after.run.as_ref()),
        RowKey::Job(id) => diff(store, *id, before.jobs.get(id), after.jobs.get(id)),
        RowKey::JobIds => diff(
            store,
            Single,
            before.job_ids.as_ref(),
            after.job_ids.as_ref(),
        ),
        RowKey::Scrub(id) => diff(store, *id, before.scrubs.get(id), after.scrubs.get(id)),
        RowKey::Snapshot(key) => diff(store, *key, before.snapshot(*key), after.snapshot(*key)),
        RowKey::Meta => diff(
            store,
            Single,
            Some(&meta(store, before)),
            Some(&meta(store, after)),
        ),
    };
    touched
        .iter()
        .filter_map(|key| write(key).transpose())
        .collect()
}

fn meta(store: StoreId, state: &ManifestState) -> MetaRow {
    MetaRow {
        schema_version: state.schema_version,
        store,
    }
}

fn diff<R: Row>(
    store: StoreId,
    key: R::Key,
    before: Option<&R>,
    after: Option<&R>,
) -> Result<Option<Write>, ManifestError> {
    if before == after {
        return Ok(None);
    }
    let (table, key) = (R::TABLE, key.encode());
    match after {
        None => Ok(Some(Write::Delete { table, key })),
        Some(row) => put(store, key, row).map(Some),
    }
}

/// The write that puts a row. What is written is what a reader accepts: a row that contradicts
/// itself is found here, before it is on disk.
pub(super) fn put<R: Row>(store: StoreId, key: Vec<u8>, row: &R) -> Result<Write, ManifestError> {
    let bytes = row.encode();
    let read = R::decode(&bytes);
    if read.as_ref() != Ok(row) {
        return Err(ManifestError::Invariant {
            invariant: "rows_read_back",
            detail: match read {
                Err(reason) => format!("table {}: {reason}", R::TABLE.name()),
                Ok(_) => format!("table {}: the row changes when read", R::TABLE.name()),
            },
        });
    }
    let value = seal(store, R::TABLE, &key, &bytes);
    Ok(Write::Put {
        table: R::TABLE,
        key,
        value,
    })
}

fn following<Id>(next: Option<Id>, last: Id) -> Id {
    next.unwrap_or(last)
}

fn sound(damage: Option<&Damage>) -> Result<(), ManifestError> {
    damage.map_or(Ok(()), |damage| Err(damage.clone().into()))
}
