//! The points that snapshots and forks need: the pages of each, from the databases judged so far.
//!
//! ```text
//! databases by id: judged --> rows --> pages of a point --> judged: a fork of it, which is younger
//!                                '--> do they add up to the point's checksum? if not: told
//! ```
//! Invariants
//! - the rows are those that the new manifest gets, and are read as an opened store reads them;
//! - a point is believed only if its page hashes add up to its checksum, or the log leads to it.
//!
//! Never: reads a page's content; writes.

use super::super::bases::Bases;
use super::super::chunks::ChunkSet;
use super::judge::{Judge, Verdict};
use super::plan::Draft;
use crate::cache::PageCache;
use crate::catalogue::{Catalogue, Entry};
use crate::checksum::RollingChecksum;
use crate::error::{ManifestError, Place};
use crate::ids::{DbId, Generation, Lsn, PageNo};
use crate::io::IoFailure;
use crate::limits::ValidLimits;
use crate::manifest::ManifestState;
use crate::point::Point;
use crate::view::BasePages;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A state that a snapshot or a fork needs and that cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LostPoint {
    /// The owner of the snapshot.
    pub database: DbId,
    /// The snapshot's name.
    pub snapshot: String,
    /// The database whose state it is.
    pub source: DbId,
    /// The commit whose state it is.
    pub lsn: Lsn,
    /// Why it cannot be had.
    pub why: String,
}

/// Why a point is not believed.
pub(super) enum Doubt {
    /// Its pages cannot be read.
    Missing(String),
    /// They can, and are not those of the point.
    Wrong,
}

impl Doubt {
    pub(super) fn why(self) -> String {
        match self {
            Self::Missing(why) => why,
            Self::Wrong => "its pages do not add up to its checksum".to_owned(),
        }
    }
}

/// By database, the states that somebody needs of it.
pub(super) type Points = BTreeMap<DbId, BTreeMap<Lsn, Point>>;

/// What snapshots and origins point at.
pub(super) fn all_points(catalogue: &Catalogue) -> Points {
    let mut points = Points::new();
    for (id, entry) in catalogue.entries() {
        let snapshots = catalogue.snapshots(id).map(|snapshot| snapshot.point);
        for point in snapshots.chain(entry.origin.as_deref().copied()) {
            let of_source = points.entry(point.source).or_default();
            of_source.insert(point.lsn, point);
        }
    }
    points
}

/// What was judged so far, as an opened store would read it.
pub(super) struct Judged<'a> {
    catalogue: &'a Catalogue,
    judge: &'a Judge<'a>,
    limits: &'a ValidLimits,
    rows: ManifestState,
    chunks: ChunkSet,
    cache: Arc<PageCache>,
}

impl<'a> Judged<'a> {
    pub(super) fn nothing(
        catalogue: &'a Catalogue,
        judge: &'a Judge<'a>,
        limits: &'a ValidLimits,
    ) -> Self {
        let disk = Arc::clone(judge.disk);
        Self {
            catalogue,
            judge,
            limits,
            rows: ManifestState::empty(),
            chunks: ChunkSet::new(disk, judge.store, limits.chunks_open_max),
            cache: Arc::new(PageCache::new(limits.cache_bytes_max)),
        }
    }

    /// Adds the rows of a database, which nobody can read before.
    pub(super) fn add(
        &mut self,
        id: DbId,
        entry: &Entry,
        verdict: &Verdict,
    ) -> Result<(), ManifestError> {
        let draft = Draft {
            chunks: self.judge.chunks,
            closed_from: Lsn::ZERO,
            closed_to: Lsn::ZERO,
        };
        self.rows = self.rows.with(|edit| draft.put(id, entry, verdict, edit))?;
        Ok(())
    }

    /// The pages of a point.
    pub(super) fn pages(&self, point: &Point) -> Arc<dyn BasePages> {
        self.bases().point(point.source, point.lsn)
    }

    fn bases(&self) -> Bases<'_> {
        Bases {
            rows: &self.rows,
            catalogue: self.catalogue,
            chunks: &self.chunks,
            cache: &self.cache,
            limits: self.limits,
            in_log: &|_, _| None,
        }
    }

    /// Whether the log leads to a point, from a state of its database that is proved.
    pub(super) fn is_in_log(&self, point: &Point) -> bool {
        let Some(row) = self.rows.database(point.source) else {
            return false;
        };
        let head = &row.checkpointed;
        let proved = head.generation == Generation::default()
            || self
                .rows
                .generation(point.source, head.generation)
                .is_some();
        let open = self.rows.closed_row(point.source).is_none();
        let holds = self.judge.log_from.is_some_and(|from| from <= point.lsn);
        proved && open && holds && head.lsn < point.lsn
    }

    /// What is wrong with a point, if anything.
    pub(super) fn doubt(&self, point: &Point) -> Result<Option<Doubt>, IoFailure> {
        if self.is_in_log(point) {
            return Ok(None);
        }
        let pages = self.pages(point);
        let mut sum = RollingChecksum::EMPTY;
        for page in (1..=point.page_count).filter_map(PageNo::new) {
            let database = point.source;
            let read = pages.version(page);
            match self
                .judge
                .unreadable
                .of(read, Place::Database { database })?
            {
                Ok(found) => sum = found.map_or(sum, |(hash, _)| sum.toggled(hash)),
                Err(damage) => return Ok(Some(Doubt::Missing(damage.to_string()))),
            }
        }
        Ok((sum != point.rolling_checksum).then_some(Doubt::Wrong))
    }
}
