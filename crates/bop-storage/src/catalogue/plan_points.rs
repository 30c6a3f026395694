//! Which forks, snapshots and restores are possible: checked against the catalogue, which stays as it is.
//!
//! ```text
//! restore of D to a point of its past, as one record:
//!   fork F from the point, under a name of the store's own
//!   -> F gets D's policy -> F gets D's snapshots -> what D is now becomes a snapshot of F
//!   -> D is dropped, its pages are kept for F's sake -> F gets D's name
//! ```
//! Invariants: those of [`plan`](super::plan). After each change of a restore all points that somebody
//! needs are pointed at.
//!
//! Never: changes the catalogue, knows whether a point can be read.

use super::lineage::parse_snapshot;
use super::{Catalogue, CatalogueChange, DbName, Entry, Point, Policy, Snapshot, parse};
use crate::error::CatalogueError;
use crate::ids::{DbId, DbKind};
use crate::limits::Limits;

/// A database that is to be again what it was.
#[derive(Copy, Clone, Debug)]
pub struct Restore<'a> {
    /// Its name.
    pub database: &'a str,
    /// What it is to be.
    pub target: Point,
    /// The name of the snapshot that keeps what it is now.
    pub kept: &'a str,
    /// What it is now.
    pub head: Point,
}

impl Catalogue {
    /// Checks that a database can be made that starts as another one was.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::Exists`], [`CatalogueError::PointGone`],
    /// [`CatalogueError::WrongKind`] of a record log, [`CatalogueError::LimitReached`] or
    /// [`CatalogueError::Damaged`].
    pub fn plan_fork(
        &self,
        name: &str,
        origin: &Point,
        databases_max: u32,
    ) -> Result<CatalogueChange, CatalogueError> {
        let name = parse(name)?;
        self.check_sound()?;
        self.check_free(&name, None)?;
        let kind = self.paged_kind(origin)?;
        Ok(CatalogueChange::Fork {
            id: self.free_id(databases_max)?,
            name,
            kind,
            origin: *origin,
        })
    }

    /// Checks that what a database was can get a name. The point is one of its own, or of a database
    /// that it comes from.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotFound`],
    /// [`CatalogueError::InvalidSnapshotName`], [`CatalogueError::SnapshotExists`],
    /// [`CatalogueError::SnapshotsLimit`], [`CatalogueError::PointGone`],
    /// [`CatalogueError::WrongKind`] of a record log, or [`CatalogueError::Damaged`].
    pub fn plan_snapshot(
        &self,
        owner: &str,
        name: &str,
        point: &Point,
        snapshots_max: u32,
    ) -> Result<CatalogueChange, CatalogueError> {
        let id = self.find(owner)?;
        let name = self.free_snapshot(id, name, snapshots_max)?;
        let (kind, wanted) = (self.paged_kind_of(id)?, self.paged_kind(point)?);
        if kind != wanted {
            return Err(self.wrong_kind(id, wanted.name()));
        }
        let point = *point;
        Ok(CatalogueChange::Snapshot { id, name, point })
    }

    /// Checks that a snapshot can be given up.
    ///
    /// # Errors
    /// [`CatalogueError::InvalidName`], [`CatalogueError::NotFound`], [`CatalogueError::Damaged`], or
    /// as for [`Catalogue::snapshot`].
    pub fn plan_snapshot_drop(
        &self,
        owner: &str,
        name: &str,
    ) -> Result<CatalogueChange, CatalogueError> {
        let id = self.find(owner)?;
        self.check_sound()?;
        let name = self.snapshot(id, name)?.name.clone();
        Ok(CatalogueChange::SnapshotDrop { id, name })
    }

    /// Checks that a database can be put back to what it was: the changes of one record, however many
    /// snapshots it has. It has another id then, the same name, policy and snapshots, and one more.
    ///
    /// # Errors
    /// As for [`Catalogue::plan_snapshot`], [`CatalogueError::LimitReached`] among them.
    pub fn plan_restore(
        &self,
        restore: &Restore<'_>,
        limits: &Limits,
    ) -> Result<Vec<CatalogueChange>, CatalogueError> {
        let from = self.find(restore.database)?;
        let kept = self.free_snapshot(from, restore.kept, limits.snapshots_max)?;
        let kind = self.paged_kind_of(from)?;
        for point in [&restore.target, &restore.head] {
            let found = self.paged_kind(point)?;
            if found != kind {
                return Err(self.wrong_kind(from, found.name()));
            }
        }
        let Some(Entry { name, policy, .. }) = self.entry(from) else {
            return Err(self.gone(&restore.head));
        };
        let id = self.free_id(limits.databases_max)?;
        let mut changes = vec![CatalogueChange::Fork {
            id,
            name: DbName::unfinished(id),
            kind,
            origin: restore.target,
        }];
        changes.extend(settings(id, policy));
        changes.extend([
            CatalogueChange::Adopt { id, from },
            CatalogueChange::Snapshot {
                id,
                name: kept,
                point: restore.head,
            },
            CatalogueChange::Drop {
                id: from,
                keep_us: 0,
            },
            CatalogueChange::Rename {
                id,
                name: name.clone(),
            },
        ]);
        Ok(changes)
    }

    fn free_snapshot(
        &self,
        owner: DbId,
        name: &str,
        snapshots_max: u32,
    ) -> Result<DbName, CatalogueError> {
        let name = parse_snapshot(name)?;
        self.check_sound()?;
        let folded = name.folded();
        let twin = |one: &&Snapshot| one.name.folded() == folded;
        if let Some(twin) = self.snapshots(owner).find(twin) {
            return Err(CatalogueError::SnapshotExists {
                database: self.name_of(owner),
                name: twin.name.to_string(),
            });
        }
        let held = self.snapshots(owner).count();
        if usize::try_from(snapshots_max).is_ok_and(|max| max <= held) {
            return Err(CatalogueError::SnapshotsLimit {
                database: self.name_of(owner),
                limit: snapshots_max,
            });
        }
        Ok(name)
    }

    /// The kind of the database whose point it is, if that can be had and has pages.
    fn paged_kind(&self, point: &Point) -> Result<DbKind, CatalogueError> {
        if !self.has_point(point) {
            return Err(self.gone(point));
        }
        self.paged_kind_of(point.source)
    }

    fn paged_kind_of(&self, id: DbId) -> Result<DbKind, CatalogueError> {
        match self.entry(id).map(|entry| entry.kind) {
            Some(kind) if kind != DbKind::Log => Ok(kind),
            _ => Err(self.wrong_kind(id, "sqlite or raw")),
        }
    }

    fn wrong_kind(&self, id: DbId, wanted: &'static str) -> CatalogueError {
        let kind = self.entry(id).map(|entry| entry.kind);
        CatalogueError::WrongKind {
            name: self.name_of(id),
            found: kind.unwrap_or(DbKind::Log).name(),
            wanted,
        }
    }

    fn gone(&self, point: &Point) -> CatalogueError {
        CatalogueError::PointGone {
            database: point.source,
            lsn: point.lsn,
        }
    }
}

/// The changes that give a new database this policy.
fn settings(id: DbId, policy: &Policy) -> impl Iterator<Item = CatalogueChange> {
    let none = Policy::default();
    let retention = (policy.retention != none.retention).then_some(CatalogueChange::Retention {
        id,
        retention: policy.retention,
    });
    let quota = (policy.quota_bytes != none.quota_bytes).then_some(CatalogueChange::Quota {
        id,
        bytes: policy.quota_bytes,
    });
    retention.into_iter().chain(quota)
}
