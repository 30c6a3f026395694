//! What there is of a store: each database, how far its line goes, and why it may end early.
//!
//! ```text
//! the catalogue is closed? its part of the log first, with the databases that only that tells of
//!   -> the log from where it was truncated, for all that are not closed
//!   -> for those that are closed, the log from where each needs it, set aside or not
//! ```
//! Never: reads a page.

use super::super::reader::PageReader;
use super::lines::{Behind, LogLine, PagesLine, Wanted};
use super::pass::{Pass, Passed};
use super::source::{Base, Source};
use crate::catalogue::{Catalogue, DatabaseState};
use crate::error::{Damage, OpenError};
use crate::ids::{DbId, DbKind, Lsn};
use crate::name::DbName;
use crate::recordlog::RecordReader;
use std::collections::{BTreeMap, BTreeSet};

/// What a database consists of.
pub(super) enum Line {
    Pages(PagesLine, PageReader),
    Log(LogLine, RecordReader),
}

/// One database of the store.
pub(super) struct Surveyed {
    pub(super) id: DbId,
    pub(super) name: String,
    /// Its own name is lost.
    pub(super) nameless: bool,
    /// `None` when that is lost with the name, and it has pages.
    pub(super) kind: Option<DbKind>,
    pub(super) line: Line,
    /// From where on it needs the log.
    pub(super) from: Lsn,
    pub(super) damage: Option<Damage>,
    pub(super) behind: Behind,
}

/// The store, looked at.
pub(super) struct Survey {
    pub(super) catalogue: Catalogue,
    pub(super) catalogue_damage: Option<Damage>,
    pub(super) catalogue_behind: Behind,
    /// What made, renamed or dropped them last is lost.
    renamed: BTreeSet<DbId>,
    pub(super) databases: Vec<Surveyed>,
}

impl Survey {
    /// # Errors
    /// As for [`Source::pass`].
    pub(super) fn make(source: &Source) -> Result<Self, OpenError> {
        let closed = source.closed();
        let nameless = nameless_bases(source, closed.contains_key(&DbId::CATALOGUE))?;
        let mut survey = Self {
            catalogue: source.catalogue.clone(),
            catalogue_damage: closed
                .get(&DbId::CATALOGUE)
                .map(|(damage, _)| damage.clone()),
            catalogue_behind: Behind::default(),
            renamed: BTreeSet::new(),
            databases: Vec::new(),
        };
        let mut groups: BTreeMap<Lsn, BTreeSet<DbId>> = BTreeMap::new();
        for (id, (_, from)) in &closed {
            groups.entry(*from).or_default().insert(*id);
        }
        let of_catalogue = closed.get(&DbId::CATALOGUE).map(|(_, from)| *from);
        if let Some((from, ids)) = of_catalogue.and_then(|from| groups.remove_entry(&from)) {
            let mut pass = Pass::over(from, Wanted::Only(ids), survey.catalogue.clone());
            (pass.follow, pass.bases) = (true, nameless);
            survey.add(source, pass)?;
        }
        let others = Wanted::AllBut(closed.keys().copied().collect());
        let truncated = source.rows.watermarks().truncated;
        let mut pass = Pass::over(truncated, others, survey.catalogue.clone());
        (pass.follow, pass.aside) = (of_catalogue.is_none(), false);
        survey.add(source, pass)?;
        for (from, ids) in groups {
            let pass = Pass::over(from, Wanted::Only(ids), survey.catalogue.clone());
            survey.add(source, pass)?;
        }
        for one in &mut survey.databases {
            if let Some((damage, _)) = closed.get(&one.id) {
                one.damage = Some(damage.clone());
            }
            if survey.renamed.contains(&one.id) {
                one.damage = one.damage.take().or(survey.catalogue_damage.clone());
            }
        }
        survey.databases.sort_by_key(|one| one.id);
        Ok(survey)
    }

    fn add(&mut self, source: &Source, pass: Pass) -> Result<(), OpenError> {
        let (from, follow) = (pass.from, pass.follow);
        let mut passed = source.pass(pass)?;
        if follow {
            self.catalogue = passed.lines.catalogue.clone();
            let found = passed.damaged.get(&DbId::CATALOGUE);
            let found = found.or_else(|| self.catalogue.damage()).cloned();
            self.catalogue_damage = self.catalogue_damage.take().or(found);
            let behind = passed.lines.behind.get(&DbId::CATALOGUE);
            self.catalogue_behind = behind.copied().unwrap_or_default();
            self.renamed = std::mem::take(&mut passed.lines.renamed);
        }
        for id in ids_of(&passed, follow) {
            let entry = passed.lines.catalogue.entry(id);
            if entry.is_some_and(|entry| entry.name.is_unfinished()) {
                continue;
            }
            let (name, kind) = (entry.map(|entry| entry.name.clone()), entry.map(|e| e.kind));
            self.databases
                .push(surveyed(id, name, kind, from, &mut passed));
        }
        Ok(())
    }
}

/// The databases that a pass was about: those that are live, dropped ones not though they could be
/// brought back, and those that only their records tell of.
fn ids_of(passed: &Passed<'_>, follow: bool) -> BTreeSet<DbId> {
    let lines = &passed.lines;
    let wanted = |id: &DbId| match &lines.wanted {
        Wanted::AllBut(others) => !others.contains(id),
        Wanted::Only(these) => these.contains(id),
    };
    let live = lines.catalogue.entries();
    let live = live.filter(|(_, entry)| entry.state == DatabaseState::Live);
    let mut ids: BTreeSet<DbId> = live.map(|(id, _)| id).filter(wanted).collect();
    if follow {
        let told = lines.pages.keys().chain(lines.logs.keys());
        let told = told.chain(lines.bases.keys()).chain(lines.behind.keys());
        let told = told.filter(|id| lines.catalogue.entry(**id).is_none());
        ids.extend(told.filter(|id| **id != DbId::CATALOGUE).copied());
    }
    ids
}

fn surveyed(
    id: DbId,
    name: Option<DbName>,
    kind: Option<DbKind>,
    from: Lsn,
    passed: &mut Passed<'_>,
) -> Surveyed {
    let is_log = match kind {
        Some(kind) => kind == DbKind::Log,
        None => passed.lines.logs.contains_key(&id),
    };
    let behind = passed.lines.behind.get(&id).copied().unwrap_or_default();
    let found = passed.damaged.get(&id).cloned();
    let (line, stopped) = if is_log {
        let line = passed.lines.logs.remove(&id).unwrap_or_default();
        let stopped = line.stopped.clone();
        (Line::Log(line, passed.records.clone()), stopped)
    } else {
        let line = passed.lines.take_pages(id);
        let stopped = line.stopped.clone();
        (Line::Pages(line, passed.pages.clone()), stopped)
    };
    Surveyed {
        id,
        nameless: name.is_none(),
        name: name.map_or_else(|| format!("lost-{id}"), |name| name.to_string()),
        kind: if is_log { Some(DbKind::Log) } else { kind },
        line,
        from,
        damage: found.or(stopped),
        behind,
    }
}

/// Databases that chunks know and the catalogue does not, when it is known to be incomplete: younger
/// than all that it knows, since an older one that it does not know was dropped.
fn nameless_bases(source: &Source, lost: bool) -> Result<BTreeMap<DbId, Base>, OpenError> {
    if !lost || source.manifest_damage.is_none() {
        return Ok(BTreeMap::new());
    }
    let evidence = source.evidence()?;
    let known = &source.catalogue;
    let mut bases = BTreeMap::new();
    for id in evidence.databases().filter(|id| known.next_id() <= *id) {
        let newest = evidence.states(id)?.into_iter().next();
        bases.insert(
            id,
            newest.map_or_else(Base::none, |state| source.base_of(state)),
        );
    }
    Ok(bases)
}
