//! When a section of the catalogue is written for the sake of the cursors in it.
//!
//! A section has the cursors of both feeds, so that they outlive a lost manifest. It has the whole
//! catalogue, too, and must not be written each time a subscriber acknowledges something.
//!
//! Invariant: a place in a section was acknowledged; after a repair a subscriber sees again what it
//! acknowledged since, and misses nothing.
//!
//! Never: writes.

use crate::ids::CursorId;
use crate::manifest::{CursorPlace, CursorRow, ManifestState};
use std::collections::BTreeMap;

/// With so many databases a section is some 100 KiB: as cheap as a few pages.
const SMALL_DATABASES_MAX: usize = 1000;

/// The cursors as the newest section has them; `None` before this process has written one.
#[derive(Default, Debug)]
pub(super) struct SectionCursors(Option<BTreeMap<CursorId, CursorPlace>>);

impl SectionCursors {
    /// Whether a section is to be written: cursors were made or dropped, or have moved and the catalogue
    /// is small.
    pub(super) fn are_due(&self, rows: &ManifestState) -> bool {
        let now = rows.cursors().map(|(id, row)| (id, row.place));
        let now: BTreeMap<CursorId, CursorPlace> = now.collect();
        match &self.0 {
            None => !now.is_empty(),
            Some(last) if last.keys().eq(now.keys()) => {
                *last != now && rows.databases().nth(SMALL_DATABASES_MAX).is_none()
            }
            Some(_) => true,
        }
    }

    /// A section with these is published.
    pub(super) fn written(&mut self, cursors: &[(CursorId, CursorRow)]) {
        let places = cursors.iter().map(|(id, row)| (*id, row.place));
        self.0 = Some(places.collect());
    }
}
