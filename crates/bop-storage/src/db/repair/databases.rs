//! All databases that the catalogue has, judged one after the other.
//!
//! ```text
//! by id --> judged, a fork with the pages of its origin --> those that others point at: rows
//!   --> every snapshot: are its pages there?
//! ```
//! Invariants
//! - whoever is pointed at is judged before who points: an origin is older than its fork;
//! - a fork that has no pages itself is closed if those of its origin cannot be had; of one that has, the
//!   states that were before its first generation are not told then.
//!
//! Never: writes.

use super::judge::{Case, Judge, LOG_MISSING, Verdict};
use super::points::{Doubt, Judged, LostPoint, Points, all_points};
use crate::catalogue::{Catalogue, Entry};
use crate::error::OpenError;
use crate::ids::{DbId, DbKind, Generation, Lsn};
use crate::io::IoFailure;
use crate::limits::ValidLimits;
use crate::manifest::GenerationRow;
use crate::point::Point;
use std::collections::BTreeMap;

/// What is said of them.
pub(super) struct Databases {
    pub(super) verdicts: BTreeMap<DbId, Verdict>,
    /// Snapshots whose states cannot be had.
    pub(super) lost: Vec<LostPoint>,
}

/// `aside`: where the segments end that are set aside for closed databases.
pub(super) fn judge_all(
    judge: &Judge<'_>,
    limits: &ValidLimits,
    catalogue: &Catalogue,
    aside: Option<Lsn>,
) -> Result<Databases, OpenError> {
    let points = all_points(catalogue);
    let mut judged = Judged::nothing(catalogue, judge, limits);
    let mut verdicts = BTreeMap::new();
    for (id, entry) in catalogue.entries() {
        let has_pages = catalogue.has_pages(id);
        let mut verdict = judge_entry(judge, &judged, &points, (id, entry), has_pages)?;
        if has_pages && aside.is_some_and(|end| verdict.head.lsn < end) {
            let why = "segments are set aside for closed databases, and it may be one of them";
            verdict.closed.get_or_insert(why.to_owned());
        }
        if let Some(kept) = points.get(&id) {
            if has_pages && let Some(lsn) = missing(judge, kept, verdict.head.lsn) {
                let why = format!("a snapshot or a fork has a newer state of it, at lsn {lsn}");
                verdict.closed.get_or_insert(why);
            }
            judged.add(id, entry, &verdict)?;
        }
        verdicts.insert(id, verdict);
    }
    let lost = lost_snapshots(catalogue, &judged, &mut verdicts)?;
    Ok(Databases { verdicts, lost })
}

/// The newest state that somebody keeps, if neither chunks, which end at `head`, nor the log have it.
fn missing(judge: &Judge<'_>, kept: &BTreeMap<Lsn, Point>, head: Lsn) -> Option<Lsn> {
    let (newest, _) = kept.last_key_value()?;
    let in_log = judge.log_from.is_some_and(|from| from <= *newest);
    (head < *newest && !in_log).then_some(*newest)
}

fn judge_entry(
    judge: &Judge<'_>,
    judged: &Judged<'_>,
    points: &Points,
    (id, entry): (DbId, &Entry),
    has_pages: bool,
) -> Result<Verdict, IoFailure> {
    if !has_pages {
        // Its sections went with it.
        let (head, page_size) = judge.last_head(id);
        return Ok(Verdict {
            head,
            page_size,
            ..Verdict::without(None)
        });
    }
    if entry.kind == DbKind::Log {
        // Nothing of it is ever in a chunk.
        let lost = judge.log_from.is_none();
        return Ok(Verdict::without(lost.then(|| LOG_MISSING.to_owned())));
    }
    let origin = entry.origin.as_deref().filter(|one| one.page_count > 0);
    let in_log = origin.is_some_and(|origin| judged.is_in_log(origin));
    if in_log && judge.reads_origin(id) {
        // All its commits are behind that point, and in the log with it.
        return Ok(Verdict::without(None));
    }
    let pages = origin.map(|origin| judged.pages(origin));
    let none = BTreeMap::new();
    let case = Case {
        id,
        origin: pages.as_deref(),
        points: points.get(&id).unwrap_or(&none),
        newest: true,
    };
    let newest = entry.state.has_pages() || needs_newest(judge, &case);
    let mut verdict = match newest {
        true => judge.database(&case)?,
        false => judge.past(&Case {
            newest: false,
            ..case
        })?,
    };
    if let Some(origin) = origin {
        check_origin(judged, origin, &mut verdict)?;
    }
    Ok(verdict)
}

/// What a fork was before its first generation is its origin's: its state, or the first of its past.
fn check_origin(
    judged: &Judged<'_>,
    origin: &Point,
    verdict: &mut Verdict,
) -> Result<(), IoFailure> {
    let is_first = |one: &&mut (Generation, GenerationRow)| one.0.get() == 1;
    let first = verdict.generations.iter_mut().find(is_first);
    let first = first.filter(|(_, row)| row.history.is_some());
    let is_all = verdict.head.generation == Generation::default();
    if !is_all && first.is_none() {
        return Ok(());
    }
    let Some(doubt) = judged.doubt(origin)? else {
        return Ok(());
    };
    if let Some((_, row)) = first {
        row.history = None;
    }
    if is_all {
        let why = format!("of its origin: {}", doubt.why());
        verdict.closed.get_or_insert(why);
    }
    Ok(())
}

/// Whether somebody needs the newest state of a database that is gone itself, or one behind it.
fn needs_newest(judge: &Judge<'_>, case: &Case<'_>) -> bool {
    let (head, _) = judge.last_head(case.id);
    let last = case.points.keys().next_back();
    last.is_some_and(|last| head.lsn <= *last)
}

/// Snapshots whose states are not there. What shows a state that is not the one that was kept is taken
/// away, so that nobody reads it.
fn lost_snapshots(
    catalogue: &Catalogue,
    judged: &Judged<'_>,
    verdicts: &mut BTreeMap<DbId, Verdict>,
) -> Result<Vec<LostPoint>, IoFailure> {
    let mut lost = Vec::new();
    for (id, _) in catalogue.entries() {
        for snapshot in catalogue.snapshots(id) {
            let point = &snapshot.point;
            let Some(doubt) = judged.doubt(point)? else {
                continue;
            };
            if matches!(doubt, Doubt::Wrong) {
                hide(verdicts, point);
            }
            lost.push(LostPoint {
                database: id,
                snapshot: snapshot.name.to_string(),
                source: point.source,
                lsn: point.lsn,
                why: doubt.why(),
            });
        }
    }
    Ok(lost)
}

/// Without the history of its interval a point cannot be read.
fn hide(verdicts: &mut BTreeMap<DbId, Verdict>, point: &Point) {
    let Some(verdict) = verdicts.get_mut(&point.source) else {
        return;
    };
    let mut newest_first = verdict.generations.iter_mut().rev();
    if let Some((_, row)) = newest_first.find(|(_, row)| point.lsn < row.lsn) {
        row.history = None;
    }
}
