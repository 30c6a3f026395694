//! The commits between two generations, as a history section lists them.
//!
//! ```text
//! head of the generation before < commit < commit < ... <= head of the section's own generation
//! ```
//! Invariants
//! - every commit that cut pages off is listed, readable or not, and every readable one;
//! - the last one is the head of the section's generation, and readable.
//!
//! Never: reads a page.

use super::format::{CommitPoint, POINT_FOLLOWS, POINT_READABLE, SectionKind};
use super::section::SectionMeta;
use crate::checksum::RollingChecksum;
use crate::ids::{Lsn, PageNo};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// One commit of a history.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HistoryPoint {
    /// The commit.
    pub lsn: Lsn,
    /// When it was appended, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Pages of the database after it.
    pub page_count: u32,
    /// The fewest pages that the database had within it.
    pub page_count_min: u32,
    /// The xor of all page hashes after it.
    pub rolling_checksum: RollingChecksum,
    /// Whether all versions are there that a reader at it needs.
    pub readable: bool,
    /// Whether no commit lies between it and the one listed before it, or the start of the interval.
    pub follows: bool,
}

/// The newest commit of a history that is not newer than `at`.
pub fn point_at(points: &[HistoryPoint], at: Lsn) -> Option<&HistoryPoint> {
    let behind = points.partition_point(|point| point.lsn <= at);
    points.get(behind.checked_sub(1)?)
}

/// The newest commit of a history, not newer than `at`, that cut `page` off: no older version of the
/// page is read at `at`. `None` when none did.
pub fn cut_before(points: &[HistoryPoint], page: PageNo, at: Lsn) -> Option<Lsn> {
    let behind = points.partition_point(|point| point.lsn <= at);
    let mut reached = points.iter().take(behind).rev();
    reached
        .find(|point| point.page_count_min < page.get())
        .map(|point| point.lsn)
}

/// The payload of a history section.
///
/// # Errors
/// What of the points does not fit the section or each other.
pub(super) fn encode(meta: &SectionMeta, points: &[HistoryPoint]) -> Result<Vec<u8>, &'static str> {
    check(meta, points)?;
    let points = points.iter().map(|point| CommitPoint {
        lsn: U64::new(point.lsn.get()),
        time_us: U64::new(point.time_us),
        rolling_checksum: U64::new(point.rolling_checksum.get()),
        page_count: U32::new(point.page_count),
        page_count_min: U32::new(point.page_count_min),
        flags: U32::new(flags(point)),
        reserved: U32::ZERO,
    });
    Ok(points.collect::<Vec<CommitPoint>>().as_bytes().to_vec())
}

/// The points behind a payload whose checksum was right.
///
/// # Errors
/// What of it is not as [`encode`] writes it.
pub(super) fn decode(
    meta: &SectionMeta,
    payload: &[u8],
) -> Result<Vec<HistoryPoint>, &'static str> {
    let stored =
        <[CommitPoint]>::ref_from_bytes(payload).map_err(|_| "a history's commits are cut off")?;
    let mut points = Vec::with_capacity(stored.len());
    for point in stored {
        if point.reserved != U32::ZERO || point.flags.get() & !(POINT_READABLE | POINT_FOLLOWS) != 0
        {
            return Err("a reserved field of a commit is not zero");
        }
        points.push(HistoryPoint {
            lsn: Lsn::new(point.lsn.get()),
            time_us: point.time_us.get(),
            page_count: point.page_count.get(),
            page_count_min: point.page_count_min.get(),
            rolling_checksum: RollingChecksum::new(point.rolling_checksum.get()),
            readable: point.flags.get() & POINT_READABLE != 0,
            follows: point.flags.get() & POINT_FOLLOWS != 0,
        });
    }
    check(meta, &points)?;
    Ok(points)
}

fn check(meta: &SectionMeta, points: &[HistoryPoint]) -> Result<(), &'static str> {
    if meta.kind != SectionKind::History {
        return Err("commits of a section that is no history");
    }
    let Some(last) = points.last() else {
        return Err("a history without its last commit");
    };
    if !points.is_sorted_by(|a, b| a.lsn < b.lsn)
        || points.first().is_none_or(|first| first.lsn <= meta.since)
    {
        return Err("the commits of a history do not ascend");
    }
    if points
        .iter()
        .any(|point| point.page_count < point.page_count_min)
    {
        return Err("the fewest pages of a commit are more than it left");
    }
    if points
        .iter()
        .any(|point| point.page_count_min < meta.page_count_min)
    {
        return Err("a commit left fewer pages than its interval");
    }
    let head = (last.lsn, last.page_count, last.rolling_checksum);
    if head != (meta.cut, meta.page_count, meta.rolling_checksum) || !last.readable {
        return Err("a history does not end with the head of its generation");
    }
    Ok(())
}

fn flags(point: &HistoryPoint) -> u32 {
    let flag = |is: bool, bit: u32| if is { bit } else { 0 };
    flag(point.readable, POINT_READABLE) | flag(point.follows, POINT_FOLLOWS)
}
