//! The changes feed inside a transaction: what is appended, and what is trimmed with it.
//!
//! ```text
//!   trimmed | first ... position of the slowest live cursor ... next
//!             '--kept for them, but never more than CHANGES_MAX-'
//! ```
//! Invariants
//! - numbers are dense from `first` to `next`;
//! - a transaction trims at most [`TRIM_ROWS_MAX`] rows: a long trim is spread over many;
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

/// Changes that one transaction trims at most.
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
    let end = keep.get().min(row.first.get() + TRIM_ROWS_MAX);
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
    use crate::name::DbName;

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
}
