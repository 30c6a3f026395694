//! The states of a database that can be had, from the newest back to the oldest.
//!
//! ```text
//! newest commit ... commits in the log ... head of a generation, its history ... of the one before ...
//!   -> the first that is as old as the window; or where a state is missing in between; or the origin
//! ```
//! Invariant: no commit lies between two states that stand beside each other in the list, so the last one
//! that is not younger than a moment is the state of that moment.
//!
//! Never: tells of a state behind a gap.

use super::bases::{Bases, origin_head};
use super::engine::Engine;
use super::past::HistoryFile;
use super::state::DbState;
use crate::checksum::RollingChecksum;
use crate::error::ReadError;
use crate::ids::{DbId, Generation, Lsn};
use crate::manifest::GenerationRow;
use crate::pagestore::HistoryPoint;
use crate::view::Head;
use std::ops::ControlFlow;

/// A state that a database had and that can be had again.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RestorePoint {
    /// The commit that made it; [`Lsn::ZERO`] for what a fork was made with.
    pub lsn: Lsn,
    /// When that was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Pages of the database.
    pub page_count: u32,
    /// The xor of all page hashes: what a restore of it must come to.
    pub rolling_checksum: RollingChecksum,
}

impl From<&Head> for RestorePoint {
    fn from(head: &Head) -> Self {
        Self {
            lsn: head.lsn,
            time_us: head.time_us,
            page_count: head.page_count,
            rolling_checksum: head.rolling_checksum,
        }
    }
}

impl From<&HistoryPoint> for RestorePoint {
    fn from(point: &HistoryPoint) -> Self {
        Self {
            lsn: point.lsn,
            time_us: point.time_us,
            page_count: point.page_count,
            rolling_checksum: point.rolling_checksum,
        }
    }
}

impl From<&GenerationRow> for RestorePoint {
    fn from(row: &GenerationRow) -> Self {
        Self {
            lsn: row.lsn,
            time_us: row.time_us,
            page_count: row.page_count,
            rolling_checksum: row.rolling_checksum,
        }
    }
}

/// Shows each state once, in falling order, until the window ends or the visitor has what it wants.
struct Walk<V> {
    visit: V,
    since_us: Option<u64>,
    last: Option<Lsn>,
}

impl<V: FnMut(RestorePoint) -> ControlFlow<()>> Walk<V> {
    fn show(&mut self, point: RestorePoint) -> ControlFlow<()> {
        // A checkpoint may have put a commit into a generation meanwhile.
        if self.last.is_some_and(|last| last <= point.lsn) {
            return ControlFlow::Continue(());
        }
        self.last = Some(point.lsn);
        (self.visit)(point)?;
        match self.since_us {
            Some(since_us) if since_us < point.time_us => ControlFlow::Continue(()),
            Some(_) | None => ControlFlow::Break(()),
        }
    }
}

impl Engine {
    /// Shows the states of a database, the newest first, until `visit` breaks.
    pub(super) fn walk_back(
        &self,
        state: &DbState,
        visit: impl FnMut(RestorePoint) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let (id, view) = (state.id(), state.view());
        let since_us = self.window_of(state, &view).map(|window| window.since_us);
        let mut walk = Walk {
            visit,
            since_us,
            last: None,
        };
        let mut walked = walk.show(RestorePoint::from(view.head()));
        for commit in view.commits().iter().rev() {
            if walked.is_break() {
                return Ok(());
            }
            walked = walk.show(RestorePoint::from(commit.head()));
        }
        if walked.is_continue() {
            let _end = self.walk_generations(id, &mut walk)?;
        }
        Ok(())
    }

    fn walk_generations<V: FnMut(RestorePoint) -> ControlFlow<()>>(
        &self,
        id: DbId,
        walk: &mut Walk<V>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let (histories, origin) = self.with_bases(|bases| {
            let origin = origin_head(bases.catalogue, id);
            (histories(bases, id), origin)
        });
        let mut expected = None;
        for (generation, row, history) in histories {
            // One that nobody needed is gone, and the commits of its interval.
            if expected.is_some_and(|expected| expected != generation) {
                return Ok(ControlFlow::Break(()));
            }
            let Some(history) = history else {
                let _end = walk.show(RestorePoint::from(&row));
                return Ok(ControlFlow::Break(()));
            };
            for point in history.points()?.iter().rev() {
                let shown = if point.readable {
                    walk.show(RestorePoint::from(point))
                } else {
                    ControlFlow::Break(())
                };
                if shown.is_break() || !point.follows {
                    return Ok(ControlFlow::Break(()));
                }
            }
            expected = generation.get().checked_sub(1).map(Generation::new);
        }
        if let Some(origin) = origin
            && expected.is_none_or(|expected| expected == Generation::default())
        {
            let _end = walk.show(RestorePoint::from(&origin));
        }
        Ok(ControlFlow::Continue(()))
    }
}

type WithHistory = (Generation, GenerationRow, Option<HistoryFile>);

/// The generations of a database, the newest first, each with its history.
fn histories(bases: &Bases<'_>, id: DbId) -> Vec<WithHistory> {
    let newest_first = bases.rows.generations(id).rev();
    let with_history = newest_first.map(|(generation, row)| (generation, *row, bases.history(row)));
    with_history.collect()
}
