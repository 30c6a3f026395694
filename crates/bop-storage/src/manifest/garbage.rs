//! Which rows of a database nobody reads any more, and how far back a window reaches. Pure.
//!
//! ```text
//! generations    1 -------- 2 -------- 3 -------- 4 (newest)
//! points                p                 q
//! needed         1          2          3          4     around each point, and the newest
//! histories                 of 2                  of 4  whose interval has a point inside
//! ```
//! A point is read at the newest generation that is not newer; one between two generations needs both,
//! and the history of the later one. A window needs every point from its start on.
//!
//! Never: looks at a row's content.

use super::schema::RangeKey;
use crate::ids::{Generation, Lsn};

/// What of a database is read.
#[derive(Copy, Clone, Debug)]
pub struct Needs<'a> {
    /// Its generations and their heads, ascending.
    pub generations: &'a [(Generation, Lsn)],
    /// Points that somebody holds, ascending.
    pub points: &'a [Lsn],
    /// Every point from here on, if a window is kept.
    pub window_from: Option<Lsn>,
    /// Whether the newest generation is read: not of a tombstone.
    pub newest: bool,
}

/// What nobody reads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Garbage {
    /// Rows of the ranges.
    pub ranges: Vec<RangeKey>,
    /// Generations, whose histories go with them.
    pub generations: Vec<Generation>,
    /// Generations that stay without their history.
    pub histories: Vec<Generation>,
}

impl Needs<'_> {
    /// The generations and the rows of the ranges of a database that are read by nobody. `ranges` are
    /// all its rows: by range, the newest first.
    pub fn garbage(&self, ranges: impl IntoIterator<Item = RangeKey>) -> Garbage {
        let mut garbage = Garbage::default();
        let mut needed = Vec::with_capacity(self.generations.len());
        for (nth, (generation, _)) in self.generations.iter().enumerate() {
            let history = self.needs_inside(nth);
            // Whoever reads inside the next interval reads what that does not have from here.
            if history || self.needs_head(nth) || self.needs_inside(nth + 1) {
                needed.push(*generation);
                if !history {
                    garbage.histories.push(*generation);
                }
            } else {
                garbage.generations.push(*generation);
            }
        }
        let mut newer: Option<RangeKey> = None;
        for key in ranges {
            let until = newer.filter(|newer| newer.range == key.range);
            let from = needed.partition_point(|one| *one < key.generation);
            let reader = needed.get(from);
            let is_read =
                reader.is_some_and(|one| until.is_none_or(|until| *one < until.generation));
            if !is_read {
                garbage.ranges.push(key);
            }
            newer = Some(key);
        }
        garbage
    }

    fn lsn(&self, nth: usize) -> Option<Lsn> {
        self.generations.get(nth).map(|(_, lsn)| *lsn)
    }

    /// Whether the head of a generation is read as it is, or what comes behind the newest one.
    fn needs_head(&self, nth: usize) -> bool {
        let Some(lsn) = self.lsn(nth) else {
            return false;
        };
        let next = self.lsn(nth + 1);
        if next.is_none() && self.newest {
            return true;
        }
        // The newest of those with one head is the one that is read.
        if next == Some(lsn) {
            return false;
        }
        let below_next = |point: &Lsn| next.is_none_or(|next| *point < next);
        let at = self.points.partition_point(|point| *point < lsn);
        self.points.get(at).is_some_and(below_next)
            || self.window_from.as_ref().is_some_and(below_next)
    }

    /// Whether something is read strictly between a generation and the one before.
    fn needs_inside(&self, nth: usize) -> bool {
        let Some(lsn) = self.lsn(nth) else {
            return false;
        };
        let before = nth.checked_sub(1).and_then(|nth| self.lsn(nth));
        let Some(first) = before.unwrap_or(Lsn::ZERO).next() else {
            return false;
        };
        let at = self.points.partition_point(|point| *point < first);
        let point = self.points.get(at).is_some_and(|point| *point < lsn);
        point || self.window_from.is_some_and(|from| from.max(first) < lsn)
    }
}

/// What keeping a generation costs.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PastGeneration {
    /// The generation.
    pub generation: Generation,
    /// Its head.
    pub lsn: Lsn,
    /// When that was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Bytes of the history of the interval that it ends.
    pub history_bytes: u64,
    /// Bytes of sections that it reads and no newer one does.
    pub old_bytes: u64,
}

/// The oldest generation that a window keeps: the newest one whose head is not newer than `from_us`, or
/// one behind it when what would be kept is more than `bytes_max`. `None` without generations. The newest
/// is always kept, whatever it costs.
pub fn window_start(
    past: &[PastGeneration],
    from_us: u64,
    bytes_max: u64,
) -> Option<&PastGeneration> {
    let mut newest_first = past.iter().rev();
    let mut oldest = newest_first.next()?;
    let mut bytes = 0_u64;
    for one in newest_first {
        if oldest.time_us <= from_us {
            break;
        }
        bytes = bytes
            .saturating_add(oldest.history_bytes)
            .saturating_add(one.old_bytes);
        if bytes_max < bytes {
            break;
        }
        oldest = one;
    }
    Some(oldest)
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
