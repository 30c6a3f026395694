//! The catalogue: which databases there are, as the log tells it.
//!
//! ```text
//!               plan_* (checks, changes nothing)          record durable in the log
//! caller ------------------------------> CatalogueChange -----------> apply
//! replay of the log ---------------------------------------------> replay -> apply
//!
//!                            ,----undrop----.
//!                            v              |
//! absent --create--> live (rename) --drop--> dropped --drop now--> tombstone --forget--> absent
//!                            '----------------drop now---------------^          (id never again)
//! ```
//! Of a dropped database the pages are kept, of a tombstone the id alone, unless forks and snapshots
//! need its pages (see `lineage`). A fork is another way to come into being.
//!
//! Live commits and replay go through the same [`Catalogue::apply`], so what a crash leaves is what
//! was there. A caller plans and applies under one lock: between the two nobody else applies.
//!
//! Invariants
//! - no two live databases have the same folded name;
//! - an id below `next_id` is never given out again;
//! - while the catalogue is damaged, no change is planned: a name given out now might be one that
//!   is lost.
//!
//! Never: does I/O, knows a page.

mod apply;
mod change;
mod follow;
mod lineage;
mod nearest;
mod plan;
mod plan_points;
mod rows;
mod section;
mod section_snapshots;

pub use crate::manifest::{DatabaseState, Policy, Retention};
pub use crate::name::DbName;
pub use crate::point::Point;
pub use change::CatalogueChange;
pub use lineage::Snapshot;
pub use plan_points::Restore;
pub use section::{
    CatalogueSection, SECTION_VERSION, SectionEntry, SectionHeader, decode_section, encode_delta,
    encode_section,
};
pub use section_snapshots::SectionSnapshot;

use crate::error::{CatalogueError, Damage, Reject};
use crate::ids::{DbId, DbKind, Lsn};
use lineage::Lineage;
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};

/// What the catalogue knows of a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name; of one that was dropped, the last one.
    pub name: DbName,
    /// Its kind.
    pub kind: DbKind,
    /// Whether it can be opened.
    pub state: DatabaseState,
    /// When it was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// The newest catalogue record about it.
    pub lsn: Lsn,
    /// What its owner has set for it.
    pub policy: Policy,
    /// What it started from, while it has pages; `None` of one that started empty.
    pub origin: Option<Box<Point>>,
}

/// What became of a record that was replayed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// It was applied; these have no pages from then on.
    Applied(BTreeSet<DbId>),
    /// The catalogue reflected it already.
    Known,
}

/// All databases of a store, by id and by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<DbId, Entry>,
    /// Live databases by folded name.
    by_name: HashMap<String, DbId>,
    /// Databases that can be brought back, by the record that dropped them.
    dropped: BTreeSet<(Lsn, DbId)>,
    lineage: Lineage,
    next_id: DbId,
    last_lsn: Lsn,
    damage: Option<Damage>,
}

impl PartialEq for Catalogue {
    /// Equal catalogues give equal answers; the index by name follows from the entries.
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
            && self.lineage == other.lineage
            && self.next_id == other.next_id
            && self.last_lsn == other.last_lsn
            && self.damage == other.damage
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalogue {
    /// Of a new store.
    pub fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_name: HashMap::new(),
            dropped: BTreeSet::new(),
            lineage: Lineage::default(),
            next_id: DbId::new(1),
            last_lsn: Lsn::ZERO,
            damage: None,
        }
    }

    /// The live database of a name, in whatever case and composition the name is given.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`]; [`CatalogueError::NotFound`] with the nearest name, or
    /// [`CatalogueError::Damaged`] when the name may be one that is lost.
    pub fn find(&self, name: &str) -> Result<DbId, CatalogueError> {
        self.find_kind(name).map(|(id, _)| id)
    }

    /// The same, and what the database is.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_kind(&self, name: &str) -> Result<(DbId, DbKind), CatalogueError> {
        let folded = parse(name)?.folded();
        let found = self.by_name.get(&folded);
        let found = found.and_then(|id| Some((*id, self.entries.get(id)?.kind)));
        found.ok_or_else(|| match &self.damage {
            // It may be among what is lost.
            Some(damage) => CatalogueError::Damaged(damage.clone()),
            None => CatalogueError::NotFound {
                name: name.to_owned(),
                nearest: self.nearest(name),
            },
        })
    }

    /// Whether a live database has that name. Costs less than to be told that none has.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`].
    pub fn has(&self, name: &str) -> Result<bool, CatalogueError> {
        Ok(self.by_name.contains_key(&parse(name)?.folded()))
    }

    /// A database, live or dropped.
    pub fn entry(&self, id: DbId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Whether a database can be opened.
    pub fn is_live(&self, id: DbId) -> bool {
        let entry = self.entry(id);
        entry.is_some_and(|entry| entry.state == DatabaseState::Live)
    }

    /// All databases, those that were dropped included, by id.
    pub fn entries(&self) -> impl Iterator<Item = (DbId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The live databases, by id.
    pub fn live(&self) -> impl Iterator<Item = (DbId, &Entry)> {
        self.live_from(DbId::default())
    }

    /// The same from that id on.
    pub fn live_from(&self, id: DbId) -> impl Iterator<Item = (DbId, &Entry)> {
        let entries = self.entries.range(id..).map(|(id, entry)| (*id, entry));
        entries.filter(|(_, entry)| entry.state == DatabaseState::Live)
    }

    /// How many databases are live.
    pub fn live_count(&self) -> usize {
        self.by_name.len()
    }

    /// The id of the next database.
    pub fn next_id(&self) -> DbId {
        self.next_id
    }

    /// The newest catalogue record that is applied: the parent of the next one.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The most similar name of a live database, when one is similar enough to be meant.
    pub fn nearest(&self, name: &str) -> Option<String> {
        let finished = self.live().filter(|(_, entry)| !entry.name.is_unfinished());
        nearest::nearest(name, finished.map(|(_, entry)| entry.name.as_str()))
    }

    /// Why no change is planned, if so.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Stops changes from now on: a part of the catalogue is lost. The first damage stays.
    pub fn set_damaged(&mut self, damage: Damage) {
        self.damage.get_or_insert(damage);
    }

    /// The databases that have no name yet.
    pub fn unfinished(&self) -> impl Iterator<Item = DbId> {
        self.live()
            .filter(|(_, entry)| entry.name.is_unfinished())
            .map(|(id, _)| id)
    }

    /// The databases that were dropped and have their pages still, in the order of their drops.
    pub fn dropped(&self) -> impl DoubleEndedIterator<Item = (DbId, &Entry)> {
        let entry = |(_, id): &(Lsn, DbId)| Some((*id, self.entries.get(id)?));
        self.dropped.iter().filter_map(entry)
    }

    /// Of the dropped databases that had that name last, the one that was dropped last.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotDropped`] or
    /// [`CatalogueError::Damaged`].
    pub fn find_dropped(&self, name: &str) -> Result<DbId, CatalogueError> {
        let folded = parse(name)?.folded();
        self.check_sound()?;
        let mut of_name = self.dropped().filter(|(_, e)| e.name.folded() == folded);
        let newest = of_name.next_back().map(|(id, _)| id);
        newest.ok_or_else(|| CatalogueError::NotDropped {
            name: name.to_owned(),
        })
    }

    /// Forgets a tombstone that nothing names any more; `false` when the id is not one, or has pages
    /// still.
    pub fn forget(&mut self, id: DbId) -> bool {
        !self.has_pages(id) && self.entries.remove(&id).is_some()
    }

    fn insert(&mut self, id: DbId, entry: Entry) -> Result<(), Reject> {
        self.index(id, &entry.name, entry.state, entry.lsn)?;
        if let Some(origin) = &entry.origin {
            self.lineage.add_origin(id, origin);
        }
        self.entries.insert(id, entry);
        Ok(())
    }

    /// Makes a database found by its name, or by its drop.
    fn index(
        &mut self,
        id: DbId,
        name: &DbName,
        state: DatabaseState,
        lsn: Lsn,
    ) -> Result<(), Reject> {
        match state {
            DatabaseState::Live => match self.by_name.entry(name.folded()) {
                hash_map::Entry::Occupied(_) => return Err(TWINS),
                hash_map::Entry::Vacant(free) => drop(free.insert(id)),
            },
            DatabaseState::Dropped { .. } => drop(self.dropped.insert((lsn, id))),
            DatabaseState::Tombstone { .. } => {}
        }
        Ok(())
    }
}

const NOT_THERE: Reject = Reject::Invalid("a change of a database that is not there");
const TWINS: Reject = Reject::Invalid("two live databases of one name");

/// A name that a user gives.
fn parse(name: &str) -> Result<DbName, CatalogueError> {
    DbName::given(name).map_err(|reason| CatalogueError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}
