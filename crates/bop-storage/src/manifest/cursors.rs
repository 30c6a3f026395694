//! The manifest as the cursors of both feeds see it: found or made, moved, reset, dropped.
//!
//! ```text
//!  none --find or add--> at a position --move--> further on --drop--> none
//!                           '--its feed has gone on without it--reset--> at the oldest there is
//! ```
//! What is asked of a cursor can be asked again: whoever does not get the answer within its patience has
//! lost nothing.
//!
//! Invariant: a name is one cursor's, whichever feed it is of.
//!
//! Never: moves a cursor back.

use super::cursor_row::{CursorPlace, CursorRow, FeedPosition};
use super::feed_rows::FeedRow;
use super::typed::Manifest;
use crate::error::{FeedError, ManifestError};
use crate::ids::CursorId;
use crate::name::DbName;
use std::time::Duration;

/// Cursors of a store at most, of both feeds: each is a row that every transaction looks at.
pub const CURSORS_MAX: usize = 1_000;

impl Manifest {
    /// The cursor of that name. When there is none it is made, at the place that `place` says, and was
    /// heard of at `now_us`.
    ///
    /// # Errors
    /// What `place` says; [`FeedError::NotThere`] before the first run; [`FeedError::TooMany`]; as for
    /// [`Manifest::transact`].
    pub fn find_or_add_cursor(
        &self,
        patience: Duration,
        name: &DbName,
        (now_us, lease_us): (u64, u64),
        place: impl FnOnce(&FeedRow) -> Result<CursorPlace, FeedError> + Send + 'static,
    ) -> Result<(CursorId, CursorRow), FeedError> {
        let name = name.clone();
        self.transact_or_leave(patience, move |edit| {
            let Some(feed) = edit.state().feed().copied() else {
                return Ok(Err(FeedError::NotThere));
            };
            if let Some((id, found)) = edit.state().cursor_named(&name) {
                return Ok(Ok((id, found.clone())));
            }
            if CURSORS_MAX <= edit.state().cursors().count() {
                return Ok(Err(FeedError::TooMany { limit: CURSORS_MAX }));
            }
            let place = match place(&feed) {
                Ok(place) => place,
                Err(error) => return Ok(Err(error)),
            };
            let row = CursorRow {
                name,
                place,
                created_us: now_us,
                seen_us: now_us,
                lease_us,
            };
            let id = edit.add_cursor(row.clone());
            Ok(id.map(|id| (id, row)).ok_or(FeedError::NotThere))
        })?
    }

    /// Says how far a cursor has come, and that it was heard of. It never goes back.
    ///
    /// # Errors
    /// [`FeedError::Dropped`] when it is gone; as for [`Manifest::transact`].
    pub fn move_cursor(
        &self,
        patience: Duration,
        id: CursorId,
        position: impl FeedPosition,
        seen_us: u64,
    ) -> Result<(), FeedError> {
        self.transact_or_leave(patience, move |edit| {
            let Some(row) = edit.state().cursor(id).cloned() else {
                return Ok(Err(FeedError::Dropped));
            };
            let moved = CursorRow {
                place: position.forward(row.place),
                seen_us: seen_us.max(row.seen_us),
                ..row
            };
            edit.put_cursor(id, moved);
            Ok(Ok(()))
        })?
    }

    /// Brings a cursor that lost its place to the oldest that there is of its feed; another one stays
    /// where it is. Answers where it is then.
    ///
    /// # Errors
    /// As for [`Manifest::move_cursor`].
    pub fn reset_cursor<P: FeedPosition>(
        &self,
        patience: Duration,
        id: CursorId,
        seen_us: u64,
    ) -> Result<P, FeedError> {
        self.transact_or_leave(patience, move |edit| {
            let rows = edit.state();
            let Some(row) = rows.cursor(id).cloned() else {
                return Ok(Err(FeedError::Dropped));
            };
            let place = match (row.place, rows.feed()) {
                (CursorPlace::Changes { feed, .. }, Some(now)) if feed != now.feed => {
                    CursorPlace::Changes {
                        feed: now.feed,
                        position: now.first,
                    }
                }
                (place @ CursorPlace::Changes { .. }, Some(now)) => now.first.forward(place),
                (CursorPlace::Changes { .. }, None) => return Ok(Err(FeedError::NotThere)),
                (place @ CursorPlace::Commits { .. }, _) => {
                    rows.watermarks().truncated.forward(place)
                }
            };
            let seen_us = seen_us.max(row.seen_us);
            edit.put_cursor(
                id,
                CursorRow {
                    place,
                    seen_us,
                    ..row
                },
            );
            Ok(P::of(&place).ok_or(FeedError::Dropped))
        })?
    }

    /// Forgets the cursor of that name; `false` when there is none.
    ///
    /// # Errors
    /// As for [`Manifest::transact`].
    pub fn drop_cursor(&self, patience: Duration, name: &DbName) -> Result<bool, ManifestError> {
        let name = name.clone();
        self.transact_or_leave(patience, move |edit| {
            let found = edit.state().cursor_named(&name).map(|(id, _)| id);
            if let Some(id) = found {
                edit.delete_cursor(id);
            }
            Ok(found.is_some())
        })
    }
}
