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
use crate::recordlog::RecordReader;
use crate::view::View;
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
    let mut bases = bases_of(source, ids)?;
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
            // Without a commit there is nothing to save.
            if better && Lsn::ZERO < newest {
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

/// The same for record logs, of which each needs the log from somewhere else.
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
        let ids: BTreeSet<DbId> = upto.keys().copied().collect();
        let mut pass = Pass::over(from, Wanted::Only(ids.clone()), catalogue.clone());
        (pass.aside, pass.upto) = (aside, upto);
        let mut passed = source.pass(pass)?;
        for id in ids {
            let one = FoundRecords {
                line: passed.lines.logs.remove(&id).unwrap_or_default(),
                reader: passed.records.clone(),
                behind: passed.lines.behind.get(&id).copied().unwrap_or_default(),
            };
            found.insert(id, one);
        }
    }
    Ok(found)
}

/// What each database may stand on, the best last.
fn bases_of(source: &Source, ids: &BTreeSet<DbId>) -> Result<BTreeMap<DbId, Vec<Base>>, OpenError> {
    let mut bases = BTreeMap::new();
    if ids.is_empty() {
        return Ok(bases);
    }
    let evidence = source.evidence()?;
    for id in ids {
        let own = source.base(*id);
        let mut all = vec![Base::none()];
        for state in evidence.states(*id)?.into_iter().rev() {
            let base = source.base_of(state);
            if base.head.lsn != own.head.lsn {
                all.push(base);
            }
        }
        if Lsn::ZERO < own.head.lsn {
            all.push(own);
        }
        bases.insert(*id, all);
    }
    Ok(bases)
}
