//! Which changes are possible: checked against the catalogue, which stays as it is.
//!
//! Invariants
//! - a change that was planned, with nothing applied since, can be applied;
//! - while the catalogue is damaged, no change is planned: a name given out now might be one that is
//!   lost.
//!
//! Never: changes the catalogue.

use super::{Catalogue, CatalogueChange, DatabaseState, DbName, parse};
use crate::error::CatalogueError;
use crate::ids::{DbId, DbKind};
use std::collections::BTreeMap;

impl Catalogue {
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
        Ok(CatalogueChange::Drop { id, keep_us: 0 })
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

    /// Checks that a database can be dropped, its pages kept for `keep_us` microseconds.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotFound`] or
    /// [`CatalogueError::Damaged`].
    pub fn plan_drop(&self, name: &str, keep_us: u64) -> Result<CatalogueChange, CatalogueError> {
        let id = self.find(name)?;
        self.check_sound()?;
        Ok(CatalogueChange::Drop { id, keep_us })
    }

    /// Checks that a drop can be taken back; the database is called `name` then.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::Exists`], [`CatalogueError::NotDropped`] when
    /// it has no pages any more, or was not dropped, or [`CatalogueError::Damaged`].
    pub fn plan_undrop(&self, id: DbId, name: &str) -> Result<CatalogueChange, CatalogueError> {
        let parsed = parse(name)?;
        self.check_sound()?;
        self.check_dropped(id, name)?;
        self.check_free(&parsed, None)?;
        Ok(CatalogueChange::Undrop { id, name: parsed })
    }

    /// Checks that the pages of a dropped database can be given up.
    ///
    /// # Errors
    /// [`CatalogueError::NotDropped`] or [`CatalogueError::Damaged`].
    pub fn plan_purge(&self, id: DbId) -> Result<CatalogueChange, CatalogueError> {
        self.check_sound()?;
        self.check_dropped(id, &format!("id {id}"))?;
        Ok(CatalogueChange::Drop { id, keep_us: 0 })
    }

    /// Checks that something can be set for a database.
    ///
    /// # Errors
    /// As for [`Catalogue::plan_drop`].
    pub fn plan_setting(
        &self,
        name: &str,
        change: impl FnOnce(DbId) -> CatalogueChange,
    ) -> Result<CatalogueChange, CatalogueError> {
        let id = self.find(name)?;
        self.check_sound()?;
        Ok(change(id))
    }

    pub(super) fn free_id(&self, databases_max: u32) -> Result<DbId, CatalogueError> {
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

    fn check_dropped(&self, id: DbId, name: &str) -> Result<(), CatalogueError> {
        match self.entry(id).map(|entry| entry.state) {
            Some(DatabaseState::Dropped { .. }) => Ok(()),
            _ => Err(CatalogueError::NotDropped {
                name: name.to_owned(),
            }),
        }
    }

    pub(super) fn check_sound(&self) -> Result<(), CatalogueError> {
        match &self.damage {
            None => Ok(()),
            Some(damage) => Err(CatalogueError::Damaged(damage.clone())),
        }
    }

    pub(super) fn check_free(
        &self,
        name: &DbName,
        except: Option<DbId>,
    ) -> Result<(), CatalogueError> {
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
