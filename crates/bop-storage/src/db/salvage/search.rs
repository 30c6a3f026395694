//! The last commit that can be proved, of databases whose newest state cannot.
//!
//! ```text
//! bases of a database: the one of its rows, older ones that chunks prove, none at all
//!   for each: the log from there, commit by commit, every image read -> the newest provable one
//! the best of them -> once more up to there -> the view that is copied
//! ```
//! Invariant: a state is answered only with the commit that it is the state of.
//!
//! Never: gives up a newer provable commit for an older one.

use super::super::reader::PageReader;
use super::lines::{Behind, LogLine, Wanted};
use super::pass::Pass;
use super::source::{Base, Source};
use crate::catalogue::Catalogue;
use crate::error::OpenError;
use crate::ids::{DbId, Lsn};
use crate::log::format::EntryKind;
use crate::recordlog::RecordReader;
use crate::view::{Head, View};
use std::collections::{BTreeMap, BTreeSet};

/// What was found of a database of pages.
pub(super) struct FoundPages {
    pub(super) view: View,
    pub(super) reader: PageReader,
    pub(super) behind: Behind,
}

/// What was found of a record log.
pub(super) struct FoundRecords {
    pub(super) line: LogLine,
    /// Entries from here on are left out: no state that it had is whole, but the newest is up to here.
    pub(super) cut: Option<u64>,
    pub(super) reader: RecordReader,
    pub(super) behind: Behind,
}

/// Finds the last provable commits of these databases. Those that have none are left out.
///
/// # Errors
/// As for [`Source::pass`].
pub(super) fn search_pages(
    source: &Source,
    catalogue: &Catalogue,
    ids: &BTreeSet<DbId>,
) -> Result<BTreeMap<DbId, FoundPages>, OpenError> {
    let from = source.oldest();
    let pass = |ids: BTreeSet<DbId>| Pass::over(from, Wanted::Only(ids), catalogue.clone());
    let mut bases = bases_of(source, catalogue, ids)?;
    let mut best: BTreeMap<DbId, (Lsn, Base)> = BTreeMap::new();
    loop {
        let round: BTreeMap<DbId, Base> = bases
            .iter_mut()
            .filter_map(|(id, bases)| Some((*id, bases.pop()?)))
            .collect();
        if round.is_empty() {
            break;
        }
        let mut pass = pass(round.keys().copied().collect());
        (pass.bases, pass.prove) = (round.clone(), true);
        let mut passed = source.pass(pass)?;
        for (id, base) in round {
            let proof = passed.lines.take_pages(id).proof;
            let Some(newest) = proof.and_then(|proof| proof.newest()) else {
                continue;
            };
            let better = best.get(&id).is_none_or(|(before, _)| *before < newest);
            // Without a commit there is nothing to save, but of a fork what it was made of.
            if better && (Lsn::ZERO < newest || 0 < base.head().page_count) {
                best.insert(id, (newest, base));
            }
        }
    }
    let mut last = pass(best.keys().copied().collect());
    last.upto = best.iter().map(|(id, (lsn, _))| (*id, *lsn)).collect();
    last.bases = best
        .iter()
        .map(|(id, (_, base))| (*id, base.clone()))
        .collect();
    let mut passed = source.pass(last)?;
    let found = best.into_keys().map(|id| {
        let found = FoundPages {
            view: passed.lines.take_pages(id).view,
            reader: passed.pages.clone(),
            behind: passed.lines.behind.get(&id).copied().unwrap_or_default(),
        };
        (id, found)
    });
    Ok(found.collect())
}

/// The same for record logs, of which each needs the log from somewhere else. What was relocated has no
/// older states any more: where none is whole, the newest is taken up to the first entry that cannot be read.
///
/// # Errors
/// As for [`Source::pass`].
pub(super) fn search_records(
    source: &Source,
    catalogue: &Catalogue,
    ids: &BTreeMap<DbId, (Lsn, bool)>,
) -> Result<BTreeMap<DbId, FoundRecords>, OpenError> {
    let mut groups: BTreeMap<(Lsn, bool), BTreeSet<DbId>> = BTreeMap::new();
    for (id, needs) in ids {
        groups.entry(*needs).or_default().insert(*id);
    }
    let mut found = BTreeMap::new();
    for ((from, aside), ids) in groups {
        let mut pass = Pass::over(from, Wanted::Only(ids.clone()), catalogue.clone());
        (pass.aside, pass.prove) = (aside, true);
        let passed = source.pass(pass)?;
        let logs = passed.lines.logs.iter();
        let upto: BTreeMap<DbId, Lsn> = logs
            .filter_map(|(id, line)| Some((*id, line.newest?)))
            .collect();
        let mut pass = Pass::over(from, Wanted::Only(ids.clone()), catalogue.clone());
        (pass.aside, pass.upto) = (aside, upto.clone());
        let mut passed = source.pass(pass)?;
        for id in ids {
            let line = passed.lines.logs.remove(&id).unwrap_or_default();
            let cut = cut_of(id, &line, &passed.records);
            if !upto.contains_key(&id) && cut.is_none() {
                continue;
            }
            let one = FoundRecords {
                line,
                cut: cut.filter(|_| !upto.contains_key(&id)),
                reader: passed.records.clone(),
                behind: passed.lines.behind.get(&id).copied().unwrap_or_default(),
            };
            found.insert(id, one);
        }
    }
    Ok(found)
}

/// The first entry that cannot be read, of a log whose hard state can be, if there are some before it.
fn cut_of(id: DbId, line: &LogLine, reader: &RecordReader) -> Option<u64> {
    if line.stopped.is_some() {
        return None;
    }
    let index = line.rebuild.clone().finish().ok()?;
    let vote = index.vote().map(|item| (EntryKind::Vote, 0, item));
    reader.check(id, vote.as_slice()).ok()?;
    let bounds = index.bounds();
    let unreadable = |at: &u64| {
        let entry = index.item(*at).map(|item| (EntryKind::Entry, *at, item));
        reader.check(id, entry.as_slice()).is_err()
    };
    let first = (bounds.first..bounds.next).find(unreadable);
    first.filter(|cut| bounds.first < *cut)
}

/// What each database may stand on, the best last.
fn bases_of(
    source: &Source,
    catalogue: &Catalogue,
    ids: &BTreeSet<DbId>,
) -> Result<BTreeMap<DbId, Vec<Base>>, OpenError> {
    let mut bases = BTreeMap::new();
    if ids.is_empty() {
        return Ok(bases);
    }
    let evidence = source.evidence()?;
    for id in ids {
        let own = source.head(*id, catalogue);
        let mut all = vec![Base::none()];
        for state in evidence.states(*id)?.into_iter().rev() {
            let base = source.base_of(state);
            if base.head().lsn != own.lsn {
                all.push(base);
            }
        }
        if own != Head::EMPTY {
            all.push(Base::Own(own));
        }
        bases.insert(*id, all);
    }
    Ok(bases)
}
