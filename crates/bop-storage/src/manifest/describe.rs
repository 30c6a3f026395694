//! The rows as people read them: for whoever looks at a manifest.
//!
//! Never: decides anything by what it reads.

use super::change::Change;
use super::closed_rows::{ClosedRow, SalvageRow};
use super::cursor_row::CursorRow;
use super::database_row::DatabaseRow;
use super::feed_rows::{FeedRow, RunRow};
use super::generation_row::GenerationRow;
use super::job_rows::{JobIdsRow, JobRow, ScrubRow};
use super::range_row::RangeRow;
use super::rows::{ChunkRow, MetaRow, Row, SegmentRow, Watermarks};
use super::schema::{Key, row_damage, unseal};
use super::snapshot_row::SnapshotRow;
use super::store::{Table, hex, scan_all};
use super::typed::Manifest;
use crate::error::{Damage, ManifestError, Reject};
use std::fmt::Debug;

/// A row of a table, as it stands in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedRow {
    /// The table.
    pub table: Table,
    /// The key, in hexadecimal digits.
    pub key: String,
    /// Bytes of the value, its envelope included.
    pub bytes: usize,
    /// What it says, or why it is not believed.
    pub content: Result<String, Damage>,
}

impl Manifest {
    /// All rows of a table, in the order of their keys.
    ///
    /// # Errors
    /// What the store refuses. Damage of a row is in its place.
    pub fn describe(&self, table: Table) -> Result<Vec<DescribedRow>, ManifestError> {
        let mut rows = Vec::new();
        scan_all(self.store(), table, |key, value| {
            let content = self.describe_value(table, &key, &value);
            rows.push(DescribedRow {
                table,
                key: hex(&key),
                bytes: value.len(),
                content: content.map_err(|reason| row_damage(table, &key, reason)),
            });
        })?;
        Ok(rows)
    }

    fn describe_value(&self, table: Table, key: &[u8], value: &[u8]) -> Result<String, Reject> {
        let row = unseal(self.store_id(), table, key, value)?;
        match table {
            Table::Meta => text::<MetaRow>(key, row),
            Table::Databases => text::<DatabaseRow>(key, row),
            Table::Segments => text::<SegmentRow>(key, row),
            Table::Chunks => text::<ChunkRow>(key, row),
            Table::Ranges => text::<RangeRow>(key, row),
            Table::Watermarks => text::<Watermarks>(key, row),
            Table::Salvage => text::<SalvageRow>(key, row),
            Table::Closed => text::<ClosedRow>(key, row),
            Table::Changes => text::<Change>(key, row),
            Table::Feed => text::<FeedRow>(key, row),
            Table::Cursors => text::<CursorRow>(key, row),
            Table::Run => text::<RunRow>(key, row),
            Table::Jobs => text::<JobRow>(key, row),
            Table::JobIds => text::<JobIdsRow>(key, row),
            Table::Scrubs => text::<ScrubRow>(key, row),
            Table::Snapshots => text::<SnapshotRow>(key, row),
            Table::Generations => text::<GenerationRow>(key, row),
        }
    }
}

fn text<R: Row + Debug>(key: &[u8], row: (u16, &[u8])) -> Result<String, Reject> {
    R::Key::decode(key).ok_or(Reject::Invalid("not a key of this table"))?;
    R::decode_version(row).map(|row| format!("{row:?}"))
}
