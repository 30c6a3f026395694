//! The changes feed inside a transaction: what is appended, and what is trimmed with it.
//!
//! ```text
//!   trimmed | first ... position of the slowest live cursor ... next
//!             '--kept for them, but never more than CHANGES_MAX-'
//! ```
//! Invariants
//! - numbers are dense from `first` to `next`;
//! - a transaction trims as many rows as it appends, and at most [`TRIM_ROWS_MAX`] more: a long trim is
//!   spread over many, and one transaction of tens of thousands of changes does not pass the bound;
//! - nothing grows without bound: a cursor that is dead, or too slow, holds back nothing, and is told
//!   when it comes back.
//!
//! Never: trims what a live cursor within the bound has not acknowledged.

use super::change::Change;
use super::cursor_row::{CursorPlace, CursorRow};
use super::edit::put;
use super::feed_rows::FeedRow;
use super::schema::Key;
use super::state::ManifestState;
use super::store::{Table, Write};
use crate::error::ManifestError;
use crate::ids::{ChangeNo, StoreId};

/// Changes that are kept at most, whoever wants them.
pub const CHANGES_MAX: u64 = 100_000;

/// The newest changes are kept though nobody asked for them: for whoever looks.
pub const CHANGES_KEPT: u64 = 1_000;

/// Changes that one transaction trims at most, beside as many as it appends.
pub const TRIM_ROWS_MAX: u64 = 1_000;

/// Appends `changes` to the feed of `after`, trims it, and says with which writes.
pub(super) fn append(
    store: StoreId,
    after: &mut ManifestState,
    changes: &[Change],
    now_us: u64,
) -> Result<Vec<Write>, ManifestError> {
    let Some(mut row) = after.feed else {
        return Ok(Vec::new());
    };
    let mut writes = Vec::with_capacity(changes.len());
    for change in changes {
        writes.push(put(store, row.next.encode(), change)?);
        row.next = row.next.next().unwrap_or(row.next);
    }
    let keep = keep_from(&row, after.cursors.values(), now_us);
    let trimmed_max = TRIM_ROWS_MAX + changes.len() as u64;
    let end = keep.get().min(row.first.get() + trimmed_max);
    writes.extend((row.first.get()..end).map(|number| Write::Delete {
        table: Table::Changes,
        key: ChangeNo::new(number).encode(),
    }));
    row.first = ChangeNo::new(end.max(row.first.get()));
    after.feed = Some(row);
    Ok(writes)
}

/// The oldest change that is worth keeping.
fn keep_from<'c>(
    row: &FeedRow,
    cursors: impl Iterator<Item = &'c CursorRow>,
    now_us: u64,
) -> ChangeNo {
    let alive = cursors.filter(|cursor| cursor.is_alive(now_us));
    let positions = alive.filter_map(|cursor| match cursor.place {
        CursorPlace::Changes { feed, position } => (feed == row.feed).then_some(position.get()),
        CursorPlace::Commits { .. } => None,
    });
    let slowest = positions.min();
    let next = row.next.get();
    let wanted = slowest
        .unwrap_or(next)
        .min(next.saturating_sub(CHANGES_KEPT));
    let keep = wanted.max(next.saturating_sub(CHANGES_MAX));
    ChangeNo::new(keep.max(row.first.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CursorId, Epoch, Lsn};
    use crate::manifest::{ChangeKind, Manifest, ManifestStore, MemoryManifest};
    use crate::name::DbName;

    const STORE: StoreId = StoreId::new([5; 16]);
    const HOUR_US: u64 = 3_600_000_000;

    fn feed(first: u64, next: u64) -> FeedRow {
        FeedRow {
            feed: Epoch::new(1),
            first: ChangeNo::new(first),
            next: ChangeNo::new(next),
            next_cursor: CursorId::new(1),
        }
    }

    fn cursor_of(feed: u64, position: u64, seen_us: u64) -> CursorRow {
        CursorRow {
            name: DbName::new("c").unwrap(),
            place: CursorPlace::Changes {
                feed: Epoch::new(feed),
                position: ChangeNo::new(position),
            },
            created_us: 0,
            seen_us,
            lease_us: HOUR_US,
        }
    }

    fn cursor(position: u64, seen_us: u64) -> CursorRow {
        cursor_of(1, position, seen_us)
    }

    fn kept(row: &FeedRow, cursors: &[CursorRow], now_us: u64) -> u64 {
        keep_from(row, cursors.iter(), now_us).get()
    }

    #[test]
    fn the_slowest_live_cursor_decides_within_the_bound() {
        let row = feed(1, 50_001);
        assert_eq!(kept(&row, &[], 0), 49_001, "nobody: the newest ones");
        let (slow, fast) = (cursor(30_000, 10), cursor(49_990, 10));
        assert_eq!(kept(&row, &[slow.clone(), fast.clone()], 20), 30_000);
        let later = 10 + HOUR_US;
        assert_eq!(
            kept(&row, &[slow.clone(), fast], later),
            49_001,
            "both dead"
        );
        let elsewhere = cursor_of(9, 30_000, 10);
        assert_eq!(kept(&row, &[elsewhere], 20), 49_001, "of another feed");
        let of_commits = CursorRow {
            place: CursorPlace::Commits {
                position: Lsn::new(1),
                database: None,
            },
            ..slow
        };
        assert_eq!(kept(&row, &[of_commits], 20), 49_001, "of the log");
        let far = feed(1, 200_001);
        assert_eq!(kept(&far, &[cursor(5, 10)], 20), 100_001, "too slow");
        let young = feed(1, 11);
        assert_eq!(kept(&young, &[], 20), 1, "nothing to trim");
    }

    fn state() -> ManifestState {
        let store = MemoryManifest::new();
        store
            .commit(&Manifest::initial_writes(STORE).unwrap())
            .unwrap();
        ManifestState::load(&store, STORE).unwrap()
    }

    /// However many changes one transaction makes, and however slow a live cursor is.
    #[test]
    fn a_transaction_of_many_changes_does_not_pass_the_bound() {
        let mut rows = state();
        rows.feed = Some(feed(1, CHANGES_MAX + 1));
        rows.cursors.insert(CursorId::new(1), cursor(1, 10));
        let change = Change {
            kind: ChangeKind::Truncated,
            time_us: 1,
            database: None,
            name: None,
            number: 0,
            lsn: Lsn::new(5),
        };
        for appended in [10_000, 2_500, 1, 2 * CHANGES_MAX] {
            let before = rows.feed.unwrap();
            let changes = vec![change.clone(); usize::try_from(appended).unwrap()];
            let writes = append(STORE, &mut rows, &changes, 20).unwrap();
            let after = rows.feed.unwrap();
            assert_eq!(after.next.get(), before.next.get() + appended);
            assert_eq!(after.next.get() - after.first.get(), CHANGES_MAX);
            assert_eq!(writes.len() as u64, 2 * appended, "as many are trimmed");
        }
        // With nobody to keep them for, each transaction trims a bounded number more.
        rows.cursors.clear();
        let before = rows.feed.unwrap();
        append(STORE, &mut rows, &[change], 20).unwrap();
        let trimmed = rows.feed.unwrap().first.get() - before.first.get();
        assert_eq!(trimmed, 1 + TRIM_ROWS_MAX);
    }
}
