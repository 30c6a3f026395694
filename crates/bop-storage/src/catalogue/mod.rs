//! The catalogue: which databases there are, as the log tells it.
//!
//! ```text
//!               plan_* (checks, changes nothing)          record durable in the log
//! caller ------------------------------> CatalogueChange -----------> apply
//! replay of the log ---------------------------------------------> replay -> apply
//!
//! absent --create--> live --rename--> live --drop--> tombstone --forget--> absent (id never again)
//! ```
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

mod change;
mod nearest;
mod rows;
mod section;

pub use crate::manifest::DatabaseState;
pub use crate::name::DbName;
pub use change::CatalogueChange;
pub use section::{SECTION_VERSION, SectionEntry, SectionHeader, decode_section, encode_section};

use crate::error::{CatalogueError, Damage, Reject};
use crate::ids::{DbId, DbKind, Lsn};
use std::collections::{BTreeMap, HashMap};

/// What the catalogue knows of a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name; of a tombstone, the last one.
    pub name: DbName,
    /// Its kind.
    pub kind: DbKind,
    /// Whether it can be opened.
    pub state: DatabaseState,
    /// When it was created, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// The newest catalogue record about it.
    pub lsn: Lsn,
}

/// What became of a record that was replayed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// It was applied.
    Applied,
    /// The catalogue reflected it already.
    Known,
}

/// All databases of a store, by id and by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    entries: BTreeMap<DbId, Entry>,
    /// Live databases by folded name.
    by_name: HashMap<String, DbId>,
    next_id: DbId,
    last_lsn: Lsn,
    damage: Option<Damage>,
}

impl PartialEq for Catalogue {
    /// Equal catalogues give equal answers; the index by name follows from the entries.
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
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
        let folded = parse(name)?.folded();
        let found = self.by_name.get(&folded).copied();
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

    /// A database, live or tombstone.
    pub fn entry(&self, id: DbId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// All databases, tombstones included, by id.
    pub fn entries(&self) -> impl Iterator<Item = (DbId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The live databases, by id.
    pub fn live(&self) -> impl Iterator<Item = (DbId, &Entry)> {
        self.entries()
            .filter(|(_, entry)| entry.state == DatabaseState::Live)
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

    /// Checks that a database can be created.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::Exists`],
    /// [`CatalogueError::LimitReached`] or [`CatalogueError::Damaged`].
    pub fn plan_create(
        &self,
        name: &str,
        kind: DbKind,
        databases_max: u32,
    ) -> Result<CatalogueChange, CatalogueError> {
        let name = parse(name)?;
        self.check_sound()?;
        self.check_free(&name, None)?;
        let id = self.free_id(databases_max)?;
        Ok(CatalogueChange::Create { id, name, kind })
    }

    /// Checks which of several databases can be created together, in their order: an answer for
    /// each, which rests on those before it.
    ///
    /// # Errors
    /// In each answer, as for [`Catalogue::plan_create`].
    pub fn plan_creates<'n>(
        &self,
        wanted: impl Iterator<Item = (&'n str, DbKind)>,
        databases_max: u32,
    ) -> Vec<Result<CatalogueChange, CatalogueError>> {
        let mut taken: BTreeMap<String, DbName> = BTreeMap::new();
        let mut next = self.next_id;
        let mut plan = |name: &str, kind| {
            let name = parse(name)?;
            self.check_sound()?;
            self.check_free(&name, None)?;
            if let Some(twin) = taken.get(&name.folded()) {
                let name = twin.to_string();
                return Err(CatalogueError::Exists { name });
            }
            let full = self.entries.len() + taken.len();
            let full = usize::try_from(databases_max).is_ok_and(|max| max <= full);
            let following = next.next().filter(|_| !full);
            let following = following.ok_or(CatalogueError::LimitReached {
                limit: databases_max,
            })?;
            let id = std::mem::replace(&mut next, following);
            taken.insert(name.folded(), name.clone());
            Ok(CatalogueChange::Create { id, name, kind })
        };
        wanted.map(|(name, kind)| plan(name, kind)).collect()
    }

    /// Checks that a database can be created that nobody finds until it has a name.
    ///
    /// # Errors
    /// [`CatalogueError::LimitReached`] or [`CatalogueError::Damaged`].
    pub fn plan_unfinished(
        &self,
        kind: DbKind,
        databases_max: u32,
    ) -> Result<CatalogueChange, CatalogueError> {
        self.check_sound()?;
        let id = self.free_id(databases_max)?;
        let name = DbName::unfinished(id);
        self.check_free(&name, None)?;
        Ok(CatalogueChange::Create { id, name, kind })
    }

    /// Checks that a database that nobody finds can get a name.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::Exists`], [`CatalogueError::NotFound`]
    /// when the database is gone, or [`CatalogueError::Damaged`].
    pub fn plan_finish(&self, id: DbId, name: &str) -> Result<CatalogueChange, CatalogueError> {
        let parsed = parse(name)?;
        self.check_sound()?;
        self.check_free(&parsed, None)?;
        self.check_unfinished(id, name)?;
        Ok(CatalogueChange::Rename { id, name: parsed })
    }

    /// Checks that a database that nobody finds can be dropped.
    ///
    /// # Errors
    /// [`CatalogueError::NotFound`] when the database is gone, or [`CatalogueError::Damaged`].
    pub fn plan_abandon(&self, id: DbId) -> Result<CatalogueChange, CatalogueError> {
        self.check_sound()?;
        self.check_unfinished(id, DbName::unfinished(id).as_str())?;
        Ok(CatalogueChange::Drop { id })
    }

    /// The databases that have no name yet.
    pub fn unfinished(&self) -> impl Iterator<Item = DbId> {
        self.live()
            .filter(|(_, entry)| entry.name.is_unfinished())
            .map(|(id, _)| id)
    }

    /// Checks that a database can be renamed. A change of case or composition alone is possible.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotFound`], [`CatalogueError::Exists`]
    /// (also when the new name is exactly the old one) or [`CatalogueError::Damaged`].
    pub fn plan_rename(&self, from: &str, to: &str) -> Result<CatalogueChange, CatalogueError> {
        let name = parse(to)?;
        let id = self.find(from)?;
        self.check_sound()?;
        let unchanged = self.entry(id).is_some_and(|entry| entry.name == name);
        self.check_free(&name, if unchanged { None } else { Some(id) })?;
        Ok(CatalogueChange::Rename { id, name })
    }

    /// Checks that a database can be dropped.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotFound`] or
    /// [`CatalogueError::Damaged`].
    pub fn plan_drop(&self, name: &str) -> Result<CatalogueChange, CatalogueError> {
        let id = self.find(name)?;
        self.check_sound()?;
        Ok(CatalogueChange::Drop { id })
    }

    /// Applies a change whose record stands durable in the log at `lsn`.
    ///
    /// # Errors
    /// Why the change is impossible, as damage of its record: nothing was changed. A change that
    /// was planned, with nothing applied since, is possible.
    pub fn apply(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        self.apply_all(std::slice::from_ref(change), lsn, time_us)
    }

    /// Applies all changes of a record, in their order.
    ///
    /// # Errors
    /// As for [`Catalogue::apply`]; those before the impossible one are applied.
    pub fn apply_all(
        &mut self,
        changes: &[CatalogueChange],
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        if lsn <= self.last_lsn {
            return Err(Reject::Invalid("a catalogue record behind a newer one"));
        }
        for change in changes {
            self.apply_one(change, lsn, time_us)?;
        }
        self.last_lsn = lsn;
        Ok(())
    }

    fn apply_one(
        &mut self,
        change: &CatalogueChange,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<(), Reject> {
        match change {
            CatalogueChange::Create { id, name, kind } => {
                if *id < self.next_id {
                    return Err(Reject::Invalid("a database with an id that was given out"));
                }
                let next = id.next().ok_or(Reject::Invalid("the last id"))?;
                self.insert(
                    *id,
                    Entry {
                        name: name.clone(),
                        kind: *kind,
                        state: DatabaseState::Live,
                        created_us: time_us,
                        lsn,
                    },
                )?;
                self.next_id = next;
            }
            CatalogueChange::Rename { id, name } => {
                let folded = name.folded();
                if self.by_name.get(&folded).is_some_and(|other| other != id) {
                    return Err(TWINS);
                }
                let entry = live_mut(&mut self.entries, *id)?;
                self.by_name.remove(&entry.name.folded());
                self.by_name.insert(folded, *id);
                entry.name = name.clone();
                entry.lsn = lsn;
            }
            CatalogueChange::Drop { id } => {
                let entry = live_mut(&mut self.entries, *id)?;
                self.by_name.remove(&entry.name.folded());
                entry.state = DatabaseState::Tombstone {
                    dropped_us: time_us,
                };
                entry.lsn = lsn;
            }
        }
        Ok(())
    }

    /// Applies the changes of a record of the log, once: what the catalogue reflects already is known.
    ///
    /// # Errors
    /// [`Reject::BrokenChain`] when a record between is lost; else as for [`Catalogue::apply`].
    pub fn replay(
        &mut self,
        changes: &[CatalogueChange],
        parent: Lsn,
        lsn: Lsn,
        time_us: u64,
    ) -> Result<Replayed, Reject> {
        if lsn <= self.last_lsn {
            return Ok(Replayed::Known);
        }
        if parent != self.last_lsn {
            return Err(Reject::BrokenChain {
                expected_parent: parent,
                found_head: self.last_lsn,
            });
        }
        self.apply_all(changes, lsn, time_us)?;
        Ok(Replayed::Applied)
    }

    /// Forgets a tombstone that nothing names any more; `false` when the id is not one.
    pub fn forget(&mut self, id: DbId) -> bool {
        let tombstone = self
            .entry(id)
            .is_some_and(|entry| entry.state != DatabaseState::Live);
        tombstone && self.entries.remove(&id).is_some()
    }

    fn insert(&mut self, id: DbId, entry: Entry) -> Result<(), Reject> {
        if entry.state == DatabaseState::Live {
            let folded = entry.name.folded();
            if self.by_name.contains_key(&folded) {
                return Err(TWINS);
            }
            self.by_name.insert(folded, id);
        }
        self.entries.insert(id, entry);
        Ok(())
    }

    fn free_id(&self, databases_max: u32) -> Result<DbId, CatalogueError> {
        let full = usize::try_from(databases_max).is_ok_and(|max| max <= self.entries.len());
        if full || self.next_id.next().is_none() {
            return Err(CatalogueError::LimitReached {
                limit: databases_max,
            });
        }
        Ok(self.next_id)
    }

    fn check_unfinished(&self, id: DbId, name: &str) -> Result<(), CatalogueError> {
        if self.unfinished().any(|unfinished| unfinished == id) {
            return Ok(());
        }
        Err(CatalogueError::NotFound {
            name: name.to_owned(),
            nearest: None,
        })
    }

    fn check_sound(&self) -> Result<(), CatalogueError> {
        match &self.damage {
            None => Ok(()),
            Some(damage) => Err(CatalogueError::Damaged(damage.clone())),
        }
    }

    fn check_free(&self, name: &DbName, except: Option<DbId>) -> Result<(), CatalogueError> {
        match self.by_name.get(&name.folded()) {
            Some(id) if Some(*id) != except => Err(CatalogueError::Exists {
                name: self
                    .entry(*id)
                    .map_or_else(|| name.to_string(), |entry| entry.name.to_string()),
            }),
            _ => Ok(()),
        }
    }
}

const TWINS: Reject = Reject::Invalid("two live databases of one name");

/// A name that a user gives.
fn parse(name: &str) -> Result<DbName, CatalogueError> {
    DbName::given(name).map_err(|reason| CatalogueError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}

fn live_mut(entries: &mut BTreeMap<DbId, Entry>, id: DbId) -> Result<&mut Entry, Reject> {
    entries
        .get_mut(&id)
        .filter(|entry| entry.state == DatabaseState::Live)
        .ok_or(Reject::Invalid("a change of a database that is not there"))
}
