//! Saving the databases that were surveyed, one after the other, and telling what became of each.
//!
//! ```text
//! line --its end is proved while it is copied--> saved
//!   '-- it is not --> (all that are left, together) searched --found--> saved at an older commit
//!                                                      '-----------> not saved
//! ```
//! Invariant: a database is called whole only if it was saved at the end of its line, nothing is known
//! behind that, and nothing hints at damage.

use super::super::manager::Manager;
use super::super::reader::PageReader;
use super::copy::{Copying, Stopped, kind_of};
use super::lines::{Behind, LogLine};
use super::report::{SalvageLoss, SalvagedDatabase};
use super::search::{search_pages, search_records};
use super::source::Source;
use super::survey::{Line, Surveyed};
use crate::catalogue::Catalogue;
use crate::checksum::RollingChecksum;
use crate::error::{Damage, Place, SalvageError};
use crate::ids::{DbId, DbKind, Lsn};
use crate::recordlog::{Change, RecordReader};
use crate::view::View;
use std::collections::{BTreeMap, BTreeSet};

/// Saves databases of one store into another.
pub(super) struct Saving<'a> {
    source: &'a Source,
    catalogue: &'a Catalogue,
    copying: Copying<'a>,
}

/// A state that was saved.
#[derive(Copy, Clone)]
struct State {
    head: Lsn,
    time_us: u64,
    size: u64,
    rolling_checksum: RollingChecksum,
    /// Entries from here on were left out.
    cut: Option<u64>,
}

/// What became of one database.
struct Fate {
    id: DbId,
    name: String,
    nameless: bool,
    kind: Option<DbKind>,
    from: Lsn,
    /// What is known to be wrong with it, whatever can be read.
    damage: Option<Damage>,
    /// What could not be read when it was copied.
    unread: Option<Damage>,
    behind: Behind,
    /// Where its line ends.
    reached: Lsn,
    saved: Option<State>,
}

impl<'a> Saving<'a> {
    pub(super) fn into(store: &'a Manager, source: &'a Source, catalogue: &'a Catalogue) -> Self {
        Self {
            source,
            catalogue,
            copying: Copying::into(store, &source.limits),
        }
    }

    /// # Errors
    /// The new store does not take it; the damaged one cannot be read for reasons other than its bytes.
    pub(super) fn all(
        &self,
        databases: Vec<Surveyed>,
    ) -> Result<Vec<SalvagedDatabase>, SalvageError> {
        let mut fates = Vec::with_capacity(databases.len());
        for surveyed in databases {
            fates.push(self.line(surveyed)?);
        }
        self.search(&mut fates)?;
        for fate in fates.iter().filter(|fate| fate.saved.is_some()) {
            if let Some(entry) = self.catalogue.entry(fate.id) {
                self.copying.set_policy(&fate.name, &entry.policy)?;
            }
        }
        let told = fates.into_iter().map(|fate| self.told(fate));
        Ok(told.collect())
    }

    /// Copies what the database's line ends with.
    fn line(&self, surveyed: Surveyed) -> Result<Fate, SalvageError> {
        let Surveyed {
            id,
            name,
            nameless,
            kind,
            line,
            from,
            damage,
            behind,
        } = surveyed;
        let mut fate = Fate {
            id,
            name,
            nameless,
            kind,
            from,
            damage,
            unread: None,
            behind,
            reached: Lsn::ZERO,
            saved: None,
        };
        let saved = match line {
            Line::Pages(line, reader) => {
                fate.reached = line.view.head().lsn;
                self.view(&mut fate, &line.view, &reader)
            }
            Line::Log(line, reader) => {
                fate.reached = line.rebuild.head();
                self.log(&fate, (&line, None), &reader)
            }
        };
        fate.settle(saved)?;
        Ok(fate)
    }

    /// Looks for older states of those that were not saved, and saves these.
    fn search(&self, fates: &mut [Fate]) -> Result<(), SalvageError> {
        let closed = self.source.closed();
        let (mut pages, mut records) = (BTreeSet::new(), BTreeMap::new());
        for fate in fates.iter().filter(|fate| fate.saved.is_none()) {
            if fate.kind == Some(DbKind::Log) {
                records.insert(fate.id, (fate.from, closed.contains_key(&fate.id)));
            } else {
                pages.insert(fate.id);
            }
        }
        if pages.is_empty() && records.is_empty() {
            return Ok(());
        }
        let mut pages = search_pages(self.source, self.catalogue, &pages)?;
        let mut records = search_records(self.source, self.catalogue, &records)?;
        for fate in fates.iter_mut().filter(|fate| fate.saved.is_none()) {
            if let Some(found) = pages.remove(&fate.id) {
                fate.behind = found.behind;
                let saved = self.view(fate, &found.view, &found.reader);
                fate.settle(saved)?;
            } else if let Some(found) = records.remove(&fate.id) {
                fate.behind = found.behind;
                let saved = self.log(fate, (&found.line, found.cut), &found.reader);
                fate.settle(saved)?;
            }
        }
        Ok(())
    }

    fn view(
        &self,
        fate: &mut Fate,
        view: &View,
        reader: &PageReader,
    ) -> Result<Option<State>, Stopped> {
        let head = view.head();
        // A fork without a commit is what it was made of.
        if head.lsn == Lsn::ZERO && head.page_count == 0 && fate.had_commits() {
            return Ok(None);
        }
        let kind = *fate.kind.get_or_insert_with(|| kind_of(view, reader));
        self.copying.pages((&fate.name, kind), view, reader)?;
        Ok(Some(State {
            head: head.lsn,
            time_us: head.time_us,
            size: head.page_count.into(),
            rolling_checksum: head.rolling_checksum,
            cut: None,
        }))
    }

    fn log(
        &self,
        fate: &Fate,
        (line, cut): (&LogLine, Option<u64>),
        reader: &RecordReader,
    ) -> Result<Option<State>, Stopped> {
        let head = line.rebuild.head();
        // One that stopped may have taken in a part of what stopped it.
        if (head == Lsn::ZERO && fate.had_commits()) || line.stopped.is_some() {
            return Ok(None);
        }
        let database = fate.id;
        let mut index = line.rebuild.clone().finish().map_err(|reason| {
            Stopped::Damaged(Damage::new(Place::Database { database }, reason))
        })?;
        if let Some(next) = cut {
            index.apply(&Change::Truncate { next }, head);
        }
        self.copying.log(&fate.name, (database, &index), reader)?;
        Ok(Some(State {
            head,
            time_us: line.time_us,
            size: index.len() as u64,
            rolling_checksum: RollingChecksum::EMPTY,
            cut,
        }))
    }

    fn told(&self, fate: Fate) -> SalvagedDatabase {
        let mut behind = fate.behind;
        let head = fate.saved.map_or(Lsn::ZERO, |state| state.head);
        // A commit that nothing but the manifest or chunks name.
        let row = self.source.rows.database(fate.id);
        let named = row.map(|row| row.checkpointed.lsn);
        if let Some(named) = named.filter(|named| head < *named) {
            behind.name(named);
        }
        if head < fate.reached {
            behind.name(fate.reached);
        }
        let cut = fate.saved.and_then(|state| state.cut);
        let is_short =
            fate.saved.is_none() || cut.is_some() || head < fate.reached || 0 < behind.count;
        let unread = fate.unread.filter(|_| is_short);
        SalvagedDatabase {
            id: fate.id,
            name: fate.name,
            nameless: fate.nameless,
            kind: fate.kind.unwrap_or(DbKind::Raw),
            saved: fate.saved.is_some(),
            head,
            time_us: fate.saved.map_or(0, |state| state.time_us),
            size: fate.saved.map_or(0, |state| state.size),
            rolling_checksum: fate
                .saved
                .map_or(RollingChecksum::EMPTY, |state| state.rolling_checksum),
            lost: fate.damage.or(unread).map(|damage| SalvageLoss {
                entries_from: cut,
                ..loss(damage, behind)
            }),
        }
    }
}

impl Fate {
    /// Whether it is known to have been more than made.
    fn had_commits(&self) -> bool {
        0 < self.behind.count || self.nameless
    }

    fn settle(&mut self, saved: Result<Option<State>, Stopped>) -> Result<(), SalvageError> {
        match saved {
            Ok(saved) => self.saved = saved,
            Err(Stopped::Target(error)) => return Err(error),
            Err(Stopped::Damaged(damage)) => drop(self.unread.get_or_insert(damage)),
        }
        Ok(())
    }
}

/// What was lost, for the report.
pub(super) fn loss(damage: Damage, behind: Behind) -> SalvageLoss {
    SalvageLoss {
        damage,
        first: behind.first,
        last: behind.last,
        commits: behind.count,
        entries_from: None,
    }
}
