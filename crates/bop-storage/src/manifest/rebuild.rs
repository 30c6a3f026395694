//! The rows of a manifest that is made anew, from what log and chunks say.
//!
//! Invariants
//! - they are one transaction, checked as any other is, so that what a repair would get wrong about
//!   counts, names or numbers is refused before a byte is written;
//! - they are of the oldest schema, but for generations: what newer tables hold (feed, the run, jobs)
//!   cannot be known, and begins anew at the next opening, as it does for a store of that schema. The
//!   snapshots and the cursors that a section of the catalogue has are there: one over the changes is
//!   told then that its feed began anew.
//!
//! Never: looks at a file.

use super::edit::{Edit, put, writes};
use super::invariants::{self, Change};
use super::rows::{MetaRow, Watermarks};
use super::schema::{Key, SCHEMA_VERSION_MIN, Single};
use super::state::{DamagedRows, ManifestState};
use super::store::Write;
use super::typed::Manifest;
use crate::error::ManifestError;
use crate::ids::StoreId;
use imbl::OrdMap;

impl Manifest {
    /// The first transaction of a manifest that is made anew: what `edit` puts into an empty one.
    ///
    /// # Errors
    /// That of `edit`; [`ManifestError::Invariant`] for what must not be.
    pub fn rebuilt_writes(
        store_id: StoreId,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<(), ManifestError>,
    ) -> Result<Vec<Write>, ManifestError> {
        let before = ManifestState::empty();
        let mut making = Edit::new(&before);
        edit(&mut making)?;
        let (after, touched) = making.finish();
        let change = Change {
            before: &before,
            after: &after,
            touched: &touched,
        };
        invariants::check(&change)?;
        let meta = MetaRow {
            schema_version: SCHEMA_VERSION_MIN,
            store: store_id,
        };
        let mut rows = vec![
            put(store_id, Single.encode(), &meta)?,
            put(store_id, Single.encode(), after.watermarks())?,
        ];
        rows.extend(writes(store_id, &before, &after, &touched)?);
        Ok(rows)
    }
}

impl ManifestState {
    /// The rows before the first of a manifest that is made anew.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: SCHEMA_VERSION_MIN,
            watermarks: Watermarks::INITIAL,
            databases: OrdMap::new(),
            segments: OrdMap::new(),
            chunks: OrdMap::new(),
            ranges: OrdMap::new(),
            generations: OrdMap::new(),
            salvage: OrdMap::new(),
            closed: OrdMap::new(),
            names: OrdMap::new(),
            feed: None,
            cursors: OrdMap::new(),
            run: None,
            jobs: OrdMap::new(),
            job_ids: None,
            scrubs: OrdMap::new(),
            snapshots: OrdMap::new(),
            damaged: DamagedRows::default(),
        }
    }

    /// These rows with what `edit` makes of them, for whoever reads them before they are written. Nothing
    /// is asked of them as a whole.
    ///
    /// # Errors
    /// That of `edit`.
    pub(crate) fn with(
        &self,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<(), ManifestError>,
    ) -> Result<Self, ManifestError> {
        let mut making = Edit::new(self);
        edit(&mut making)?;
        Ok(making.finish().0)
    }
}
