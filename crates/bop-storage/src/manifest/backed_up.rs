//! The rows as a backup has them, and as the store has them that is made of it.
//!
//! Invariants
//! - they are of one transaction of the manifest, but for the segments, which are those that were copied;
//! - they are of the oldest schema, but for generations and snapshots, as those of a repair are: what tells of
//!   the run, its feed of changes and its jobs is not another store's, and begins anew at the next opening.
//!
//! Never: looks at a file.

use super::edit::{RowKey, put, writes};
use super::rows::{MetaRow, SegmentRow};
use super::schema::{Key, SCHEMA_VERSION_MIN, Single};
use super::state::ManifestState;
use super::store::Write;
use crate::error::ManifestError;
use crate::ids::{SegmentId, StoreId};
use imbl::OrdMap;
use std::collections::BTreeSet;

impl ManifestState {
    /// These rows, for a backup that has `segments`.
    pub(crate) fn backed_up(
        &self,
        segments: impl IntoIterator<Item = (SegmentId, SegmentRow)>,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION_MIN,
            segments: segments.into_iter().collect(),
            feed: None,
            run: None,
            jobs: OrdMap::new(),
            job_ids: None,
            scrubs: OrdMap::new(),
            ..self.clone()
        }
    }

    /// All rows as the first transaction of a manifest.
    ///
    /// # Errors
    /// [`ManifestError::Invariant`] for a row that would not read back.
    pub(crate) fn all_writes(&self, store: StoreId) -> Result<Vec<Write>, ManifestError> {
        let meta = MetaRow {
            schema_version: self.schema_version,
            store,
        };
        let mut rows = vec![
            put(store, Single.encode(), &meta)?,
            put(store, Single.encode(), self.watermarks())?,
        ];
        let nothing = Self {
            schema_version: self.schema_version,
            watermarks: *self.watermarks(),
            ..Self::empty()
        };
        rows.extend(writes(store, &nothing, self, &self.keys())?);
        Ok(rows)
    }

    /// The keys of the rows of all tables that may have many.
    fn keys(&self) -> BTreeSet<RowKey> {
        let databases = self.databases.keys().copied().map(RowKey::Database);
        let segments = self.segments.keys().copied().map(RowKey::Segment);
        let chunks = self.chunks.keys().copied().map(RowKey::Chunk);
        let ranges = self.ranges.keys().copied().map(RowKey::Range);
        let generations = self.generations.keys().copied().map(RowKey::Generation);
        let salvage = self.salvage.keys().copied().map(RowKey::Salvage);
        let closed = self.closed.keys().copied().map(RowKey::Closed);
        let cursors = self.cursors.keys().copied().map(RowKey::Cursor);
        let jobs = self.jobs.keys().copied().map(RowKey::Job);
        let scrubs = self.scrubs.keys().copied().map(RowKey::Scrub);
        let snapshots = self.snapshots.keys().copied().map(RowKey::Snapshot);
        let single = [RowKey::Feed, RowKey::Run, RowKey::JobIds];
        databases
            .chain(segments)
            .chain(chunks)
            .chain(ranges)
            .chain(generations)
            .chain(salvage)
            .chain(closed)
            .chain(cursors)
            .chain(jobs)
            .chain(scrubs)
            .chain(snapshots)
            .chain(single)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ChangeNo, DbKind, Epoch, JobId};
    use crate::manifest::{
        CheckpointedHead, DatabaseRow, DatabaseState, Manifest, ManifestStore, MemoryManifest,
        Policy, RunRow,
    };
    use crate::name::DbName;
    use std::sync::Arc;

    const STORE: StoreId = StoreId::new([7; 16]);
    const RUN: RunRow = RunRow {
        epoch: Epoch::new(3),
        boot: [1; 16],
        pid: 5,
        opened_us: 1,
        closed_us: None,
    };

    #[test]
    fn rows_come_back_and_what_is_of_the_run_does_not() {
        let open = |rows: &[Write]| {
            let memory = MemoryManifest::new();
            memory.commit(rows).unwrap();
            Manifest::open(Arc::new(memory), STORE).unwrap()
        };
        let manifest = open(&Manifest::initial_writes(STORE).unwrap());
        let row = DatabaseRow {
            name: DbName::new("one").unwrap(),
            kind: DbKind::Raw,
            state: DatabaseState::Live,
            created_us: 1,
            catalogue_lsn: crate::ids::Lsn::new(8),
            checkpointed: CheckpointedHead::NONE,
            page_size: None,
            policy: Policy::default(),
            origin: None,
        };
        let id = crate::ids::DbId::new(4);
        let added = row.clone();
        manifest
            .transact(move |edit| {
                edit.put_database(id, added)?;
                edit.begin_run(RUN, ChangeNo::default(), JobId::default());
                Ok(())
            })
            .unwrap();
        let segment = SegmentRow {
            incarnation: crate::ids::Incarnation::new(9),
            capacity_bytes: 65536,
        };
        let kept = manifest
            .state()
            .backed_up([(SegmentId::new(2), segment)])
            .all_writes(STORE)
            .unwrap();
        let state = open(&kept).state();
        assert_eq!(state.database(id), Some(&row));
        assert_eq!(state.segment(SegmentId::new(2)), Some(&segment));
        assert_eq!(state.run(), None);
        assert!(state.feed().is_none() && state.job_ids().is_none());
        assert!(state.damaged().is_empty(), "{:?}", state.damaged());
    }
}
