//! The states of a database before its newest one that are needed still, as its chunks prove them.
//!
//! ```text
//! newest --history--> before --history--> before        as far as histories lead back: the window
//! point p:  the newest state until p [, the one behind p, and the history of the interval between]
//! ```
//! Invariants
//! - an older state is proved as the newest one is, or nothing is told of it;
//! - a history is told only where both ends of its interval are;
//! - of what was found only that stays which somebody reads: a window, a snapshot, or a fork.
//!
//! Never: reads a page; writes.

use super::chains::Stand;
use super::chunks::FoundSection;
use super::judge::{Case, Judge, Verdict};
use crate::ids::{DbId, Generation, Lsn};
use crate::io::IoFailure;
use crate::manifest::{CheckpointedHead, HistoryLink, Needs, RangeKey, RangeRow};
use crate::pagestore::SectionKind;
use std::collections::{BTreeMap, BTreeSet};

/// How far it was walked back.
struct Walk {
    /// The state that was found last.
    newer: Option<Stand>,
    /// By range, the row that it reads.
    read: BTreeMap<u32, usize>,
    /// Where the histories lead to, without a gap from the newest state on.
    leads_to: Option<Lsn>,
    /// Where they led so far.
    window_from: Option<Lsn>,
}

impl Judge<'_> {
    /// What is needed of a database that is gone itself.
    pub(super) fn past(&self, case: &Case<'_>) -> Result<Verdict, IoFailure> {
        let (head, page_size) = self.last_head(case.id);
        let mut verdict = Verdict {
            head,
            page_size,
            ..Verdict::without(None)
        };
        self.add_past(case, &mut verdict)?;
        // Its row shows the newest generation, if that is there.
        let newest = verdict.generations.first();
        if let Some((generation, row)) = newest.filter(|(one, _)| *one == head.generation) {
            verdict.page_size = row.page_size;
            verdict.head = CheckpointedHead {
                generation: *generation,
                lsn: row.lsn,
                time_us: row.time_us,
                page_count: row.page_count,
                rolling_checksum: row.rolling_checksum,
            };
        }
        Ok(verdict)
    }

    /// The states before the newest one.
    pub(super) fn add_past(&self, case: &Case<'_>, verdict: &mut Verdict) -> Result<(), IoFailure> {
        let head = Stand {
            generation: verdict.head.generation,
            cut: verdict.head.lsn,
        };
        let rows = verdict.ranges.iter().enumerate();
        let newest = case.newest.then_some(head);
        let history = newest.and_then(|stand| self.history(case.id, stand));
        let mut walk = Walk {
            newer: newest,
            read: rows.map(|(nth, (key, _))| (key.range, nth)).collect(),
            leads_to: history.map(|history| history.meta.since),
            window_from: None,
        };
        let stands = self.stands(case.id).into_iter().rev();
        let stands = stands.filter(|stand| !case.newest || stand.generation < head.generation);
        let mut by_generation: BTreeMap<Generation, Vec<Stand>> = BTreeMap::new();
        for stand in stands {
            by_generation
                .entry(stand.generation)
                .or_default()
                .push(stand);
        }
        let cut = |stands: &Vec<Stand>| stands.first().map_or(Lsn::ZERO, |stand| stand.cut);
        let mut behind = newest.map(|stand| stand.cut);
        for (generation, stands) in by_generation.iter().rev() {
            let older = by_generation.range(..*generation).next_back();
            let older = older.map_or(Lsn::ZERO, |(_, stands)| cut(stands));
            let mut points = case.points.keys();
            let has_point =
                points.any(|point| older < *point && behind.is_none_or(|behind| *point < behind));
            let is_led_to = |stand: &Stand| walk.leads_to == Some(stand.cut);
            if has_point || stands.iter().any(is_led_to) {
                self.add_one(case, stands, &mut walk, verdict)?;
            }
            behind = Some(cut(stands));
        }
        self.begin(case, &mut walk, verdict);
        prune(case, walk.window_from, verdict);
        Ok(())
    }

    /// Adds the state of one generation, if any of those that chunks name is proved.
    fn add_one(
        &self,
        case: &Case<'_>,
        stands: &[Stand],
        walk: &mut Walk,
        verdict: &mut Verdict,
    ) -> Result<(), IoFailure> {
        let history = walk.newer.and_then(|newer| self.history(case.id, newer));
        let since = history.map(|history| history.meta.since);
        // One that the history was written for was published.
        let led = stands.iter().filter(|stand| since == Some(stand.cut));
        let others = stands.iter().filter(|stand| since != Some(stand.cut));
        for stand in led.chain(others) {
            if walk.newer.is_some_and(|newer| newer.cut < stand.cut) {
                continue;
            }
            let found = self.put_together(case, *stand)?;
            if found.closed.is_some() {
                continue;
            }
            let follows = walk.newer.and_then(|newer| {
                let next = stand.generation.next() == Some(newer.generation);
                history.filter(|_| next && since == Some(stand.cut))
            });
            if let Some(history) = follows {
                attach(verdict, history);
            }
            let is_window = follows.is_some() && walk.leads_to == Some(stand.cut);
            let own = self.history(case.id, *stand);
            walk.leads_to = own.filter(|_| is_window).map(|history| history.meta.since);
            if is_window {
                walk.window_from = Some(stand.cut);
            }
            let generation = walk.newer.map(|newer| newer.generation);
            walk.read = add_ranges(&mut verdict.ranges, &walk.read, generation, found.ranges);
            verdict.generations.extend(found.generations);
            walk.newer = Some(*stand);
            return Ok(());
        }
        Ok(())
    }

    /// The history from the beginning on.
    fn begin(&self, case: &Case<'_>, walk: &mut Walk, verdict: &mut Verdict) {
        let first = walk.newer.filter(|stand| stand.generation.get() == 1);
        let history = first.and_then(|stand| self.history(case.id, stand));
        if let Some(history) = history.filter(|history| history.meta.since == Lsn::ZERO) {
            attach(verdict, history);
            if walk.leads_to == Some(Lsn::ZERO) {
                walk.window_from = Some(Lsn::ZERO);
            }
        }
    }

    /// The history of the interval that a state ends, if it is there.
    pub(super) fn history(&self, id: DbId, stand: Stand) -> Option<&FoundSection> {
        let own = self.sections(id).iter();
        let mut own = own.filter(|one| one.meta.kind == SectionKind::History && !one.lost);
        own.find(|one| Stand::of(one) == stand)
    }
}

/// The history of the interval that the state ends that was found last.
fn attach(verdict: &mut Verdict, history: &FoundSection) {
    if let Some((_, row)) = verdict.generations.last_mut() {
        row.history = Some(HistoryLink {
            chunk: history.chunk,
            section: history.index,
            bytes: history.bytes,
        });
    }
}

/// Adds the rows of an older state than the one of generation `newer`, which reads those that `read` names
/// by range. The answer is the same for the older one.
fn add_ranges(
    rows: &mut Vec<(RangeKey, RangeRow)>,
    read: &BTreeMap<u32, usize>,
    newer: Option<Generation>,
    older: Vec<(RangeKey, RangeRow)>,
) -> BTreeMap<u32, usize> {
    let mut own = BTreeMap::new();
    for (key, row) in older {
        let behind = read.get(&key.range).copied();
        let same = behind.filter(|nth| rows[*nth].1 == row);
        if let Some(nth) = same {
            rows[nth].0 = key;
            own.insert(key.range, nth);
            continue;
        }
        if let (None, Some(generation)) = (behind, newer) {
            // Nothing is left of it later: it must not be read there.
            let hidden = (RangeKey { generation, ..key }, row.cut_to(0));
            rows.push(hidden);
        }
        own.insert(key.range, rows.len());
        rows.push((key, row));
    }
    own
}

/// Takes away what nobody reads.
fn prune(case: &Case<'_>, window_from: Option<Lsn>, verdict: &mut Verdict) {
    let generations = verdict.generations.iter().rev();
    let generations: Vec<(Generation, Lsn)> = generations
        .map(|(generation, row)| (*generation, row.lsn))
        .collect();
    let points: Vec<Lsn> = case.points.keys().copied().collect();
    let needs = Needs {
        generations: &generations,
        points: &points,
        window_from,
        newest: case.newest,
    };
    verdict.ranges.sort_unstable_by_key(|(key, _)| *key);
    let garbage = needs.garbage(verdict.ranges.iter().map(|(key, _)| *key));
    let unread: BTreeSet<RangeKey> = garbage.ranges.into_iter().collect();
    verdict.ranges.retain(|(key, _)| !unread.contains(key));
    let gone = garbage.generations;
    verdict.generations.retain(|(one, _)| !gone.contains(one));
    for (generation, row) in &mut verdict.generations {
        if garbage.histories.contains(generation) {
            row.history = None;
        }
    }
    // A row without links is there to hide an older one.
    let mut oldest = BTreeMap::new();
    for (key, row) in &verdict.ranges {
        oldest.insert(key.range, (*key, row.links().is_empty()));
    }
    let hides = |key: &RangeKey| oldest.get(&key.range) != Some(&(*key, true));
    verdict.ranges.retain(|(key, _)| hides(key));
}
