//! Which section of the catalogue a checkpoint writes: all of it, or what is newer than the last one.
//!
//! ```text
//! base (range 0) <- delta (range 1) <- delta (range 2) ... --enough of them, or much has changed--> base
//! ```
//! A section has the cursors of both feeds, too, so that they outlive a lost manifest.
//!
//! Invariants
//! - a delta stands on the section before it, of the generation before its own;
//! - the rows of the databases and the newest section reflect the same record of the catalogue;
//! - a place of a cursor in a section was acknowledged: after a repair a subscriber sees again what it
//!   acknowledged since, and misses nothing.
//!
//! Never: writes.

use crate::catalogue::Catalogue;
use crate::ids::{CursorId, DbId, Lsn};
use crate::manifest::{CursorPlace, CursorRow, ManifestState};
use std::collections::BTreeMap;

/// A catalogue of so many databases is written whole each time: it costs as much as a few pages.
const SMALL_DATABASES_MAX: usize = 1000;

/// Sections behind a base, at most: repair reads them all, and each keeps its chunk.
const DELTAS_MAX: usize = 64;

/// Whether only what is newer than the section at that position is written.
pub(super) fn delta_since(catalogue: &Catalogue, rows: &ManifestState) -> Option<Lsn> {
    let sections = rows.ranges(DbId::CATALOGUE).count();
    let since = rows.watermarks().catalogue;
    let databases = catalogue.entries().count();
    let small = databases <= SMALL_DATABASES_MAX;
    if sections == 0 || DELTAS_MAX < sections || small || since == Lsn::ZERO {
        return None;
    }
    let changed = catalogue.entries().filter(|(_, entry)| since < entry.lsn);
    // All deltas together are no longer than the base.
    (changed.count() <= databases / DELTAS_MAX).then_some(since)
}

/// The cursors as the newest section has them; `None` before this process has written one.
#[derive(Default, Debug)]
pub(super) struct SectionCursors(Option<BTreeMap<CursorId, CursorPlace>>);

impl SectionCursors {
    /// Whether a section is to be written for their sake.
    pub(super) fn are_due(&self, rows: &ManifestState) -> bool {
        let now = rows.cursors().map(|(id, row)| (id, row.place));
        let now: BTreeMap<CursorId, CursorPlace> = now.collect();
        match &self.0 {
            None => !now.is_empty(),
            Some(last) => *last != now,
        }
    }

    /// A section with these is published.
    pub(super) fn written(&mut self, cursors: &[(CursorId, CursorRow)]) {
        let places = cursors.iter().map(|(id, row)| (*id, row.place));
        self.0 = Some(places.collect());
    }
}
