//! Which superseded versions of pages a checkpoint keeps: a pure function of the commits that it covers.
//! No I/O, no clock.
//!
//! ```text
//! commit      g0      c1      c2      c3 = cut
//! page 7      v0      v1 ---- v1      v3          v1 is seen at c1 and c2: needed if one of them is kept
//! page 9      v0      v0      v2      v2          nothing superseded: v0 is in g0, v2 in the new generation
//! ```
//! A version is *superseded* by the commit that writes the page again, or cuts it off. It is seen at its own
//! commit and at all commits up to that one.
//!
//! Invariants
//! - at a commit that is told readable, every version that is seen there is in the older generation, in
//!   the new one, or among the versions kept;
//! - the newest commit is always readable: it is the new generation;
//! - a commit that cut pages off is always told, so that no reader falls through it to older pages.
//!
//! Never: keeps more bytes for the window than its share allows.

use crate::ids::{Lsn, PageNo, PageSize};
use crate::log::format::record::Encoding;
use crate::pagestore::HistoryPoint;
use crate::view::{PageVersion, PastCommit};
use std::collections::BTreeMap;
use std::ops::Range;

/// Which commits are to stay readable, beside the newest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Readers, snapshots and forks: commits, ascending.
    pub points: Vec<Lsn>,
    /// All that is in the window of the past.
    pub window: Option<Window>,
}

/// The part of the past that the owner of a database wants kept.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// The state at this time, in microseconds since the Unix epoch, and every later one.
    pub since_us: u64,
    /// At most so many bytes of pages, before compression: the oldest states give way.
    pub bytes: u64,
}

/// A version that is kept.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// The page.
    pub page: PageNo,
    /// Which of its versions, and where it is.
    pub version: PageVersion,
}

/// A version that is not kept, but is read to make one that is: what that is a patch of, or what this rests on in turn.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct BaseVersion {
    /// The number of the version that is made.
    pub of: usize,
    /// Which, and where it is.
    pub version: Superseded,
}

/// What a history section is made of.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By page, then by version.
    pub versions: Vec<Superseded>,
    /// What they rest on in the log beside each other, in their order.
    pub bases: Vec<BaseVersion>,
    /// The commits that it tells, ascending.
    pub commits: Vec<HistoryPoint>,
    /// Whether there is a window of the past, so that states in a row are looked for.
    pub windowed: bool,
}

impl History {
    /// What these versions rest on beside each other.
    pub fn bases_of(&self, versions: Range<usize>) -> &[BaseVersion] {
        let first_of = |nth| self.bases.partition_point(|base| base.of < nth);
        &self.bases[first_of(versions.start)..first_of(versions.end)]
    }

    /// Whether it is to be written: it says more than that the newest commit can be read, or of that one
    /// that nothing lies before it.
    pub fn is_wanted(&self) -> bool {
        let readable = self.commits.iter().filter(|told| told.readable).count();
        1 < readable || (readable == 1 && self.windowed)
    }

    /// Whether the state after a commit can be read.
    pub fn can_read(&self, lsn: Lsn) -> bool {
        let found = self.commits.binary_search_by_key(&lsn, |point| point.lsn);
        found.is_ok_and(|nth| self.commits[nth].readable)
    }
}

/// A version that a commit superseded.
struct End {
    /// The number of that commit.
    at: usize,
    page: PageNo,
    version: PageVersion,
}

impl End {
    fn superseded(&self) -> Superseded {
        let (page, version) = (self.page, self.version);
        Superseded { page, version }
    }
}

impl Superseded {
    /// Their order.
    fn place(&self) -> (PageNo, Lsn) {
        (self.page, self.version.version)
    }
}

/// The history of an interval, whose `commits` ascend, on top of a state with `page_count` pages.
pub fn history(
    commits: &[&PastCommit],
    page_count: u32,
    page_size: PageSize,
    kept: &Kept,
) -> History {
    let (mut commits, ends) = walk(commits);
    let from = window_from(&commits, &ends, page_size, kept.window);
    let points = |from: Lsn, to: Lsn| {
        let first = kept.points.partition_point(|point| *point < from);
        kept.points.get(first).is_some_and(|point| *point < to)
    };
    let is_kept = |end: &End| {
        let in_window = from.is_some_and(|from| from < end.at);
        in_window || points(end.version.version, commits[end.at].lsn)
    };
    let kept_ends = ends.iter().filter(|end| is_kept(end));
    let mut versions: Vec<Superseded> = kept_ends.map(End::superseded).collect();
    versions.sort_unstable_by_key(Superseded::place);
    let bases = bases(&ends, is_kept, &versions);
    let (mut before, mut is_told) = (page_count, true);
    let (mut nth, last) = (0, commits.len());
    commits.retain_mut(|point| {
        point.readable = from.is_some_and(|from| from <= nth)
            || kept.points.binary_search(&point.lsn).is_ok()
            || nth + 1 == last;
        // Whether the one before was.
        point.follows = is_told;
        is_told = point.readable || point.page_count_min < before;
        before = point.page_count;
        nth += 1;
        is_told
    });
    // Mostly a few are told, for as long as the checkpoint goes on.
    commits.shrink_to_fit();
    History {
        versions,
        bases,
        commits,
        windowed: kept.window.is_some(),
    }
}

/// What the versions that are kept rest on and is not: going back from the newest, what follows on a patch is its base.
fn bases(
    ends: &[End],
    is_kept: impl Fn(&End) -> bool,
    versions: &[Superseded],
) -> Vec<BaseVersion> {
    // Mostly all are kept, or none.
    let gone = ends.len() - versions.len();
    let first = ends.iter().position(&is_kept).filter(|_| 0 < gone);
    let mut bases = Vec::new();
    // Of each page the version that is to be made, of a patch whose base was not met yet.
    let mut resting: BTreeMap<PageNo, Superseded> = BTreeMap::new();
    for (nth, end) in ends.iter().enumerate().rev() {
        if first.is_none_or(|first| nth < first) && resting.is_empty() {
            break;
        }
        let (version, above) = (end.superseded(), resting.remove(&end.page));
        let made = if is_kept(end) { Some(version) } else { above };
        let Some(made) = made else { continue };
        if made != version
            && let Ok(of) = versions.binary_search_by_key(&made.place(), Superseded::place)
        {
            bases.push(BaseVersion { of, version });
        }
        if end.version.form.encoding() == Encoding::Patch {
            resting.insert(end.page, made);
        }
    }
    bases.sort_unstable_by_key(|base| (base.of, base.version.place()));
    bases
}

/// What the commits were, none of them readable so far, and every version that was superseded, in the order in which
/// they were. There may be millions of commits, far apart in memory: nothing else here looks at them.
fn walk(commits: &[&PastCommit]) -> (Vec<HistoryPoint>, Vec<End>) {
    let mut newest: BTreeMap<PageNo, PageVersion> = BTreeMap::new();
    let (mut told, mut ends) = (Vec::with_capacity(commits.len()), Vec::new());
    for (at, commit) in commits.iter().enumerate() {
        let (head, page_count_min) = (commit.head(), commit.page_count_min());
        told.push(HistoryPoint {
            lsn: head.lsn,
            time_us: head.time_us,
            page_count: head.page_count,
            page_count_min,
            rolling_checksum: head.rolling_checksum,
            readable: false,
            follows: false,
        });
        let cut = page_count_min.checked_add(1).and_then(PageNo::new);
        if let Some(first_cut) = cut {
            let gone = newest.split_off(&first_cut).into_iter();
            ends.extend(gone.map(|(page, version)| End { at, page, version }));
        }
        for (page, version) in commit.pages() {
            let old = newest.insert(page, version);
            ends.extend(old.map(|version| End { at, page, version }));
        }
    }
    (told, ends)
}

/// The number of the oldest commit that is in the window and fits into it; `None` without a window.
fn window_from(
    commits: &[HistoryPoint],
    ends: &[End],
    page_size: PageSize,
    window: Option<Window>,
) -> Option<usize> {
    let window = window?;
    // The state at the start of the window is that of the newest commit until then.
    let until = commits.partition_point(|commit| commit.time_us <= window.since_us);
    let mut from = until.saturating_sub(1);
    // What is superseded by the commits behind `from` is kept. Ends stand in the order of commits.
    let pages_max = window.bytes / u64::from(page_size.get());
    let pages_max = usize::try_from(pages_max).unwrap_or(usize::MAX);
    let surplus = ends.len().saturating_sub(pages_max);
    if let Some(last_to_go) = surplus.checked_sub(1).and_then(|nth| ends.get(nth)) {
        from = from.max(last_to_go.at);
    }
    Some(from)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
