//! All rows of the manifest in memory, as of one transaction.
//!
//! Invariants
//! - a state is a value: cloning it takes constant time, and a clone never changes;
//! - a damaged row is not in its table: it is in [`DamagedRows`], under the databases it touches;
//! - `names` holds the folded name of each live database, once.
//!
//! Never: reads or writes the store after it was loaded.

use super::closed_rows::{ClosedRow, SalvageRow};
use super::cursor_row::CursorRow;
use super::database_row::DatabaseRow;
use super::dense::Dense;
use super::feed_rows::{FeedRow, RunRow};
use super::generation_row::{GenerationKey, GenerationRow};
use super::job_rows::{JobIdsRow, JobRow, ScrubRow};
use super::range_row::RangeRow;
use super::rows::{ChunkRow, MetaRow, Row, SegmentRow, Watermarks};
use super::schema::{
    Key, RangeKey, SCHEMA_VERSION, SCHEMA_VERSION_MIN, Single, row_damage, unseal,
};
use super::snapshot_row::{SnapshotKey, SnapshotRow};
use super::store::{ManifestStore, Table, scan_all};
use crate::error::{Damage, ManifestError, Reject};
use crate::ids::{ChunkId, CursorId, DbId, JobId, Lsn, SegmentId, StoreId};
use crate::name::DbName;
use imbl::OrdMap;
use std::collections::BTreeMap;

/// Rows that were not believed, by what they touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DamagedRows {
    /// Databases with a damaged row, or with pages in a chunk whose row is damaged or missing or
    /// counts other links and histories than there are, or without the row of their newest generation.
    /// [`DbId::CATALOGUE`] stands for the catalogue's own sections.
    pub databases: BTreeMap<DbId, Damage>,
    /// Segments whose registration is damaged.
    pub segments: BTreeMap<SegmentId, Damage>,
    /// Chunks whose row is damaged.
    pub chunks: BTreeMap<ChunkId, Damage>,
    /// Snapshots whose row is damaged: a name is lost, and what is kept for it.
    pub snapshots: BTreeMap<SnapshotKey, Damage>,
    /// Segments outside the log whose row is damaged: their files stay.
    pub segments_aside: BTreeMap<SegmentId, Damage>,
    /// Rows of such segments of which not even the key can be read.
    pub segments_lost: Vec<Damage>,
    /// Rows of the changes feed, of cursors, of the run and of jobs: no database needs them.
    pub feeds: Vec<Damage>,
    /// Rows of which not even the key can be read, or that belong to no database: a name may be
    /// lost. Chunks that say they are in use but that no range names.
    pub unplaced: Vec<Damage>,
}

impl DamagedRows {
    /// Whether every row was believed that a database needs.
    pub fn is_empty(&self) -> bool {
        self.iter().count() == self.feeds.len()
    }

    /// All damage; that of a chunk also stands with each database it touches.
    pub fn iter(&self) -> impl Iterator<Item = &Damage> {
        self.databases
            .values()
            .chain(self.segments.values())
            .chain(self.chunks.values())
            .chain(self.snapshots.values())
            .chain(self.segments_aside.values())
            .chain(&self.segments_lost)
            .chain(&self.feeds)
            .chain(&self.unplaced)
    }
}

/// All rows, as of one transaction.
#[derive(Clone, Debug)]
pub struct ManifestState {
    pub(super) schema_version: u32,
    pub(super) watermarks: Watermarks,
    pub(super) databases: OrdMap<DbId, DatabaseRow>,
    pub(super) segments: OrdMap<SegmentId, SegmentRow>,
    pub(super) chunks: OrdMap<ChunkId, ChunkRow>,
    pub(super) ranges: OrdMap<RangeKey, RangeRow>,
    pub(super) generations: OrdMap<GenerationKey, GenerationRow>,
    pub(super) salvage: OrdMap<SegmentId, SalvageRow>,
    pub(super) closed: OrdMap<DbId, ClosedRow>,
    pub(super) names: OrdMap<String, DbId>,
    /// `None` in an old schema, and when its row is lost: the next run begins one.
    pub(super) feed: Option<FeedRow>,
    pub(super) cursors: OrdMap<CursorId, CursorRow>,
    pub(super) run: Option<RunRow>,
    pub(super) jobs: OrdMap<JobId, JobRow>,
    /// As `feed`.
    pub(super) job_ids: Option<JobIdsRow>,
    pub(super) scrubs: OrdMap<DbId, ScrubRow>,
    pub(super) snapshots: OrdMap<SnapshotKey, SnapshotRow>,
    pub(super) damaged: DamagedRows,
}

impl ManifestState {
    /// The watermarks.
    pub fn watermarks(&self) -> &Watermarks {
        &self.watermarks
    }

    /// A database, live or tombstone.
    pub fn database(&self, id: DbId) -> Option<&DatabaseRow> {
        self.databases.get(&id)
    }

    /// All databases, tombstones included, by id.
    pub fn databases(&self) -> impl Iterator<Item = (DbId, &DatabaseRow)> {
        self.databases.iter().map(|(id, row)| (*id, row))
    }

    /// A registered segment.
    pub fn segment(&self, id: SegmentId) -> Option<&SegmentRow> {
        self.segments.get(&id)
    }

    /// All registered segments, by id.
    pub fn segments(&self) -> impl Iterator<Item = (SegmentId, &SegmentRow)> {
        self.segments.iter().map(|(id, row)| (*id, row))
    }

    /// The segments that were taken out of the log for closed databases, by id.
    pub fn salvage(&self) -> impl Iterator<Item = (SegmentId, &SalvageRow)> {
        self.salvage.iter().map(|(id, row)| (*id, row))
    }

    /// Such a segment.
    pub fn salvaged(&self, id: SegmentId) -> Option<&SalvageRow> {
        self.salvage.get(&id)
    }

    /// The databases that are known to be closed for damage; [`DbId::CATALOGUE`] stands for the
    /// catalogue.
    pub fn closed(&self) -> impl Iterator<Item = (DbId, &ClosedRow)> {
        self.closed.iter().map(|(id, row)| (*id, row))
    }

    /// Why a database is closed, if it is.
    pub fn closed_row(&self, id: DbId) -> Option<&ClosedRow> {
        self.closed.get(&id)
    }

    /// Whether a closed database needs something of a segment that spans `base` to `end`.
    pub fn is_needed(&self, base: Lsn, end: Lsn) -> bool {
        self.closed.values().any(|row| row.needs(base, end))
    }

    /// A chunk.
    pub fn chunk(&self, id: ChunkId) -> Option<&ChunkRow> {
        self.chunks.get(&id)
    }

    /// All chunks, by id.
    pub fn chunks(&self) -> impl Iterator<Item = (ChunkId, &ChunkRow)> {
        self.chunks.iter().map(|(id, row)| (*id, row))
    }

    /// Which changes there are; `None` in an old schema, and when that row is lost.
    pub fn feed(&self) -> Option<&FeedRow> {
        self.feed.as_ref()
    }

    /// The subscribers of the changes, by id.
    pub fn cursors(&self) -> impl Iterator<Item = (CursorId, &CursorRow)> {
        self.cursors.iter().map(|(id, row)| (*id, row))
    }

    /// A subscriber.
    pub fn cursor(&self, id: CursorId) -> Option<&CursorRow> {
        self.cursors.get(&id)
    }

    /// The subscriber of that name.
    pub fn cursor_named(&self, name: &DbName) -> Option<(CursorId, &CursorRow)> {
        let folded = name.folded();
        self.cursors().find(|(_, row)| row.name.folded() == folded)
    }

    /// Who has the store open, or had it last; `None` before the first run of this schema.
    pub fn run(&self) -> Option<&RunRow> {
        self.run.as_ref()
    }

    /// The jobs, by id.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &JobRow)> {
        self.jobs.iter().map(|(id, row)| (*id, row))
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Option<&JobRow> {
        self.jobs.get(&id)
    }

    /// The number of the next job; `None` as for [`ManifestState::feed`].
    pub fn job_ids(&self) -> Option<&JobIdsRow> {
        self.job_ids.as_ref()
    }

    /// When a database was scrubbed last; [`DbId::CATALOGUE`] stands for the catalogue.
    pub fn scrub(&self, id: DbId) -> Option<&ScrubRow> {
        self.scrubs.get(&id)
    }

    /// A snapshot.
    pub fn snapshot(&self, key: SnapshotKey) -> Option<&SnapshotRow> {
        self.snapshots.get(&key)
    }

    /// The snapshots of a database, in the order in which they were made.
    pub fn snapshots(&self, owner: DbId) -> impl Iterator<Item = (SnapshotKey, &SnapshotRow)> {
        let lsn = Lsn::ZERO;
        let from = self.snapshots.range(SnapshotKey { owner, lsn }..);
        from.take_while(move |(key, _)| key.owner == owner)
            .map(|(key, row)| (*key, row))
    }

    /// All snapshots, by owner.
    pub fn all_snapshots(&self) -> impl Iterator<Item = (SnapshotKey, &SnapshotRow)> {
        self.snapshots.iter().map(|(key, row)| (*key, row))
    }

    /// The schema that the rows were read in.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// What was not believed when the rows were read.
    pub fn damaged(&self) -> &DamagedRows {
        &self.damaged
    }

    /// Reads and checks all rows.
    pub(super) fn load(
        store: &dyn ManifestStore,
        store_id: StoreId,
    ) -> Result<Self, ManifestError> {
        let schema_version = check_meta(store, store_id)?;
        let watermarks = read_single(store, store_id)?;
        let mut damaged = DamagedRows::default();
        let feed = read_optional(store, store_id, 2 <= schema_version, &mut damaged.feeds)?;
        let job_ids = read_optional(store, store_id, 2 <= schema_version, &mut damaged.feeds)?;
        // Nobody may have opened the store yet.
        let run = read_optional(store, store_id, false, &mut damaged.feeds)?;
        let mut state =
            Self {
                schema_version,
                watermarks,
                databases: read_table(store, store_id, |key, damage| match key {
                    Some(id) => drop(damaged.databases.insert(id, damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                segments: read_table(store, store_id, |key, damage| match key {
                    Some(id) => drop(damaged.segments.insert(id, damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                chunks: read_table(store, store_id, |key, damage| match key {
                    Some(id) => drop(damaged.chunks.insert(id, damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                ranges: read_table(store, store_id, |key: Option<RangeKey>, damage| match key {
                    Some(key) => drop(damaged.databases.entry(key.database).or_insert(damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                generations: read_table(store, store_id, |key: Option<GenerationKey>, damage| {
                    match key {
                        Some(key) => drop(damaged.databases.entry(key.database).or_insert(damage)),
                        None => damaged.unplaced.push(damage),
                    }
                })?,
                salvage: read_table(store, store_id, |key, damage| match key {
                    Some(id) => drop(damaged.segments_aside.insert(id, damage)),
                    None => damaged.segments_lost.push(damage),
                })?,
                // A database whose row here is damaged is closed for that.
                closed: read_table(store, store_id, |key, damage| match key {
                    Some(id) => drop(damaged.databases.entry(id).or_insert(damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                cursors: read_table(store, store_id, |_, damage| damaged.feeds.push(damage))?,
                jobs: read_table(store, store_id, |_, damage| damaged.feeds.push(damage))?,
                scrubs: read_table(store, store_id, |_, damage| damaged.feeds.push(damage))?,
                snapshots: read_table(store, store_id, |key, damage| match key {
                    Some(key) => drop(damaged.snapshots.insert(key, damage)),
                    None => damaged.unplaced.push(damage),
                })?,
                feed,
                run,
                job_ids,
                names: OrdMap::new(),
                damaged,
            };
        state.place_generations();
        state.place_lost_ranges();
        state.place_broken_ranges();
        state.collect_names();
        Ok(state)
    }
}

/// Refuses a manifest of another store, or of a newer schema, before a row of it is read.
fn check_meta(store: &dyn ManifestStore, store_id: StoreId) -> Result<u32, ManifestError> {
    let key = Single.encode();
    let damage = |reason| ManifestError::Damaged(row_damage(Table::Meta, &key, reason));
    let value = store
        .get(Table::Meta, &key)?
        .ok_or_else(|| damage(Reject::Missing))?;
    // The row says whose it is, and its checksum is over that id: the row is read before it is
    // believed, and a sound row of another store is told from a damaged one.
    let row = value
        .get(size_of::<super::schema::ValueHeader>()..)
        .unwrap_or_default();
    let row = MetaRow::decode(row).map_err(damage)?;
    unseal(row.store, Table::Meta, &key, &value).map_err(damage)?;
    if row.store != store_id {
        return Err(damage(Reject::ForeignStore));
    }
    if !(SCHEMA_VERSION_MIN..=SCHEMA_VERSION).contains(&row.schema_version) {
        return Err(damage(Reject::Version {
            found: row.schema_version,
            supported: SCHEMA_VERSION,
        }));
    }
    Ok(row.schema_version)
}

/// Reads a table's only row; without it nothing of the store can be trusted.
fn read_single<R: Row<Key = Single>>(
    store: &dyn ManifestStore,
    store_id: StoreId,
) -> Result<R, ManifestError> {
    let key = Single.encode();
    let damage = |reason| ManifestError::Damaged(row_damage(R::TABLE, &key, reason));
    let value = store
        .get(R::TABLE, &key)?
        .ok_or_else(|| damage(Reject::Missing))?;
    unseal(store_id, R::TABLE, &key, &value)
        .and_then(R::decode_version)
        .map_err(damage)
}

/// A table's only row, which the store can do without: `None` when it is damaged or missing. A row under
/// another key is told, too: it may be the one that is missing.
fn read_optional<R: Row<Key = Single>>(
    store: &dyn ManifestStore,
    store_id: StoreId,
    must_be: bool,
    damaged: &mut Vec<Damage>,
) -> Result<Option<R>, ManifestError> {
    scan_all(store, R::TABLE, |key, _| {
        if Single::decode(&key).is_none() {
            let reason = Reject::Invalid("not a key of this table");
            damaged.push(row_damage(R::TABLE, &key, reason));
        }
    })?;
    match read_single(store, store_id) {
        Ok(row) => Ok(Some(row)),
        Err(ManifestError::Damaged(damage)) => {
            if must_be || damage.reason != Reject::Missing {
                damaged.push(damage);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn read_table<R: Row>(
    store: &dyn ManifestStore,
    store_id: StoreId,
    mut damaged: impl FnMut(Option<R::Key>, Damage),
) -> Result<OrdMap<R::Key, R>, ManifestError> {
    let mut rows = Dense::new();
    scan_all(store, R::TABLE, |key, value| {
        let Some(id) = R::Key::decode(&key) else {
            let reason = Reject::Invalid("not a key of this table");
            return damaged(None, row_damage(R::TABLE, &key, reason));
        };
        match unseal(store_id, R::TABLE, &key, &value).and_then(R::decode_version) {
            Ok(row) => rows.insert(id, row),
            Err(reason) => damaged(Some(id), row_damage(R::TABLE, &key, reason)),
        }
    })?;
    Ok(rows.finish())
}
