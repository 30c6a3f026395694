//! What one pass over the log gives: of each database the line of its commits, from its base on, as far
//! as it is unbroken.
//!
//! ```text
//! base -> commit -> commit -> ... -> last of the line | broken, or beyond what is wanted: counted as lost
//!           '--a fork was made of it: its base, once all is read--> commit -> ...
//! ```
//! Invariants
//! - a line has no commit whose parent is not in it;
//! - what stands behind the end of a line is counted, never added;
//! - what a fork was made of is read with it, whether or not that is wanted, and dropped or not.
//!
//! Never: reads an image, unless commits are to be proved one by one.

use super::super::origin::PinnedPages;
use super::super::reader::PageReader;
use super::super::replay::{add_commit, replay_catalogue};
use super::provable::Proof;
use super::source::{Base, Source};
use crate::catalogue::Catalogue;
use crate::error::{Damage, Place, Reject};
use crate::ids::{DbId, DbKind, Lsn};
use crate::log::format::EntryKind;
use crate::log::{
    LogHolds, ReplaySink, ReplayedCatalogue, ReplayedCommit, ReplayedLog, ReplayedMember,
};
use crate::recordlog::{Rebuild, RecordReader, replayed_item};
use crate::view::{BasePages, NoBase, Pins, View};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which databases a pass is about.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    AllBut(BTreeSet<DbId>),
    Only(BTreeSet<DbId>),
}

/// Commits that are known to have been, and are in no line.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Behind {
    pub(super) first: Option<Lsn>,
    pub(super) last: Option<Lsn>,
    pub(super) count: u64,
}

impl Behind {
    /// There is also this one, which is not a record that was met, or was met already.
    pub(super) fn name(&mut self, lsn: Lsn) {
        if self.first.is_none_or(|first| lsn < first) || self.last.is_none_or(|last| last < lsn) {
            self.first = Some(self.first.map_or(lsn, |first| first.min(lsn)));
            self.last = Some(self.last.map_or(lsn, |last| last.max(lsn)));
            self.count += 1;
        }
    }

    fn add(&mut self, lsn: Lsn) {
        // A record of several entries is named by each of them.
        if self.last == Some(lsn) {
            return;
        }
        self.first = Some(self.first.map_or(lsn, |first| first.min(lsn)));
        self.last = Some(self.last.map_or(lsn, |last| last.max(lsn)));
        self.count += 1;
    }
}

/// A database of pages.
pub(super) struct PagesLine {
    pub(super) view: View,
    pub(super) proof: Option<Proof>,
    /// Why the line ends before its records do.
    pub(super) stopped: Option<Damage>,
}

/// A record log.
#[derive(Default)]
pub(super) struct LogLine {
    pub(super) rebuild: Rebuild,
    /// When its newest record was appended.
    pub(super) time_us: u64,
    /// The newest record at which all entries were there and, if they were read, sound.
    pub(super) newest: Option<Lsn>,
    bad: BTreeMap<Lsn, (EntryKind, u64)>,
    pub(super) stopped: Option<Damage>,
}

/// Takes what recovery delivers.
pub(super) struct Lines<'a> {
    pub(super) source: &'a Source,
    pub(super) holds: Arc<LogHolds>,
    pub(super) catalogue: Catalogue,
    /// Whether records of the catalogue are applied, and databases that it does not know are taken up.
    pub(super) follow: bool,
    pub(super) wanted: Wanted,
    /// Those that forks among these were made of.
    pub(super) origins: BTreeSet<DbId>,
    /// In place of what the rows say.
    pub(super) bases: BTreeMap<DbId, Base>,
    /// No record behind is wanted.
    pub(super) upto: BTreeMap<DbId, Lsn>,
    /// Commits are proved one by one by these.
    pub(super) readers: Option<(PageReader, RecordReader)>,
    pub(super) pages: BTreeMap<DbId, PagesLine>,
    pub(super) logs: BTreeMap<DbId, LogLine>,
    pub(super) behind: BTreeMap<DbId, Behind>,
    /// What made, renamed or dropped them last is lost.
    pub(super) renamed: BTreeSet<DbId>,
}

impl ReplaySink for Lines<'_> {
    fn commit(&mut self, commit: ReplayedCommit) {
        for member in &commit.members {
            let id = member.database;
            if !self.is_wanted(id) && !self.origins.contains(&id) {
                continue;
            }
            if let Err(reason) = self.add(&commit, member) {
                let (segment, lsn) = (commit.segment, commit.lsn);
                let damage = Damage::new(Place::Log { segment, lsn }, reason);
                self.pages_line(id).stopped.get_or_insert(damage);
                self.behind.entry(id).or_default().add(lsn);
            }
        }
    }

    fn catalogue(&mut self, record: ReplayedCatalogue<'_>) {
        if !self.follow {
            return;
        }
        let (lsn, before) = (record.lsn, self.catalogue.last_lsn());
        for id in replay_catalogue(&mut self.catalogue, record)
            .into_iter()
            .flatten()
        {
            self.pages.remove(&id);
            self.logs.remove(&id);
            self.behind.remove(&id);
        }
        // Neither known before nor applied now.
        if before < lsn && self.catalogue.last_lsn() < lsn {
            self.behind.entry(DbId::CATALOGUE).or_default().add(lsn);
        }
    }

    fn log_record(&mut self, record: ReplayedLog<'_>) {
        let id = record.log.database;
        if !self.is_wanted(id) || !self.has_pages(id) {
            return;
        }
        let is_log = self.kind(id).is_none_or(|kind| kind == DbKind::Log);
        let beyond = self.is_beyond(id, record.lsn);
        let line = self.logs.entry(id).or_default();
        if beyond || line.stopped.is_some() {
            return self.behind.entry(id).or_default().add(record.lsn);
        }
        let applied = match is_log {
            true => line.rebuild.apply(&record),
            false => Err(Reject::Invalid("entries of a database of pages")),
        };
        match applied {
            Ok(()) => line.judge(&record, self.readers.as_ref().map(|(_, records)| records)),
            Err(reason) => {
                let (segment, lsn) = (record.segment, record.lsn);
                line.stopped = Some(Damage::new(Place::Log { segment, lsn }, reason));
                self.behind.entry(id).or_default().add(lsn);
            }
        }
    }

    fn undelivered(&mut self, database: DbId, lsn: Lsn) {
        let covered = match database {
            DbId::CATALOGUE => self.catalogue.last_lsn(),
            id => self.base_head(id),
        };
        let wanted = database == DbId::CATALOGUE && self.follow || self.is_wanted(database);
        if wanted && covered < lsn && self.has_pages(database) {
            self.behind.entry(database).or_default().add(lsn);
        }
    }

    fn renamed(&mut self, database: DbId) -> bool {
        self.renamed.insert(database);
        false
    }
}

impl Lines<'_> {
    /// The line of a database, without a commit if none was delivered.
    pub(super) fn take_pages(&mut self, id: DbId) -> PagesLine {
        self.pages
            .remove(&id)
            .unwrap_or_else(|| self.empty_line(id))
    }

    fn pages_line(&mut self, id: DbId) -> &mut PagesLine {
        let line = self.take_pages(id);
        self.pages.entry(id).or_insert(line)
    }

    fn empty_line(&self, id: DbId) -> PagesLine {
        let reader = self.readers.as_ref().map(|(pages, _)| pages);
        let view = self.base_view(id, reader);
        let proved = reader.filter(|_| self.is_wanted(id));
        PagesLine {
            proof: proved.map(|_| Proof::of_base(&view)),
            view,
            stopped: None,
        }
    }

    /// What a database stands on. Without a reader nothing is below a fork whose origin is in the log.
    fn base_view(&self, id: DbId, reader: Option<&PageReader>) -> View {
        let kind = self.kind(id).unwrap_or(DbKind::Raw);
        match self.bases.get(&id) {
            Some(Base::Proved(head, pages)) => View::new(id, kind, *head, Arc::clone(pages)),
            Some(Base::Own(_)) | None => {
                let in_log = |source, lsn| match reader {
                    Some(reader) => self.point(source, lsn, reader),
                    None => Some(Arc::new(NoBase) as Arc<dyn BasePages>),
                };
                self.source.own_view((id, kind), &self.catalogue, &in_log)
            }
        }
    }

    /// The pages of a state that is in the line of its database.
    fn point(&self, id: DbId, lsn: Lsn, reader: &PageReader) -> Option<Arc<dyn BasePages>> {
        let at = self.pages.get(&id)?.view.at(lsn);
        let view = at.filter(|view| view.head().lsn == lsn)?;
        let pin = Arc::<Pins>::default().pin(|| Arc::new(view));
        Some(Arc::new(PinnedPages::new(pin, reader.clone())))
    }

    /// All is read: puts what forks were made of below them. Origins are older than their forks, so whatever is
    /// below an origin is there by then.
    pub(super) fn put_origins(&mut self, reader: &PageReader) {
        let entries = self.catalogue.entries();
        let forks = entries.filter(|(_, entry)| entry.origin.is_some());
        let forks: BTreeSet<DbId> = forks.map(|(id, _)| id).collect();
        for id in forks {
            let is_read = self.is_wanted(id) || self.origins.contains(&id);
            if is_read && self.has_pages(id) {
                let base = Arc::clone(self.base_view(id, Some(reader)).base());
                let line = self.pages_line(id);
                line.view = line.view.rebased(base, 0);
            }
        }
    }

    fn add(&mut self, commit: &ReplayedCommit, member: &ReplayedMember) -> Result<(), Reject> {
        let id = member.database;
        if !self.has_pages(id) {
            return Ok(());
        }
        if self.kind(id) == Some(DbKind::Log) {
            return Err(Reject::Invalid("pages of a record log"));
        }
        let beyond = self.is_beyond(id, commit.lsn);
        let holds = Arc::clone(&self.holds);
        let reader = self.readers.as_ref().map(|(pages, _)| pages.clone());
        let line = self.pages_line(id);
        if commit.lsn <= line.view.head().lsn {
            return Ok(());
        }
        if beyond || line.stopped.is_some() {
            self.behind.entry(id).or_default().add(commit.lsn);
            return Ok(());
        }
        let page_size = line.view.head().page_size;
        if page_size.is_some_and(|size| size != member.page_size) {
            return Err(Reject::Invalid("a commit with another page size"));
        }
        if let Some(proof) = &mut line.proof {
            proof.before(&line.view, member);
        }
        add_commit(&mut line.view, commit, member, &holds);
        if let (Some(proof), Some(reader)) = (&mut line.proof, &reader) {
            proof.after(&line.view, member, reader);
        }
        Ok(())
    }

    /// Without looking for its pages.
    fn base_head(&self, id: DbId) -> Lsn {
        match self.bases.get(&id) {
            Some(base) => base.head().lsn,
            None => self.source.head(id, &self.catalogue).lsn,
        }
    }

    fn is_wanted(&self, id: DbId) -> bool {
        match &self.wanted {
            Wanted::AllBut(others) => !others.contains(&id) && (self.follow || self.is_known(id)),
            Wanted::Only(these) => these.contains(&id) || (self.follow && !self.is_known(id)),
        }
    }

    fn is_known(&self, id: DbId) -> bool {
        self.catalogue.entry(id).is_some() || self.bases.contains_key(&id)
    }

    /// Of one that the catalogue does not know, nobody can say that it was dropped, unless it knows
    /// younger ones.
    fn has_pages(&self, id: DbId) -> bool {
        match self.catalogue.entry(id) {
            Some(_) => self.catalogue.has_pages(id),
            None => id == DbId::CATALOGUE || self.catalogue.next_id() <= id,
        }
    }

    fn kind(&self, id: DbId) -> Option<DbKind> {
        self.catalogue.entry(id).map(|entry| entry.kind)
    }

    fn is_beyond(&self, id: DbId, lsn: Lsn) -> bool {
        self.upto.get(&id).is_some_and(|upto| *upto < lsn)
    }
}

/// The databases that forks among those that are wanted were made of, and what these were made of.
pub(super) fn origins_of(wanted: &Wanted, catalogue: &Catalogue) -> BTreeSet<DbId> {
    let mut origins = BTreeSet::new();
    // Of all but those that are closed most are wanted anyway. The closed ones need the log from elsewhere: a fork of
    // one of them is not saved at first, and the search for it reads both.
    let Wanted::Only(these) = wanted else {
        return origins;
    };
    let mut next: Vec<DbId> = these.iter().copied().collect();
    while let Some(id) = next.pop() {
        let origin = catalogue
            .entry(id)
            .and_then(|entry| entry.origin.as_deref());
        if let Some(origin) = origin.filter(|origin| origins.insert(origin.source)) {
            next.push(origin.source);
        }
    }
    origins
}

impl LogLine {
    fn judge(&mut self, record: &ReplayedLog<'_>, reader: Option<&RecordReader>) {
        self.time_us = record.time_us;
        if let Some(reader) = reader {
            for entry in &record.log.entries {
                let item = replayed_item(record.lsn, entry);
                let wanted = [(entry.kind, entry.index, item)];
                if reader.check(record.log.database, &wanted).is_err() {
                    self.bad.insert(item.place, (entry.kind, entry.index));
                }
            }
        }
        let rebuild = &self.rebuild;
        let stands =
            |place: &Lsn, (kind, index): &mut (_, u64)| rebuild.stands_at(*kind, *index, *place);
        self.bad.retain(stands);
        if self.bad.is_empty() && self.rebuild.is_complete() {
            self.newest = Some(record.lsn);
        }
    }
}
