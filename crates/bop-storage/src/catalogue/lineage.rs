//! Snapshots, and who needs which point of whose past.
//!
//! ```text
//!                     origin                       point
//! fork (has pages) ------------> source, commit <---------- snapshot of an owner
//!                                    |
//!                      kept while anybody points at it
//! ```
//! A database *has its pages* while it is live, or can be brought back, or is pointed at. When the last
//! of these ends, so does what it points at itself, which may end another one.
//!
//! Invariants
//! - an owner's snapshots have different folded names, and are of different records;
//! - whoever has an origin has pages, and whoever is pointed at has an entry;
//! - an origin is of an older database, so nobody comes from himself.
//!
//! Never: knows whether a point can be read.

use super::{Catalogue, DatabaseState, DbName, NOT_THERE, Point, nearest};
use crate::error::{CatalogueError, Reject};
use crate::ids::{DbId, DbKind, Lsn};
use std::collections::{BTreeMap, BTreeSet};

/// A name for what a database was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The name.
    pub name: DbName,
    /// What is kept.
    pub point: Point,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// The catalogue record that made it.
    pub lsn: Lsn,
}

/// Whoever needs a point: an origin, or the snapshot that was made at `snapshot`. Ordered by the point.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Dependent {
    source: DbId,
    lsn: Lsn,
    by: DbId,
    /// [`Lsn::ZERO`] of an origin.
    snapshot: Lsn,
}

impl Dependent {
    fn origin(by: DbId, origin: &Point) -> Self {
        Self {
            source: origin.source,
            lsn: origin.lsn,
            by,
            snapshot: Lsn::ZERO,
        }
    }

    fn snapshot(owner: DbId, snapshot: &Snapshot) -> Self {
        Self {
            snapshot: snapshot.lsn,
            ..Self::origin(owner, &snapshot.point)
        }
    }
}

/// All snapshots, by owner and folded name, and who points where.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    snapshots: BTreeMap<(DbId, String), Snapshot>,
    dependents: BTreeSet<Dependent>,
}

impl PartialEq for Lineage {
    /// The dependents follow from the snapshots and the entries.
    fn eq(&self, other: &Self) -> bool {
        self.snapshots == other.snapshots
    }
}

impl Lineage {
    pub(super) fn snapshots(&self, owner: DbId) -> impl Iterator<Item = &Snapshot> {
        let from = self.snapshots.range((owner, String::new())..);
        from.take_while(move |((id, _), _)| *id == owner)
            .map(|(_, snapshot)| snapshot)
    }

    pub(super) fn count(&self) -> usize {
        self.snapshots.len()
    }

    fn all(&self) -> impl Iterator<Item = (DbId, &Snapshot)> {
        let all = self.snapshots.iter();
        all.map(|((owner, _), snapshot)| (*owner, snapshot))
    }

    pub(super) fn add(&mut self, owner: DbId, snapshot: Snapshot) -> Result<(), Reject> {
        let key = (owner, snapshot.name.folded());
        if self.snapshots.contains_key(&key) {
            return Err(TWIN_SNAPSHOTS);
        }
        self.dependents
            .insert(Dependent::snapshot(owner, &snapshot));
        self.snapshots.insert(key, snapshot);
        Ok(())
    }

    pub(super) fn remove(&mut self, owner: DbId, name: &DbName) -> Option<Snapshot> {
        let snapshot = self.snapshots.remove(&(owner, name.folded()))?;
        self.dependents
            .remove(&Dependent::snapshot(owner, &snapshot));
        Some(snapshot)
    }

    /// All of an owner, which has none from then on.
    pub(super) fn take(&mut self, owner: DbId) -> Vec<Snapshot> {
        let names: Vec<DbName> = self.snapshots(owner).map(|one| one.name.clone()).collect();
        let taken = names.iter().filter_map(|name| self.remove(owner, name));
        taken.collect()
    }

    pub(super) fn add_origin(&mut self, by: DbId, origin: &Point) {
        self.dependents.insert(Dependent::origin(by, origin));
    }

    pub(super) fn remove_origin(&mut self, by: DbId, origin: &Point) {
        self.dependents.remove(&Dependent::origin(by, origin));
    }

    fn of(&self, source: DbId) -> impl Iterator<Item = &Dependent> {
        let first = Dependent {
            source,
            lsn: Lsn::ZERO,
            by: DbId::default(),
            snapshot: Lsn::ZERO,
        };
        let from = self.dependents.range(first..);
        from.take_while(move |dependent| dependent.source == source)
    }
}

impl Catalogue {
    /// Whether a database has its pages: it is live, or can be brought back, or a fork or a snapshot
    /// points at it.
    pub fn has_pages(&self, id: DbId) -> bool {
        self.entry(id)
            .is_some_and(|entry| entry.state.has_pages() || self.is_needed(id))
    }

    /// Whether a fork or a snapshot points at a database.
    pub fn is_needed(&self, source: DbId) -> bool {
        self.lineage.of(source).next().is_some()
    }

    /// The points of a database that forks and snapshots need, each once, ascending.
    pub fn points_of(&self, source: DbId) -> impl Iterator<Item = Lsn> {
        let mut last = None;
        let points = self.lineage.of(source).map(|dependent| dependent.lsn);
        points.filter(move |lsn| last.replace(*lsn) != Some(*lsn))
    }

    /// The same without those of the forks that are `excepted`.
    pub fn points_of_but(
        &self,
        source: DbId,
        excepted: impl Fn(DbId) -> bool,
    ) -> impl Iterator<Item = Lsn> {
        let dependents = self.lineage.of(source);
        let needed = dependents.filter(move |one| one.snapshot != Lsn::ZERO || !excepted(one.by));
        needed.map(|one| one.lsn)
    }

    /// Whether a point can be had still: its database has its pages for its own sake, or for the sake
    /// of that point.
    pub fn has_point(&self, point: &Point) -> bool {
        let entry = self.entry(point.source);
        entry.is_some_and(|entry| {
            entry.state.has_pages() || self.points_of(point.source).any(|lsn| lsn == point.lsn)
        })
    }

    /// The databases that started from a point of this one and have pages, by that point.
    pub fn forks_of(&self, source: DbId) -> impl Iterator<Item = (DbId, &super::Entry)> {
        let origins = self.lineage.of(source);
        let origins = origins.filter(|dependent| dependent.snapshot == Lsn::ZERO);
        origins.filter_map(|dependent| Some((dependent.by, self.entry(dependent.by)?)))
    }

    /// How many snapshots there are, of all databases.
    pub fn snapshot_count(&self) -> usize {
        self.lineage.count()
    }

    /// The snapshots of a database, by folded name.
    pub fn snapshots(&self, owner: DbId) -> impl Iterator<Item = &Snapshot> {
        self.lineage.snapshots(owner)
    }

    /// The snapshot of a name, in whatever case and composition the name is given.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidSnapshotName`]; [`CatalogueError::SnapshotNotFound`] with the nearest
    /// name, or [`CatalogueError::Damaged`] when it may be one that is lost.
    pub fn snapshot(&self, owner: DbId, name: &str) -> Result<&Snapshot, CatalogueError> {
        let key = (owner, parse_snapshot(name)?.folded());
        let found = self.lineage.snapshots.get(&key);
        found.ok_or_else(|| match &self.damage {
            Some(damage) => CatalogueError::Damaged(damage.clone()),
            None => CatalogueError::SnapshotNotFound {
                database: self.name_of(owner),
                name: name.to_owned(),
                nearest: nearest::nearest(name, self.snapshots(owner).map(|one| one.name.as_str())),
            },
        })
    }

    pub(super) fn name_of(&self, id: DbId) -> String {
        let entry = self.entry(id);
        entry.map_or_else(|| format!("id {id}"), |entry| entry.name.to_string())
    }

    /// Ends what those databases point at that have no pages any more, by the record at `lsn`, and what
    /// ends with that. Answers with all of them.
    pub(super) fn settle(&mut self, mut unsure: Vec<DbId>, lsn: Lsn) -> BTreeSet<DbId> {
        let mut gone = BTreeSet::new();
        while let Some(id) = unsure.pop() {
            if self.has_pages(id) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            // Rows and sections take what is newer than they are.
            entry.lsn = lsn;
            gone.insert(id);
            if let Some(origin) = entry.origin.take() {
                self.lineage.remove_origin(id, &origin);
                unsure.push(origin.source);
            }
        }
        gone
    }

    /// What must hold of all snapshots and origins together.
    pub(super) fn check_lineage(&self) -> Result<(), Reject> {
        for (owner, snapshot) in self.lineage.all() {
            let entry = self.entry(owner).ok_or(NOT_THERE)?;
            if matches!(entry.state, DatabaseState::Tombstone { .. }) {
                return Err(Reject::Invalid("a snapshot of a database that is gone"));
            }
            self.check_source(&snapshot.point, entry.kind)?;
        }
        for (id, entry) in self.entries() {
            let Some(origin) = &entry.origin else {
                continue;
            };
            if id <= origin.source {
                return Err(Reject::Invalid("a database that starts from a later one"));
            }
            if !self.has_pages(id) {
                return Err(Reject::Invalid("an origin of a database without pages"));
            }
            self.check_source(origin, entry.kind)?;
        }
        Ok(())
    }

    /// Whether a database of that kind can start from the point, or keep it.
    pub(super) fn check_source(&self, point: &Point, kind: DbKind) -> Result<(), Reject> {
        point.check()?;
        let source = self.entry(point.source).ok_or(NO_SOURCE)?;
        if source.kind != kind || kind == DbKind::Log {
            return Err(Reject::Invalid("a point of another kind of database"));
        }
        if !self.has_point(point) {
            return Err(NO_SOURCE);
        }
        Ok(())
    }
}

const NO_SOURCE: Reject = Reject::Invalid("a point of a database that is gone");
pub(super) const TWIN_SNAPSHOTS: Reject = Reject::Invalid("two snapshots of one name");

/// A snapshot's name that a user gives.
pub(super) fn parse_snapshot(name: &str) -> Result<DbName, CatalogueError> {
    DbName::given(name).map_err(|reason| CatalogueError::InvalidSnapshotName {
        name: name.to_owned(),
        reason,
    })
}
