//! The manifest as subscribers of its changes see it, and whose run it is.
//!
//! Never: holds a read of the store longer than one page of changes.

use super::change::Change;
use super::feed_rows::{FeedRow, RunRow};
use super::rows::Row;
use super::schema::{Key, row_damage, unseal};
use super::state::ManifestState;
use super::store::{SCAN_ROWS_MAX, Table, scan_all};
use super::typed::Manifest;
use crate::error::{Damage, FeedError, ManifestError, Reject};
use crate::ids::{ChangeNo, JobId};
use std::task::{Context, Poll};
use std::time::Duration;

/// Changes that were read, and where the next ones are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangePage {
    /// In their order, each with its number.
    pub changes: Vec<(ChangeNo, Change)>,
    /// Behind the last of them.
    pub next: ChangeNo,
}

impl Manifest {
    /// Writes down who has the store open. From then on the changes are told.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn begin_run(&self, run: RunRow) -> Result<(), ManifestError> {
        let state = self.state();
        let mut last = ChangeNo::default();
        if state.feed().is_none() {
            // Its row is lost: what is left of it is told apart by larger numbers.
            scan_all(self.store(), Table::Changes, |key, _| {
                last = last.max(ChangeNo::decode(&key).unwrap_or_default());
            })?;
        }
        let mut last_job = JobId::default();
        if state.job_ids().is_none() {
            scan_all(self.store(), Table::Jobs, |key, _| {
                last_job = last_job.max(JobId::decode(&key).unwrap_or_default());
            })?;
        }
        self.transact(move |edit| {
            edit.begin_run(run, last, last_job);
            Ok(())
        })
    }

    /// Writes down that the store is closed, if that takes no longer than `patience`.
    ///
    /// # Errors
    /// [`ManifestError::Stalled`], else as for [`Manifest::transact`].
    pub fn end_run(&self, closed_us: u64, patience: Duration) -> Result<(), ManifestError> {
        self.transact_or_leave(patience, move |edit| {
            if let Some(run) = edit.state().run().copied() {
                let closed_us = Some(closed_us.max(1));
                edit.set_run(RunRow { closed_us, ..run });
            }
            Ok(())
        })
    }

    /// Which changes there are.
    ///
    /// # Errors
    /// [`FeedError::NotThere`] before the first run of this schema.
    pub fn feed(&self) -> Result<FeedRow, FeedError> {
        self.state().feed().copied().ok_or(FeedError::NotThere)
    }

    /// The changes from `from` on, at most `limit` and never more than [`SCAN_ROWS_MAX`].
    ///
    /// # Errors
    /// [`FeedError::CursorLost`] when `from` was trimmed; [`FeedError::Manifest`] when a row is
    /// damaged, or for what the store refuses.
    pub fn changes(&self, from: ChangeNo, limit: usize) -> Result<ChangePage, FeedError> {
        let row = self.feed()?;
        let end = row.next;
        if from < row.first {
            return Err(FeedError::CursorLost { oldest: row.first });
        }
        let left = usize::try_from(end.get().saturating_sub(from.get())).unwrap_or(usize::MAX);
        let limit = limit.min(left).min(SCAN_ROWS_MAX);
        let mut page = ChangePage {
            changes: Vec::with_capacity(limit),
            next: from,
        };
        let rows = self.store().scan(Table::Changes, &from.encode(), limit)?;
        for (key, value) in rows {
            let number = page.next;
            if ChangeNo::decode(&key) != Some(number) {
                return Err(self.gap(number));
            }
            let change = self.decode_change(&key, &value);
            page.changes
                .push((number, change.map_err(ManifestError::from)?));
            page.next = number.next().unwrap_or(number);
        }
        if page.changes.len() < limit {
            return Err(self.gap(page.next));
        }
        Ok(page)
    }

    fn decode_change(&self, key: &[u8], value: &[u8]) -> Result<Change, Damage> {
        let row = unseal(self.store_id(), Table::Changes, key, value);
        row.and_then(Change::decode_version)
            .map_err(|reason| row_damage(Table::Changes, key, reason))
    }

    /// Reads all changes, and says which are damaged or missing. Nobody may write meanwhile.
    pub(super) fn damaged_changes(&self) -> Result<Vec<Damage>, ManifestError> {
        let Ok(feed) = self.feed() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        let mut wanted = feed.first;
        let missing =
            |number: ChangeNo| row_damage(Table::Changes, &number.encode(), Reject::Missing);
        scan_all(
            self.store(),
            Table::Changes,
            |key, value| match ChangeNo::decode(&key) {
                Some(number) if feed.next <= number || number < feed.first => {
                    let reason = Reject::Invalid("a change that the feed does not know of");
                    found.push(row_damage(Table::Changes, &key, reason));
                }
                Some(number) => {
                    if wanted < number {
                        found.push(missing(wanted));
                    }
                    wanted = number.next().unwrap_or(number);
                    found.extend(self.decode_change(&key, &value).err());
                }
                None => {
                    let reason = Reject::Invalid("not a key of this table");
                    found.push(row_damage(Table::Changes, &key, reason));
                }
            },
        )?;
        if wanted < feed.next {
            found.push(missing(wanted));
        }
        Ok(found)
    }

    /// A change that should be there: trimmed since the feed's row was looked at, or lost.
    fn gap(&self, number: ChangeNo) -> FeedError {
        match self.feed() {
            Ok(row) if number < row.first => FeedError::CursorLost { oldest: row.first },
            Err(error) => error,
            Ok(_) => {
                let damage = row_damage(Table::Changes, &number.encode(), Reject::Missing);
                ManifestError::from(damage).into()
            }
        }
    }

    /// Waits until there is a change `from` or a newer one; `false` when there is none by the end
    /// of `patience`, or when `is_over`, which is asked again whenever waiters are woken.
    pub fn wait_for_changes(
        &self,
        from: ChangeNo,
        patience: Duration,
        is_over: impl Fn() -> bool,
    ) -> bool {
        let mut there = false;
        self.wait_until(patience, |rows| {
            there = has_change(rows, from);
            there || is_over()
        });
        there
    }

    /// The same for a task.
    pub fn poll_changes(&self, from: ChangeNo, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let seen = self.bell().count();
            if has_change(&self.state(), from) {
                return Poll::Ready(());
            }
            if self.bell().poll_past(seen, context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Wakes whoever waits for changes: there will be none.
    pub fn wake_waiters(&self) {
        self.bell().ring();
    }
}

fn has_change(rows: &ManifestState, from: ChangeNo) -> bool {
    rows.feed().is_some_and(|feed| from < feed.next)
}
